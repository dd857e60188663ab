"""Looks through the texts of a conversation: for the lines that hold the most of some words, and
for the facts that a summary leaves out.

A search takes words only, without regard to case: no pattern can explode. A long line, such as JSON
without line ends, is looked through in pieces, so that what is shown of a match is always short.

A summary must not lose the names, paths, numbers and open tasks of what it stands for. What counts
as such a fact is decided by its form alone, so that the check needs no model and comes out the same
each time. It takes too much rather than too little: a word too many costs a token, one too few may
cost the task. A name in a script without capitals cannot be told from other words. Texts come from
tools and may be of any length, so everything is looked at once, word by word; no pattern sees more
than one word or one short line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

_PIECE: Final = 400
"""Characters of a line that are taken for one at most."""

_BLOCK: Final = 32_768
"""Characters that are looked through at once: none of the words in them, and no line needs a look.
The interpreter can turn to other threads in between."""


@dataclass(frozen=True, slots=True)
class Match:
    """A line, or a piece of a long one, that holds some of the words.

    Attributes:
        start: The character at which it begins.
        end: The character behind its last one.
        line: The number of the line, from 1.
        words: How many of the words it holds.
    """

    start: int
    end: int
    line: int
    words: int


@dataclass(slots=True)
class Matches:
    """Those lines that hold the most of the words, in order.

    Attributes:
        words: How many of the words each of them holds; 0 where no line holds any.
        count: How many there are.
        first: The first ones of them.
    """

    words: int
    count: int
    first: list[Match]


def words_of(text: str) -> tuple[str, ...]:
    """The words to look for, each once, as they are compared."""
    return tuple(dict.fromkeys(text.casefold().split()))


def best_lines(
    text: str, words: Sequence[str], most: int, *, least: int = 1, looks: int | None = None
) -> Matches:
    """The lines that hold the most of the words.

    Args:
        text: Where to look.
        words: As `words_of` gives them.
        most: How many matches are kept.
        least: Lines that hold fewer of the words are passed over.
        looks: Most lines that are looked at one by one; all of them by default.
    """
    best = Matches(0, 0, [])
    for start, end, line in islice(_lines_to_look_at(text, words), looks):
        for at in range(start, max(end, start + 1), _PIECE):
            piece_end = min(at + _PIECE, end)
            # A word that goes on in the next piece of the same line is found in this one.
            reach = min(piece_end + max(map(len, words)), end)
            folded = text[at:reach].casefold()
            held = sum(word in folded for word in words)
            if held < max(least, best.words):
                continue
            if held > best.words:
                best = Matches(held, 0, [])
            best.count += 1
            if len(best.first) < most:
                best.first.append(Match(at, piece_end, line, held))
    return best


def _lines_to_look_at(text: str, words: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Start, end and number of each line that may hold one of the words."""
    at, number = 0, 1
    while at < len(text) and words:
        block_end = text.find("\n", at + _BLOCK)
        block_end = len(text) if block_end < 0 else block_end + 1
        if _holds_any(text, at, block_end, words):
            while at < block_end:
                end = text.find("\n", at, block_end)
                end = block_end if end < 0 else end
                yield at, end, number
                at, number = end + 1, number + 1
        else:
            number += text.count("\n", at, block_end)
        at = block_end


def _holds_any(text: str, start: int, end: int, words: Sequence[str]) -> bool:
    overlap = max(map(len, words))
    for at in range(start, end, _BLOCK):
        folded = text[at : min(at + _BLOCK + overlap, end)].casefold()
        if any(word in folded for word in words):
            return True
    return False


def around(text: str, match: Match, lines: int) -> tuple[int, int]:
    """Start and end of the match with so many lines before and after it, as far as none is long."""
    start, end = match.start, match.end
    for _ in range(lines):
        if start and text[start - 1] == "\n":
            low = max(start - 1 - _PIECE, 0)
            before = text.rfind("\n", low, start - 1)
            start = before + 1 if before >= 0 else start if low else 0
        if end < len(text) and text[end] == "\n":
            high = min(end + 1 + _PIECE, len(text))
            after = text.find("\n", end + 1, high)
            end = after if after >= 0 else end if high < len(text) else high
    return start, end


# --- facts that a summary leaves out -------------------------------------------------------------

_LONGEST: Final = 160
"""Characters of one fact at most; what is longer is a text, not a name."""

# --- open tasks ----------------------------------------------------------------------------------

_TASK: Final = re.compile(
    r"(?:(?:[-*+]|\d+[.)]) ?)?(?:\[ \] ?(\S.*)"
    r"|(?:todo|fixme|to do|still to do|still open|open|remaining|next)(?: \w+)?: ?(\S.*))",
    re.IGNORECASE,
)
_DONE: Final = re.compile(r"(?:(?:[-*+]|\d+[.)]) ?)?\[[xX]\] ?(\S.*)")
_LINE: Final = 400
"""Characters of a line that may name a task."""

