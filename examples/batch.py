"""A hundred letters sorted, eight at a time; after a crash only what is missing is asked.

    python examples/batch.py http://localhost:8000/v1 letters.txt

Each line of the file is a letter. Run it again and it goes on where it was: what `batch.db` holds
is not asked again.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

from agentkit import Agent, Limits, Model, SQLiteJournal, VLLMModel

Kind = Literal["complaint", "order", "question"]


async def sort(model: Model, letters: list[str], journal: Path) -> list[Kind | None]:
    """What each letter is; None where the model came to no answer."""
    clerk = Agent(
        model,
        instructions="Say what kind of letter it is.",
        output_type=Kind,
        limits=Limits(steps=3),
    )
    with SQLiteJournal(journal) as kept:
        results = await clerk.run_many(
            letters,
            concurrency=8,
            journal=kept,
            batch="letters",
            on_progress=lambda progress: print(f"\r{progress.done} of {len(letters)}", end=""),
        )
    print()
    return [result.output if result.stop_reason == "answer" else None for result in results]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    lines = [line for line in Path(sys.argv[2]).read_text().splitlines() if line.strip()]
    kinds = asyncio.run(sort(VLLMModel(sys.argv[1]), lines, Path("batch.db")))
    for kind, count in Counter(kinds).most_common():
        print(f"{kind or 'no answer'}: {count}")
