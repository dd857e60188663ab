from __future__ import annotations

import anyio
import pytest

from agentkit.events import RunResult
from tests.testing.recorded import (
    AFTER,
    ENDS,
    Bench,
    Injection,
    Recorded,
    inject_on_socket,
    recorded,
    sampled,
)
from tests.virtual import run_virtual


async def every_end_in_turn(stream: Recorded, count: int) -> list[str]:
    """Cuts a stream at so many places, each time another way."""
    inject = Bench().inject
    problems: list[str] = []
    for number, at in enumerate(sampled(stream, count)):
        problems += await inject(stream, at, ENDS[number % len(ENDS)])
    return problems


def test_streams_of_every_kind_are_recorded_whole() -> None:
    streams = recorded()
    kinds = {(stream.finish, bool(stream.calls)) for stream in streams}
    assert kinds == {("stop", False), ("tool_calls", True), ("length", False), ("length", True)}
    assert all(stream.finished_at < len(stream.body) for stream in streams)


@pytest.mark.slow
@pytest.mark.parametrize("stream", recorded(), ids=lambda stream: stream.name)
def test_a_cut_stream_ends_loudly_runs_nothing_and_is_asked_for_again(stream: Recorded) -> None:
    assert run_virtual(lambda: every_end_in_turn(stream, 16)) == []


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_same_holds_over_real_http() -> None:
    problems: list[str] = []

    async def play(number: int, stream: Recorded) -> None:
        at = sampled(stream, 5)[number % 5]
        problems.extend(await inject_on_socket(stream, at, ENDS[number % 3]))

    async with anyio.create_task_group() as group:  # each waits most of its time
        for number, stream in enumerate(recorded()):
            group.start_soon(play, number, stream)
    assert problems == []


@pytest.mark.parametrize("stream", recorded(), ids=lambda stream: stream.name)
def test_a_whole_stream_is_taken_as_it_is(stream: Recorded) -> None:
    assert run_virtual(lambda: Bench().inject(stream, len(stream.body), "complete")) == []


def result(output: str) -> RunResult[str]:
    return RunResult(output, "answer", ())


def test_a_silent_ending_is_seen() -> None:
    stream = next(s for s in recorded() if s.name == "text_short")
    silent = Injection(stream, 2000, "complete", requests=1, result=result(stream.text[:6]))
    assert [p.split(": ")[1] for p in silent.problems(60)] == [
        f"ended with {stream.text[:6]!r}",
        "asked 1 times, took 0 back",
    ]


def test_a_tool_run_from_a_part_of_a_call_is_seen() -> None:
    stream = next(s for s in recorded() if s.name == "call_string")
    early = Injection(stream, 5000, "reset", requests=2, restarted=1, result=result(AFTER))
    assert early.problems(60) == []
    early.ran = ['search_text{"pattern": "handle"}']
    assert "ran" in early.problems(60)[0]


def test_a_late_end_is_seen() -> None:
    stream = recorded()[0]
    late = Injection(stream, 1, "stall", 61.0, requests=2, restarted=1, result=result(AFTER))
    assert late.problems(60) == [f"{stream.name} at 1, stall: took 61.0 s"]
