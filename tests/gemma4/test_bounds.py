"""Numbers between bounds, judged by counting: every number near the bounds is in or out."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.gemma4.bounds import (
    MAX_DIGITS,
    can_hold,
    integer,
    lengths,
    multiples,
    number,
    strictest,
    whole_bounds,
)
from agentkit.schema.nodes import Node
from agentkit.schema.read import read


def pattern_of(ebnf: str) -> re.Pattern[str]:
    """An expression without references, as Python's own kind of pattern."""
    parts = re.split(r'("(?:[^"\\]|\\.)*"|\[[^\]]*\])', ebnf)
    for at, part in enumerate(parts):
        if part.startswith('"'):
            parts[at] = f"(?:{re.escape(part[1:-1])})"
        elif not part.startswith("["):
            parts[at] = part.replace(" ", "")
    return re.compile("".join(parts))


NEAR = [*range(-112, 113), 989, 990, 998, 999, 1000, 1001, 1009, 1010, 1099, 1100, 9999, 10_000]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        *[(0, 0), (0, 7), (0, 10), (3, 3), (1, 9), (1, 99), (7, 12), (10, 99), (11, 98), (95, 105)],
        *[(0, 100), (12, 19), (10, 19), (15, 1005), (99, 1000), (100, 999), (0, 9999), (7, 1099)],
        *[(-1, 1), (-5, 0), (-5, -5), (-12, -7), (-99, -10), (-105, 7), (-100, 100), (-10, 1009)],
    ],
)
def test_an_integer_is_in_or_out(low: int, high: int) -> None:
    pattern = pattern_of(integer(low, high) or "")
    for value in [*NEAR, *(-n for n in NEAR)]:
        assert bool(pattern.fullmatch(str(value))) == (low <= value <= high), value
    for text in ("-0", "00", "01", "+1", "", "-", "1.0"):
        assert not pattern.fullmatch(text), text


def test_between_bounds_that_cross_there_is_no_integer() -> None:
    assert integer(5, 4) is None
    assert integer(-4, -5) is None
    assert integer(5, 5) == '"5"'


def test_an_integer_without_a_bound_ends_at_nineteen_digits() -> None:
    free, least, most = (
        pattern_of(integer(*b) or "") for b in ((None, None), (5, None), (None, 5))
    )
    whole, longer = "9" * MAX_DIGITS, "1" + "0" * MAX_DIGITS
    assert MAX_DIGITS == 19
    assert [bool(free.fullmatch(t)) for t in ("0", whole, longer, f"-{whole}")] == [1, 1, 0, 1]
    assert [bool(least.fullmatch(t)) for t in ("4", "5", whole, longer, "-5")] == [0, 1, 1, 0, 0]
    assert [bool(most.fullmatch(t)) for t in ("5", "6", "-6", f"-{whole}")] == [1, 0, 1, 1]


TENTHS = [Decimal(n) / 20 for n in range(-60, 61)]
FINE = [
    Decimal(text) for text in ("0.001", "0.999", "1.001", "2.0001", "1.9999", "-0.001", "-1.001")
]


@pytest.mark.parametrize(("above", "below"), list(product([False, True], repeat=2)))
@pytest.mark.parametrize(
    ("low", "high"),
    [
        *[("0", "1"), ("0.5", "2"), ("0.25", "0.75"), ("1", "2"), ("-1", "1"), ("-2", "-0.5")],
        *[("0.1", "0.95"), ("1.5", "1.5"), ("-0.5", "0"), ("0.05", "2.05"), ("-1.45", "1.3")],
        *[(None, "1"), ("0.5", None), (None, "-0.5"), ("-1", None)],
    ],
)
def test_a_number_is_in_or_out(
    low: str | None, high: str | None, *, above: bool, below: bool
) -> None:
    least, most = (None if text is None else Decimal(text) for text in (low, high))
    written = number(least, most, above=above, below=below)
    pattern = pattern_of(written) if written is not None else re.compile("(?!)")
    for value in [*TENTHS, *FINE]:
        inside = (least is None or (value > least if above else value >= least)) and (
            most is None or (value < most if below else value <= most)
        )
        texts = {f"{value:f}"} if value else {"0", "0.0"}
        if value == value.to_integral_value():
            texts |= {f"{int(value)}", f"{int(value)}.0", f"{int(value)}.00"}
        found = {text for text in texts if pattern.fullmatch(text)}
        assert inside or not found, (value, found)  # it never reaches beyond its bounds
        assert bool(found) == inside, value
    for text in ("00", "01.5", ".5", "1.", "-", "1e5"):
        assert not pattern.fullmatch(text), text


def test_a_number_without_bounds_is_any_of_json() -> None:
    pattern = pattern_of(number(None, None, above=False, below=False) or "")
    for text in ("0", "-0.5", "12.25", "1e5", "1E+05", "-3.5e-12", "9" * 19, "0." + "1" * 17):
        assert pattern.fullmatch(text), text
    for text in ("01", "1.", ".5", "+1", "1e", "1e123", "1e+123", "9" * 20, "0." + "1" * 18):
        assert not pattern.fullmatch(text), text


