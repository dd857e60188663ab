"""The harness proved with no model: BFCL multi_turn_base through the real loop, kills, Ray.

Batches 0 to 19 play ten cases each, by a server that knows the answers: gold calls pass, none and
one too few fail, and upstream's own runner says the same of every transcript, of spoilt ones too.
Batch 20 kills a run of all 200 cases five times. Batch 21 does the same run on Ray, with one and
two actors, and kills actors and the driver.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
from agentkit_evals.bfcl import BfclSuite, install
from agentkit_evals.core import Case, Trial, TrialResult
from agentkit_evals.manifest import planned
from agentkit_evals.replay import Book, GoldServer, book_of
from agentkit_evals.report import as_json, report
from agentkit_evals.runner import run_local
from agentkit_evals.store import Store
from agentkit_evals.subject import Reference, Subject
from agentkit_evals.trial import run_trial

from soak.proof import prove, with_sources
from soak.upstream import equal_verdicts
from tests.evals.bfcl.mutated import MUTATIONS, mutated

_SLICES: Final = 20
_CATEGORY: Final = "multi_turn_base"
_SPOILT: Final = 4
"""Spoilt transcripts of each case."""

_AGAIN: Final = 3
"""Goes at a run in which trials are left without a verdict."""

_RUN: Final = """
import sys
from pathlib import Path
import anyio
from agentkit_evals.ray_runner import run_on_ray
from agentkit_evals.runner import run_local
from agentkit_evals.store import Store

async def main(folder, workers):
    store, show = Store(Path(folder)), lambda progress: print(progress.done, flush=True)
    if workers:
        await run_on_ray(store.manifest(), store, workers=workers, watcher=show)
    else:
        await run_local(store.manifest(), store, watcher=show)

