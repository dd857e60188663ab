"""Looks through the texts of a conversation: for the lines that hold the most of some words, and
for the facts that a summary leaves out.

A search takes words only and ignores case, so no pattern can explode. A long line, such as JSON
without line ends, is looked through in pieces, so that what is shown of a match is always short.

A summary must not lose the names, paths, numbers and open tasks of the messages that it replaces.
The form of a word alone decides whether it is such a fact, so the check needs no model and its
outcome is always the same. It rather takes too much than too little: a word too many costs a token,
one too few may cost the task. In a script without capitals, names cannot be told from other words.
Texts come from tools and may be of any length, so each is read once, word by word, and no pattern
sees more than one word or one short line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

_PIECE: Final = 400
"""Characters of a line; a longer one is looked through in pieces of this length."""

_BLOCK: Final = 32_768
"""Characters that are searched at once. If they hold none of the words, their lines are skipped.
Other threads can run between two blocks."""


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
    """The lines that hold the most of the words.

    Attributes:
        words: How many of the words each of them holds; 0 if no line holds any.
        count: How many such lines there are.
        first: The first of them, in order.
    """

    words: int
    count: int
    first: list[Match]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, each once, with their case folded to compare them."""
    return tuple(dict.fromkeys(text.casefold().split()))


def best_lines(
    text: str, words: Sequence[str], most: int, *, least: int = 1, looks: int | None = None
) -> Matches:
    """The lines that hold the most of the words.

    Args:
        text: Where to look.
        words: As `words_of` gives them.
        most: How many matches are kept.
        least: Lines that hold fewer of the words are skipped.
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
    """Start and end of the match with so many lines before and after it, but for long lines."""
    start, end = match.start, match.end
    for _ in range(lines):
        if start > 0 and text[start - 1] == "\n":
            low = max(start - 1 - _PIECE, 0)
            before = text.rfind("\n", low, start - 1)
            if before >= 0 or low == 0:
                start = before + 1
        if end < len(text) and text[end] == "\n":
            high = min(end + 1 + _PIECE, len(text))
            after = text.find("\n", end + 1, high)
            if after >= 0:
                end = after
            elif high == len(text):
                end = high
    return start, end


# --- facts that a summary leaves out -------------------------------------------------------------

_LONGEST: Final = 160
"""Characters of one fact at most; a longer word is a text, not a name."""

# --- open tasks ----------------------------------------------------------------------------------

_TASK: Final = re.compile(
    r"(?:(?:[-*+]|\d+[.)]) ?)?(?:\[ \] ?(\S.*)"
    r"|(?:todo|fixme|to do|still to do|still open|open|remaining|next)(?: \w+)?: ?(\S.*))",
    re.IGNORECASE,
)
_DONE: Final = re.compile(r"(?:(?:[-*+]|\d+[.)]) ?)?\[[xX]\] ?(\S.*)")
_LINE: Final = 400
"""Characters of a line that may name a task."""

_SHORT_WORD: Final = 3
"""Characters; a summary that names a task need not repeat its words of this length."""


def open_tasks(texts: Sequence[str]) -> list[str]:
    """Tasks that the texts name and do not mark as done later on, each once, newest first."""
    found: dict[str, None] = {}
    for text in texts:
        for line in text.splitlines():
            if len(line) > _LINE or ("[" not in line and ":" not in line):
                continue
            line = " ".join(line.split())
            if done := _DONE.fullmatch(line):
                found.pop(done[1][:_LONGEST], None)
            elif task := _TASK.fullmatch(line):
                name = (task[1] or task[2])[:_LONGEST]
                found.pop(name, None)
                found[name] = None
    return list(found)[::-1]


def _holds_task(words: frozenset[str], task: str) -> bool:
    long = (word for word in _WORDS.findall(task.casefold()) if len(word) > _SHORT_WORD)
    return words.issuperset(long)


_WORDS: Final = re.compile(r"\w+")

# --- names, paths, numbers -----------------------------------------------------------------------

_TOKEN: Final = re.compile(
    r"https?://[^\s\"'`<>(){}\[\]|]+|(?:[^\s\"'`<>(){}\[\]|,;=*]|(?<=\d),(?=\d{3}(?!\d)))+"
)
_END: Final = ".,:;!?"
"""Signs that follow a word and are no part of it."""

_QUOTED: Final = re.compile(r"`([^`\n]{2,60})`|\"([^\"\n]{2,60})\"")
_FILE: Final = re.compile(r"[\w.@+-]*\w\.[A-Za-z]\w{0,5}")
_NUMBER: Final = re.compile(r"[-+]?\d[\d.,:/_-]*\d%?")
_IDENTIFIER: Final = re.compile(r"\w*[^\W_]_\w+|_\w+|\w*[a-z][A-Z]\w*|[A-Z][A-Z-]+")
_SEPARATOR: Final = re.compile(r"(?<=\d)[,_](?=\d{3})|^\+|%$")


def facts(text: str) -> Iterator[str]:
    """Quoted words, names, paths and numbers of a text, as they come; some more than once.

    A name is a run of words with a capital, with one space between them. A single one that begins a
    sentence is no name: it has its capital from there.
    """
    for quoted in _QUOTED.finditer(text):
        yield (quoted[1] or quoted[2]).strip()
    name: list[str] = []
    name_begins_sentence = word_begins_sentence = True
    end = 0
    for token in _TOKEN.finditer(text):
        between = text[end : token.start()]
        end = token.end()
        word_begins_sentence = word_begins_sentence or "\n" in between
        word = token[0].rstrip(_END)
        capital = 1 < len(word) <= _LONGEST and word[0].isupper() and word[1:].islower()
        if name and (not capital or between != " "):
            yield from _named(name, name_begins_sentence)
            name = []
        if capital:
            if not name:
                name_begins_sentence = word_begins_sentence
            name.append(word)
        elif _is_fact(word):
            yield word
        word_begins_sentence = token[0][-1] in ".!?"
        if name and word_begins_sentence:
            yield from _named(name, name_begins_sentence)
            name = []
    yield from _named(name, name_begins_sentence)


def _named(words: Sequence[str], begins_sentence: bool) -> Iterator[str]:
    if len(words) > 1 or (words and not begins_sentence):
        yield " ".join(words)


def _is_fact(word: str) -> bool:
    if len(word) > _LONGEST:
        return False
    if "/" in word:
        return any(map(str.isalnum, word))
    if len(word) > 1 and any(map(str.isdigit, word)):
        return True  # a number, a date, a version, a code
    return any(form.fullmatch(word) for form in (_FILE, _IDENTIFIER))


# --- what a summary does not hold ----------------------------------------------------------------


def missing(summary: str, texts: Sequence[str]) -> Iterator[str]:
    """Facts that the texts hold and the summary does not, each once: open tasks, then the others.

    Args:
        summary: The text that replaces them.
        texts: The texts that it replaces, oldest first. Their facts come newest first.
    """
    folded = summary.casefold()
    words = frozenset(_WORDS.findall(folded))
    tokens = {_plain(token.rstrip(_END)) for token in _TOKEN.findall(folded)}
    seen = {"todo", "fixme"}
    for task in open_tasks(texts):
        if not _holds_task(words, task):
            seen.add(task.casefold())
            yield task
    for text in reversed(texts):
        for fact in facts(text):
            key = fact.casefold()
            if key in seen:
                continue
            seen.add(key)
            # One word must stand in the summary as a word, not as a part of another.
            is_word = _TOKEN.fullmatch(key) is not None
            held = _plain(key) in tokens if is_word else key in folded
            if not held:
                yield fact


def _plain(word: str) -> str:
    """A number without separators, plus and percent signs; any other word as it is."""
    return _SEPARATOR.sub("", word) if _NUMBER.fullmatch(word) else word
