from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agentkit import Agent, RunFiles
from agentkit.testing import Reply, ScriptedModel, cut, say
from agentkit.trace import TraceError, find_run, run_files, summary_of

pytestmark = pytest.mark.anyio


async def record(directory: Path, *script: Reply, run_id: str = "r", text: str = "go") -> Path:
    files = RunFiles(directory)
    await Agent(ScriptedModel(script), observers=[files]).run(text, run_id=run_id)
    return files.path(run_id)


async def test_a_run_is_found_by_id_by_path_and_as_the_last(tmp_path: Path) -> None:
    old = await record(tmp_path, say("a"), run_id="a/b")
    new = await record(tmp_path, say("b"), run_id="new")
    os.utime(old, (1, 1))
    assert find_run("a/b", tmp_path) == old
    assert find_run(str(old), tmp_path) == old
    assert find_run("last", tmp_path) == new


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no run 'x' in"):
        find_run("x", tmp_path)
    with pytest.raises(TraceError, match="no run 'last' in"):
        find_run("last", tmp_path)
    with pytest.raises(TraceError, match=r"there are no run files: .*gone does not exist"):
        find_run("x", tmp_path / "gone")


async def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    old = await record(tmp_path, say("a"), run_id="z")
    new = await record(tmp_path, say("b"), run_id="a")
    os.utime(old, (1, 1))
    assert run_files(tmp_path) == [new, old]


@pytest.mark.parametrize("size", [1, 300_000])
async def test_a_run_is_summed_up_whatever_its_lines_hold(tmp_path: Path, size: int) -> None:
    file = await record(tmp_path, cut(say("x" * size)), say("y" * size), text="Say y.")
    summary = summary_of(file)
    assert (summary.run_id, summary.asked) == ("r", "Say y.")
    assert summary.result is not None
    assert (summary.result.stop_reason, summary.result.output) == ("answer", "y" * size)
    assert summary.usage.input_tokens == 20
    assert 0 <= summary.seconds < 60
    assert summary.began > 1_700_000_000


async def test_the_time_between_the_parts_of_a_run_is_not_counted(tmp_path: Path) -> None:
    file = await record(tmp_path, say("a"))
    events = [json.loads(line) for line in file.read_bytes().splitlines()]
    first = [{**event, "time": 1000.0 + n} for n, event in enumerate(events)]
    again = [{**event, "time": 5000.0 + n} for n, event in enumerate(events)]
    lines = [json.dumps(event, separators=(",", ":")) for event in [*first[:-1], *again]]
    file.write_text("\n".join([*lines, ""]))
    summary = summary_of(file)
    assert summary.began == 1000.0
    assert summary.seconds == len(first[:-1]) - 1 + len(again) - 1


async def test_a_run_that_was_killed_has_no_result_in_its_summary(tmp_path: Path) -> None:
    file = await record(tmp_path, say("a"))
    file.write_bytes(file.read_bytes()[:-5])
    assert summary_of(file).result is None


@pytest.mark.parametrize("content", ["", "{}\n", "no json\n", '{"event":"StepStarted","step":1}\n'])
def test_other_files_are_no_run_files(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(content)
    with pytest.raises(TraceError, match=r"other\.jsonl"):
        summary_of(file)
