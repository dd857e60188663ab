"""Arguments of a tool whose JSON Schema was written elsewhere, such as by an MCP server.

The same service as `Signature`, on the same ladder: what is certain is read as that, everything
else is reported at once and briefly. The values stay plain JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from agentkit.messages import JsonObject
from agentkit.schema.bounded import BoundedValidator, bounded
from agentkit.schema.feedback import MOST_PROBLEMS, Problem, field_path, unknown_key
from agentkit.schema.ladder import fitted
from agentkit.schema.limits import limit, short, wanted
from agentkit.schema.linear import linear_pattern
from agentkit.schema.shape import Shape

__all__ = ["ForeignArguments", "why_unusable"]


def why_unusable(schema: object) -> str | None:
    """Why nothing can be checked against a schema; None if it is fine.

    References that leave the document are refused: resolving them would make us fetch what a
    stranger names.
    """
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return "its schema does not describe an object"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"its schema is not valid JSON Schema ({error.message})"
    outside = next((r for r in _references(schema) if not r.startswith("#")), None)
    return f"its schema refers to {outside!r}, outside of itself" if outside else None


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)


class ForeignArguments:
    """Checks arguments against a JSON Schema (draft 2020-12), as far as that takes bounded time.

    A stranger's schema can ask for more work than there is time: patterns that explode, references
    in circles, unions of unions. What cannot be checked, or not within the bounds, counts as right:
    the server that wrote the schema checks again.

    Args:
        schema: Of the arguments object; see `why_unusable`.

    Attributes:
        unchecked: What of the schema is never checked here, for people.
    """

    def __init__(self, schema: JsonObject) -> None:
        self._properties: Mapping[str, Any] = schema.get("properties", {})
        self._closed = not {"additionalProperties", "patternProperties"} & schema.keys()
        self._shape = Shape.of(schema)
        self._validator = BoundedValidator(schema, registry=Registry())
        self.unchecked = tuple(_unchecked(schema, schema))

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The arguments, mended where that is certain; or all that is wrong."""
        value = deepcopy(arguments)
        errors = self._errors(value)
        if errors:
            value = fitted(value, self._shape)
            errors = self._errors(value)
        problems = list(
            dict.fromkeys(p for error in errors for p in _problems(error, self._shape.root))
        )
        if self._closed and self._properties:
            known = tuple(self._properties)
            strangers = [key for key in value if key not in self._properties]
            told = strangers[:MOST_PROBLEMS]
            problems += [Problem(key, None, unknown_key(key, known)) for key in told]
        return problems or value

    def call_arguments(
        self, values: Mapping[str, Any], injected: object
    ) -> tuple[list[Any], dict[str, Any]]:
        """The context and the arguments object, by position."""
        return [injected, dict(values)], {}

    def _errors(self, value: object) -> list[ValidationError]:
        errors: list[ValidationError] = []
        with suppress(RecursionError), bounded():
            errors = list(islice(self._validator.iter_errors(value), MOST_PROBLEMS))
        return errors


def _unchecked(schema: object, root: JsonObject) -> Iterator[str]:
    """What of a schema cannot be checked, each in a few words."""
    if isinstance(schema, list):
        for item in schema:
            yield from _unchecked(item, root)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str) and linear_pattern(value) is None:
                yield f"the pattern {short(value)}"
            elif key == "$ref" and isinstance(value, str) and not _resolves(value, root):
                yield f"the reference {short(value)}, which leads nowhere"
            else:
                yield from _unchecked(value, root)


def _resolves(reference: str, root: JsonObject) -> bool:
    try:
        Registry().with_resource("", DRAFT202012.create_resource(root)).resolver().lookup(reference)
    except Unresolvable:
        return False
    return True


# --- words -------------------------------------------------------------------------------------


def _problems(error: ValidationError, root: Mapping[str, Any]) -> Iterator[Problem]:
    path = list(error.absolute_path)
    value: Any = error.validator_value
    instance: Any = error.instance
    schema: Any = error.schema
    match error.validator:
        case "required":
            for key in value:
                if key not in instance:
                    want = wanted(Shape.of(schema.get("properties", {}).get(key), root))
                    text = f"is missing, want {want}" if want else "is missing"
                    yield Problem(field_path(path, key), None, text)
        case "additionalProperties" if value is False:
            known = tuple(schema.get("properties", ()))
            for key in instance:
                if key not in known:
                    yield Problem(field_path(path, key), None, unknown_key(key, known))
        case "anyOf" | "oneOf":
            want = wanted(Shape.of({error.validator: value}, root))
            yield Problem(field_path(path), short(instance), want or "something else")
        case keyword:
            yield Problem(field_path(path), short(instance), limit(str(keyword), value))
