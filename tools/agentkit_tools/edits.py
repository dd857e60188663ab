"""Replacing a piece of a text that a model remembers nearly right: never in a wrong place.

Pure text in, pure text out. A piece is looked for as it stands; then without what models are seen
to get wrong: line numbers copied along, line endings, space at the ends of lines, the indentation.
At each of these rungs it must be found exactly once, or nothing is changed and the refusal says
what to send instead.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, islice, pairwise, takewhile
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from agentkit import ToolError
from agentkit.schema.phrases import many

__all__ = ["Edit", "applied", "difference", "is_done", "lines_of"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement."""

    old: Annotated[str, Field(description="The text to replace, exactly as the file has it.")]
    new: Annotated[str, Field(description="The text to put there.")]


_Key: TypeAlias = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Found:
    """A place in a text; `new` is None where it is clear what to replace, but not with what."""

    begin: int
    end: int
    new: str | None


def applied(text: str, edits: Sequence[Edit], path: str) -> str:
    """The text after all edits, each looked for in the text as it was.

    Args:
        text: What the file holds.
        edits: All of them are done, or none.
        path: For what is said to the model.

    Raises:
        ToolError: A piece is not there, or more than once; or two edits overlap.
    """
    if not edits:
        raise ToolError('there are no edits: give at least one, with "old" and "new".')
    found = sorted((_place(text, edit, path) for edit in edits), key=lambda f: (f.begin, f.end))
    for one, other in pairwise(found):
        if other.begin < one.end:
            line = _line_at(text, other.begin)
            raise ToolError(f"two edits overlap at line {line} of {path}: make them one edit.")
    endings = _endings(text)
    for place in reversed(found):
        text = text[: place.begin] + _with_endings(place.new or "", endings) + text[place.end :]
    return text


def difference(before: str, after: str) -> str:
    """What changed, as a unified diff without its head, at most 40 lines."""
    old, new = ([line.rstrip("\r\n") for line in lines_of(text)] for text in (before, after))
    same = _alike(zip(old, new, strict=False))  # comparing the rest takes long
    skipped = max(same - 1, 0)
    tail = _alike(zip(reversed(old[same:]), reversed(new[same:]), strict=False))
    kept = max(tail - 1, 0)
    lines = list(_hunks(old[: len(old) - kept], new[: len(new) - kept], skipped))
    shown = [line[:_SHOWN_COLUMNS] for line in lines[:_SHOWN_LINES]]
    if len(lines) > _SHOWN_LINES:
        shown.append(f"({many(len(lines) - _SHOWN_LINES, 'more line')})")
    return "\n".join(shown)


