"""Random names, paths, texts and source lines: what the dialogues are filled with.

Great variety here is what teaches a small model to copy instead of remembering. `Draw` makes
things up; `HeldOutDraw` takes them from `heldout.json`, which `Draw` never yields.
"""

from __future__ import annotations

import json
import random
import re
import sysconfig
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from training.tiny_gemma4.phrasebook import chosen, held_out, is_question, phrasings, plain

HERE = Path(__file__).parent
T = TypeVar("T")


def words(text: str) -> list[str]:
    """Words written with blanks between them, which reads better than quotes around each."""
    return text.split()


CITIES = words(
    "Paris London Rome Berlin Madrid Oslo Tokyo Lima Cairo Delhi Boston Chicago Toronto Sydney "
    "Seoul Vienna Prague Dublin Lisbon Athens Nairobi Lagos Bogota Quito Kyoto Munich Geneva "
    "Zurich Milan Austin Denver Seattle Dallas Bergen Porto Turin Lyon Nice Ghent Utrecht"
)
PEOPLE = words(
    "Anna Ben Carla David Emma Felix Grace Hugo Ines Jonas Karin Leo Maria Nils Olga Paul Quinn "
    "Rosa Sam Tara Uma Victor Wendy Yusuf Zoe Amir Bella Chen Dora Erik Fatima Goran"
)
DAYS = words("monday tuesday wednesday thursday friday saturday sunday")
EXTENSIONS = words(
    "py py py py py js ts tsx go rs md md c h cpp java rb json toml yaml yml txt sh css html sql "
    "cfg"
)
TOP_FILES = words(
    "README.md LICENSE Makefile pyproject.toml setup.py package.json go.mod Cargo.toml Dockerfile "
    "CHANGELOG.md .gitignore conftest.py main.py index.js build.rs tsconfig.json requirements.txt"
)
FOLDERS = words(
    "src lib app core docs tests test pkg cmd internal api server client utils tools scripts web "
    "models config data bin include crates benchmarks static templates migrations"
)


@cache
def heldout() -> dict[str, list[str]]:
    """The held-out names."""
    data: dict[str, list[str]] = json.loads((HERE / "heldout.json").read_text(encoding="utf-8"))
    return data


@cache
def _words(*, held: bool) -> list[str]:
    """The words names are made of; one in eight only ever stands in held-out names."""
    banned = {word.lower() for name in _banned_names() for word in re.findall(r"[A-Za-z]+", name)}
    kept = ("the", "name", "file", "is", "ok")
    listed = (HERE / "words.txt").read_text(encoding="utf-8").split()
    free = [word for word in listed if word not in banned or word in kept]
    return [word for word in free if (zlib.crc32(word.encode()) % 8 == 0) == held]


def _banned_names() -> list[str]:
    held = heldout()
    return [*held["identifiers"], *held["paths"], *held["people"], *held["cities"]]


@cache
def _banned() -> tuple[str, ...]:
    held = heldout()
    folders = [folder for folder in held["folders"] if "/" in folder] + ["folder examples"]
    return (*_banned_names(), *folders, *held["texts"])


@cache
def _banned_words() -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, _banned()))})(?!\w)")


def mentions_heldout(text: str) -> bool:
    """Whether a text holds a held-out name, path or text as a word of its own."""
    return _banned_words().search(text) is not None


@cache
def _library_lines() -> list[str]:
    """Lines of the standard library's own source: real code to stand around the answer."""
    root = Path(sysconfig.get_path("stdlib"))
    lines: list[str] = []
    for path in sorted(root.glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="ignore")
        clean = not any(name in source for name in _banned())  # most files are; it is seen at once
        for line in source.splitlines():
            text = line.rstrip()
            if 3 < len(text) <= 110 and text.isascii() and (clean or not mentions_heldout(text)):
                lines.append(text)
    return lines


