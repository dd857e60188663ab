from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import anyio
import pytest

from agentkit.errors import ToolError
from agentkit.executors import LocalExecutor
from agentkit.messages import ImagePart, ToolCall, ToolResult
from agentkit.toolset import ToolContext, ToolOptions, ToolOutput, ValidatedCall, make_tool


def execute(
    function: Callable[..., Any], options: ToolOptions | None = None, **arguments: Any
) -> ToolResult:
    made = make_tool(function, options=options)
    call = ToolCall("c1", made.name, arguments)
    checked = made.validate(call)
    assert isinstance(checked, ValidatedCall)
    return anyio.run(LocalExecutor().execute, checked, ToolContext(None, "r", 1, call))


def test_what_a_tool_returns_is_what_the_model_reads() -> None:
    def find(n: int) -> dict[str, int]:
        return {"n": n}

    result = execute(find, n=3)
    assert (result.content, result.kind, result.attempts) == ('{"n": 3}', "ok", 1)


def test_a_result_for_people_and_programs_passes_through() -> None:
    image = ImagePart("data:image/png;base64,AA==")

    def chart() -> ToolOutput:
        return ToolOutput(["a chart", image], for_user="see above", data={"rows": 3})

    result = execute(chart)
    assert result.content == (result.content[0], image)
    assert (result.for_user, result.data) == ("see above", {"rows": 3})


def test_the_declared_cap_holds() -> None:
    def long() -> str:
        return "x" * 10_000

    assert len(execute(long, ToolOptions(output_cap=200)).content) <= 200


def test_a_tool_that_raises_becomes_a_result() -> None:
    def fail() -> None:
        raise ToolError("no such order; list the orders first")

    def bug() -> None:
        raise KeyError("x")

    assert execute(fail).content == "Error: no such order; list the orders first"
    assert execute(bug).content == "Error: KeyError: 'x'"


@pytest.mark.parametrize(
    ("raised", "words", "retry"),
    [
        ([ToolError("no such city", retry=False)], "no such city", False),
        ([ToolError("busy", retry=True)], "busy", True),
        (
            [ValueError("a"), ExceptionGroup("", [KeyError("b"), ValueError("a")])],
            "ValueError: a; KeyError: 'b'",
            True,
        ),
        ([SystemExit(1), ToolError("x", retry=True)], "SystemExit: 1; x", False),
    ],
)
def test_of_a_group_of_exceptions_each_is_told(
    raised: list[BaseException], words: str, retry: bool
) -> None:
    async def parallel() -> None:
        raise BaseExceptionGroup("unhandled errors in a TaskGroup", raised)

    result = execute(parallel)
    assert result.content == f"Error: {words}"
    assert (result.kind, result.retry) == ("error", retry)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(3), "Error: SystemExit: 3"),
        (StopIteration(), "Error: StopIteration"),
        (asyncio.CancelledError(), "Error: CancelledError"),
        (asyncio.CancelledError("given up"), "Error: CancelledError: given up"),
        (GeneratorExit(), "Error: GeneratorExit"),
        (RecursionError("too deep"), "Error: RecursionError: too deep"),
        (MemoryError(), "Error: MemoryError"),
        (type("Odd", (BaseException,), {})("odd"), "Error: Odd: odd"),
        (
            BaseExceptionGroup("two", [asyncio.CancelledError(), GeneratorExit()]),
            "Error: CancelledError; GeneratorExit",
        ),
        (ValueError(), "Error: ValueError"),
        (ValueError("half \ud83d of a pair"), "Error: ValueError: half ? of a pair"),
        (UnspeakableError(), "Error: UnspeakableError: (it has no text)"),
        (ExceptionGroup("two", [ValueError("a")]), "Error: ValueError: a"),
    ],
)
def test_whatever_a_tool_raises_ends_the_call_and_not_the_run(
    error: BaseException, text: str
) -> None:
    def fail() -> None:
        raise error

    async def fail_later() -> None:
        raise error

    assert execute(fail).content == text
    if not isinstance(error, StopIteration):  # Python itself forbids it in a coroutine
        assert execute(fail_later).content == text


@pytest.mark.anyio
async def test_a_cancellation_from_outside_is_no_failure_of_the_tool() -> None:
    made = make_tool(anyio.sleep_forever)
    checked = made.validate(call := ToolCall("c1", made.name, {}))
    assert isinstance(checked, ValidatedCall)
    with anyio.move_on_after(0.01) as scope:
        await LocalExecutor().execute(checked, ToolContext(None, "r", 1, call))
    assert scope.cancelled_caught


def test_an_interrupt_of_the_program_goes_through() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(interrupted)


def test_a_task_of_its_own_that_was_cancelled_is_a_failure_of_the_tool() -> None:
    async def waits() -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task

    assert execute(waits).content == "Error: CancelledError"


def test_a_long_error_is_cut_in_the_middle() -> None:
    def fail() -> None:
        raise ToolError("x" * 100_000 + "the end")

    text = str(execute(fail).content)
    assert len(text) <= 4_000
    assert text.endswith("the end")


def test_a_sync_tool_can_see_that_its_time_is_over() -> None:
    stopped = threading.Event()

    def slow(ctx: ToolContext[Any]) -> None:
        assert ctx.handles.cancelled.wait(20)
        assert ctx.cancelled
        stopped.set()

    result = execute(slow, ToolOptions(timeout=0.05))
    assert result.kind == "timeout"
    assert "may still complete" in str(result.content)
    assert stopped.wait(20)


def test_a_sync_generator_ends_with_its_time() -> None:
    begun, closed = threading.Event(), threading.Event()

    def endless(ctx: ToolContext[Any]) -> Iterator[str]:
        try:
            while True:
                begun.set()
                ctx.handles.cancelled.wait(0.01)
                yield "x"
        finally:
            closed.set()

    for timeout in (0.05, 1, 10):  # on a busy machine it may be over before its thread runs
        assert execute(endless, ToolOptions(timeout=timeout)).kind == "timeout"
        if begun.is_set():
            break
    assert closed.wait(20)


def test_an_async_tool_ends_at_its_next_await() -> None:
    ended = threading.Event()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    result = execute(slow, ToolOptions(timeout=0.05))
    assert result.content == "Error: slow did not finish within 0.05 seconds."
    assert ended.is_set()


def test_a_sync_function_may_return_an_awaitable() -> None:
    async def later() -> int:
        return 5

    def start() -> Any:
        return later()

    assert execute(start).content == "5"


def test_a_coroutine_that_nobody_awaited_is_awaited() -> None:
    async def fetch() -> str:
        return "the page"

    async def stream() -> AsyncGenerator[str]:
        yield "the "
        yield "page"

    async def forgot() -> Any:
        return fetch()

    async def forgot_twice() -> Any:
        return forgot()

    def called() -> Any:
        return forgot_twice()

    async def passed_on() -> Any:
        return stream()

    for function in (forgot, forgot_twice, called, passed_on):
        assert execute(function).content == "the page"
