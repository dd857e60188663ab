from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from agentkit.errors import ToolDefinitionError
from agentkit.messages import ToolCall, ToolResult
from agentkit.toolset import RunContext, Toolset, ToolSource, combined, dynamic, tool


def find(city: str) -> str:
    """Finds."""
    return city


def book(city: str) -> str:
    """Books."""
    return city


def cancel(city: str) -> str:
    """Cancels."""
    return city


@tool(name="find", effect="pure")
def another_find(x: int) -> int:
    return x


BASE = Toolset([find, book, cancel])


def names(toolset: Toolset) -> list[str]:
    return [definition.name for definition in toolset.definitions]


def opened(source: ToolSource, deps: object = None) -> list[str]:
    """The names that a source has for one run."""

    async def main() -> list[str]:
        async with source.for_run(RunContext(deps, "r")) as toolset:
            return names(toolset)

    return anyio.run(main)


def test_the_order_is_the_order_of_registration() -> None:
    assert names(BASE) == ["find", "book", "cancel"]
    assert BASE.definitions is BASE.definitions


def test_tools_that_nobody_has_put_in_an_order_stand_in_that_of_their_names() -> None:
    for listed in ([find, book, cancel], [cancel, find, book]):
        assert names(Toolset.by_name(listed)) == ["book", "cancel", "find"]
    assert opened(dynamic(lambda _context: [find, book])) == ["book", "find"]
    assert opened(dynamic(lambda _context: Toolset([find, book]))) == ["find", "book"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.filtered(lambda t: t.name != "book"), ["find", "cancel"]),
        (lambda s: s.prefixed("hotel_"), ["hotel_find", "hotel_book", "hotel_cancel"]),
        (lambda s: s.renamed({"book": "reserve"}), ["find", "reserve", "cancel"]),
        (lambda s: s.renamed({"book": "find", "find": "book"}), ["book", "find", "cancel"]),
        (lambda s: s + Toolset([another_find]).prefixed("n_"), [*names(BASE), "n_find"]),
        (lambda s: s.filtered(lambda _: False), []),
    ],
)
def test_the_algebra_is_the_same_for_fixed_sets_and_for_sources(
    change: Callable[[ToolSource], ToolSource], expected: list[str]
) -> None:
    assert opened(change(BASE)) == expected
    assert opened(change(dynamic(lambda _: BASE))) == expected


def test_a_derived_set_leaves_the_first_one_as_it_was() -> None:
    BASE.prefixed("x_")
    BASE.described({"find": "Other."})
    assert names(BASE) == ["find", "book", "cancel"]
    assert BASE.definitions[0].description == "Finds."


def test_a_description_can_be_replaced() -> None:
    changed = BASE.described({"book": "Reserves a room."})
    words = [d.description for d in changed.definitions]
    assert words == [
        "Finds.",
        "Reserves a room.",
        "Cancels.",
    ]


def test_a_renamed_tool_is_called_by_its_new_name_only() -> None:
    changed = BASE.renamed({"book": "reserve"})
    assert changed.get("reserve") is not None
    assert changed.get("book") is None
    unknown = changed.validate(ToolCall("1", "book", {"city": "x"}))
    assert isinstance(unknown, ToolResult)
    assert unknown.kind == "unknown_tool"


@pytest.mark.parametrize(
    "clash",
    [
        lambda: Toolset([find, another_find]),
        lambda: BASE + Toolset([another_find]),
        lambda: BASE.renamed({"book": "find"}),
        lambda: opened(combined(BASE, dynamic(lambda _: [another_find]))),
    ],
)
def test_a_clash_of_names_shows_both_places(clash: Callable[[], object]) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        clash()
    message = str(caught.value)
    assert "two tools are named 'find'" in message
    assert message.count(f"{__file__}:") == 2
    assert "rename" in message