class Draw:
    """A seeded source of made-up things."""

    held_out = False

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    # --- choosing ------------------------------------------------------------------------------

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return self.rng.choice(options)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def between(self, low: int, high: int) -> int:
        """An integer of the closed range."""
        return self.rng.randint(low, high)

    def weighted(self, options: dict[T, float]) -> T:
        """One of the keys, by weight."""
        return self.rng.choices(list(options), list(options.values()))[0]

    def ask(self, kind: str, /, **slots: str) -> str:
        """One way to ask something of a kind; never a held-out one."""
        while True:
            made = chosen(self._template(kind), self.rng)
            if self.held_out or plain(made) not in held_out():
                break
        if self.chance(0.6) and made[0].isalpha():
            made = made[0].upper() + made[1:]
        if self.chance(0.6):
            made += (
                "?" if is_question(made) else self.pick([".", "", "!" if len(made) < 12 else "."])
            )
        if self.chance(0.06):
            made = (
                self.pick(["Please: ", "Hi, ", "hey, ", "Quick question: ", "ok, ", "So, "]) + made
            )
        if self.chance(0.04):
            made += self.pick([" Thanks.", " please", " Thank you!", " thx"])
        quoted = self.quoted(slots["text"]) if '"{text}"' in made else ""
        made = made.replace('"{text}"', quoted)
        return re.sub(r"\{(\w+)\}", lambda match: slots[match[1]], made)

    def _template(self, kind: str) -> str:
        return self.pick(phrasings()[kind])

    def quoted(self, text: str) -> str:
        """A text in quotes of some kind, which do not stand in it."""
        mark = self.weighted({'"': 6, "'": 1, "`": 1})
        if mark in text:
            mark = next((other for other in "\"'`" if other not in text), '"')
        return f"{mark}{text}{mark}"

    def named(self, name: str) -> str:
        """A name as people write it in a question."""
        return self.weighted({name: 10, f"`{name}`": 1.2, f"'{name}'": 0.4, f'"{name}"': 0.4})

    def distinct(self, make: Callable[[], T], count: int) -> list[T]:
        """Different results of `make`."""
        found: dict[T, None] = {}
        while len(found) < count:
            found[make()] = None
        return list(found)

    # --- words ---------------------------------------------------------------------------------

    def letters(self, low: int, high: int, alphabet: str = "abcdefghijklmnopqrstuvwxyz") -> str:
        """Random letters."""
        return "".join(self.rng.choices(alphabet, k=self.between(low, high)))

    def syllables(self) -> str:
        """A pronounceable word that does not exist."""
        onset = "b c d f g h j k l m n p qu r s t v w x z br ch cl dr fl gr kl pl pr sh sk st tr th"
        onsets, vowels, codas = onset.split(), "aeiouy", ["", "", "n", "r", "s", "t", "l", "x", "m"]
        return "".join(
            self.pick(onsets) + self.pick(vowels) + self.pick(codas)
            for _ in range(self.between(1, 3))
        )

    def piece(self) -> str:
        """One word of a name, in lower case."""
        kind = self.rng.random()
        if kind < 0.70:
            return self.pick(_words(held=self.held_out))
        if kind < 0.86:
            return self.syllables()
        if kind < 0.95:
            return self.letters(1, 4)
        return self.letters(2, 8)

    def pieces(self, low: int = 1, high: int = 4) -> list[str]:
        """The words of a name; now and then one repeats."""
        words = [self.piece() for _ in range(self.between(low, high))]
        if len(words) > 1 and self.chance(0.15):
            words[-1] = words[0] + self.pick(["", "", "s", "b", "2"])
        return words

    def word(self) -> str:
        """A plain word."""
        return self.pick([self.piece, self.syllables])()

    # --- names ---------------------------------------------------------------------------------

    def identifier(self) -> str:
        """The name of a function, class or constant in some language's style."""
        words = self.pieces()
        style = self.weighted(
            {"snake": 6, "Camel": 6, "lower": 3, "UPPER": 1.5, "flat": 2, "dunder": 0.7, "noise": 1}
        )
        number = str(self.between(1, 999)) if self.chance(0.12) else ""
        if style == "Camel":
            acronym = self.letters(2, 4).upper() if self.chance(0.15) else ""
            return acronym + "".join(w.capitalize() for w in words) + number
        if style == "lower":
            return words[0] + "".join(w.capitalize() for w in words[1:]) + number
        if style == "UPPER":
            return "_".join(words).upper() + (f"_{number}" if number else "")
        if style == "flat":
            return words[0] + number
        if style == "dunder":
            return f"__{'_'.join(words[:2])}__"
        if style == "noise":
            alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"
            return self.letters(1, 1) + self.letters(1, 14, alphabet)
        lead = "_" if self.chance(0.15) else ""
        return lead + "_".join(words) + (self.pick(["", "_v", "_"]) + number if number else "")

    def folder(self) -> str:
        """A folder's path."""
        parts = [self._folder_name() for _ in range(self.weighted({1: 5, 2: 3, 3: 1.5}))]
        if self.chance(0.1):
            a, b = self.pick([self.letters(1, 2), self.piece()]), self.letters(1, 2)
            parts = [self.pick([a, b, a + b]) for _ in range(self.between(2, 4))]
        return "/".join(parts)

    def _folder_name(self) -> str:
        if self.chance(0.45):
            return self.pick(FOLDERS)
        name = self.pick(["_", "-", ""]).join(self.pieces(1, 2))
        return ("." if self.chance(0.03) else "") + name

    def file_name(self) -> str:
        """A file's name without its folder."""
        if self.chance(0.12):
            return self.pick(TOP_FILES)
        words = self.pieces(1, 3)
        stem = self.pick(["_", "_", "-", ""]).join(words)
        if self.chance(0.12):
            stem = "".join(w.capitalize() for w in words)
        if self.chance(0.1):
            stem = self.pick([f"test_{stem}", f"__{words[0]}__", f"{stem}.test", f"{stem}2"])
        return f"{stem}.{self.pick(EXTENSIONS)}"

    def path(self) -> str:
        """A file's path; in one of eight its parts repeat each other."""
        if self.chance(0.12):
            return self._repetitive_path()
        return self.file_name() if self.chance(0.25) else f"{self.folder()}/{self.file_name()}"

    def _repetitive_path(self) -> str:
        """`src/src/src.rs`, `pkg/pkg_pkg/pkg2.go`: what copying by the last token gets wrong."""
        words = [self.piece() for _ in range(self.between(1, 2))]
        one, other = words[0], words[-1]
        pool = [one, other, one + other, f"{one}_{other}", f"{one}{self.between(1, 9)}"]
        parts = [self.pick(pool) for _ in range(self.between(2, 4))]
        return f"{'/'.join(parts)}.{self.pick(EXTENSIONS)}"

    def text(self) -> str:
        """Something to search a project for."""
        kind = self.rng.random()
        if kind < 0.25:
            return self.pick(["TO" + "DO", "FIX" + "ME", "import ", ""]) + self.identifier()
        if kind < 0.45:
            return " ".join(self.piece() for _ in range(self.between(1, 4)))
        if kind < 0.6:
            return "-".join(w.capitalize() for w in self.pieces(2, 3))
        if kind < 0.7:
            return f"{self.identifier()}{self.pick(['(', '()', ' = ', '.', ': '])}{self.word()}"
        if kind < 0.8:
            return f"{self.piece()}{self.pick('-.:/=')}{self.piece()}"
        if kind < 0.9:
            return " ".join(self.pick(_library_lines()).split()[:3]).replace('"', "")[:40] or "x"
        return self.piece()

    def term(self) -> str:
        """Something to search for that people write without quotes."""
        kind = self.rng.random()
        if kind < 0.45:
            return self.identifier()
        if kind < 0.8:
            return self.piece()
        if kind < 0.9:
            return f"{self.piece()}{self.pick('-_.')}{self.piece()}"
        return self.piece().capitalize()

    def line(self) -> str:
        """A line of real code."""
        return self.pick(_library_lines())

    def person(self) -> str:
        """A first name."""
        return self.pick(PEOPLE) if self.chance(0.6) else self.syllables().capitalize()

    def city(self) -> str:
        """A city, or something that could be one."""
        return self.pick(CITIES) if self.chance(0.6) else self.syllables().capitalize()


class HeldOutDraw(Draw):
    """Names and phrasings that training never saw: listed ones, and ones made of held-out words."""

    held_out = True

    def _template(self, kind: str) -> str:
        return self.pick(phrasings()[f"{kind} held"])

    def _listed(self, key: str, make: Callable[[Draw], str]) -> str:
        return self.pick(heldout()[key]) if self.chance(0.4) else make(self)

    def identifier(self) -> str:
        """A held-out identifier."""
        return self._listed("identifiers", Draw.identifier)

    def folder(self) -> str:
        """A held-out folder."""
        return self._listed("folders", Draw.folder)

    def path(self) -> str:
        """A held-out path."""
        return self._listed("paths", Draw.path)

    def text(self) -> str:
        """A held-out text."""
        return self._listed("texts", Draw.text)

    def person(self) -> str:
        """A held-out first name."""
        return self.pick(heldout()["people"])

    def city(self) -> str:
        """A held-out city."""
        return self.pick(heldout()["cities"])


def joined(items: Iterable[str]) -> str:
    """`a, b and c`, the way the dialogues list things."""
    *head, last = items
    return f"{', '.join(head)} and {last}" if head else last
