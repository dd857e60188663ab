"""Replacing a piece of a text that a model remembers nearly right: never in a wrong place.

Pure text in, pure text out. A piece is looked for as it is written; then by how it looks
(`agentkit_tools.folding`); then without regard to blanks; then line by line without the
indentation. At the first of these rungs that finds it, it must be found exactly once. Otherwise
nothing is changed, and the refusal shows what to send instead.

Where the file spells a piece differently from the model, the file's spelling is kept: what the old
piece and the new one have in common keeps its characters, line ends and blanks. Only the rest is
replaced, and new lines end as their neighbours do.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from agentkit import ToolError
from agentkit_tools.differences import changes, same_beginning, window
from agentkit_tools.folding import Folded, Folding, continues, fold, folded
from agentkit_tools.texts import LINE_END, line_end_at, lines_of, named


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement."""

    old: Annotated[str, Field(description="The text to replace, exactly as the file has it.")]
    new: Annotated[str, Field(description="The text to put there.")]


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the text where the old piece was found.

    Attributes:
        begin: Position in the text where it begins.
        end: Position in the text where it ends.
        source: The text, folded so far that the old piece is found in it.
        at: Position in the folded text where the piece begins.
        old: The old piece under the same folding, indented as the text is there.
        edit: Both pieces, indented as the text is there; None if the indentation is not clear, or
            the piece was found in other places too.
    """

    begin: int
    end: int
    source: Folded
    at: int
    old: Folded
    edit: Edit | None


def applied(text: str, edits: Sequence[Edit], path: str) -> str:
    """The text after all edits, each looked for in the text as it was.

    Args:
        text: What the file holds.
        edits: All of them are done, or none.
        path: Name of the file in messages to the model.

    Raises:
        ToolError: A piece is not there, or more than once; two edits overlap; or nothing would
            change.
    """
    if not edits:
        raise ToolError('there are no edits: give at least one, with "old" and "new".')
    found = sorted((_place(text, edit, path) for edit in edits), key=lambda f: (f.begin, f.end))
    for one, other in pairwise(found):
        if other.begin < one.end:
            line = _line_at(text, other.begin)
            raise ToolError(f"two edits overlap at line {line} of {path}: make them one edit.")
    parts: list[str] = []
    at = 0
    for place in found:
        for begin, end, new in _replacements(text, place):
            parts += [text[at:begin], new]
            at = end
    changed = "".join([*parts, text[at:]])
    if changed == text:
        raise ToolError(f"{path} has the new text already: nothing would change.")
    return changed


def is_done(text: str, edits: Sequence[Edit]) -> bool | None:
    """Whether the edits are done in a text; None if the text does not show it.

    It shows it where exactly one of the two pieces is in it. A new piece that holds the old one (an
    insertion) may have been there before, and a deletion leaves nothing: then it does not.
    """
    found = {_edit_is_done(text, edit) for edit in edits}
    return found.pop() if len(found) == 1 else None


def _edit_is_done(text: str, edit: Edit) -> bool | None:
    if not edit.new.strip():
        return None  # after a deletion, the text around it may look like the old piece again
    old_is_there = bool(_places(text, edit))
    new_is_there = edit.new in text or bool(_places(text, Edit(edit.new, "")))
    return None if old_is_there == new_is_there else new_is_there


# --- the place ---------------------------------------------------------------------------------


def _place(text: str, edit: Edit, path: str) -> _Place:
    if not folded(edit.old, Folding.BLANKS).strip():
        raise ToolError(
            f'the "old" text of an edit of {path} is empty: give the lines to replace, or write '
            "the whole file."
        )
    if edit.old == edit.new:
        raise ToolError(f'"old" and "new" are the same: nothing of {path} would change.')
    edit = _without_line_numbers(edit, text)
    found = _places(text, edit)
    if len(found) > 1:
        raise _ambiguous(text, edit.old, found, path)
    if not found:
        raise _absent(text, edit.old, path)
    if found[0].edit is None:
        raise _indented(text, found[0], path)
    return found[0]


def _places(text: str, edit: Edit) -> list[_Place]:
    """The places of the old piece, by the first rung that finds any."""
    for folding in Folding:
        if found := list(islice(_by_folding(text, edit, folding), _MOST_PLACES)):
            return found
    return list(islice(_by_lines(text, edit), _MOST_PLACES))


def _by_folding(text: str, edit: Edit, folding: Folding) -> Iterator[_Place]:
    """Where the folded piece is in the folded text, without cutting a character in two.

    Raises:
        ToolError: It would cut characters in so many places that looking at all takes too long.
    """
    source = fold(text, folding)
    old = fold(edit.old, folding)
    wanted = old.text
    to_the_end = old.end(len(wanted)) != len(edit.old) and edit.old[-1:].isspace()
    at = source.text.find(wanted) if wanted else -1
    cut = 0  # characters of pieces that were found within others
    while at >= 0:
        until = at + len(wanted)
        begin, end = source.begin(at), source.end(until)
        if begin is None or end is None or continues(text, begin) or continues(text, end):
            cut += len(wanted)
            if cut > _MOST_CUT:
                raise ToolError(
                    "the old text stands in very many places of the file, each time as a part of "
                    "other characters. Nothing was changed. Give whole lines."
                )
        elif not to_the_end or source.text[until : until + 1] in ("", "\n"):
            yield _Place(begin, end, source, at, old, edit)
        at = source.text.find(wanted, at + 1)


def _by_lines(text: str, edit: Edit) -> Iterator[_Place]:
    """Where whole lines look like those of the piece except for their indentation."""
    source = fold(text, Folding.BLANKS)
    edit = _trimmed(edit)
    lines, old = source.text.split("\n"), folded(edit.old, Folding.BLANKS).split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    firsts = list(islice(_rows_alike(lines, old), _MOST_PLACES))
    for first in firsts:
        last = first + len(old) - 1
        # Of several places none is edited, so their indentation need not be learnt.
        made = _indented_as(lines[first : last + 1], edit) if len(firsts) == 1 else None
        until = starts[last] + len(lines[last])
        if not edit.new and last + 1 < len(lines):  # the lines go, and so does their last end
            until += 1
            made = Edit(f"{made.old}\n", "") if made is not None else None
        begin, end = source.begin(starts[first]), source.end(until)
        assert begin is not None, "folding joins no lines"
        assert end is not None, "folding joins no lines"
        there = fold(made.old if made is not None else "", Folding.BLANKS)
        yield _Place(begin, end, source, starts[first], there, made)


def _rows_alike(lines: Sequence[str], old: Sequence[str]) -> Iterator[int]:
    """The first line of each row of lines that are the old ones except for blanks around them."""
    # No line holds a line break, so a row of lines is found as one text, which takes linear time.
    wanted = "\n".join(["", *map(str.strip, old), ""])
    keys = "\n".join(["", *map(str.strip, lines), ""])
    first = at = 0
    while (found := keys.find(wanted, at)) >= 0:
        first += keys.count("\n", at, found)
        yield first
        first, at = first + 1, keys.index("\n", found + 1)


_NUMBERED = re.compile(r"^ {0,5}\d+\| ?", re.MULTILINE)


def _without_line_numbers(edit: Edit, text: str) -> Edit:
    """Removes the line numbers that `read_file` shows, if every line of the old piece has one."""
    if edit.old in text or not all(_NUMBERED.match(line) for line in lines_of(edit.old)):
        return edit
    return Edit(_NUMBERED.sub("", edit.old), _NUMBERED.sub("", edit.new))


def _trimmed(edit: Edit) -> Edit:
    """Removes the line breaks around both pieces, and all those around the old one."""
    old, new = _ANY_LINE_END.sub("\n", edit.old), LINE_END.sub("\n", edit.new)
    while old.endswith("\n") and new.endswith("\n"):
        old, new = old[:-1], new[:-1]
    while old.startswith("\n") and new.startswith("\n"):
        old, new = old[1:], new[1:]
    return Edit(old.strip("\n"), new)


_ANY_LINE_END = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")


# --- the indentation ---------------------------------------------------------------------------


def _indented_as(own: Sequence[str], edit: Edit) -> Edit | None:
    """Both pieces with the file's indentation, learnt from the lines of the old piece.

    Args:
        own: The lines of the file that the old piece matches.
        edit: Both pieces as the model wrote them.

    Returns:
        None if the two indentations do not correspond.
    """
    levels: dict[str, str] = {}
    old = [_indent(line) for line in edit.old.split("\n")]
    for line, (theirs, rest) in zip(own, old, strict=True):
        mine, _ = _indent(line)
        if rest and levels.setdefault(theirs, mine) != mine:
            return None  # one indentation of the model's stands for two of the file's
    made: list[str] = []
    for indent, rest in map(_indent, edit.new.split("\n")):
        moved = _moved(indent, levels) if rest else ""
        if moved is None:
            return None
        made.append(moved + rest)
    as_it_is = [_indent(line)[0] + rest for line, (_, rest) in zip(own, old, strict=True)]
    return Edit("\n".join(as_it_is), "\n".join(made))


def _moved(indent: str, levels: dict[str, str]) -> str | None:
    """The file's indentation for one of the model's; None if it cannot be known."""
    if indent in levels:
        return levels[indent]
    shifts = {mine.removesuffix(theirs) for theirs, mine in levels.items() if mine.endswith(theirs)}
    if len(shifts) == 1 and all(mine.endswith(theirs) for theirs, mine in levels.items()):
        return shifts.pop() + indent  # the model left out a part that all lines begin with
    base = max((level for level in levels if indent.startswith(level)), key=len, default=None)
    if base is None:
        return None
    deeper = indent[len(base) :]
    if deeper in levels:
        return levels[base] + levels[deeper]
    same_kind = set(deeper) <= set("".join(levels.values())) or not "".join(levels.values())
    return levels[base] + deeper if same_kind else None


def _indent(line: str) -> tuple[str, str]:
    """The indentation of a line, in spaces and tabs, and what comes after it."""
    rest = line.lstrip()
    return re.sub(r"[^ \t]", " ", line[: len(line) - len(rest)]), rest


# --- the change --------------------------------------------------------------------------------


def _replacements(text: str, place: _Place) -> Iterator[tuple[int, int, str]]:
    """The replacements of an edit: where each begins and ends in the text, and its new text."""
    assert place.edit is not None, "checked by the caller"
    old, new = place.edit.old, place.edit.new
    if LINE_END.sub("\n", old) == LINE_END.sub("\n", new):  # the edit changes only line ends
        yield place.begin, place.end, new
        return
    for change in _joined(_Change.of(place, *each) for each in changes(old, new)):
        before = old[change.begin : change.old_begin]
        after = old[change.old_end : change.end]
        whole = before + new[change.new_begin : change.new_end] + after
        at, until = change.span(place)
        yield at, until, LINE_END.sub(line_end_at(text, at), whole)


@dataclass(frozen=True, slots=True)
class _Change:
    """A part of the old piece that changes, widened until the file can be cut at both ends.

    One character here may be three in the file (an ellipsis and its dots), so a change of a part
    takes the whole of it.

    Attributes:
        first: Where the widened part begins in the folded old piece.
        last: Where it ends there.
        begin: Where it begins in the old piece.
        end: Where it ends there.
        old_begin: Where the change itself begins in the old piece.
        old_end: Where it ends there.
        new_begin: Where its replacement begins in the new piece.
        new_end: Where it ends there.
    """

    first: int
    last: int
    begin: int
    end: int
    old_begin: int
    old_end: int
    new_begin: int
    new_end: int

    @classmethod
    def of(
        cls, place: _Place, old_begin: int, old_end: int, new_begin: int, new_end: int
    ) -> _Change:
        """Widens a change, given by its positions in the old and the new piece."""
        first, begin = place.old.around(old_begin)[0], old_begin
        last, end = place.old.around(old_end)[1], old_end
        while place.old.begin(first) is None or place.source.begin(place.at + first) is None:
            first -= 1
        if place.old.around(old_begin) != (first, first):
            begin = place.old.begin(first) or 0
        while place.old.end(last) is None or place.source.end(place.at + last) is None:
            last += 1
        if place.old.around(old_end) != (last, last):
            end = place.old.end(last) or 0
        return cls(first, last, begin, end, old_begin, old_end, new_begin, new_end)

    def span(self, place: _Place) -> tuple[int, int]:
        """Where the widened part begins and ends in the file.

        What folding drops (blanks before a line's end) stands between two characters. It stays
        where it is, unless the model changes what it wrote there itself.
        """
        if self.begin == self.end:  # an insertion
            at = place.begin if not self.first else place.source.end(place.at + self.first)
            assert at is not None, "it was widened to where the file can be cut"
            return at, at
        begin = place.source.begin(place.at + self.first)
        if self.begin != place.old.begin(self.first):
            begin = place.source.end(place.at + self.first) if self.first else place.begin
        end = place.source.end(place.at + self.last)
        if self.end != place.old.end(self.last):
            end = place.source.begin(place.at + self.last)
        assert begin is not None, "it was widened to where the file can be cut"
        assert end is not None, "it was widened to where the file can be cut"
        return max(begin, place.begin), min(end, place.end)


def _joined(widened: Iterable[_Change]) -> Iterator[_Change]:
    """Joins the changes that were widened into each other."""
    pending: _Change | None = None
    for change in widened:
        if pending is None:
            pending = change
        elif change.first < pending.last:
            pending = replace(
                pending,
                last=change.last,
                end=change.end,
                old_end=change.old_end,
                new_end=change.new_end,
            )
        else:
            yield pending
            pending = change
    if pending is not None:
        yield pending


# --- refusals that lead to a right second try --------------------------------------------------


def _ambiguous(text: str, old: str, found: Sequence[_Place], path: str) -> ToolError:
    shown = found[:_SHOWN_PLACES]
    lines = ", ".join(str(_line_at(text, place.begin)) for place in shown)
    more = "" if len(found) <= _SHOWN_PLACES else " and others"
    times = f"{len(found)} times" if len(found) < _MOST_PLACES else f"{_MOST_PLACES} times or more"
    spelled = "".join(
        f"\nAt line {_line_at(text, place.begin)} {difference}"
        for place in shown
        if (difference := _spelling_difference(text[place.begin : place.end], old))
    )
    return ToolError(
        f"the old text is in {path} {times}, at lines {lines}{more}. "
        f"Nothing was changed. Give more of the lines around the one you mean.{spelled}"
    )


def _indented(text: str, place: _Place, path: str) -> ToolError:
    first = _line_at(text, place.begin)
    shown = _numbered(lines_of(text[place.begin : place.end])[:_SHOWN_LINES], first)
    return ToolError(
        f"the old text is in {path}, but indented otherwise, and how to indent the new one cannot "
        f"be told. Nothing was changed. Copy these lines with their indentation:\n{shown}"
    )


def _absent(text: str, old: str, path: str) -> ToolError:
    lines, theirs = lines_of(text), lines_of(old.strip("\r\n"))
    found = _nearest(lines, theirs)
    if found is None:
        longest = window(max(theirs, key=len).strip())
        return ToolError(
            f"the old text is not in {path}. Nothing was changed. Read the file first: no line of "
            f'it is like "{longest}".'
        )
    at, like = found  # line `at` of the file is most like line `like` of the old text
    first = max(at - like, 0)
    number, column, difference = _first_difference(lines, theirs, at - like)
    begin = max(min(first, number) - 1, 0)
    count = min(max(len(theirs) + 2, number - begin + 2), _SHOWN_NEAR)
    begin = max(begin, number - count + 2)
    shown = _numbered(lines[begin : begin + count], begin + 1, {number: column})
    return ToolError(
        f"the old text is not in {path}. Nothing was changed. The nearest lines are:\n{shown}\n"
        f"{difference} Copy what is to be replaced from there, without the line numbers."
    )


def _nearest(lines: Sequence[str], old: Sequence[str]) -> tuple[int, int] | None:
    """The line of the file and the old line that are most alike, both counted from 0."""
    stripped = [folded(line, Folding.BLANKS).strip() for line in lines]
    wanted = [folded(line, Folding.BLANKS).strip() for line in old]
    known = {line for line in wanted if line}
    hits = [0, *accumulate(line in known for line in stripped)]  # known lines before each line
    ends = (min(at + len(wanted), len(lines)) for at in range(len(lines)))
    scores = [hits[end] - hits[at] for at, end in enumerate(ends)]
    if best := max(scores, default=0):
        at = scores.index(best)
        while stripped[at] not in known:
            at += 1
        return at, wanted.index(stripped[at])
    longest = max(wanted, key=len)
    starts = [line[:_COLUMNS] for line in stripped[:_MOST_COMPARED]]
    close = difflib.get_close_matches(longest[:_COLUMNS], starts, n=1, cutoff=0.6)
    if close:
        return starts.index(close[0]), wanted.index(longest)
    return _longest_beginning(stripped, wanted)


def _longest_beginning(lines: Sequence[str], wanted: Sequence[str]) -> tuple[int, int] | None:
    """The line that holds the longest beginning or end of an old line, and that old line."""
    text = "\n".join(lines)
    best = (_LEAST_ALIKE, -1, 0)
    for number, line in enumerate(wanted[:_SHOWN_NEAR]):
        for beginning in (True, False):
            held = _longest_held(line, text, beginning)
            if len(held) > best[0]:
                best = (len(held), text.index(held), number)
    return (text.count("\n", 0, best[1]), best[2]) if best[1] >= 0 else None


def _longest_held(line: str, text: str, beginning: bool = True) -> str:
    """The longest beginning (or end) of a line that stands somewhere in a text."""

    def cut(length: int) -> str:
        return line[:length] if beginning else line[len(line) - length :]

    lengths = range(1, len(line) + 1)
    return cut(bisect_left(lengths, True, key=lambda length: cut(length) not in text))


def _first_difference(lines: Sequence[str], old: Sequence[str], begin: int) -> tuple[int, int, str]:
    """Where the file first differs from the old text, if that is laid on it from line `begin` on.

    Returns:
        The line and column, from 0, and a sentence about them.
    """
    for number, theirs in enumerate(old, begin):
        if not 0 <= number < len(lines):
            where = "begins" if number < 0 else "ends"
            shown = window(theirs.strip(), 0, _SHOWN_QUOTED)
            sentence = f'The file {where} where the old text has "{shown}".'
            return max(min(number, len(lines) - 1), 0), 0, sentence
        mine = lines[number].rstrip("\r\n")
        theirs = theirs.rstrip("\r\n")
        column, other = _differ_at(mine, theirs, partly=number in (begin, begin + len(old) - 1))
        if column is None:
            continue
        sentence = (
            f"The first difference is in line {number + 1}: "
            f'the file has "{_excerpt(mine, column)}" '
            f'where the old text has "{_excerpt(theirs, other)}"'
        )
        one, another = mine[column : column + 1], theirs[other : other + 1]
        if one == another:  # a combining mark behind it makes the difference
            one, another = mine[column + 1 : column + 2], theirs[other + 1 : other + 2]
        if not re.fullmatch("[!-~]{2}", one + another):
            sentence += f": {_name_of(one)}, not {_name_of(another)}"
        return number, column, f"{sentence}."
    return max(begin, 0), 0, "Its first or last character is a part of another one in the file."


def _differ_at(mine: str, theirs: str, *, partly: bool) -> tuple[int | None, int]:
    """The columns in both lines where they differ, blanks around them aside; None if they do not.

    The first and the last line of a piece may be a part of the file's line (`partly`), so they are
    laid where they fit best.
    """
    one, other = fold(mine, Folding.BLANKS), fold(theirs, Folding.BLANKS)
    a, b = one.text, other.text
    at, from_ = len(a) - len(a.lstrip()), len(b) - len(b.lstrip())
    if partly and b.strip() in a:
        return None, 0
    if partly and len(a) * len(b) <= _MOST_PAIRS:
        found = difflib.SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
        if found.b > from_ and found.b + found.size >= len(b.rstrip()):  # it differs before that
            return _source_position(one, found.a - 1), _source_position(other, found.b - 1)
        at, from_ = found.a, found.b
    elif partly and (held := _longest_held(b.strip(), a)):
        at = a.index(held)
    same = same_beginning(a[at:], b[from_:])
    if a[at + same :].strip() == b[from_ + same :].strip():
        return None, 0
    return _source_position(one, at + same), _source_position(other, from_ + same)


def _source_position(line: Folded, position: int) -> int:
    """The position in a line for a position in the folded line."""
    while position > 0 and line.begin(position) is None:
        position -= 1
    return line.begin(max(position, 0)) or 0


def _excerpt(line: str, column: int) -> str:
    begin = max(column - _SHOWN_QUOTED // 2, 0)
    return window(line[begin:], 0, _SHOWN_QUOTED)


def _name_of(character: str) -> str:
    return named(character) if character else "the end of the line"


def _spelling_difference(mine: str, theirs: str) -> str:
    """The first difference between two spellings that look the same; empty if there is none."""
    if mine == theirs:
        return ""
    same = same_beginning(mine, theirs)
    return f"it is spelled with {_name_of(mine[same : same + 1])}."


def _numbered(
    lines: Sequence[str], first: int, columns: Mapping[int, int] = MappingProxyType({})
) -> str:
    """Lines with their numbers; a line with a column in `columns` is cut so that it is shown."""
    return "\n".join(
        f"{number:4}| {window(line.rstrip(), columns.get(number - 1, 0))}"
        for number, line in enumerate(lines, first)
    )


def _line_at(text: str, position: int) -> int:
    return len(lines_of(text[:position] + "x"))


_COLUMNS = 160
_LEAST_ALIKE = 5  # characters
_SHOWN_LINES = 40
_SHOWN_PLACES = 5
_SHOWN_NEAR = 12
_SHOWN_QUOTED = 60
_MOST_PLACES = 100
_MOST_CUT = 50_000_000  # characters of a piece, over all places where it is no whole characters
_MOST_COMPARED = 2_000  # lines: comparing is slow, and this only words a hint
_MOST_PAIRS = 1_000_000  # of characters