def test_changing_a_tool_that_is_not_there_says_so() -> None:
    with pytest.raises(ToolDefinitionError, match="Did you mean book"):
        BASE.renamed({"bok": "x"})
    with pytest.raises(ToolDefinitionError, match="no tool"):
        BASE.described({"zzz": "x"})


# --- per run -----------------------------------------------------------------------------------


def test_a_function_of_the_context_makes_the_tools_of_a_run() -> None:
    @dynamic
    def by_rights(context: RunContext[str]) -> list[Callable[..., Any]]:
        return [find, book] if context.deps == "clerk" else [find]

    assert opened(by_rights, "clerk") == ["book", "find"]
    assert opened(by_rights, "guest") == ["find"]


def test_the_function_may_be_async() -> None:
    @dynamic
    async def later(context: RunContext[Any]) -> Toolset:
        await anyio.lowlevel.checkpoint()
        return BASE

    assert opened(later) == names(BASE)


def test_a_context_manager_lives_as_long_as_the_run() -> None:
    log: list[str] = []

    @dynamic
    @asynccontextmanager
    async def connected(context: RunContext[str]) -> AsyncGenerator[list[Any], None]:
        log.append(f"open {context.deps}")
        try:
            yield [find]
        finally:
            log.append("closed")

    async def main() -> None:
        async with (BASE.prefixed("b_") + connected).for_run(RunContext("db", "r")) as toolset:
            log.append(",".join(names(toolset)))

    anyio.run(main)
    assert log == ["open db", "b_find,b_book,b_cancel,find", "closed"]


def test_what_was_opened_is_closed_when_a_later_one_fails() -> None:
    log: list[str] = []

    @dynamic
    @asynccontextmanager
    async def good(context: RunContext[Any]) -> AsyncGenerator[list[Any], None]:
        try:
            yield [find]
        finally:
            log.append("closed")

    @dynamic
    def bad(context: RunContext[Any]) -> list[Any]:
        raise OSError("no server")

    with pytest.raises(OSError, match="no server"):
        opened(combined(good, bad))
    assert log == ["closed"]


# --- names that are not quite right ------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("find", "find"),
        (" find ", "find"),
        ("Find", "find"),
        ("find()", "find"),
        ('"find"', "find"),
        ("tool:find", "find"),
        (" google:tool:find", "find"),
        ("functions.find", "find"),
        ("default_api/find", "find"),
        ("get-weather", "get_weather"),
        ("functions.Get-Weather", "get_weather"),
        ("fin", None),
        ("", None),
        ("same", None),
    ],
)
def test_a_name_is_resolved_only_when_it_is_certain(written: str, meant: str | None) -> None:
    def get_weather() -> None: ...
    def sAme() -> None: ...  # noqa: N802 - differs in case only
    def Same() -> None: ...  # noqa: N802 - differs in case only

    toolset = Toolset([find, get_weather, sAme, Same])
    assert toolset.resolve_name(written) == meant


def test_an_unknown_tool_lists_the_known_ones() -> None:
    result = BASE.validate(ToolCall("7", "boook", {}))
    assert isinstance(result, ToolResult)
    assert (result.call_id, result.is_error, result.kind) == ("7", True, "unknown_tool")
    assert result.content == (
        'Error: there is no tool "boook". Did you mean book? Tools: find, book, cancel.'
    )


def test_the_list_of_tools_stays_short() -> None:
    def same(x: int) -> int:
        return x

    toolset = Toolset(tool(name=f"a_rather_long_name_{n}")(same) for n in range(100))
    result = toolset.validate(ToolCall("7", "b" * 500, {}))
    assert isinstance(result, ToolResult)
    assert len(result.content) < 300


def test_arguments_that_are_no_object_are_named() -> None:
    result = BASE.validate(ToolCall("7", "find", {}, malformed='{"city": '))
    assert isinstance(result, ToolResult)
    assert result.kind == "invalid_arguments"
    assert result.content == (
        "Error: find was not run. Its arguments are no JSON object: "
        '"{\\"city\\": ". Call it again with an object.'
    )