_LONG: Final = 3
"""Characters up to which a word of a task need not stand in a summary that holds the task."""


def open_tasks(texts: Sequence[str]) -> list[str]:
    """Tasks that the texts name and do not mark as done later on, each once, newest first."""
    found: dict[str, None] = {}
    for text in texts:
        for line in text.splitlines():
            if len(line) > _LINE or ("[" not in line and ":" not in line):
                continue
            said = " ".join(line.split())
            if done := _DONE.fullmatch(said):
                found.pop(done[1][:_LONGEST], None)
            elif task := _TASK.fullmatch(said):
                name = (task[1] or task[2])[:_LONGEST]
                found.pop(name, None)
                found[name] = None
    return list(found)[::-1]


def _holds_task(words: frozenset[str], task: str) -> bool:
    return all(word in words for word in _WORDS.findall(task.casefold()) if len(word) > _LONG)


_WORDS: Final = re.compile(r"\w+")

# --- names, paths, numbers -----------------------------------------------------------------------

_TOKEN: Final = re.compile(
    r"https?://[^\s\"'`<>(){}\[\]|]+|(?:[^\s\"'`<>(){}\[\]|,;=*]|(?<=\d),(?=\d{3}(?!\d)))+"
)
_END: Final = ".,:;!?"
"""What stands behind a word and is no part of it."""

_QUOTED: Final = re.compile(r"`([^`\n]{2,60})`|\"([^\"\n]{2,60})\"")
_FILE: Final = re.compile(r"[\w.@+-]*\w\.[A-Za-z]\w{0,5}")
_NUMBER: Final = re.compile(r"[-+]?\d[\d.,:/_-]*\d%?")
_IDENTIFIER: Final = re.compile(r"\w*[^\W_]_\w+|_\w+|\w*[a-z][A-Z]\w*|[A-Z][A-Z-]+")
_SEPARATOR: Final = re.compile(r"(?<=\d)[,_](?=\d{3})|^\+|%$")


def facts(text: str) -> Iterator[str]:
    """Names, paths and numbers of a text, as they come; some more than once."""
    for quoted in _QUOTED.finditer(text):
        yield (quoted[1] or quoted[2]).strip()
    name: list[str] = []
    begins = starts = True  # whether a word, or the name at work, begins a sentence
    end = 0
    for token in _TOKEN.finditer(text):
        begins = begins or "\n" in text[end : token.start()]
        apart = text[end : token.start()] != " "
        word = token[0].rstrip(_END)
        plain = len(word) <= _LONGEST
        capital = plain and _is_capital(word)
        if name and (apart or not capital):
            yield from _named(name, starts)
            name = []
        if capital:
            starts = begins if not name else starts
            name.append(word)
        elif plain and _is_fact(word):
            yield word
        begins = token[0][-1] in ".!?"
        if begins and name:
            yield from _named(name, starts)
            name = []
        end = token.end()
    yield from _named(name, starts)


def _named(words: Sequence[str], starts: bool) -> Iterator[str]:
    """The name, unless it is one word with a capital because a sentence begins with it."""
    if len(words) > 1 or (words and not starts):
        yield " ".join(words)


def _is_capital(word: str) -> bool:
    return len(word) > 1 and word[0].isupper() and word[1:].islower()


def _is_fact(word: str) -> bool:
    if "/" in word:
        return any(map(str.isalnum, word))
    if len(word) > 1 and any(map(str.isdigit, word)):
        return True  # a number, a date, a version, a code
    return any(form.fullmatch(word) for form in (_FILE, _IDENTIFIER))


# --- what a summary does not hold ----------------------------------------------------------------


def missing(summary: str, texts: Sequence[str]) -> Iterator[str]:
    """What the texts name and the summary does not, each once: open tasks, then everything else.

    Args:
        summary: The text that stands for them.
        texts: What it stands for, oldest first. Their facts come newest first.
    """
    folded = summary.casefold()
    words = frozenset(_WORDS.findall(folded))
    tokens = {_plain(token.rstrip(_END)) for token in _TOKEN.findall(folded)}
    told = {"todo", "fixme"}
    for task in open_tasks(texts):
        if not _holds_task(words, task):
            told.add(task.casefold())
            yield task
    for text in reversed(texts):
        for fact in facts(text):
            key = fact.casefold()
            if key in told:
                continue
            told.add(key)
            # Of several words, or with signs in it: as a text. One word: whole, not as a part.
            whole = _TOKEN.fullmatch(key) is not None
            if _plain(key) not in tokens if whole else key not in folded:
                yield fact


def _plain(word: str) -> str:
    """A number without what only makes it easier to read; any other word as it is."""
    return _SEPARATOR.sub("", word) if _NUMBER.fullmatch(word) else word
