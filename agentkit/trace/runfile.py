"""The run file: one JSON line for each event of a run, written as it happens.

An observer of events, for runs that have no journal; of those that have one, such a file is an
export. It holds what happened, not what was streamed: deltas are left out, the
messages they add up to are in. So it is enough to replay the run offline (`agentkit.runtime`).
A line is written whole and flushed, so that a run that is killed leaves a file that is complete up
to there. A disk that refuses never stops a run; it is said once.
"""

from __future__ import annotations

import os
import time
from io import FileIO
from pathlib import Path
from urllib.parse import quote

from agentkit.events import (
    Event,
    PartialOutput,
    ReasoningDelta,
    RunFinished,
    RunStarted,
    SubRunEvent,
    TextDelta,
    ToolCallDelta,
    dump_event,
)
from agentkit.events.lines import Values
from agentkit.logs import get_logger
from agentkit.redaction import without_secrets

_log = get_logger()
_NOT_KEPT = (TextDelta, ReasoningDelta, ToolCallDelta, PartialOutput, SubRunEvent)


def runs_directory() -> Path | None:
    """Where run files go: `AGENTKIT_RUNS`, or the user's state directory; None for `off`.

    The default follows the XDG Base Directory specification: `$XDG_STATE_HOME/agentkit/runs`.
    """
    chosen = os.environ.get("AGENTKIT_RUNS")
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "agentkit" / "runs"


def run_file_name(run_id: str) -> str:
    """The name of a run's file; whatever the id holds, it is a name and no path."""
    return f"{quote(run_id, safe='')}.jsonl"


class RunFiles:
    """Writes `DIRECTORY/RUN_ID.jsonl` for each run it observes.

    Args:
        directory: Made when the first run begins.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, tuple[FileIO, Values]] = {}

    def path(self, run_id: str) -> Path:
        """The file of a run; whatever its id holds, the file lies in the directory."""
        return self._directory / run_file_name(run_id)

    def __call__(self, run_id: str, event: Event) -> None:
        """Writes the event's line, if it is one that the file keeps."""
        if isinstance(event, _NOT_KEPT):
            return
        try:
            self._write(run_id, event)
        except OSError as error:
            self._close(run_id)
            _log.warning("run file not written", path=str(self.path(run_id)), error=str(error))

    def _write(self, run_id: str, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            opened = open_private(self.path(run_id))
            self._open[run_id] = opened, Values()
            _drop_cut_line(opened)
        if run_id not in self._open:
            return
        file, values = self._open[run_id]
        line = memoryview(line_of(event, time.time(), values))
        while line:  # a nearly full disk may take part of it
            line = line[file.write(line) :]
        if isinstance(event, RunFinished):
            self._close(run_id)

    def _close(self, run_id: str) -> None:
        if opened := self._open.pop(run_id, None):
            opened[0].close()


def _drop_cut_line(file: FileIO) -> None:
    """What a kill left of a line would spoil the next one."""
    end = file.seek(0, os.SEEK_END)
    if end == 0 or os.pread(file.fileno(), 1, end - 1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.readall().rfind(b"\n") + 1)


def open_private(file: Path) -> FileIO:
    """A file to read and append to; made for its owner alone, since it holds all that was said."""
    mode = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return FileIO(os.open(file, mode, 0o600), "a+b")


def line_of(event: Event, time: float, values: Values) -> bytes:
    """The event's line, with its time in seconds since 1970 and no secret that was registered."""
    body = values.pack(without_secrets(dump_event(event)))
    return body[:-1] + f',"time":{time:.6f}}}\n'.encode()
