"""Arguments arrive as the signature declares.

The values are compared with their types, so `3` for `3.0` or a dict for a dataclass is a failure.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
from pydantic import BaseModel

from agentkit.schema.signature import signature_of
from tests.schema.signatures import WORKING, Case, anything, default


@pytest.mark.parametrize("case", WORKING, ids=lambda c: getattr(c.function, "__name__", "object"))
def test_arguments_arrive_in_their_declared_types(case: Case) -> None:
    signature = signature_of(case.function)
    values = signature.check(case.arguments)
    assert isinstance(values, dict), [str(problem) for problem in values]
    positional, keyword = signature.call_arguments(values, None)
    got = case.function(*positional, **keyword)
    assert got == case.expected
    assert repr(got) == repr(case.expected)


def test_a_type_defined_inside_a_function_is_found() -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    def function(value: Local, more: list[Local]) -> object:
        return value, more

    values = signature_of(function).check({"value": {"x": 1}, "more": [{"x": "2"}]})
    assert values == {"value": Local(1), "more": [Local(2)]}


def test_a_local_type_that_names_another_is_found() -> None:
    class Inner(BaseModel):
        x: int

    class Outer(BaseModel):
        inner: Inner

    def function(value: Outer) -> None: ...

    assert signature_of(function).check({"value": {"inner": {"x": 1}}}) == {
        "value": Outer(inner=Inner(x=1))
    }


@pytest.mark.parametrize("depth", [300, 900, 5_000])
def test_arguments_nested_without_end_are_refused(depth: int) -> None:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    found = signature_of(anything).check({"x": deep})
    assert [str(problem) for problem in found] == ['x: got "[[[…", want less nesting']


class Warehouse:
    class Shelf(BaseModel):
        number: int

    def count(self, shelf: Shelf) -> object:
        return shelf


def test_a_method_may_name_a_class_inside_its_own() -> None:
    values = signature_of(Warehouse().count).check({"shelf": {"number": 1}})
    assert values == {"shelf": Warehouse.Shelf(number=1)}


def test_a_parameter_bound_by_partial_is_not_the_models() -> None:
    signature = signature_of(functools.partial(default, b=9))
    assert list(signature.parameters) == ["a"]
    assert isinstance(signature.check({"a": 1, "b": 2}), list)


def test_an_entry_may_be_called_as_a_section_is_and_a_field_without_a_name_is_text() -> None:
    def join(*args: int, returns: str) -> None:
        """Joins.

        Args:
            *args:
                What is joined.
            returns:
                :param: in front of it.
        """

    assert dict(signature_of(join).documentation.parameters) == {
        "args": "What is joined.",
        "returns": ":param: in front of it.",
    }


def test_two_parameters_may_share_one_entry() -> None:
    def box(width: int, height: int) -> None:
        """Boxes.

        Args:
            width, height: In pixels.
        """

    words = signature_of(box).documentation.parameters
    assert dict(words) == {"width": "In pixels.", "height": "In pixels."}
