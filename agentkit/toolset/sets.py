"""Sets of tools, and the algebra over them.

A `Toolset` is fixed. A `ToolSource` becomes one for a run: a function of the run's context, an MCP
server, or a fixed set, which is its own source. Both have the same algebra, so a source can be
filtered, prefixed, renamed, described and combined before anyone knows its tools.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias, cast

from agentkit.errors import ToolDefinitionError, refuse_async
from agentkit.exact import InexactError, NotJsonError, read_exact
from agentkit.gemma4.wrong_forms import resolve_name
from agentkit.messages import ToolCall, ToolDefinition, ToolResult
from agentkit.schema.feedback import MAX_FEEDBACK, nearest
from agentkit.schema.prose import short
from agentkit.toolset.options import Label, RunContext, known_labels
from agentkit.toolset.tool import Tool, ValidatedCall, make_tool

ToolLike: TypeAlias = Tool[..., Any] | Callable[..., Any]
Keep: TypeAlias = Callable[[Tool[..., Any]], bool]


class ToolSource:
    """Something that has tools for a run. Derive from it and write `for_run`."""

    def for_run(self, context: RunContext[Any]) -> AbstractAsyncContextManager[Toolset]:
        """The tools of one run, fixed while the context is open.

        The loop enters it once before the first step and leaves it after the last:
        `async with source.for_run(context) as toolset: …`. Whatever the tools need (connections,
        temporary files) lives inside it.
        """
        raise NotImplementedError

    def filtered(self, keep: Keep) -> ToolSource:
        """Only the tools for which `keep` is true."""
        refuse_async("keep", keep)
        return _Derived(self, lambda tools: tools.filtered(keep))

    def prefixed(self, prefix: str) -> ToolSource:
        """Every name with `prefix` before it."""
        return _Derived(self, lambda tools: tools.prefixed(prefix))

    def renamed(self, names: Mapping[str, str]) -> ToolSource:
        """Some tools under other names: `{"old": "new"}`."""
        return _Derived(self, lambda tools: tools.renamed(names))

    def described(self, descriptions: Mapping[str, str]) -> ToolSource:
        """Some tools with other descriptions, by name."""
        return _Derived(self, lambda tools: tools.described(descriptions))

    def labelled(self, labels: Mapping[str, Iterable[Label]]) -> ToolSource:
        """Some tools with other labels, by name: what you say that they can reach."""
        return _Derived(self, lambda tools: tools.labelled(labels))

    def __add__(self, other: ToolSource) -> ToolSource:
        return combined(self, other)


class Toolset(ToolSource):
    """An ordered, fixed set of tools with distinct names.

    Args:
        tools: Tools, or functions to make tools from; `definitions` has the same order.

    Raises:
        ToolDefinitionError: A function cannot be a tool, two tools have the same name (the message
            shows where both are written), or a method has no instance.
    """

    def __init__(self, tools: Iterable[ToolLike] = ()) -> None:
        self._tools: dict[str, Tool[..., Any]] = {}
        unchecked = cast("object", tools)
        if isinstance(unchecked, str | Mapping) or not isinstance(unchecked, Iterable):
            raise ToolDefinitionError(f"tools is {tools!r:.60}; give a list of functions")
        for at, item in enumerate(tools):
            made = item if isinstance(item, Tool) else _made_of(item, at)
            if made.receiver:
                raise ToolDefinitionError(
                    f"{made.place}: is a method; register it from an instance: `it.{made.name}`"
                )
            if (other := self._tools.get(made.name)) is not None:
                raise ToolDefinitionError(
                    f"two tools are named {made.name!r}: {other.place} and {made.place}; "
                    "rename one with @tool(name=…), or use toolset.renamed or toolset.prefixed"
                )
            self._tools[made.name] = made
        self._definitions = tuple(t.definition for t in self._tools.values())

    @classmethod
    def by_name(cls, tools: Iterable[ToolLike]) -> Toolset:
        """A set of tools in the order of their names, for tools that come in no certain order.

        Tools are at the start of every prompt, and a server's prefix cache begins there: the same
        tools in another order would share nothing.

        Raises:
            ToolDefinitionError: As for `Toolset`.
        """
        made = cls(tools)._tools
        return cls(made[name] for name in sorted(made))

    def __iter__(self) -> Iterator[Tool[..., Any]]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __repr__(self) -> str:
        return f"Toolset({', '.join(self._tools)})"

    def get(self, name: str) -> Tool[..., Any] | None:
        return self._tools.get(name)

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]:
        """What a model is shown of the tools, in order; the same tuple each time."""
        return self._definitions

    @asynccontextmanager
    async def for_run(self, context: RunContext[Any]) -> AsyncGenerator[Toolset, None]:  # noqa: ARG002 - nothing here depends on the run
        """The set itself, which is the same for every run."""
        yield self

    # --- calls -----------------------------------------------------------------------------------

    def validate(self, call: ToolCall) -> ValidatedCall | ToolResult:
        """A call that can run, or the result that tells the model why it cannot."""
        found = self._tools.get(call.name)
        if found is None:
            return ToolResult(call.id, self._unknown(call.name), True, "unknown_tool")
        if call.malformed is not None:
            return ToolResult(
                call.id, _unread(call.name, call.malformed), True, "invalid_arguments"
            )
        return found.validate(call)

    def resolve_name(self, name: str) -> str | None:
        """The tool that was certainly meant by a name that is not quite one.

        See `agentkit.gemma4.wrong_forms`. None if no tool, or more than one, fits.
        """
        return resolve_name(name, self._tools)

    def _unknown(self, name: str) -> str:
        close = self.resolve_name(name) or nearest(name, self._tools)
        guess = f" Did you mean {close}?" if close else ""
        listed = ", ".join(self._tools) or "none"
        text = f"Error: there is no tool {short(name)}.{guess} Tools: {listed}."
        return text if len(text) <= MAX_FEEDBACK else f"{text[: MAX_FEEDBACK - 2]}…."

    # --- algebra ---------------------------------------------------------------------------------

    def filtered(self, keep: Keep) -> Toolset:
        """Only the tools for which `keep` is true."""
        refuse_async("keep", keep)
        return Toolset(t for t in self if keep(t))

    def prefixed(self, prefix: str) -> Toolset:
        """Every name with `prefix` before it."""
        return Toolset(_changed(t, name=f"{prefix}{t.name}") for t in self)

    def renamed(self, names: Mapping[str, str]) -> Toolset:
        """Some tools under other names: `{"old": "new"}`.

        Raises:
            ToolDefinitionError: There is no tool of an old name, or a new one is taken.
        """
        self._must_have(names)
        return Toolset(_changed(t, name=names.get(t.name)) for t in self)

    def described(self, descriptions: Mapping[str, str]) -> Toolset:
        """Some tools with other descriptions, by name.

        Raises:
            ToolDefinitionError: There is no tool of a name.
        """
        self._must_have(descriptions)
        return Toolset(_changed(t, description=descriptions.get(t.name)) for t in self)

    def labelled(self, labels: Mapping[str, Iterable[Label]]) -> Toolset:
        """Some tools with other labels, by name: what you say that they can reach.

        Raises:
            ToolDefinitionError: There is no tool of a name, or no such label.
        """
        self._must_have(labels)
        return Toolset(_labelled(t, labels.get(t.name)) for t in self)

    def _must_have(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._tools:
                raise ToolDefinitionError(self._unknown(name).removeprefix("Error: "))


def _made_of(item: Any, at: int) -> Tool[..., Any]:
    """The tool that is made from a function.

    Raises:
        ToolDefinitionError: It is not a function, or no tool can be made from it.
    """
    if isinstance(item, ToolSource):
        remedy = "a set of tools goes into toolsets=[…], or is added: one + other"
    elif hasattr(item, "as_tool"):
        remedy = "give agent.as_tool(name, description)"
    elif isinstance(item, Mapping):
        remedy = "give the function itself; its schema is made of its annotations"
    elif not callable(item) and not isinstance(item, classmethod):
        remedy = "give a function, or what @tool made of one"
    else:
        return make_tool(cast("Callable[..., Any]", item))
    kind = "the text" if isinstance(item, str) else f"a {type(item).__name__}:"
    raise ToolDefinitionError(f"tools[{at}] is {kind} {item!r:.60}; {remedy}")


def _changed(
    tool: Tool[..., Any], *, name: str | None = None, description: str | None = None
) -> Tool[..., Any]:
    if name is None and description is None:
        return tool
    definition = replace(
        tool.definition,
        name=name or tool.name,
        description=tool.definition.description if description is None else description,
    )
    return replace(tool, definition=definition)


def _labelled(tool: Tool[..., Any], labels: Iterable[Label] | None) -> Tool[..., Any]:
    if labels is None:
        return tool
    try:
        return replace(tool, options=replace(tool.options, labels=known_labels(labels)))
    except (TypeError, ValueError) as error:
        raise ToolDefinitionError(f"{tool.place}: labels: {error}") from None


def _unread(name: str, text: str) -> str:
    """What the model is told of arguments that could not be read: the reason where they are JSON,
    else the text itself.
    """
    try:
        read_exact(text)
    except NotJsonError:
        pass
    except InexactError as why:
        return f"Error: {name} was not run. Its arguments were not taken: {why}. Call it again."
    return (
        f"Error: {name} was not run. Its arguments are no JSON object: {short(text)}. "
        "Call it again with an object."
    )


# --- sources -------------------------------------------------------------------------------------

Tools: TypeAlias = Toolset | Iterable[ToolLike]
Factory: TypeAlias = Callable[
    [RunContext[Any]], Tools | Awaitable[Tools] | AbstractAsyncContextManager[Tools]
]


class DynamicToolset(ToolSource):
    """Tools that depend on the run.

    Args:
        factory: Called once at the beginning of each run. Returns tools or functions, perhaps as
            an awaitable; or an async context manager of them, which is left when the run ends:

            ```python
            @dynamic
            @asynccontextmanager
            async def shop(context: RunContext[Deps]) -> AsyncGenerator[list[Tool]]:
                async with connect(context.deps.url) as db:
                    yield [Orders(db).refund, Orders(db).find]
            ```
    """

    def __init__(self, factory: Factory) -> None:
        self._factory = factory

    @asynccontextmanager
    async def for_run(self, context: RunContext[Any]) -> AsyncGenerator[Toolset, None]:
        """The tools that the factory makes for this run."""
        made = self._factory(context)
        if isinstance(made, AbstractAsyncContextManager):
            async with made as tools:
                yield _fixed(tools)
        else:
            yield _fixed(await made if inspect.isawaitable(made) else made)


def dynamic(factory: Factory) -> DynamicToolset:
    """Decorates a function of the run's context; see `DynamicToolset`."""
    return DynamicToolset(factory)


