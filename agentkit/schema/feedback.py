"""What is wrong with a call's arguments, in words that a small model can act on.

Each problem names the field, what came (shortened) and what is wanted; all problems of a call
share one budget of characters. No class paths, no URLs, no jargon of a validator.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, cast

from pydantic_core import ErrorDetails

from agentkit.schema.jsontype import InvalidValueError
from agentkit.schema.ladder import Doubt, Keys
from agentkit.schema.prose import either, limit, short, wanted

MAX_FEEDBACK = 299
"""Most characters of one message: a call's errors must not crowd out the conversation."""

MOST_PROBLEMS = 20
"""Most problems reported of one value: a message has room for a few."""

_SHOWN = 40
"""Most characters of a value that came, and of a field's path."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a call.

    Attributes:
        field: Where, as `order.items[2].price`.
        got: What came, as JSON; None if nothing did.
        want: What is wanted instead.
    """

    field: str
    got: str | None
    want: str

    def __str__(self) -> str:
        if self.got is None:
            return f"{self.field}: {self.want}"
        return f"{self.field}: got {self.got}, want {self.want}"


def feedback(tool: str, problems: Sequence[Problem]) -> str:
    """The message for the model, below `MAX_FEEDBACK` characters."""
    text = f"Error: {tool} was not run. "
    for number, problem in enumerate(problems):
        left = len(problems) - number
        more = f" And {left} more." if left < len(problems) else ""
        room = MAX_FEEDBACK - len(text) - len(" And 00 more.")
        line = f"{problem}."
        if len(line) > room and number:
            return text.rstrip() + more
        text += (line if len(line) <= room else line[: room - 2] + "….") + " "
    return text.rstrip()


def problems_of(field: str, error: InvalidValueError) -> list[Problem]:
    """A value's errors, those of one place joined into one problem.

    Args:
        field: The argument's name.
        error: What reading its value raised.
    """
    if error.raised is not None:
        words = f"{type(error.raised).__name__}: {error.raised}".removesuffix(": ")
        return [Problem(field, short(error.value), f"another value: checking it raised {words}")]
    found: dict[Keys, tuple[str | None, list[str]]] = {}
    for detail in error.errors[:MOST_PROBLEMS]:
        keys = locate(error.value, detail["loc"])
        echoed = detail["type"] not in ("missing", *_NO_ECHO)
        _, wants = found.setdefault(keys, (short(detail["input"]) if echoed else None, []))
        # pydantic gives the choices as one text, and members of an enum by their repr.
        listed_here = (d for d in error.doubts if d.keys == keys and d.shape.values is not None)
        doubt = next(listed_here, None) if detail["type"] in _CHOICES else None
        if (want := _want(detail) if doubt is None else _meant(doubt)) not in wants:
            wants.append(want)
    for doubt in error.doubts[:MOST_PROBLEMS]:
        depth = len(doubt.keys)
        if not any(keys[:depth] == doubt.keys[: len(keys)] for keys in found):
            found[doubt.keys] = (short(doubt.value), [_meant(doubt)])
    return [
        Problem(field_path([field, *keys]), got, " or ".join(wants))
        for keys, (got, wants) in found.items()
    ]


def _meant(doubt: Doubt) -> str:
    """What is wanted in a doubtful place, with a guess where the value is nearly a listed one."""
    values = doubt.shape.values
    if doubt.why:
        return doubt.why
    if values is None:
        return wanted(doubt.shape) or "something else"
    return _guessed([short(value) for value in values], doubt.value)


def locate(value: object, loc: Sequence[str | int]) -> Keys:
    """The keys of a pydantic error's location that exist in the document.

    Locations also hold names of union members and function wrappers; those are no keys. The last
    element is kept even if absent: it is the key that is missing.
    """
    keys: list[str | int] = []
    for position, step in enumerate(loc):
        if _has(value, step):
            value = cast("Any", value)[step]
        elif position < len(loc) - 1 or not _could_have(value, step):
            continue
        keys.append(step)
    return tuple(keys)


def _has(value: object, step: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, dict) and step in value


