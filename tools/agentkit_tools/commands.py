"""Runs one command in a sandbox, bounded in time, memory, output and disk.

Blocking code for a thread of its own: it sleeps on the output's pipe, looks every twentieth of a
second at what the command uses, and returns only when no process of the sandbox is left.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from agentkit.wording import pluralize
from agentkit_tools.cgroup import capped
from agentkit_tools.disarm import disarmed
from agentkit_tools.guarded import Guarded
from agentkit_tools.sandbox import Sandbox, SandboxError
from agentkit_tools.texts import visible
from agentkit_tools.tryout import check_sandbox

_TICK = 0.05
_CHUNK = 65_536
_OWN = 2  # processes of bubblewrap itself
_GRACE = 30.0  # seconds for a sandbox to be made, and for a killed one to be gone


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        exit_code: 128 plus the signal if a signal ended it; None if it was stopped.
        seconds: Wall time.
        output: What it wrote to standard output and standard error, in the order of writing.
        stopped: Why it was stopped, as the end of a sentence; None if it ended by itself.
        set_aside: Paths in git directories that it made, which git would have run (`disarm`).
    """

    exit_code: int | None
    seconds: float
    output: str
    stopped: str | None
    set_aside: tuple[str, ...] = ()


class Output:
    """The beginning and the end of a stream of any length.

    Args:
        most: Bytes that are kept.
    """

    def __init__(self, most: int) -> None:
        self._head_size, self._tail_size = most // 3, most - most // 3
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._held = 0
        self._total = 0

    def add(self, data: bytes) -> None:
        """Adds the next piece."""
        self._total += len(data)
        room = self._head_size - len(self._head)
        self._head += data[:room]
        if rest := data[room:] if room > 0 else data:
            self._tail.append(rest[-self._tail_size :])
            self._held += len(self._tail[-1])
        while self._tail and self._held - len(self._tail[0]) >= self._tail_size:
            self._held -= len(self._tail.popleft())

    def text(self) -> str:
        """What was kept, with a note where something was left out."""
        tail = b"".join(self._tail)[-self._tail_size :]
        left_out = self._total - len(self._head) - len(tail)
        if not left_out:
            return _shown(self._head + tail)
        head, end = _shown(self._head), _shown(tail)
        return f"{head}\n[… {left_out:,} bytes left out …]\n{end}"


def _shown(output: bytes | bytearray) -> str:
    """Output as text; bytes that are no UTF-8, as in the name of a file, as the other tools do."""
    return visible(output.decode("utf-8", "surrogateescape"))


def run(
    sandbox: Sandbox, line: str, seconds: float, cancelled: Callable[[], bool] = lambda: False
) -> Outcome:
    """Runs a line in a shell in the sandbox; one command at a time runs over a project.

    Args:
        sandbox: The project and the bounds.
        line: The command line, for the shell.
        seconds: Wall time after which the command is stopped.
        cancelled: Called every twentieth of a second; True stops the command.

    Raises:
        SandboxError: It could not be run in a sandbox, and so it was not run.
    """
    bwrap = check_sandbox(sandbox)
    with _alone(sandbox, cancelled) as is_locked:
        if not is_locked:
            return Outcome(None, 0.0, "", "it was cancelled")
        closed = sandbox.guarded()
        try:
            with _started(sandbox, bwrap, line, closed) as (process, inside):
                outcome = _Watch(sandbox, process, inside).to_the_end(seconds, cancelled)
        finally:
            set_aside = disarmed(sandbox.root, closed, sandbox.guarded(closed))
        return replace(outcome, set_aside=tuple(set_aside))


