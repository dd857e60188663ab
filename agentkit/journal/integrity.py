"""Whether a run's record is what was written: each entry is sealed, and a second file is witness.

Each entry's digest covers the entry and the digest before it, so a changed, missing or foreign
entry is found where it stands (`Chain`). But a database that lost its newest pages, say with its
write-ahead log, looks whole. So the end of each run's record is also noted in a file apart from the
journal, which is forced to the disk with it (`Witness`). A reader compares the two: a record that
ends before its witness has lost entries.

```
journal  ── COMMIT ──► on the disk ──► witness ──► on the disk ──► the caller may go on
```
The witness comes second, so a process that dies between the two leaves a witness that is behind,
which is no sign of a loss. Each run has two slots that are written in turn, each within one sector
of the disk and with a checksum of its own: where one slot is torn, the other is whole.

In: a run's rows, in whatever state they are, and what the witness saw. Out: the entries that are as
they were written, and for each other place a `Damage`: what is wrong there, and what may be lost by
it. An entry that does not fit its seal is never taken for what was written, and the witness never
holds what was said.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from agentkit.errors import JournalError
from agentkit.events.lines import Values
from agentkit.journal.entries import Raw, Record
from agentkit.journal.leases import boot_id

# --- the witness ---------------------------------------------------------------------------------

_SLOT = 512
"""Bytes: a sector, which disks write whole or not at all."""

_PAIR = 2 * _SLOT
_LONGEST_NAME = 120  # characters, so that a slot holds it whatever it is made of
_FREE = bytes(_PAIR)


@dataclass(frozen=True, slots=True)
class Testimony:
    """What was written last of a run.

    Attributes:
        run_id: Its name, or the beginning of a long one.
        key: Names the run, however long its name is.
        number: How many testimonies on this run there are, this one included; the highest is valid.
        seq: The number of the last entry.
        digest: The seal of the last entry, which covers all before it.
        kind: The kind of the last entry.
        calls: The number of calls that were to run by then.
        forced: The last entry that was forced to the disk; a loss of power may take those after it.
        boot: Which boot of the machine it was; see `agentkit.journal.leases.boot_id`.
    """

    run_id: str
    key: str
    number: int
    seq: int
    digest: str
    kind: str
    calls: int
    forced: int
    boot: str


class Witness:
    """The file beside a journal.

    Args:
        path: The file, made for its owner alone when the first run begins.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._places: dict[str, int] = {}  # offsets of slots, by the run's key

    def of(self, run_id: str) -> Testimony | None:
        """The newest testimony on a run; None if there is none, or none that can be read.

        Raises:
            OSError: The file cannot be read.
        """
        key = key_of(run_id)
        known = key in self._places
        found = self._read_pair(key)
        if found is None and known:  # others may have begun the run again, at another place
            del self._places[key]
            found = self._read_pair(key)
        return found

    def _read_pair(self, key: str) -> Testimony | None:
        pair = self._pair(key)
        return None if pair is None else _newest(os.pread(self._open(), _PAIR, pair), key)

    def all(self) -> list[Testimony]:
        """The newest testimony on each run, of those that can be read.

        Raises:
            OSError: The file cannot be read.
        """
        if not self._path.exists():
            return []
        data = self._read()
        pairs = (data[at : at + _PAIR] for at in range(0, len(data), _PAIR))
        return [found for pair in pairs if (found := _newest(pair)) is not None]

    def say(self, testimony: Testimony, *, forced: bool) -> None:
        """Writes the newest testimony on a run.

        Args:
            testimony: Its number is one more than that of the testimony before it.
            forced: Whether it must be on the disk, to survive a loss of power, when this returns.

        Raises:
            OSError: It could not be written.
        """
        if testimony.number == 1:
            self._begin(testimony)
        else:
            self._write(testimony, self._places[testimony.key])
        if forced:  # the data alone: the time of the change may be lost
            getattr(os, "fdatasync", os.fsync)(self._open())

    def _begin(self, testimony: Testimony) -> None:
        """Writes the first testimony on a run, into slots that no other process can choose too."""
        key = testimony.key
        self._places.pop(key, None)
        with self._locked():
            pair = self._pair(key)
            self._places[key] = self._free() if pair is None else pair
            self._write(testimony, self._places[key])

    def _write(self, testimony: Testimony, pair: int) -> None:
        line = _line(testimony)
        written = os.pwrite(self._open(), line, pair + testimony.number % 2 * _SLOT)
        if written != len(line):  # as on a disk that is nearly full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def forget(self, run_id: str) -> None:
        """Frees a run's slots.

        Raises:
            OSError: The file cannot be written.
        """
        key = key_of(run_id)
        self._places.pop(key, None)
        pair = self._pair(key)
        if pair is not None:
            with self._locked():
                os.pwrite(self._open(), _FREE, pair)
            del self._places[key]

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        if self._file is None:
            new = not self._path.exists()
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if new:  # a file's name is durable only when its folder is
                folder = os.open(self._path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        return self._file

    @contextmanager
    def _locked(self) -> Generator[None]:
        fcntl.flock(self._open(), fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._open(), fcntl.LOCK_UN)

    def _read(self) -> bytes:
        file = self._open()
        return os.pread(file, os.fstat(file).st_size, 0)

    def _pair(self, key: str) -> int | None:
        """The offset of a run's slots; None if it has none."""
        if key not in self._places:
            if not self._path.exists():
                return None
            at = self._read().find(f'"{key}"'.encode())
            if at < 0:
                return None
            self._places[key] = at - at % _PAIR
        return self._places[key]

    def _free(self) -> int:
        """The offset at which a new run's slots can be written."""
        data = self._read()
        end = -(-len(data) // _PAIR) * _PAIR
        return next((at for at in range(0, end, _PAIR) if data[at : at + _PAIR] == _FREE), end)


def key_of(run_id: str) -> str:
    """32 hex digits that name a run."""
    return hashlib.blake2b(run_id.encode("utf-8", "replace"), digest_size=16).hexdigest()


def first(run_id: str) -> Testimony:
    """The empty testimony on a run that the witness does not know yet."""
    return Testimony(run_id[:_LONGEST_NAME], key_of(run_id), 0, 0, "", "", 0, 0, "")


def _line(testimony: Testimony) -> bytes:
    """A slot's line: a checksum, then JSON. It is made by hand, since each entry waits for it."""
    t, name = testimony, testimony.run_id
    while True:
        body = (
            f'{{"run_id":{json.dumps(name)},"key":"{t.key}","number":{t.number},'
            f'"seq":{t.seq},"digest":"{t.digest}","kind":"{t.kind}",'
            f'"calls":{t.calls},"forced":{t.forced},"boot":"{t.boot}"}}'
        )
        if len(body) <= _SLOT - 40:
            return f"{_checksum(body)} {body}".ljust(_SLOT - 1).encode() + b"\n"
        name = name[: len(name) // 2]  # of characters that JSON escapes


def _newest(pair: bytes, key: str | None = None) -> Testimony | None:
    read = [_read_slot(pair[at : at + _SLOT]) for at in (0, _SLOT)]
    found = [each for each in read if each is not None and key in (None, each.key)]
    return max(found, key=lambda each: each.number, default=None)


def _read_slot(slot: bytes) -> Testimony | None:
    checksum, _, body = slot.decode("ascii", "replace").strip().partition(" ")
    if not body or checksum != _checksum(body):
        return None
    try:
        return Testimony(**json.loads(body))
    except (TypeError, ValueError):  # of a later version
        return None


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


# --- the chain of seals --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Damage:
    """A place of a record that does not hold what was written there.

    Attributes:
        where: The place, such as `entry 7`.
        what: What is wrong with it, such as `is missing`.
        cost: What it may have held, a sentence without its full stop.
        lost: Whether something recorded is gone. The run can then not be continued, since its
            record may not be complete.
    """

    where: str
    what: str
    cost: str
    lost: bool = True

    def __str__(self) -> str:
        return f"{self.where} {self.what}: {self.cost}"


ANYTHING: Final = (
    "it may have held replies of the model, tool calls that have run, their results or decisions"
)

_COSTS: Final[Mapping[str, str]] = {
    "RunOpened": "it held what the run began with",
    "RunStarted": "it held what the run began with",
    "ModelCalled": "it held a reply of the model",
    "StepFinished": "it held a reply of the model",
    "CallIntended": "it held a tool call that was about to run",
    "CallStarted": "it held that a tool call began, which may have taken effect",
    "ToolStarted": "it held a tool call that began, which may have taken effect",
    "CallDone": "it held the result of a tool call that has run",
    "ToolFinished": "it held the result of a tool call",
    "Decided": "it held a decision of a person",
    "ApprovalDecided": "it held a decision of a person",
    "RunFinished": "it held how the run ended",
    "Shown": "it held that something was shown",
}


def cost_of(kind: str) -> str:
    """What an entry of a kind held. One of an unknown kind may have held anything."""
    return _COSTS.get(kind, ANYTHING)


Place: TypeAlias = tuple[str, int, int, float, str]
"""The run, the number of an entry in it, its owner's epoch, when it was written, and its kind."""


def seal(before: bytes, place: Place, body: bytes) -> bytes:
    """The digest of an entry, and with it of all entries before it."""
    head = "%s\0%d\0%d\0%r\0%s\0" % place  # noqa: UP031 - the members of a tuple, in order
    data = before + head.encode("utf-8", "surrogatepass") + body
    return hashlib.blake2b(data, digest_size=16).digest()


class Chain:
    """The rows of a run, checked one after the other."""

    def __init__(
        self, run_id: str, testimony: Testimony | None, hide: Callable[[bytes], bytes] | None
    ) -> None:
        self.records: list[Record] = []
        self.damage: list[Damage] = []
        self.digest = b""
        self._run_id = run_id
        self._testimony = testimony
        self._hide = hide
        self._values = Values()
        self._seq = 0
        self._sealed = False  # whether an entry had a seal: all later ones must have one too
        self._linked = True  # whether `digest` is the seal of the entry before

    def add(self, row: Sequence[Any]) -> None:
        """Checks the next row, and reads it if it is what was written."""
        seq, epoch, at, kind, body, digest, _ = row
        if not all(map(isinstance, row, (int, int, float, str, str))):
            self._lost(f"an entry after entry {self._seq}", "cannot be read", ANYTHING)
            self._linked = False
            return
        if seq > self._seq + 1:
            where = _entries(self._seq + 1, seq - 1)
            self._lost(where, "is missing" if seq == self._seq + 2 else "are missing", ANYTHING)
            self._linked = False
        self._seq = seq
        raw = Raw(seq, epoch, at, kind, body)
        problem = self._changed(raw, digest)
        try:
            record = Record(seq, epoch, at, raw.load(self._values, self._hide))
        except JournalError as error:
            problem = f"{problem}{', and ' if problem else ''}holds {error}"
        else:
            self.records += [] if problem else [record]
        if problem:
            name = kind if kind.isidentifier() else "of an unknown kind"
            self._lost(f"entry {seq}", f"({name}) {problem}", cost_of(kind))

    def _changed(self, raw: Raw, digest: object) -> str:
        """What is wrong with an entry, if it is not the one that was written."""
        testimony = self._testimony
        is_last = testimony is not None and testimony.seq == raw.seq
        before, linked = self.digest, self._linked
        # A run that began in a format without seals has none until it was continued in this one.
        if digest is None and not self._sealed:
            if testimony is not None and is_last and testimony.digest:
                return "lost its seal"
            return "" if _is_text(raw.body) else "holds bytes that are no text"
        self._sealed = True
        if not isinstance(digest, bytes):
            self._linked = False
            return "lost its seal"
        # From here the next entry can be checked, whatever is wrong with this one.
        self.digest, self._linked = digest, True
        place = (self._run_id, raw.seq, raw.epoch, raw.at, raw.kind)
        if linked and seal(before, place, raw.body.encode("utf-8", "surrogatepass")) != digest:
            return "was changed"
        if testimony is not None and is_last and testimony.digest != digest.hex():
            return "is not the one that the witness saw"
        return "" if linked or _is_text(raw.body) else "holds bytes that are no text"

    def end(self, failure: str, *, witnessed: bool) -> None:
        """Notes what is missing after the last row.

        Args:
            failure: Why further rows could not be read; empty if they could.
            witnessed: Whether there should be a witness.
        """
        if failure:
            self._lost("a part of the file", f"cannot be read ({failure})", ANYTHING)
        missing = missing_at_the_end(self._testimony, self._seq)
        if missing is not None:
            self.damage.append(missing)
        if self._testimony is None and witnessed:
            what = "entries that were lost at the end of the run would not be noticed"
            self.damage.append(Damage("the witness", "is missing", what, lost=False))

    def _lost(self, where: str, what: str, cost: str) -> None:
        self.damage.append(Damage(where, what, cost))


def _entries(first_one: int, last: int) -> str:
    return f"entry {last}" if last == first_one else f"entries {first_one} to {last}"


def _is_text(body: str) -> bool:
    try:
        body.encode()
    except UnicodeEncodeError:
        return False
    return True


def missing_at_the_end(testimony: Testimony | None, seq: int) -> Damage | None:
    """The entries that the witness saw after an entry; None where that is no damage.

    Entries that were not forced to the disk may be gone after a loss of power.
    """
    if testimony is None or seq >= testimony.seq:
        return None
    same_boot = bool(testimony.boot) and testimony.boot == boot_id()
    if seq >= testimony.forced and not same_boot:
        return None
    alone = testimony.seq == seq + 1
    what = "at the end is missing" if alone else "at the end are missing"
    cost = cost_of(testimony.kind) if alone else ANYTHING
    return Damage(_entries(seq + 1, testimony.seq), what, cost)


def lost_run(testimony: Testimony) -> Damage:
    """The damage of a run that is lost as a whole: only the witness knows of it."""
    match testimony.calls:
        case 0:
            ran = "no tool call"
        case 1:
            ran = "a tool call"
        case calls:
            ran = f"{calls} tool calls"
    cost = f"it had {testimony.seq} entries, and {ran} that may have taken effect"
    return Damage("the whole run", "is missing", cost)


def secrets_in(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """The secrets in the rows, as far as they were registered when the rows were written."""
    for _, _, _, _, body, _, hidden in rows:
        if isinstance(hidden, str) and isinstance(body, str):
            data = body.encode("utf-8", "surrogateescape")
            try:
                places = [(int(begin), int(end)) for begin, end in json.loads(hidden)]
            except (ValueError, TypeError, OverflowError):
                continue  # damaged
            yield from (data[begin:end] for begin, end in places)
