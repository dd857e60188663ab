from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentkit.errors import ToolDefinitionError
from agentkit.schema.signature import signature_of
from tests.schema.signature_zoo import DOCUMENTED, REFUSED_TYPES, signatures

WHOLE = list(signatures())


def same(one: Any, two: Any) -> bool:
    return bool(one == two) and (type(one) is type(two) or isinstance(one, type(two)))


def check_signature(function: Callable[..., Any], wire: dict[str, Any], values: Any) -> None:
    """A call arrives as it has to, and is refused where something of it is missing or wrong.

    Raises:
        AssertionError: It does not.
    """
    signature = signature_of(function)
    found = signature.check(wire)
    assert isinstance(found, dict), found
    assert found.keys() == values.keys()
    assert all(same(found[name], values[name]) for name in values), found
    refused = signature.check({**wire, "a parameter nobody has": 1})
    assert isinstance(refused, list) or signature.rest is not None


def check_refused(annotation: Any) -> None:
    """A type is refused by the function's and the parameter's name.

    Raises:
        AssertionError: It is not.
    """

    def takes(it: Any) -> None: ...

    takes.__annotations__ = {"it": annotation}
    with pytest.raises(ToolDefinitionError, match=r"takes \(.*parameter 'it'"):
        signature_of(takes)


def check_docstring(text: str, *, mondays: bool) -> None:
    """Every line of a docstring is where it belongs.

    Raises:
        AssertionError: One is lost.
    """

    def find(a: int, b: str = "") -> None: ...

    find.__doc__ = text
    found = signature_of(find).documentation
    assert dict(found.parameters) == {"a": "words of a", "b": "and b"}, found
    assert found.description.startswith("Finds.")
    assert ("Only on Mondays." in found.description) is mondays
    assert "words" not in found.description
    assert "What it finds" not in found.description


@pytest.mark.parametrize(("name", "function", "wire", "values"), WHOLE, ids=[w[0] for w in WHOLE])
def test_a_signature_is_right(name: str, function: Any, wire: Any, values: Any) -> None:
    check_signature(function, wire, values)


@pytest.mark.parametrize("number", range(len(REFUSED_TYPES)))
def test_what_no_model_can_fill_is_refused_by_name(number: int) -> None:
    check_refused(REFUSED_TYPES[number])


@pytest.mark.parametrize(("name", "text", "mondays"), DOCUMENTED, ids=[d[0] for d in DOCUMENTED])
def test_no_line_of_a_docstring_is_lost(name: str, text: str, mondays: bool) -> None:
    check_docstring(text, mondays=mondays)
