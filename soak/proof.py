"""Run a proof in numbered batches: resumable, with progress, and a record of what was counted.

Each batch depends on its number alone, so a run that was stopped goes on where it was, and a
batch that fails can be run again by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

Batch = Callable[[int], dict[str, int]]
"""Number of the batch → what it counted; raises where the proof fails."""

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs" / "proof"
_AHEAD: Final = 8
"""Batches handed out at a time: what is lost when a run is stopped."""


@dataclass
class _Record:
    part: str
    commit: str
    batches: int
    done: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    result: str = "running"
    failures: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.part}.json"

    def save(self) -> None:
        shown: dict[str, Any] = {
            "part": self.part,
            "commit": self.commit,
            "seed": "the number of each batch",
            "batches": self.batches,
            "finished_batches": len(self.done),
            "counts": dict(sorted(self.counts.items())),
            "seconds": round(self.seconds, 1),
            "result": self.result,
        }
        if self.failures:
            shown["failures"] = self.failures
        if self.result == "running":
            shown["done"] = sorted(self.done)
        write_record(self.part, shown)


def write_record(part: str, figures: Mapping[str, Any]) -> str:
    """Writes what a proof came to into `docs/proof/PART.json`; returns the text."""
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    write_whole(FOLDER / f"{part}.json", text)
    return text


def write_whole(file: Path, text: str) -> None:
    """Writes a file that holds the old text or the new one whenever its writer is killed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def prove(
    part: str,
    batches: int,
    batch: Batch,
    missed: Callable[[Mapping[str, int]], list[str]] | None = None,
    *,
    jobs: int = 2,
) -> int:
    """Runs every batch, as the command line says (`--help`), and writes `docs/proof/PART.json`.

    Args:
        part: Name of the proof.
        batches: How many batches make the whole proof.
        batch: Runs one; a function of a module, since processes are given it.
        missed: Says which bars the figures of the whole proof miss.
        jobs: Processes at a time, unless the command line says otherwise.

    Returns:
        0 when the whole proof held, 1 when a batch failed, 2 when time ran out first.
    """
    options = _options(part, jobs)
    record = _begin(part, max(1, round(batches * options.share)), fresh=options.fresh)
    todo = sorted(set(range(record.batches)).difference(record.done))
    end = time.monotonic() + 60 * options.minutes
    with ProcessPoolExecutor(options.jobs) as pool:
        while todo and not record.failures and time.monotonic() < end:
            now, todo = todo[: _AHEAD * options.jobs], todo[_AHEAD * options.jobs :]
            _run(pool, batch, now, record)
            _print(record)
    if missed is not None and not todo:
        record.failures += missed(record.counts)
    if record.failures:
        record.result = "failed"
    else:
        record.result = "running" if todo else "passed"
    record.save()
    print("\n".join([*record.failures, f"{part}: {record.result}"]))
    return 1 if record.failures else 2 if todo else 0


def _options(part: str, jobs: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m soak.{part}")
    parser.add_argument("--jobs", type=int, default=jobs, help="processes")
    parser.add_argument("--minutes", type=float, default=20, help="stop after that long")
    parser.add_argument("--share", type=float, default=1, help="part of the whole proof")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    return parser.parse_args()


def with_sources(root: Path = ROOT) -> dict[str, str]:
    """The variables of a process that imports what lies in a checkout."""
    paths = os.pathsep.join(str(root / part) for part in (".", "tools", "evals"))
    return {**os.environ, "PYTHONPATH": paths}


_CHANGED: Final = "-changed"


def commit_here() -> str:
    """The commit that is checked out, with `-changed` behind it where files other than the pages in
    `docs/` differ from it; empty outside of a checkout.
    """

    def git(*asked: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *asked], cwd=ROOT, capture_output=True, text=True, check=False
        )

    commit = git("rev-parse", "--short=12", "HEAD").stdout.strip()
    changed = git("diff", "--quiet", "HEAD", "--", ":(exclude)docs").returncode == 1
    return f"{commit}{_CHANGED}" if changed else commit


def _begin(part: str, batches: int, *, fresh: bool) -> _Record:
    commit = commit_here()
    record = _Record(part, commit, batches)
    if fresh or not record.path.is_file():
        return record
    old = json.loads(record.path.read_text())
    if (old["result"], old["commit"]) != ("running", commit) or commit.endswith(_CHANGED):
        return record  # of a changed tree nobody knows whether it is still the same
    if max(old["done"], default=0) < batches:  # a smaller share may take over what is done
        record.done, record.counts = list(old["done"]), Counter(old["counts"])
        record.seconds = old["seconds"]
    return record


def _run(pool: ProcessPoolExecutor, batch: Batch, numbers: list[int], record: _Record) -> None:
    start = time.monotonic()
    futures = {pool.submit(batch, number): number for number in numbers}
    for future in as_completed(futures):
        error = future.exception()
        if error is None:
            record.done.append(futures[future])
            record.counts.update(future.result())
        else:
            record.result = "failed"
            record.failures.append(f"batch {futures[future]}: {error!r}"[:2000])
    record.seconds += time.monotonic() - start
    record.save()


def _print(record: _Record) -> None:
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(record.counts.items()))
    print(
        f"{record.part}: {len(record.done)}/{record.batches} batches in {record.seconds:.0f} s: "
        f"{counts}",
        flush=True,
    )
    for failure in record.failures:
        print(failure, flush=True)
