"""What is sent of each message of a conversation: the message itself, or something shorter.

```
too long      a preview: beginning, end, the lines that matter most, a note in each gap
old           a stub: a line that says what it was
dropped       nothing, but for a note at the task; perhaps a summary (`agentkit.context.summaries`)
```
Each of these names the call that reads what is missing (`agentkit.agent.recall`), in words that can
be followed to the letter. If those tools are not offered, it says what else can be done.

`Entries` holds the messages with what is sent of each, and knows which of them may be left out.
`agentkit.context.strategies` chooses among these. The history itself is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise, zip_longest
from typing import Final, Literal, TypeAlias

from agentkit.context.finding import Match, around, best_lines, words_of
from agentkit.context.prompt import PromptForm, Steps, estimated_tokens, result_text_of, tokens_of
from agentkit.context.strategies import Exchange, Newer, Past, newer_results
from agentkit.events import Change
from agentkit.messages import (
    AssistantMessage,
    Content,
    Message,
    Part,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
    text_of,
)
from agentkit.schema.shape import Shape

READ: Final = "read_result"
SEARCH: Final = "search_result"
RECALL: Final = "recall"
RECALL_TOOLS: Final = frozenset({READ, SEARCH, RECALL})
"""The names of the agent's own tools that read what a prompt leaves out."""

_ANY_TOOL: Final = "Ask for a smaller part of it if you need what is missing."

_CALL_ALONE: Final = "Make the same call again, and no other beside it, to have all of it."


@dataclass(frozen=True, slots=True)
class Source:
    """A result, and how it can be read again.

    Attributes:
        message: The message in the history.
        text: All of its text, even if the history holds less of it.
        number: Its place in the history, from 1, the instructions not counted.
        readable: Whether `read_result` is offered and can read it.
        recalled: Whether it is a page of another result, shown by one of the agent's own tools.
        tool: The definition of its tool; None if it is no longer offered.
        marks: The lines of it that matter most; see `marks_of`.
    """

    message: ToolMessage
    text: str
    number: int = 0
    readable: bool = False
    recalled: bool = False
    tool: ToolDefinition | None = None
    marks: tuple[Match, ...] = ()

    def gap(self, start: int, end: int, total: int) -> str:
        """The note that stands in place of these characters of its text."""
        if self.readable:
            return (
                f"[… characters {start} to {end} of {total} are left out here. Call {READ} with "
                f"result {self.number} and start {start} to read them …]"
            )
        remedy = _CALL_ALONE if self.recalled else ask_for_less(self.tool)
        return (
            f"[… {end - start} of {total} characters are left out here: the result is too long to "
            f"be read at once. {remedy} …]"
        )


# --- too long ------------------------------------------------------------------------------------

_LEAST: Final = 40
"""Characters of a result that a preview shows at least, however little room there is."""

_ROOMY: Final = 1_200
"""Characters of a preview from which on it shows more than beginning and end."""

_MOST_MARKS: Final = 4
"""Places in the middle of a text that a preview shows."""

_MOST_LOOKS: Final = 4_000
"""Lines of a text that are looked at one by one, which takes milliseconds."""

_SHORTEST_GAP: Final = 200
"""Characters; leaving out fewer would save hardly anything."""

_ERRORS: Final = ("error", "failed", "failure", "exception", "traceback", "fatal", "panic")
"""Words of the lines of a log that matter most."""

_LISTING: Final = 12
"""Lines from which on a text counts as a log or a listing."""


def preview(source: Source, characters: int) -> ToolMessage:
    """A result with parts left out, and a note in place of each.

    Args:
        source: The result.
        characters: About how many characters of its text are kept.
    """
    content = source.message.content
    if isinstance(content, str):
        return replace(source.message, content=_cut(source, source.text, characters, 0))
    whole = max(len(text_of(content)), 1)
    if whole != len(source.text):  # the history holds less of it: its characters have other places
        media = (part for part in content if not isinstance(part, TextPart))
        text = TextPart(_cut(source, source.text, characters, 0))
        return replace(source.message, content=(text, *media))
    parts: list[Part] = []
    offset = 0
    for part in content:
        if isinstance(part, TextPart):
            share = characters * len(part.text) // whole
            parts.append(TextPart(_cut(source, part.text, share, offset)))
            offset += len(part.text)
        else:
            parts.append(part)
    return replace(source.message, content=tuple(parts))


