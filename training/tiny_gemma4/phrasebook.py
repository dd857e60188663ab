"""How people ask: the phrasings of `phrasings.txt`, which says how they are written.

Each kind of question has phrasings to train on and others that are held out: no training question
is ever one of those, whatever its capitals and marks, because `Draw.ask` refuses it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("phrasings.txt")
_PART = re.compile(r"<([^<>]*)>")
_QUESTION = """
where which what who whose when why how is are was do does did can could may in on at from of have
has any with by what's where's who's anybody wo wer wie welche gibt où qui quel quels quelle
quelles que combien y qu'y dans ¿dónde ¿qué ¿cuántos ¿cuántas ¿quién ¿en dov'è chi cosa dove waar
wat onde
"""


@cache
def phrasings() -> dict[str, list[str]]:
    """The phrasings of each kind, `KIND held` for those held out; parts are not chosen yet."""
    found: dict[str, list[str]] = {}
    parts: dict[str, str] = {}
    kind = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("$"):
            name, _, text = line.partition(" = ")
            parts[name] = text
        elif line.startswith("["):
            kind = line.strip("[]")
            found[kind] = []
        elif line and not line.startswith("#"):
            found[kind].append(re.sub(r"\$\w+", lambda match: parts[match[0]], line))
    return found


def chosen(template: str, rng: random.Random) -> str:
    """A phrasing with each of its parts chosen."""
    while "<" in template:
        template = _PART.sub(lambda match: rng.choice(match[1].split("|")), template)
    return " ".join(template.split())


def every(template: str) -> Iterator[str]:
    """Each phrasing that a template can become."""
    match = _PART.search(template)
    if match is None:
        yield " ".join(template.split())
        return
    for part in match[1].split("|"):
        yield from every(template[: match.start()] + part + template[match.end() :])


def plain(phrasing: str) -> str:
    """A phrasing without capitals and punctuation, to compare by."""
    return " ".join(re.findall(r"[\w{}]+", phrasing.lower()))


@cache
def held_out() -> frozenset[str]:
    """All held-out phrasings, plain."""
    return frozenset(
        plain(text)
        for kind, templates in phrasings().items()
        if kind.endswith(" held")
        for template in templates
        for text in every(template)
    )


def is_question(phrasing: str) -> bool:
    """Whether it ends in a question mark where it ends in a mark."""
    return phrasing.split(maxsplit=1)[0].lower().strip(",:") in _QUESTION.split()
