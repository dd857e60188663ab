"""What every executor must do: tools at the top of a module, and what is to come of each.

An executor passes if `CASES` hold for it; what it may do otherwise is in its `Promises`.
"""

from __future__ import annotations

import datetime
import enum
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio.lowlevel import checkpoint
from pydantic import BaseModel

from agentkit.errors import ToolError
from agentkit.executors import Executor, RetryingExecutor
from agentkit.messages import ImagePart, ToolCall, ToolResult
from agentkit.toolset import RunHandles, Tool, ToolContext, ToolOutput, ValidatedCall, tool


@dataclass(frozen=True)
class Promises:
    """In what executors differ.

    Attributes:
        ends_work: A sync tool's work ends with its time.
        shows_progress: `ToolContext.report` reaches who watches.
        has_deps: `ToolContext.deps` reaches the tool.
        survives_tools: A tool that kills its process does not take the agent with it.
    """

    ends_work: bool = True
    shows_progress: bool = True
    has_deps: bool = False
    survives_tools: bool = True


# --- tools -------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Guest(BaseModel):
    name: str
    born: datetime.date


@tool(effect="pure")
def typed(
    guest: Guest, colour: Colour, until: datetime.timedelta, kind: Literal["a", "b"], path: Path
) -> dict[str, Any]:
    """Says what it was given, by type."""
    values = (guest, guest.born, colour, until, kind, path)
    return {"types": [type(value).__name__ for value in values], "age": 2026 - guest.born.year}


@tool(effect="pure")
async def later(text: str) -> str:
    """Answers a moment later."""
    await checkpoint()
    return text


@tool(effect="pure")
def parts(count: int) -> Iterator[str]:
    """Answers piece by piece."""
    for number in range(count):
        yield f"{number};"


@tool(effect="pure")
async def async_parts(count: int) -> AsyncIterator[str]:
    """Answers piece by piece."""
    for number in range(count):
        yield f"{number};"


@tool(effect="pure")
def refuses(retry: bool = False) -> None:
    """Cannot do it."""
    raise ToolError("no such order; list the orders first", retry=retry)


@tool(effect="pure")
def has_a_bug() -> None:
    """Has a bug."""
    raise KeyError("x")


@tool(effect="pure")
def exits() -> None:
    """Wants to end the program."""
    raise SystemExit(3)


@tool(effect="pure")
def chart() -> ToolOutput:
    """Draws."""
    image = ImagePart("data:image/png;base64,AA==")
    return ToolOutput(["a chart", image], for_user="see above", data={"rows": 3})


@tool(effect="pure", output_cap=200)
def endless_text() -> str:
    """Says too much."""
    return "x" * 10_000


@tool(effect="pure")
def strange_text() -> list[Any]:
    """Says what JSON and UTF-8 do not know."""
    return [float("nan"), float("inf"), "half \ud83d", "\u2028", b"\x00\xff"]


@tool(effect="pure")
def who_asks(ctx: ToolContext[Any], number: int) -> list[Any]:
    """Tells what it knows of its run."""
    return [ctx.run_id, ctx.step, ctx.index, ctx.attempt, ctx.call.id, ctx.idempotency_key, number]


@tool(effect="pure")
def depends(ctx: ToolContext[Any]) -> str:
    """Uses the run's dependencies."""
    return str(ctx.deps.name)


@tool(effect="once", timeout=0.4)
def ticks(file: Path) -> None:
    """Works on and on."""
    while not file.with_name("stop").exists():
        with file.open("a") as out:
            out.write(".")
        time.sleep(0.02)


@tool(effect="pure", timeout=0.2)
async def sleeps() -> None:
    """Sleeps."""
    await anyio.sleep_forever()


@tool(effect="pure")
async def sleeps_long(file: Path) -> None:
    """Sleeps until it is cancelled, once it has begun."""
    await anyio.Path(file).write_text("begun")
    await anyio.sleep_forever()


@tool(effect="idempotent", retries=3)
def fails_twice(ctx: ToolContext[Any], file: Path) -> str:
    """Succeeds at the third attempt."""
    with file.open("a") as out:
        out.write(".")
    if ctx.attempt < 3:
        raise ToolError("not yet", retry=True)
    return f"at attempt {ctx.attempt}"