@contextmanager
def _alone(sandbox: Sandbox, cancelled: Callable[[], bool]) -> Generator[bool]:
    """Locks the project against the commands of all agents; yields False if cancelled meanwhile.

    A command that runs while another's sandbox is made could exchange a folder for a link just as
    bubblewrap mounts something there, and bubblewrap before 0.12 follows it (GHSA-pxhw-h44j-8pfx).
    """
    descriptor = os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=sandbox.root.descriptor)
    try:
        while not _locked(descriptor):
            if cancelled():
                yield False
                return
            time.sleep(_TICK)
        yield True
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _started(
    sandbox: Sandbox, bwrap: str, line: str, closed: Guarded
) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """Starts the sandbox, yields it and its first process's number, and ends all its processes."""
    with ExitStack() as stack:
        joining = stack.enter_context(capped(sandbox.bounds.processes + _OWN))
        reading, writing = os.pipe()
        info = stack.enter_context(os.fdopen(reading, "rb", buffering=0))
        with (
            os.fdopen(writing, "wb", buffering=0),
            sandbox.command(bwrap, line, writing, closed) as (argv, passed),
        ):
            process = subprocess.Popen(  # noqa: S603 - in a sandbox, which is the point
                [*joining, *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=passed,
                env=sandbox.environment(),
                cwd="/",
                bufsize=0,
            )
        stack.enter_context(process)
        stack.callback(process.kill)
        yield process, stack.enter_context(_first_process(info.fileno(), process))


@contextmanager
def _first_process(info: int, process: subprocess.Popen[bytes]) -> Generator[int]:
    """Yields the number of a sandbox's first process, and ends it when the block ends.

    When the first process of a PID namespace is gone, the kernel has ended all others.
    """
    text = b""
    while b"}" not in text:
        piece = os.read(info, _CHUNK) if _is_readable(info, _GRACE) else b""
        if not piece:
            process.kill()
            output, _ = process.communicate()
            raise SandboxError(f"the sandbox could not be made: {output.decode(errors='replace')}")
        text += piece
    number = int(json.loads(text)["child-pid"])
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:  # it has ended already
        yield number
        return
    try:
        yield number
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        _is_readable(handle, _GRACE)
        os.close(handle)


def _is_readable(descriptor: int, seconds: float) -> bool:
    """Waits until a descriptor can be read; False if it cannot after so many seconds."""
    waiting = select.poll()  # unlike `select.select`, it takes descriptors above 1,023
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(1000 * seconds))


class _Watch:
    """Follows one command to its end."""

    def __init__(self, sandbox: Sandbox, process: subprocess.Popen[bytes], first: int) -> None:
        assert process.stdout is not None, "it was started with a pipe"
        self._bounds = sandbox.bounds
        self._root = sandbox.root.descriptor
        self._process = process
        self._pipe = process.stdout.fileno()
        self._inside = os.path.join(f"/proc/{first}/root", "proc")
        self._made = False
        self._free = _free_bytes(self._root)

    def to_the_end(self, seconds: float, cancelled: Callable[[], bool]) -> Outcome:
        """Waits until the command ends by itself, or stops it when it exceeds a bound."""
        output = Output(self._bounds.output)
        started = time.monotonic()
        looked = started
        stopped: str | None = None
        while stopped is None and self._process.poll() is None:
            self._take(output, _TICK)
            now = time.monotonic()
            if now - looked >= _TICK:
                looked = now
                stopped = "it was cancelled" if cancelled() else self._excess()
            if now - started >= seconds:
                stopped = stopped or f"it ran longer than {pluralize(seconds, 'second')}"
        if stopped is not None:
            self._process.kill()
        taken = time.monotonic() - started
        self._drain(output)
        code = None if stopped else self._process.wait()
        return Outcome(code, round(taken, 3), output.text(), stopped)

    def _take(self, output: Output, wait: float) -> bool:
        """Reads one piece of output, waiting at most `wait` seconds; False if none came."""
        ready = _is_readable(self._pipe, wait)
        data = os.read(self._pipe, _CHUNK) if ready else b""
        output.add(data)
        if ready and not data and wait:  # its output is closed: it is ending, or goes on silently
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(wait)
        return bool(data)

    def _drain(self, output: Output) -> None:
        """Reads what is left in the pipe, but no more than it holds: others may go on writing."""
        for _ in range(_MOST_LEFT // _CHUNK):
            if not self._take(output, 0):
                return

    def _excess(self) -> str | None:
        """Why the command must be stopped, if it exceeds a bound."""
        with suppress(OSError):  # it ends just now
            # Until the sandbox is made, its /proc is that of the whole machine.
            self._made = self._made or os.stat(self._inside).st_dev != os.stat("/proc").st_dev
            count = sum(name.isdigit() for name in os.listdir(self._inside)) if self._made else 0
            if count > self._bounds.processes:
                return f"it had more than {self._bounds.processes} processes"
        if self._free - _free_bytes(self._root) > self._bounds.disk:
            return f"the disk lost more than {self._bounds.disk >> 20:,} MiB meanwhile"
        return None


_MOST_LEFT = 1 << 20  # bytes: the largest that a pipe's buffer is made, by default


def _free_bytes(descriptor: int) -> int:
    status = os.fstatvfs(descriptor)
    return status.f_bavail * status.f_frsize