anyio.run(main, sys.argv[1], int(sys.argv[2]))
"""
"""Goes on with the run of a folder, in a process that can be killed."""


def batch(number: int) -> dict[str, int]:
    """One slice of the cases, the kills, or Ray."""
    install(lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        parts = {_SLICES: _kills, _SLICES + 1: _on_ray}
        if number in parts:
            return anyio.run(parts[number], Path(folder))
        return anyio.run(_slice, Path(folder), number)


# --- ten cases ---------------------------------------------------------------------------------

_EXPECTED: Final[tuple[tuple[Reference, bool, bool, str], ...]] = (
    ("gold", False, True, "passed by gold calls, one a step"),
    ("gold", True, True, "passed by gold calls, all of a turn in one step"),
    ("empty", False, False, "failed by no calls"),
    ("gold-without-last-call", False, False, "failed by gold calls without the last"),
)


async def _slice(folder: Path, number: int) -> dict[str, int]:
    suite = BfclSuite(_CATEGORY)
    cases = (await suite.cases())[number * 10 : number * 10 + 10]
    results: list[TrialResult] = []
    counts: Counter[str] = Counter()
    for kind, together, passes, name in _EXPECTED:
        books = await _books(cases, kind)
        with GoldServer(books, together) as server:
            store = Store(folder / f"{kind}-{together}")
            found = await _ran(store, cases, Subject(model=server.url))
        wrong = [r.case for r in found if r.status != "graded" or r.passed != passes]
        assert not wrong, f"{kind}: {wrong}"
        counts[f"cases {name}"] += len(found)
        results += found
    chance = random.Random(number)
    for case in cases:
        for _ in range(_SPOILT):
            maker = mutated(case, chance.randrange(len(MUTATIONS)), chance.randrange(1 << 30))
            results.append(await run_trial(suite, Trial(case, 0, 1), maker, "soak"))
    await suite.aclose()
    return counts + equal_verdicts(_CATEGORY, results)


async def _books(cases: Sequence[Case], kind: Reference) -> dict[str, Book]:
    """What the server has to know of some cases."""
    with tempfile.TemporaryDirectory() as folder:
        return book_of(
            cases, await _ran(Store(Path(folder) / "run"), cases, Subject(model="empty")), kind
        )


async def _planned(store: Store, cases: Iterable[Case], subject: Subject) -> None:
    target = f"bfcl:{_CATEGORY}"
    suite = BfclSuite(_CATEGORY)
    store.begin(await planned(suite, target, subject, only=[case.id for case in cases]))
    await suite.aclose()


async def _ran(store: Store, cases: Iterable[Case], subject: Subject) -> list[TrialResult]:
    await _planned(store, cases, subject)
    for _ in range(_AGAIN):
        await run_local(store.manifest(), store, concurrency=4)
        if _judged(store):
            break
    return list(store.results().values())


def _judged(store: Store) -> bool:
    """Whether each trial has a verdict; a busy machine may have refused a thread or a socket."""
    return all(result.status == "graded" for result in store.results().values())


# --- all cases, killed -------------------------------------------------------------------------


async def _all_cases() -> Sequence[Case]:
    suite = BfclSuite(_CATEGORY)
    cases = await suite.cases()
    await suite.aclose()
    return cases


async def _kills(folder: Path) -> dict[str, int]:
    """Five kills of the whole run; then it is ended and compared with one that was left alone."""
    cases = await _all_cases()
    broken, whole = Store(folder / "broken"), Store(folder / "whole")
    books = await _books(cases, "gold")
    counts: Counter[str] = Counter()
    chance = random.Random(5)
    with GoldServer(books) as server:
        subject = Subject(model=server.url)
        await _planned(broken, cases, subject)
        for _ in range(5):
            await anyio.to_thread.run_sync(_killed, broken, 0, chance.randint(10, 30))
            counts["kills of a local run"] += 1
            counts["results kept over a kill"] += len(broken.results())
            finished = {books[case].said[0] for case, _ in broken.results()}
            asked = {first: server.asked[first] for first in finished}
            before = broken.canonical()
            await anyio.to_thread.run_sync(_killed, broken, 0, 1)
            assert set(before.splitlines()) <= set(broken.canonical().splitlines())
            for first in _unique(finished, books):
                assert server.asked[first] == asked[first], f"played again: {first}"
        await anyio.to_thread.run_sync(_finished, broken, 0)
        await _ran(whole, cases, subject)
    return counts + _same(broken, whole)


def _unique(firsts: Iterable[str], books: dict[str, Book]) -> list[str]:
    """First words that belong to one case only."""
    times = Counter(book.said[0] for book in books.values())
    return [first for first in firsts if times[first] == 1]


def _same(one: Store, other: Store) -> Counter[str]:
    """Equal to the byte, and nothing was graded twice."""
    for store in (one, other):
        keys = [result.key for result in store.lines() if result.status == "graded"]
        assert len(keys) == len(set(keys)) == 200, f"{len(keys)} lines, {len(set(keys))} trials"
    assert one.canonical() == other.canonical()
    assert as_json(replace(report(one), times=None)) == as_json(replace(report(other), times=None))
    assert all(result.passed for result in one.results().values())
    return Counter({"trials equal to the byte": 200})


def _process(store: Store, workers: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, str(store.folder), str(workers)],
        env=with_sources(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _killed(store: Store, workers: int, more: int) -> None:
    """Goes on with a run until so many more trials are done, and kills it then."""
    with _process(store, workers) as process:
        assert process.stdout is not None
        start = None
        for line in process.stdout:
            start = int(line) if start is None else start
            if int(line) >= start + more:
                process.kill()
                break


def _finished(store: Store, workers: int) -> None:
    for _ in range(_AGAIN):
        with _process(store, workers) as process:
            assert process.stdout is not None
            process.stdout.read()
        assert process.returncode == 0, f"the run ended with code {process.returncode}"
        if _judged(store):
            break


# --- on Ray ------------------------------------------------------------------------------------


async def _on_ray(folder: Path) -> dict[str, int]:
    """The same run here, with one and two actors, and with actors and driver killed."""
    cases = await _all_cases()
    counts: Counter[str] = Counter()
    local = Store(folder / "local")
    with GoldServer(await _books(cases, "gold")) as server:
        subject = Subject(model=server.url)
        await _ran(local, cases, subject)
        for workers in (1, 2):
            store = Store(folder / f"ray-{workers}")
            await _planned(store, cases, subject)
            await anyio.to_thread.run_sync(_finished, store, workers)
            counts += _same(store, local)
            counts[f"runs equal to the local one on {workers} actors"] += 1
        broken = Store(folder / "broken")
        await _planned(broken, cases, subject)
        await anyio.to_thread.run_sync(_killed, broken, 2, 25)
        counts["kills of a Ray driver"] += 1
        counts["kills of Ray actors"] += await anyio.to_thread.run_sync(_actors_killed, broken)
        counts += _same(broken, local)
    return counts


def _actors_killed(store: Store) -> int:
    """Goes on with a run to its end, and kills the actor that did a trial, three times over."""
    dead: set[int] = set()
    chance = random.Random(3)
    old = {result.worker for result in store.lines()}
    due = 10
    with _process(store, 2) as process:
        assert process.stdout is not None
        for done, _ in enumerate(process.stdout):
            alive = {
                int(result.worker.rsplit("-", 2)[1])
                for result in store.lines()
                if result.worker not in old
            } - dead
            if len(dead) < 3 and done >= due and alive:
                victim = chance.choice(sorted(alive))
                os.kill(victim, signal.SIGKILL)
                dead.add(victim)
                due = done + chance.randint(10, 30)
    assert process.returncode == 0, f"the run ended with code {process.returncode}"
    if not _judged(store):
        _finished(store, 2)
    return len(dead)


if __name__ == "__main__":
    sys.exit(prove("evals", _SLICES + 2, batch))