@tool(effect="pure")
def dies() -> None:
    """Kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)


# --- what is to come of them -------------------------------------------------------------------


def checked(tool: Tool[..., Any], call_id: str = "c1", **arguments: Any) -> ValidatedCall:
    """A call that passed every check."""
    call = tool.validate(ToolCall(call_id, tool.name, arguments))
    assert isinstance(call, ValidatedCall)
    return call


def context(call: ValidatedCall, **changes: Any) -> ToolContext[Any]:
    """The context of a call."""
    return replace(ToolContext(None, "run-1", 2, call.call, 1), **changes)


async def execute(executor: Executor, tool: Tool[..., Any], **arguments: Any) -> ToolResult:
    """What comes of one call."""
    call = checked(tool, **arguments)
    return await executor.execute(call, context(call))


Check = Callable[[Executor, Promises, Path], Awaitable[None]]
CASES: dict[str, Check] = {}


def case(check: Check) -> Check:
    """Makes a function one of the cases."""
    CASES[check.__name__] = check
    return check


@case
async def arguments_arrive_with_their_types(executor: Executor, _: Promises, __: Path) -> None:
    guest = {"name": "Ada", "born": "1815-12-10"}
    given = {"guest": guest, "colour": "red", "until": "PT2H", "kind": "b", "path": "a/b"}
    result = await execute(executor, typed, **given)
    types = '["Guest", "date", "Colour", "timedelta", "str", "PosixPath"]'
    assert (result.content, result.kind) == (f'{{"types": {types}, "age": 211}}', "ok")


@case
async def async_tools_and_generators_run_to_their_end(
    executor: Executor, promises: Promises, __: Path
) -> None:
    assert (await execute(executor, later, text="über")).content == "über"
    for made in (parts, async_parts):
        shown: list[str] = []
        call = checked(made, count=3)
        handles = RunHandles(report=shown.append)
        result = await executor.execute(call, context(call, handles=handles))
        assert result.content == "0;1;2;"
        assert shown == (["0;", "1;", "2;"] if promises.shows_progress else [])


@case
async def a_tools_failure_is_a_result_in_its_own_words(
    executor: Executor, _: Promises, __: Path
) -> None:
    result = await execute(executor, refuses)
    assert (result.content, result.kind, result.is_error, result.retry) == (
        "Error: no such order; list the orders first",
        "error",
        True,
        False,
    )
    assert (await execute(executor, refuses, retry=True)).retry
    assert (await execute(executor, has_a_bug)).content == "Error: KeyError: 'x'"
    assert (await execute(executor, exits)).content == "Error: SystemExit: 3"


@case
async def what_is_for_people_and_programs_passes_through(
    executor: Executor, _: Promises, __: Path
) -> None:
    result = await execute(executor, chart)
    assert result.content[1] == ImagePart("data:image/png;base64,AA==")
    assert (result.for_user, result.data, result.call_id) == ("see above", {"rows": 3}, "c1")
    assert len((await execute(executor, endless_text)).content) <= 200
    assert '"half ?"' in str((await execute(executor, strange_text)).content)


@case
async def a_tool_knows_its_call(executor: Executor, _: Promises, __: Path) -> None:
    call = checked(who_asks, number=7)
    asks = context(call, attempt=3)
    result = await executor.execute(call, asks)
    assert result.content == f'["run-1", 2, 1, 3, "c1", "{asks.idempotency_key}", 7]'


@case
async def dependencies_arrive_or_the_tool_is_told_why_not(
    executor: Executor, promises: Promises, __: Path
) -> None:
    class Deps:
        name = "the desk"

    call = checked(depends)
    result = await executor.execute(call, context(call, deps=Deps()))
    assert promises.has_deps == (result.content == "the desk")
    assert promises.has_deps or "do not reach this process (deps.name)" in str(result.content)


@case
async def a_timeout_ends_the_call_and_says_what_is_true(
    executor: Executor, promises: Promises, folder: Path
) -> None:
    assert (await execute(executor, sleeps)).content == (
        "Error: sleeps did not finish within 0.2 seconds."
    )
    file = folder / "ticks"
    result = await execute(executor, ticks, file=str(file))
    assert result.kind == "timeout"
    if promises.ends_work:
        assert "may" not in str(result.content)
        await _settled(file)
    else:
        assert "It may still complete" in str(result.content)
        file.with_name("stop").touch()


async def _settled(file: Path) -> None:
    """Waits until a file does not grow any more, for five of its writer's turns."""
    sizes: list[int] = []
    with anyio.fail_after(10):
        while len(sizes) < 5 or len(set(sizes[-5:])) > 1:
            sizes.append(_size(file))
            await anyio.sleep(0.03)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@case
async def a_cancelled_call_ends_and_the_next_one_runs(
    executor: Executor, _: Promises, folder: Path
) -> None:
    file = folder / "begun"
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await execute(executor, sleeps_long, file=str(file))

            group.start_soon(run)
            with anyio.fail_after(20):
                while not file.exists():  # noqa: ASYNC110 - another process writes it
                    await anyio.sleep(0.01)
            scope.cancel()
    assert scope.cancelled_caught
    assert (await execute(executor, later, text="next")).content == "next"


@case
async def calls_run_beside_each_other(executor: Executor, _: Promises, __: Path) -> None:
    results: dict[str, str] = {}

    async def one(text: str) -> None:
        results[text] = str((await execute(executor, later, text=text)).content)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(one, str(number))
    assert results == {str(number): str(number) for number in range(8)}


@case
async def retries_wrap_it(executor: Executor, _: Promises, folder: Path) -> None:
    file = folder / "attempts"
    result = await execute(RetryingExecutor(executor), fails_twice, file=str(file))
    assert (result.content, result.attempts, file.read_text()) == ("at attempt 3", 3, "...")


@case
async def a_tool_that_kills_its_process_is_unknown(
    executor: Executor, promises: Promises, __: Path
) -> None:
    if not promises.survives_tools:
        return
    result = await execute(executor, dies)
    assert (result.kind, result.is_error, result.retry) == ("unknown", True, True)
    assert "It may or may not have taken effect" in str(result.content)
    assert (await execute(executor, later, text="next")).content == "next"
