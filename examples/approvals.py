"""Somebody decides on each payment: at once, or tomorrow in another process.

    python examples/approvals.py http://localhost:8000/v1 "Pay Ada 40 and Bob 900."

Small payments are decided by a function while the run waits. For a large one the run pauses: what
waits is written to `waiting.json`, and this goes on with it:

    python examples/approvals.py http://localhost:8000/v1 --decide yes
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agentkit import Agent, Model, RunResult, VLLMModel, tool
from agentkit.policy import Approval, Approve, Decision, Deny, PausedRun

WAITING = Path("waiting.json")
SMALL = 100


@tool(labels={"egress"}, approval="always")
def pay(to: str, euros: int) -> str:
    """Pay somebody.

    Args:
        to: Who.
        euros: How much.
    """
    return f"paid {to} {euros} EUR"


def decide(approval: Approval) -> Decision | None:
    """Yes to small sums; None leaves it to a person, and the run pauses."""
    euros = approval.call.arguments["euros"]
    return Approve() if isinstance(euros, int) and euros <= SMALL else None


def agent(model: Model) -> Agent:
    """An agent that pays."""
    return Agent(model, tools=[pay], policy="ask", approve=decide)


def begin(model: Model, task: str) -> RunResult[str]:
    """Runs until there is an answer, or a person is needed."""
    result = agent(model).run_sync(task)
    if result.paused is not None:
        WAITING.write_text(result.paused.to_json())
        for approval in result.paused.waiting:
            print(f"waits for a decision: {approval.call.name} {approval.call.arguments}")
    return result


def go_on(model: Model, yes: bool) -> RunResult[str]:
    """Goes on with what waits, in whatever process."""
    paused = PausedRun.from_json(WAITING.read_text())
    decision = Approve() if yes else Deny("That is too much.")
    decisions = {approval.id: decision for approval in paused.waiting}
    result = asyncio.run(agent(model).resume(paused, decisions))
    WAITING.unlink()
    return result


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    model = VLLMModel(sys.argv[1])
    if sys.argv[2] == "--decide":
        done = go_on(model, sys.argv[3] == "yes")
    else:
        done = begin(model, sys.argv[2])
    print(done.output or done.explanation)
