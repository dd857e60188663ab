"""Where runs are kept, and how one is found: a journal and the run files beside it, as one list."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from agentkit.errors import JournalError
from agentkit.journal import RunSummary, Store, summary_of
from agentkit.trace.recording import Recording, TraceError, lines_of, read_file, recording_of
from agentkit.trace.runfile import run_file_name, runs_directory

JOURNAL = "journal.db"
"""The name of the default journal, in the directory of the run files."""

_LEASE = 30.0
"""Seconds; see `SQLiteJournal`. Nothing is held here."""


class Library:
    """The runs of a directory, or those of one journal.

    A run that is in the journal and in a file as well, as earlier versions wrote it, is one run:
    the journal's, since that one can be gone on with.

    Args:
        directory: Of the run files and of the default journal; default: `runs_directory()`.
        journal: Only the runs of this journal.
    """

    def __init__(self, directory: Path | None = None, journal: Path | None = None) -> None:
        self.directory = None if journal else directory or runs_directory()
        self.journal = journal or (self.directory / JOURNAL if self.directory else None)
        self._named = journal is not None

    def runs(self, limit: int = 50) -> list[RunSummary]:
        """The newest runs, newest first.

        Raises:
            TraceError: Nothing is kept there.
            JournalError: The journal cannot be read.
        """
        found: list[RunSummary] = []
        with self._store() as store:
            if store is not None:
                found += store.runs(limit)
            known = {run.run_id for run in found}
            files = self._files()
            if store is None and not files:
                raise self._nothing()
            for file in files[: limit + len(known)]:
                summary = _summary_of_file(file)
                if summary.run_id not in known:
                    found.append(summary)
        return sorted(found, key=lambda run: run.created, reverse=True)[:limit]

    def open(self, run: str) -> Recording:
        """A run.

        Args:
            run: Its id, the path of its file, or `last` for the newest.

        Raises:
            TraceError: There is none.
            JournalError: The journal cannot be read.
        """
        if run != "last" and (path := Path(run)).is_file():
            return read_file(path)
        run_id = self.newest() if run == "last" else run
        with self._store() as store:
            if store is not None:
                examined = store.examine(run_id, public=True)
                if examined.records or any(damage.lost for damage in examined.damage):
                    return recording_of(run_id, examined.records, examined.damage, store.path)
        file = self._file(run_id)
        if file is None:
            raise self._no_run(run_id)
        return read_file(file)

    def newest(self) -> str:
        """The id of the newest run.

        Raises:
            TraceError: There is none.
        """
        found = self.runs(1)
        if not found:
            raise self._nothing()
        return found[0].run_id

    def delete(self, run: str) -> list[Path]:
        """Removes a run from the journal and its file; returns where it was.

        Raises:
            TraceError: There is no such run.
            JournalError: Someone is at work on it.
        """
        removed: list[Path] = []
        with self._store() as store:
            if store is not None:
                removed += [store.path] if store.delete(run) else []
        file = Path(run) if Path(run).is_file() else self._file(run)
        if file is not None:
            read_file(file)  # whatever else it is stays
            file.unlink()
            removed.append(file)
        if not removed:
            raise self._no_run(run)
        return removed

    @contextmanager
    def _store(self) -> Generator[Store | None]:
        """The journal, if there is one."""
        if self.journal is None or not self.journal.is_file():
            if self._named:
                raise self._nothing()
            yield None
            return
        store = Store(self.journal, lease=_LEASE)
        try:
            yield store
        finally:
            store.close()

    def _files(self) -> list[Path]:
        if self.directory is None or not self.directory.is_dir():
            return []
        return sorted(self.directory.glob("*.jsonl"), key=_changed, reverse=True)

    def _file(self, run_id: str) -> Path | None:
        if self.directory is None:
            return None
        file = self.directory / run_file_name(run_id)
        return file if file.is_file() else None

    def _nothing(self) -> TraceError:
        if self._named:
            return TraceError(
                f"there is no journal {self.journal}; agentkit run --journal PATH writes one"
            )
        if self.directory is None:
            return TraceError("no runs are kept: AGENTKIT_RUNS=off")
        return TraceError(f"there are no runs in {self.directory}")

    def _no_run(self, run: str) -> TraceError:
        where = self.journal if self._named else self.directory
        return TraceError(
            f"there is no run {run!r} in {where}; agentkit runs list shows those there"
        )


def open_run(
    run: str | Path, directory: Path | None = None, journal: Path | None = None
) -> Recording:
    """A run by its id, by the path of its file, or `last` for the newest; see `Library.open`."""
    return Library(directory, journal).open(str(run))


def _summary_of_file(file: Path) -> RunSummary:
    """What a run came to, from its file; a file that is none is listed with what is wrong."""
    try:
        lines = lines_of(file)
        return summary_of(file.stem, lines)
    except (TraceError, JournalError) as error:
        return RunSummary(file.stem, "damaged", created=_changed(file) / 1e9, damage=str(error))


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:  # gone since it was listed
        return 0
