from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.gemma4.bounds import can_hold, integer, number
from agentkit.gemma4.ebnf import Rules, character_class, literal, repeated
from tests.gemma4.ebnf import Ebnf

pytestmark = pytest.mark.slow


def accepts(expression: str | None, text: str) -> bool:
    return expression is not None and Ebnf(f"root ::= {expression}").accepts(text)


@given(st.text(max_size=8))
@settings(max_examples=100)
def test_a_literal_is_exactly_its_text(text: str) -> None:
    assert accepts(literal(text), text)
    assert not accepts(literal(text), f"{text}x")


@given(st.characters(), st.booleans())
@settings(max_examples=60)
def test_a_class_holds_its_characters(character: str, negated: bool) -> None:
    one = character_class([(ord(character), ord(character))], negated=negated)
    assert accepts(one, character) != negated


@given(st.integers(-500, 500), st.integers(0, 900), st.integers(-2_000, 2_000))
@settings(max_examples=200, deadline=None)
def test_an_integer_range_holds_what_lies_in_it(low: int, width: int, value: int) -> None:
    assert accepts(integer(low, low + width), str(value)) == (low <= value <= low + width)


@pytest.mark.parametrize("text", ["01", "-0", "+1", "1.0", "", "--1", "1e2"])
def test_an_integer_has_one_spelling(text: str) -> None:
    assert not accepts(integer(None, None), text)


def test_integers_without_a_bound_hold_64_bits_and_end() -> None:
    assert accepts(integer(None, None), str(-(2**63)))
    assert not accepts(integer(None, None), "1" * 20)
    assert accepts(integer(7, None), "9" * 19)
    assert not accepts(integer(None, 7), "8")
    assert integer(3, 2) is None


BOUNDS = st.decimals(-30, 30, places=2) | st.integers(-30, 30).map(Decimal)


@given(
    BOUNDS,
    st.decimals(0, 40, places=2) | st.integers(0, 40).map(Decimal),
    st.booleans(),
    st.booleans(),
    st.decimals(-80, 80, places=3),
)
@settings(max_examples=300, deadline=None)
def test_a_number_range_holds_what_lies_in_it(
    low: Decimal, width: Decimal, above: bool, below: bool, value: Decimal
) -> None:
    high = low + width
    for near in (value, low, high, low + Decimal("0.001"), high - Decimal("0.001")):
        exact = Fraction(near)
        fits = (Fraction(low) < exact if above else Fraction(low) <= exact) and (
            exact < Fraction(high) if below else exact <= Fraction(high)
        )
        text = f"{near:f}"
        if exact == 0:
            text = text.removeprefix("-")  # minus zero is not among the spellings
        assert accepts(number(low, high, above=above, below=below), text) == fits, text


@given(st.floats(-1e9, 1e9), st.floats(0, 1e3), st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_what_a_number_range_writes_is_a_double_within_it(
    low: float, width: float, open_: bool, rng: random.Random
) -> None:
    high = low + width
    bounds = (Decimal(repr(low)), Decimal(repr(high)))
    if not can_hold(*bounds, is_open=open_):
        return
    expression = number(*bounds, above=open_, below=open_)
    if expression is None:
        return
    value = float(Ebnf(f"root ::= {expression}").sample(rng))
    assert low < value < high if open_ else low <= value <= high


@pytest.mark.parametrize("text", ["0", "-1.5", "1e22", "1E-7", "0.1234567890123456", "-0.0"])
def test_a_number_without_bounds_has_every_spelling_of_json(text: str) -> None:
    assert accepts(number(None, None, above=False, below=False), text)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (1, 1), (0, None), (1, None), (2, 5)])
def test_a_repetition_counts(low: int, high: int | None) -> None:
    expression = repeated('"a"', low, high) or '""'
    for count in range(8):
        fits = low <= count and (high is None or count <= high)
        assert accepts(expression, "a" * count) == fits


def test_equal_rules_are_one() -> None:
    rules = Rules()
    assert rules.name('"a"') == rules.name('"a"')
    assert rules.name('"a"', 3) != rules.name('"a"')
    assert len(rules.lines) == 2
