"""Kills runs, at random or at a named point, resumes them, and checks what became of every call.

A run is a forked process with a journal on disk. Its tools write down that they begin and that they
end, in a file of their own; afterwards that file, the journal and the final history must agree.

`python -m tests.journal.crashing random|named|races|refusals SEED RUNS` prints its counts as JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import anyio

from agentkit import Agent, ToolContext
from agentkit.events import ModelEvent, ModelFinished, RunResult
from agentkit.journal import CallDone, CallIntended, Entry, Journal, Lease, is_address, journal_at
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    ModelResponse,
    ToolCall,
    ToolMessage,
    Usage,
    next_call_number,
)
from agentkit.toolset import Effect, Happened, Tool, ToolOptions, make_tool
from tests.journal.edges import digest, inside

RUN = "the-run"
SERVER = "the server"
"""A point at which the server dies instead of the run, and comes back."""

EFFECTS: tuple[Effect, ...] = ("pure", "idempotent", "probed", "once", "once", "once")
POINTS = (
    *(f"before {kind}" for kind in ("CallIntended", "CallStarted", "CallDone", "RunFinished")),
    *(f"after {kind}" for kind in ("RunOpened", "CallIntended", "CallStarted", "CallDone")),
    "before the model",
    "after the model",
    "in the tool",
    "after the tool",
)
"""Where a run can be made to kill itself."""

_UNKNOWN = "may or may not have taken effect"


@dataclass
class Bomb:
    """Kills its process when a point is reached for the so-manieth time."""

    point: str = ""
    at: int = 1

    def reached(self, point: str) -> None:
        if point == self.point:
            self.at -= 1
            if self.at == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class MinedJournal:
    """A journal that tells a bomb what it writes."""

    def __init__(self, journal: Journal, bomb: Bomb) -> None:
        self.claim, self.read, self.release = journal.claim, journal.read, journal.release
        self.turns = journal.turns
        self._journal, self._bomb = journal, bomb

    async def open(self, run_id: str, opening: Any) -> Lease:
        lease = await self._journal.open(run_id, opening)
        self._bomb.reached("after RunOpened")
        return lease

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        kinds = [type(entry).__name__ for entry in entries]
        for kind in kinds:
            self._bomb.reached(f"before {kind}")
        await self._journal.append(lease, entries, durable=durable)
        for kind in kinds:
            self._bomb.reached(f"after {kind}")


class SeededModel:
    """Asks for what a seed says, by how far the conversation is; the same in every process."""

    name, constrains = "seeded", False

    def __init__(self, seed: int, calls: int, bomb: Bomb, *, edges: bool = False) -> None:
        rng = random.Random(seed)
        self._seed, self._edges = seed, edges
        self._steps: list[list[tuple[str, int]]] = []
        number = 0
        while number < calls:
            size = min(rng.choice((1, 1, 2, 4)), calls - number)
            self._steps.append([(rng.choice(EFFECTS), number + n) for n in range(size)])
            number += size
        self._bomb = bomb

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self._bomb.reached("before the model")
        done = sum(isinstance(message, AssistantMessage) for message in request.messages)
        first = next_call_number(request.messages)
        message = AssistantMessage("All done.")
        if done < len(self._steps):
            asked = enumerate(self._steps[done])
            made = [ToolCall(f"call_{first + n}", e, self._arguments(i)) for n, (e, i) in asked]
            message = AssistantMessage(None, tuple(made))
        reason: Any = "tool_calls" if message.tool_calls else "stop"
        await anyio.sleep(0.001)
        yield ModelFinished(ModelResponse(message, reason, Usage(10, 5)))
        self._bomb.reached("after the model")

    def _arguments(self, number: int) -> dict[str, Any]:
        if not self._edges:
            return {"number": number}
        return {"number": number, "value": edge(self._seed, number)}

    async def aclose(self) -> None:
        """Holds nothing."""


def edge(seed: int, number: int) -> Any:
    """The value at the edge of what can be kept that a call carries."""
    return inside(random.Random(seed * 1_000 + number))


@dataclass(frozen=True)
class Diary:
    """What tools did: a line is written at once and outlives the process."""

    file: Path

    def write(self, what: str, key: str, number: int) -> None:
        with self.file.open("ab", buffering=0) as out:
            out.write(f"{what} {key} {number}\n".encode())

    def keys(self, what: str) -> Counter[str]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith(what))


def tools_of(diary: Diary, bomb: Bomb, seed: int, pace: float) -> list[Tool[..., Any]]:
    """A tool for each effect; each takes up to `pace` seconds."""
    rng = random.Random(seed ^ os.getpid())

    def work(ctx: ToolContext[Any], number: int, value: Any = None) -> str:
        """Works."""
        assert value is None or digest(value) == digest(edge(seed, number)), "another value came"
        diary.write("begin", ctx.idempotency_key, number)
        bomb.reached("in the tool")
        time.sleep(rng.random() * pace)
        diary.write("end", ctx.idempotency_key, number)
        bomb.reached("after the tool")
        return f"did {number}"

    def probe(arguments: Any, ctx: ToolContext[Any]) -> Happened | None:
        ended = diary.keys("end")[ctx.idempotency_key]
        return Happened(f"did {arguments['number']}") if ended else None

    options = {effect: ToolOptions(effect=effect) for effect in EFFECTS}
    options["probed"] = ToolOptions(effect="probed", probe=probe)
    return [make_tool(work, name=effect, options=made) for effect, made in options.items()]


@dataclass(frozen=True)
class Case:
    """A run: where it is kept, and what it is to do.

    Attributes:
        lease: Seconds, of who works on it.
        pace: Seconds that a tool takes at most.
        edges: Whether calls carry values at the edge of what can be kept.
        server: The address of a server that keeps it; a file in the folder does if it is empty.
    """

    folder: Path
    seed: int
    calls: int = 10
    lease: float = 30.0
    pace: float = 0.002
    edges: bool = False
    server: str = ""

    @property
    def run_id(self) -> str:
        """Its name in the journal, which may be that of many runs."""
        return f"run-{self.seed}" if self.server else RUN

    @property
    def place(self) -> str:
        """The journal's name."""
        return self.server or str(self.folder / "runs.db")


