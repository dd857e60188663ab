"""What is sent of each message of a conversation: itself, or something shorter in its place, and
how the model can read it all.

```
too long      a preview: beginning, end, the lines that matter most, a note in each gap
old           a stub: a line that says what it was
dropped       nothing, but for a note at the task; perhaps a summary (`agentkit.context.summaries`)
```
Each of these says by which call what is missing is read (`agentkit.agent.recall`), in words that
can be followed to the letter. Where those tools are not offered, it says what else can be done.

`Entries` holds the messages with what is sent of each, and knows which of them may go; what does go
is chosen by `agentkit.context.strategies`. The history itself is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Final, Literal, TypeAlias

from agentkit.context.finding import Match, around, best_lines, words_of
from agentkit.context.prompt import (
    PromptForm,
    Steps,
    estimated_tokens,
    result_text_of,
    tokens_of,
)
from agentkit.context.strategies import (
    Exchange,
    Newer,
    Past,
    newer_results,
)
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
        message: As it stands in the history.
        text: All of its text, also where the history holds less of it.
        number: Its place in the history, from 1, the instructions not counted.
        readable: Whether `read_result` is offered and can read it.
        recalled: Whether it is itself what one of the agent's own tools showed of another.
        remedy: What else can be done to have what is missing.
        marks: The lines of it that matter most; see `marks_of`.
    """

    message: ToolMessage
    text: str
    number: int = 0
    readable: bool = False
    recalled: bool = False
    remedy: str = _ANY_TOOL
    marks: tuple[Match, ...] = ()

    def gap(self, start: int, end: int, total: int) -> str:
        """The note in place of these characters of its text."""
        if self.readable:
            return (
                f"[… characters {start} to {end} of {total} are left out here. Call {READ} with "
                f"result {self.number} and start {start} to read them …]"
            )
        remedy = _CALL_ALONE if self.recalled else self.remedy
        return (
            f"[… {end - start} of {total} characters are left out here: the result is too long to "
            f"be read at once. {remedy} …]"
        )


# --- too long ------------------------------------------------------------------------------------

_LEAST: Final = 40
"""Characters of a result that a preview shows at least, however little room there is."""

_ROOMY: Final = 1_200
"""Characters of a preview from which on it shows more than beginning and end."""

_MOST_ISLANDS: Final = 4
"""Places in the middle of a text that a preview shows."""

_MOST_LOOKS: Final = 4_000
"""Lines of a text that are looked at one by one: milliseconds."""

_APART: Final = 200
"""Characters between two places, below which leaving them out would hardly save anything."""

_ERRORS: Final = ("error", "failed", "failure", "exception", "traceback", "fatal", "panic")
"""What marks the lines of a log that are looked for first."""

_LISTING: Final = 12
"""Lines from which on a text is taken for a log or a listing."""


def preview(source: Source, characters: int) -> ToolMessage:
    """A result of which parts are left out, which it says.

    Args:
        source: The result.
        characters: How many of its text are kept, about.
    """
    content = source.message.content
    if isinstance(content, str):
        return replace(source.message, content=_cut(source, source.text, characters, 0))
    whole = max(len(text_of(content)), 1)
    if whole != len(source.text):  # the history holds less of it, so its places are others
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
    """A preview of so many tokens, and its characters; None where the whole takes no more.

    Args:
        source: The result.
        call: What it answers.
        most: Tokens that it may take.
        form: What the model makes of it.
    """
    message = source.message
    length = len(text_of(message.content))
    characters = min(length, most * _CHARACTERS)
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


_CHARACTERS: Final = 16
"""Most characters of a token that are worth counting: no text that is read has more."""


def _cut(source: Source, text: str, characters: int, offset: int) -> str:
    """The text with gaps; two thirds of what stays is its beginning, where nothing in the middle
    matters more.
    """
    characters = max(characters, _LEAST)
    if len(text) <= characters:
        return text
    roomy = characters >= _ROOMY
    found = _islands(source, text, characters, offset) if roomy else []
    head = characters // 2 if found else characters * 2 // 3
    tail = characters // 4 if found else characters - head
    kept = _merged(
        [(0, _line_end(text, head)), *found, (_line_start(text, len(text) - tail), len(text))],
        _APART if roomy else 0,
    )
    total = len(source.text)
    shown = text[slice(*kept[0])]
    for (_, start), (end, stop) in pairwise(kept):
        shown += f"\n{source.gap(offset + start, offset + end, total)}\n{text[end:stop]}"
    return shown


