"""The table of foldings, and where everything stands."""

from __future__ import annotations

import unicodedata

import pytest
from agentkit_tools.folding import Folding, continues, find, fold, folded
from hypothesis import given, settings
from hypothesis import strategies as st

ALIKE = [
    ("e\u0301", "\u00e9"),
    ("\u212b", "\u00c5"),
    ("\u1112\u1161\u11ab", "\ud55c"),
    ("\ud558\u11ab", "\ud55c"),
    ("\r\n \r \x85 \u2028 \u2029", "\n \n \n \n \n"),
    ("\u00a0\u1680\u2000\u200a\u202f\u205f\u3000", " " * 7),
    ("\u2018\u2019\u201a\u201b\u2032\u02bc\uff07", "'" * 7),
    ("\u201c\u201d\u201e\u201f\u2033\uff02", '"' * 6),
    ("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-" * 10),
    ("\u2026", "..."),
    ("\uff41\uff22\uff13", "aB3"),
    ("\uff76\uff9e", "\u30ac"),
    ("\ufb01\ufb03", "fiffi"),
    ("a\u200bb\u200cc\u200d\u2060\ufeff\u00ad\u200e\u202a\u2066\ufe0f\u034f", "abc"),
    ("\u2764\ufe0f", "\u2764"),
    ("\uff41\u0301", "\u00e1"),
]


@pytest.mark.parametrize(("spelled", "plain"), ALIKE)
def test_what_looks_alike_is_one(spelled: str, plain: str) -> None:
    assert folded(spelled) == folded(plain) == plain


@pytest.mark.parametrize(
    ("first", "last", "plain"),
    [
        *((first, last, "") for first, last in ((0x200B, 0x200F), (0x202A, 0x202E))),
        *((first, last, "") for first, last in ((0x2060, 0x2064), (0x2066, 0x2069))),
        *((first, last, "") for first, last in ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))),
        *((code, code, "") for code in (0xAD, 0x34F, 0x61C, 0x180E, 0xFEFF)),
        *((0x2000, 0x200A, " "), (0x202F, 0x202F, " "), (0x205F, 0x205F, " ")),
        *((0x2018, 0x201B, "'"), (0x2032, 0x2032, "'"), (0x2BC, 0x2BC, "'")),
        *((0x201C, 0x201F, '"'), (0x2033, 0x2033, '"')),
        *((0x2010, 0x2015, "-"), (0x2212, 0x2212, "-"), (0x2028, 0x2029, "\n")),
    ],
)
def test_a_range_of_what_looks_alike_ends_where_it_does(first: int, last: int, plain: str) -> None:
    for code in range(first, last + 1):
        assert folded(f"a{chr(code)}b") == f"a{plain}b"
    for code in (first - 1, last + 1):
        assert folded(f"a{chr(code)}b") != f"a{plain}b"


def test_widths_ligatures_and_ideographs_are_folded_as_unicode_says() -> None:
    for code in (*range(0xFB00, 0xFB07), *range(0xFF01, 0xFF5F), 0xFFEE):
        assert folded(chr(code)) == unicodedata.normalize("NFKC", chr(code))
    for code in (0xF900, 0x2F800, 0x2FA1D):
        assert folded(chr(code)) == unicodedata.normalize("NFC", chr(code)) != chr(code)
    assert folded("a??b", Folding.BLANKS) == "a??b"


@pytest.mark.parametrize(
    ("before", "here", "one"),
    [
        *(("a", here, True) for here in "\u1160\u11ff\u200d\u0301\U0001f3fb\U0001f3ff"),
        *(("a", here, False) for here in "\u115f\u1200\U0001f3fa\U0001f400b"),
        *((before, "a", True) for before in "\udc80\udcff"),
        *((before, "a", False) for before in "\udc7f\udd00\ue000"),
        *((before, "\u4e00", True) for before in "\udc80\udcff\u200d"),
        *((before, "\u4e00", False) for before in "\udc7f\udd00"),
        ("\r", "\n", True),
        ("\n", "\r", False),
    ],
)
def test_what_belongs_to_the_character_before_it_is_not_cut_off(
    before: str, here: str, one: bool
) -> None:
    assert continues(before + here, 1) is one
    assert not continues(before + here, 0)
    assert not continues(before + here, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("a", other) for other in ("A", "\u0430", "\u00e1", "a\u0301")),
        *(("2", "\u00b2"), ("1", "\u0661"), ("-", "_"), ("'", "`"), ("a b", "ab")),
    ],
)
def test_what_is_another_character_stays_another(one: str, other: str) -> None:
    assert folded(one, Folding.BLANKS) != folded(other, Folding.BLANKS)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a  b\tc \t d\x0ce", "a b c d e"),
        ("a  \nb\t\r\nc \u00a0", "a\nb\nc"),
        ("  a\n\tb\n\u00a0\u00a0c\n\x0cd", "  a\n\tb\n  c\nd"),
        ("a b\u00a0c", "a b c"),
        (" \n\n \t", "\n\n"),
    ],
)
def test_blanks_within_a_line_and_at_its_end_are_folded_and_indentation_is_not(
    text: str, plain: str
) -> None:
    assert folded(text, Folding.BLANKS) == plain


def test_a_folded_text_knows_where_everything_stood() -> None:
    text = "a\u2026b\u200b\u200bc\r\n"
    there = fold(text, Folding.LOOK)
    assert there.text == "a...bc\n"
    assert [there.begin(n) for n in range(8)] == [0, 1, None, None, 2, 5, 6, 8]
    assert [there.end(n) for n in range(8)] == [0, 1, None, None, 2, 3, 6, 8]
    assert [there.around(n) for n in range(9)] == [
        (0, 0), (1, 1), (4, 4), (5, 5), (5, 5), (5, 5), (6, 6), (6, 7), (7, 7),
    ]  # fmt: skip
    plain = fold("abc", Folding.LOOK)
    assert (plain.text, plain.begin(2), plain.end(2), plain.around(2)) == ("abc", 2, 2, (2, 2))


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        alphabet="ae\u0301\u00e9 \t\u00a0\u2026\u200b\r\n\u1112\u1161\uac00-'\u2019", max_size=30
    )
)
def test_folding_twice_is_folding_once_and_every_place_is_true(text: str) -> None:
    for folding in (Folding.LOOK, Folding.BLANKS):
        there = fold(text, folding)
        for n in range(len(there.text) + 1):
            begin, end = there.begin(n), there.end(n)
            if begin is not None and end is not None:
                assert 0 <= end <= begin <= len(text)
    looking = folded(text)
    assert folded(unicodedata.normalize("NFD", text)) == looking
    assert folded(unicodedata.normalize("NFC", text)) == looking


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("e\u0301x", [1]),
        ("a\r\nb", [2]),
        ("a\n\rb", []),
        ("\u1112\u1161\u11ab.", [1, 2]),
        ("\U0001f469\u200d\U0001f4bb!", [1, 2]),
        ("\U0001f44d\U0001f3fd!", [1]),
        ("a\udce9=\udce9", [3 - 1]),
        ("\udce9\u00e9", [1]),
        ("ab", []),
    ],
)
def test_places_within_one_character_are_known(text: str, inside: list[int]) -> None:
    assert [n for n in range(len(text) + 2) if continues(text, n)] == inside


def test_a_line_of_marks_in_a_file_is_folded_in_time_that_is_in_line_with_it() -> None:
    marks = "\u0301\u0323" * 100_000  # minutes, if Unicode's own algorithm sorts them
    assert find("wanted", f"e{marks} wanted") == len(marks) + 2
