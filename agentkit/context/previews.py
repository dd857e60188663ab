"""What is sent in place of something that takes too much room, and how the model can read it all.

```
too long      a preview: beginning, end, the lines that matter most, a note in each gap
old           a stub: a line that says what it was
dropped       nothing, but for a note at the task; perhaps a summary (`agentkit.context.summaries`)
```
Each of these says by which call what is missing is read (`agentkit.agent.recall`), in words that
can be followed to the letter. Where those tools are not offered, it says what else can be done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Final

from agentkit.context.finding import Match, around, best_lines, words_of
from agentkit.context.prompt import (
    PromptForm,
    Steps,
    estimated_tokens,
    result_text_of,
    tokens_of,
)
from agentkit.context.strategies import Newer
from agentkit.messages import (
    Content,
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
