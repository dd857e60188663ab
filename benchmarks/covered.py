"""Which earlier reads of a file a later one makes needless: `python -m benchmarks.covered`.

Files of this repository are read with the project's own tool, in one habit after the other: two
ranges of lines each. Counted is how many of the first ranges stand whole in the second, how many of
those are noticed, by equal calls alone and by what the results hold, and how many of the lines that
are left out stand nowhere in the result that is named in their place.

Then by chance: how many runs of lines of an installed file stand in the rest of that file once
more, shown without their numbers. It decides how many lines a result has at least that is covered.
"""

from __future__ import annotations

import argparse
import random
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from agentkit_tools.files import ProjectFiles

from agentkit import Agent, Limits
from agentkit.context.entries import Entries
from agentkit.context.strategies import LEAST_COVERED, Newer
from agentkit.messages import Message, SystemMessage, ToolMessage, text_of
from agentkit.testing import ScriptedModel, call, say

ROOT: Final = Path(__file__).parents[1]
FILES: Final = 40
"""Of this repository, with at least 200 lines."""

Range: TypeAlias = tuple[int, int]

HABITS: Final[dict[str, Callable[[int], tuple[Range, Range]]]] = {
    "the same again": lambda at: ((at, at + 80), (at, at + 80)),
    "more around it": lambda at: ((at, at + 40), (at - 30, at + 70)),
    "then from the top": lambda at: ((at, at + 40), (1, 200)),
    "page by page": lambda at: ((at, at + 60), (at + 61, at + 120)),
    "overlapping pages": lambda at: ((at, at + 60), (at + 40, at + 100)),
    "less of it": lambda at: ((at - 30, at + 70), (at, at + 40)),
}
LINES: Final = (1, 2, 3, 5, 8, 12, 20)


def conversation(files: list[str], habit: Callable[[int], tuple[Range, Range]]) -> list[Message]:
    """Both ranges of each file, read one after the other."""
    rng = random.Random(7)
    ranges = [(name, each) for name in files for each in habit(rng.randrange(31, 80))]
    script = [
        call("read_file", path=name, first_line=first, last_line=last)
        for name, (first, last) in ranges
    ]
    model = ScriptedModel([*script, say("Read.")])
    agent = Agent(model, tools=ProjectFiles(ROOT), limits=Limits(steps=1_000), observers=())
    messages = agent.run_sync("Read.").messages
    return [message for message in messages if not isinstance(message, SystemMessage)]


def noticed(messages: list[Message]) -> dict[int, Newer]:
    """What is taken for needless."""
    entries = Entries()
    for message in messages:
        entries.add(message)
    return dict(entries.newer(frozenset({"read_file"})))


def lost(messages: list[Message], found: dict[int, Newer]) -> int:
    """Lines of a file that are left out and stand nowhere in the result that is named instead."""
    texts = {at: text_of(message.content).split("\n") for at, message in enumerate(messages)}
    gone = (
        line
        for at, newer in found.items()
        for line in texts[at]
        if not line.startswith("(lines ") and line not in texts[newer.at]
    )
    return sum(1 for _ in gone)


def by_chance() -> Iterator[tuple[int, int, int]]:
    """Of so many lines: how many runs were looked for, and how many stand elsewhere too."""
    folder = Path(sysconfig.get_paths()["purelib"])
    kinds = {".py", ".pyi", ".md", ".txt", ".rst", ".h", ".json", ".html", ".js"}
    files = sorted(path for path in folder.rglob("*") if path.suffix in kinds and path.is_file())
    rng = random.Random(1)
    tried, found = Counter[int](), Counter[int]()
    for path in rng.sample(files, min(3_000, len(files))):
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        for length in (length for length in LINES if 40 < len(lines) < 5_000):
            at = rng.randrange(len(lines) - length + 1)
            before, after = lines[:at], lines[at + length :]
            rest = "\n".join(["", *max(before, after, key=len), ""])
            tried[length] += 1
            found[length] += "\n".join(["", *lines[at : at + length], ""]) in rest
    for length in LINES:
        yield length, tried[length], found[length]


def main() -> int:
    """Prints both tables; 1 if a line was lost, or a range that stands whole later was missed."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    paths = sorted((ROOT / "agentkit").rglob("*.py"))
    files = [
        str(path.relative_to(ROOT)) for path in paths if len(path.read_text().split("\n")) > 201
    ][:FILES]
    wrong = 0
    print(f"{'habit':20}{'whole later':>13}{'equal calls':>13}{'by results':>13}{'lines lost':>13}")
    for name, habit in HABITS.items():
        (first, last), (start, end) = habit(50)
        needless = len(files) if start <= first and last <= end else 0
        messages = conversation(files, habit)
        assert sum(isinstance(message, ToolMessage) for message in messages) == 2 * len(files)
        found = noticed(messages)
        equal, gone = sum(each.same_call for each in found.values()), lost(messages, found)
        print(f"{name:20}{needless:>13}{equal:>13}{len(found) - equal:>13}{gone:>13}")
        wrong += gone + abs(needless - len(found))
    print(f"\n{'lines':>8}{'looked for':>13}{'elsewhere':>13}{'share':>13}")
    for length, tried, elsewhere in by_chance():
        least = "  the least that is covered" if length == LEAST_COVERED else ""
        print(f"{length:>8}{tried:>13}{elsewhere:>13}{elsewhere / tried:>13.2%}{least}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
