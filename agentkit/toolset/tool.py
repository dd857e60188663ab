"""`Tool`: a function a model can call; and `ValidatedCall`: a call that fits it.

In: a definition for the model, a function, and something that checks arguments. Out: for each of a
model's calls either a `ValidatedCall`, which knows how the function is called, or a `ToolResult`
that tells the model what is wrong. Nothing here runs a tool.
"""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    cast,
    get_origin,
    overload,
)

from typing_extensions import TypeVar

from agentkit.errors import ToolDefinitionError
from agentkit.messages import JsonObject, ToolCall, ToolDefinition, ToolResult
from agentkit.schema.annotations import evaluate, namespace_of, place_of
from agentkit.schema.drafts import UnusableSchemaError
from agentkit.schema.feedback import MOST_PROBLEMS, Problem, feedback, unknown_key
from agentkit.schema.foreign import ForeignArguments
from agentkit.toolset.context import RunContext, ToolContext
from agentkit.toolset.options import (
    LABELS,
    Effect,
    Label,
    ToolOptions,
    Unlabelled,
    problem_with,
    problem_with_name,
)
from agentkit.toolset.results import result_text, tool_result

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
DepsT = TypeVar("DepsT", default=Any, contravariant=True)
"""What a tool asks of a run: the `deps` that its context is annotated with; anything, for none."""
Self_ = TypeVar("Self_")


class Arguments(Protocol):
    """Checks a model's arguments and hands them to the function."""

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The values by parameter name, or all that is wrong."""
        ...

    def call_arguments(
        self, values: Mapping[str, Any], injected: object
    ) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments of the Python call."""
        ...


@dataclass(frozen=True, slots=True)
class ValidatedCall:
    """A call that fits its tool: the values have the types that the function declares."""

    call: ToolCall
    tool: Tool[..., Any]
    arguments: Mapping[str, Any]

    def bind(self, context: ToolContext[Any]) -> Callable[[], Any]:
        """The call as a function of nothing, its context injected.

        It returns an awaitable if `Tool.is_async`. A generator is run to its end: its parts are
        reported as progress and joined, unless it returns a value of its own.
        """
        positional, keyword = self.tool.signature.call_arguments(self.arguments, context)
        function = partial(self.tool.function, *positional, **keyword)
        return partial(finish_async if self.tool.is_async else finish, function, context)

    def result(self, value: object) -> ToolResult:
        """The result of the call whose function returned that value."""
        return tool_result(self.call.id, value, cap=self.tool.options.output_cap)

    @property
    def lock_key(self) -> str | None:
        """Calls with the same key must not run at the same time; None may run beside any."""
        lock = self.tool.options.lock
        if callable(lock):
            return lock(self.arguments)
        if lock is False:
            return None
        if lock is True:
            return f"tool:{self.tool.name}"
        value = self.arguments.get(lock)
        if isinstance(value, PurePath) or lock == "path":
            value = os.path.normpath(str(value))
        return f"{lock}:{value}"

    @property
    def target(self) -> str:
        """What the call would really touch, as its tool says; empty where it does not say."""
        told = self.tool.options.target
        if callable(told):
            return told(self.arguments)
        return "" if told is None else str(self.arguments.get(told, ""))

    @property
    def approval(self) -> Literal["policy", "always", "never"]:
        """What the tool itself wants: the policy to decide, a person (`always`), or nobody to
        (`never`).
        """
        rule = self.tool.options.approval
        if callable(rule):
            return "always" if rule(self.arguments) else "never"
        return rule


