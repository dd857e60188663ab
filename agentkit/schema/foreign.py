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

from jsonschema.exceptions import ValidationError
from referencing import Registry

from agentkit.messages import JsonObject
from agentkit.schema.bounded import BoundedValidator, bounded
from agentkit.schema.drafts import UnusableSchemaError, modern
from agentkit.schema.feedback import MOST_PROBLEMS, Problem, field_path, unknown_key
from agentkit.schema.ladder import fitted
from agentkit.schema.limits import limit, short, wanted
from agentkit.schema.shape import Shape


def why_unusable(schema: object) -> str | None:
    """Why nothing can be checked against a schema; None if it is fine. See `modern`."""
    try:
        modern(schema)
    except UnusableSchemaError as error:
        return str(error)
    return None


def misfit(schema: object, value: object) -> str:
    """What of a value does not fit a stranger's schema, in a few words; empty if it fits.

    What cannot be checked, or not within the bounds, counts as right.
    """
    try:
        read = modern(schema)
    except UnusableSchemaError:
        return ""
    with suppress(RecursionError), bounded():
        for error in BoundedValidator(read.checkable, registry=Registry()).iter_errors(value):
            return "; ".join(map(str, _problems(error, read.schema))) or error.message[:200]
    return ""


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
        self._shape = Shape.of(schema)
        self._validator = BoundedValidator(read.checkable, registry=Registry())
        self.unchecked = read.unchecked

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

    def _errors(self, value: object) -> list[ValidationError]:
        errors: list[ValidationError] = []
        with suppress(RecursionError), bounded():
            errors = list(islice(self._validator.iter_errors(value), MOST_PROBLEMS))
        return errors


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