def combined(*sources: ToolSource) -> ToolSource:
    """All tools of all sources, in that order. Of fixed sets: a fixed set, checked at once.

    Raises:
        ToolDefinitionError: A source is none; or two tools have the same name: for sources, when a
            run begins.
    """
    for source in sources:
        if not isinstance(cast("object", source), ToolSource):
            raise ToolDefinitionError(f"{source!r:.60} is no set of tools; write Toolset([…])")
    if all(isinstance(source, Toolset) for source in sources):
        return Toolset(t for source in sources if isinstance(source, Toolset) for t in source)
    return _Combined(sources)


class _Combined(ToolSource):
    def __init__(self, sources: Iterable[ToolSource]) -> None:
        self._sources = tuple(sources)

    @asynccontextmanager
    async def for_run(self, context: RunContext[Any]) -> AsyncGenerator[Toolset, None]:
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(s.for_run(context)) for s in self._sources]
            yield Toolset(t for toolset in opened for t in toolset)


class _Derived(ToolSource):
    def __init__(self, source: ToolSource, change: Callable[[Toolset], Toolset]) -> None:
        self._source = source
        self._change = change

    @asynccontextmanager
    async def for_run(self, context: RunContext[Any]) -> AsyncGenerator[Toolset, None]:
        async with self._source.for_run(context) as toolset:
            yield self._change(toolset)


def _fixed(tools: Tools) -> Toolset:
    return tools if isinstance(tools, Toolset) else Toolset.by_name(tools)