def test_bounds_that_a_grammar_cannot_hold_are_left_to_validation() -> None:
    fine, finer = Decimal("0." + "1" * 17), Decimal("0." + "1" * 18)
    assert can_hold(None, None, is_open=True)
    assert can_hold(fine, None)
    assert not can_hold(finer, None)
    shorter, longer = Decimal("0." + "1" * 9), Decimal("0." + "1" * 10)
    assert can_hold(shorter, None, is_open=True)
    assert not can_hold(longer, None, is_open=True)
    assert can_hold(None, shorter, is_open=True)
    assert can_hold(Decimal(10**14), None, is_open=True)
    assert not can_hold(Decimal(10**15), None, is_open=True)
    assert can_hold(Decimal(10**15), None)
    assert can_hold(Decimal(2**256), None)
    assert not can_hold(Decimal(10**100), None)
    with pytest.raises(ValueError, match="no grammar holds"):
        number(finer, None, above=False, below=False)


@given(st.integers(10**6, 10**15 - 1), st.integers(0, 99), st.booleans(), st.integers(0, 10**9 - 1))
def test_what_is_written_beside_a_large_open_bound_is_read_as_a_double_beside_it(
    whole: int, cents: int, above: bool, fraction: int
) -> None:
    bound = Decimal(f"{whole}.{cents:02}")
    if not can_hold(bound, None, is_open=True):
        return
    low, high = (bound, None) if above else (None, bound)
    pattern = pattern_of(number(low, high, above=above, below=not above) or "")
    for text in (f"{whole}.{fraction:09}", f"{whole}.{fraction:09}".rstrip("0"), str(whole)):
        for cut in range(len(text)):
            written = text[: len(text) - cut]
            if pattern.fullmatch(written):
                value = float(written)
                assert value > float(bound) if above else value < float(bound)
    beside = Decimal(repr(math.nextafter(float(bound), math.inf if above else 0)))
    assert pattern.fullmatch(str(int(beside) + (1 if above else -1)))


def test_a_number_may_be_as_long_as_its_bounds() -> None:
    for low, high in ((0, 2**256 - 1), (10**25, None), (None, -(10**25)), (10**25, 10**30)):
        inside = [each for each in (low, high) if each is not None]
        expressions = [
            integer(low, high),
            number(
                *(None if each is None else Decimal(each) for each in (low, high)),
                above=False,
                below=False,
            ),
        ]
        for expression in expressions:
            pattern = pattern_of(expression or "")
            for bound in inside:
                assert pattern.fullmatch(str(bound))
            if low is not None and low > 0:
                assert not pattern.fullmatch(str(low - 1))
            if high is not None:
                assert not pattern.fullmatch(str(high + 1))


# --- what a schema says --------------------------------------------------------------------------


def node(**schema: Any) -> Node:
    return read({"type": "number", **schema})


@pytest.mark.parametrize(
    ("schema", "least", "most"),
    [
        ({}, None, None),
        ({"minimum": 2, "maximum": 5}, 2, 5),
        ({"minimum": 2.5, "maximum": 5.5}, 3, 5),
        ({"exclusiveMinimum": 2, "exclusiveMaximum": 5}, 3, 4),
        ({"exclusiveMinimum": 2.5, "exclusiveMaximum": 5.5}, 3, 5),
        ({"minimum": 2, "exclusiveMinimum": True}, 3, None),
        ({"maximum": 5, "exclusiveMaximum": True}, None, 4),
        ({"minimum": 2, "exclusiveMinimum": 2}, 3, None),
        ({"minimum": 3, "exclusiveMinimum": 2}, 3, None),
        ({"maximum": 5, "exclusiveMaximum": 7}, None, 5),
        ({"allOf": [{"minimum": 1}, {"minimum": 4}]}, 4, None),
        ({"minimum": True, "maximum": "5"}, None, None),
    ],
)
def test_the_least_and_the_greatest_integer(
    schema: dict[str, Any], least: int | None, most: int | None
) -> None:
    assert whole_bounds(node(**schema)) == (least, most)


def test_a_bound_is_left_out_itself_where_it_is_exclusive() -> None:
    both = node(minimum=2, exclusiveMinimum=2)
    assert strictest(both, "minimum", "exclusiveMinimum", max) == (2, True)
    assert strictest(node(minimum=3), "minimum", "exclusiveMinimum", max) == (3, False)
    assert strictest(node(), "minimum", "exclusiveMinimum", max) == (None, False)


@pytest.mark.parametrize(
    ("low", "high", "steps", "found"),
    [
        (0, 10, [5], [0, 5, 10]),
        (1, 10, [5], [5, 10]),
        (-7, 7, [3], [-6, -3, 0, 3, 6]),
        (1, 40, [4, 6], [12, 24, 36]),
        (1, 4, [5], []),
        (0, 10, [2.0], [0, 2, 4, 6, 8, 10]),
        (0, 10, [], None),
        (0, 10, [0.5], None),
        (0, 10, [2, 0.5], None),
        (0, 10, [0], None),
        (None, 10, [5], None),
        (0, None, [5], None),
    ],
)
def test_multiples_are_told_one_by_one(
    low: int | None, high: int | None, steps: list[Any], found: list[int] | None
) -> None:
    assert multiples(low, high, steps) == found


def test_more_than_four_hundred_multiples_are_not_told() -> None:
    assert len(multiples(0, 400, [1]) or ()) == 401
    assert multiples(0, 401, [1]) is None


def test_counts_come_from_the_strictest_keyword() -> None:
    said = node(allOf=[{"minItems": 2, "maxItems": 9}, {"minItems": 3, "maxItems": 7}])
    assert lengths(said, "minItems", "maxItems") == (3, 7)
    assert lengths(node(), "minItems", "maxItems") == (0, None)