def shortened(
    source: Source, call: ToolCall | None, most: int, form: PromptForm
) -> Steps[tuple[ToolMessage, int] | None]:
    """A preview of at most so many tokens, and the characters that it keeps; None if the whole
    result takes no more.

    Args:
        source: The result.
        call: The call that it answers.
        most: Tokens that it may take.
        form: What the model makes of it.
    """
    message = source.message
    length = len(text_of(message.content))
    characters = min(length, most * _LONGEST_TOKEN)
    if length == len(source.text):  # the history holds all of it
        # Four bytes make a character, and a token is a byte or more.
        if length * 4 <= most:
            return None
        if form.asks and estimated_tokens(result_text_of(message, form)) <= most:
            return None
        if characters == length:
            (tokens,), _ = yield from tokens_of([result_text_of(message, form)], form)
            if tokens <= most:
                return None
            characters = min(characters * most * 9 // (tokens * 10), characters - 1)
    source = marked(source, call)
    while True:
        sent = preview(source, characters)
        if characters <= 1:
            break
        (tokens,), _ = yield from tokens_of([result_text_of(sent, form)], form)
        if tokens <= most:
            break
        characters = min(characters * most * 9 // (tokens * 10), characters - 1)
    return sent, characters


_LONGEST_TOKEN: Final = 16
"""Characters of a token, at most, on average over a readable text."""


def _cut(source: Source, text: str, characters: int, offset: int) -> str:
    """A part of a result's text, which begins there at `offset`, cut to about so many characters.

    If nothing in its middle matters more, two thirds of what is kept are its beginning.
    """
    characters = max(characters, _LEAST)
    if len(text) <= characters:
        return text
    roomy = characters >= _ROOMY
    middle = _marked_places(source, text, characters, offset) if roomy else []
    head = characters // 2 if middle else characters * 2 // 3
    tail = characters // 4 if middle else characters - head
    kept = _merged(
        [(0, _line_end(text, head)), *middle, (_line_start(text, len(text) - tail), len(text))],
        _SHORTEST_GAP if roomy else 0,
    )
    total = len(source.text)
    shown = text[slice(*kept[0])]
    for (_, start), (end, stop) in pairwise(kept):
        shown += f"\n{source.gap(offset + start, offset + end, total)}\n{text[end:stop]}"
    return shown


def _line_end(text: str, at: int) -> int:
    """The end of a line in the last eighth of the text before `at`; `at` if none ends there."""
    found = text.rfind("\n", at - at // 8, at)
    return at if found < 0 else found


def _line_start(text: str, at: int) -> int:
    """The start of a line in the first eighth of the text after `at`; `at` if none starts there."""
    found = text.find("\n", at, at + (len(text) - at) // 8)
    return at if found < 0 else found + 1


def _marked_places(
    source: Source, text: str, characters: int, offset: int
) -> list[tuple[int, int]]:
    """The marks in the middle of a text, each with the lines before and after it; see `_cut`."""
    low, high = characters // 2, len(text) - characters // 4
    places: list[tuple[int, int]] = []
    room = characters // 4
    for mark in source.marks:
        mark = replace(mark, start=mark.start - offset, end=mark.end - offset)
        if mark.start <= low or mark.end >= high:
            continue  # it is in the beginning or the end, which are shown anyway
        start, end = around(text, mark, 1)
        if end - start > room:
            start, end = mark.start, min(mark.end, mark.start + room)
        if end > start:
            places.append((start, end))
            room -= end - start
    return sorted(places)


def marked(source: Source, call: ToolCall | None) -> Source:
    """The result with the lines of it that matter most."""
    return replace(source, marks=marks_of(source.text, call))


def marks_of(text: str, call: ToolCall | None) -> tuple[Match, ...]:
    """The lines of a result that hold what its call asked for, and those that report errors, by
    turns.
    """
    error_words = _ERRORS if text.count("\n") >= _LISTING else ()
    asked = best_lines(text, asked_for(call), _MOST_MARKS, looks=_MOST_LOOKS).first
    errors = best_lines(text, error_words, _MOST_MARKS, looks=_MOST_LOOKS).first
    by_turns = chain.from_iterable(zip_longest(asked, errors))
    return tuple(mark for mark in by_turns if mark is not None)[:_MOST_MARKS]


def _merged(places: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """The places; two become one if no more than `gap` characters lie between them."""
    merged = [places[0]]
    for start, end in places[1:]:
        last_start, last_end = merged[-1]
        if start - last_end <= gap:
            merged[-1] = last_start, max(last_end, end)
        else:
            merged.append((start, end))
    return merged


def asked_for(call: ToolCall | None) -> tuple[str, ...]:
    """The words that a call asks for: its short texts, each whole, and then the words in them."""
    if call is None:
        return ()
    texts = [value for value in call.arguments.values() if isinstance(value, str)]
    short = [text.strip().casefold() for text in texts if len(text) <= _LONGEST_ASKED]
    words = [word for text in short for word in words_of(_NO_WORD.sub(" ", text))]
    asked = dict.fromkeys([*short, *(word for word in words if len(word) >= _SHORTEST_WORD)])
    return tuple(asked)[:_MOST_WORDS]


_NO_WORD: Final = re.compile(r"[^\w-]+")
_LONGEST_ASKED: Final = 200  # characters of an argument
_SHORTEST_WORD: Final = 4  # characters of a word that means something by itself
_MOST_WORDS: Final = 16


def ask_for_less(tool: ToolDefinition | None) -> str:
    """How the rest of a long result can be asked for, by the parameters that its tool has.

    Args:
        tool: The tool's definition; None if it is no longer offered.
    """
    if tool is None:
        return _ANY_TOOL
    shape = Shape.of(tool.parameters)
    names = list(dict.fromkeys(name for node in shape.nodes for name in node.properties))
    ranges = [name for name in names if _is_range(name, shape.property(name))]
    if ranges:
        return f"Call {tool.name} again with {' and '.join(ranges)} set to what is missing."
    if names:
        by = " or ".join(names)
        return f"If you need what is missing, call {tool.name} for less at once, by its {by}."
    return f"{tool.name} takes no arguments: what is missing cannot be asked for."


_RANGE_WORDS: Final = re.compile(
    r"begin|chunk|count|cursor|end|first|from|head|index|last|length|limit|lines?|max|n|number"
    r"|offset|page|part|position|range|size|skip|start|tail|to|top"
)


def _is_range(name: str, shape: Shape) -> bool:
    """Whether a parameter chooses a part of something: a number with such a name."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    numeric = shape.types is not None and not shape.types.isdisjoint(("integer", "number"))
    return numeric and any(_RANGE_WORDS.fullmatch(word) for word in words)


# --- old -----------------------------------------------------------------------------------------


def stub(
    source: Source, tokens: int, *, repeatable: bool, newer: Newer | None = None
) -> ToolMessage:
    """A line in place of an old result: what it was, and how to get it again.

    Args:
        source: The result.
        tokens: The tokens that it takes.
        repeatable: Whether the call may simply be made again.
        newer: A later result that can be read instead.
    """
    name, number = source.message.name, source.number
    failed = " It was an error." if source.message.is_error else ""
    if source.readable:
        instead = "" if newer is None else f": result {newer.at + 1} {_NEWER[newer.same_call]}"
        text = (
            f"[Old result {number} of {name}, {tokens} tokens, is left out{instead}.{failed} Call "
            f"{READ} with result {number} to read it.]"
        )
        return replace(source.message, content=text)
    if newer is not None:
        later = "the same call was made again later" if newer.same_call else _HELD_LATER
        text = f"[This old result of {name}, {tokens} tokens, is left out: {later}.{failed}]"
        return replace(source.message, content=text)
    again = (
        f"Call {name} again with the same arguments if you need it."
        if repeatable
        else "The call itself was carried out: do not repeat it only to read this again."
    )
    text = f"[This old result of {name}, {tokens} tokens, is left out.{failed} {again}]"
    return replace(source.message, content=text)


_NEWER: Final = {True: "is newer, of the same call", False: "holds all its lines"}
_HELD_LATER: Final = "a later result of it holds all its lines"


# --- dropped -------------------------------------------------------------------------------------


GO_ON: Final = "[That is all that is left of those messages. Go on from here.]"
WHAT_WAS: Final = "[Messages are left out here. What do you still know of them?]"
"""What the user says behind a summary, or before it."""


def with_note(message: UserMessage, dropped: int, *, recall: bool = False) -> UserMessage:
    """The task, with a note that messages after it are left out.

    Args:
        message: The task.
        dropped: How many messages are left out.
        recall: Whether the tool `recall`, which finds them, is offered.
    """
    note = f"[{dropped} older messages that followed this one are left out to save space."
    note += f" Call {RECALL} with some words to find them.]" if recall else "]"
    content: Content = message.content
    if isinstance(content, str):
        return replace(message, content=f"{content}\n\n{note}")
    return replace(message, content=(*content, TextPart(f"\n\n{note}")))


# --- all messages, and which may be left out -----------------------------------------------------

State: TypeAlias = Literal["whole", "shortened", "cleared", "dropped", "summarized"]
"""`summarized`: a summary is sent in place of this message and of those that are dropped."""


@dataclass(slots=True)
class Entry:
    """One message.

    Attributes:
        message: The message in the history.
        sent: What is sent of it.
        state: What was done to it.
        size: See `agentkit.events.Change`.
    """

    message: Message
    sent: Message
    state: State = "whole"
    size: int = 0


class Entries:
    """All messages but the instructions, with what is sent of each.

    Attributes:
        all: One entry for each message.
        sent: The messages that are sent.
        summary: The summary that is sent; empty if there is none.

    Args:
        kept: Names of tools whose newest result stays, with its call.
        recall: Whether the note at the task may name the tool `recall`.
        pinned: A function of a message: whether it always stays as it is.
    """

    def __init__(
        self,
        kept: Container[str] = frozenset(),
        *,
        recall: bool = False,
        pinned: Callable[[Message], bool] | None = None,
    ) -> None:
        self._kept = kept
        self._recall = recall
        self._pinned = pinned or (lambda _message: False)
        self.all: list[Entry] = []
        self.summary = ""
        self._messages: list[Message] = []
        self.sent: list[Message] = []

    def new_messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages that are new; all of them if they do not continue the known ones."""
        known = len(self._messages)
        if self._messages != list(messages[:known]):
            self.all.clear()
            self.summary = ""
            self._messages.clear()
            self.sent.clear()
            known = 0
        return messages[known:]

    def add(self, message: Message) -> None:
        """Adds a new message, which is sent as it is."""
        self.all.append(Entry(message, message))
        self._messages.append(message)
        self.sent.append(message)

    def call_of(self, at: int) -> ToolCall | None:
        """The call that the result at this place answers."""
        result = self.all[at].message
        for before in range(at - 1, -1, -1):
            message = self.all[before].message
            if isinstance(message, AssistantMessage) and isinstance(result, ToolMessage):
                calls = (call for call in message.tool_calls if call.id == result.call_id)
                return next(calls, None)
        return None

    def of(self, state: State) -> list[Entry]:
        """The entries in this state."""
        return [entry for entry in self.all if entry.state == state]

    def rebuild(self) -> None:
        """Makes `sent` anew after entries were changed."""
        dropped = len(self.of("dropped")) + len(self.of("summarized"))
        if dropped and (users := self.users()):
            task = self.all[users[0]]
            assert isinstance(task.message, UserMessage)
            task.sent = with_note(task.message, dropped, recall=self._recall)
        self.sent = [entry.sent for entry in self.all if entry.state != "dropped"]

    def put_summary(self, text: str) -> list[Change]:
        """Puts the one summary in place of the first messages left out; returns the changes."""
        gone = [at for at, each in enumerate(self.all) if each.state in ("dropped", "summarized")]
        changes: list[Change] = []
        for at in gone[2:]:
            if self.all[at].state == "summarized":
                self.all[at].state = "dropped"
                changes.append((at, "dropped", 0))
        # Not every template takes two texts of the model in a row.
        before = [each.sent for each in self.all[: gone[0]] if each.state != "dropped"][-1:]
        behind_text = any(isinstance(m, AssistantMessage) and not m.tool_calls for m in before)
        for at, size in zip(gone, (2, 0) if behind_text else (0, 1), strict=False):
            self.stand_in(at, text, size)
            changes.append((at, "summarized", size))
        return changes

    def stand_in(self, at: int, text: str, size: int) -> None:
        """Sends a summary in place of a message that is left out, as the model's words, since the
        model wrote it; or, by the size, what the user says behind it (1) or before it (2).
        """
        entry = self.all[at]
        said = {1: UserMessage(GO_ON), 2: UserMessage(WHAT_WAS)}
        entry.sent = said.get(size, AssistantMessage(text))
        entry.state, entry.size, self.summary = "summarized", size, text

    def facts_of(self, at: int) -> str:
        """The text of a message that is left out, to look for facts in it: reasoning, text and
        calls, or what is sent of a result.
        """
        entry = self.all[at]
        if isinstance(entry.message, AssistantMessage):
            calls = (f"{call.name} {call.arguments}" for call in entry.message.tool_calls)
            return "\n".join([entry.message.reasoning or "", entry.message.content or "", *calls])
        return "" if entry.state == "cleared" else text_of(entry.sent.content)

    def places(self) -> dict[int, int]:
        """The place in `sent` of each entry that is sent, by its place in `all`."""
        sent = (at for at, entry in enumerate(self.all) if entry.state != "dropped")
        return {at: place for place, at in enumerate(sent)}

    def newest(self) -> int:
        """Where the newest exchange begins: the last calls, or the last message."""
        at = len(self.all) - 1
        while at > 0 and isinstance(self.all[at].message, ToolMessage):
            at -= 1
        return max(at, 0)

    def past(self, repeatable: Container[str] = frozenset()) -> Past:
        """What may be left out.

        Args:
            repeatable: Tools whose calls may simply be made again.
        """
        kept = self._kept_places()
        exchanges, after = self._exchanges(kept)
        return Past(
            messages=self._messages,
            results=[at for at in self.clearable() if at not in kept],
            exchanges=exchanges,
            after=after,
            newer=self.newer(repeatable),
        )

    def newer(self, repeatable: Container[str]) -> Mapping[int, Newer]:
        """The results instead of which a later one can be read; see `newer_results`."""
        whole = {at for at, entry in enumerate(self.all) if entry.state == "whole"}
        return newer_results(self._messages, repeatable, whole)

    def clearable(self) -> list[int]:
        """Old results that are not stubs yet, oldest first."""
        return [
            at
            for at, entry in enumerate(self.all[: self.newest()])
            if isinstance(entry.message, ToolMessage) and entry.state in ("whole", "shortened")
        ]

    def _kept_places(self) -> set[int]:
        """Messages that stay as they are: pinned ones, and the newest result of certain tools."""
        kept = {at for at, entry in enumerate(self.all) if self._pinned(entry.message)}
        for at in range(len(self.all) - 1, -1, -1):
            message = self.all[at].message
            if isinstance(message, ToolMessage) and message.name in self._kept:
                return kept | {at}
        return kept

    def _exchanges(self, kept: set[int]) -> tuple[list[Exchange], dict[Exchange, list[Exchange]]]:
        """Exchanges that may be left out, oldest first, and those that go only after others.

        The first and the last message of the user stay, and so do the newest exchange and those
        that hold what is kept.
        """
        users = self.users()
        stays = kept.union(users[:1], users[-1:])
        found: list[Exchange] = []
        after: dict[Exchange, list[Exchange]] = {}
        for question, exchanges in self._rounds():
            free = [each for each in exchanges if stays.isdisjoint(each)]
            whole = len(free) == len(exchanges)
            is_open = question in users[-1:]  # the user does not speak after it
            if not whole and not is_open and exchanges[-1] in free:
                free.remove(exchanges[-1])  # what stays of a round needs the answer at its end
            if whole and question is not None and question not in stays:
                answer = free.pop() if free else ()
                free.append((question, *answer))
            if whole and not is_open and free:
                after[free[-1]] = free[:-1]
            found += free
        return found, after

    def _rounds(self) -> Iterator[tuple[int | None, list[Exchange]]]:
        """The place of each question and the exchanges after it, as far as they are still sent."""
        rounds: list[tuple[int | None, list[list[int]]]] = [(None, [])]
        for at, entry in enumerate(self.all[: self.newest()]):
            _, exchanges = rounds[-1]
            if isinstance(entry.message, UserMessage):
                rounds.append((at, []))
            elif isinstance(entry.message, AssistantMessage):
                exchanges.append([at])
            elif exchanges:
                exchanges[-1].append(at)
        for question, exchanges in rounds:
            there = question is not None and self._is_there(question)
            sent = [tuple(each) for each in exchanges if self._is_there(each[0])]
            yield question if there else None, sent

    def _is_there(self, at: int) -> bool:
        return self.all[at].state not in ("dropped", "summarized")

    def users(self) -> list[int]:
        """Places of the user's messages."""
        return [at for at, entry in enumerate(self.all) if isinstance(entry.message, UserMessage)]
