"""The runs of the golden journals: each format keeps its own, and every later one resumes it.

`python -m tests.journal.golden_runs FILE` writes one; a format that is out is never written again.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent, SQLiteJournal, tool
from agentkit.messages import ModelSettings
from agentkit.testing import ScriptedModel, call, calls, say
from agentkit.toolset import ToolOutput

ENDED, DIED = "ended-run", "died-run"


@tool(effect="pure")
def look(where: str) -> ToolOutput:
    """Looks somewhere."""
    return ToolOutput(f"{where}: nothing", for_user="looked", data={"where": where})


@tool
def pay(amount: int) -> str:
    """Pays; more than 100 is the end of the process."""
    if amount > 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"paid {amount}"


SCRIPT = [call("look", where="the desk"), calls(("pay", {"amount": 7}), ("look", {"where": "ü"}))]


def agent(script: Sequence[Any]) -> Agent:
    """The agent of both runs."""
    return Agent(ScriptedModel(script), instructions="Be brief.", tools=[look, pay], observers=())


def write(file: Path) -> None:
    """Writes both runs; the second dies in its last call."""
    pid = os.fork()
    if pid == 0:
        journal = SQLiteJournal(file, labels={"kept": "for later versions"})
        settings = ModelSettings(temperature=0.5)

        async def main() -> None:
            await agent([*SCRIPT, say("Done.")]).run("Go.", journal=journal, run_id=ENDED)
            await agent([*SCRIPT, call("pay", amount=500)]).run(
                "Go on.", journal=journal, run_id=DIED, settings=settings
            )

        anyio.run(main)
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "the second run was to die"
    with closing(sqlite3.connect(file, isolation_level=None)) as kept:
        kept.execute("UPDATE runs SET owner = '', lease_until = 0")  # no trace of the machine
        kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept.execute("VACUUM")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
