"""`Tool`: a function that a model can call, made by `@tool` or from a JSON Schema.

In: a callable and what it declares about itself; later a model's `ToolCall`. Out: the definition
for the model, and for each call a `ValidatedCall`, or a `ToolResult` that says what is wrong.
Nothing here runs a tool: `ValidatedCall.bind` returns a function without arguments, which an
executor runs.
"""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable, Collection, Mapping
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

from typing_extensions import TypeVar, Unpack

from agentkit.errors import ToolDefinitionError, explains
from agentkit.messages import JsonObject, ToolCall, ToolDefinition, ToolResult
from agentkit.schema.annotations import (
    definition_of,
    evaluate,
    namespace_of,
    place_of,
    wrapped_in,
)
from agentkit.schema.feedback import MOST_PROBLEMS, Problem, feedback, unknown_key
from agentkit.schema.signature import signature_of
from agentkit.toolset.options import (
    LABELS,
    Effect,
    Label,
    RunContext,
    ToolContext,
    ToolKeywords,
    ToolOptions,
    Unlabelled,
    problem_with,
    problem_with_name,
)
from agentkit.toolset.results import finish, finish_async, tool_result

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
DepsT = TypeVar("DepsT", default=Any, contravariant=True)
"""The type of `deps` in the annotation of a tool's context; any for a tool without a context."""
Self_ = TypeVar("Self_")
D = TypeVar("D")
S = TypeVar("S")


class Arguments(Protocol):
    """Checks a model's arguments and turns them into those of the function."""

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The values by parameter name, or a list of all problems."""
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
        """The call as a function without arguments, its context injected.

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
        target = self.tool.options.target
        if callable(target):
            return target(self.arguments)
        return "" if target is None else str(self.arguments.get(target, ""))

    @property
    def approval(self) -> Literal["policy", "always", "never"]:
        """Who decides, by the tool itself: the policy, a person (`always`) or nobody (`never`)."""
        rule = self.tool.options.approval
        if callable(rule):
            return "always" if rule(self.arguments) else "never"
        return rule


@dataclass(frozen=True, slots=True, repr=False)
class Tool(Generic[P, R, DepsT]):
    """A function a model can call. Calling it from Python is calling the function.

    Attributes:
        definition: What the model is shown: name, description and JSON Schema of the arguments.
        function: The function that runs.
        options: What the tool declares about itself.
        signature: Checks arguments and turns them into those of the function.
        place: Where the function is written: name, file, line.
        receiver: Whether it is a method without its instance: `Shop.refund`, not `shop.refund`.
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
        """A tool from a JSON Schema and a function, for what no Python signature describes.

        ```python
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        weather = Tool.from_schema("weather", "Tells the weather.", schema, ask_weather)
        ```

        Args:
            name: What the model calls.
            description: When to use it.
            schema: The arguments object, as JSON Schema of any draft or as OpenAPI. Parts that
                cannot be checked are left to the function; see `Tool.unchecked`.
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
        definition = ToolDefinition(name, description, _with_examples(arguments.schema, options))
        _check(definition, options, arguments, place, parameters=arguments.named)
        return Tool(definition, function, options, arguments, place)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The parts of a foreign schema that cannot be checked, each in a few words."""
        return tuple(getattr(self.signature, "unchecked", ()))

    def __repr__(self) -> str:
        return f"<Tool {self.name}: {self.place}>"

    def __hash__(self) -> int:
        """Of what equal tools share and can be hashed; a definition holds JSON."""
        return hash((self.name, self.place))

    @property
    def __wrapped__(self) -> Callable[P, R]:
        """The function, where `inspect` and decorators above `@tool` look for it."""
        return self.function

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def effect(self) -> Effect:
        return self.options.effect

    @property
    def labels(self) -> frozenset[Label]:
        """What the tool can reach: everything, if it does not say."""
        labels = self.options.labels
        return LABELS if isinstance(labels, Unlabelled) else frozenset(labels)

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


# --- from a function: @tool ----------------------------------------------------------------------

_APPROVAL = 'write approval="always"'
_ANNOTATED = "annotate the function's parameters; its schema is made of them"


class _Maker(Protocol):
    """`@tool(...)` with its options given: takes the function."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[ToolContext[D], P], R], /
    ) -> Tool[Concatenate[ToolContext[D], P], R, D]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[S, ToolContext[D], P], R], /
    ) -> Tool[Concatenate[S, ToolContext[D], P], R, D]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Tool[P, R, object]: ...


