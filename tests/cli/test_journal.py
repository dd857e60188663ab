from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentkit import SQLiteJournal
from agentkit.cli.app import app
from agentkit.journal import RunOpened
from agentkit.messages import UserMessage
from tests.postgres import Server, programs


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.anyio
async def test_a_file_is_checked_and_its_damage_told(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    with SQLiteJournal(file) as journal:
        await journal.open("r", RunOpened((UserMessage("Go."),)))
        assert "all is well, 1 run read" in run("journal", "check", str(file)).stdout
        journal.connection.execute("UPDATE events SET body = replace(body, 'Go', 'No')")
    checked = run("journal", "check", str(file))
    assert checked.exit_code == 1
    assert "r: entry 1 (RunOpened) was changed" in checked.stdout
    assert run("journal", "migrate", str(file)).exit_code == 0


def test_a_journal_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused = run("journal", "check", str(tmp_path / "none.db"))
    assert refused.exit_code == 1
    assert "there is no journal" in str(refused.exception)


@pytest.mark.postgres
@pytest.mark.skipif(programs() is None, reason="no Postgres server is installed")
def test_the_commands_work_with_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text(
        "from agentkit import Agent\n"
        "from agentkit.testing import ScriptedModel, say\n"
        "agent = Agent(ScriptedModel([say('Done.')]), observers=())\n"
    )
    monkeypatch.chdir(tmp_path)
    with Server() as server:
        monkeypatch.setenv("AGENTKIT_JOURNAL", server.url())
        checked = run("journal", "check")
        assert checked.exit_code == 1
        assert "run agentkit journal migrate with this address" in checked.stdout
        assert "applied 1, 2" in run("journal", "migrate").stdout
        assert "already" in run("journal", "migrate").stdout
        asked = run("run", "Do it.", "--agent", "own.py:agent")
        assert asked.exit_code == 0, asked.output
        assert "Do it." in run("runs", "list").stdout
        assert "Done." in run("runs", "show", "last").stdout
        assert run("runs", "resume", "last").exit_code == 0
        assert "all is well, 1 run read" in run("journal", "check").stdout
        assert run("runs", "delete", "last", "--yes").exit_code == 2, "an id is asked for"
