"""10,000 trials of a small task against a scripted model: what one costs, and what kills lose.

Batch 0 plays them in one process that is measured: processor time (of user and kernel, all threads)
and memory a trial in the first hundreds and in the last ones, and beside it the processor time of
the same agent run with nothing around it; the rest is what the harness takes. Batch 1 plays them
again and is killed 20 times on the way. Batch 2 plays a thousand on two Ray actors, and measures
the driver. Processor time grows with what else the machine does, so the agent alone is measured in
the same minutes.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import anyio
from agentkit_evals import Store, Subject, Task, TaskSuite, planned, run_local
from agentkit_evals.core import Trial, Turn
from agentkit_evals.ray_runner import run_on_ray
from agentkit_evals.runner import Progress

from agentkit import Toolset
from soak.proof import ROOT, prove, with_sources

_TRIALS: Final = 10_000
_CASES: Final = 1000
_KILLS: Final = 20
_ON_RAY: Final = 1000
_BLOCK: Final = 100
"""Trials between two looks at the clock."""

_OURS: Final = 5.0
"""Milliseconds of processor time that a trial may take beside its agent."""
_DRIVER: Final = 8.0
"""Milliseconds of processor time that a trial on Ray may take of the driver."""
_KB: Final = 2.0
"""Kilobytes that a trial may leave behind in memory: what it was, and not what came of it."""
_GROWTH: Final = 1.25
"""How much more the last trials may take than the first: the measure itself varies."""


class Counter:
    """A world with one number."""

    def __init__(self) -> None:
        self.n = 0

    def add(self, n: int) -> str:
        """Add to the counter.

        Args:
            n: How much.
        """
        self.n += n
        return f"It is {self.n}."


suite: Final = TaskSuite(
    "counting",
    [
        Task(
            id=f"count_{number}",
            turns=(f"Add {number}.",),
            world=Counter,
            tools=lambda counter: [counter.add],
            check=lambda counter, n=number: counter.n == n,
            gold=((("add", {"n": number}),),),
        )
        for number in range(_CASES)
    ],
)


async def _begun(folder: Path, trials: int) -> Store:
    store = Store(folder / "run")
    cases = min(trials, _CASES)
    store.begin(
        await planned(
            suite,
            f"{__file__}:suite",
            Subject(model="gold"),
            limit=cases,
            trials=trials // cases,
        )
    )
    return store


# --- what a trial costs ------------------------------------------------------------------------


class _Clock:
    """Processor time and memory, looked at after each hundred trials."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float]] = []

    def __call__(self, progress: Progress) -> None:
        if progress.done % _BLOCK == 0:
            self.seen.append((progress.done, time.process_time(), _kilobytes()))

    def milliseconds(self) -> list[float]:
        """Milliseconds of a trial, block by block."""
        times = [when for _, when, _ in self.seen]
        return [1000 * (after - before) / _BLOCK for before, after in pairwise(times)]

    def kilobytes(self) -> float:
        """Kilobytes that a trial leaves behind, over all but the first blocks."""
        (first, _, less), (last, _, more) = self.seen[2], self.seen[-1]
        return (more - less) / (last - first)


def _kilobytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1000


async def _agent_alone(runs: int) -> float:
    """Milliseconds of processor time of the same agent run with nothing around it."""
    case = (await suite.cases())[7]
    async with Subject(model="gold").opened() as make:
        began = time.process_time()
        for _ in range(runs):
            turn = Turn(text="Add 7.", tools=Toolset([Counter().add]))
            async for _event in make(Trial(case, 0, 1), 0, turn).stream(turn.text):
                pass
    return 1000 * (time.process_time() - began) / runs


async def _measured(folder: str, trials: int) -> dict[str, float]:
    """What trials cost, in a process of its own."""
    store, clock = await _begun(Path(folder), trials), _Clock()
    alone = [await _agent_alone(200)]
    await run_local(store.manifest(), store, watcher=clock)
    alone.append(await _agent_alone(200))
    found = clock.milliseconds()
    return {
        "alone": sum(alone) / 2,
        "first": median(found[1:6]),
        "last": median(found[-10:]),
        "whole": median(found),
        "kilobytes": clock.kilobytes(),
    }


async def _measured_on_ray(folder: str, trials: int) -> dict[str, float]:
    """The driver's time, in a process of its own; Ray's start is not counted."""
    store, clock = await _begun(Path(folder), trials), _Clock()
    await run_on_ray(store.manifest(), store, watcher=clock)
    return {"driver": median(clock.milliseconds())}


