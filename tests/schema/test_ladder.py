from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, StringConstraints

from agentkit.exact import read_exact
from agentkit.messages import JsonObject
from agentkit.schema.jsontype import InvalidValueError, json_type
from agentkit.schema.ladder import (
    KEYS,
    OWN,
    REAL,
    TIME,
    doubts,
    fitted,
    is_nothing,
    with_every_digit,
)
from agentkit.schema.shape import Shape


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


# --- the rungs, one by one ---------------------------------------------------------------------


def places(value: Any, schema: JsonObject, *, traps: bool = False) -> list[tuple[Any, ...]]:
    """Where a value is in doubt."""
    return [doubt.keys for doubt in doubts(value, Shape.of(schema), traps=traps)]


def one_of(*branches: JsonObject) -> JsonObject:
    return {"anyOf": list(branches)}


# --- what is certain ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [("5.", 5.0), ("-.5", -0.5), ("5.e2", 500.0), ("+.5", 0.5), (" 1E-2\n", 0.01), ("-12", -12)],
)
def test_a_number_is_read_in_pythons_spelling_too(text: str, number: float) -> None:
    assert fitted(text, Shape.of({"type": "number"})) == number


@pytest.mark.parametrize("text", ["00", "0755", "1.e", "1_000", "5-", "", ".", "1e"])
def test_a_code_or_half_a_number_is_no_number(text: str) -> None:
    assert fitted(text, Shape.of({"type": "number"})) == text


@pytest.mark.parametrize("word", ["true", "yes", "y", "on", "t", "1", "True", "YES", '"on"'])
def test_words_for_yes_are_true(word: str) -> None:
    assert fitted(word, Shape.of({"type": "boolean"})) is True


@pytest.mark.parametrize("word", ["false", "no", "n", "off", "f", "0", "False", "'off'"])
def test_words_for_no_are_false(word: str) -> None:
    assert fitted(word, Shape.of({"type": "boolean"})) is False


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        (1, {"type": "boolean"}, True),
        (0, {"type": "boolean"}, False),
        (2, {"type": "boolean"}, 2),
        (1, {"enum": [True]}, 1),  # which of two things was meant, only the model knows
        (3.0, {"type": "integer"}, 3),
        (3.0, {"type": "number"}, 3.0),
        (3.5, {"type": "integer"}, 3.5),
        (2.0**53, {"type": "integer"}, 2**53),
        (2.0**53 + 2, {"type": "integer"}, 2.0**53 + 2),  # its last digits were lost already
        (True, {"type": "integer"}, True),
    ],
)
def test_a_number_is_of_the_type_that_is_wanted(
    value: Any, schema: JsonObject, expected: Any
) -> None:
    got = fitted(value, Shape.of(schema))
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize("word", ["date", "date-time", "time", "duration", "uuid", "ipv4", "ipv6"])
def test_where_no_quote_has_a_place_quotes_are_taken_off_and_null_is_none(word: str) -> None:
    assert fitted("'x'", Shape.of({"type": "string", "format": word})) == "x"
    assert fitted("null", Shape.of({"type": ["string", "null"], "format": word})) is None


def test_in_any_other_text_quotes_and_null_are_its_own() -> None:
    assert fitted("'x'", Shape.of({"type": "string", "format": "email"})) == "'x'"
    assert fitted("null", Shape.of({"type": ["string", "null"]})) == "null"


def test_a_single_quote_is_not_a_pair_of_them() -> None:
    assert fitted('"', Shape.of({"enum": [""]})) == '"'
    assert fitted('""', Shape.of({"enum": [""]})) == ""


@pytest.mark.parametrize("text", ["\"'1'\"", "\" '1' \"", '"\\"\'1\'\\""'])
def test_quotes_in_quotes_are_not_peeled(text: str) -> None:
    assert fitted(text, Shape.of({"type": "integer"})) == text


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ("```json\n[1]\n```", {"type": "array"}, [1]),
        ('```\n"a"\n```', {"enum": ["a"]}, "a"),
        ("[1", {"type": "array"}, "[1"),  # what is cut is never completed
        ('{"a":"1"}', {"properties": {"a": {"type": "integer"}}, "type": "object"}, {"a": 1}),
    ],
)
def test_json_in_a_text_is_read(text: str, schema: JsonObject, expected: Any) -> None:
    assert fitted(text, Shape.of(schema)) == expected


def test_nothing_for_a_member_that_need_not_be_given_is_left_out() -> None:
    text = {"type": "string"}
    optional = {"type": "object", "properties": {"a": {"type": "integer"}, "b": text}}
    assert fitted({"a": None, "b": "null"}, Shape.of(optional)) == {"b": "null"}
    assert fitted({"a": "none"}, Shape.of(optional)) == {}
    assert fitted({"a": None}, Shape.of({**optional, "required": ["a"]})) == {"a": None}
    nullable = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    assert fitted({"a": None}, Shape.of(nullable)) == {"a": None}


