"""Bytes as text and back."""

from __future__ import annotations

import pytest
from agentkit_tools.texts import (
    Decoded,
    NotTextError,
    decoded,
    line_end_at,
    lines_of,
    named,
    visible,
)
from hypothesis import given, settings
from hypothesis import strategies as st

RU = "# Цена товара\nцена = 3\n"  # noqa: RUF001 - Cyrillic


@pytest.mark.parametrize(
    ("content", "text", "encoding", "sure"),
    [
        (b"", "", "utf-8", "stated"),
        (b"a\x0c\x08\x1b[0m\r\n", "a\x0c\x08\x1b[0m\r\n", "utf-8", "stated"),
        ("é\x07".encode(), "é\x07", "utf-8", "stated"),
        (b"\xef\xbb\xbfa", "a", "utf-8", "stated"),
        (b"\xff\xfea\0", "a", "utf-16-le", "stated"),
        (b"\xfe\xff\0a", "a", "utf-16-be", "stated"),
        (b"\xff\xfe\0\0a\0\0\0", "a", "utf-32-le", "stated"),
        (b"\0\0\xfe\xff\0\0\0a", "a", "utf-32-be", "stated"),
        (b"\x84\x31\x95\x33a", "a", "gb18030", "stated"),
        (b"\xff\xfe\x00\xd8", "\ud800", "utf-16-le", "stated"),
        ("price\n".encode("utf-16-le"), "price\n", "utf-16-le", "stated"),
        ("price\n".encode("utf-16-be"), "price\n", "utf-16-be", "stated"),
        ("price\n".encode("utf-32-be"), "price\n", "utf-32-be", "stated"),
        ("日本\n".encode("iso2022_jp"), "日本\n", "iso2022_jp_2", "stated"),
        ("가격\n".encode("iso2022_kr"), "가격\n", "iso2022_kr", "stated"),
        (b"h\xc3\xa9\xc3\xa9 \xff", "héé \udcff", "utf-8", "stated"),
        (b"\xef\xbb\xbf\xff", "\udcff", "utf-8", "stated"),
        (RU.encode("koi8-r"), RU, "koi8-r", "guessed"),
        (b"caf\xe9\n", "café\n", "cp1252", "guessed"),
        (b"Gr\xfc\xdfe\n", "Grüße\n", "cp1252", "guessed"),
        (b"\x93a\x94 \x80 3\n", "\u201ca\u201d € 3\n", "cp1252", "guessed"),
        (b"n = \xfc\xfd\xfe\n", "n = \udcfc\udcfd\udcfe\n", "ascii", "unknown"),
        (b"h\xc3\xa9 \xff", "h\udcc3\udca9 \udcff", "ascii", "unknown"),
    ],
)
def test_a_file_is_read_and_gives_its_bytes_back(
    content: bytes, text: str, encoding: str, sure: str
) -> None:
    found = decoded(content)
    assert (found.text, found.encoding, found.sure) == (text, encoding, sure)
    assert found.encode(found.text) == content