def _line_end(text: str, at: int) -> int:
    """Where a line ends within an eighth of the way back; else the place itself."""
    found = text.rfind("\n", at - at // 8, at)
    return at if found < 0 else found


def _line_start(text: str, at: int) -> int:
    """Where a line begins within an eighth of the rest; else the place itself."""
    found = text.find("\n", at, at + (len(text) - at) // 8)
    return at if found < 0 else found + 1


def _islands(source: Source, text: str, characters: int, offset: int) -> list[tuple[int, int]]:
    """Places in the middle of a text that matter, with a line before and after each."""
    low, high = characters // 2, len(text) - characters // 4
    found: list[tuple[int, int]] = []
    room = characters // 4
    for match in source.marks:
        there = replace(match, start=match.start - offset, end=match.end - offset)
        if low < there.start and there.end < high:
            start, end = around(text, there, 1)
            if end - start > room:
                start, end = there.start, min(there.end, there.start + room)
            if end > start:
                found.append((start, end))
                room -= end - start
    return sorted(found)


def marked(source: Source, call: ToolCall | None) -> Source:
    """The result with the lines of it that matter most."""
    return replace(source, marks=marks_of(source.text, call))


def marks_of(text: str, call: ToolCall | None) -> tuple[Match, ...]:
    """The lines of a result that hold what its call asked for, and those that tell of errors."""
    asked, errors = (
        best_lines(text, words, _MOST_ISLANDS, looks=_MOST_LOOKS).first
        for words in (asked_for(call), _ERRORS if text.count("\n") >= _LISTING else ())
    )
    pairs = zip_longest(asked, errors)
    return tuple(match for pair in pairs for match in pair if match is not None)[:_MOST_ISLANDS]


def _merged(places: Sequence[tuple[int, int]], apart: int) -> list[tuple[int, int]]:
    """The places, those in one that touch or nearly do."""
    merged = [places[0]]
    for start, end in places[1:]:
        before = merged[-1]
        if start - before[1] <= apart:
            merged[-1] = before[0], max(before[1], end)
        else:
            merged.append((start, end))
    return merged


def asked_for(call: ToolCall | None) -> tuple[str, ...]:
    """The words that a call asks for: its short texts, whole, and what they are made of."""
    if call is None:
        return ()
    texts = [value for value in call.arguments.values() if isinstance(value, str)]
    short = [text.strip().casefold() for text in texts if len(text) <= _APART]
    parts = [word for text in short for word in words_of(_NO_WORD.sub(" ", text))]
    return tuple(dict.fromkeys([*short, *(part for part in parts if len(part) >= _LONG_WORD)]))[:16]


_NO_WORD: Final = re.compile(r"[^\w-]+")
_LONG_WORD: Final = 4
"""Characters of a word that says something by itself."""


def ask_for_less(tool: ToolDefinition | None) -> str:
    """How the rest of a long result can be asked for, by the parameters that its tool has.

    Args:
        tool: As the model is told of it; None where it is not offered any more.
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
    """A line in place of an old result: what it was, and how to have it again.

    Args:
        source: The result.
        tokens: It takes so many.
        repeatable: Whether the call may simply be made again.
        newer: A later one that can be read in its place.
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
"""What stands behind a summary."""


def with_note(message: UserMessage, dropped: int, *, recall: bool = False) -> UserMessage:
    """The task, with the remark that messages after it are left out.

    Args:
        message: The task.
        dropped: How many are.
        recall: Whether `recall` is offered, which finds them.
    """
    note = f"[{dropped} older messages that followed this one are left out to save space."
    note += f" Call {RECALL} with some words to find them.]" if recall else "]"
    content: Content = message.content
    if isinstance(content, str):
        return replace(message, content=f"{content}\n\n{note}")
    return replace(message, content=(*content, TextPart(f"\n\n{note}")))


# --- all of them, and what of them may go
# ---------------------------------------------------------------------------------

State: TypeAlias = Literal["whole", "shortened", "cleared", "dropped", "summarized"]
"""`summarized`: a summary stands there, for this message and for those that are dropped."""


@dataclass(slots=True)
class Entry:
    """One message.

    Attributes:
        message: As it stands in the history.
        sent: As it is sent.
        state: What was done to it.
        size: To what size; see `agentkit.events.Change`.
    """

    message: Message
    sent: Message
    state: State = "whole"
    size: int = 0


class Entries:
    """All messages but the instructions, with what is sent of each.

    Attributes:
        all: One entry for each message.
        sent: What is sent of all of them.
        summary: What is sent in place of those that a summary stands for.

    Args:
        kept: Names of tools whose newest result stays, call and all.
        recall: Whether the note at the task may name the tool `recall`.
        pinned: Whether a message always stays as it is.
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
        """What these add to the messages that are known; all, where they go on from others."""
        known = len(self._messages)
        if self._messages != list(messages[:known]):
            self.all.clear()
            self.summary = ""
            self._messages.clear()
            self.sent.clear()
            known = 0
        return messages[known:]

    def add(self, message: Message) -> None:
        """Takes in a new message, which is sent as it is."""
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
        """The entries to which that was done."""
        return [entry for entry in self.all if entry.state == state]

    def rebuild(self) -> None:
        """Takes over what was changed in the entries."""
        dropped = len(self.of("dropped")) + len(self.of("summarized"))
        if dropped and (users := self.users()):
            task = self.all[users[0]]
            assert isinstance(task.message, UserMessage)
            task.sent = with_note(task.message, dropped, recall=self._recall)
        self.sent = [entry.sent for entry in self.all if entry.state != "dropped"]

    def put_summary(self, text: str) -> list[Change]:
        """Puts a summary where the first messages stood that are left out, in place of an older
        one; what that changed.
        """
        gone = [at for at, each in enumerate(self.all) if each.state in ("dropped", "summarized")]
        changes: list[Change] = []
        for at in gone[2:]:
            if self.all[at].state == "summarized":
                self.all[at].state = "dropped"
                changes.append((at, "dropped", 0))
        for size, at in enumerate(gone[:2]):
            self.stand_in(at, text, size)
            changes.append((at, "summarized", size))
        return changes

    def stand_in(self, at: int, text: str, size: int) -> None:
        """Sends a summary in place of the first message that is left out, as words of the model,
        since it wrote them; in place of the second, whose size is 1, what lets it go on: not every
        template takes two messages of the model in a row.
        """
        entry = self.all[at]
        entry.sent = UserMessage(GO_ON) if size else AssistantMessage(text)
        entry.state, entry.size, self.summary = "summarized", size, text

    def facts_of(self, at: int) -> str:
        """The text in which a message that goes is looked through for facts: what was said and
        called, and of a result what is still shown.
        """
        entry = self.all[at]
        if isinstance(entry.message, AssistantMessage):
            calls = (f"{call.name} {call.arguments}" for call in entry.message.tool_calls)
            said = [entry.message.reasoning or "", entry.message.content or ""]
            return "\n".join([*said, *calls])
        return text_of(entry.sent.content) if entry.state != "cleared" else ""

    def places(self) -> dict[int, int]:
        """Where each entry that is sent stands among those: place in `all` → place in `sent`."""
        kept = (n for n, entry in enumerate(self.all) if entry.state != "dropped")
        return {at: place for place, at in enumerate(kept)}

    def newest(self) -> int:
        """Where the newest exchange begins: the last calls, or the last message."""
        at = len(self.all) - 1
        while at > 0 and isinstance(self.all[at].message, ToolMessage):
            at -= 1
        return max(at, 0)

    def past(self, repeatable: Container[str] = frozenset()) -> Past:
        """What may go.

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
        """The results in whose place a later one can be read; see `newer_results`."""
        whole = {at for at, entry in enumerate(self.all) if entry.state == "whole"}
        return newer_results(self._messages, repeatable, whole)

    def clearable(self) -> list[int]:
        """Results of which less may be sent one day, oldest first."""
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

    def _exchanges(
        self, kept: Container[int]
    ) -> tuple[list[Exchange], dict[Exchange, list[Exchange]]]:
        """Exchanges that may be left out, oldest first, and those that go only after others.

        The first and the last thing that the user said stay, and so do the newest exchange and
        those that hold what is kept.
        """
        rounds: list[tuple[int | None, list[list[int]]]] = [(None, [])]
        for at, entry in enumerate(self.all[: self.newest()]):
            if isinstance(entry.message, UserMessage):
                rounds.append((at, []))
            elif isinstance(entry.message, AssistantMessage):
                rounds[-1][1].append([at])
            elif rounds[-1][1]:
                rounds[-1][1][-1].append(at)
        users, gone = self.users(), ("dropped", "summarized")
        found: list[Exchange] = []
        after: dict[Exchange, list[Exchange]] = {}
        for question, groups in rounds:
            there = [tuple(group) for group in groups if self.all[group[0]].state not in gone]
            free = [group for group in there if not any(at in kept for at in group)]
            whole = len(free) == len(there)
            ends = not users or question != users[-1]  # somebody speaks after it
            asked = (
                question is not None
                and question not in (users[0], users[-1])
                and question not in kept
                and self.all[question].state not in gone
            )
            if ends and not whole and there[-1] in free:
                free.remove(there[-1])  # what stays of a round needs the answer at its end
            if whole and asked and question is not None:
                free[-1:] = [(question, *(free[-1] if free else ()))]
            if ends and whole and free:
                after[free[-1]] = free[:-1]
            found += free
        return found, after

    def users(self) -> list[int]:
        """Places of what the user said."""
        return [n for n, entry in enumerate(self.all) if isinstance(entry.message, UserMessage)]
