"""Twenty-one runs, one of each kind of end: what every later version must open, resume and replay.

`python -m tests.golden.runs FOLDER` writes them: for each run its file, and one journal of all of
them. The files in `0.1.0/` were written by version 0.1.0 and are never written again.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio

from agentkit import (
    Agent,
    AgentKitError,
    Cancellation,
    Context,
    Limits,
    ModelConnectionError,
    RunFiles,
    SQLiteJournal,
    Tool,
    ToolContext,
    ToolError,
    Toolset,
    tool,
)
from agentkit.messages import ModelSettings
from agentkit.policy import Decision, Deny, Edit, Policy, Prices
from agentkit.testing import Reply, ScriptedModel, call, calls, cut, say
from tests.pausing import pause_of

JOURNAL = "journal.db"
QUESTION = "What is in the shop?"


# --- tools -------------------------------------------------------------------------------------


@tool(effect="pure", labels={"reads_private"})
def look(where: str) -> str:
    """Looks somewhere."""
    return f"{where}: {'nothing ' * 5}"


@tool(effect="pure")
def read(pages: int) -> str:
    """Reads pages."""
    return "\n".join(f"page {number}: a line of the book of the shop" for number in range(pages))


@tool
def pay(amount: int) -> str:
    """Pays; more than 100 is the end of the process."""
    if amount > 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"paid {amount}"


@tool(labels={"writes"})
def save(text: str) -> str:
    """Saves a text."""
    return f"saved {text}"


@tool(effect="idempotent")
async def wait(context: ToolContext[Any], seconds: float) -> str:
    """Waits."""
    context.report("waiting")
    await anyio.sleep(seconds)
    return "waited"


@tool
def fail(how: Literal["bug", "words"]) -> str:
    """Fails."""
    if how == "words":
        raise ToolError("the shop is closed; come back tomorrow")
    return str(1 // 0)


# --- the runs ----------------------------------------------------------------------------------

Kind = Literal["run", "cancel", "kill", "pause and decide", "kill and resume"]


@dataclass(frozen=True)
class GoldenRun:
    """A run, and how it comes to its end.

    Attributes:
        script: What the model says.
        stop: The `stop_reason` of its last part; empty where the process died.
        kind: What happens to it.
        rest: What the model says to its second part.
        agent: Further arguments of the agent.
        limits: Of the run.
        settings: Of the run.
        decision: What a person says, in the second part.
        helped: Whether it has a sub-agent.
    """

    script: Sequence[Reply | Exception]
    stop: str
    kind: Kind = "run"
    rest: Sequence[Reply] = ()
    agent: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits | None = None
    settings: ModelSettings | None = None
    decision: Decision | None = None
    helped: bool = False

    def make(self, script: Sequence[Reply | Exception], **more: Any) -> Agent[Any, Any]:
        """Its agent with a script, such as the one for what is still to come."""
        tools: list[Tool[..., Any]] = [look, read, pay, save, wait, fail]
        if self.helped:
            helper: Agent[Any, Any] = Agent(ScriptedModel([say("Done.")]), observers=())
            tools.append(helper.as_tool("helper", "Does a task."))
        options: dict[str, Any] = {"instructions": "Be brief.", **self.agent, **more}
        # A set keeps the order that these had when every list did; a typed answer stood last then.
        options["tools" if "output_type" in options else "toolsets"] = (
            tools if "output_type" in options else [Toolset(tools)]
        )
        return Agent(ScriptedModel(script), **options)


_TWO = calls(("look", {"where": "shelf"}), ("pay", {"amount": 7}), reasoning="Look, then pay.")
_ASKS: dict[str, Any] = {"policy": Policy.ask("writes")}

RUNS: dict[str, GoldenRun] = {
    "answer": GoldenRun([say("Tea.")], "answer"),
    "answer-after-calls": GoldenRun(
        [_TWO, call("look", where="drawer ü 茶"), say("Tea.", reasoning="Easy.")], "answer"
    ),
    "typed-answer": GoldenRun(
        [call("look", where="shelf"), call("final_answer", answer=3)],
        "answer",
        agent={"output_type": int},
    ),
    "invalid-output": GoldenRun(
        [say("three"), say("really three")], "invalid_output", agent={"output_type": int}
    ),
    "steps": GoldenRun([_TWO, _TWO, say("Tea.")], "steps", limits=Limits(steps=2)),
    "tool-calls": GoldenRun([_TWO, say("Tea.")], "tool_calls", limits=Limits(tool_calls=2)),
    "tokens": GoldenRun([_TWO, say("Tea.")], "tokens", limits=Limits(output_tokens=5)),
    "cost": GoldenRun(
        [_TWO, say("Tea.")], "cost", limits=Limits(cost=0.001, prices=Prices(input=1000.0))
    ),
    "seconds": GoldenRun([call("wait", seconds=30.0)], "seconds", limits=Limits(seconds=0.3)),
    "truncated": GoldenRun([cut(say("Tea, mil")), cut(say("Tea, milk, su"))], "truncated"),
    "empty": GoldenRun([say(""), say("")], "empty"),
    "loop": GoldenRun([call("fail", how="words") for _ in range(9)], "loop"),
    "error": GoldenRun([_TWO, ModelConnectionError("the server is gone")], "error"),
    "failing-tools": GoldenRun(
        [
            calls(("fail", {"how": "bug"}), ("Fail", {"how": "words"}), ("nope", {})),
            calls(("look", {"where": ["no", "text"]}), ("pay", {"amount": "9"})),
            say("It is closed."),
        ],
        "answer",
        settings=ModelSettings(temperature=0.5, seed=7),
    ),
    "paused": GoldenRun(
        [calls(("save", {"text": "tea"}), ("look", {"where": "shelf"}))], "paused", agent=_ASKS
    ),
    "decided": GoldenRun(
        [call("save", text="tea")],
        "answer",
        "pause and decide",
        [say("Saved.")],
        agent=_ASKS,
        decision=Edit({"text": "coffee"}),
    ),
    "denied": GoldenRun(
        [call("save", text="tea")],
        "answer",
        "pause and decide",
        [say("Not saved.")],
        agent=_ASKS,
        decision=Deny("not today"),
    ),
    "cancelled": GoldenRun([_TWO, call("wait", seconds=30.0)], "cancelled", "cancel"),
    "died": GoldenRun([_TWO, call("pay", amount=500)], "", "kill"),
    "long": GoldenRun(
        [
            *(call("read", pages=pages) for pages in (40, 41, 42, 43)),
            call("helper", task="Count the tea."),
            say("Much tea."),
        ],
        "answer",
        agent={"context": Context(compact_at=1_500, result_tokens=400)},
        helped=True,
    ),
    "died-and-resumed": GoldenRun(
        [_TWO, call("pay", amount=500)], "answer", "kill and resume", [say("Perhaps paid.")]
    ),
}


# --- writing -----------------------------------------------------------------------------------


def write(folder: Path) -> None:
    """Writes all runs, each in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, golden in RUNS.items():
        _in_process(_first, name, golden, folder)
        if golden.kind in ("pause and decide", "kill and resume"):
            _in_process(_second, name, golden, folder)
    with closing(sqlite3.connect(folder / JOURNAL, isolation_level=None)) as kept:
        kept.execute("UPDATE runs SET owner = '', lease_until = 0")  # no trace of the machine
        kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept.execute("VACUUM")


