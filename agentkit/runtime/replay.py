"""Replay: the agent's own code runs again offline, on what a record says of model and tools.

```
   record ──► Tape ──► ReplayModel     a request like the recorded one? then the recorded reply
                 │──►  ReplayExecutor  the recorded result; no tool runs
                 │──►  approver        the recorded decision
                 └──►  observer        every other event like the recorded one?
```
Prompt, tools, settings, validation, repairs, policy, typed answers and limits are the agent's own.
Where one of them makes something else of the same replies, the replay ends there and shows it.

A call that went to a sub-agent is served like any other; the sub-agent's run has a file of its own.
What a dynamic toolset or a function for the instructions does, it does again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from agentkit.agent import Agent
from agentkit.agent.surroundings import in_own_loop
from agentkit.events import Event, ModelCalled, RunFinished, RunResult, RunStarted
from agentkit.messages import Content, Message, UserMessage
from agentkit.policy import Limits, PausedRun
from agentkit.runtime.divergence import Divergence
from agentkit.runtime.tape import EndOfTape, ReplayExecutor, ReplayModel, Tape
from agentkit.schema.phrases import many
from agentkit.trace import TraceError, open_run


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay came to.

    Attributes:
        run_id: Of the recorded run.
        model_calls: Served from the record.
        tool_calls: Served from the record.
        divergence: The first difference; None if there is none.
        notes: What the replay does not cover, a sentence each.
    """

    run_id: str
    model_calls: int
    tool_calls: int
    divergence: Divergence | None
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether the agent does today what the record says."""
        return self.divergence is None

    def __str__(self) -> str:
        served = f"{many(self.model_calls, 'model call')} and {many(self.tool_calls, 'tool call')}"
        head = f"{self.run_id}: {served} from the record, "
        end = "identical" if self.divergence is None else f"not identical\n{self.divergence}"
        return "\n".join([head + end, *(f"note: {note}" for note in self.notes)])


async def replay(
    agent: Agent[Any, Any], events: Iterable[Event], *, deps: Any = None
) -> ReplayReport:
    """Runs an agent on a record of one of its runs, without its model and its tools.

    Args:
        agent: As it is today. Its model, executor, observers and approver are not used.
        events: Of one run, as its record holds them (`agentkit.trace.open_run`).
        deps: For instructions and dynamic toolsets; tools do not run.

    Returns:
        Whether the agent does the same again, and the first difference if not.

    Raises:
        TraceError: The events hold no model calls: they were not written for a replay.
    """
    parts = _parts(events)
    paused: PausedRun | None = None
    tapes: list[Tape] = []
    ids: dict[str, str] = {}
    for part in parts:
        tape = Tape(part, agent.context, ids)
        tapes.append(tape)
        result = await _play(agent, tape, paused, deps)
        paused = result.paused if result is not None else None
        if tape.divergence is not None or part is parts[-1]:
            break
        if paused is None:
            tape.notes.append("another run of this name follows in the record; it is not replayed")
            break
    return ReplayReport(
        run_id=tapes[0].started.run_id,
        model_calls=sum(tape.model_calls for tape in tapes),
        tool_calls=sum(tape.tool_calls for tape in tapes),
        divergence=tapes[-1].divergence,
        notes=tuple(note for tape in tapes for note in tape.all_notes()),
    )


def assert_replays(agent: Agent[Any, Any], run: str | Path, *, deps: Any = None) -> None:
    """For tests: fails with a readable diff unless the agent replays a run identically.

    Args:
        agent: As it is today.
        run: A run's id, or the path of its file (`agentkit runs export`); keep that beside the
            test.
        deps: As for `replay`.

    Raises:
        AssertionError: It does not.
        TraceError: There is no such run, or a part of it is lost.
    """
    events = [timed.event for timed in open_run(run).whole().events]

    async def main() -> ReplayReport:
        return await replay(agent, events, deps=deps)

    report = in_own_loop(main)
    assert report.identical, str(report)


def _parts(events: Iterable[Event]) -> list[list[Event]]:
    """The parts of a run that each began with messages; what a journal resumed is one part."""
    parts: list[list[Event]] = []
    crashed = False
    for event in events:
        if isinstance(event, RunStarted) and event.resumed and parts:
            crashed = True  # only what is new follows
            if isinstance(parts[-1][-1], RunFinished):
                parts[-1].pop()
            continue
        if isinstance(event, RunStarted):
            parts.append([])
        if not parts:
            raise TraceError("the record does not begin with the start of a run")
        if crashed and isinstance(event, ModelCalled):
            crashed = False
            _take_back(parts[-1], event)
        parts[-1].append(event)
    if not parts:
        raise TraceError("the record is empty")
    return parts


def _take_back(part: list[Event], again: ModelCalled) -> None:
    """Drops the last model call if a crash lost its reply, so that the same was asked again."""
    calls = [event for event in part if isinstance(event, ModelCalled)]
    if calls and _asked(calls[-1]) == _asked(again):
        part.remove(calls[-1])


def _asked(event: ModelCalled) -> tuple[object, ...]:
    return event.step, event.same, event.messages, event.settings, event.tool_choice


async def _play(
    agent: Agent[Any, Any], tape: Tape, paused: PausedRun | None, deps: Any
) -> RunResult[Any] | None:
    """One part of the run again; its result, if it came that far."""
    played = agent.override(
        model=ReplayModel(tape),
        executor=ReplayExecutor(tape),
        observers=[tape.watch],
        approve=tape.decision,
    )
    started = tape.started
    limits = None
    if started.limits is not None:
        limits = TypeAdapter(Limits).validate_python(started.limits)
    try:
        if paused is not None:
            return await played.resume(
                paused, tape.decisions(), deps=deps, settings=started.settings, limits=limits
            )
        history, content = _opening(started)
        return await played.run(
            content,
            history=history,
            deps=deps,
            settings=started.settings,
            limits=limits,
            run_id=started.run_id,
        )
    except EndOfTape:
        return None
    except Exception as error:  # noqa: BLE001 - the boundary around the agent's own code
        # A failure that is in the record is replayed too; one that is not is a divergence.
        tape.failed(error)
        return None


def _opening(started: RunStarted) -> tuple[Sequence[Message], Content]:
    """What the run was given: the history without the agent's own instructions, and the input."""
    history, last = started.messages[:-1], started.messages[-1:]
    if not last or not isinstance(last[0], UserMessage):
        raise TraceError("the record begins in the middle of a run; its first part is missing")
    return history[1:] if started.instructed else history, last[0].content
