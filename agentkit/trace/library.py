"""Where runs are kept: the run files that are written as runs happen, the journal beside them, and
one list of both.

A run file has one JSON line for each event of a run. For a run without a journal an observer writes
it as the run happens; for a run in a journal it is an export. It holds what happened, not what was
streamed: deltas are left out, the messages that they add up to are in. So it is enough to replay
the run offline (`agentkit.runtime`). Each line is written whole and flushed, so that a run that is
killed leaves a file that is complete up to there. A disk that takes nothing never stops a run; a
warning is logged once.

A conversation is a chain of runs in a journal, under one name:

```
run 1   "Will it rain?"     opened with what the user said
run 2   "And tomorrow?"     opened with all of run 1, and what the user said then
```
Each turn is a run like any other, and opens with everything that was said before. So the newest
turn holds the whole conversation: only that run is read to continue it, another conversation that
opens with a run's messages forks it, and deleting a turn takes nothing from later ones.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import FileIO
from itertools import islice
from pathlib import Path
from urllib.parse import quote, unquote

from agentkit.errors import JournalError, RunAtWorkError
from agentkit.events import (
    Event,
    PartialOutput,
    ReasoningDelta,
    RunFinished,
    RunResult,
    RunStarted,
    SubRunEvent,
    TextDelta,
    ToolCallDelta,
    dump_event,
)
from agentkit.events.lines import Values
from agentkit.journal import Journal, RunSummary, Store, is_address, store_at, summary_of
from agentkit.messages import (
    AssistantMessage,
    Message,
    ToolMessage,
    UserMessage,
    mended_history,
    text_of,
)
from agentkit.redaction import get_logger, public_address, without_secrets
from agentkit.toolset.results import NOT_DECIDED, NOT_DONE, in_history
from agentkit.trace.recording import (
    Part,
    Recording,
    Step,
    Timed,
    TraceError,
    events_of,
    lines_of,
    parts_of,
    read_file,
    recording_of,
)

# --- run files -----------------------------------------------------------------------------------


_NOT_KEPT = (TextDelta, ReasoningDelta, ToolCallDelta, PartialOutput, SubRunEvent)


def runs_directory() -> Path | None:
    """Where run files go: `AGENTKIT_RUNS`, or the user's state directory; None for `off`.

    The default follows the XDG Base Directory specification: `$XDG_STATE_HOME/agentkit/runs`.
    """
    chosen = os.environ.get("AGENTKIT_RUNS")
    if chosen == "off":
        return None
    if chosen:
        return Path(os.path.expanduser(chosen))
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "agentkit" / "runs"


def run_file_name(run_id: str) -> str:
    """The name of a run's file; whatever the id holds, it is a name and no path."""
    return f"{quote(run_id, safe='')}.jsonl"


class RunFiles:
    """Writes `DIRECTORY/RUN_ID.jsonl` for each run it observes.

    Args:
        directory: The folder of the files, which is made when the first run begins.
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
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
            get_logger().warning(
                "run file not written", path=str(self.path(run_id)), error=str(error)
            )

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
    """Removes a part of a line that a killed process left at the end; it would spoil the next."""
    end = file.seek(0, os.SEEK_END)
    if end == 0 or os.pread(file.fileno(), 1, end - 1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.readall().rfind(b"\n") + 1)


def open_private(file: Path) -> FileIO:
    """A file to read and append to, for its owner alone, since it holds all that was said."""
    mode = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return FileIO(os.open(file, mode, 0o600), "a+b")


def line_of(event: Event, time: float, values: Values) -> bytes:
    """The event's line, with its time in seconds since 1970 and no secret that was registered."""
    body = values.pack(without_secrets(dump_event(event)))
    return body[:-1] + f',"time":{time:.6f}}}\n'.encode()


# --- one list of all that is kept ----------------------------------------------------------------


JOURNAL = "journal.db"
"""The name of the default journal, in the directory of the run files."""


