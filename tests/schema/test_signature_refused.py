"""Signatures that cannot be a tool are refused, with the place and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypedDict, Unpack

import pytest
from pydantic import Field

from agentkit.errors import ToolDefinitionError
from agentkit.schema.signature import signature_of


def untyped_args(*args) -> None: ...  # type: ignore[no-untyped-def] # the point


def unannotated(city) -> None: ...  # type: ignore[no-untyped-def] # the point


def takes_a_callable(then: Callable[[int], int]) -> None: ...


def unresolvable(x: NoSuchType) -> None: ...  # type: ignore[name-defined] # noqa: F821 - the point


def takes_a_class(kind: type[int]) -> None: ...


class Opaque:
    def __init__(self, handle: int) -> None:
        self.handle = handle


def opaque(handle: Opaque) -> None: ...


def unpacks_no_typed_dict(**options: Unpack[int]) -> None: ...  # type: ignore[misc] # the point


class Unresolved(TypedDict):
    field: NoSuchType  # type: ignore[name-defined] # noqa: F821 - the point


def unpacks_what_is_unresolved(**options: Unpack[Unresolved]) -> None: ...


FAILING = [
    (untyped_args, "args", "give it a type, as in `*args: str`"),
    (unannotated, "city", "annotate it, as in `city: str`"),
    (takes_a_callable, "then", "functools.partial"),
    (unresolvable, "x", "import that name at module level"),
    (takes_a_class, "kind", "functools.partial"),
    (opaque, "handle", "use a type that JSON can carry"),
    (unpacks_no_typed_dict, "options", "unpack a TypedDict"),
    (unpacks_what_is_unresolved, "options", "only what is defined before the tool"),
]


@pytest.mark.parametrize(("function", "parameter", "remedy"), FAILING)
def test_what_cannot_work_says_where_which_and_what_to_do(
    function: Callable[..., object], parameter: str, remedy: str
) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        signature_of(function)
    message = str(caught.value)
    line = function.__code__.co_firstlineno
    assert message.startswith(f"{function.__name__} ({__file__}:{line}): parameter {parameter!r}")
    assert remedy in message


def test_two_parameters_that_the_model_would_call_the_same_are_refused() -> None:
    def move(source: Annotated[int, Field(alias="target")], target: int) -> None: ...

    with pytest.raises(ToolDefinitionError, match="both called 'target'"):
        signature_of(move)


def test_without_strict_an_unannotated_parameter_takes_any_json() -> None:
    signature = signature_of(unannotated, strict=False)
    assert signature.schema["properties"] == {"city": {}}
    assert signature.check({"city": [1]}) == {"city": [1]}
