"""What a summary must not lose: the names, paths, numbers and open tasks of what it stands for.

In: the texts that a summary stands for, and the summary. Out: those of their facts that it does not
hold. What counts as one is decided by its form alone, so that the check needs no model and comes
out the same each time. It takes too much rather than too little: a word too many costs a token, one
too few may cost the task. A name in a script without capitals cannot be told from other words.

Texts come from tools and may be of any length, so everything is looked at once, word by word; no
pattern sees more than one word or one short line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

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
