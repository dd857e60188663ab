"""What a replay compares, and the first place where it differs, as text that a person can read.

In: two events, two requests or two contexts, the recorded one first. Out: a `Divergence` with a
unified diff, or None if both would be written alike in a run file. Registered secrets are left out
of both before they are compared, and so are never shown.
"""

from __future__ import annotations

import difflib
import json
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from agentkit.context import Context
from agentkit.context.limits import under
from agentkit.events import (
    ApprovalDecided,
    ApprovalNeeded,
    CallRepaired,
    Event,
    PromptFitted,
    RunFinished,
    RunResult,
    StepFinished,
    ToolFinished,
    ToolStarted,
    as_json,
)
from agentkit.messages import AssistantMessage, Message, ModelRequest, ToolDefinition, ToolMessage
from agentkit.policy import Approve, Decision, Deny, Edit, Grant
from agentkit.trace import without_secrets
from agentkit.wording import pluralize

# --- what is compared ----------------------------------------------------------------------------


Key: TypeAlias = tuple[str, int, str]
"""What identifies an event within a run: its kind, its step, and its call or question."""


def key_of(event: Event) -> Key | None:
    """The key of an event; None if a replay does not compare it."""
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
    """Each thing that is compared of two events: its name, the recorded and the replayed value."""
    match recorded, replayed:
        case StepFinished() as old, StepFinished() as new:
            yield "the model's reply", old.message, new.message
            ends = [old.finish_reason, old.usage], [new.finish_reason, new.usage]
            yield "how the reply ended", *ends
        case ToolStarted() as old, ToolStarted() as new:
            yield f"arguments of the call {old.call.name}", old.call, new.call
        case ToolFinished() as old, ToolFinished() as new:
            yield f"the call {old.call.name}", old.call, new.call
            yield f"result of the call {old.call.name}", old.result, new.result
        case ApprovalNeeded() as old, ApprovalNeeded() as new:
            yield described(old), [old.call, old.target], [new.call, new.target]
        case RunFinished() as old, RunFinished() as new:
            yield from _ends(old.result, new.result)
        case _:
            yield described(recorded), recorded, replayed


def _ends(old: RunResult[Any], new: RunResult[Any]) -> Iterator[tuple[str, object, object]]:
    ends = [old.stop_reason, old.explanation], [new.stop_reason, new.explanation]
    yield "how the run ended", *ends
    yield "output of the run", old.said, new.said
    yield "what the run spent", [old.steps, old.usage], [new.steps, new.usage]


def described(event: Event) -> str:
    """An event in a few words, for a sentence."""
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
    """The decisions of people, by the question's id and where it was asked: in this part of the run
    (`asked`), or before the pause that this part continues from (`paused`).
    """
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
    """The decision that an event records."""
    match event.decision:
        case "approve":
            return Approve(None if event.grant is None else Grant(**event.grant))
        case "deny":
            return Deny(event.reason)
        case "edit":
            return Edit(event.arguments or {})


# --- the first difference ------------------------------------------------------------------------


