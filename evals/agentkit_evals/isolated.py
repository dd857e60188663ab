"""Child processes for other people's code; each answers one JSON line with another.

The child limits its own memory, processor time and files (see `bfcl/child.py`); this module limits
the wall time. A child that does not answer in time is killed and never used again.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import anyio.to_thread

from agentkit.messages import JsonObject
from agentkit_evals.core import SuiteError

_PATIENCE = 60.0
"""Seconds on the wall for one question and its answer; the child's own limit of processor time is
lower."""

_MOST_BYTES = 64 * 1024 * 1024
"""Most bytes of one answer."""


class Child:
    """A running child, which takes one question at a time.

    Args:
        command: Its command line.
        folder: Its working directory and home.
        patience: Seconds that one question and its answer may take.
    """

    def __init__(self, command: Sequence[str], folder: str, *, patience: float = _PATIENCE) -> None:
        # No variables of ours: they may hold keys, and PYTHON* would change what is imported.
        self._process = subprocess.Popen(  # noqa: S603 - a fixed command
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": folder, "LC_ALL": "C.UTF-8"},
        )
        assert self._process.stdin is not None, "it was opened as a pipe"
        assert self._process.stdout is not None, "it was opened as a pipe"
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)  # a child that does not read is not waited for
        self._patience = patience
        self._rest = b""

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._process.poll() is None

    async def ask(self, question: JsonObject) -> JsonObject:
        """Asks the child and returns its answer.

        Raises:
            SuiteError: It answered with an error, died, or took too long.
        """
        try:
            return await anyio.to_thread.run_sync(
                partial(self._ask, question), abandon_on_cancel=True
            )
        except anyio.get_cancelled_exc_class():
            self._process.kill()  # the thread's read ends with it
            raise

    def _ask(self, question: JsonObject) -> JsonObject:
        line = json.dumps(question).encode() + b"\n"
        try:
            deadline = time.monotonic() + self._patience
            self._write(line, deadline)
            answer: JsonObject = json.loads(self._line(deadline))
        except (OSError, ValueError) as error:
            self._process.kill()
            raise SuiteError(f"the suite's process was lost: {error}") from error
        if "error" in answer:
            raise SuiteError(f"the suite's process says: {answer['error']}")
        return answer

    def _write(self, line: bytes, deadline: float) -> None:
        left = memoryview(line)
        while left:
            self._wait(self._in, select.POLLOUT, deadline)
            left = left[os.write(self._in, left) :]

    def _line(self, deadline: float) -> bytes:
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            self._wait(self._out, select.POLLIN, deadline)
            parts.append(os.read(self._out, 1 << 20))
            if not parts[-1]:
                raise OSError(f"it ended (exit code {self._process.wait()})")
            if sum(map(len, parts)) > _MOST_BYTES:
                raise OSError(f"its answer is longer than {_MOST_BYTES} bytes")
        line, _, self._rest = b"".join(parts).partition(b"\n")
        return line

    def _wait(self, file: int, event: int, deadline: float) -> None:
        """Waits until a pipe is ready."""
        ready = select.poll()  # unlike `select.select`, it takes file descriptors above 1,023
        ready.register(file, event)
        if not ready.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise OSError(f"no answer within {self._patience:g} seconds")

    def close(self) -> None:
        """Ends the child."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # unwritten data has no reader any more
                    pipe.close()


class ChildPool:
    """Children that are kept for the next trial, each serving one at a time.

    Args:
        make: Starts a child.
    """

    def __init__(self, make: Callable[[], Child]) -> None:
        self._make = make
        self._idle: list[Child] = []

    @asynccontextmanager
    async def child(self) -> AsyncGenerator[Child]:
        """Lends a child for the length of a block; one that failed is not used again."""
        child = self._idle_child() or self._make()
        try:
            yield child
        except BaseException:
            child.close()
            raise
        if child.alive:
            self._idle.append(child)
        else:
            child.close()

    def _idle_child(self) -> Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            child.close()  # it died since, as when memory runs short
        return None

    def close(self) -> None:
        """Ends the idle children."""
        while self._idle:
            self._idle.pop().close()
