"""What a replay compares of a run's events, and how it calls them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from agentkit.events import (
    ApprovalDecided,
    ApprovalNeeded,
    CallRepaired,
    Event,
    RunFinished,
    RunResult,
    StepFinished,
    ToolFinished,
    ToolStarted,
)
from agentkit.policy import Approve, Decision, Deny, Edit, Grant

Key: TypeAlias = tuple[str, int, str]
"""Kind, step, and which one of that kind in the step."""


def key_of(event: Event) -> Key | None:
    """Which event of a run it is; None for those that a replay does not compare."""
    match event:
        case StepFinished() | RunFinished():
            part = ""
        case ToolStarted(call=call) | ToolFinished(call=call) | ApprovalNeeded(call=call):
            part = call.id
        case CallRepaired(call=call, rung=rung):
            part = f"{rung} {call.id}"
        case ApprovalDecided(id=part):
            pass
        case _:
            return None
    return type(event).__name__, event.step, part


def aspects(recorded: Event, replayed: Event) -> Iterator[tuple[str, object, object]]:
    """What is compared of two events, and what to call it."""
    match recorded, replayed:
        case StepFinished() as old, StepFinished() as new:
            yield "the model's reply", old.message, new.message
            yield (
                "how the reply ended",
                [old.finish_reason, old.usage],
                [
                    new.finish_reason,
                    new.usage,
                ],
            )
        case ToolStarted() as old, ToolStarted() as new:
            yield f"arguments of the call {old.call.name}", old.call, new.call
        case ToolFinished() as old, ToolFinished() as new:
            yield f"the call {old.call.name}", old.call, new.call
            yield f"result of the call {old.call.name}", old.result, new.result
        case ApprovalNeeded() as old, ApprovalNeeded() as new:
            yield said(old), [old.call, old.target], [new.call, new.target]
        case RunFinished() as old, RunFinished() as new:
            yield from _ends(old.result, new.result)
        case _:
            yield said(recorded), recorded, replayed


def _ends(old: RunResult[Any], new: RunResult[Any]) -> Iterator[tuple[str, object, object]]:
    yield (
        "how the run ended",
        [old.stop_reason, old.explanation],
        [
            new.stop_reason,
            new.explanation,
        ],
    )
    yield "output of the run", old.said, new.said
    yield "what the run spent", [old.steps, old.usage], [new.steps, new.usage]


def said(event: Event) -> str:
    """An event in words."""
    match event:
        case StepFinished(step=step):
            return f"step {step}"
        case ToolStarted(call=call):
            return f"the call {call.name} ran"
        case ToolFinished(call=call):
            return f"the call {call.name} had a result"
        case CallRepaired(call=call):
            return f"the call {call.name} was repaired"
        case ApprovalNeeded(call=call):
            return f"a person was asked about the call {call.name}"
        case ApprovalDecided():
            return "a person decided on a call"
        case _:
            return type(event).__name__


def decisions_of(events: Sequence[Event]) -> dict[tuple[str, str], deque[ApprovalDecided]]:
    """What people decided, by whether they were asked in this part or while it was paused."""
    asked: set[str] = set()
    found: dict[tuple[str, str], deque[ApprovalDecided]] = defaultdict(deque)
    for event in events:
        if isinstance(event, ApprovalNeeded):
            asked.add(event.id)
        elif isinstance(event, ApprovalDecided):
            found["asked" if event.id in asked else "paused", event.id].append(event)
            asked.discard(event.id)
    return found


def decision_of(event: ApprovalDecided) -> Decision:
    """The decision that an event tells of."""
    match event.decision:
        case "approve":
            return Approve(None if event.grant is None else Grant(**event.grant))
        case "deny":
            return Deny(event.reason)
        case "edit":
            return Edit(event.arguments or {})
