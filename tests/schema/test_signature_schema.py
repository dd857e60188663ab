"""The JSON Schema that a signature comes to, and what it says of the parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from agentkit.schema.signature import signature_of
from tests.schema.signatures import Node, default


def test_required_defaults_and_closed_objects_are_in_the_schema() -> None:
    assert signature_of(default).schema == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 5}},
        "additionalProperties": False,
        "required": ["a"],
    }


def test_a_default_set_is_shown_in_the_same_order_in_every_process() -> None:
    def pick(letters: set[str] = set("hgfedcba")) -> None: ...  # noqa: B006 - never changed

    assert signature_of(pick).schema["properties"]["letters"]["default"] == list("abcdefgh")


def test_a_set_within_a_default_is_shown_in_the_same_order_in_every_process() -> None:
    eight = set("hgfedcba")

    @dataclass
    class Choice:
        letters: frozenset[str] = frozenset(eight)

    class Model(BaseModel):
        letters: set[str] = eight

    choice, model, by_name = Choice(), Model(), {"a": eight}

    def pick(
        choice: Choice = choice,
        model: Model = model,
        by_name: dict[str, set[str]] = by_name,
        several: tuple[list[set[str]], ...] = ([eight],),
    ) -> None: ...

    properties = signature_of(pick).schema["properties"]
    shown = {name: each["default"] for name, each in properties.items()}
    in_order = list("abcdefgh")
    assert shown == {
        "choice": {"letters": in_order},
        "model": {"letters": in_order},
        "by_name": {"a": in_order},
        "several": [[in_order]],
    }
    for name in ("choice", "model"):
        assert properties[name]["properties"]["letters"]["default"] == in_order


def test_two_types_of_one_name_get_two_definitions() -> None:
    class Node(BaseModel):  # shadows the imported one
        name: str
        next: Node | None = None

    outer = globals()["Node"]

    def function(a: outer, b: Node) -> None: ...  # type: ignore[valid-type] # a variable

    schema = signature_of(function).schema
    assert len(schema["$defs"]) == 2
    assert schema["properties"]["a"] != schema["properties"]["b"]
    values = signature_of(function).check({"a": {"value": 1}, "b": {"name": "x"}})
    assert values == {"a": outer(value=1), "b": Node(name="x")}


def test_a_field_that_its_dataclass_sets_by_itself_is_no_argument() -> None:
    @dataclass
    class Order:
        item: str
        made: int = field(default=0, init=False)

    def function(order: Order) -> None: ...

    signature = signature_of(function)
    assert list(signature.schema["properties"]["order"]["properties"]) == ["item"]
    assert isinstance(signature.check({"order": {"item": "rug", "made": 1}}), list)


@pytest.mark.parametrize(
    "doc",
    [
        "Finds.\n\nArgs:\n    city: Where to look,\n        in English.\n    days: How far.\n",
        "Finds.\n\nParameters\n----------\ncity : str\n    Where to look,\n    in English.\n"
        "days : int\n    How far.\n",
        "Finds.\n\n:param city: Where to look,\n    in English.\n:param int days: How far.\n",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_docstrings_of_three_styles_describe_the_parameters(doc: str) -> None:
    def find(city: str, days: int = 1) -> None: ...

    find.__doc__ = doc
    signature = signature_of(find)
    assert signature.documentation.description == "Finds."
    assert signature.schema["properties"]["city"]["description"] == "Where to look, in English."
    assert signature.schema["properties"]["days"]["description"] == "How far."


def test_a_class_without_words_of_its_own_has_no_description() -> None:
    @dataclass
    class Guest:
        name: str

    class Plain:
        def __init__(self, name: str) -> None: ...

    assert signature_of(Guest).documentation.description == ""
    assert signature_of(Plain).documentation.description == ""


def test_an_annotation_describes_before_the_docstring() -> None:
    def find(
        a: Annotated[int, "in the annotation"], b: Annotated[int, Field(description="f")]
    ) -> None:
        """Finds.

        Args:
            a: In the docstring.
            b: In the docstring.
        """

    properties = signature_of(find).schema["properties"]
    assert properties["a"]["description"] == "in the annotation"
    assert properties["b"]["description"] == "f"
