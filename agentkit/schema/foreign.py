"""Arguments of a tool whose JSON Schema was written elsewhere, such as by an MCP server.

The same service as `Signature`: what can mean only one thing is mended, everything that is wrong is
reported at once and briefly. The values stay plain JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from jsonschema.exceptions import ValidationError
from referencing import Registry

from agentkit.exact import InexactError, read_exact
from agentkit.messages import JsonObject
from agentkit.schema.bounded import BoundedValidator, bounded
from agentkit.schema.drafts import UnusableSchemaError, modern
from agentkit.schema.feedback import (
    MOST_PROBLEMS,
    Problem,
    agreeing,
    describe,
    field_path,
    shown,
    unknown_key,
)

__all__ = ["ForeignArguments", "why_unusable"]


def why_unusable(schema: object) -> str | None:
    """Why nothing can be checked against a schema; None if it is fine. See `modern`."""
    try:
        modern(schema)
    except UnusableSchemaError as error:
        return str(error)
    return None


class ForeignArguments:
    """Checks arguments against a JSON Schema of any draft, as far as that takes bounded time.

    A stranger's schema can ask for more work than there is time: patterns that explode, references
    in circles, unions of unions. What cannot be checked, or not within the bounds, counts as right:
    the server that wrote the schema checks again.

    Args:
        schema: Of the arguments object; not changed.

    Attributes:
        schema: The same as draft 2020-12, a copy of its own.
        unchecked: What of the schema is never checked here, for people.

    Raises:
        UnusableSchemaError: Nothing can be checked against it.
    """

    def __init__(self, schema: object) -> None:
        read = modern(schema)
        self.schema = schema = read.schema
        self._properties: Mapping[str, Any] = schema.get("properties", {})
        self._closed = not {"additionalProperties", "patternProperties"} & schema.keys()
        self._validator = BoundedValidator(read.checkable, registry=Registry())
        self.unchecked = read.unchecked

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The arguments, mended where that is certain; or all that is wrong."""
        value: dict[str, Any] = json.loads(json.dumps(arguments))
        errors: list[ValidationError] = []
        with suppress(RecursionError), bounded():
            errors = list(islice(self._validator.iter_errors(value), MOST_PROBLEMS))
            for _ in range(_ROUNDS):
                if not [error for error in errors if self._mend(value, error)]:
                    break
                errors = list(islice(self._validator.iter_errors(value), MOST_PROBLEMS))
        problems = list(dict.fromkeys(p for error in errors for p in _problems(error)))
        if self._closed and self._properties:
            known = tuple(self._properties)
            strangers = [key for key in value if key not in self._properties]
            told = strangers[:MOST_PROBLEMS]
            problems += [Problem(key, None, unknown_key(key, known)) for key in told]
        return problems or value

    def _mend(self, document: dict[str, Any], error: ValidationError) -> bool:
        """Puts in place what a wrong value must have meant; False if that is not certain."""
        path = list(error.absolute_path)
        if not path or error.validator not in _MENDED:
            return False
        parent: Any = document
        for key in path[:-1]:
            parent = parent[key]
        if error.instance is None and isinstance(parent, dict):
            return self._leave_out(document, parent, path)
        if not isinstance(error.instance, str):
            return False
        wanted = self._validator.evolve(schema={error.validator: error.validator_value})
        for better in _readings(error.instance):
            if wanted.is_valid(better):
                parent[path[-1]] = better
                return True
        return False

    def _leave_out(
        self, document: dict[str, Any], parent: dict[str, Any], path: list[str | int]
    ) -> bool:
        """Null for something optional means that it is not given."""
        key = str(path[-1])
        del parent[key]
        for error in self._validator.iter_errors(document):
            if error.validator == "required" and list(error.absolute_path) == path[:-1]:
                parent[key] = None
                return False
        return True


_ROUNDS = 4
"""As for our own types: JSON text in JSON text; more layers are no accident."""

_MENDED = ("type", "enum", "const", "anyOf", "oneOf")


def _readings(text: str) -> Iterator[Any]:
    """Other values that the same characters may have been meant as."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        yield text[1:-1]
    with suppress(InexactError):
        yield read_exact(text.lower() if text in ("True", "False", "None") else text)


# --- words -------------------------------------------------------------------------------------

_WANTS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "text that matches {}",
    "uniqueItems": "items that differ",
}
"""By the keyword of JSON Schema that was broken; {} is the keyword's value."""


def _problems(error: ValidationError) -> Iterator[Problem]:
    path = list(error.absolute_path)
    value: Any = error.validator_value
    instance: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "required":
            for key in value:
                if key not in instance:
                    want = describe(schema.get("properties", {}).get(key, {}))
                    text = f"is missing, want {want}" if want else "is missing"
                    yield Problem(field_path(path, key), None, text)
        case "additionalProperties" if value is False:
            known = tuple(schema.get("properties", ()))
            for key in instance:
                if key not in known:
                    yield Problem(field_path(path, key), None, unknown_key(key, known))
        case "type" | "enum" | "const" | "anyOf" | "oneOf":
            want = describe({error.validator: value})
            yield Problem(field_path(path), shown(instance), want or "something else")
        case keyword:
            want = _WANTS.get(str(keyword), f"what {keyword} allows")
            want = agreeing(want.format(value))
            yield Problem(field_path(path), shown(instance), want)
