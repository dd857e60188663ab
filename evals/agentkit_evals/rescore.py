"""Recorded trials graded again, without a model: after a check was changed.

The world of each case is made anew and the recorded calls are made in it, through the same loop, so
that its state becomes that of the recorded trial; then the suite grades it by the recorded
transcript. The agent's own tools are no part of the world: they answer as they did then. If a tool
of the suite gives another answer now, the model might have gone on in another way: such a trial has
no verdict, and its failure names the tool. A trial that had not ended is left out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from functools import partial
from typing import Any

from agentkit import Agent, LocalExecutor, Tool, ToolContext
from agentkit.context.entries import RECALL_TOOLS
from agentkit.messages import (
    AssistantMessage,
    Message,
    ResultKind,
    ToolMessage,
    ToolResult,
    UserMessage,
)
from agentkit.testing import Reply, ScriptedModel, say
from agentkit.toolset import ValidatedCall
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
    TurnRecord,
)
from agentkit_evals.store import Store, Writer
from agentkit_evals.suites import load_suite
from agentkit_evals.trial import alone, graded


async def rescore(old: Store, new: Store) -> int:
    """Grades the trials of a run again, and keeps the verdicts as a run of its own.

    If that was interrupted, the same call goes on with it.

    Args:
        old: The run; it is not changed.
        new: The run that is made, of the suite as it is now.

    Returns:
        How many trials were left out, since they had not ended.

    Raises:
        EvalError: There is no such run, the new one is another run, or the suite is not installed.
    """
    manifest = old.manifest()
    if new.folder == old.folder:
        raise EvalError(f"{new.folder} is the run itself; give the new verdicts another name")
    async with aclosing(load_suite(manifest.suite)) as suite:
        cases = {case.id: case for case in await suite.cases()}
        if gone := [name for name in manifest.cases if name not in cases]:
            raise EvalError(f"{suite.name} has no case {', '.join(gone)} any more")
        new.begin(replace(manifest, about=await suite.about()))
        with new.locked():
            return await _all(suite, cases, old, new)


async def _all(suite: Suite, cases: dict[str, Case], old: Store, new: Store) -> int:
    """Grades all trials that got to their end; returns how many did not."""
    left_out, seconds = 0, new.manifest().limits.seconds
    known = new.results()
    with closing(Writer(new)) as writer:
        for key, result in sorted(old.results().items()):
            if (before := known.get(key)) is not None:
                if before.transcript != result.transcript:
                    raise EvalError(
                        f"{new.folder} holds another run; give the new verdicts another name"
                    )
                if before.status == "graded":
                    continue
            if not _may_have_ended(result):
                left_out += 1
                continue
            verdict = await _graded_again(suite, cases[result.case], result, seconds)
            writer.append(replace(verdict, worker=writer.name))
            if (record := old.record(*key)).exists():
                copy = new.record(*key)
                copy.parent.mkdir(exist_ok=True, mode=0o700)
                shutil.copyfile(record, copy)
    return left_out


def _may_have_ended(result: TrialResult) -> bool:
    """Whether a trial may have got to its end: a suite may also fail after that, in grading."""
    return result.status == "graded" or (result.failure or "").startswith("suite:")


async def _graded_again(
    suite: Suite, case: Case, old: TrialResult, seconds: float | None
) -> TrialResult:
    """The trial with its new verdict; its transcript and its times are those of the old one.

    Args:
        suite: The suite of the case.
        case: The case of the trial.
        old: The recorded trial.
        seconds: How long the calls of a turn may take; None is no limit.
    """
    if old.grade is None and (old.failure or "").startswith("agent:"):
        return old  # the agent itself ended it, whatever the suite is now

    async def play(session: Session) -> Transcript:
        turns = _by_turn(old.transcript)
        for number, messages in enumerate(turns):
            so_far = replace(old.transcript, turns=old.transcript.turns[:number])
            turn = await session.next_turn(so_far)
            if turn is None:
                raise SuiteError(f"the conversation has {number} turns now, it had {len(turns)}")
            await _repeat(turn, old.transcript.turns[number], messages, seconds)
        if old.status != "graded" and await session.next_turn(old.transcript) is not None:
            raise SuiteError("the trial broke off before its end; it has to be played again")
        return old.transcript

    ended = old.transcript.over or old.status == "graded"
    said = (*old.transcript.asked, *((None,) if ended else ()))
    trial = Trial(case, old.trial, 0, said)
    verdict = await alone(partial(graded, suite, trial, play), trial, old.worker, seconds)
    return replace(verdict, transcript=old.transcript, seconds=old.seconds, timing=old.timing)


def _by_turn(transcript: Transcript) -> list[list[Message]]:
    """The messages that followed each message of the user.

    Raises:
        SuiteError: Some of the user's messages are missing.
    """
    turns: list[list[Message]] = []
    for message in transcript.messages:
        if isinstance(message, UserMessage):
            turns.append([])
        elif turns:
            turns[-1].append(message)
    if len(turns) < len(transcript.turns):
        raise SuiteError("the record does not hold all that was said, so it cannot be done again")
    return turns[len(turns) - len(transcript.turns) :]  # before them is the case's own history


async def _repeat(
    turn: Turn, record: TurnRecord, recorded: Sequence[Message], seconds: float | None
) -> None:
    """Makes the recorded calls of a turn again.

    Raises:
        SuiteError: A tool gives another answer, or does not end in time; or a sub-agent made calls
            that are not recorded.
    """
    if record.hidden:
        raise SuiteError(
            f"the agent called {', '.join(record.hidden)} in a tool of its own or under another "
            "name, and these calls are not recorded"
        )
    then = [message for message in recorded if isinstance(message, ToolMessage)]
    as_then = dict(_not_of_the_world(turn, record, then))
    unknown = {call.name for call in record.calls if call.kind == "unknown_tool"}
    own = (
        {message.name for message in as_then.values()}
        - unknown
        - {tool.name for tool in turn.tools}
    )
    agent = Agent(
        ScriptedModel([*_replies(recorded, {message.call_id for message in then}), say("Done.")]),
        tools=[Tool.from_schema(name, "", {"type": "object"}, _nothing) for name in sorted(own)],
        toolsets=[turn.tools],
        context=turn.context,
        executor=_AsThen(as_then),
        observers=(),
    )
    limits = turn.limits
    if limits.seconds is None:
        limits = replace(limits, seconds=seconds)
    result = await agent.run(turn.text, limits=limits)
    if result.stop_reason == "seconds":
        raise SuiteError("the recorded calls had not ended when the time was over")
    now = [message for message in result.messages if isinstance(message, ToolMessage)]
    for before, after in zip(then, now, strict=False):
        if (
            before.call_id not in as_then
            and before.name in turn.tools
            and before.content != after.content
        ):
            raise SuiteError(f"the tool {before.name} answers otherwise now")
    if len(now) < len(then):
        raise SuiteError(f"only {len(now)} of {len(then)} calls could be made again")


def _replies(recorded: Sequence[Message], answered: set[str]) -> Iterator[Reply]:
    """The recorded calls that came to an end; one that waits for a person did not run."""
    for message in recorded:
        if isinstance(message, AssistantMessage):
            made = tuple(call for call in message.tool_calls if call.id in answered)
            if made:
                yield Reply(replace(message, tool_calls=made), "tool_calls")


def _not_of_the_world(
    turn: Turn, record: TurnRecord, answers: Sequence[ToolMessage]
) -> Iterator[tuple[str, ToolMessage]]:
    """The answers, by call, that no tool of the suite gave: the agent's own tool or policy did."""
    calls = list(record.calls)
    for answer in answers:
        ended = calls.pop(0) if calls and calls[0].name == answer.name else None
        own = answer.name not in turn.tools and answer.name not in RECALL_TOOLS
        waited = ended is None and record.stop_reason == "paused"
        if own or waited or (ended and ended.kind in ("denied", "truncated")):
            yield answer.call_id, answer


class _AsThen:
    """Runs the suite's tools; all else is answered as it was then."""

    def __init__(self, answers: Mapping[str, ToolMessage]) -> None:
        self._answers = answers
        self._tools = LocalExecutor()

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        answer = self._answers.get(call.call.id)
        if answer is None:
            return await self._tools.execute(call, context)
        kind: ResultKind = "error" if answer.is_error else "ok"
        return ToolResult(call.call.id, answer.content, answer.is_error, kind)


async def _nothing(**arguments: object) -> None:
    """Stands for a tool of the agent's own, which is not called."""
