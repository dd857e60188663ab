"""What changed between two texts: as a diff to read, and piece by piece.

Both take time linear in the number of lines, since texts may be long and mostly alike.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, groupby, repeat, takewhile
from typing import Literal, TypeAlias

from agentkit.wording import pluralize
from agentkit_tools.texts import lines_of, visible

_SHOWN_LINES = 40


def difference(before: str, after: str) -> str:
    """A unified diff without its header, at most 40 lines."""
    old, new = ([line.rstrip("\r\n") for line in lines_of(text)] for text in (before, after))
    same = _alike(zip(old, new, strict=False))  # cut off, since comparing takes long
    skipped = max(same - 1, 0)
    tail = _alike(zip(reversed(old[same:]), reversed(new[same:]), strict=False))
    kept = max(tail - 1, 0)
    lines = list(_hunks(old[: len(old) - kept], new[: len(new) - kept], skipped))
    if not lines and before != after:
        return "(only the ends of lines changed)"
    shown = lines[:_SHOWN_LINES]
    if len(lines) > _SHOWN_LINES:
        shown.append(f"({pluralize(len(lines) - _SHOWN_LINES, 'more line')})")
    return "\n".join(shown)


def window(line: str, place: int = 0, columns: int = 160) -> str:
    """The part of a line around a position, `columns` wide; `…` stands for what is left out."""
    begin = max(place - columns // 4, 0) if place > columns * 3 // 4 else 0
    shown = visible(line[begin : begin + columns])
    return f"{'…' * bool(begin)}{shown}{'…' * (begin + columns < len(line))}"


def same_beginning(one: str, other: str) -> int:
    """How many characters two texts have in common before they differ."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    lengths = range(1, length + 1)
    return bisect_left(lengths, True, key=lambda n: one[:n] != other[:n])


def changes(old: str, new: str) -> Iterator[tuple[int, int, int, int]]:
    """Yields the pieces in which two texts differ, word by word.

    Returns:
        Begin and end in the old text, begin and end in the new one; in order, never overlapping.
    """
    one, other = lines_of(old), lines_of(new)
    at_old, at_new = _starts(one), _starts(other)
    for kind, i1, i2, j1, j2 in _opcodes(one, other):
        if kind == "equal":
            continue
        pairs = [(i1, i2, j1, j2)]
        if i2 - i1 == j2 - j1:  # compare line with line, never a word with one of the next line
            pairs = [
                (i, i + 1, j, j + 1) for i, j in zip(range(i1, i2), range(j1, j2), strict=True)
            ]
        for a, b, c, d in pairs:
            for begin, end, from_, to in _words("".join(one[a:b]), "".join(other[c:d])):
                yield at_old[a] + begin, at_old[a] + end, at_new[c] + from_, at_new[c] + to


def _starts(lines: Sequence[str]) -> list[int]:
    return [0, *accumulate(map(len, lines))]


def _words(old: str, new: str) -> Iterator[tuple[int, int, int, int]]:
    one, other = _WORD.findall(old), _WORD.findall(new)
    # Where one line replaces several, the end of the last one is kept.
    same = _alike(zip(reversed(one), reversed(other), strict=False))
    one, other = one[: len(one) - same], other[: len(other) - same]
    at_old, at_new = _starts(one), _starts(other)
    for kind, i1, i2, j1, j2 in _opcodes(one, other):
        if kind != "equal":
            yield at_old[i1], at_old[i2], at_new[j1], at_new[j2]


_WORD = re.compile(r"\w+|[ \t]+|\r\n|.", re.DOTALL)


def _alike(pairs: Iterable[tuple[str, str]]) -> int:
    """How many pairs are equal before the first that is not."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _hunks(old: list[str], new: list[str], skipped: int) -> Iterator[str]:
    """The hunks of a unified diff with one line of context; the first `skipped` lines are equal."""
    matcher = _Matched(list(_opcodes(old[skipped:], new[skipped:])))
    for group in matcher.get_grouped_opcodes(1):
        (_, begin, _, begin_new, _), (*_, end, _, end_new) = group[0], group[-1]
        yield (
            f"@@ -{skipped + begin + 1},{end - begin} +{skipped + begin_new + 1},"
            f"{end_new - begin_new} @@"
        )
        for kind, i1, i2, j1, j2 in group:
            if kind == "equal":
                yield from (f" {window(line)}" for line in old[skipped + i1 : skipped + i2])
            else:
                removed, added = old[skipped + i1 : skipped + i2], new[skipped + j1 : skipped + j2]
                places = [same_beginning(*pair) for pair in zip(removed, added, strict=False)]
                yield from (f"-{line}" for line in map(window, removed, chain(places, repeat(0))))
                yield from (f"+{line}" for line in map(window, added, chain(places, repeat(0))))


class _Matched(difflib.SequenceMatcher[str]):
    """Lets difflib group opcodes that `_opcodes` has found."""

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
    """Runs of lines that are equal to those in the same place, or not; both texts are as long."""
    at = 0
    for same, row in groupby(one == other for one, other in zip(old, new, strict=True)):
        begin, at = at, at + sum(1 for _ in row)
        yield same, begin, at


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """The places of the longest row of lines that are unique, and in the same order, in both."""
    if len(old) * len(new) <= _COMPARED_PAIRS:
        return []
    places = _once(new)
    pairs = [(at, places[line]) for line, at in _once(old).items() if line in places]
    pairs.sort()
    # The longest increasing subsequence of the new places, by patience sorting.
    tops: list[int] = []  # for each length, the smallest place that a row of it can end with
    runs: list[int] = []  # for each length, the number of the pair that such a row ends with
    before: list[int] = []  # for each pair, the number of the pair before it in its row
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
    """The lines that occur once, with their places."""
    counts = Counter(lines)
    return {line: at for at, line in enumerate(lines) if counts[line] == 1}


_COMPARED_PAIRS = 40_000  # of lines that are compared each with each