def _alike(pairs: Iterable[tuple[str, str]]) -> int:
    """How many of the first pairs are of the same lines."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _hunks(old: list[str], new: list[str], skipped: int) -> Iterator[str]:
    """The hunks of a unified diff with one line around, given how many first lines are the same."""
    matcher = _Matched(list(_opcodes(old[skipped:], new[skipped:])))
    for group in matcher.get_grouped_opcodes(1):
        (_, begin, _, begin_new, _), (*_, end, _, end_new) = group[0], group[-1]
        yield (
            f"@@ -{skipped + begin + 1},{end - begin} +{skipped + begin_new + 1},"
            f"{end_new - begin_new} @@"
        )
        for kind, i1, i2, j1, j2 in group:
            if kind == "equal":
                yield from (f" {line}" for line in old[skipped + i1 : skipped + i2])
            else:
                yield from (f"-{line}" for line in old[skipped + i1 : skipped + i2])
                yield from (f"+{line}" for line in new[skipped + j1 : skipped + j2])


class _Matched(difflib.SequenceMatcher[str]):
    """What was found otherwise, for difflib to group."""

    def __init__(self, found: list[_Opcode]) -> None:
        super().__init__()
        self._found = found

    def get_opcodes(self) -> list[_Opcode]:
        return self._found


_Opcode: TypeAlias = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]


def _opcodes(old: Sequence[str], new: Sequence[str]) -> Iterator[_Opcode]:
    """What `difflib.SequenceMatcher` finds, in time linear in the lines.

    Its own time grows with their square. So lines that stand once on both sides divide the texts
    first (patience diff). A part without such lines that is still long is compared line by line if
    both sides have as many, else it is one replacement.
    """
    at_old = at_new = 0
    for anchor_old, anchor_new in [*_anchors(old, new), (len(old), len(new))]:
        part_old, part_new = old[at_old:anchor_old], new[at_new:anchor_new]
        if len(part_old) * len(part_new) <= _COMPARED_PAIRS:
            matcher = difflib.SequenceMatcher(None, part_old, part_new, autojunk=False)
            for kind, i1, i2, j1, j2 in matcher.get_opcodes():
                yield kind, at_old + i1, at_old + i2, at_new + j1, at_new + j2
        elif len(part_old) == len(part_new):
            for same, i1, i2 in _runs(part_old, part_new):
                kind = "equal" if same else "replace"
                yield kind, at_old + i1, at_old + i2, at_new + i1, at_new + i2
        else:
            yield "replace", at_old, anchor_old, at_new, anchor_new
        if anchor_old < len(old):
            yield "equal", anchor_old, anchor_old + 1, anchor_new, anchor_new + 1
        at_old, at_new = anchor_old + 1, anchor_new + 1


def _runs(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[bool, int, int]]:
    """Rows of lines that are the same in the same place, or not, of two texts of equal length."""
    at = 0
    for same, row in groupby(one == other for one, other in zip(old, new, strict=True)):
        begin, at = at, at + sum(1 for _ in row)
        yield same, begin, at


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Places of lines that stand once on both sides and in the same order, as many as there are."""
    if len(old) * len(new) <= _COMPARED_PAIRS:
        return []
    places = _once(new)
    pairs = [(at, places[line]) for line, at in _once(old).items() if line in places]
    pairs.sort()
    tops: list[int] = []  # the last place of the shortest run of each length, and what led there
    runs: list[int] = []
    before: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(tops, place)
        before.append(runs[length - 1] if length else -1)
        if length == len(tops):
            tops.append(place)
            runs.append(number)
        else:
            tops[length], runs[length] = place, number
    found: list[tuple[int, int]] = []
    number = runs[-1] if runs else -1
    while number >= 0:
        found.append(pairs[number])
        number = before[number]
    return found[::-1]


def _once(lines: Sequence[str]) -> dict[str, int]:
    """The lines that stand once, with their places."""
    counts = Counter(lines)
    return {line: at for at, line in enumerate(lines) if counts[line] == 1}


_COMPARED_PAIRS = 40_000  # of lines that are compared each with each


def is_done(text: str, edits: Sequence[Edit]) -> bool | None:
    """Whether the edits are in the text, as far as a text can tell; None where it cannot.

    It can tell where only one of both pieces is there. A new piece that holds the old one (an
    insertion) may have been there before, and a deletion leaves nothing: then it cannot.
    """
    found = {_is_in(text, edit) for edit in edits}
    return found.pop() if len(found) == 1 else None


def _is_in(text: str, edit: Edit) -> bool | None:
    if not edit.new.strip():
        return None  # what is left around a deletion may look like the old piece again
    old_is_there = bool(_matches(text, edit))
    alike = _by_lines(text, Edit(edit.new, ""), str.strip)
    new_is_there = edit.new in text or any(True for _ in alike)
    return None if old_is_there == new_is_there else new_is_there


