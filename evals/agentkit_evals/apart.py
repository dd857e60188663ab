"""A trial in a process of its own, with a limit of memory, so that it can break nothing else.

The process is forked from a clean one without threads or a model (a fork server), plays the trial,
sends its result back and ends. The limit is `RLIMIT_DATA`, which on Linux counts all private
writable memory, on top of what the process has when the trial begins. A tool that takes more gets a
`MemoryError` from Python; anything else ends with the process. If the process is lost, its trial
has no verdict.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
from contextlib import aclosing, closing
from functools import cache, partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import anyio.to_thread

from agentkit import ServerNotReadyError
from agentkit_evals.core import EvalError, Trial, TrialResult
from agentkit_evals.manifest import RunManifest
from agentkit_evals.suites import load_suite
from agentkit_evals.trial import GRACE, lost, run_trial


async def run_apart(
    manifest: RunManifest,
    trial: Trial,
    worker: str,
    *,
    target: str | None = None,
    record: Path | None = None,
) -> TrialResult:
    """Plays a trial of a run in another process; see `run_trial`.

    Args:
        manifest: The run, with a limit of memory.
        trial: The trial to play.
        worker: The name of the worker, for the result.
        target: Where the suite is found here, if not where the manifest says.
        record: A run file to write.

    Raises:
        EvalError: The suite is not installed, or the subject cannot be made.
        ServerNotReadyError: No trial could be played with this server.
    """
    here, there = _context().Pipe(duplex=False)
    asked = (manifest.dump(), target or manifest.suite, trial, worker, record)
    process = _context().Process(target=_main, args=(there, *asked), daemon=True)
    with closing(here):
        await anyio.to_thread.run_sync(process.start)
        there.close()
        try:
            answer = await _answer(here, manifest.limits.seconds)
        finally:
            with anyio.CancelScope(shield=True):  # also when the trial is cancelled
                await anyio.to_thread.run_sync(partial(_end, process))
    if isinstance(answer, TrialResult):
        return answer
    if answer is not None:
        kind, words = answer
        raise _ENDS_THE_RUN[kind](words)
    how = f"ended with code {process.exitcode} before the trial did"
    if process.exitcode in (None, -signal.SIGKILL):
        how = "was killed: it took too much memory, or too long"
    return lost(trial, worker, f"suite:ProcessLost: the trial's process {how}")


_Answer: TypeAlias = TrialResult | tuple[str, str]
"""The result of a trial, or the kind and the words of an error that ends the run."""

_ENDS_THE_RUN: Final = {kind.__name__: kind for kind in (EvalError, ServerNotReadyError)}


async def _answer(here: Connection, seconds: float | None) -> _Answer | None:
    """What the process sends; None if it ends before, or takes too long."""
    timeout = None if seconds is None else seconds + GRACE

    def wait() -> _Answer | None:
        try:
            found: _Answer | None = here.recv() if here.poll(timeout) else None
        except (EOFError, OSError):
            return None
        return found

    return await anyio.to_thread.run_sync(wait, abandon_on_cancel=True)


def _end(process: ForkServerProcess) -> None:
    process.join(1.0)
    if process.is_alive():
        process.kill()
        process.join()


@cache
def _context() -> ForkServerContext:
    """Forks processes from one that has imported this module, so that they start quickly."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


# --- in the process ----------------------------------------------------------------------------


def _main(
    answers: Connection,
    manifest: bytes,
    target: str,
    trial: Trial,
    worker: str,
    record: Path | None,
) -> None:
    try:
        loaded = RunManifest.load(manifest)
        answers.send(anyio.run(_play, loaded, target, trial, worker, record))
    except EvalError as error:
        answers.send((EvalError.__name__, str(error)))
    except ServerNotReadyError as error:
        answers.send((ServerNotReadyError.__name__, str(error)))


async def _play(
    manifest: RunManifest, target: str, trial: Trial, worker: str, record: Path | None
) -> TrialResult:
    limits = manifest.limits
    async with (
        aclosing(load_suite(target)) as suite,
        manifest.subject.opened() as make_agent,
    ):
        if limits.memory is not None:
            _bound(limits.memory)
        return await run_trial(suite, trial, make_agent, worker, limits=limits, record=record)


def _bound(memory: int) -> None:
    """Sets the limit of memory for good."""
    most = _taken() + memory
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _taken() -> int:
    """The bytes of data that this process has now."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
