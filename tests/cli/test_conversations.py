from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner, Result

from agentkit import Agent, SQLiteJournal
from agentkit.cli.app import app
from agentkit.testing import ScriptedModel, say


@pytest.fixture(autouse=True)
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path / "runs"))
    agent = Agent(ScriptedModel([say("Of steel."), say("Two."), say("Green.")]), observers=())

    async def talk() -> None:
        with SQLiteJournal(tmp_path / "runs" / "journal.db") as journal:
            for name, asked in (("ana", "What is it?"), ("bob", "How many?"), ("ana", "And how?")):
                await agent.run(asked, journal=journal, conversation=name, run_id=asked[:3])

    anyio.run(talk)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["conversations", *arguments])


def test_they_are_listed_newest_first_with_what_was_asked() -> None:
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["conversation", "ana", "bob"]
    assert "What is it? · And how?" in lines[1]


def test_one_is_found_by_a_word_of_the_answer() -> None:
    found = run("search", "STEEL").stdout
    assert ("ana" in found, "bob" in found) == (True, False)


def test_one_is_told_with_its_runs() -> None:
    told = run("show", "ana").stdout
    assert told.splitlines()[-1] == "runs: Wha, And"
    assert "Of steel." in told
    assert "there is no conversation 'eve'" in run("show", "eve").stderr


def test_one_is_deleted_when_that_is_confirmed() -> None:
    assert run("delete", "ana").exit_code == 1, "nobody said yes"
    assert run("delete", "ana", "--yes").stdout == "deleted ana, 2 turns\n"
    assert run("delete", "ana", "--yes").exit_code == 2
    assert "bob" in run("list").stdout