@pytest.mark.parametrize(
    ("value", "branches", "expected"),
    [
        ("3", ({"type": "integer"}, {"type": "array"}), 3),
        ("3", ({"type": "integer"}, {"type": "boolean"}), 3),
        ("1", ({"type": "integer"}, {"type": "boolean"}), "1"),  # one, or yes
        ("[1]", ({"type": "integer"}, {"type": "array"}), [1]),
        # None fits; all but null agree what it is, so that the error is about what is inside.
        (
            '{"x":"y"}',
            ({"type": "object", "properties": {"x": {"type": "integer"}}}, {"type": "null"}),
            {"x": "y"},
        ),
    ],
)
def test_a_union_takes_what_one_of_its_branches_alone_can_mean(
    value: Any, branches: tuple[JsonObject, ...], expected: Any
) -> None:
    got = fitted(value, Shape.of(one_of(*branches)))
    assert (got, type(got)) == (expected, type(expected))


def test_digits_that_no_float_holds_are_kept_where_a_text_is_taken_too() -> None:
    text = "1.23456789012345678901234567890"
    value = read_exact(f'{{"a": [{text}]}}')

    def kept(item: JsonObject) -> Any:
        return with_every_digit(value, Shape.of({"properties": {"a": {"items": item}}}))["a"][0]

    assert kept({"type": ["string", "number"]}) == text
    assert kept({"type": "number"}) == kept({}) == float(text)


@pytest.mark.parametrize(
    ("text", "whole"),
    [("9007199254740993.0", 2**53 + 1), ("12345678901234567890.0", 12345678901234567890)],
)
def test_a_whole_number_written_with_a_point_keeps_its_digits(text: str, whole: int) -> None:
    integer = Shape.of({"type": "integer"})
    kept = with_every_digit(read_exact(text), integer)
    read = [kept, fitted(read_exact(text), integer), fitted(text, integer)]
    assert read == [whole] * 3
    assert {type(each) for each in read} == {int}


def test_a_number_that_is_nearly_whole_is_no_whole_number() -> None:
    text, integer = "1.0000000000000000001", Shape.of({"type": "integer"})
    for value in (text, with_every_digit(read_exact(text), integer)):
        assert fitted(value, integer) == text


@pytest.mark.parametrize(
    ("value", "nothing"),
    [(None, True), (" NULL ", True), ("None", True), ("nil", False), ("", False), (0, False)],
)
def test_nothing_is_null_and_its_spellings(value: object, nothing: bool) -> None:
    assert is_nothing(value) is nothing


# --- what is in doubt --------------------------------------------------------------------------


def test_a_member_that_is_missing_wrong_or_unknown_is_named_by_its_place() -> None:
    closed: JsonObject = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "null"}}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert places({"b": []}, closed) == [("a",)]
    assert places({"a": 1, "b": [None, 2], "c": 3}, closed) == [("a",), ("b", 1), ("c",)]
    assert places({"a": "x", "b": []}, closed) == []
    assert places({"a": 1, "c": 3}, closed, traps=True) == []


def test_a_tag_is_looked_at_before_anything_else() -> None:
    tagged: JsonObject = {
        "type": "object",
        "properties": {"deep": {"type": "array"}, "kind": {"enum": ["a"]}},
    }
    assert places({"deep": 1, "kind": "b"}, tagged) == [("kind",), ("deep",)]


@pytest.mark.parametrize(
    ("value", "schema", "trap"),
    [
        (True, {"enum": [1]}, True),  # equal in Python
        (1, {"enum": [True]}, True),
        (1.0, {"enum": [1]}, False),
        (True, {"type": "integer"}, False),  # strict mode refuses it by itself
        ("5", {"type": "string", TIME: True}, True),
        ("+5_0.5", {"type": "string", TIME: True}, True),
        ("2026-01-01", {"type": "string", TIME: True}, False),
        (2**53 + 1, {"type": "number", REAL: True}, True),
        (2**53 + 2, {"type": "number", REAL: True}, False),
        (10**400, {"type": "number", REAL: True}, True),
        (2**53 + 1, {"type": "number"}, False),
        (None, {"type": "string"}, False),
    ],
)
def test_a_trap_is_what_strict_pydantic_takes_for_something_else(
    value: Any, schema: JsonObject, trap: bool
) -> None:
    assert bool(places(value, schema, traps=True)) is trap
    if trap:
        assert places(value, schema) == [()]


def test_what_a_float_cannot_hold_is_told_in_words() -> None:
    (doubt,) = doubts(2**53 + 1, Shape.of({"type": "number", REAL: True}))
    assert doubt.why == "a number that a float can hold, of up to 15 digits"
    (other,) = doubts(True, Shape.of({"type": "number", REAL: True}))
    assert other.why == ""