def _could_have(value: object, step: str | int) -> bool:
    return isinstance(value, list) if isinstance(step, int) else isinstance(value, dict)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one name that was probably meant."""
    known = list(islice(names, _MOST_COMPARED))
    name = name[:_LONGEST_NAME]
    folded = [each for each in known if each.casefold() == name.casefold()]
    close = folded or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return close[0] if close else None


_MOST_COMPARED = 100  # names: comparing is slow, and this only words a hint
_LONGEST_NAME = 64  # characters


def unknown_key(key: str, known: Sequence[str]) -> str:
    """What to say of a key that the schema does not have."""
    close = nearest(key, known)
    if close is not None:
        return f"is not a parameter (did you mean {close}?)"
    names = ", ".join(known)
    if len(names) > 2 * _SHOWN:
        names = f"{names[: 2 * _SHOWN]}…"
    return f"is not a parameter; there is {names or 'none'}"


def field_path(keys: Sequence[str | int], *more: str) -> str:
    """Where a value sits, as a model would write it: `order.items[2].price`."""
    steps = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in (*keys, *more))
    text = "".join(steps).removeprefix(".") or "arguments"
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN + 1 :]}"


_CHOICES = ("literal_error", "enum")
_NO_ECHO = ("extra_forbidden", "unexpected_keyword_argument", "missing_argument")

_KEYWORDS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("int_type", "int_parsing"), ("type", "=integer")),
    **dict.fromkeys(("float_type", "float_parsing"), ("type", "=number")),
    **dict.fromkeys(("decimal_type", "decimal_parsing"), ("type", "=number")),
    **dict.fromkeys(("bool_type", "bool_parsing"), ("type", "=boolean")),
    **dict.fromkeys(("string_type", "bytes_type"), ("type", "=string")),
    "none_required": ("type", "=null"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), ("type", "=array")),
    **dict.fromkeys(("iterable_type", "arguments_type"), ("type", "=array")),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type"), ("type", "=object")),
    **dict.fromkeys(("model_attributes_type", "dataclass_type"), ("type", "=object")),
    "dataclass_exact_type": ("type", "=object"),
    **dict.fromkeys(("date_type", "date_parsing"), ("format", "=date")),
    "date_from_datetime_parsing": ("format", "=date"),
    "date_from_datetime_inexact": ("format", "=date"),
    **dict.fromkeys(("datetime_type", "datetime_parsing"), ("format", "=date-time")),
    "datetime_from_date_parsing": ("format", "=date-time"),
    **dict.fromkeys(("time_type", "time_parsing"), ("format", "=time")),
    **dict.fromkeys(("time_delta_type", "time_delta_parsing"), ("format", "=duration")),
    **dict.fromkeys(("uuid_type", "uuid_parsing"), ("format", "=uuid")),
    **dict.fromkeys(("url_type", "url_parsing", "url_syntax_violation"), ("format", "=uri")),
    "greater_than": ("exclusiveMinimum", "gt"),
    "greater_than_equal": ("minimum", "ge"),
    "less_than": ("exclusiveMaximum", "lt"),
    "less_than_equal": ("maximum", "le"),
    "multiple_of": ("multipleOf", "multiple_of"),
    "string_too_short": ("minLength", "min_length"),
    "string_too_long": ("maxLength", "max_length"),
    "string_pattern_mismatch": ("pattern", "pattern"),
    "too_short": ("minItems", "min_length"),
    "too_long": ("maxItems", "max_length"),
}
"""pydantic's error type (docs.pydantic.dev, "Validation Errors") → the keyword of JSON Schema that
was broken, and its value or the name of it in the error's context."""

_WANTS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "missing_argument": "is missing",
    "extra_forbidden": "is not a field here",
    "unexpected_keyword_argument": "is not a field here",
    "int_parsing_size": "an integer written in digits",
    "int_from_float": "a whole number",
    "finite_number": "a finite number",
    "path_type": "a path",
    "union_tag_not_found": "an object with the field {discriminator}",
    "recursion_loop": "less nesting",
}
"""What is no keyword of JSON Schema."""


def _want(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind in _CHOICES:
        return _choice(str(context.get("expected", "")), detail["input"])
    if kind == "union_tag_invalid":
        tag = str(context.get("discriminator", "")).strip("'")
        return f"{tag} to be one of {_choice(str(context.get('expected_tags', '')), None)}"
    if kind in ("value_error", "assertion_error"):
        return f"another value: {context.get('error', detail['msg'])}"
    if kind in _KEYWORDS:
        keyword, value = _KEYWORDS[kind]
        return limit(keyword, value[1:] if value.startswith("=") else context.get(value))
    if kind in _WANTS:
        return _WANTS[kind].format(**context)
    return re.sub(r"^(Input|Value) should (be|have) ", "", detail["msg"]).lower()


def _choice(expected: str, value: object) -> str:
    """The allowed values, with a guess at the meant one where they are many."""
    words = re.findall(r"'(?:[^'\\]|\\.)*'|[^\s,']+", expected)
    return _guessed([f'"{w[1:-1]}"' if w.startswith("'") else w for w in words if w != "or"], value)


def _guessed(choices: Sequence[str], value: object) -> str:
    """The choices, and which one was probably meant where there are several."""
    texts = [choice[1:-1] for choice in choices if choice.startswith('"')]
    close = nearest(value, texts) if isinstance(value, str) else None
    guess = f' (did you mean "{close}"?)' if close and len(choices) > 1 else ""
    return f"{either(choices)}{guess}"
