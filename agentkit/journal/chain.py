"""The entries of a run, checked one after the other: which are what was written, and what is lost.

Each entry is sealed: its digest covers the entry and the digest before it. So a changed, missing or
foreign entry is found where it stands, and the witness tells of entries that are missing at the
end.

In: a run's rows, in whatever state they are, and what the witness saw. Out: the entries that are as
they were written, and for each other place a `Damage`: what may have stood there, and what that may
have cost. It never takes an entry that does not fit its seal for what was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from agentkit.errors import JournalError
from agentkit.events.lines import Values
from agentkit.journal.entries import Raw, Record
from agentkit.journal.leases import boot_id
from agentkit.journal.witness import Testimony


@dataclass(frozen=True, slots=True)
class Damage:
    """A place of a record that does not hold what was written there.

    Attributes:
        where: The place, such as `entry 7`.
        what: What is wrong with it, such as `is missing`.
        cost: What it may have held, a sentence without its full stop.
        lost: Whether something recorded is gone; what was recorded of the run can then not be
            relied on to be all, so that the run cannot go on.
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
    """What an entry of a kind held; of an unknown kind, anything."""
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
        self._sealed = False  # whether an entry had a seal: from then on all have
        self._linked = True  # whether the digest is that of the entry before

    def add(self, row: Sequence[Any]) -> None:
        """Checks the next row, and reads it if it is what was written."""
        seq, epoch, at, kind, body, digest, _ = row
        types = (int, int, float, str, str)
        if not all(isinstance(value, kind) for value, kind in zip(row, types, strict=False)):
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
        told = self._testimony
        before, linked = self.digest, self._linked
        # A run that began in a format without seals has none up to where it went on in this one.
        if digest is None and not self._sealed:
            if told is not None and told.seq == raw.seq and told.digest:
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
        if told is not None and told.seq == raw.seq and told.digest != digest.hex():
            return "is not the one that the witness saw"
        return "" if linked or _is_text(raw.body) else "holds bytes that are no text"

    def end(self, failure: str, *, witnessed: bool) -> None:
        """What is missing behind the last row.

        Args:
            failure: Why rows could not be had.
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
    """What the witness saw behind an entry.

    After a loss of power the entries that were not forced to the disk may be gone by right.
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
    """What a run was that only the witness knows of."""
    calls = testimony.calls
    ran = "no tool call" if not calls else "a tool call" if calls == 1 else f"{calls} tool calls"
    cost = f"it had {testimony.seq} entries, and {ran} that may have taken effect"
    return Damage("the whole run", "is missing", cost)


def secrets_in(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """What was registered as secret when the rows were written, as it stands in them."""
    for _, _, _, _, body, _, hidden in rows:
        if isinstance(hidden, str) and isinstance(body, str):
            data = body.encode("utf-8", "surrogateescape")
            try:
                places = [(int(begin), int(end)) for begin, end in json.loads(hidden)]
            except (ValueError, TypeError):
                continue  # damaged: its entry says so
            yield from (data[begin:end] for begin, end in places)
