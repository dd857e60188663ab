"""Edits as models make them: applied in the right place, or refused with what leads there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from agentkit_tools.differences import difference
from agentkit_tools.edits import Edit, applied, is_done
from agentkit_tools.texts import lines_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agentkit import ToolError

CODE = "def f(x):\n    if x:\n        return 1\n    return 2\n\n\ndef g(x):\n    return 1\n"


def edited(text: str, *pairs: tuple[str, str]) -> str:
    return applied(text, [Edit(old, new) for old, new in pairs], "a.py")


@pytest.mark.parametrize(
    ("text", "old", "new", "after"),
    [
        ("a b c", "b", "x", "a x c"),
        (CODE, "    return 2\n", "    return 3\n", CODE.replace("return 2", "return 3")),
        ("a\nb\nc\n", "b", "", "a\n\nc\n"),
        ("a\nb\nc\n", "b\n", "", "a\nc\n"),
        # a model that saw line numbers
        ("a\nb\nc\n", "   1| a\n   2| b", "   1| a\n   2| x", "a\nx\nc\n"),
        # line endings
        ("a\r\nb\r\nc\r\n", "a\nb\n", "a\nx\ny\n", "a\r\nx\r\ny\r\nc\r\n"),
        ("a\r\nb\r\n", "b", "x\ny", "a\r\nx\r\ny\r\n"),
        # space at the ends
        ("a  \nb\t\nc\n", "a\nb\nc\n", "x\n", "x\n"),
        ("a\nb\n", "a  \nb  ", "x", "x\n"),
        # indentation left out, or another one
        (CODE, "if x:\n    return 1", "if x:\n    return 7", CODE.replace("1", "7", 1)),
        (CODE, "return 2", "return 3", CODE.replace("2", "3")),
        (
            "class A:\n    def f(self):\n        pass\n",
            "def f(self):\n    pass\n",
            "def f(self):\n    if 1:\n        pass\n",
            "class A:\n    def f(self):\n        if 1:\n            pass\n",
        ),
        # line breaks around one piece that the other lacks
        ("  a\n  b\nc\n", "a\nb\n", "x\ny", "  x\n  y\nc\n"),
        ("  a\n  b\nc\n", "\na\nb", "\nx\ny", "  x\n  y\nc\n"),
        ("\ta\n\tb\n", "  a\n  b", "  a\n    c", "\ta\n\t\tc\n"),
        (
            "\tif a:\n\t\tb()\n",
            "    if a:\n        b()\n",
            "    if a:\n        if c:\n            b()\n",
            "\tif a:\n\t\tif c:\n\t\t\tb()\n",
        ),
        (
            "if a:\n  b()\n",
            "if a:\n    b()\n",
            "if a:\n    c()\n    b()\n",
            "if a:\n  c()\n  b()\n",
        ),
        # no line break at the end of the file
        ("a\n  b", "b  ", "c", "a\n  c"),
        # blank lines around
        (" a\n b\nc\n", "\na\nb\n", "\nx\n", " x\nc\n"),
        (" a\n\n\n b\nc", "a\n\n\nb", "a\n\nb", " a\n\n b\nc"),
    ],
)
def test_a_piece_remembered_nearly_right_is_replaced_in_its_place(
    text: str, old: str, new: str, after: str
) -> None:
    assert edited(text, (old, new)) == after


@pytest.mark.parametrize(
    ("text", "old", "said"),
    [
        (CODE, "return 1", "2 times, at lines 3, 8"),
        ("  a\n    a\n", "a ", "2 times, at lines 1, 2"),
        ("a\n" * 9, "a", "9 times, at lines 1, 2, 3, 4, 5 and others"),
        (CODE, "    if y:\n        return 1", "The nearest lines are:\n   1| def f(x):\n   2|"),
        (CODE, "retrun 2", "The nearest lines are:\n   3|         return 1\n   4|     return 2"),
        ("", "a", "not in a.py. Nothing was changed. Read the file first"),
        (CODE, " \n", '"old" text of an edit of a.py is empty'),
        ("a\n b\n", "a\nb\n", "Copy these lines with their indentation:\n   1| a\n   2|  b"),
        ("if a:\n\tb\n  c\n", "if a:\n    b\n    c", "Copy these lines with their indentation"),
    ],
)
def test_what_is_absent_or_ambiguous_is_refused_with_what_to_send_instead(
    text: str, old: str, said: str
) -> None:
    with pytest.raises(ToolError, match=re.escape(said)):
        edited(text, (old, "x"))


def refusal(text: str, old: str) -> str:
    with pytest.raises(ToolError) as caught:
        edited(text, (old, "another"))
    return str(caught.value)


LONG = "x" * 100


@pytest.mark.parametrize(
    ("text", "old", "first"),
    [
        (
            "name = 'x'\nprice = 3\n",
            "price = \u0437",
            'in line 2: the file has "price = 3" where the old text has "price = \u0437": '
            "U+0033 DIGIT THREE, not U+0437 CYRILLIC SMALL LETTER ZE.",
        ),
        (
            "one\ntwo\nthree\n",
            "one\ntwo\nfour\n",
            'in line 3: the file has "three" where the old text has "four".',
        ),
        (
            "a\n\nb\n",
            "a\nb",
            'in line 2: the file has "" where the old text has "b": '
            "the end of the line, not U+0062 LATIN SMALL LETTER B.",
        ),
        (
            "Cafe\u0301 = 1\n",
            "Cafe = 1",
            'in line 1: the file has "Cafe\u0301 = 1" where the old text has "Cafe = 1": '
            "U+0301 COMBINING ACUTE ACCENT, not U+0020 SPACE.",
        ),
        (
            "if a:\n    b = 1\n    c = 2\n",
            "if a:\n    b = 1\n    c = 3\n    d = 4\n",
            'in line 3: the file has "    c = 2" where the old text has "    c = 3".',
        ),
        (
            "abc\tdef ghi\n",
            "abcdef ghi",
            'in line 1: the file has "abc\tdef ghi" where the old text has "abcdef ghi": '
            "U+0009 TAB, not U+0063 LATIN SMALL LETTER C.",
        ),
        (
            "value = compute(1)\n",
            "value = compute(1) + more",
            'in line 1: the file has "value = compute(1)" where the old text has '
            '"value = compute(1) + more": the end of the line, not U+0020 SPACE.',
        ),
        (
            "alpha beta gamma\n",
            "delta gamma beta",
            'in line 1: the file has "alpha beta gamma" where the old text has '
            '"delta gamma beta": the end of the line, not U+0020 SPACE.',
        ),
        (
            f"{LONG}{LONG} = 1 # {LONG}\n",
            f"{LONG}{LONG} = 2 # {LONG}",
            f'in line 1: the file has "{LONG[:27]} = 1 # {LONG[:26]}\u2026" where the old text has '
            f'"{LONG[:27]} = 2 # {LONG[:26]}\u2026".',
        ),
    ],
)
def test_a_refusal_names_the_first_difference(text: str, old: str, first: str) -> None:
    said = refusal(text, old)
    assert said.startswith(
        "the old text is not in a.py. Nothing was changed. The nearest lines are:"
    )
    assert f"\nThe first difference is {first} Copy what is to be replaced from there" in said


def test_a_refusal_shows_the_lines_around_the_difference() -> None:
    many = "".join(f"line {n}\n" for n in range(40))
    shown = [f"{n + 1:4}| line {n}" for n in range(19, 25)]
    assert refusal(many, "line 20\nline 21\nline x\nline 23").splitlines()[1:-1] == shown
    old = "\n".join(f"line {n}" for n in range(2, 17)) + "\nother"
    shown = [f"{n + 1:4}| line {n}" for n in range(7, 19)]
    assert refusal(many, old).splitlines()[1:-1] == shown
    said = refusal("one\ntwo\n", "one\ntwo\nthree").splitlines()
    assert said[1:3] == ["   1| one", "   2| two"]
    assert said[3].startswith('The file ends where the old text has "three". ')
    said = refusal("two\nthree\n", "one\ntwo\nthree").splitlines()
    assert said[3].startswith('The file begins where the old text has "one". ')


def test_a_difference_far_out_in_a_long_line_is_shown() -> None:
    line = f'var a={LONG}{LONG},b="tea",c={LONG}{LONG}'
    said = refusal(f"first\n{line}\nlast\n", 'b="teas",c=')
    assert f'   2| \u2026{LONG[:33]},b="tea",c={LONG}{LONG[:16]}\u2026\n   3| last' in said, said
    assert 'where the old text has "b="teas",c="' in said
    assert refusal(f"{LONG}\n", "zeta").endswith('no line of it is like "zeta".')


def test_places_that_look_alike_are_told_apart() -> None:
    assert refusal("a\u00a0= 1\na\u2009= 1\na = 2\n", "a = 1").splitlines() == [
        "the old text is in a.py 2 times, at lines 1, 2. Nothing was changed. Give more of the "
        "lines around the one you mean.",
        "At line 1 it is spelled with U+00A0 NO-BREAK SPACE.",
        "At line 2 it is spelled with U+2009 THIN SPACE.",
    ]
    assert len(refusal("a\n" * 7, "a").splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "old", "new", "after"),
    [
        # the file's own spelling of what the edit leaves
        ("\u201ca\u201d \u2026\n", '"a" ...', '"c" ...', "\u201cc\u201d \u2026\n"),
        ("cafe\u0301 1\n", "caf\u00e9 1", "caf\u00e9 2", "cafe\u0301 2\n"),
        ("a\u00a0b  c\n", "a b c", "a b d", "a\u00a0b  d\n"),
        ("a  \nb\t\nc\n", "a\nb\nc", "a\nx\nc", "a  \nx\t\nc\n"),
        ("a \nb\n", "a\nb", "a;\nb", "a; \nb\n"),
        ("a\t\nb\n", "a  \nb", "a\nb\nc", "a\nb\nc\n"),
        # a part of what is one character in the file
        ("x\u2026y\n", "x...y", "x..y", "x..y\n"),
        ("x\u2026y\n", "x...y", "x.!.y", "x.!.y\n"),
        ("x\u2026y\n", "x...y", "x!.!.!.!y", "x!.!.!.!y\n"),
        ("\u2026 a \u2026\n", "... a ...", ".. a ..", ".. a ..\n"),
        ("x...y\n", "x\u2026y", "x\u2026z", "x...z\n"),
        # line ends: each line keeps its own, a new one has its neighbour's
        ("a\r\nb\nc\rd", "a\nb\nc\nd", "a\nB\nc\nD", "a\r\nB\nc\rD"),
        ("a\r\nb\nc\n", "a", "a\nx", "a\r\nx\r\nb\nc\n"),
        ("a\r\nb", "b", "b\nc", "a\r\nb\r\nc"),
        ("a\rb", "b", "b\nc", "a\rb\rc"),
        ("a\nb\n", "b", "b\r\nc", "a\nb\nc\n"),
        ("ab", "b", "b\nc", "ab\nc"),
        ("a\r\nb\r\n", "a\r\nb\r\n", "a\nb\n", "a\nb\n"),
        ("a\u2028b\n", "a\nb", "a\nc", "a\u2028c\n"),
        ("a\x0c\nb\n", "a\nb", "a\nc", "a\x0c\nc\n"),
        # lines that go, with and without one after them
        ("    a\n    b\n    c\n", "a\nb\n", "", "    c\n"),
        ("    a\n    b\n    c", "b\nc", "", "    a\n"),
        # no-break spaces as indentation
        ("\u00a0\u00a0a\n\u00a0\u00a0b\n", "a\nb", "a\nc", "\u00a0\u00a0a\n\u00a0\u00a0c\n"),
    ],
)  # fmt: skip
def test_what_an_edit_leaves_keeps_the_spelling_of_the_file(
    text: str, old: str, new: str, after: str
) -> None:
    assert edited(text, (old, new)) == after


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("Cafe\u0301", "Cafe"),  # an accent would be left over
        ("\U0001f469\u200d\U0001f4bb", "\U0001f4bb"),  # a part of one picture
        ("\u1112\u1161\u11ab", "\u1112\u1161"),  # two of the three jamo of a syllable
        ("\udce9=1", "=1"),  # may be the second half of a character that nobody could read
        ("a bc", "a b "),  # blanks at an end want the end of a line
        ("x\u2026y", "x."),  # a part of one character
        ("price = 3", "PRICE = 3"),
        ("x\u00b2", "x2"),
    ],
)
def test_nothing_is_found_within_what_is_one_character_or_another(text: str, old: str) -> None:
    with pytest.raises(ToolError, match="is not in"):
        edited(text, (old, "z"))


def test_an_edit_that_would_change_nothing_is_refused() -> None:
    with pytest.raises(ToolError, match=r"a\.py has the new text already: nothing would change"):
        edited("\u201ca\u201d\n", ('"a"', "\u201ca\u201d"))


def test_several_edits_are_all_done_or_none() -> None:
    assert edited("a b c", ("c", "3"), ("a", "1")) == "1 b 3"
    with pytest.raises(ToolError, match="not in"):
        edited("a b c", ("c", "3"), ("z", "1"))
    with pytest.raises(ToolError, match="overlap at line 1"):
        edited("a b c", ("a b", "1"), ("b c", "2"))
    with pytest.raises(ToolError, match="no edits"):
        edited("a b c")
    with pytest.raises(ToolError, match="the same"):
        edited("a b c", ("a", "a"))


def test_each_edit_is_looked_for_in_the_text_as_it_was() -> None:
    assert edited("a b", ("a", "b"), ("b", "a")) == "b a"


# --- properties --------------------------------------------------------------------------------

_line = st.text(alphabet="ab(): \t", max_size=6)
_texts = st.lists(_line, min_size=1, max_size=12).map("\n".join)


def reindented(text: str) -> str:
    return re.sub(r"(?m)^(?=.*\S)", "  ", text)


def trailing(text: str) -> str:
    return re.sub(r"(?m)$", "  ", text)


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(_texts, st.data(), st.sampled_from([str, reindented, trailing, crlf]))
def test_an_edit_changes_nothing_outside_of_lines_that_equal_the_old_text(
    text: str, data: st.DataObject, blur: Callable[[str], str]
) -> None:
    lines = lines_of(text)
    assume(lines)
    first = data.draw(st.integers(0, len(lines) - 1))
    last = data.draw(st.integers(first + 1, len(lines)))
    old = blur("".join(lines[first:last]).rstrip("\n"))
    try:
        after = edited(text, (old, "NEW"))
    except ToolError:
        return
    before, _, rest = after.partition("NEW")
    gone = text.removeprefix(before.removesuffix(before[len(before.rstrip(" \t")) :]))
    assert text.startswith(before.rstrip(" \t"))
    assert text.endswith(rest)
    replaced = gone.removesuffix(rest) if rest else gone
    assert "".join(replaced.split()) == "".join(old.split())


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(_texts, _line, _line)
def test_after_a_crash_the_text_is_never_taken_for_what_it_is_not(
    text: str, old: str, new: str
) -> None:
    try:
        after = edited(text, (old, new))
    except ToolError:
        return
    edits = [Edit(old, new)]
    assert is_done(text, edits) in (False, None)
    assert is_done(after, edits) in (True, None)


def test_a_text_tells_whether_a_replacement_was_done() -> None:
    assert is_done("a x c", [Edit("b", "x")]) is True
    assert is_done("a b c", [Edit("b", "x")]) is False
    assert is_done("a bb c", [Edit("b", "bb")]) is None
    assert is_done(":", [Edit(": ", "")]) is None


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(_texts, _texts)
def test_a_difference_leads_from_the_one_text_to_the_other(before: str, after: str) -> None:
    old, new = before.split("\n"), after.split("\n")
    lines = difference("\n".join(old) + "\n", "\n".join(new) + "\n").split("\n")
    assume(len(lines) <= 40)
    made, at = [], 0
    for line in lines:
        if begin := re.fullmatch(r"@@ -(\d+),\d+ \+\d+,\d+ @@", line):
            made += old[at : int(begin[1]) - 1]
            at = int(begin[1]) - 1
        elif line:
            assert line[0] == "+" or line[1:] == old[at], "the old lines are those of the text"
            at += line[0] in " -"
            made += [line[1:]] * (line[0] in " +")
    assert made + old[at:] == new


def test_a_difference_is_short() -> None:
    lines = difference("", "x\n" * 100).splitlines()
    assert lines[-1] == "(61 more lines)"


# --- large texts -------------------------------------------------------------------------------


def patched(before: str, diff: str) -> str:
    """The text after a unified diff with true line numbers, by a reader of diffs of its own."""
    lines, made, at = before.split("\n"), list[str](), 0
    for line in diff.split("\n"):
        if found := re.match(r"@@ -(\d+),\d+ \+\d+,\d+ @@", line):
            made += lines[at : int(found[1]) - 1]
            at = int(found[1]) - 1
        elif line.startswith("+"):
            made.append(line[1:])
        else:
            assert lines[at] == line[1:]
            made += [line[1:]] * line.startswith(" ")
            at += 1
    return "\n".join(made + lines[at:])


few_lines = st.lists(st.sampled_from(["a", "b", "c", "", "d1", "d2", "d3"]), max_size=30)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(few_lines, few_lines, st.integers(0, 400))
def test_a_diff_of_a_long_text_can_be_applied(
    head: list[str], tail: list[str], filler: int
) -> None:
    unique = [f"u{n}" for n in range(filler)]
    same = ["same"] * 250
    old = "\n".join([*head, *unique, *tail, *same, "end"])
    new = "\n".join([*tail, *unique, *head, *same, "end"])
    diff = difference(old, new)
    assert bool(diff) == (old != new)
    if diff and "more line" not in diff:
        assert patched(old, diff) == new


def test_two_far_edits_of_many_alike_lines_are_both_shown() -> None:
    middle = "".join(f"line {n % 50}\n" for n in range(200_000))
    diff = difference(f"first\n{middle}last\n", f"FIRST\n{middle}LAST\n")
    assert [line for line in diff.split("\n") if line[0] in "+-"] == [
        "-first",
        "+FIRST",
        "-last",
        "+LAST",
    ]


@pytest.mark.slow
def test_thousands_of_lines_are_found_among_many_more() -> None:
    lines = [f"line {n % 5_003}" for n in range(200_000)]
    lines[121_000] = "the one"
    old = "\n".join(f"  {line} " for line in lines[120_000:123_000])
    started = time.process_time()
    after = applied("\n".join(lines), [Edit(old, "  gone")], "f")
    with pytest.raises(ToolError, match="nearest lines"):
        applied(after, [Edit(old, "  gone")], "f")
    with pytest.raises(ToolError, match="100 times or more, at lines 1, 2"):
        applied("a\n" * 200_000, [Edit(" a\n" * 2_000, "b")], "f")
    assert after.split("\n")[120_000] == "gone"
    assert time.process_time() - started < 10


def test_many_rows_of_lines_that_look_alike_are_refused_in_time_that_is_in_line_with_them() -> None:
    text = "  a\n" * 40_000
    with pytest.raises(ToolError, match="100 times or more"):
        applied(text, [Edit("    " + "a\n" * 20_000, "b\n")], "f.py")  # half a minute each by each


def test_a_piece_that_is_everywhere_a_part_of_characters_is_refused_soon() -> None:
    marks = "\u0316\u0316" * 50_000
    with pytest.raises(ToolError, match="each time as a part of other characters"):
        applied(marks, [Edit(marks[:50_000], "b")], "f.py")
    text = "e\u0316 " * 20_000
    assert applied(f"{text}e", [Edit("e", "b")], "f.py") == f"{text}b"
