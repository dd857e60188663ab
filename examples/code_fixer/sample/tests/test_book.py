"""Tests of balances."""

import unittest

from ledger.book import Book


class BookTest(unittest.TestCase):
    """Balances add up to nothing."""

    def test_who_paid_is_owed_by_the_others(self) -> None:
        """Ada pays for herself and Bob."""
        book = Book()
        book.spend("Ada", 1000, ["Ada", "Bob"])
        self.assertEqual((book.balance("Ada"), book.balance("Bob")), (500, -500))