def lines_of(text: str) -> list[str]:
    r"""The lines with their ends; only `\n` ends one, as in an editor and in `grep -n`."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


_SHOWN_LINES = 40
_SHOWN_COLUMNS = 160


# --- the place ---------------------------------------------------------------------------------


def _place(text: str, edit: Edit, path: str) -> _Found:
    if not edit.old.strip():
        raise ToolError(
            f'the "old" text of an edit of {path} is empty: give the lines to replace, or write '
            "the whole file."
        )
    if edit.old == edit.new:
        raise ToolError(f'"old" and "new" are the same: nothing of {path} would change.')
    found = _matches(text, edit)
    if len(found) > 1:
        raise _ambiguous(text, found, path)
    if not found:
        raise _absent(text, edit.old, path)
    if found[0].new is None:
        raise _indented(text, found[0], path)
    return found[0]


def _matches(text: str, edit: Edit) -> list[_Found]:
    """Where the old piece is, on the first rung on which it is anywhere."""
    edit = _without_numbers(edit, text)
    rungs = (
        _exact(text, edit),
        _by_lines(text, edit, str.rstrip),
        _by_lines(text, edit, str.strip),
    )
    return next((found for rung in rungs if (found := list(islice(rung, _MOST_PLACES)))), [])


def _exact(text: str, edit: Edit) -> Iterator[_Found]:
    begin = text.find(edit.old)
    while begin >= 0:
        yield _Found(begin, begin + len(edit.old), edit.new)
        begin = text.find(edit.old, begin + 1)


_NUMBERED = re.compile(r"^ {0,5}\d+\| ?", re.MULTILINE)


def _without_numbers(edit: Edit, text: str) -> Edit:
    """Without the line numbers that `read_file` shows, where every line has one."""
    if edit.old in text or not all(_NUMBERED.match(line) for line in lines_of(edit.old)):
        return edit
    return Edit(_NUMBERED.sub("", edit.old), _NUMBERED.sub("", edit.new))


def _by_lines(text: str, edit: Edit, key: _Key) -> Iterator[_Found]:
    """Whole lines that are equal by `key`, with the replacement indented as they are."""
    old, new = _trimmed(edit)
    lines = lines_of(text)
    # No key holds a line break, so a row of keys is found as one text, which takes linear time.
    wanted = "\n".join(["", *map(key, old), ""])
    keys = "\n".join(["", *map(key, lines), ""])
    first = at = begin = 0
    while (found := keys.find(wanted, at)) >= 0:
        skipped = keys.count("\n", at, found)
        begin += sum(map(len, lines[first : first + skipped]))
        first += skipped
        own = lines[first : first + len(old)]
        end = begin + sum(map(len, own)) - len(_ending(own[-1])) * bool(new)
        yield _Found(begin, end, _indented_as(own, old, new))
        begin += len(lines[first])
        first, at = first + 1, keys.index("\n", found + 1)


def _trimmed(edit: Edit) -> tuple[list[str], list[str]]:
    """The lines of both pieces, without the line breaks that stand around both."""
    old, new = edit.old.replace("\r\n", "\n"), edit.new.replace("\r\n", "\n")
    while old.endswith("\n") and new.endswith("\n"):
        old, new = old[:-1], new[:-1]
    while old.startswith("\n") and new.startswith("\n"):
        old, new = old[1:], new[1:]
    return old.strip("\n").split("\n"), new.split("\n") if new else []


def _indented_as(own: Sequence[str], old: Sequence[str], new: Sequence[str]) -> str | None:
    """The new lines, indented the way the file's own lines differ from the old ones."""
    levels: dict[str, str] = {}
    for mine, theirs in zip(own, old, strict=True):
        if theirs.strip() and levels.setdefault(_indent(theirs), _indent(mine)) != _indent(mine):
            return None  # one level of the model's is two of the file's
    made = [_moved(line, levels) if line.strip() else "" for line in new]
    return None if None in made else "\n".join(line for line in made if line is not None)


