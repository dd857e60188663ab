"""The store of results: lines that are only appended, each durable before it counts.

```
RUN/manifest.json       the run
RUN/lock                held while the run is played
RUN/trials/WRITER.jsonl a file for each process that wrote results, with a line for each trial
RUN/runs/CASE-N.jsonl   the run file of a trial; no number depends on it
```
A line is written with one `write` and synced before the trial counts as done, so a process that
dies loses only the trials it was playing. An incomplete last line is ignored. Each writer has its
own file, so workers on several machines can share a folder.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import TypeAdapter, ValidationError

from agentkit.redaction import without_secrets
from agentkit.trace import run_file_name
from agentkit_evals.core import EvalError, TrialResult, as_json
from agentkit_evals.manifest import RunManifest

_VOLATILE = ("seconds", "worker", "timing")
"""Fields that differ between two equal runs."""


_LONGEST_NAME = 200
"""Characters of a file's name; file systems take 255 bytes."""


class Store:
    """One run's folder.

    Args:
        folder: The folder; it is made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return (self.folder / "manifest.json").exists()

    def manifest(self) -> RunManifest:
        """The manifest of the run.

        Raises:
            EvalError: The folder holds no run, or it cannot be read.
        """
        path = self.folder / "manifest.json"
        try:
            return RunManifest.load(path.read_bytes())
        except FileNotFoundError:
            raise EvalError(
                f"{self.folder} holds no run; `agentkit eval list` shows them"
            ) from None
        except OSError as error:
            raise EvalError(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise EvalError(f"{path} cannot be read: {error.errors()[0]['msg']}") from error

    def begin(self, manifest: RunManifest) -> None:
        """Makes the folder; if it holds the same run, that is resumed, perhaps with more trials.

        Raises:
            EvalError: The folder holds another run, or one with fewer trials that another process
                plays, another process makes a run there, or it cannot be written.
        """
        if self.exists and self._accepted(manifest) == manifest:
            return
        self._make()
        with self.locked():  # another process may make or extend the same run at this moment
            if not self.exists or self._accepted(manifest) != manifest:
                self._write(manifest)

    def _accepted(self, manifest: RunManifest) -> RunManifest:
        """The manifest of the run, which the given one repeats or extends.

        Raises:
            EvalError: The given one is of another run.
        """
        kept = self.manifest()
        if changes := kept.changes(manifest):
            raise EvalError(
                f"{self.folder} holds another run: since it was begun there is a change in "
                f"{', '.join(changes)}. Its verdicts are not those of what is run now: give "
                "this run another name, or, if only the grading changed, grade the old one "
                f"again: agentkit eval rescore {self.folder.name}"
            )
        return kept

    def _make(self) -> None:
        try:
            (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvalError(f"{self.folder} cannot be written: {error.strerror}") from error

    def _write(self, manifest: RunManifest) -> None:
        draft = self.folder / "manifest.draft"
        try:
            with draft.open("wb") as file:
                file.write(manifest.dump())
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self.folder / "manifest.json")
            _sync_folder(self.folder)
        except OSError as error:
            raise EvalError(f"{self.folder} cannot be written: {error.strerror}") from error

    @contextmanager
    def locked(self) -> Generator[None]:
        """Locks the run; the kernel releases the lock even if the holder is killed.

        Raises:
            EvalError: Another process plays it, or the folder cannot be written.
        """
        try:
            file = (self.folder / "lock").open("w")
        except OSError as error:
            raise EvalError(f"{self.folder} cannot be written: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EvalError(f"{self.folder} is being run by another process") from None
            yield

    def lines(self) -> Iterator[TrialResult]:
        """Every line of every writer, not in the order of time.

        Raises:
            EvalError: A line is damaged, or a file cannot be read.
        """
        for path in sorted((self.folder / "trials").glob("*.jsonl")):
            try:
                with path.open("rb") as file:
                    yield from _results_in(file, path)
            except OSError as error:
                raise EvalError(f"{path} cannot be read: {error.strerror}") from error

    def results(self) -> dict[tuple[str, int], TrialResult]:
        """The result of each trial, by case and number.

        A verdict is final; it replaces an infrastructure failure of the same trial.
        """
        found: dict[tuple[str, int], TrialResult] = {}
        for result in self.lines():
            if result.key not in found or found[result.key].status != "graded":
                found[result.key] = result
        return found

    def canonical(self) -> bytes:
        """All results as sorted JSON lines, without fields that differ between equal runs."""
        lines = []
        for _, result in sorted(self.results().items()):
            body = json.loads(as_json(result))
            for name in _VOLATILE:
                del body[name]
            lines.append(json.dumps(body, sort_keys=True, ensure_ascii=False) + "\n")
        return "".join(lines).encode()

    def record(self, case: str, number: int) -> Path:
        """The path of a trial's run file, which need not exist."""
        name = run_file_name(f"{case}-{number}")
        if len(name) > _LONGEST_NAME:
            digest = hashlib.sha256(case.encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{digest}-{number}.jsonl"
        return self.folder / "runs" / name

    def floor(self) -> Store:
        """The store of the same cases, played by an agent that does nothing."""
        return Store(self.folder / "floor")


class Writer:
    """Appends results to a file of its own.

    Args:
        store: The store of a run that was begun.
    """

    def __init__(self, store: Store) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._path = store.folder / "trials" / f"{self.name}.jsonl"
        self._file: int | None = None
        self._written = self._synced = 0
        self._syncing = anyio.Lock()

    def append(self, result: TrialResult) -> None:
        """Writes a line; it is on the disk when this returns.

        Raises:
            EvalError: It cannot be written.
        """
        with self._named():
            os.fsync(self._write(result))

    async def keep(self, result: TrialResult) -> None:
        """As `append`, without blocking the event loop; results that wait share one `fsync`.

        Raises:
            EvalError: It cannot be written.
        """
        with self._named():
            file = self._write(result)
            self._written += 1
            mine = self._written
            async with self._syncing:
                if self._synced < mine:
                    written = self._written
                    await anyio.to_thread.run_sync(os.fsync, file)
                    self._synced = written

    @contextmanager
    def _named(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise EvalError(
                f"a result cannot be written to {self._path}: {error.strerror}; "
                "what was written before is kept, and the same run can be gone on with"
            ) from error

    def _write(self, result: TrialResult) -> int:
        """Appends a line, which is not on the disk yet; returns the file."""
        line = without_secrets(as_json(result)) + b"\n"
        if self._file is None:  # a worker that never finishes a trial leaves no file
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            _sync_folder(self._path.parent)
        written = os.write(self._file, line)
        if written != len(line):  # as on a disk that is nearly full
            # A part of a line would spoil the next one.
            os.ftruncate(self._file, os.lseek(self._file, 0, os.SEEK_CUR) - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _results_in(lines: Iterable[bytes], path: Path) -> Iterator[TrialResult]:
    """Yields the result of each whole line of a file."""
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            continue
        try:
            yield _adapter().validate_json(line)
        except ValidationError as error:
            raise EvalError(
                f"{path}, line {number} is no result: {error.errors()[0]['msg']}; "
                "without the line its trial is played again"
            ) from error


def _sync_folder(folder: Path) -> None:
    """Syncs a folder: only then is the name of a new file in it durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@cache
def _adapter() -> TypeAdapter[TrialResult]:
    """Built at the first use: it costs more than importing this module."""
    return TypeAdapter(TrialResult)
