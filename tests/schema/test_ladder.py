from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agentkit.schema.jsontype import InvalidValueError, json_type


@dataclasses.dataclass
class Item:
    sku: str
    count: int = 1


class Order(BaseModel):
    items: list[Item]
    note: str = "none"
    kind: Literal["new", "old"] = "new"


class Loose(BaseModel, extra="allow"):
    item: Item


def read(annotation: Any, value: object) -> Any:
    return json_type(annotation, {}).read(value)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, '"3"', 3),
        (int, "-12", -12),
        (float, "2.5e3", 2500.0),
        (bool, "False", False),
        (list[int], '"[1, 2]"', [1, 2]),  # JSON text in JSON text
        (list[int], "  [1]\n", [1]),
        (Literal["a", "b"], "`a`", "a"),
        (Literal[1, 2], 2.0, 2),
        (Item, '{"sku": "\\"a\\""}', Item('"a"')),  # a string may hold quotes
        (Order, {"items": '[{"sku": "a"}]'}, Order(items=[Item("a")])),
        (Order, {"items": ['{"sku": "a", "count": "2"}']}, Order(items=[Item("a", 2)])),
        (Order, {"items": [], "note": None}, Order(items=[])),
        (Order, {"items": [], "kind": '"old"', "note": None}, Order(items=[], kind="old")),
        (dict[str, Item], {"x": '{"sku": "a"}'}, {"x": Item("a")}),
        (int | list[int], "[1]", [1]),
        (dt.date, '"2026-01-31"', dt.date(2026, 1, 31)),
        (dt.date, "2026-01-31T00:00:00", dt.date(2026, 1, 31)),
        (str, '"quoted"', '"quoted"'),
        (str, "\ud83d", "?"),
    ],
)
def test_what_can_only_mean_one_thing_is_read_as_that(
    annotation: Any, value: object, expected: object
) -> None:
    got = read(annotation, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, True),
        (int, 3.5),
        (int, "3.5"),
        (float, "nan"),
        (float, True),
        (str, 3),
        (str, ["a"]),
        (bool, 2),
        (list[int], "1, 2"),
        (list[int], 1),
        (list[str], "[a]"),
        (Literal["a"], "b"),
        (Literal["a"], '""a""'),
        (dt.date, 20260131),
        (dt.datetime, 1_700_000_000),
        (dt.timedelta, 90),
        (Item, "[1]"),
        (Item, {"sku": None}),
        (Item, {"sku": "a", "colour": "red"}),
        (Order, {"items": [{"sku": "a", "colour": "red"}]}),
    ],
)
def test_what_could_mean_two_things_is_refused(annotation: Any, value: object) -> None:
    with pytest.raises(InvalidValueError):
        read(annotation, value)


def test_a_model_that_asks_for_other_keys_gets_them() -> None:
    assert read(Loose, {"item": {"sku": "a"}, "more": 1}).model_extra == {"more": 1}


def test_what_came_is_left_untouched() -> None:
    value = {"items": '[{"sku": "a"}]', "note": None}
    read(Order, value)
    assert value == {"items": '[{"sku": "a"}]', "note": None}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["[1]", '{"sku": "a"}', '"a"', "null", "1", "{", '"']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["sku", "count", "items", "note", "kind", "item", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON)
def test_whatever_comes_is_read_or_refused_and_nothing_else(value: object) -> None:
    for annotation in (Order, Loose, list[Item], dict[str, Item | int], Literal["a", 1]):
        with contextlib.suppress(InvalidValueError):
            read(annotation, value)
