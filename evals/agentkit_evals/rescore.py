"""Recorded trials graded again, without a model: after a check was changed.

Each case's world is made anew and the recorded calls are made in it, through the loop that made
them, so that it stands as it stood; then the suite grades it by the recorded transcript. Where a
tool answers otherwise than it did, the model would have gone on otherwise too: such a trial has no
verdict, and says which tool it was. A trial that had not got to its end is left out.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

from agentkit import Agent
from agentkit.context.entries import RECALL_TOOLS
from agentkit.messages import AssistantMessage, Message, ToolMessage, UserMessage
from agentkit.testing import Reply, ScriptedModel, say
from agentkit_evals.core import (
    Case,
    EvalError,
    Session,
    Suite,
    SuiteError,
    Transcript,
    Trial,
    TrialResult,
    Turn,
)
from agentkit_evals.store import Store, Writer
from agentkit_evals.suites import load_suite
from agentkit_evals.trial import graded


async def rescore(old: Store, new: Store) -> int:
    """Grades the trials of a run again, and keeps the verdicts as a run of its own.

    Args:
        old: The run; it stays as it is.
        new: Made here, with the suite as it is now.

    Returns:
        How many trials were left out, since they had not got to their end.

    Raises:
        EvalError: There is no such run, or the new one is there already; a suite is not installed.
    """
    manifest = old.manifest()
    async with aclosing(load_suite(manifest.suite)) as suite:
        cases = {case.id: case for case in await suite.cases()}
        if gone := [name for name in manifest.cases if name not in cases]:
            raise EvalError(f"{suite.name} has no case {', '.join(gone)} any more")
        if new.exists:
            raise EvalError(f"{new.folder} is there already; give the new verdicts another name")
        new.begin(replace(manifest, about=await suite.about()))
        return await _all(suite, cases, old, new)


async def _all(suite: Suite, cases: dict[str, Case], old: Store, new: Store) -> int:
    left_out = 0
    writer = Writer(new)
    try:
        for _, result in sorted(old.results().items()):
            if not _ended(result):
                left_out += 1
                continue
            writer.append(await _again(suite, cases[result.case], result, writer.name))
            if (record := old.record(*result.key)).exists():
                new.record(*result.key).parent.mkdir(exist_ok=True, mode=0o700)
                shutil.copyfile(record, new.record(*result.key))
    finally:
        writer.close()
    return left_out


def _ended(result: TrialResult) -> bool:
    """Whether the agent may have got to its end: that its grading failed may be mended now."""
    return result.status == "graded" or (result.failure or "").startswith("suite:")


async def _again(suite: Suite, case: Case, old: TrialResult, worker: str) -> TrialResult:
    """One trial."""
    started = time.monotonic()

    async def play(session: Session) -> Transcript:
        messages = _by_turn(old.transcript)
        for number, said in enumerate(messages):
            so_far = replace(old.transcript, turns=old.transcript.turns[:number])
            turn = await session.next_turn(so_far)
            if turn is None:
                raise SuiteError(f"the conversation has {number} turns now, it had {len(messages)}")
            await _repeat(turn, said)
        if old.status != "graded" and await session.next_turn(old.transcript) is not None:
            raise SuiteError("the trial broke off before its end; it has to be played again")
        return old.transcript

    if old.grade is None and (old.failure or "").startswith("agent:"):
        return replace(old, worker=worker)  # what ended it was no matter of the suite's
    ended = old.transcript.over or old.status == "graded"
    said = (*old.transcript.asked, *((None,) if ended else ()))
    outcome = await graded(suite, Trial(case, old.trial, 0, said), play)
    return replace(
        outcome,
        transcript=old.transcript,
        seconds=round(time.monotonic() - started, 3),
        worker=worker,
    )


def _by_turn(transcript: Transcript) -> list[list[Message]]:
    """What followed each of the user's messages."""
    turns: list[list[Message]] = []
    for message in transcript.messages:
        if isinstance(message, UserMessage):
            turns.append([])
        elif turns:
            turns[-1].append(message)
    if len(turns) < len(transcript.turns):
        raise SuiteError("the record does not hold all that was said, so it cannot be done again")
    return turns[len(turns) - len(transcript.turns) :]  # before them is what a case begins with


async def _repeat(turn: Turn, said: Sequence[Message]) -> None:
    """Makes the calls of a turn.

    Raises:
        SuiteError: A tool answers otherwise.
    """
    made = [message for message in said if isinstance(message, AssistantMessage)]
    replies = [Reply(message, "tool_calls") for message in made if message.tool_calls]
    agent = Agent(
        ScriptedModel([*replies, say("Done.")]),
        toolsets=[turn.tools],
        context=turn.context,
        observers=(),
    )
    result = await agent.run(turn.text, limits=turn.limits)
    now = [message for message in result.messages if isinstance(message, ToolMessage)]
    then = [message for message in said if isinstance(message, ToolMessage)]
    for before, after in zip(then, now, strict=False):
        own = before.name in RECALL_TOOLS  # what they show depends on the model's window
        if before.content != after.content and not own:
            raise SuiteError(f"the tool {before.name} answers otherwise now")
    if len(now) < len(then):
        raise SuiteError(f"only {len(now)} of {len(then)} calls could be made again")
