"""Three tools of the agent's own that read what a prompt leaves out. Nothing is thrown away.

The window (`agentkit.context`) sends previews, stubs and notes if there is no room for more, and
each names the call that reads the rest:

| tool | what it shows |
|---|---|
| `read_result` | a text from any character on, page by page |
| `search_result` | the lines of a result that hold some words |
| `recall` | the same for everything that was said, called and returned |

The number of a result, as of any message, is its place in the history, the instructions not
counted. The tools read the history, which a resumed run rebuilds from its record, and the whole
text of results that the history holds only in part (`agentkit.agent.run.WholeResults`). A page is
exact to the character, and no longer than the window has room for, so that it is never cut itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

import anyio.to_thread

from agentkit.agent.own_tools import PLAN, plan_tool
from agentkit.agent.run import Run, current_run
from agentkit.context.entries import READ, RECALL, SEARCH
from agentkit.context.finding import Match, around, best_lines, words_of
from agentkit.context.prompt import estimated_tokens
from agentkit.errors import ToolError
from agentkit.executors import Executor, LocalExecutor, RecordedResults, RoutingExecutor
from agentkit.media import without_media
from agentkit.messages import (
    AssistantMessage,
    Content,
    Message,
    Part,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    text_of,
)
from agentkit.toolset import Tool, ToolOptions, ToolOutput, Toolset, make_tool
from agentkit.wording import pluralize

T = TypeVar("T")

_SAME = ToolOptions(effect="pure", labels=frozenset())
_GROWING = ToolOptions(effect="idempotent", labels=frozenset())
"""The options of a tool that looks through everything: there is more of it the next time, and the
same call may find more."""

# --- the tools -----------------------------------------------------------------------------------


async def _read_result(result: int, start: int = 0) -> ToolOutput:
    """The text of a message from this character on; from 0 on also its images and sounds."""
    source = _source(_run(), result)
    if start and not 0 < start < len(source.text):
        last = len(source.text) - 1
        raise ToolError(f"start is {start}; {source.name} goes from 0 to {last}")
    shown = _page(source, start, _room())
    return ToolOutput([shown, *source.media] if source.media and not start else shown)


async def _search_result(result: int, words: str) -> str:
    """The lines of a message that hold the most of these words."""
    source, looked_for = _source(_run(), result), _looked_for(words)
    found = await _searched([source], lambda: best_lines(source.text, looked_for, _MOST_MATCHES))
    places = [_Place(source, match) for match in found.first]
    return _listed(places, found.count, found.words, looked_for)


async def _recall(words: str) -> str:
    """The lines that hold the most of these words, in everything that may have been left out."""
    everything, looked_for = _all_sources(_run()), _looked_for(words)
    places, count, held = await _searched(everything, lambda: _in_all(everything, looked_for))
    return _listed(places, count, held, looked_for)


@cache
def recall_tools() -> tuple[Tool[..., Any], ...]:
    """The three tools, the same objects each time."""
    read = "Reads what was left out of a result, from character start on."
    search, recall = "Finds words in such a result.", "Finds words in all earlier messages."
    return (
        make_tool(_read_result, options=_SAME, name=READ, description=read),
        make_tool(_search_result, options=_SAME, name=SEARCH, description=search),
        make_tool(_recall, options=_GROWING, name=RECALL, description=recall),
    )


def with_recall(toolset: Toolset, *, besides: Sequence[Tool[..., Any]]) -> Toolset:
    """A run's tools followed by these three, except for those whose name is taken.

    Args:
        toolset: The run's tools.
        besides: Those of them that are the agent's own.
    """
    if all(tool in besides or tool is plan_tool() for tool in toolset):
        return toolset  # without results nothing grows that could be left out
    free = [tool for tool in recall_tools() if toolset.resolve_name(tool.name) is None]
    return Toolset([*toolset, *free])


def recall_names(toolset: Toolset) -> frozenset[str]:
    """Which of the three are offered."""
    return frozenset(tool.name for tool in recall_tools() if toolset.get(tool.name) is tool)


def own_names(toolset: Toolset) -> frozenset[str]:
    """Which of these tools are the agent's own: the three, and the plan. The answer's tool is not
    one of them, since it may be the call that a user requires.
    """
    plans = toolset.get(PLAN) is plan_tool()
    return recall_names(toolset) | frozenset({PLAN} if plans else ())


def with_own_tools_here(executor: Executor) -> Executor:
    """The executor, but these tools run in this process, wherever it runs the others."""
    if isinstance(executor, RecordedResults):
        return executor
    here = LocalExecutor()
    return RoutingExecutor(
        lambda call: here if any(call.tool is own for own in recall_tools()) else executor
    )


# --- what they read ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """A message as the tools show it.

    Attributes:
        number: Its place in the history, from 1, the instructions not counted.
        role: Its role; for a result, the tool's name.
        text: Its text, with reasoning and calls.
        media: Its other parts.
        is_result: Whether it is a result.
    """

    number: int
    role: str
    text: str
    media: tuple[Part, ...] = ()
    is_result: bool = False

    @property
    def name(self) -> str:
        kind, link = ("Result", "of") if self.is_result else ("Message", "by the")
        return f"{kind} {self.number} {link} {self.role}"


def _run() -> Run:
    run = current_run.get()
    if run is None:
        raise ToolError("there is no conversation here that could be read")
    return run


def _messages(run: Run) -> list[Message]:
    """The history without the instructions and without the reply whose calls are running."""
    sent = without_media(run.messages, run.no_media) if run.no_media else run.messages
    return sent[isinstance(sent[0], SystemMessage) : -1]


def _source(run: Run, number: int) -> _Source:
    """The message of that number; if it is a page of another message, that one.

    Raises:
        ToolError: There is none, or it is the list that a search made.
    """
    messages, own = _messages(run), recall_names(run.wiring.toolset)
    if not 0 < number <= len(messages):
        raise ToolError(f"there is no result {number}: the numbers go from 1 to {len(messages)}")
    message = messages[number - 1]
    if not isinstance(message, ToolMessage):
        return _Source(number, message.role, _text_of(message, own), _media(message.content))
    if message.name not in own:
        return _of_result(run, number, message)
    original = _call_of(messages, number - 1).arguments.get("result")
    if message.name == READ and isinstance(original, int) and 0 < original < number:
        return _source(run, original)
    raise ToolError(f"result {number} is what {message.name} found: make that call again")


def _all_sources(run: Run) -> list[_Source]:
    """Everything that may be left out, newest first. The user's first and last message are not in
    it, nor are calls and results of these tools.
    """
    messages, own = _messages(run), recall_names(run.wiring.toolset)
    users = [number for number, message in enumerate(messages, 1) if message.role == "user"]
    found: list[_Source] = []
    for number, message in enumerate(messages, 1):
        if isinstance(message, ToolMessage):
            if message.name not in own:
                found.append(_of_result(run, number, message))
        elif number not in (users[0], users[-1]):
            found.append(_Source(number, message.role, _text_of(message, own)))
    return found[::-1]


def _of_result(run: Run, number: int, message: ToolMessage) -> _Source:
    text = run.whole.get(number) or text_of(message.content)
    return _Source(number, message.name, text, _media(message.content), is_result=True)


def _text_of(message: Message, own: frozenset[str]) -> str:
    """The reasoning, the text and the calls of a message."""
    if not isinstance(message, AssistantMessage):
        return text_of(message.content)
    calls = (call for call in message.tool_calls if call.name not in own)
    made = (f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})" for call in calls)
    return "\n".join(filter(None, [message.reasoning, text_of(message.content), *made]))


def _media(content: Content | None) -> tuple[Part, ...]:
    parts = content if isinstance(content, tuple) else ()
    return tuple(part for part in parts if not isinstance(part, TextPart))


def _call_of(messages: Sequence[Message], at: int) -> ToolCall:
    """The call that the result at this place answers."""
    result = messages[at]
    assert isinstance(result, ToolMessage)
    calls = next(
        message.tool_calls
        for message in reversed(messages[:at])
        if isinstance(message, AssistantMessage)
    )
    return next(call for call in calls if call.id == result.call_id)


# --- how it is shown -----------------------------------------------------------------------------

_MOST_MATCHES: Final = 40
"""Places that a search shows, if there is room for so many."""

_LIST: Final = 2_000
"""Most tokens of the list that a search makes."""

_AROUND: Final = 90
"""Tokens of the lines around a page or a list, about."""

_LEAST: Final = 40
"""Tokens of the text of a page at least."""

_LARGE: Final = 200_000
"""Characters from which on a search runs in a thread, to keep the event loop free."""


def _room() -> int:
    """Tokens that this call may show; the calls of one reply share the room.

    Raises:
        ToolError: There are too many calls.
    """
    run = _run()
    newest = run.messages[-1]
    calls = len(newest.tool_calls) if isinstance(newest, AssistantMessage) else 1
    tokens = run.wiring.window.page_tokens(calls)
    if not tokens:
        raise ToolError("there is no room for so much at once: make these calls one by one")
    return max(tokens - _AROUND, _LEAST)


def _page(source: _Source, start: int, room: int) -> str:
    """A page of the text that begins at `start`, between a line that says what it is and one that
    says how to read on.
    """
    text = source.text
    end = _page_end(text, start, room)
    read_on = f"[Call {READ} with result {source.number} and start {end} to read on.]"
    head = f"[{source.name}, characters {start} to {end} of {len(text)}:]"
    return f"{head}\n{text[start:end]}\n{read_on if end < len(text) else '[It ends here.]'}"


def _page_end(text: str, start: int, tokens: int) -> int:
    """Where a page ends: at the end of a line, if one ends in its last eighth."""
    length = 2 * tokens  # an estimate takes two letters for a token, and other characters for more
    while length > 1 and (needed := estimated_tokens(text[start : start + length])) > tokens:
        length = max(min(length * tokens // needed, length - 1), 1)
    end = min(start + length, len(text))
    if end < len(text) and (line := text.rfind("\n", end - length // 8, end)) > start:
        end = line + 1
    return end


def _looked_for(words: str) -> tuple[str, ...]:
    """The words, with their case folded to compare them.

    Raises:
        ToolError: There are none, or so many that no line could hold them.
    """
    found = words_of(words)
    if not found or len(words) > _MOST_WORDS:
        raise ToolError(f"words is to be some words, at most {_MOST_WORDS} characters")
    return found


_MOST_WORDS: Final = 300


@dataclass(frozen=True, slots=True)
class _Place:
    """A match, and the message in which it stands."""

    source: _Source
    match: Match

    def __str__(self) -> str:
        """Where it stands, and its line with those before and after it."""
        text = self.source.text
        start, end = around(text, self.match, 1)
        where = f"{self.source.name}, line {self.match.line}, start {start}"
        return f"[{where}:]\n{text[start:end]}"


def _listed(places: Sequence[_Place], count: int, held: int, words: Sequence[str]) -> str:
    """As many places as there is room for, and how to read on from one."""
    if not places:
        return "[Nothing holds any of these words.]"
    room, shown = min(_room(), _LIST), list[str]()
    for place in places:
        text = str(place)
        room -= estimated_tokens(text)
        if shown and room < 0:
            break
        shown.append(text)
    which = "" if held == len(words) else f" {held} of"
    head = f"{pluralize(count, 'line')} with{which} these words"
    head += f"; the first {len(shown)}:" if len(shown) < count else ":"
    end = f"Call {READ} with the number and the start of one to read on from there."
    return "\n".join([f"[{head}]", *shown, f"[{end}]"])


def _in_all(sources: Sequence[_Source], words: Sequence[str]) -> tuple[list[_Place], int, int]:
    """The lines that hold the most of the words, newest first; how many lines there are, and how
    many words each holds.

    Results decide how many words a line must hold, since the question for them often holds all.
    """
    best, places, count = 0, list[_Place](), 0
    for results in (True, False):
        for each in sources:
            if each.is_result is not results:
                continue
            found = best_lines(each.text, words, _MOST_MATCHES, least=max(best, 1))
            if found.words > best and (results or not best):
                best, places, count = found.words, [], 0
            count += found.count
            places += [_Place(each, match) for match in found.first]
    places.sort(key=lambda place: -place.source.number)
    return places[:_MOST_MATCHES], count, best


async def _searched(sources: Sequence[_Source], work: Callable[[], T]) -> T:
    """Searches here if there is little text, else in a thread."""
    if sum(len(each.text) for each in sources) < _LARGE:
        return work()
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