@pytest.mark.parametrize(
    ("written", "text", "name"),
    [
        (
            "shift_jis",
            "これは日本語の文章です。漢字とかなが混ざっています。\n",
            "Shift-JIS (cp932)",
        ),
        ("euc-jp", "これは日本語の文章です。漢字とかなが混ざっています。\n", ""),
        ("gb2312", "这是一个中文句子用来测试编码。\n", "GB 18030 (GBK)"),
        ("big5", "這是一個中文句子用來測試編碼。\n", ""),
        ("euc-kr", "이것은 한국어 문장입니다. 테스트입니다.\n", "EUC-KR (cp949)"),
        ("iso8859-9", "Bu bir Türkçe cümledir; ığüşöç harfleri vardır. Şimdi gidiyoruz.\n", ""),  # noqa: RUF001 - Turkish
        ("cp1251", "Это русский текст для проверки кодировки файла.\n", ""),
        ("iso8859-7", "Αυτό είναι ένα ελληνικό κείμενο για δοκιμή.\n", ""),  # noqa: RUF001 - Greek
        ("cp1255", "זה טקסט בעברית לבדיקת הקידוד של הקובץ.\n", ""),
        ("cp1256", "هذا نص عربي لاختبار ترميز الملف.\n", ""),
        ("tis-620", "นี่คือข้อความภาษาไทยสำหรับทดสอบ\n", ""),
    ],
)
def test_texts_of_many_languages_are_read_in_the_encoding_they_were_written_in(
    written: str, text: str, name: str
) -> None:
    found = decoded(text.encode(written))
    assert (found.text, found.sure) == (text, "guessed")
    assert found.encode(text) == text.encode(written)
    assert found.name.startswith(name)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\0\1", "it holds zero bytes"),
        (b"a\0b", "it holds zero bytes"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "it holds zero bytes"),
        (b"\xff\xfea", r"it begins as UTF-16 \(little-endian\) and is none"),
        ("名前と価格\n".encode("utf-16-le"), "it holds zero bytes"),
        (b"\xff\xd8\xff\xe0\x01\x02", "it holds control characters and is no UTF-8"),
        (b"\xff\xfe\0\0\0\0", r"it begins as UTF-16 \(little-endian\) and is none"),
    ],
)
def test_what_is_no_text_is_named(content: bytes, why: str) -> None:
    with pytest.raises(NotTextError, match=why):
        decoded(content)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_come_back_or_are_no_text(content: bytes) -> None:
    try:
        found = decoded(content)
    except NotTextError:
        return
    assert found.encode(found.text) == content
    visible(found.text).encode()


@pytest.mark.parametrize(
    ("found", "note", "name"),
    [
        (Decoded("a"), "", "UTF-8"),
        (Decoded("\udcff"), r"bytes that are no UTF-8 are shown as \xNN", "UTF-8"),
        (
            Decoded("é", "cp1252", sure="guessed"),
            "encoding: Windows-1252 (Latin-1), by guess; edits keep it",
            "Windows-1252 (Latin-1)",
        ),
        (
            Decoded("é", "koi8-r", sure="guessed"),
            "encoding: koi8-r, by guess; edits keep it",
            "koi8-r",
        ),
        (
            Decoded("é", "utf-16-be"),
            "encoding: UTF-16 (big-endian); edits keep it",
            "UTF-16 (big-endian)",
        ),
        (
            Decoded("\udcff", "ascii", sure="unknown"),
            r"encoding unknown, not UTF-8: other bytes than ASCII are shown as \xNN",
            "an unknown encoding",
        ),
    ],
)
def test_a_reader_is_told_of_the_encoding(found: Decoded, note: str, name: str) -> None:
    assert (found.note, found.name) == (note, name)


def test_lines_end_as_editors_end_them() -> None:
    text = "a\nb\r\nc\rd\n\r\ne\u2028f\x85g\x0ch"
    assert lines_of(text) == ["a\n", "b\r\n", "c\r", "d\n", "\r\n", "e\u2028f\x85g\x0ch"]
    assert lines_of("") == []
    assert lines_of("\n") == ["\n"]
    ends = [line_end_at("a\nb\r\nc\rd", at) for at in range(9)]
    assert ends == ["\n", "\n", "\r\n", "\r\n", "\r\n", "\r", "\r", "\r", "\r"]
    assert line_end_at("ab", 1) == "\n"
    assert line_end_at("a\r\nb", 3) == "\r\n"
    assert line_end_at("a\nb", 2) == "\n"
    assert line_end_at("\rb", 1) == "\r"


def test_what_cannot_be_sent_is_shown_by_its_number() -> None:
    assert visible("a\udce9\ud800b") == "a\\xE9\\uD800b"
    assert visible("caf\u00e9") == "caf\u00e9"
    assert named("\udce9") == "the byte 0xE9"
    assert named("\t") == "U+0009 TAB"
    assert named("\u00a0") == "U+00A0 NO-BREAK SPACE"
    assert named("\x00") == "U+0000 ?"
    controls = [named(character) for character in "\n\v\f\r\x1b\x85"]
    assert controls == [
        "U+000A LINE FEED",
        "U+000B LINE TABULATION",
        "U+000C FORM FEED",
        "U+000D CARRIAGE RETURN",
        "U+001B ESCAPE",
        "U+0085 NEXT LINE",
    ]
