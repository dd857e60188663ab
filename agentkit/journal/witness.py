"""A second witness of each run's last entry, in a file that stands apart from the journal.

A database that lost its newest pages, with its write-ahead log say, looks whole: nothing in it
tells that there was more. So whatever was written last is also written here, and forced to the disk
with it. Who reads a run compares: a record that ends before its witness has lost entries.

```
journal  ── COMMIT ──► on the disk ──► witness ──► on the disk ──► the caller may go on
```
The witness comes second, so a process that dies between the two leaves one that is behind, which
tells of no loss. Each run has two slots that are written in turn, each within one sector of the
disk and with a checksum of its own: a slot that is torn leaves the other.

In: the number and the digest of an entry. Out: the same, after whatever happened to the journal. It
never holds what was said.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
        number: Counts what was said of this run; the newest counts.
        seq: The number of the last entry.
        digest: The seal of the last entry, which covers all before it.
        kind: The kind of the last entry.
        calls: Calls that were to run by then.
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
        self._places: dict[str, int] = {}

    def of(self, run_id: str) -> Testimony | None:
        """The newest that was said of a run; None if nothing was, or none of it can be read.

        Raises:
            OSError: The file cannot be read.
        """
        key = key_of(run_id)
        pair = self._pair(key)
        if pair is None:
            return None
        return _newest(os.pread(self._open(), _PAIR, pair), key)

    def all(self) -> list[Testimony]:
        """The newest of each run that can be read.

        Raises:
            OSError: The file cannot be read.
        """
        if not self._path.exists():
            return []
        data = self._read()
        pairs = (data[at : at + _PAIR] for at in range(0, len(data), _PAIR))
        return [found for pair in pairs if (found := _newest(pair)) is not None]

    def say(self, said: Testimony, *, forced: bool) -> None:
        """Writes what is known of a run now.

        Args:
            said: Its number is one more than that of the testimony before it.
            forced: Returns when it would survive a loss of power.

        Raises:
            OSError: It could not be written.
        """
        if said.number == 1:
            self._begin(said)
        else:
            self._write(said, self._places[said.key])
        if forced:  # what is in the file, not when it was changed
            getattr(os, "fdatasync", os.fsync)(self._open())

    def _begin(self, said: Testimony) -> None:
        """The first slot of a run; its place is chosen under a lock that all processes know."""
        self._places.pop(said.key, None)
        with self._locked():
            pair = self._pair(said.key)
            self._places[said.key] = self._free() if pair is None else pair
            self._write(said, self._places[said.key])

    def _write(self, said: Testimony, pair: int) -> None:
        line = _line(said)
        written = os.pwrite(self._open(), line, pair + said.number % 2 * _SLOT)
        if written != len(line):  # as on a disk that is nearly full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def forget(self, run_id: str) -> None:
        """Frees a run's slots.

        Raises:
            OSError: The file cannot be written.
        """
        self._places.pop(key_of(run_id), None)
        pair = self._pair(key_of(run_id))
        if pair is not None:
            with self._locked():
                os.pwrite(self._open(), _FREE, pair)
            self._places.pop(key_of(run_id), None)

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
                os.fsync(folder)
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
        """Where a run's slots are."""
        if key not in self._places:
            if not self._path.exists():
                return None
            at = self._read().find(f'"{key}"'.encode())
            if at < 0:
                return None
            self._places[key] = at - at % _PAIR
        return self._places[key]

    def _free(self) -> int:
        """Where there is room for a new run's slots."""
        data = self._read()
        end = -(-len(data) // _PAIR) * _PAIR
        return next((at for at in range(0, end, _PAIR) if data[at : at + _PAIR] == _FREE), end)


def key_of(run_id: str) -> str:
    """32 hex digits that name a run."""
    return hashlib.blake2b(run_id.encode("utf-8", "replace"), digest_size=16).hexdigest()


def first(run_id: str) -> Testimony:
    """What is known of a run of which nothing was said yet."""
    return Testimony(run_id[:_LONGEST_NAME], key_of(run_id), 0, 0, "", "", 0, 0, "")


def _line(testimony: Testimony) -> bytes:
    """A slot's line: a checksum, then JSON, made by hand: each entry of a run waits for it."""
    told = testimony
    name = told.run_id
    while True:
        body = (
            f'{{"run_id":{json.dumps(name)},"key":"{told.key}","number":{told.number},'
            f'"seq":{told.seq},"digest":"{told.digest}","kind":"{told.kind}",'
            f'"calls":{told.calls},"forced":{told.forced},"boot":"{told.boot}"}}'
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
