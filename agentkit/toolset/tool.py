"""`@tool`, and a call that fits its tool."""

from __future__ import annotations

import inspect
import os
import re
import types
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePath
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from agentkit.errors import ToolDefinitionError
from agentkit.messages import JsonObject, ToolCall, ToolDefinition, ToolResult
from agentkit.schema.annotations import definition_of, place_of
from agentkit.schema.feedback import Problem, feedback
from agentkit.schema.signature import Signature, signature_of
from agentkit.toolset.context import RunContext, ToolContext
from agentkit.toolset.options import (
    ApprovalRule,
    Effect,
    Label,
    LockKey,
    ToolOptions,
    problem_with,
)
from agentkit.toolset.results import result_text, tool_result

__all__ = ["Arguments", "Tool", "ValidatedCall", "make_tool", "tool"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
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
        return partial(_finish_async if self.tool.is_async else _finish, function, context)

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
    def approval(self) -> Literal["policy", "always", "never"]:
        """Who decides on this call: the policy, a person (`always`), or nobody (`never`)."""
        rule = self.tool.options.approval
        if callable(rule):
            return "always" if rule(self.arguments) else "never"
        return rule


@dataclass(frozen=True, slots=True)
class Tool(Generic[P, R]):
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

    @property
    def name(self) -> str:
        """The name the model calls."""
        return self.definition.name

    @property
    def effect(self) -> Effect:
        """What a second run would do."""
        return self.options.effect

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

    @property
    def undescribed(self) -> tuple[str, ...]:
        """Arguments that say nothing about themselves: what a lint warns of."""
        properties = self.definition.parameters.get("properties", {})
        return tuple(name for name, schema in properties.items() if not schema.get("description"))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls the function itself."""
        return self.function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Tool[P, R]: ...
    @overload
    def __get__(
        self: Tool[Concatenate[Self_, Q], R], instance: Self_, owner: type[Any] | None = None
    ) -> Tool[Q, R]: ...
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


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "once",
    timeout: float | None = None,
    retries: int = 0,
    labels: AbstractSet[Label] = frozenset(),
    lock: LockKey = False,
    approval: ApprovalRule = "policy",
    output_cap: int | None = None,
    examples: tuple[JsonObject, ...] = (),
    strict: bool = True,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "once",
    timeout: float | None = None,
    retries: int = 0,
    labels: AbstractSet[Label] = frozenset(),
    lock: LockKey = False,
    approval: ApprovalRule = "policy",
    output_cap: int | None = None,
    examples: tuple[JsonObject, ...] = (),
    strict: bool = True,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Makes a tool of a typed callable: a function, method, partial or object; sync or async.

    Args:
        function: Its annotations become the schema, its docstring (Google, NumPy or Sphinx style)
            the descriptions.
        name: Instead of the function's own name.
        description: Instead of the docstring's.
        effect: What running it twice would do: `pure`, `idempotent`, `probed` or `once`.
        timeout: Seconds for one attempt.
        retries: Further attempts after a failure that may pass; not with `once`.
        labels: What it can reach: `reads_private`, `reads_untrusted`, `writes`, `egress`, `exec`.
        lock: Which calls must not run at the same time: the name of a parameter, True for all.
        approval: Whether a call needs a person: by policy, `always`, `never`, or by its arguments.
        output_cap: Most characters of a result that the model reads.
        examples: Arguments of good calls.
        strict: A parameter without annotation is an error; otherwise it takes any JSON.

    Raises:
        ToolDefinitionError: The function cannot be called by a model, or the declarations
            contradict each other.
    """
    options = ToolOptions(
        effect=effect,
        timeout=timeout,
        retries=retries,
        labels=frozenset(labels),
        lock=lock,
        approval=approval,
        output_cap=output_cap,
        examples=examples,
        strict=strict,
    )
    build = partial(make_tool, options=options, name=name, description=description)
    return build if function is None else build(function)


def make_tool(
    function: Callable[P, R],
    *,
    options: ToolOptions | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Tool[P, R]:
    """What `tool` does, for options that come as a value.

    Raises:
        ToolDefinitionError: As `tool`.
    """
    if isinstance(function, types.MethodType) and isinstance(function.__func__, Tool):
        return function.__func__.__get__(function.__self__)  # `@classmethod` over `@tool`
    if isinstance(function, classmethod):
        raise ToolDefinitionError(
            f"{place_of(function)}: is a classmethod; write @classmethod above @tool"
        )
    options = options or ToolOptions()
    place = place_of(function)
    receiver = _waits_for_receiver(function)
    signature = signature_of(
        function,
        injected=(ToolContext, RunContext),
        skip_first=receiver,
        strict=options.strict,
    )
    schema = signature.schema
    if options.examples:
        schema = {**schema, "examples": list(options.examples)}
    words = signature.documentation.description if description is None else description
    definition = ToolDefinition(name or _name_of(function), words, schema)
    _check(definition, options, signature, place)
    return Tool(definition, function, options, signature, place, receiver)


def _check(
    definition: ToolDefinition, options: ToolOptions, signature: Signature, place: str
) -> None:
    problem = problem_with(options)
    if not _NAME.fullmatch(definition.name):
        problem = (
            f"{definition.name!r} is no name a model can call; give one with @tool(name=…): "
            "a letter or _, then letters, digits, _ . or -, at most 64"
        )
    elif isinstance(options.lock, str) and options.lock not in signature.schema["properties"]:
        problem = f"lock={options.lock!r} names no parameter; name one, or give a function"
    if problem is not None:
        raise ToolDefinitionError(f"{place}: {problem}")
    for example in options.examples:
        found = signature.check(example)
        if isinstance(found, list):
            listed = "; ".join(map(str, found))
            raise ToolDefinitionError(f"{place}: the example {example} does not fit: {listed}")


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What both the OpenAI API (`name`: at most 64) and Gemma's `call:name{` syntax take."""


def _name_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", None) or type(function).__name__


def _waits_for_receiver(function: Any) -> bool:
    """Whether this is a `def` in a class body whose first parameter is the instance."""
    if not isinstance(function, types.FunctionType):
        return False
    outer = definition_of(function).__qualname__.rpartition(".")[0]
    if not outer or outer.endswith("<locals>"):
        return False
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.name in ("self", "cls") and first.annotation is first.empty


# --- running a callable to its end -------------------------------------------------------------


def _finish(function: Callable[[], Any], context: ToolContext[Any]) -> Any:
    """The value of a sync callable; an awaitable where it turns out to be async after all."""
    value = function()
    if inspect.isgenerator(value):
        return _drained(value, context)
    if inspect.isasyncgen(value):
        return _finish_async(lambda: value, context)
    return value


async def _finish_async(function: Callable[[], Any], context: ToolContext[Any]) -> Any:
    value = function()
    if not inspect.isasyncgen(value):
        return await value
    parts: list[Any] = []
    async for part in value:
        parts.append(part)
        context.report(result_text(part))
    return _joined(parts)


def _drained(generator: Iterator[Any], context: ToolContext[Any]) -> Any:
    parts: list[Any] = []
    while True:
        if context.cancelled:
            cast("Any", generator).close()
            return _joined(parts)
        try:
            part = next(generator)
        except StopIteration as end:
            return _joined(parts) if end.value is None else end.value
        parts.append(part)
        context.report(result_text(part))


def _joined(parts: list[Any]) -> Any:
    """Texts as one text; other parts as the list they are."""
    return "".join(parts) if all(isinstance(part, str) for part in parts) else parts