@overload
def tool(
    function: Callable[Concatenate[ToolContext[D], P], R], /
) -> Tool[Concatenate[ToolContext[D], P], R, D]: ...
@overload
def tool(
    function: Callable[Concatenate[S, ToolContext[D], P], R], /
) -> Tool[Concatenate[S, ToolContext[D], P], R, D]: ...
@overload
def tool(function: Callable[P, R], /) -> Tool[P, R, object]: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, **options: Unpack[ToolKeywords]
) -> _Maker: ...
@explains(
    "@tool",
    {
        **dict.fromkeys(("name_override", "tool_name"), "write name="),
        **dict.fromkeys(("description_override", "doc"), "write description="),
        **dict.fromkeys(
            ("requires_approval", "needs_approval", "requires_confirmation"), _APPROVAL
        ),
        **dict.fromkeys(("confirm", "human_in_the_loop"), _APPROVAL),
        **dict.fromkeys(("max_retries", "retry"), 'write retries=, with effect="idempotent"'),
        **dict.fromkeys(("args_schema", "input_schema", "parameters", "params"), _ANNOTATED),
        **dict.fromkeys(("takes_ctx", "context"), "annotate a parameter with ToolContext"),
        **dict.fromkeys(("parse_docstring", "docstring_format"), "the docstring is read anyway"),
        "return_direct": "give the function as output_type= of the agent",
        "strict_mode": "write strict=",
        "failure_error_function": "raise ToolError(text) in the tool",
        "tags": "write labels={…}",
    },
    ToolKeywords,
)
def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    **options: Unpack[ToolKeywords],
) -> Tool[P, R, Any] | Callable[[Callable[P, R]], Tool[P, R, Any]]:
    """Makes a tool of a typed callable: a function, method, partial or object; sync or async.

    Args:
        function: Its annotations become the schema, its docstring (Google, NumPy or Sphinx style)
            the descriptions.
        name: Instead of the function's own name.
        description: Instead of the docstring's.
        effect: What running it twice would do: `pure`, `idempotent`, `probed` or, by default,
            `once`.
        timeout: Seconds for one attempt; by default as long as it takes.
        retries: Further attempts after a failure that may pass; not with `once`.
        labels: What it can reach: `reads_private`, `reads_untrusted`, `writes`, `egress`, `exec`;
            an empty set for nothing. Without labels it counts as having them all under a policy.
        lock: Which calls must not run at the same time: the name of a parameter, True for all.
        approval: Whether a call needs a person: by default the policy decides; `always`, a
            function of the arguments, or `never`, which no policy heeds.
        target: What a call would really touch, for a person who is asked: the name of a parameter,
            or a function of the checked arguments.
        output_cap: Most characters of a result that the model reads; by default all.
        examples: Arguments of good calls.
        strict: Whether a parameter without annotation is an error, as it is by default; False lets
            it take any JSON.
        probe: Is asked after a crash whether a `probed` call took effect; see `Probe`.

    Raises:
        ToolDefinitionError: The function cannot be called by a model, or the declarations
            contradict each other.
    """
    declared = ToolOptions(**options)
    build = partial(make_tool, options=declared, name=name, description=description)
    return build if function is None else build(function)