_CONTEXT = 2
_LONGEST_LINE = 160
_MOST_LINES = 60


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a replay first differs.

    Attributes:
        step: The step, from 1; 0 is before the first model call.
        what: What differs, such as `settings of the model call`.
        diff: A unified diff, from the record (`-`) to the replay (`+`).
    """

    step: int
    what: str
    diff: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.what}\n{self.diff}"


def same(recorded: object, replayed: object) -> bool:
    """Whether two values are written alike in a run file, secrets left out."""
    return recorded == replayed or _as_json(recorded) == _as_json(replayed)


def difference(step: int, what: str, recorded: object, replayed: object) -> Divergence:
    """The divergence of two values that are not the same."""
    return Divergence(step, what, _diff(_lines(recorded), _lines(replayed)))


def request_difference(
    step: int, recorded: ModelRequest, replayed: ModelRequest, known: int
) -> Divergence | None:
    """The first difference of two requests; None if there is none.

    Args:
        step: The step that made them.
        recorded: What the run file has.
        replayed: What the agent does now.
        known: How many leading messages need not be compared again.
    """
    choice = replayed.tool_choice
    if not recorded.tool_choice.among:  # an older record does not hold it
        choice = replace(choice, among=())
    return (
        _tools(step, recorded.tools, replayed.tools)
        or _field(step, "settings", recorded.settings, replayed.settings)
        or _field(step, "tool choice", recorded.tool_choice, choice)
        or _messages(step, recorded.messages, replayed.messages, known)
    )


def context_difference(
    step: int, recorded: PromptFitted | None, context: Context
) -> Divergence | None:
    """Whether another context would have sent something else of the same request.

    Until the first difference the prompts are the same, so the recorded sizes decide again. If both
    would have compacted, but to other sizes, that is a difference whatever the outcome.

    Args:
        step: The step that made the request.
        recorded: The recorded sizes; None if they were not known.
        context: The agent's context now.
    """
    if recorded is None:
        return None
    now = under(context, recorded)
    old, new = recorded.result_tokens, now.result_tokens
    if old != new and (recorded.shortened or recorded.longest > new):
        what = "how much of a long result the context lets be sent"
        return difference(step, what, {"result_tokens": old}, {"result_tokens": new})
    at, new_at = recorded.compact_at, now.compact_at
    least = min(math.inf if at is None else at, math.inf if new_at is None else new_at)
    if at != new_at and recorded.tokens > least:
        what = f"when the context is compacted, at a prompt of {recorded.tokens} tokens"
        return difference(step, what, {"compact_at": at}, {"compact_at": new_at})
    return None


def _field(step: int, name: str, recorded: object, replayed: object) -> Divergence | None:
    if same(recorded, replayed):
        return None
    return difference(step, f"{name} of the model call", recorded, replayed)


def _tools(
    step: int, recorded: Sequence[ToolDefinition], replayed: Sequence[ToolDefinition]
) -> Divergence | None:
    if same(tuple(recorded), tuple(replayed)):
        return None
    names = [tool.name for tool in recorded], [tool.name for tool in replayed]
    if names[0] != names[1]:
        what = "order of the tools" if sorted(names[0]) == sorted(names[1]) else "tools"
        return Divergence(step, f"{what} of the model call", _diff(*names))
    old, new = next(
        pair for pair in zip(recorded, replayed, strict=True) if not same(pair[0], pair[1])
    )
    return difference(step, f"definition of the tool {old.name}", old, new)


def _messages(
    step: int, recorded: Sequence[Message], replayed: Sequence[Message], known: int
) -> Divergence | None:
    pairs = enumerate(zip(recorded, replayed, strict=False))
    for number, (old, new) in pairs:
        if number >= known and not same(old, new):
            author = f"tool {old.name}" if isinstance(old, ToolMessage) else old.role
            what = f"message {number + 1} of the model call ({author})"
            return difference(step, what, old, new)
    if len(recorded) == len(replayed):
        return None
    shared = min(len(recorded), len(replayed))
    old_rest, new_rest = recorded[shared:], replayed[shared:]
    what = f"number of messages of the model call: {len(recorded)} became {len(replayed)}"
    return difference(step, what, tuple(old_rest), tuple(new_rest))


# --- as lines ------------------------------------------------------------------------------------


def _as_json(value: object) -> Any:
    return json.loads(without_secrets(as_json(value)))


def _diff(recorded: list[str], replayed: list[str]) -> str:
    lines = list(
        difflib.unified_diff(
            _short(recorded), _short(replayed), "recorded", "replayed", n=_CONTEXT, lineterm=""
        )
    )
    more = len(lines) - _MOST_LINES
    return "\n".join(
        [*lines[:_MOST_LINES], *([f"… {pluralize(more, 'more line')}"] if more > 0 else [])]
    )


def _short(lines: list[str]) -> list[str]:
    """The lines in pieces that fit a terminal, so that a change in a long line is seen."""
    return [
        line[start : start + _LONGEST_LINE]
        for line in lines
        for start in range(0, max(len(line), 1), _LONGEST_LINE)
    ]


def _lines(value: object) -> list[str]:
    """A value as lines: text as it is, everything else as indented JSON."""
    if isinstance(value, str):
        return without_secrets(value.encode("utf-8", "replace")).decode().splitlines() or [""]
    if isinstance(value, tuple):
        return [line for item in value for line in _lines(item)]
    if isinstance(value, AssistantMessage | ToolMessage) and isinstance(value.content, str):
        return _message_lines(value, value.content)
    if getattr(value, "role", None) in ("system", "user"):
        content = getattr(value, "content", "")
        return _lines(content)
    return json.dumps(_as_json(value), indent=2, ensure_ascii=False).splitlines()


def _message_lines(message: AssistantMessage | ToolMessage, content: str) -> list[str]:
    rest = {
        name: part
        for name, part in _as_json(message).items()
        if name not in ("content", "role") and part
    }
    head = _lines(rest) if rest else []
    return [*head, *_lines(content)]
