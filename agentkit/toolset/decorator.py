"""`@tool`: from a callable and its declarations to a `Tool`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from typing_extensions import Unpack

from agentkit.errors import ToolDefinitionError
from agentkit.messages import ToolDefinition
from agentkit.mistakes import explains
from agentkit.schema.annotations import definition_of, place_of
from agentkit.schema.signature import Signature, signature_of
from agentkit.toolset.context import RunContext, ToolContext
from agentkit.toolset.options import (
    ToolKeywords,
    ToolOptions,
    problem_with,
    problem_with_name,
)
from agentkit.toolset.tool import Tool

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D")
S = TypeVar("S")

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
    """What `tool` does, for options that come as a value.

    Raises:
        ToolDefinitionError: As `tool`.
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
    problem = problem_with_name(definition.name) or problem_with(options)
    for name, chosen in (("lock", options.lock), ("target", options.target)):
        if isinstance(chosen, str) and chosen not in signature.schema["properties"]:
            problem = f"{name}={chosen!r} names no parameter; name one, or give a function"
    if problem is not None:
        raise ToolDefinitionError(f"{place}: {problem}")
    for example in options.examples:
        found = signature.check(example)
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