class Crashable(Protocol):
    """A server that dies and comes back."""

    def kill(self) -> None: ...

    def start(self) -> None: ...


def victim(case: Case, bomb: Bomb) -> None:
    """Begins the run or goes on with it; writes its end. Called in a process of its own."""
    folder, seed = case.folder, case.seed
    journal = journal_at(case.place, lease=case.lease)
    mined = MinedJournal(journal, bomb)
    model = SeededModel(seed, case.calls, bomb, edges=case.edges)
    tools = tools_of(Diary(folder / "diary"), bomb, seed, case.pace)
    agent = Agent(model, tools=tools, observers=())

    async def main() -> RunResult:
        if await journal.read(case.run_id):
            return await agent.resume(case.run_id, journal=mined)
        return await agent.run("Work.", journal=mined, run_id=case.run_id)

    result = anyio.run(main)
    assert result.stop_reason == "answer", result.explanation
    told = {m.call_id: str(m.content) for m in result.messages if isinstance(m, ToolMessage)}
    (folder / "told").write_text(json.dumps(told))


def start(case: Case, bomb: Bomb, *, file_size: int | None = None) -> int:
    """The number of a process that runs `victim`; exit code 0 if it came to the end.

    Args:
        case: The run.
        bomb: Of the process.
        file_size: Bytes that no file of it may exceed, as if the disk were full.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if file_size is not None:
                sys.dont_write_bytecode = True  # Python 3.11 would leave half a file of it behind
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
            victim(case, bomb)
            code = 0
        except BaseException:  # noqa: BLE001 - a forked child must not go on as its parent
            with suppress(OSError):  # the disk may be full
                (case.folder / "why").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    return pid


def play(case: Case, points: Sequence[str], server: Crashable | None = None) -> Counter[str]:
    """One run: killed at each of the points in turn, `""` at random, then left to end.

    Args:
        case: The run.
        points: Where it is killed; `SERVER` kills the server instead.
        server: The server that keeps it.
    """
    rng, diary = random.Random(case.seed), Diary(case.folder / "diary")
    counts: Counter[str] = Counter(runs=1, calls=case.calls)
    finished: dict[str, str] = {}
    begun: dict[str, int] = {}
    for point in points:
        if point == SERVER and server is not None:
            outcome = (
                "it outlived its server" if _outlives(case, rng, server) else "both were killed"
            )
            counts[outcome] += 1
            counts["kills of the server"] += 1
        elif _dies(case, point, rng):
            counts["kills"] += 1
        else:
            break
        now, begins = _results(case), diary.keys("begin")
        assert _same(begun, begins), f"{case}: a finished call began again"
        assert finished.items() <= now.items(), f"{case}: finished results were lost"
        finished, begun = now, {key: begins[key] for key in now}
    assert os.waitpid(start(case, Bomb()), 0)[1] == 0, f"{case}: it does not come to its end"
    assert _same(begun, diary.keys("begin")), f"{case}: a finished call began again"
    return counts + check(case, finished)


def _same(before: dict[str, int], now: Counter[str]) -> bool:
    return all(now[key] == times for key, times in before.items())


def _dies(case: Case, point: str, rng: random.Random) -> bool:
    """Whether it was killed; False if it came to its end before that."""
    once = "Run" in point  # such a point is reached once
    pid = start(case, Bomb(point, 1 if once else rng.randint(1, 3)))
    if not point:
        time.sleep(rng.random() * (0.3 if case.server else 0.12))
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, f"{case}: a resumption failed"
    return os.WIFSIGNALED(status)


def _outlives(case: Case, rng: random.Random, server: Crashable) -> bool:
    """Whether a run went on when its server died and came back; sometimes both are killed."""
    pid = start(case, Bomb())
    time.sleep(rng.random() * 0.3)
    server.kill()
    if both := rng.random() < 0.3:
        os.kill(pid, signal.SIGKILL)
    time.sleep(rng.random() * 0.2)
    server.start()
    status = os.waitpid(pid, 0)[1]
    if status and not (both and os.WIFSIGNALED(status)):
        why = case.folder / "why"
        raise AssertionError(f"{case}: it did not outlive it: {why.exists() and why.read_text()}")
    return not os.WIFSIGNALED(status)


def _entries(case: Case) -> list[Entry]:
    if not is_address(case.place) and not Path(case.place).exists():
        return []
    with journal_at(case.place) as journal:
        return [record.entry for record in anyio.run(journal.read, case.run_id)]


def _results(case: Case) -> dict[str, str]:
    """The results that are on the disk, by key."""
    done = [entry for entry in _entries(case) if isinstance(entry, CallDone)]
    assert len({entry.key for entry in done}) == len(done), "a call has two results"
    return {entry.key: str(entry.result.content) for entry in done}


def check(case: Case, finished: dict[str, str], *, outlived: bool = False) -> Counter[str]:
    """What the diary, the journal and the final history say of every call.

    Args:
        case: The run.
        finished: Results that were on the disk before its last process began.
        outlived: An earlier owner was not dead, but stopped, and worked on later.

    Raises:
        AssertionError: They do not agree.
    """
    counts: Counter[str] = Counter()
    told = json.loads((case.folder / "told").read_text())
    diary = Diary(case.folder / "diary")
    begins, ends = diary.keys("begin"), diary.keys("end")
    intents = [entry for entry in _entries(case) if isinstance(entry, CallIntended)]
    assert sorted(told) == sorted(intent.call.id for intent in intents), f"{case}"
    for intent in intents:
        key, effect, text = intent.key, intent.effect, told[intent.call.id]
        done, unknown = text == f"did {intent.call.arguments['number']}", _UNKNOWN in text
        assert done != unknown, f"{case}: {text}"
        kept = finished.get(key, text)  # the run may have added a warning to it
        assert text.startswith(kept), f"{case}: a finished result was lost"
        if effect == "once":
            assert begins[key] <= 1, f"{case}: a once tool began {begins[key]} times"
            assert begins[key] == 1 or unknown, f"{case}: it did not run"
            assert not done or ends[key] == 1, f"{case}: it did not end"
            counts["unknown_reported"] += unknown
            counts["unknown_that_had_not_begun"] += unknown and not begins[key]
            counts["unknown_that_had_ended"] += unknown and bool(ends[key])
        else:
            assert done, f"{case}: a {effect} call stays unknown"
            assert effect != "probed" or outlived or ends[key] == 1, f"{case}: probed, ended twice"
            counts["run_again_by_right"] += begins[key] - 1
    return counts


def race(case: Case) -> Counter[str]:
    """An owner is stopped, another takes the run to its end, and the old one wakes up."""
    folder, diary = case.folder, case.folder / "diary"
    old = start(replace(case, lease=0.2), Bomb())
    while not diary.exists():
        assert os.waitpid(old, os.WNOHANG)[0] == 0, f"{case}: the first owner did not begin"
        time.sleep(0.001)
    time.sleep(random.Random(case.seed).random() * 0.03)
    os.kill(old, signal.SIGSTOP)
    os.waitpid(old, os.WUNTRACED)  # all of its threads stand still now
    if not case.server and _locked(
        folder
    ):  # stopped within a transaction: such an owner is waited for
        os.kill(old, signal.SIGKILL)
        os.waitpid(old, 0)
        return Counter(stopped_in_a_transaction=1)
    deadline = time.monotonic() + 20
    while os.waitpid(start(case, Bomb()), 0)[1]:
        assert time.monotonic() < deadline, f"{case}: nobody could take over"
    finished, told = _results(case), (folder / "told").read_text()
    os.kill(old, signal.SIGCONT)
    late = os.waitpid(old, 0)[1]
    assert finished == _results(case), f"{case}: a stale owner wrote"
    (folder / "told").write_text(told)
    counts = check(case, finished, outlived=True)
    return counts + Counter(races=1, stale_owners_refused=bool(late))


def refuse(case: Case) -> Counter[str]:
    """The disk is full in mid-run; later there is room again."""
    size = random.Random(case.seed).randint(_LEAST_JOURNAL, 250_000)
    status = os.waitpid(start(case, Bomb(), file_size=size), 0)[1]
    intents = {entry.key for entry in _entries(case) if isinstance(entry, CallIntended)}
    begun = set(Diary(case.folder / "diary").keys("begin"))
    assert begun <= intents, f"{case}: tools began without an intent: {begun - intents}"
    finished = _results(case)
    assert os.waitpid(start(case, Bomb()), 0)[1] == 0, f"{case}: it does not come to its end"
    counts = Counter(tries=1, runs_that_met_a_full_disk=bool(status), calls_begun_before=len(begun))
    return counts + check(case, finished)


_LEAST_JOURNAL = 36_000
"""Bytes: SQLite's shared-memory file has 32 KiB before anything is written."""


