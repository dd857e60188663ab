r"""A file's bytes as text and back, so that no byte is lost that nobody changed.

An encoding counts as stated by a byte-order mark, by valid UTF-8, by the escapes of ISO-2022, and
by UTF-16 and UTF-32 whose zero bytes stand where those of ASCII would. Any other encoding is
guessed (by chardet, where it is sure enough; else Windows-1252, where that reads like a Western
text), is reported as a guess, and must encode to the same bytes. Bytes that no encoding explains
are kept, each as one escaped character (PEP 383): text around them can be changed, they cannot.

Every tool reads files through this module, so that all agree on their text and their lines.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal


class NotTextError(ValueError):
    """The bytes are no text; the message says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text and how it stood in its file.

    Attributes:
        text: Without the byte-order mark; line ends are as they are.
        encoding: Python's name of the codec.
        mark: The byte-order mark.
        sure: How the encoding is known: it is `stated` by the bytes themselves, `guessed`, or
            `unknown`: then only ASCII is read, and every other byte is an escaped character.
    """

    text: str
    encoding: str = "utf-8"
    mark: bytes = b""
    sure: Literal["stated", "guessed", "unknown"] = "stated"

    @property
    def name(self) -> str:
        """What the encoding is called, for a person or a model."""
        if self.sure == "unknown":
            return "an unknown encoding"
        return _NAMES.get(self.encoding, self.encoding)

    @property
    def note(self) -> str:
        """What a reader should know about the encoding; empty for valid UTF-8."""
        if self.sure == "guessed":
            return f"encoding: {self.name}, by guess; edits keep it"
        if self.sure == "unknown":
            return r"encoding unknown, not UTF-8: other bytes than ASCII are shown as \xNN"
        if self.encoding != "utf-8":
            return f"encoding: {self.name}; edits keep it"
        if _ESCAPED.search(self.text):
            return r"bytes that are no UTF-8 are shown as \xNN"
        return ""

    def encode(self, text: str) -> bytes:
        """Another text as the same file would hold it.

        Raises:
            UnicodeEncodeError: The encoding has no such character.
        """
        return self.mark + text.encode(self.encoding, _errors(self.encoding))


def decoded(content: bytes) -> Decoded:
    """Decodes the content of a file.

    Raises:
        NotTextError: It is no text.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            made = _exactly(content, encoding, mark)
            if made is not None and "\0" not in made.text:
                return made
            if encoding.startswith("utf-16"):
                raise NotTextError(f"it begins as {_NAMES[encoding]} and is none")
    if b"\0" in content:
        return _wide(content)
    if b"\x1b" in content and content.isascii():
        return _escaping(content)
    made = _exactly(content, "utf-8", b"")
    return made if made is not None else _legacy(content)


_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as the mark of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)

_NAMES: Final = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16 (little-endian)",
    "utf-16-be": "UTF-16 (big-endian)",
    "utf-32-le": "UTF-32 (little-endian)",
    "utf-32-be": "UTF-32 (big-endian)",
    "cp1252": "Windows-1252 (Latin-1)",
    "gb18030": "GB 18030 (GBK)",
    "cp932": "Shift-JIS (cp932)",
    "cp949": "EUC-KR (cp949)",
}


def _errors(encoding: str) -> str:
    if encoding.startswith("utf-16"):
        return "surrogatepass"  # halves of pairs do occur there, in names that Windows took
    return "surrogateescape" if encoding in ("utf-8", "ascii") else "strict"


def _exactly(content: bytes, encoding: str, mark: bytes) -> Decoded | None:
    """The text, if the bytes are valid and the same ones come back."""
    body = content[len(mark) :]
    errors = "strict" if encoding == "utf-8" else _errors(encoding)
    try:
        text = body.decode(encoding, errors)
        same = text.encode(encoding, errors) == body
    except UnicodeError:
        return None
    return Decoded(text, encoding, mark) if same else None


# --- without a mark ----------------------------------------------------------------------------


def _wide(content: bytes) -> Decoded:
    """UTF-16 or UTF-32 without a mark; enough of it must be ASCII for that to be certain."""
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        made = _exactly(content, encoding, b"")
        if made is None or "\0" in made.text or _NO_TEXT.search(made.text):
            continue
        beginning = made.text[:_LOOKED_AT]
        if sum(c.isascii() for c in beginning) >= _LEAST_ASCII * len(beginning):
            return made
    raise NotTextError("it holds zero bytes")