class Library:
    """The runs of a directory, or those of one journal.

    A run that is both in the journal and in a file, as earlier versions wrote it, is listed once,
    as the journal's, since that one can be resumed.

    Args:
        directory: Where the run files and the default journal are; default: `runs_directory()`.
        journal: Only the runs of this journal: the path of its file, or the address of a server.
    """

    def __init__(self, directory: Path | None = None, journal: Path | str | None = None) -> None:
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
        if run != "last" and _is_file(Path(run)):
            return read_file(Path(run))
        run_id = self.newest() if run == "last" else run
        with self._store() as store:
            if store is not None:
                examined = store.examine(run_id, public=True)
                if examined.records or any(damage.lost for damage in examined.damage):
                    return recording_of(run_id, examined.records, examined.damage, store.where)
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

    def delete(self, run: str) -> list[str]:
        """Removes a run from the journal and its file; returns where it was.

        Raises:
            TraceError: There is no such run.
            RunAtWorkError: Someone is at work on it.
        """
        removed: list[str] = []
        with self._store() as store:
            if store is not None and store.delete(run):
                removed.append(store.where)
        file = Path(run) if _is_file(Path(run)) else self._file(run)
        if file is not None:
            read_file(file)  # whatever else it is stays
            file.unlink()
            removed.append(str(file))
        if not removed:
            raise self._no_run(run)
        return removed

    def delete_older(self, seconds: float) -> int:
        """Removes old runs, wherever they are; returns how many. Runs that are at work or wait for
        a worker stay.

        Args:
            seconds: How long ago the last entry of a run must be.

        Raises:
            JournalError: The journal cannot be used.
        """
        when, removed = time.time() - seconds, set[str]()
        with self._store() as store:
            for run_id in store.idle_since(when) if store is not None else ():
                with suppress(RunAtWorkError):  # it was resumed in the meantime
                    if store is not None and store.delete(run_id):
                        removed.add(run_id)
        for file in self._files():
            if _changed(file) / 1e9 < when:
                file.unlink(missing_ok=True)
                removed.add(unquote(file.stem))
        return len(removed)

    # --- conversations ---------------------------------------------------------------------------

    def conversations(self, limit: int = 50, *, holding: str = "") -> list[Conversation]:
        """The conversations of the journal, the one with the newest turn first.

        Args:
            limit: Most of them.
            holding: Only those in which this text was said by anyone, in capitals or not.

        Raises:
            TraceError: Nothing is kept there.
            JournalError: The journal cannot be read.
        """
        with self._store() as store:
            return list(islice(_matching(store, holding), limit))

    def conversation(self, name: str) -> Conversation:
        """A conversation.

        Raises:
            TraceError: There is none of this name.
            JournalError: The journal cannot be read.
        """
        with self._store() as store:
            found = _conversation(store, name)
        if found is None:
            raise TraceError(
                f"there is no conversation {name!r} in {self._where()}; "
                "agentkit conversations list shows those there"
            )
        return found

    def delete_conversation(self, name: str) -> int:
        """Removes all turns of a conversation; returns how many.

        Raises:
            TraceError: There is none of this name.
            RunAtWorkError: Someone is at work on a turn.
        """
        turns = self.conversation(name).turns
        with self._store() as store:
            return sum(map(store.delete, turns)) if store is not None else 0

    @contextmanager
    def _store(self) -> Generator[Store | None]:
        """The journal, if there is one."""
        if self.journal is None or not (is_address(self.journal) or Path(self.journal).is_file()):
            if self._named:
                raise self._nothing()
            yield None
            return
        store = store_at(self.journal)
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
        return file if _is_file(file) else None

    def _nothing(self) -> TraceError:
        if self._named:
            return TraceError(
                f"there is no journal {self.journal}; agentkit run --journal PATH writes one"
            )
        if self.directory is None:
            return TraceError("no runs are kept: AGENTKIT_RUNS=off")
        return TraceError(f"there are no runs in {self.directory}")

    def _no_run(self, run: str) -> TraceError:
        return TraceError(
            f"there is no run {run!r} in {self._where()}; agentkit runs list shows those there"
        )

    def _where(self) -> str:
        return public_address(str(self.journal)) if self._named else str(self.directory)


def open_run(
    run: str | Path, directory: Path | None = None, journal: Path | str | None = None
) -> Recording:
    """A run by its id, by the path of its file, or `last` for the newest; see `Library.open`."""
    return Library(directory, journal).open(str(run))


