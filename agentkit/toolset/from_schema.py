"""Arguments by a JSON Schema, handed to a function that takes them by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_origin

from agentkit.errors import ToolDefinitionError
from agentkit.messages import JsonObject
from agentkit.schema.annotations import evaluate, namespace_of
from agentkit.schema.drafts import UnusableSchemaError
from agentkit.schema.feedback import MOST_PROBLEMS, Problem, unknown_key
from agentkit.schema.foreign import ForeignArguments
from agentkit.toolset.context import RunContext, ToolContext


class SchemaArguments:
    """Checks a model's arguments by a JSON Schema; the function gets them as keywords, plain JSON.

    Args:
        schema: Of the arguments object, of any draft.
        function: Has a parameter for each property, or `**arguments`. A parameter annotated as
            `ToolContext` gets the context, and is not the model's to fill.
        place: Of the tool, for messages.

    Attributes:
        schema: The same schema as draft 2020-12.
        unchecked: What of the schema cannot be checked, each in a few words.

    Raises:
        ToolDefinitionError: The schema describes no arguments, or the function does not take them.
    """

    def __init__(self, schema: object, function: Callable[..., Any], place: str) -> None:
        try:
            self._foreign = ForeignArguments(schema)
        except UnusableSchemaError as error:
            raise ToolDefinitionError(f"{place}: {error}") from None
        self.schema: JsonObject = self._foreign.schema
        self.unchecked = self._foreign.unchecked
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError) as error:
            raise ToolDefinitionError(
                f"{place}: its function has no signature that Python can tell ({error}); wrap it "
                "in a `def` with `**arguments`"
            ) from None
        self._context = _context_parameter(function, parameters)
        self._open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._check_function(parameters, place)

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The values by name, or all that is wrong."""
        found = self._foreign.check(arguments)
        if self._open or isinstance(found, list):
            return found
        known = tuple(self.schema.get("properties", {}))
        extra = [key for key in found if key not in known][:MOST_PROBLEMS]
        return [Problem(key, None, unknown_key(key, known)) for key in extra] or found

    def call_arguments(
        self, values: Mapping[str, Any], injected: object
    ) -> tuple[list[Any], dict[str, Any]]:
        """The context by position where the function takes it so, and all else by name."""
        if self._context is None:
            return [], dict(values)
        if self._context.kind is inspect.Parameter.POSITIONAL_ONLY:
            return [injected], dict(values)
        return [], {**values, self._context.name: injected}

    def _check_function(self, parameters: Mapping[str, inspect.Parameter], place: str) -> None:
        properties = self.schema.get("properties", {})
        by_name = {
            name: p
            for name, p in parameters.items()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p is not self._context
        }
        context = self._context
        if context and context.kind is not context.POSITIONAL_ONLY and context.name in properties:
            raise ToolDefinitionError(
                f"{place}: the schema has a property {context.name!r}, and so is the function's "
                f"context called; rename the parameter, or write `{context.name}, /`"
            )
        if not self._open and (lost := [name for name in properties if name not in by_name]):
            raise ToolDefinitionError(
                f"{place}: its function takes no {', '.join(lost)}, which the schema has; give it "
                "a parameter of each name, or `**arguments`"
            )
        free = [n for n, p in by_name.items() if p.default is p.empty and n not in properties]
        needed = [
            name
            for name, p in parameters.items()
            if p.kind is p.POSITIONAL_ONLY and p is not context and p.default is p.empty
        ]
        if free or needed:
            raise ToolDefinitionError(
                f"{place}: its function needs {', '.join([*free, *needed])}, which the schema does "
                "not have; arguments come by name"
            )


def _context_parameter(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> inspect.Parameter | None:
    namespace = namespace_of(function)
    for name, parameter in parameters.items():
        if parameter.annotation is parameter.empty:
            continue
        try:
            annotation = evaluate({name: parameter.annotation}, namespace)[name]
        except Exception:  # noqa: BLE001, S112 - evaluating user code can raise anything; other annotations do not matter here
            continue
        kinds = (ToolContext, RunContext)
        if annotation in kinds or get_origin(annotation) in kinds:
            return parameter
    return None
