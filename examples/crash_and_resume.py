"""A process that dies in the middle of sending a mail, and a mail that is sent once all the same.

    python examples/crash_and_resume.py http://localhost:8000/v1 --crash
    python examples/crash_and_resume.py http://localhost:8000/v1

The first line kills itself with SIGKILL right after the mail has left. The second goes on from the
journal: the model is told that nobody knows whether the mail was sent, and it is not sent again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from agentkit import Agent, Model, RunResult, SQLiteJournal, VLLMModel, tool

SENT = Path("sent.txt")
JOURNAL = Path("mail.db")
RUN = "write-to-ada"


@tool(effect="once", labels={"egress"})  # never started twice
def send_mail(to: str, text: str) -> str:
    """Send a mail.

    Args:
        to: Who gets it.
        text: What it says.
    """
    with SENT.open("a") as file:
        file.write(f"{to}: {text}\n")
    if "--crash" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    return "sent"


async def write(model: Model) -> RunResult[str]:
    """Begins the run, or goes on with it."""
    agent = Agent(model, tools=[send_mail])
    with SQLiteJournal(JOURNAL) as journal:
        if any(run.run_id == RUN for run in await journal.runs()):
            return await agent.resume(RUN, journal=journal)
        return await agent.run("Tell Ada that we are late.", run_id=RUN, journal=journal)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print(asyncio.run(write(VLLMModel(sys.argv[1]))).output)
    print(f"{len(SENT.read_text().splitlines())} mail was sent")
