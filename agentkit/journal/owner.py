"""Who works on a run, and whether it can be proved that they no longer live."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from agentkit.errors import JournalError

_PROC = Path("/proc")


@cache
def boot_id() -> str:
    """Names this boot of the machine (Linux: random_boot_id, proc(5)); empty where unknown.

    What a process has given to the operating system is still there as long as it stays the same.
    """
    return _text(_PROC / "sys/kernel/random/boot_id").strip()


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, named so that no later process can be taken for it.

    Attributes:
        host: Its machine's name.
        boot: See `boot_id`.
        namespace: In which its number counts: containers have their own.
        pid: Its number.
        started: Clock ticks since boot when it began (Linux: field 22 of proc_pid_stat(5)).
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @staticmethod
    def this_process() -> Owner:
        """The process that asks."""
        pid = os.getpid()
        return Owner(socket.gethostname(), boot_id(), _namespace(), pid, _started(pid))

    @property
    def is_dead(self) -> bool:
        """Whether it certainly lives no more; False also where that cannot be known from here."""
        if not self.boot or (self.boot, self.namespace) != (boot_id(), _namespace()):
            return False
        return _started(self.pid) != self.started

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Owner:
        """What `to_json` wrote.

        Raises:
            JournalError: The text is something else.
        """
        try:
            return Owner(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise JournalError(f"not an owner of a run: {text[:80]!r}") from error

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _namespace() -> str:
    try:
        return os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Empty for a process that is gone, or dead and only waits for its parent to notice."""
    state, *rest = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split() or [""]
    return "" if state in ("", "Z", "X") else rest[18]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError:
        return ""
