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
from typing import Any

from pydantic_core import ErrorDetails, to_json

from agentkit.messages import JsonObject
from agentkit.schema.jsontype import InvalidValueError
from agentkit.schema.mending import locate

__all__ = [
    "MAX_FEEDBACK",
    "MOST_PROBLEMS",
    "Problem",
    "agreeing",
    "describe",
    "feedback",
    "field_path",
    "nearest",
    "problems_of",
    "shown",
    "unknown_key",
]

MAX_FEEDBACK = 299
"""Most characters of one message: a call's errors must not crowd out the conversation."""

MOST_PROBLEMS = 20
"""Of one value: a message has room for a few."""

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
    found: dict[str, tuple[str | None, list[str]]] = {}
    for detail in error.errors[:MOST_PROBLEMS]:
        keys = locate(error.value, detail["loc"])
        place = field_path([field, *keys])
        _, wants = found.setdefault(place, (_got(detail), []))
        if (want := _want(detail)) not in wants:
            wants.append(want)
    return [Problem(place, got, " or ".join(wants)) for place, (got, wants) in found.items()]


def shown(value: object) -> str:
    """A value as short JSON."""
    try:
        text = to_json(value, inf_nan_mode="constants", fallback=str).decode()
    except ValueError:
        text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one name that was probably meant."""
    known = list(islice(names, _MOST_COMPARED))
    name = name[:_LONGEST_NAME]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return close[0] if close else next((k for k in known if k.lower() == name.lower()), None)


_MOST_COMPARED = 100  # names: comparing is slow, and this only words a hint
_LONGEST_NAME = 64  # characters


def unknown_key(key: str, known: Sequence[str]) -> str:
    """What to say of a key that the schema does not have."""
    close = nearest(key, known)
    if close is not None:
        return f"is not a parameter (did you mean {close}?)"
    listed = ", ".join(known)
    if len(listed) > 2 * _SHOWN:
        listed = f"{listed[: 2 * _SHOWN]}…"
    return f"is not a parameter; there is {listed or 'none'}"


def field_path(keys: Sequence[str | int], *more: str) -> str:
    """Where a value sits, as a model would write it: `order.items[2].price`."""
    steps = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in (*keys, *more))
    text = "".join(steps).removeprefix(".") or "arguments"
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN + 1 :]}"


def _got(detail: ErrorDetails) -> str | None:
    return None if detail["type"] in ("missing", *_NO_ECHO) else shown(detail["input"])


_NO_ECHO = ("extra_forbidden", "unexpected_keyword_argument", "missing_argument")

_WANTS: Mapping[str, str] = {
    "missing": "is missing",
    "missing_argument": "is missing",
    "extra_forbidden": "is not a field here",
    "unexpected_keyword_argument": "is not a field here",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "a smaller integer",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "bytes_type": "a string",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "iterable_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
    "dataclass_exact_type": "an object",
    "arguments_type": "a list",
    "date_type": 'a date like "2026-01-31"',
    "date_parsing": 'a date like "2026-01-31"',
    "date_from_datetime_parsing": 'a date like "2026-01-31"',
    "date_from_datetime_inexact": 'a date without a time, like "2026-01-31"',
    "datetime_type": 'a time like "2026-01-31T09:30:00Z"',
    "datetime_parsing": 'a time like "2026-01-31T09:30:00Z"',
    "datetime_from_date_parsing": 'a time like "2026-01-31T09:30:00Z"',
    "time_type": 'a time of day like "09:30:00"',
    "time_parsing": 'a time of day like "09:30:00"',
    "time_delta_type": 'a duration like "PT1H30M"',
    "time_delta_parsing": 'a duration like "PT1H30M"',
    "uuid_type": "a UUID",
    "uuid_parsing": "a UUID",
    "path_type": "a path",
    "url_type": "a URL",
    "url_parsing": "a URL",
    "url_syntax_violation": "a URL",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "at least {min_length} items, not {actual_length}",
    "too_long": "at most {max_length} items",
    "union_tag_not_found": "an object with the field {discriminator}",
    "recursion_loop": "less nesting",
}
"""By pydantic's error type (docs.pydantic.dev, "Validation Errors")."""


def _want(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind in ("literal_error", "enum"):
        return _choice(str(context.get("expected", "")), detail["input"])
    if kind == "union_tag_invalid":
        tag = str(context.get("discriminator", "")).strip("'")
        return f"{tag} to be one of {_choice(str(context.get('expected_tags', '')), None)}"
    if kind in ("value_error", "assertion_error"):
        return f"another value: {context.get('error', detail['msg'])}"
    if kind in _WANTS:
        return agreeing(_WANTS[kind].format(**context))
    return re.sub(r"^(Input|Value) should (be|have) ", "", detail["msg"]).lower()


def agreeing(words: str) -> str:
    """Our own words with the singular after 1, as in `at least 1 item`."""
    return re.sub(r"\b1 (character|item)s\b", r"1 \1", words)


def _choice(expected: str, value: object) -> str:
    """The allowed values, with a guess at the meant one where they are many."""
    words = re.findall(r"'(?:[^'\\]|\\.)*'|[^\s,']+", expected)
    choices = [f'"{w[1:-1]}"' if w.startswith("'") else w for w in words if w != "or"]
    close = nearest(f'"{value}"', choices) if isinstance(value, str) else None
    listed = _listed(choices)
    return f"{listed} (did you mean {close}?)" if close and len(choices) > 1 else listed


def _listed(choices: Sequence[str]) -> str:
    """`a or b`, `a, b or c`; those that fit, where they are many."""
    if sum(map(len, choices)) > 3 * _SHOWN:
        kept = [c for i, c in enumerate(choices) if sum(map(len, choices[: i + 1])) < 2 * _SHOWN]
        return f"{', '.join(kept)} or {len(choices) - len(kept)} more"
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1]))) if choices else ""


# --- what a schema asks for, in a word ---------------------------------------------------------

_NOUNS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def describe(schema: JsonObject) -> str:
    """A short noun phrase for what a schema accepts, as `an integer`; "" for anything."""
    if "enum" in schema:
        return _listed([shown(value) for value in schema["enum"]])
    if "const" in schema:
        return shown(schema["const"])
    if "anyOf" in schema or "oneOf" in schema:
        members: list[Any] = schema.get("anyOf") or schema["oneOf"]
        return " or ".join(dict.fromkeys(filter(None, map(describe, members))))
    kinds = schema.get("type", "")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return " or ".join(filter(None, (_NOUNS.get(str(kind), "") for kind in kinds)))
