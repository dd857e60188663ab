"""Typed Python functions as tools: definition, validation, and sets of them.

In: a function and, later, a model's `ToolCall`. Out: a `ToolDefinition` for the model, and a
`ValidatedCall` for the executor or a `ToolResult` that tells the model what is wrong. Nothing here
runs a tool or does I/O.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, cast, get_origin, overload

import docstring_parser
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from agentkit.errors import ToolDefinitionError
from agentkit.messages import ToolCall, ToolDefinition, ToolResult

__all__ = [
    "Effect",
    "RunContext",
    "Tool",
    "ToolContext",
    "Toolset",
    "ValidatedCall",
    "tool",
]

P = ParamSpec("P")
R = TypeVar("R")
DepsT = TypeVar("DepsT")

Effect: TypeAlias = Literal["pure", "idempotent", "probed", "once"]
"""What running a tool twice would do; `once` (never start it twice) is what we assume."""


@dataclass(frozen=True, slots=True)
class RunContext(Generic[DepsT]):
    """What instructions may depend on.

    Attributes:
        deps: The `deps=` of this run.
        run_id: Names the run, its file and its journal.
    """

    deps: DepsT
    run_id: str


@dataclass(frozen=True, slots=True)
class ToolContext(RunContext[DepsT]):
    """What a tool may know of the run it serves; ask for it by annotating a parameter with it.

    Attributes:
        step: The step that asked for the call, from 1.
        call: The call being run.
        attempt: 1 at the first try, 2 at the first retry.
        report: Shows a line of progress to whoever watches the run.
    """

    step: int = 0
    call: ToolCall = field(default_factory=lambda: ToolCall("", ""))
    attempt: int = 1
    report: Callable[[str], None] = lambda _text: None


@dataclass(frozen=True, slots=True)
class ValidatedCall:
    """A call that fits its tool: the values have the types that the function declares."""

    call: ToolCall
    tool: Tool[..., Any]
    arguments: Mapping[str, Any]

    def bind(self, context: ToolContext[Any]) -> Callable[[], Any]:
        """The call as a function of nothing, its context injected."""
        extra = {self.tool.context_parameter: context} if self.tool.context_parameter else {}
        return partial(self.tool.function, **self.arguments, **extra)


@dataclass(frozen=True, slots=True)
class Tool(Generic[P, R]):
    """A function a model can call. Calling it from Python is calling the function.

    Attributes:
        definition: Name, description and JSON Schema of the arguments.
        function: The function itself.
        effect: What a second run would do; decides retries and recovery.
        timeout: Seconds for one attempt; None waits as long as it takes.
        retries: Further attempts after a failure that may pass.
    """

    definition: ToolDefinition
    function: Callable[P, R]
    effect: Effect = "once"
    timeout: float | None = None
    retries: int = 0
    context_parameter: str | None = None
    arguments: type[Any] = object

    @property
    def name(self) -> str:
        """The name the model calls."""
        return self.definition.name

    @property
    def is_async(self) -> bool:
        """Whether the function runs on the event loop rather than in a thread."""
        return inspect.iscoroutinefunction(self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def validate(self, call: ToolCall) -> ValidatedCall | ToolResult:
        """Checks a call's arguments; every error at once, in words a small model can use."""
        try:
            model = self.arguments.model_validate(call.arguments)  # type: ignore[attr-defined]
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()
            )
            return ToolResult(
                call.id,
                f"Error: {self.name} was not run. {problems}",
                is_error=True,
                kind="invalid_arguments",
            )
        values = {name: getattr(model, name) for name in type(model).model_fields}
        return ValidatedCall(call, cast("Tool[..., Any]", self), MappingProxyType(values))


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
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Makes a tool of a typed function, sync or async.

    Args:
        function: The function; its annotations become the schema, its docstring (Google style)
            the descriptions.
        name: Instead of the function's own name.
        description: Instead of the docstring's summary.
        effect: What running it twice would do.
        timeout: Seconds for one attempt.
        retries: Further attempts after a failure that may pass.

    Raises:
        ToolDefinitionError: The function cannot be called by a model.
    """

    def build(fn: Callable[P, R]) -> Tool[P, R]:
        arguments, context = _arguments_model(fn)
        documentation = docstring_parser.parse(inspect.getdoc(fn) or "")
        text = description or documentation.description or ""
        schema = TypeAdapter(arguments).json_schema()
        schema.pop("title", None)
        definition = ToolDefinition(name or getattr(fn, "__name__", ""), text.strip(), schema)
        return Tool(definition, fn, effect, timeout, retries, context, arguments)

    return build if function is None else build(function)


def _arguments_model(function: Callable[..., Any]) -> tuple[type[Any], str | None]:
    """A pydantic model of the parameters, and the parameter that wants the context."""
    documented = {
        p.arg_name: p.description
        for p in docstring_parser.parse(inspect.getdoc(function) or "").params
    }
    fields: dict[str, Any] = {}
    context: str | None = None
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        annotation = parameter.annotation
        if annotation is parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise ToolDefinitionError(
                f"{function.__qualname__}: parameter {name!r} has no type a model could fill; "
                "annotate it, for example `name: str`"
            )
        if (get_origin(annotation) or annotation) in (ToolContext, RunContext):
            context = name
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        info: FieldInfo = Field(default, description=documented.get(name))
        fields[name] = (annotation, info)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return create_model(function.__name__, __config__=config, **fields), context


class Toolset:
    """An ordered set of tools with distinct names."""

    def __init__(self, tools: Iterable[Tool[..., Any] | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, Tool[..., Any]] = {}
        for item in tools:
            made = item if isinstance(item, Tool) else tool(item)
            if made.name in self._tools:
                raise ToolDefinitionError(f"two tools are named {made.name!r}; rename one")
            self._tools[made.name] = made

    def __iter__(self) -> Iterator[Tool[..., Any]]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def get(self, name: str) -> Tool[..., Any] | None:
        """The tool of that name."""
        return self._tools.get(name)

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]:
        """What a model is told of the tools, in order."""
        return tuple(t.definition for t in self)

    def validate(self, call: ToolCall) -> ValidatedCall | ToolResult:
        """A call ready to run, or the result that tells the model why it is not."""
        found = self._tools.get(call.name)
        if found is None:
            return ToolResult(
                call.id,
                f"Error: there is no tool {call.name!r}. Tools: {', '.join(self._tools)}.",
                is_error=True,
                kind="unknown_tool",
            )
        if call.malformed is not None:
            return ToolResult(
                call.id,
                f"Error: the arguments of {call.name} are not a JSON object.",
                is_error=True,
                kind="invalid_arguments",
            )
        return found.validate(call)


def result_text(value: object) -> str:
    """What the model reads of a tool's return value."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
