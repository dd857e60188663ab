"""Tests of amounts."""

import unittest

from ledger.money import parse, shares, shown


class MoneyTest(unittest.TestCase):
    """Amounts in and out, and divided."""

    def test_cents_may_have_one_digit(self) -> None:
        """Half a unit is fifty cents."""
        self.assertEqual(parse("12.5"), 1250)
        self.assertEqual(parse("-0.05"), -5)

    def test_negative_amounts_are_shown_with_their_sign(self) -> None:
        """Five cents owed."""
        self.assertEqual(shown(-5), "-0.05")
        self.assertEqual(shown(1250), "12.50")

    def test_no_cent_is_lost(self) -> None:
        """Ten for three people."""
        self.assertEqual(shares(1000, 3), [334, 333, 333])
