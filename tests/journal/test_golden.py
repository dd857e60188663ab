"""Journals that earlier versions wrote must be read and resumed by this one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agentkit import SQLiteJournal
from agentkit.events import RunResult
from agentkit.journal.sqlite import FORMAT
from agentkit.messages import ToolMessage
from agentkit.testing import ScriptedModel, say
from tests.journal.golden_runs import DIED, ENDED, agent

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("format-*.db"))


@pytest.fixture(params=FILES, ids=[file.stem for file in FILES])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLiteJournal]:
    opened = SQLiteJournal(shutil.copy(request.param, tmp_path))
    yield opened
    opened.close()


def results(result: RunResult) -> list[str]:
    return [str(m.content) for m in result.messages if isinstance(m, ToolMessage)]


def test_there_is_a_golden_journal_of_this_format() -> None:
    assert FOLDER / f"format-{FORMAT}.db" in FILES


def test_its_runs_are_listed(journal: SQLiteJournal) -> None:
    newest, oldest = anyio.run(journal.runs)
    assert (newest.run_id, newest.state, newest.calls) == (DIED, "died", 4)
    assert (oldest.run_id, oldest.stop_reason, oldest.steps) == (ENDED, "answer", 3)
    assert newest.labels == {"kept": "for later versions"}


def test_a_run_that_ended_gives_its_result(journal: SQLiteJournal) -> None:
    result = anyio.run(lambda: agent([]).resume(ENDED, journal=journal))
    assert (result.output, result.stop_reason, result.steps) == ("Done.", "answer", 3)
    assert results(result) == ["the desk: nothing", "paid 7", "ü: nothing"]


def test_a_run_that_died_goes_on(journal: SQLiteJournal) -> None:
    model = ScriptedModel([say("Paid, perhaps.")])
    result = anyio.run(lambda: agent([]).override(model=model).resume(DIED, journal=journal))
    assert result.output == "Paid, perhaps."
    assert results(result)[:3] == ["the desk: nothing", "paid 7", "ü: nothing"]
    assert "may or may not have taken effect" in results(result)[3]
    assert model.requests[0].settings.temperature == 0.5
