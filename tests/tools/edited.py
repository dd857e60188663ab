"""Files whose every spelling is known, edits of them in other spellings, and what must come of it.

A file is made of tokens. Each has one plain form and the spellings that look like it: the file has
one of them, the model another. So what an edit has to give is known to the byte without a folding:
the same tokens in the file's spelling, but for the one word, line or end that the edit is about.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from agentkit_tools.edits import Edit, applied
from agentkit_tools.texts import decoded

from agentkit import ToolError

ENCODINGS: Final = {
    "utf-8, composed": ("utf-8", b""),
    "utf-8, decomposed": ("utf-8", b""),
    "utf-8 with a mark": ("utf-8", b"\xef\xbb\xbf"),
    "utf-16-le": ("utf-16-le", b"\xff\xfe"),
    "utf-16-be": ("utf-16-be", b"\xfe\xff"),
    "utf-16-le without a mark": ("utf-16-le", b""),
    "utf-32-le": ("utf-32-le", b"\xff\xfe\x00\x00"),
    "utf-32-be": ("utf-32-be", b"\x00\x00\xfe\xff"),
    "latin-1": ("latin-1", b""),
    "cp1252": ("cp1252", b""),
    "koi8-r": ("koi8-r", b""),
    "cp1251": ("cp1251", b""),
    "gbk": ("gbk", b""),
    "shift-jis": ("cp932", b""),
    "euc-kr": ("euc_kr", b""),
    "iso-2022-jp": ("iso2022_jp", b""),
}
"""Name → codec and byte-order mark."""

_PREAMBLES: Final = {
    "latin-1": "# Les prix ont été vérifiés à la fin de l'été, où déjà tout était prêt.",
    "cp1252": "# Die Größe der Straße hängt von der Höhe der Brücke über dem Fluß ab.",
    "koi8-r": "# Цена товара проверена, и всё было готово ещё летом.",
    "cp1251": "# Цена товара проверена, и всё было готово ещё летом.",
    "gbk": "# 商品的价格已经检查过了,夏天的时候一切都准备好了。",
    "cp932": "# 商品の価格は確認されました。夏にはすべての準備ができていました。",
    "euc_kr": "# 상품의 가격을 확인했으며 여름에는 모든 것이 준비되었습니다.",
    "iso2022_jp": "# 商品の価格は確認されました。夏にはすべての準備ができていました。",
}
_WORDS: Final = ("price", "total", "return", "x", "if", "name", "=", "+", "(a)", "[0]", "1", "25")
_SPELLED: Final = (
    ("caf\u00e9", "cafe\u0301"),
    ("\u00fcber", "u\u0308ber"),
    ("\u1ec7", "e\u0323\u0302", "\u1eb9\u0302", "e\u0302\u0323"),
    ("\ud55c\uae00", "\u1112\u1161\u11ab\u1100\u1173\u11af"),
    ("'", "\u2018", "\u2019", "\u2032"),
    ('"', "\u201c", "\u201d", "\u2033"),
    ("-", "\u2010", "\u2013", "\u2014", "\u2212"),
    ("...", "\u2026"),
    ("abc", "\uff41\uff42\uff43"),
    ("foo", "f\u200boo", "fo\u00ado", "foo\ufeff"),
    ("\u30ac", "\uff76\uff9e", "\u30ab\u3099"),
    ("fine", "\ufb01ne"),
    ("\u2764", "\u2764\ufe0f"),
    ("\u00c5", "\u212b", "A\u030a"),
)
_SPACES: Final = (" ", "\u00a0", "\u2009", "\u202f", "\u3000")
_RUNS: Final = ("  ", "\t", " \u00a0", "   ")
_ENDS: Final = ("\n", "\r\n", "\r", "\u2028", "\x85")
_TRAILS: Final = ("", "", "", " ", "  ", "\t", "\u00a0")


@dataclass(frozen=True)
class Token:
    """A piece of a line: its plain form, the file's spelling and the model's."""

    plain: str
    file: str
    model: str

    @property
    def is_word(self) -> bool:
        return self.plain in _WORDS


@dataclass(frozen=True)
class Line:
    """A line of the file, in both spellings."""

    indent: str
    tokens: tuple[Token, ...]
    trail: str
    model_trail: str
    end: str

    @property
    def plain(self) -> str:
        return "".join(token.plain for token in self.tokens)

    @property
    def file(self) -> str:
        return f"{self.indent}{self.body}{self.trail}{self.end}"

    @property
    def body(self) -> str:
        return "".join(token.file for token in self.tokens)

    @property
    def model(self) -> str:
        return "".join(token.model for token in self.tokens)


@dataclass(frozen=True)
class Case:
    """An edit, and what must come of it.

    Attributes:
        after: The bytes that may come of it; empty where it must be refused.
        why: It must be refused.
    """

    encoding: str
    before: bytes
    text: str
    edit: Edit
    after: tuple[bytes, ...]
    why: str = ""


class _Writer:
    """Draws spellings that an encoding can hold."""

    def __init__(self, source: random.Random, name: str) -> None:
        self.source = source
        self.name = name
        self.codec, self.mark = ENCODINGS[name]

    def can(self, text: str) -> bool:
        try:
            return text.encode(self.codec).decode(self.codec) == text
        except UnicodeError:
            return False

    def token(self) -> Token:
        if self.source.random() < 0.6:
            word = self.source.choice(_WORDS)
            return Token(word, word, word)
        forms = self.source.choice(_SPELLED)
        held = [form for form in forms if self.can(form)]
        if not held:
            return Token("1", "1", "1")
        file = held[-1] if self.name.endswith("decomposed") else self.source.choice(held)
        return Token(forms[0], file, self.source.choice((file, *forms)))

    def space(self, runs: bool) -> Token:
        kinds = _SPACES if not runs or self.source.random() < 0.8 else _RUNS
        held = [kind for kind in kinds if self.can(kind)]
        file = self.source.choice(held or [" "])
        return Token(" ", file, self.source.choice((file, " ", *(_RUNS if runs else ()))))

    def line(self, ends: Sequence[str], runs: bool) -> Line:
        tokens = [self.token()]
        for _ in range(self.source.randrange(5)):
            tokens += [self.space(runs), self.token()]
        trail = self.source.choice([t for t in _TRAILS if self.can(t)]) if runs else ""
        model_trail = self.source.choice(("", "", " ", trail)) if runs else ""
        indent = "    " * self.source.randrange(3)
        return Line(indent, tuple(tokens), trail, model_trail, self.source.choice(ends))


def draw(number: int) -> Case:
    """The case of a number."""
    source = random.Random(number)
    writer = _Writer(source, list(ENCODINGS)[number % len(ENCODINGS)])
    runs = source.random() < 0.5
    kinds = source.choice((("\n",), ("\r\n",), ("\r",), ("\n", "\r\n"), _ENDS))
    ends = [
        end for end in kinds if writer.can(end) and (end != "\x85" or writer.codec[:3] == "utf")
    ]
    lines = [writer.line(ends or ["\n"], runs) for _ in range(source.randrange(2, 14))]
    if (preamble := _PREAMBLES.get(writer.codec)) is not None:
        word = Token(preamble, preamble, preamble)
        lines.insert(source.randrange(len(lines)), Line("", (word,), "", "", lines[0].end))
    elif writer.name == "utf-16-le without a mark":
        lines.insert(0, Line("", (Token("ascii" * 9, "ascii" * 9, "ascii" * 9),), "", "", "\n"))
    if source.random() < 0.2:
        lines[-1] = replace(lines[-1], end="")
    return source.choice((_word_in_line, _lines_changed, _lines_changed))(writer, lines)


def _word_in_line(writer: _Writer, lines: list[Line]) -> Case:
    """Some tokens of a line, one word of them another."""
    at = writer.source.randrange(len(lines))
    line = lines[at]
    begin = 2 * writer.source.randrange((len(line.tokens) + 1) // 2)
    end = writer.source.randrange(begin, len(line.tokens), 2) + 1
    words = [n for n in range(begin, end) if line.tokens[n].is_word]
    piece = line.tokens[begin:end]
    old = "".join(token.model for token in piece)
    if not words:
        return _refusal(writer, lines, old)
    chosen = writer.source.choice(words)
    tokens = [*line.tokens]
    tokens[chosen] = Token("new7", "new7", "new7")
    new = "".join(token.model for token in tokens[begin:end])
    after = [*lines]
    after[at] = replace(line, tokens=tuple(tokens))
    place = (at, len(line.indent) + len("".join(t.file for t in line.tokens[:begin])))
    return _case(writer, lines, Edit(old, new), place, [after], whole=False)


def _lines_changed(writer: _Writer, lines: list[Line]) -> Case:
    """Some whole lines, perhaps without their indentation: a word, a line more or a line less."""
    source = writer.source
    first = source.randrange(len(lines))
    last = min(first + source.randrange(1, 5), len(lines))
    piece = lines[first:last]
    dedent = min(len(line.indent) for line in piece) if source.random() < 0.4 else 0
    closing = "\n" if source.random() < 0.5 and piece[-1].end else ""
    old = _as_model(piece, dedent, closing)
    at = source.randrange(first, last)
    line = lines[at]
    place = (first, dedent)
    how = source.choice(("word", "word", "more", "less"))
    words = [n for n, token in enumerate(line.tokens) if token.is_word]
    after = [*lines]
    if how == "word" and words:
        tokens = [*line.tokens]
        tokens[source.choice(words)] = Token("new7", "new7", "new7")
        after[at] = replace(line, tokens=tuple(tokens))
        new = _as_model(after[first:last], dedent, closing)
        return _case(writer, lines, Edit(old, new), place, [after], whole=dedent > 0)
    if how == "less" and at < last - 1:
        del after[at]
        new = _as_model(after[first : last - 1], dedent, closing)
        return _case(writer, lines, Edit(old, new), place, [after], whole=dedent > 0)
    if at < last - 1:
        made = Line(line.indent, (Token("new7", "new7", "new7"),), "", "", "\n")
        new = _as_model([*lines[first : at + 1], made, *lines[at + 1 : last]], dedent, closing)
        ends = {each.end for each in lines[at : at + 2]}
        if not ends.isdisjoint("\u2028\x85"):  # no program ends the lines that it adds by these
            ends |= {"\n", "\r\n", "\r"}
        results = []
        for end in ends - {""}:
            results.append([*lines[: at + 1], replace(made, end=end), *lines[at + 1 :]])
            # It may as well take the end of the line before it, and give that one its own.
            first_one = replace(line, end=end, trail="")
            taken = replace(made, end=line.end, trail=line.trail)
            results.append([*lines[:at], first_one, taken, *lines[at + 1 :]])
        return _case(writer, lines, Edit(old, new), place, results, whole=dedent > 0)
    return _refusal(writer, lines, old)


def _as_model(lines: Sequence[Line], dedent: int, closing: str) -> str:
    text = "\n".join(f"{line.indent[dedent:]}{line.model}{line.model_trail}" for line in lines)
    return text.rstrip(" \t\u00a0") + closing


def _bytes(writer: _Writer, lines: Sequence[Line]) -> bytes:
    return writer.mark + "".join(line.file for line in lines).encode(writer.codec)


def _case(
    writer: _Writer,
    lines: list[Line],
    edit: Edit,
    place: tuple[int, int],
    after: list[list[Line]],
    *,
    whole: bool,
) -> Case:
    """A case; refused where the plain forms say that another place may be meant as well."""
    text = "".join(line.file for line in lines)
    before = _bytes(writer, lines)
    begin = sum(len(line.file) for line in lines[: place[0]]) + (0 if whole else place[1])
    made = tuple(_bytes(writer, each) for each in after)
    exact = _count(text, edit.old)
    if exact == 1 and text.find(edit.old) == begin:
        return Case(writer.name, before, text, edit, made)
    found = _plain_count(lines, edit.old, whole=False)
    certain = len(made) == 1  # else where the piece begins decides how a new line is indented
    if whole and not found:
        found, certain = _plain_count(lines, edit.old, whole=True), True
    if exact or found != 1 or (whole and not certain):
        return Case(writer.name, before, text, edit, (), "?")  # no rung of its own says which
    return Case(writer.name, before, text, edit, made)


def _plain_count(lines: Sequence[Line], old: str, *, whole: bool) -> int:
    """In how many places the plain form of the file has the plain form of a piece."""
    wanted = plain(old)
    if whole:
        keys = [plain(line.body) for line in lines]
        rows = [key.strip() for key in wanted.rstrip("\n").split("\n")]
        return sum(keys[n : n + len(rows)] == rows for n in range(len(keys)))
    return _count("\n".join(line.indent + plain(line.body) for line in lines) + "\n", wanted)


def _count(text: str, piece: str) -> int:
    return len(re.findall(f"(?={re.escape(piece)})", text))


_PLAIN: Final = sorted(
    [(form, forms[0]) for forms in _SPELLED for form in forms[1:]]
    + [(space, " ") for space in (*_SPACES[1:], "\t")]
    + [(end, "\n") for end in ("\r\n", "\r", "\u2028", "\x85")],
    key=lambda pair: -len(pair[0]),
)


def plain(text: str) -> str:
    """A text in plain forms: by the table of spellings above, not by any folding."""
    for form, to in _PLAIN:
        text = text.replace(form, to)
    text = re.sub(r"(?<=[^\n ]) +(?=[^\n ])", " ", text)
    return re.sub(r" +(?=\n|\Z)", "", text)


def _refusal(writer: _Writer, lines: list[Line], piece: str) -> Case:
    """A piece that is nowhere: a letter of another script, a word that is not there."""
    text = "".join(line.file for line in lines)
    swapped = re.sub(
        "[aex]", lambda m: {"a": "\u0430", "e": "\u0435", "x": "\u0445"}[m[0]], piece, count=1
    )
    old = swapped if swapped != piece else f"{piece} nowhere"
    return Case(writer.name, _bytes(writer, lines), text, Edit(old, "other"), (), "nowhere")


# --- the judge ---------------------------------------------------------------------------------


def judge(case: Case) -> Counter[str]:
    """Carries a case out.

    Raises:
        AssertionError: It was done otherwise than it must be.
    """
    told = decoded(case.before)
    assert told.encode(told.text) == case.before, case
    if told.text != case.text:
        assert told.sure == "unknown", (told, case)
        return Counter({"files whose encoding is named unknown": 1})
    refusal = ""
    after = b""
    try:
        after = told.encode(applied(told.text, [case.edit], "f"))
    except ToolError as error:
        refusal = str(error)
    if refusal:
        assert not case.after, (refusal, case)
        assert shows_a_difference(refusal), (refusal, case)
        return Counter({f"refused, {case.why}": 1})
    assert case.why != "nowhere", case
    if case.after:
        assert after in case.after, (after.decode(told.encoding, "replace"), case)
        return Counter({"found and exact": 1, f"found in {case.encoding}": 1})
    return Counter({"found on an earlier rung": 1})


def shows_a_difference(refusal: str) -> bool:
    """Whether a refusal names a character, lists places, or shows a line that looks otherwise."""
    if "U+" in refusal or "byte 0x" in refusal or " times" in refusal or "indentation" in refusal:
        return True
    shown = re.findall(r'the file has "(.*?)" where the old text has "(.*?)"', refusal, re.DOTALL)
    shown += [
        (line, line) for line in re.findall(r'(?:line of it is like|old text has) "(.*?)"', refusal)
    ]
    return any(plain(mine) != plain(theirs) or mine == theirs for mine, theirs in shown)