_LOOKED_AT = 4_096  # characters
_LEAST_ASCII = 0.3
_CONTROLS = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
"""Characters that no text holds. Backspace, tabs, ends of lines and pages and ESC are allowed."""
_NO_TEXT = re.compile(_CONTROLS.pattern + "|[\ud800-\udfff]")


def _escaping(content: bytes) -> Decoded:
    """Decodes ASCII with ESC: a terminal's escapes, or those of a Japanese or Korean encoding."""
    for begin, encoding in (
        (rb"\x1b\$[@B]|\x1b\(J", "iso2022_jp_2"),
        (rb"\x1b\$\)C", "iso2022_kr"),
    ):
        if re.search(begin, content):
            return _exactly(content, encoding, b"") or _unknown(content)
    return Decoded(content.decode())


def _legacy(content: bytes) -> Decoded:
    if re.search(_CONTROLS.pattern.encode(), content):
        raise NotTextError("it holds control characters and is no UTF-8")
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    damaged = content[len(mark) :].decode("utf-8", "surrogateescape")
    wrong = len(_ESCAPED.findall(damaged))
    right = len(re.findall(r"[^\x00-\x7f]", damaged)) - wrong
    if mark or right >= _TWICE * wrong:  # a text of any other encoding is nearly all wrong
        return Decoded(damaged, "utf-8", mark)
    made = _guessed(content)
    return made if made is not None else _unknown(content)


_TWICE = 2
_ESCAPED = re.compile("[\udc80-\udcff]")


def _unknown(content: bytes) -> Decoded:
    return Decoded(content.decode("ascii", "surrogateescape"), "ascii", sure="unknown")


def _guessed(content: bytes) -> Decoded | None:
    lines = [line for line in content.splitlines(keepends=True) if not line.isascii()]
    encoding, confidence = _by_chardet(b"".join(lines)[:_EXAMINED])
    made = _exactly(content, encoding, b"") if encoding is not None else None
    if made is not None and re.search(r"[\x80-\x84\x86-\x9f]", made.text):
        made = None
    if made is not None and _mixes_scripts(made.text):
        made = None
    if made is None or confidence < (_SURE_ENOUGH if _is_latin(made.text) else _OTHER_SCRIPTS):
        western = _exactly(content, "cp1252", b"")
        if western is None or not _reads_western(western.text) or _holds_utf8(content):
            return None
        if made is not None and made.text != western.text and confidence >= _NO_IDEA:
            return None  # either may be meant
        made = western
    return Decoded(made.text, made.encoding, sure="guessed")


_EXAMINED = 100_000  # bytes


def _by_chardet(sample: bytes) -> tuple[str | None, float]:
    """What chardet (extra `tools`) takes the encoding for, and how sure it is."""
    try:
        import chardet  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        return None, 0
    found = chardet.detect(sample, compat_names=False, include_encodings=_CONSIDERED)
    encoding = found["encoding"]
    return _SUPERSETS.get(encoding or "", encoding), found["confidence"] or 0


_SUPERSETS: Final = {
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift_jis_2004": "cp932",
    "euc_kr": "cp949",
}
"""Encoding → the one that also reads all its printable characters, and is what files that name the
first are really written in (WHATWG Encoding, "Names and labels")."""

_SURE_ENOUGH = 0.08
_OTHER_SCRIPTS = 0.05
_NO_IDEA = 0.03
"""The least confidence of chardet for a Latin text, and for another script, which is harder to
mistake; below the third, chardet knows nothing."""

_CONSIDERED: Final = (
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-9", "iso8859-15", "tis-620"),
    *("koi8-r", "koi8-u", "cp866", "gb18030", "big5", "big5hkscs", "euc-jp", "shift_jis", "cp932"),
    *("euc-kr", "cp949"),
)
"""The encodings that files of today are found in."""


_WESTERN: Final = frozenset(
    "àâäáãåæçéèêëíìîïñóòôöõøœúùûüýÿßÀÂÄÁÃÅÆÇÉÈÊËÍÌÎÏÑÓÒÔÖÕØŒÚÙÛÜÝŸšžŠŽ"
    "\u2018\u2019\u201c\u201d\u2013\u2014…€£°«»·§©®¿¡\u00a0²³µ¼½\u00d7\x85"
)


