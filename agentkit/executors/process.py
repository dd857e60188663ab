"""`ProcessExecutor`: tools in processes that can be ended, kept warm between calls."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from agentkit.errors import ToolDefinitionError
from agentkit.executors import supervisor
from agentkit.executors.base import Capacity, Executor, in_own_thread, log_failure, lost, timed_out
from agentkit.executors.remote import PROGRESS, RESULT, load_result, remote_call
from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall

_PATIENCE = 10.0
"""Seconds until a supervisor that was told to end is killed itself; it needs milliseconds."""


class ProcessExecutor:
    """Runs each call in a worker process; a timeout or a cancellation really ends its work.

    Ended are the worker and every process that it started, in whatever session (Linux; elsewhere
    those in its process group), also when this process is killed; the next call gets a new worker.
    A call that returns leaves no process behind either. Tools must be functions at the top of a
    module, arguments and results travel as JSON, and `ToolContext.deps` and `ask` stay behind.
    What a hostile program could do against its own supervisor is a sandbox's matter.

    Args:
        workers: Most calls at work at once in one event loop; the others wait.
    """

    def __init__(self, workers: int = 4) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}; nothing would ever run below 1")
        self._capacity = Capacity(workers)
        self._idle: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _end_all, self._idle)

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`. The tool's time begins when a worker is ready.

        Raises:
            ToolDefinitionError: The tool is not to be found from another process.
        """
        request = remote_call(call, context).to_json()
        async with self._capacity.limiter:
            worker = await self._take()
            started = time.monotonic()
            result: ToolResult | None = None
            try:
                await in_own_thread(worker.greet)
                started = time.monotonic()
                with anyio.move_on_after(call.tool.timeout):
                    answer = await in_own_thread(partial(worker.ask, request, context.report))
                    result = _result(call, worker, answer)
                    log_failure(result, context)
            finally:
                if result is not None and worker.alive:
                    self._idle.append(worker)
                else:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(worker.end)
        result = result or timed_out(call, ended=True)
        return replace(result, seconds=round(time.monotonic() - started, 6))

    def close(self) -> None:
        """Ends the idle workers. It is not an error to leave this out, or to go on afterwards."""
        _end_all(self._idle)

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def _take(self) -> _Worker:
        """A worker, idle or new. Shielded: a process that starts is never without its owner."""
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            worker.end()
        made: list[_Worker] = []
        with anyio.CancelScope(shield=True):
            made.append(await anyio.to_thread.run_sync(_Worker))
        return made[0]


class _Worker:
    """A worker process, its supervisor, and the two lines to them. Blocks: for threads."""

    def __init__(self) -> None:
        lifeline, self._lifeline = os.pipe()
        theirs, self._channel = socket.socketpair()
        self._lines = self._channel.makefile("rb")
        self._ready = False
        self._ended = threading.Lock()
        command = [sys.executable, "-I", supervisor.__file__, "worker"]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                [*command, str(lifeline), str(theirs.fileno()), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                pass_fds=(lifeline, theirs.fileno()),
                start_new_session=True,
            )
        finally:
            os.close(lifeline)
            theirs.close()

    def greet(self) -> None:
        """Returns when a new worker has imported what it needs, or is gone."""
        if not self._ready:
            with contextlib.suppress(OSError):
                self._lines.readline()
            self._ready = True

    @property
    def alive(self) -> bool:
        """Whether it can take a call."""
        return self._process.poll() is None

    def ask(self, request: bytes, report: Callable[[str], None]) -> bytes:
        """Sends a call and returns the line that answers it; empty if the worker died."""
        line = b""
        with contextlib.suppress(OSError):
            self._channel.sendall(request + b"\n")
            while _is_whole(line := self._lines.readline()) and line.startswith(PROGRESS):
                report(json.loads(line[1:]))
        if _is_whole(line):
            return line
        self.end()  # here, where nobody is kept from anything until it is gone
        return b""

    def end(self) -> int:
        """Ends it and all its processes; returns when they are gone, with its exit code."""
        with self._ended:
            if self._lifeline >= 0:
                os.close(self._lifeline)
                self._lifeline = -1
            try:
                code = self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)  # wakes a thread that still reads
            self._lines.close()
            self._channel.close()
            return code


def _is_whole(line: bytes) -> bool:
    """Whether a line has its end: a worker may die in the middle of one."""
    return line.endswith(b"\n")


def _result(call: ValidatedCall, worker: _Worker, answer: bytes) -> ToolResult:
    if answer.startswith(RESULT):
        return load_result(answer[1:])
    if answer:
        raise ToolDefinitionError(
            f"{call.tool.place or call.tool.name}: cannot run in a worker process: "
            f"{json.loads(answer[1:])}"
        )
    code = worker.end()
    killed = code - 128 in signal.valid_signals()
    how = f"signal {code - 128}" if killed else f"exit code {code}"
    return lost(call, f"its process ended ({how})")


def _end_all(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().end()


if TYPE_CHECKING:
    _: type[Executor] = ProcessExecutor