@dataclass(frozen=True, slots=True, repr=False)
class Tool(Generic[P, R, DepsT]):
    """A function a model can call. Calling it from Python is calling the function.

    Attributes:
        definition: What the model is told: name, description and JSON Schema of the arguments.
        function: What runs.
        options: What the tool declares about itself.
        signature: Checks arguments and hands them to the function.
        place: Where the function is written: name, file, line.
        receiver: It is a method waiting for its instance: `shop.refund`, not `Shop.refund`.
    """

    definition: ToolDefinition
    function: Callable[P, R]
    options: ToolOptions
    signature: Arguments
    place: str = ""
    receiver: bool = False

    @classmethod
    def from_schema(
        cls,
        name: str,
        description: str,
        schema: object,
        function: Callable[..., Any],
        *,
        options: ToolOptions | None = None,
        place: str = "",
    ) -> Tool[..., Any]:
        """A tool of a JSON Schema and a function, for what no Python signature describes.

        ```python
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        weather = Tool.from_schema("weather", "Tells the weather.", schema, ask_weather)
        ```

        Args:
            name: What the model calls.
            description: When to use it.
            schema: The arguments object, as JSON Schema of any draft or as OpenAPI. What of it
                cannot be checked is left to the function; see `Tool.unchecked`.
            function: Sync or async. It gets the arguments by name, as plain JSON, and the context
                in a parameter annotated as `ToolContext`, if it has one.
            options: What it declares about itself, as for `@tool`.
            place: Where it comes from, for messages; by default where the function is written.

        Raises:
            ToolDefinitionError: The schema does not describe an object, the function does not take
                what it describes, or the declarations contradict each other.
        """
        place = place or f"{name!r} of a schema, {place_of(function)}"
        options = options or ToolOptions()
        arguments = SchemaArguments(schema, function, place)
        if (problem := problem_with(options) or problem_with_name(name)) is not None:
            raise ToolDefinitionError(f"{place}: {problem}")
        definition = ToolDefinition(name, description, arguments.schema)
        return Tool(definition, function, options, arguments, place)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What of a foreign schema cannot be checked here, each in a few words."""
        return tuple(getattr(self.signature, "unchecked", ()))

    def __repr__(self) -> str:
        return f"<Tool {self.name}: {self.place}>"

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def effect(self) -> Effect:
        return self.options.effect

    @property
    def labels(self) -> frozenset[Label]:
        """What it can reach; everything, where it does not say."""
        said = self.options.labels
        return LABELS if isinstance(said, Unlabelled) else frozenset(said)

    @property
    def timeout(self) -> float | None:
        return self.options.timeout

    @property
    def retries(self) -> int:
        return self.options.retries

    @property
    def is_async(self) -> bool:
        """Whether the function runs on the event loop rather than in a thread."""
        function: Any = self.function
        while isinstance(function, partial):
            function = function.func
        if not inspect.isroutine(function) and not isinstance(function, type):
            function = getattr(function, "__call__", function)  # noqa: B004 - a callable object
        return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Tool[P, R, DepsT]: ...
    @overload
    def __get__(
        self: Tool[Concatenate[Self_, Q], R, DepsT], instance: Self_, owner: type[Any] | None = None
    ) -> Tool[Q, R, DepsT]: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Tool[..., Any]:
        """A decorated method, bound to its instance as Python's own methods are."""
        if instance is None or not self.receiver:
            return self
        bound = types.MethodType(self.function, instance)
        return replace(cast("Tool[..., Any]", self), function=bound, receiver=False)

    def validate(self, call: ToolCall) -> ValidatedCall | ToolResult:
        """Checks a call's arguments; every error at once, in words a small model can use."""
        found = self.signature.check(call.arguments)
        if isinstance(found, list):
            text = feedback(self.name, found)
            return ToolResult(call.id, text, is_error=True, kind="invalid_arguments")
        return ValidatedCall(call, cast("Tool[..., Any]", self), types.MappingProxyType(found))


# --- to its end ----------------------------------------------------------------------------------


def finish(function: Callable[[], Any], context: ToolContext[Any]) -> Any:
    """The value of a sync callable; an awaitable where it turns out to be async after all."""
    value = function()
    if inspect.isasyncgen(value):
        return finish_async(lambda: value, context)
    if not inspect.isgenerator(value):
        return value
    parts: list[Any] = []
    while not context.cancelled:
        try:
            part = next(value)
        except StopIteration as end:
            return _joined(parts) if end.value is None else end.value
        parts.append(part)
        context.report(result_text(part))
    value.close()
    return _joined(parts)


async def finish_async(function: Callable[[], Any], context: ToolContext[Any]) -> Any:
    """The value of an async callable: awaited, or its parts joined."""
    value = function()
    if not inspect.isasyncgen(value):
        return await value
    parts: list[Any] = []
    async for part in value:
        parts.append(part)
        context.report(result_text(part))
    return _joined(parts)


def _joined(parts: list[Any]) -> Any:
    """Texts as one text; other parts as the list they are."""
    return "".join(parts) if all(isinstance(part, str) for part in parts) else parts


# --- arguments by a JSON Schema ------------------------------------------------------------------


class SchemaArguments:
    """Checks a model's arguments by a JSON Schema; the function gets them as keywords, plain JSON.

    Args:
        schema: The JSON Schema of the arguments object, of any draft.
        function: Has a parameter for each property, or `**arguments`. A parameter annotated as
            `ToolContext` gets the context, and is not the model's to fill.
        place: Where the tool comes from, for messages.

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
