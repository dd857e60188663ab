"""`@tool`, and a call that fits its tool."""

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
    overload,
)

from typing_extensions import TypeVar

from agentkit.errors import ToolDefinitionError
from agentkit.messages import JsonObject, ToolCall, ToolDefinition, ToolResult
from agentkit.schema.annotations import place_of
from agentkit.schema.feedback import Problem, feedback
from agentkit.toolset.context import ToolContext
from agentkit.toolset.finish import finish, finish_async
from agentkit.toolset.from_schema import SchemaArguments
from agentkit.toolset.options import (
    LABELS,
    Effect,
    Label,
    ToolOptions,
    Unlabelled,
    problem_with,
    problem_with_name,
)
from agentkit.toolset.results import tool_result

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
        """The result of the call, given what the function returned."""
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
        definition: Name, description and JSON Schema of the arguments.
        function: The function itself.
        options: What it declares about itself.
        signature: Checks arguments.
        place: Where it is written: name, file, line.
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
            schema: Of the arguments object: JSON Schema of any draft, or OpenAPI. What of it
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
        """The name the model calls."""
        return self.definition.name

    @property
    def effect(self) -> Effect:
        """What a second run would do."""
        return self.options.effect

    @property
    def labels(self) -> frozenset[Label]:
        """What it can reach; everything, where it does not say."""
        said = self.options.labels
        return LABELS if isinstance(said, Unlabelled) else frozenset(said)

    @property
    def timeout(self) -> float | None:
        """Seconds for one attempt."""
        return self.options.timeout

    @property
    def retries(self) -> int:
        """Further attempts after a failure that may pass."""
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
        """Calls the function itself."""
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
