"""How many asked lines a model sees after it read some files: `python -m benchmarks.late_cut`.

Files of 1,000 to 20,000 characters are read one after the other in a window of 8,192 tokens; of
each the line at its head, in its middle or at its tail is asked. Counted is in how many prompts at
the end it stands, with agentkit's choice of what is cut and with nothing cut that fits. No model is
needed: what does not stand in the prompt no model can quote.

Where all files fit, both have to be the same to the character.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Final

from agentkit import Agent, Context, Limits, ModelSettings
from agentkit.errors import ContextWindowError
from agentkit.messages import ModelRequest, text_of
from agentkit.testing import call, say
from agentkit.testing.scripted import Reply
from agentkit.toolset import tool
from soak.late_cut import Place, Question, question
from tests.agent.following import Windowed

WINDOW: Final = 8_192
FILES: Final = (1, 2, 3, 4, 6)
PLACES: Final[tuple[Place, ...]] = ("head", "middle", "tail")


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands in the last prompt.

    Attributes:
        lines: Asked lines.
        whole: Whether every file does.
        compactions: How often it was compacted on the way.
    """

    lines: int
    whole: bool
    compactions: int


def seen(files: list[Question], context: Context) -> Seen | None:
    """What a model sees after it read the files; None where its prompt would be refused."""
    names = {each.path: each.result for each in files}

    @tool(effect="pure", labels=set())
    def read_file(path: str) -> str:
        """Reads."""
        return names[path]

    def reply(_request: ModelRequest) -> Reply:
        read = len(model.requests) - 1
        return call("read_file", path=files[read].path) if read < len(files) else say("Read.")

    model = Windowed(reply, WINDOW)
    agent = Agent(
        model,
        tools=[read_file],
        settings=ModelSettings(max_tokens=128),
        context=context,
        limits=Limits(steps=20),
        observers=(),
    )
    try:
        result = agent.run_sync("Compare these files.")
    except ContextWindowError:
        return None
    last = "\n".join(text_of(message.content) for message in model.requests[-1].messages)
    lines = sum(each.asked in last for each in files)
    whole = all(each.result in last for each in files)
    return Seen(lines, whole, result.context.compactions)


def compared(count: int, runs: int) -> Counter[str]:
    """So many runs that read so many files each."""
    counts: Counter[str] = Counter()
    uncut = Context(compact_at=1.0, result_tokens=10**6, compaction=[])
    for seed in range(runs):
        files = [question(10 * seed + n, PLACES[seed % 3]) for n in range(count)]
        if len({each.path for each in files}) < count:
            continue
        ours, whole = seen(files, Context(compact_at=1.0)), seen(files, uncut)
        assert ours is not None, "a prompt that can be cut is never refused"
        fits = "all fit" if whole is not None and whole.whole else "not all"
        counts[f"{fits}, asked"] += count
        counts[f"{fits}, seen"] += ours.lines
        counts[f"{fits}, uncut"] += whole.lines if whole is not None else 0
        counts["compactions"] += ours.compactions
        if fits == "all fit":
            counts["cut though it fits"] += not ours.whole
    return counts


def main(argv: list[str] | None = None) -> int:
    """Prints the table; 1 if something was cut although all fits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    runs = parser.parse_args(argv).runs
    head = ("files", *(f"{fits}, {what}" for fits in ("all fit", "not all") for what in _COLUMNS))
    print("".join(f"{each:>16}" for each in (*head, "compactions")))
    wrong = 0
    for count in FILES:
        counts = compared(count, runs)
        row = [count, *(counts[name] for name in head[1:]), counts["compactions"]]
        print("".join(f"{each:>16,}" for each in row), flush=True)
        wrong += counts["cut though it fits"]
    return 1 if wrong else 0


_COLUMNS: Final = ("asked", "uncut", "seen")

if __name__ == "__main__":
    sys.exit(main())
