"""Conversations: the runs of a journal that go on from each other, under one name.

```
run 1   "Will it rain?"     opened with what the user said
run 2   "And tomorrow?"     opened with all of run 1, and what the user said then
```
Each turn is a run like any other, and opens with everything that was said before. So the newest
turn holds the whole conversation: whoever goes on reads that one run, a conversation is forked by
beginning another with what a run holds, and a turn that is deleted takes nothing from later ones.

In: the record of a run. Out: the messages that its conversation had come to, as they are handed on
(`history=`). It never makes up what is lost: of a run that was killed it gives what is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from agentkit.events import RunResult
from agentkit.journal import Journal
from agentkit.messages import (
    AssistantMessage,
    Message,
    ToolMessage,
    UserMessage,
    mended_history,
    text_of,
)
from agentkit.toolset.results import NOT_DECIDED, NOT_DONE, in_history
from agentkit.trace.recording import Part, Step, Timed, events_of, parts_of


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation in one line.

    Attributes:
        name: Its name.
        turns: Its runs, in order.
        changed: When something was last said, in seconds since 1970.
        messages: All that was said, without registered secrets; of a damaged record what is left.
    """

    name: str
    turns: tuple[str, ...]
    changed: float
    messages: tuple[Message, ...]

    @property
    def questions(self) -> list[str]:
        """What the user said."""
        return [text_of(each.content) for each in self.messages if isinstance(each, UserMessage)]

    def holds(self, text: str) -> bool:
        """Whether a text was said, by whomever, in capitals or not."""
        wanted = text.casefold()
        return any(wanted in text_of(each.content or "").casefold() for each in self.messages)


async def said_in(journal: Journal, conversation: str) -> list[Message]:
    """All that was said in a conversation by the end of its newest turn; nothing where it is new.

    Raises:
        JournalError: Its newest turn cannot be read.
    """
    turns = await journal.turns(conversation)
    return await said_by(journal, turns[-1]) if turns else []


async def said_by(journal: Journal, run_id: str) -> list[Message]:
    """All that was said by the end of a run: its opening, and what came of it.

    Raises:
        JournalError: It cannot be read.
    """
    return messages_of(events_of(run_id, await journal.read(run_id)))


def messages_of(events: Iterable[Timed]) -> list[Message]:
    """The messages of a run as `RunResult.messages` has them, from its record; of one that did not
    come to its end, as far as they are known.
    """
    messages: list[Message] = []
    for part in parts_of(events):
        messages = list(part.started.messages) or messages
        for step in part.steps:
            if step.asked:  # whatever came of the steps before stands in it as it was
                messages = list(step.asked[0].request.messages)
            messages += _came_of(step, part)
    return mended_history(messages)


def _came_of(step: Step, part: Part) -> Iterator[Message]:
    """What a step added to its conversation."""
    ends = step is part.steps[-1]
    reply = step.finished.message if step.finished is not None else None
    if isinstance(reply, AssistantMessage) and reply.tool_calls:
        if step.ran:  # else it was no reply that could be used
            calls = tuple(step.ran[c.id].call if c.id in step.ran else c for c in reply.tool_calls)
            yield replace(reply, content=None, tool_calls=calls)
    elif reply is not None:
        if reply.content or not ends or _answers(part.result):
            yield reply
    elif step.interrupted and step.interrupted[-1].text:
        shown = step.interrupted[-1]
        yield AssistantMessage(shown.text, reasoning=shown.reasoning or None)
    for ran in step.ran.values():
        call = ran.call
        if ran.end is not None:
            result = ran.end.result
            yield ToolMessage(call.id, call.name, in_history(result.content), result.is_error)
        elif ends and part.result is not None:
            none = NOT_DECIDED if ran.waits else NOT_DONE
            yield ToolMessage(call.id, call.name, f"Error: {none}.", is_error=True)


def _answers(result: RunResult[object] | None) -> bool:
    return result is not None and result.stop_reason == "answer"