def _holds_utf8(content: bytes) -> bool:
    """Whether any bytes beyond ASCII form UTF-8; in Windows-1252 they would be two odd letters."""
    text = content.decode("utf-8", "surrogateescape")
    return re.search(r"[^\x00-\x7f\udc80-\udcff]", text) is not None


def _reads_western(text: str) -> bool:
    """Whether no two letters beyond ASCII stand side by side, as they do in any other script."""
    known = all(character.isascii() or character in _WESTERN for character in text)
    return known and re.search(r"[^\W\x00-\x7f][^\W\x00-\x7fß]", text) is None


def _mixes_scripts(text: str) -> bool:
    """Whether a word mixes Latin letters with another alphabet: a sign of the wrong encoding.

    Ideographs are left out, since they do stand beside Latin letters.
    """
    return any(
        _scripts(word) > {"LATIN"} and not _scripts(word).isdisjoint(_ALPHABETS)
        for word in re.findall(r"[^\W\d_]+", text)
        if not word.isascii()
    )


_ALPHABETS: Final = frozenset({"CYRILLIC", "GREEK", "HEBREW", "ARABIC", "THAI"})


def _is_latin(text: str) -> bool:
    return _scripts(re.sub(r"[\W\d_]", "", text)) <= {"LATIN"}


def _scripts(letters: str) -> set[str]:
    return {unicodedata.name(letter, "?").partition(" ")[0] for letter in set(letters)}


# --- lines -------------------------------------------------------------------------------------


def lines_of(text: str) -> list[str]:
    r"""The lines with their ends: `\n`, `\r\n`, or a `\r` alone, as an editor shows them."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def line_end_at(text: str, position: int) -> str:
    r"""The line end of the line at a position; a last line has that of the one before, or `\n`."""
    found = LINE_END.search(text, position)
    if found is None:
        before = max(text.rfind("\n", 0, position), text.rfind("\r", 0, position))
        if before < 0:
            return "\n"
        return "\r\n" if text[before - 1 : before + 1] == "\r\n" else text[before]
    if found[0] == "\n" and text[found.start() - 1 : found.start()] == "\r":
        return "\r\n"
    return found[0]


LINE_END: Final = re.compile(r"\r\n|\r|\n")
"""What ends a line, as an editor shows it."""


def visible(text: str) -> str:
    r"""The text with `\xNN` for each byte that was not decoded, so that UTF-8 can encode it."""
    return _SURROGATES.sub(_escape, text) if not text.isascii() else text


_SURROGATES = re.compile("[\ud800-\udfff]")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    byte = code - 0xDC00 if _ESCAPED.match(found[0]) else code
    return f"\\x{byte:02X}" if byte < 0x80 or byte != code else f"\\u{code:04X}"


def spelled(name: str) -> str:
    r"""A name of a file as it is shown, and as `Root.relative` takes it: `\xNN` for a byte that is
    no UTF-8, and numbers for what would end its line or drive a terminal.
    """
    return _SPELLED.sub(_escape, name)


_SPELLED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def at_most(text: str, length: int) -> str:
    """The text, or its beginning and its length if it is longer than `length` characters."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"


def numbered(lines: Iterable[str], first: int, columns: int) -> list[str]:
    """Lines as a model reads them: each with its number, cut to `columns` characters."""
    return [
        f"{number:4}| {at_most(visible(line.rstrip()), columns)}"
        for number, line in enumerate(lines, first)
    ]


def named(character: str) -> str:
    """A character by its code point and its Unicode name."""
    code = ord(character)
    if _ESCAPED.match(character):
        return f"the byte 0x{code - 0xDC00:02X}"
    return f"U+{code:04X} {unicodedata.name(character, _CONTROL_NAMES.get(code, '?'))}"


_CONTROL_NAMES: Final = {
    9: "TAB",
    10: "LINE FEED",
    11: "LINE TABULATION",
    12: "FORM FEED",
    13: "CARRIAGE RETURN",
    27: "ESCAPE",
    0x85: "NEXT LINE",
}