def _locked(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / "runs.db", timeout=0.05, isolation_level=None)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
            file.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


def batch(
    seed: int, runs: int, points: Sequence[str] = ("", ""), *, edges: bool = False
) -> dict[str, int]:
    """Plays so many runs of ten calls."""
    counts: Counter[str] = Counter()
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            counts += play(Case(Path(folder), seed * 1000 + number, edges=edges), points)
    return dict(counts)


def races(seed: int, number: int) -> dict[str, int]:
    """Plays so many races for a run of ten calls."""
    counts: Counter[str] = Counter()
    for each in range(number):
        with tempfile.TemporaryDirectory() as folder:
            counts += race(Case(Path(folder), seed * 1000 + each, pace=0.02))
    return dict(counts)


def refusals(seed: int, number: int) -> dict[str, int]:
    """Plays so many runs of ten calls that meet a full disk."""
    counts: Counter[str] = Counter()
    for each in range(number):
        with tempfile.TemporaryDirectory() as folder:
            counts += refuse(Case(Path(folder), seed * 1000 + each))
    return dict(counts)


def named(seed: int, runs: int, points: Sequence[str] = POINTS) -> dict[str, int]:
    """Plays so many runs for each of the points, killed there: more often if there are many."""
    counts: Counter[str] = Counter()
    for point in points:
        counts += Counter(batch(seed, runs, (point,) * (1 + runs // 5)))
    return dict(counts)


if __name__ == "__main__":
    plays: dict[str, Callable[[int, int], dict[str, int]]] = {
        "random": batch,
        "named": named,
        "races": races,
        "refusals": refusals,
    }
    kind, first, how_many = sys.argv[1:]
    sys.stdout.write(json.dumps(plays[kind](int(first), int(how_many))))