def make_tool(
    function: Callable[P, R],
    *,
    options: ToolOptions | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Tool[P, R]:
    """Makes a tool as `tool` does, from options that come as a value.

    Raises:
        ToolDefinitionError: The same as for `tool`.
    """
    if isinstance(function, types.MethodType) and isinstance(function.__func__, Tool):
        return function.__func__.__get__(function.__self__)  # `@classmethod` over `@tool`
    unchecked = cast("object", function)
    if not callable(unchecked) and not isinstance(unchecked, classmethod):
        raise ToolDefinitionError(f"@tool got {function!r:.60}, no function; give a name by name=…")
    if isinstance(function, classmethod):
        raise ToolDefinitionError(
            f"{place_of(function)}: is a classmethod; write @classmethod above @tool"
        )
    if isinstance(function, Tool):
        function = cast("Callable[P, R]", function.function)
    elif (inner := _tool_inside(function)) is not None:
        raise ToolDefinitionError(
            f"{inner.place}: a decorator or partial around @tool would lose what that declares; "
            "write @tool around it"
        )
    options = options or ToolOptions()
    place = place_of(function)
    for option, told in (("name", cast("object", name)), ("description", description)):
        if not isinstance(told, str | None):
            raise ToolDefinitionError(f"{place}: {option} is {told!r:.60}; give a text")
    receiver = _waits_for_receiver(function)
    signature = signature_of(
        function,
        injected=(ToolContext, RunContext),
        skip_first=receiver,
        strict=options.strict,
    )
    words = signature.documentation.description if description is None else description
    schema = _with_examples(signature.schema, options)
    definition = ToolDefinition(name or _name_of(function), words, schema)
    _check(definition, options, signature, place, parameters=signature.schema["properties"])
    return Tool(definition, function, options, signature, place, receiver)


def _tool_inside(function: Any) -> Tool[..., Any] | None:
    """The tool that a wrapper or a partial calls."""
    while not isinstance(function, Tool):
        inner = function.func if isinstance(function, partial) else None
        if (function := inner or wrapped_in(function)) is None:
            return None
    return function


def _with_examples(schema: JsonObject, options: ToolOptions) -> JsonObject:
    return {**schema, "examples": list(options.examples)} if options.examples else schema


def _check(
    definition: ToolDefinition,
    options: ToolOptions,
    arguments: Arguments,
    place: str,
    *,
    parameters: Collection[str] | None,
) -> None:
    """Refuses declarations that contradict each other or the arguments.

    Args:
        definition: What the model is told.
        options: What the tool declares.
        arguments: Checks the examples.
        place: Where the tool is written, for messages.
        parameters: The names of all arguments; None where there may be others.
    """
    problem = problem_with_name(definition.name) or problem_with(options)
    for name, chosen in (("lock", options.lock), ("target", options.target)):
        if parameters is not None and isinstance(chosen, str) and chosen not in parameters:
            problem = f"{name}={chosen!r} names no parameter; name one, or give a function"
    if problem is not None:
        raise ToolDefinitionError(f"{place}: {problem}")
    for example in options.examples:
        found = arguments.check(example)
        if isinstance(found, list):
            listed = "; ".join(map(str, found))
            raise ToolDefinitionError(f"{place}: the example {example} does not fit: {listed}")


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


# --- from a JSON Schema --------------------------------------------------------------------------


class SchemaArguments:
    """Checks a model's arguments by a JSON Schema; the function gets them as keywords, plain JSON.

    Args:
        schema: The JSON Schema of the arguments object, of any draft.
        function: Has a parameter for each property, or `**arguments`. A parameter annotated as
            `ToolContext` gets the context, and is not the model's to fill.
        place: Where the tool comes from, for messages.

    Attributes:
        schema: The same schema as draft 2020-12.
        unchecked: The parts of the schema that cannot be checked, each in a few words.

    Raises:
        ToolDefinitionError: The schema describes no arguments, or the function does not take them.
    """

    def __init__(self, schema: object, function: Callable[..., Any], place: str) -> None:
        # They bring jsonschema, which only schemas of others need.
        from agentkit.schema.drafts import UnusableSchemaError  # noqa: PLC0415 - see above
        from agentkit.schema.foreign import ForeignArguments  # noqa: PLC0415 - see above

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

    @property
    def named(self) -> Collection[str] | None:
        """The names of all arguments; None where the function takes any and the schema may too."""
        if self._open and self.schema.get("additionalProperties", True) is not False:
            return None
        return tuple(self.schema.get("properties", {}))

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The values by name, or a list of all problems."""
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
