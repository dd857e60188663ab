"""Where a tool raised is in the log, the record and the page; the model gets one line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, ProcessExecutor, RunFiles, ToolError, tool
from agentkit.events import ToolFinished
from agentkit.messages import ToolMessage
from agentkit.testing import ScriptedModel, call, say
from agentkit.trace import keep_secret, open_run, parts_of
from agentkit.trace.page import page_of

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


def divide(number: int) -> float:
    """Fails for 0."""
    return 1 / number


@tool
def share(number: int) -> float:
    """Shares."""
    return divide(number)


@tool
def refuse(word: str) -> str:
    """Refuses."""
    raise ToolError(f"not {word}")


async def fails(folder: Path, name: str, executor: Any = None, **arguments: Any) -> ToolFinished:
    """How a call ends that fails, as its record has it."""
    model = ScriptedModel([call(name, **arguments), say("So be it.")])
    agent = Agent(model, tools=[share, refuse], observers=[RunFiles(folder)], executor=executor)
    result = await agent.run("go", run_id="r")
    (read,) = [m for m in result.messages if isinstance(m, ToolMessage)]
    assert "Traceback" not in str(read.content)
    assert str(read.content).count("\n") == 0
    events = [timed.event for timed in open_run("r", folder).events]
    (end,) = [event for event in events if isinstance(event, ToolFinished)]
    return end


async def test_the_record_the_log_and_the_page_have_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end = await fails(tmp_path, "share", number=0)
    told = end.result.traceback
    assert told.startswith("Traceback (most recent call last):\n")
    assert "in share\n" in told
    assert "return 1 / number" in told
    assert "executors/local.py" not in told, "our own frames say nothing of the tool"
    assert end.result.content == "Error: ZeroDivisionError: division by zero"
    assert "tool failed tool='share' run_id='r' step=1" in caplog.text
    assert "return 1 / number" in caplog.text
    page = page_of(parts_of(open_run("r", tmp_path).events))
    assert "return 1 / number" in page


async def test_it_comes_back_from_a_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end = await fails(tmp_path, "share", ProcessExecutor(workers=1), number=0)
    assert "return 1 / number" in end.result.traceback
    assert "return 1 / number" in caplog.text


async def test_a_tools_own_words_are_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "agentkit")
    end = await fails(tmp_path, "refuse", word="today")
    assert "in refuse\n" in end.result.traceback
    assert "tool failed" not in caplog.text


async def test_no_secret_is_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep_secret("correct-horse-battery")
    caplog.set_level(logging.INFO, "agentkit")
    await fails(tmp_path, "refuse", word="correct-horse-battery")
    assert "correct-horse" not in (tmp_path / "r.jsonl").read_text()
    assert "correct-horse" not in caplog.text
    assert "not [secret]" in caplog.text