@pytest.mark.parametrize(
    ("value", "schema", "doubtful"),
    [
        (True, {"type": "integer"}, True),  # lax mode behind the function makes it 1
        (True, {"type": "number"}, True),
        (True, {"type": ["number", "boolean"]}, False),
        (True, {"type": "string"}, False),
        ("nan", {"type": "number", REAL: True}, True),
        (" -Infinity ", {"type": "number", REAL: True}, True),
        ("hello", {"type": "number", REAL: True}, False),  # the function may know it
        ("nan", {"type": "number"}, False),
        (5, {"type": "string", TIME: True}, True),
        ("5", {"type": "string", TIME: True}, True),
        (5, {"type": "string"}, False),
    ],
)
def test_behind_a_function_of_the_types_author_only_what_would_be_changed_is_in_doubt(
    value: Any, schema: JsonObject, doubtful: bool
) -> None:
    assert bool(places(value, {OWN: True, **schema})) is doubtful


def test_of_traps_behind_such_a_function_only_the_hidden_ones_stay() -> None:
    assert places("5", {OWN: True, "type": "string", TIME: True}, traps=True) == []
    real = {OWN: True, "type": "number", REAL: True}
    assert places(2**53 + 1, real, traps=True) == [()]
    inside = {OWN: True, "type": "object", "properties": {"a": {"type": "string", TIME: True}}}
    assert places({"a": "5"}, inside, traps=True) == []


def test_a_union_is_a_trap_where_its_first_branch_that_takes_the_value_is_one() -> None:
    trap: JsonObject = {"type": "object", "properties": {"a": {"enum": [1]}}}
    wrong: JsonObject = {
        "type": "object",
        "properties": {"a": {"enum": [1]}, "b": {"type": "string"}},
    }
    text: JsonObject = {"type": "string"}
    assert places({"a": True}, one_of(trap, text), traps=True) == [()]
    assert places({"a": True, "b": 1}, one_of(wrong, text), traps=True) == []
    assert places(True, one_of({"enum": [1]}, {"type": "boolean"}), traps=True) == [()]
    assert places(True, one_of({"type": "boolean"}, {"enum": [1]}), traps=True) == []
    assert places(True, one_of({"enum": [1]}, text)) == [()]
    assert places("x", one_of({"enum": [1]}, text)) == []


@pytest.mark.parametrize(
    ("kind", "keys", "doubtful"),
    [
        ("integer", ["1", "2"], []),
        ("integer", ["1", "01"], ["01"]),
        ("integer", ["1", "1.0"], ["1.0"]),
        ("integer", ["x"], ["x"]),
        ("number", ["1.50", "2"], []),
        ("number", ["1", "1.0"], ["1.0"]),  # two that are one
        ("number", ["x"], ["x"]),
        ("boolean", ["true", "false"], []),
        ("boolean", ["true", "yes"], ["yes"]),
    ],
)
def test_keys_that_are_read_as_a_type_are_spelled_as_it_and_are_not_one(
    kind: str, keys: list[str], doubtful: list[str]
) -> None:
    schema = {"type": "object", "additionalProperties": {}, KEYS: kind}
    assert places(dict.fromkeys(keys, 0), schema) == [(key,) for key in doubtful]


Folded = Annotated[str, StringConstraints(to_lower=True)]
Lowered = Annotated[str, AfterValidator(str.lower)]
TWO_IDS = {"12345678-1234-5678-1234-567812345678": 1, "12345678123456781234567812345678": 2}


class Shelf(BaseModel):
    counts: dict[UUID, int]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (dict[Folded, int], {"A": 1, "a": 2}),
        (dict[Lowered, int], {"A": 1, "a": 2}),
        (Shelf, {"counts": TWO_IDS}),
        (list[Shelf | None], [None, {"counts": TWO_IDS}]),
        (tuple[dict[UUID, int], ...], [TWO_IDS]),
        (dict[UUID, int] | int, TWO_IDS),
    ],
)
def test_no_key_is_lost_to_another_wherever_the_mapping_stands(
    annotation: Any, value: object
) -> None:
    with pytest.raises(InvalidValueError):
        json_type(annotation, {}).read(value)


def test_a_float_is_the_listed_number_and_no_listed_truth() -> None:
    read = json_type(Literal[1, "1", True], {}).read(1.0)
    assert (type(read), read) == (int, 1)


@pytest.mark.slow
def test_work_without_end_is_given_up_and_the_value_is_in_doubt_as_a_whole() -> None:
    schema: JsonObject = {"type": "integer"}
    for _ in range(12):
        schema = one_of({"type": "array", "items": schema}, {"type": "array", "items": schema})
    value: Any = "x"
    for _ in range(12):
        value = [value, value]
    assert fitted(value, Shape.of(schema)) == value
    assert places(value, schema) == [()]
