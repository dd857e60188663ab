"""The run files of a directory: finding one, and what each came to without parsing it whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentkit.events import RunFinished, RunResult, RunStarted
from agentkit.messages import Usage, UserMessage, text_of
from agentkit.trace.recording import TraceError, load_line
from agentkit.trace.runfile import run_file_name, runs_directory

__all__ = ["RunSummary", "find_run", "run_files", "summary_of"]

_START = b'{"event":"RunStarted"'
"""How a part of a run begins: as `dump_event` writes it."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a line.

    Attributes:
        run_id: Its id.
        asked: What the user said last.
        began: Seconds since 1970.
        seconds: Wall time of all its parts; not the time in which nobody was at work on it.
        result: Without messages; None if it has not ended.
    """

    run_id: str
    asked: str
    began: float
    seconds: float
    result: RunResult[Any] | None

    @property
    def usage(self) -> Usage:
        """Tokens of all steps."""
        return self.result.usage if self.result is not None else Usage()


def run_files(directory: Path | None = None) -> list[Path]:
    """The run files of a directory, the newest first; default: `runs_directory()`.

    Raises:
        TraceError: There is no such directory.
    """
    directory = directory or runs_directory()
    if directory is None or not directory.is_dir():
        where = "AGENTKIT_RUNS=off" if directory is None else f"{directory} does not exist"
        raise TraceError(f"there are no run files: {where}")
    return sorted(directory.glob("*.jsonl"), key=_changed, reverse=True)


def find_run(run: str, directory: Path | None = None) -> Path:
    """The file of a run.

    Args:
        run: Its id, the path of its file, or `last` for the newest.
        directory: Where run files are; default: `runs_directory()`.

    Raises:
        TraceError: There is none.
    """
    if run != "last" and (path := Path(run)).is_file():
        return path
    files = run_files(directory)
    if run == "last" and files:
        return files[0]
    for file in files:
        if file.name == run_file_name(run):
            return file
    where = directory or runs_directory()
    raise TraceError(f"there is no run {run!r} in {where}; `agentkit trace list` shows those there")


def summary_of(file: Path) -> RunSummary:
    """What a run came to, from the first and the last line of each part of its file.

    Raises:
        TraceError: It is no run file.
    """
    try:
        with file.open("rb") as lines:
            ends = [load_line(line) for line in _ends(lines)]
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise TraceError(f"{file} is no run file: {why}") from None
    first, last = ends[0], ends[-1]
    if not isinstance(first.event, RunStarted):
        raise TraceError(f"{file} does not begin with the start of a run")
    result = last.event.result if isinstance(last.event, RunFinished) else None
    messages = reversed(first.event.messages)
    asked = next((text_of(m.content) for m in messages if isinstance(m, UserMessage)), "")
    seconds = sum(end.time - start.time for start, end in zip(ends[::2], ends[1::2], strict=True))
    return RunSummary(first.event.run_id, asked, first.time, seconds, result)


def _ends(lines: Iterable[bytes]) -> list[bytes]:
    """The first and the last line of each part, one after the other; a line that was cut is none.

    Only these are to be parsed: the lines between them hold all that was said.
    """
    ends: list[bytes] = []
    last = b""
    for line in lines:
        if not line.endswith(b"\n"):
            break
        if ends and line.startswith(_START):
            ends += [last, line]
        elif not ends:
            ends.append(line)
        last = line
    return [*(ends or [last]), last]


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:  # gone since it was listed
        return 0