def _moved(line: str, levels: dict[str, str]) -> str | None:
    """A line with the file's indentation for its own; None if that cannot be told."""
    indent, rest = _indent(line), line[len(_indent(line)) :]
    if indent in levels:
        return levels[indent] + rest
    shifts = {mine.removesuffix(theirs) for theirs, mine in levels.items() if mine.endswith(theirs)}
    if len(shifts) == 1 and all(mine.endswith(theirs) for theirs, mine in levels.items()):
        return shifts.pop() + line  # the model left out a part that all lines begin with
    base = max((level for level in levels if indent.startswith(level)), key=len, default=None)
    if base is None:
        return None
    deeper = indent[len(base) :]
    if deeper in levels:
        return levels[base] + levels[deeper] + rest
    same_kind = set(deeper) <= set("".join(levels.values())) or not "".join(levels.values())
    return levels[base] + deeper + rest if same_kind else None


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _endings(text: str) -> str:
    r"""What ends the lines: `\r\n` only where it ends them all."""
    ends = text.count("\n")
    return "\r\n" if ends and text.count("\r\n") == ends else "\n"


def _with_endings(new: str, endings: str) -> str:
    return re.sub(r"\r?\n", endings, new) if endings == "\r\n" else new


# --- refusals that lead to a right second try --------------------------------------------------


def _ambiguous(text: str, found: Sequence[_Found], path: str) -> ToolError:
    lines = [str(_line_at(text, place.begin)) for place in found[:_SHOWN_PLACES]]
    more = "" if len(found) <= _SHOWN_PLACES else " and others"
    times = f"{len(found)} times" if len(found) < _MOST_PLACES else f"{_MOST_PLACES} times or more"
    return ToolError(
        f"the old text is in {path} {times}, at lines {', '.join(lines)}{more}. "
        "Nothing was changed. Give more of the lines around the one you mean."
    )


def _indented(text: str, place: _Found, path: str) -> ToolError:
    first = _line_at(text, place.begin)
    shown = _numbered(lines_of(text[place.begin : place.end])[:_SHOWN_LINES], first)
    return ToolError(
        f"the old text is in {path}, but indented otherwise, and how to indent the new one cannot "
        f"be told. Nothing was changed. Copy these lines with their indentation:\n{shown}"
    )


def _absent(text: str, old: str, path: str) -> ToolError:
    lines = lines_of(text)
    first = _nearest(lines, [line.strip() for line in lines_of(old) if line.strip()])
    if first is None:
        return ToolError(
            f"the old text is not in {path}. Nothing was changed. Read the file first."
        )
    count = min(old.strip("\n").count("\n") + 3, _SHOWN_NEAR)
    begin = max(first - 1, 0)
    return ToolError(
        f"the old text is not in {path}. Nothing was changed. The nearest lines are:\n"
        f"{_numbered(lines[begin : begin + count], begin + 1)}\n"
        "Copy what is to be replaced from there, without the line numbers."
    )


def _nearest(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
    """The line, from 0, where the lines wanted are most nearly found."""
    stripped = [line.strip() for line in lines]
    known = set(wanted)
    hits = [0, *accumulate(line in known for line in stripped)]  # before each line
    ends = (min(at + len(wanted), len(lines)) for at in range(len(lines)))
    scores = [hits[end] - hits[at] for at, end in enumerate(ends)]
    best = max(scores, default=0)
    if best:
        return scores.index(best)
    longest = max(wanted, key=len)[:_SHOWN_COLUMNS]
    starts = [line[:_SHOWN_COLUMNS] for line in stripped[:_MOST_COMPARED]]
    close = difflib.get_close_matches(longest, starts, n=1, cutoff=0.6)
    return starts.index(close[0]) if close else None


def _numbered(lines: Sequence[str], first: int) -> str:
    return "\n".join(
        f"{number:4}| {line.rstrip()[:_SHOWN_COLUMNS]}" for number, line in enumerate(lines, first)
    )


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


_SHOWN_PLACES = 5
_MOST_PLACES = 100
_SHOWN_NEAR = 12
_MOST_COMPARED = 2_000  # lines: comparing is slow, and this only words a hint