_MEASURES: Final = {"local": _measured, "ray": _measured_on_ray}


def _in_a_process(kind: str, folder: str, trials: int) -> dict[str, float]:
    done = _process(kind, folder, str(trials)).communicate()[0]
    found: dict[str, float] = json.loads(done.splitlines()[-1])
    return found


def _process(kind: str, folder: str, trials: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "soak.trials", f"--as={kind}", folder, trials],
        env=with_sources(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


# --- what kills lose ---------------------------------------------------------------------------


async def _goes_on(folder: str, trials: int) -> dict[str, float]:
    """Goes on with a run, and says of each trial that it is done; may be killed at any time."""
    store = await _begun(Path(folder), trials)
    await run_local(store.manifest(), store, watcher=lambda p: print(p.done, flush=True))
    return {}


def _killed(folder: str, trials: int, kills: int) -> dict[str, int]:
    """Kills a run again and again, and lets it end then.

    Raises:
        AssertionError: A result that was said to be done is lost or changed, or there are two.
    """
    chance, kept = random.Random(11), dict[tuple[str, int], bytes]()
    store, told = Store(Path(folder) / "run"), 0
    for number in range(kills + 1):
        due = told + chance.randint(trials // kills // 4, trials // kills)
        with _process("goes-on", folder, str(trials)) as process:
            assert process.stdout is not None
            for line in process.stdout:
                told = int(line) if line.strip().isdigit() else told
                if number < kills and told >= due:
                    process.kill()
                    break
        lines = [(r.key, repr(r).encode()) for r in store.lines() if r.status == "graded"]
        now = dict(lines)
        assert len(now) == len(lines), f"{len(lines) - len(now)} were played twice"
        assert len(now) >= told, f"{told - len(now)} that were said to be done are lost"
        assert kept.items() <= now.items(), "a result was lost or is another one"
        kept = now
    assert len(kept) == trials, f"{trials - len(kept)} are missing in the end"
    assert all(result.passed for result in store.lines())
    return {"kills": kills, "trials of a run that was killed": trials, "lost": 0, "twice": 0}


def batch(
    number: int, trials: int = _TRIALS, kills: int = _KILLS, on_ray: int = _ON_RAY
) -> dict[str, int]:
    """Costs, kills or Ray."""
    with tempfile.TemporaryDirectory() as folder:
        if number == 1:
            return _killed(folder, trials, kills)
        if number == 2:
            found = _in_a_process("ray", folder, on_ray)
            return {"on Ray: trials": on_ray, **_micro("on Ray: driver", found["driver"])}
        found = _in_a_process("local", folder, trials)
    return {
        "local: trials": trials,
        **_micro("local: a whole trial", found["whole"]),
        **_micro("local: a trial of the first", found["first"]),
        **_micro("local: a trial of the last", found["last"]),
        **_micro("local: the same agent run alone", found["alone"]),
        "local: bytes of memory that a trial leaves": round(1000 * found["kilobytes"]),
    }


def _micro(what: str, milliseconds: float) -> dict[str, int]:
    return {f"{what}, microseconds of processor time": round(1000 * milliseconds)}


def _missed(counts: Mapping[str, int]) -> list[str]:
    """The bars that are missed."""

    def of(what: str) -> float:
        return counts[f"{what}, microseconds of processor time"] / 1000

    ours = of("local: a whole trial") - of("local: the same agent run alone")
    growth = of("local: a trial of the last") / of("local: a trial of the first")
    left = counts["local: bytes of memory that a trial leaves"] / 1000
    driver = of("on Ray: driver")
    return [
        *([f"a trial takes {ours:.1f} ms beside its agent"] if ours > _OURS else []),
        *([f"the last trials take {growth:.2f} times as much"] if growth > _GROWTH else []),
        *([f"a trial leaves {left:.1f} kB"] if left > _KB else []),
        *([f"a trial takes {driver:.1f} ms of the driver"] if driver > _DRIVER else []),
    ]


def main() -> int:
    """Runs the proof, or in a process of its own what it measures."""
    if len(sys.argv) < 2 or not sys.argv[1].startswith("--as="):
        return prove("trials", 3, batch, _missed)
    kind, folder, trials = sys.argv[1].removeprefix("--as="), sys.argv[2], int(sys.argv[3])
    run: Any = {**_MEASURES, "goes-on": _goes_on}[kind]
    print(json.dumps(anyio.run(run, folder, trials)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
