"""What a docstring says of a function and its parameters: Google, NumPy or Sphinx style."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import docstring_parser
from docstring_parser import DocstringStyle

__all__ = ["Documentation", "documentation_of"]


@dataclass(frozen=True, slots=True)
class Documentation:
    """A docstring, taken apart.

    Attributes:
        description: Everything that is not about a parameter, a result or an error.
        parameters: Descriptions by parameter name.
    """

    description: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def documentation_of(definition: Any, function: Any) -> Documentation:
    """Reads a callable's docstring.

    Args:
        definition: The `def` behind it.
        function: The callable; a callable object is documented by its class.
    """
    text = inspect.getdoc(definition) or ""
    if definition is not function and not inspect.isroutine(function):
        kind = function if isinstance(function, type) else type(function)
        if kind.__module__ != "functools":
            text = _own_doc(kind) or text
    return _parsed(text)


def _own_doc(kind: type[Any]) -> str:
    text = kind.__doc__ or ""
    made_up = text.startswith(f"{kind.__name__}(")  # what @dataclass writes by itself
    return "" if made_up else inspect.cleandoc(text)


def _parsed(text: str) -> Documentation:
    style = _style(text)
    if style is None:
        return Documentation(text.strip())
    try:
        found = docstring_parser.parse(text, style)
    except docstring_parser.ParseError:
        return Documentation(text.strip())
    parameters: dict[str, str] = {}
    for entry in found.params:
        for name in entry.arg_name.split(","):
            words = " ".join((entry.description or "").split())
            parameters[name.strip().lstrip("*")] = words
    return Documentation((found.description or "").strip(), parameters)


_FIELDS = re.compile(
    r"^\s*:(param|parameter|arg|argument|key|keyword|return|returns|raises?)\b", re.M
)
_UNDERLINED = re.compile(
    r"^\s*(Parameters|Other Parameters|Returns|Raises|Yields)\s*\n\s*-{3,}", re.M
)
_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Params|Returns|Yields|Raises|Attributes|Example"
    r"|Examples|Keyword Args|Keyword Arguments):\s*$",
    re.M,
)


def _style(text: str) -> DocstringStyle | None:
    """The style it is written in; trying all of them would cost three times as much."""
    if _UNDERLINED.search(text):
        return DocstringStyle.NUMPYDOC
    if _SECTION.search(text):
        return DocstringStyle.GOOGLE
    if _FIELDS.search(text):
        return DocstringStyle.REST
    return None