def _in_process(
    part: Callable[[str, GoldenRun, Path], None], name: str, golden: GoldenRun, folder: Path
) -> None:
    pid = os.fork()
    if pid == 0:
        with suppress(AgentKitError, ExceptionGroup):
            part(name, golden, folder)
        os._exit(0)
    os.waitpid(pid, 0)


def _first(name: str, golden: GoldenRun, folder: Path) -> None:
    agent = golden.make(golden.script, observers=[RunFiles(folder)])
    cancellation = Cancellation()

    async def main() -> None:
        journal = SQLiteJournal(folder / JOURNAL, labels={"golden": name})
        async with anyio.create_task_group() as group:
            if golden.kind == "cancel":
                group.start_soon(_cancel_later, cancellation)
            await agent.run(
                QUESTION,
                journal=journal,
                run_id=name,
                limits=golden.limits,
                settings=golden.settings,
                cancellation=cancellation,
            )
        journal.close()

    anyio.run(main)


async def _cancel_later(cancellation: Cancellation) -> None:
    await anyio.sleep(0.5)
    cancellation.cancel()


def _second(name: str, golden: GoldenRun, folder: Path) -> None:
    async def main() -> None:
        journal = SQLiteJournal(folder / JOURNAL)
        decisions: dict[str, Decision] = {}
        if golden.decision is not None:
            first = await golden.make([], observers=()).resume(name, journal=journal)
            decisions = {each.id: golden.decision for each in pause_of(first).waiting}
        agent = golden.make(golden.rest, observers=[RunFiles(folder)])
        await agent.resume(name, decisions, journal=journal)
        journal.close()

    anyio.run(main)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
