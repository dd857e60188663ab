"""3,000 held-out dialogues against the bundled checkpoint: see `training.tiny_gemma4.evaluate`.

`--dialogues N` plays the first N of them; a thousand take a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from agentkit.models.embedded import Decoder
from soak.proof import FOLDER, commit_here
from training.tiny_gemma4.evaluate import (
    BARS,
    WHAT,
    Score,
    evaluate,
    missed_bars,
    progress,
    report,
    total,
)

_DIALOGUES = 3_000
_SEED = 2026


def main() -> int:
    """Measures, prints, writes `docs/proof/tiny.json`; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m soak.tiny")
    parser.add_argument("--dialogues", type=int, default=_DIALOGUES)
    dialogues = parser.parse_args().dialogues
    scores = evaluate(Decoder(), dialogues, _SEED, progress)
    report(scores)
    write_record(FOLDER / "tiny.json", scores, dialogues)
    return 1 if missed_bars(scores) else 0


def write_record(file: Path, scores: dict[str, Score], dialogues: int) -> None:
    """The counts, and what they were counted on."""
    shown = {
        "part": "tiny",
        "commit": commit_here(),
        "seed": _SEED,
        "dialogues": dialogues,
        "bars": BARS,
        "all but never seen": {what: total(scores).cell(what) for what in WHAT},
        "kinds": {
            kind: {what: score.cell(what) for what in WHAT if score.asked[what]}
            for kind, score in sorted(scores.items())
        },
        "result": "held" if not missed_bars(scores) else f"missed: {missed_bars(scores)}",
    }
    file.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