def _matching(store: Store | None, text: str) -> Iterator[Conversation]:
    """The conversations in which a text was said, each read when it is asked for."""
    for name in store.conversations() if store is not None else ():
        conversation = _conversation(store, name)
        if conversation is not None and conversation.holds(text):
            yield conversation


def _conversation(store: Store | None, name: str) -> Conversation | None:
    turns = store.turns(name) if store is not None else []
    if store is None or not turns:
        return None
    examined = store.examine(turns[-1], public=True)
    messages = messages_of(events_of(turns[-1], examined.records))
    changed = examined.records[-1].at if examined.records else 0.0
    return Conversation(name, tuple(turns), changed, tuple(messages))


def _summary_of_file(file: Path) -> RunSummary:
    """A run in one line, from its file; of a file that is no run, what is wrong with it."""
    try:
        return summary_of(file.stem, lines_of(file))
    except (TraceError, JournalError) as error:
        return RunSummary(file.stem, "damaged", created=_changed(file) / 1e9, damage=str(error))


def _is_file(path: Path) -> bool:
    """Whether there is such a file. A run's name can be too long to be the name of any."""
    try:
        return path.is_file()
    except OSError:
        return False


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:  # gone since it was listed
        return 0


# --- conversations -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation in one line.

    Attributes:
        name: Its name.
        turns: Its runs, in order.
        changed: When something was last said, in seconds since 1970.
        messages: All that was said, without registered secrets; of a damaged record, what is left.
    """

    name: str
    turns: tuple[str, ...]
    changed: float
    messages: tuple[Message, ...]

    @property
    def questions(self) -> list[str]:
        """What the user said."""
        return [text_of(each.content) for each in self.messages if isinstance(each, UserMessage)]

    def holds(self, text: str) -> bool:
        """Whether a text was said by anyone, in capitals or not."""
        wanted = text.casefold()
        return any(wanted in text_of(each.content or "").casefold() for each in self.messages)


async def said_in(journal: Journal, conversation: str) -> list[Message]:
    """All that was said in a conversation by the end of its newest turn; nothing where it is new.

    Raises:
        JournalError: Its newest turn cannot be read.
    """
    turns = await journal.turns(conversation)
    return await said_by(journal, turns[-1]) if turns else []


async def said_by(journal: Journal, run_id: str) -> list[Message]:
    """All that was said by the end of a run: its opening, and what came of it.

    Raises:
        JournalError: It cannot be read.
    """
    return messages_of(events_of(run_id, await journal.read(run_id)))


def messages_of(events: Iterable[Timed]) -> list[Message]:
    """The messages of a run as `RunResult.messages` has them, from its record. Of a run without an
    end, those that are known.
    """
    messages: list[Message] = []
    for part in parts_of(events):
        messages = list(part.started.messages) or messages
        for step in part.steps:
            if step.asked:  # the request holds what the steps before added
                messages = list(step.asked[0].request.messages)
            messages += _added_by(step, part)
    return mended_history(messages)


def _added_by(step: Step, part: Part) -> Iterator[Message]:
    """The messages that a step added to its conversation."""
    is_last = step is part.steps[-1]
    reply = step.finished.message if step.finished is not None else None
    if isinstance(reply, AssistantMessage) and reply.tool_calls:
        if step.ran:  # else the reply could not be used
            calls = tuple(step.ran[c.id].call if c.id in step.ran else c for c in reply.tool_calls)
            yield replace(reply, content=None, tool_calls=calls)
    elif reply is not None:
        if reply.content or not is_last or _answers(part.result):
            yield reply
    elif step.interrupted and step.interrupted[-1].text:
        shown = step.interrupted[-1]
        yield AssistantMessage(shown.text, reasoning=shown.reasoning or None)
    for ran in step.ran.values():
        call = ran.call
        if ran.end is not None:
            result = ran.end.result
            yield ToolMessage(call.id, call.name, in_history(result.content), result.is_error)
        elif is_last and part.result is not None:
            why = NOT_DECIDED if ran.waits else NOT_DONE
            yield ToolMessage(call.id, call.name, f"Error: {why}.", is_error=True)


def _answers(result: RunResult[object] | None) -> bool:
    return result is not None and result.stop_reason == "answer"
