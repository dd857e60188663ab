"""Runs that earlier versions wrote are opened, resumed and replayed by this one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import AgentKitError, SQLiteJournal, ToolContext
from agentkit.messages import ToolResult
from agentkit.runtime import assert_replays
from agentkit.testing import say
from agentkit.toolset import ValidatedCall
from agentkit.trace import parts_of, read_events
from tests.golden.runs import JOURNAL, RUNS

VERSIONS = sorted(each for each in Path(__file__).parent.iterdir() if (each / JOURNAL).is_file())
EVERY = [(folder, name) for folder in VERSIONS for name in RUNS]
every_run = pytest.mark.parametrize(
    ("folder", "name"), EVERY, ids=[f"{folder.name}/{name}" for folder, name in EVERY]
)

RUN_AGAIN = {"cancelled": ["wait"], "seconds": ["wait"]}
"""The calls that a crash or a clock interrupted, and that their effect lets begin again."""


class Counting:
    """An executor that runs nothing and keeps what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:  # noqa: ARG002 - as the protocol has it
        self.asked.append(call.tool.name)
        return call.result("again")


@pytest.fixture
def journal(tmp_path: Path, folder: Path) -> Iterator[SQLiteJournal]:
    opened = SQLiteJournal(shutil.copy(folder / JOURNAL, tmp_path))
    yield opened
    opened.close()


@every_run
def test_a_file_is_opened(folder: Path, name: str) -> None:
    last = parts_of(read_events(folder / f"{name}.jsonl"))[-1]
    assert (last.result.stop_reason if last.result else "") == RUNS[name].stop


@every_run
def test_a_file_replays(folder: Path, name: str) -> None:
    assert_replays(RUNS[name].make([], observers=()), folder / f"{name}.jsonl")


@pytest.mark.slow
@every_run
def test_a_run_is_resumed_and_nothing_recorded_runs_again(
    folder: Path, name: str, journal: SQLiteJournal
) -> None:
    assert folder.is_dir()
    counting = Counting()
    agent = RUNS[name].make([say("On.")] * 2, observers=()).override(executor=counting)
    limits = RUNS[name].limits

    async def main() -> None:
        result = await agent.resume(name, journal=journal, limits=limits)
        if RUNS[name].stop in ("answer", "paused", "steps", "tool_calls", "tokens", "cost"):
            assert result.stop_reason == RUNS[name].stop

    try:
        anyio.run(main)
    except AgentKitError as error:
        pytest.fail(str(error))
    assert counting.asked == RUN_AGAIN.get(name, [])
