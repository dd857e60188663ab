"""A history that every model server takes: what makes one valid, and how to mend one.

A call without its result, or a result without its call, is a 400 on every later request, or a
prompt that ends in an open turn: the session is bricked. The loop never makes one; a history that
comes from outside may be one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from agentkit.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)

_LOST = "Error: the result of this call is lost; the earlier run ended before it."
_STOPPED = "(I was stopped here.)"
"""Between results and what the user says next: the template of April 2026 leaves the model's turn
open without it."""


def history_problems(messages: Sequence[Message]) -> list[str]:
    """What is wrong with a history, in words; empty for a valid one.

    Valid is: a system message only at the head; ids of calls unique; text or calls in a model's
    message, not both; after calls exactly one result for each, in call order, before anything
    else; and after results the model before the user.
    """
    problems: list[str] = []
    seen: set[str] = set()
    waiting: list[str] = []
    before: Message | None = None
    for position, message in enumerate(messages):
        found = list(_own_problems(message, before))
        if isinstance(message, ToolMessage):
            if not waiting or waiting.pop(0) != message.call_id:
                found.append(f"a result of {message.call_id!r} that is not due here")
        else:
            found.extend(f"call {call_id!r} has no result before it" for call_id in waiting)
            waiting = [call.id for call in _calls(message)]
            found.extend(f"a second call {call_id!r}" for call_id in _twice(waiting, seen))
        problems.extend(f"message {position}: {problem}" for problem in found)
        before = message
    return [*problems, *(f"the end: call {call_id!r} has no result" for call_id in waiting)]


def _own_problems(message: Message, before: Message | None) -> Iterator[str]:
    if isinstance(message, SystemMessage) and before is not None:
        yield "a system message after the first place"
    if isinstance(message, UserMessage) and isinstance(before, ToolMessage):
        yield "the user speaks right after results"
    if isinstance(message, AssistantMessage) and bool(message.tool_calls) == (
        message.content is not None
    ):
        yield "text beside calls, or neither"


def _calls(message: Message) -> Sequence[ToolCall]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def _twice(call_ids: Sequence[str], seen: set[str]) -> Iterator[str]:
    """The ids that were there before; books all of them."""
    for call_id in call_ids:
        if call_id in seen:
            yield call_id
        seen.add(call_id)


def mended_history(messages: Sequence[Message]) -> list[Message]:
    """The history with every call answered, in order, and no result that answers nothing.

    A valid history comes back as it was. Missing results are said to be lost, never made up.
    """
    if not history_problems(messages):
        return list(messages)
    return list(_mended(messages))


def _mended(messages: Sequence[Message]) -> Iterator[Message]:
    used: set[str] = set()
    answered = False  # the last message given out was a result
    for position, message in enumerate(messages):
        if isinstance(message, ToolMessage) or (isinstance(message, SystemMessage) and position):
            continue
        if calls := [call for call in _calls(message) if not list(_twice([call.id], used))]:
            assert isinstance(message, AssistantMessage)
            yield AssistantMessage(None, tuple(calls), message.reasoning)
            results = _results(messages, position + 1)
            for call in calls:
                lost = ToolMessage(call.id, call.name, _LOST, is_error=True)
                yield results.get(call.id, lost)
            answered = True
        elif not isinstance(message, AssistantMessage) or message.content is not None:
            if answered and isinstance(message, UserMessage):
                yield AssistantMessage(_STOPPED)
            if isinstance(message, AssistantMessage):
                message = replace(message, tool_calls=())
            yield message
            answered = False


def _results(messages: Sequence[Message], start: int) -> dict[str, ToolMessage]:
    """The results from there to the next message of another kind; the first of each call."""
    found: dict[str, ToolMessage] = {}
    for message in messages[start:]:
        if not isinstance(message, ToolMessage):
            break
        found.setdefault(message.call_id, message)
    return found
