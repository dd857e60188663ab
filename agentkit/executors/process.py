"""Calls in another process: `ProcessExecutor`, and what travels to any process that runs a call.

Here, `remote_call` writes a call and the address of its tool as one line of JSON. There, `perform`
finds the tool, checks the arguments again and runs it; `serve` does so for one line after the
other. JSON that pydantic checks travels both ways. The address comes from the program's own tools,
never from a model's words, and nothing that a model wrote is ever unpickled.

`ProcessExecutor` keeps worker processes between calls, each under a supervisor (`supervisor.py`)
that ends all of its processes with it. `ray.py` sends the same lines to a Ray cluster.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from agentkit.errors import ToolDefinitionError, ToolError, check_counts
from agentkit.executors import supervisor
from agentkit.executors.base import (
    Capacity,
    Executor,
    failed,
    in_own_thread,
    log_failure,
    lost,
    timed_out,
)
from agentkit.executors.supervisor import adopt_orphans, end_descendants
from agentkit.messages import ToolCall, ToolResult
from agentkit.toolset import (
    RunHandles,
    Tool,
    ToolContext,
    ToolOptions,
    ValidatedCall,
    make_tool,
)

T = TypeVar("T")

# --- here ----------------------------------------------------------------------------------------

_PATIENCE = 10.0
"""Seconds until a supervisor that was told to end is killed itself; it needs milliseconds."""


class ProcessExecutor:
    """Runs each call in a worker process; a timeout or a cancellation really ends its work.

    The worker ends and so does every process that it started, in whatever session (Linux; elsewhere
    those in its process group), also when this process is killed; the next call gets a new worker.
    A call that returns leaves no process behind either. Tools must be functions at the top of a
    module, arguments and results travel as JSON, and `ToolContext.deps` and `ask` are not there.
    It does not hold a hostile program that attacks its own supervisor: that takes a sandbox.

    Args:
        workers: Most calls at work at once in one event loop; the others wait.
    """

    def __init__(self, workers: int = 4) -> None:
        check_counts(workers=workers)
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
            try:
                worker = await self._take()
            except OSError as error:  # the machine has no room for another process
                result = failed(call, error)
                log_failure(result, context, error)
                return result
            started = time.monotonic()
            done: ToolResult | None = None
            try:
                await in_own_thread(worker.wait_until_ready)
                started = time.monotonic()
                with anyio.move_on_after(call.tool.timeout):
                    answer = await in_own_thread(partial(worker.ask, request, context.report))
                    done = _result(call, worker, answer)
                    log_failure(done, context)
            finally:
                if done is not None and worker.alive:
                    self._idle.append(worker)
                else:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(worker.end)
        result = done or timed_out(call, ended=True)
        return replace(result, seconds=round(time.monotonic() - started, 6))

    def close(self) -> None:
        """Ends the idle workers. It is not an error to leave this out, or to go on afterwards."""
        _end_all(self._idle)

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def _take(self) -> _Worker:
        """A worker, idle or new. Shielded: a process that has started must get its owner."""
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            worker.end()
        with anyio.CancelScope(shield=True):
            return await anyio.to_thread.run_sync(_Worker)
        raise AssertionError("a shielded scope is not left early")


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
        except BaseException:
            os.close(self._lifeline)
            self._lines.close()
            self._channel.close()
            raise
        finally:
            os.close(lifeline)
            theirs.close()

    def wait_until_ready(self) -> None:
        """Returns when a new worker has imported what it needs, or has ended."""
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
        self.end()  # in this thread, because it waits for the end
        return b""

    def end(self) -> int:
        """Ends it and all its processes; returns its exit code once they have ended."""
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
    """Whether a line is complete: a worker may die in the middle of one."""
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


# --- the address of a tool -----------------------------------------------------------------------

_MAIN = "__main__"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where another process finds a tool.

    Attributes:
        module: The module to import.
        name: Its name there; dots for what is inside a class.
        script: The file of a program's `__main__`, which no import finds.
    """

    module: str
    name: str
    script: str = ""


def reference_to(tool: Tool[..., Any]) -> Reference:
    """The address of a tool.

    Raises:
        ToolDefinitionError: Only this process has the function: it is a closure, a lambda or a
            method of an object.
    """
    function: Any = tool.function
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", "")
    found = _attribute(sys.modules.get(module), name)
    if found is None or (found.function if isinstance(found, Tool) else found) != function:
        raise ToolDefinitionError(
            f"{tool.place or tool.name}: cannot run in another process, which would not find it; "
            "define it at the top of a module, or route it to a LocalExecutor"
        )
    if module != _MAIN:
        return Reference(module, name)
    main = sys.modules[_MAIN]
    if spec := getattr(main, "__spec__", None):  # python -m package.module
        return Reference(spec.name, name)
    return Reference(module, name, getattr(main, "__file__", None) or "")


@cache
def load(reference: Reference) -> Tool[..., Any]:
    """The tool at an address, in the process that is to run it.

    Raises:
        ToolDefinitionError: There is no tool at that address.
        ImportError: There is no such module.
    """
    module = _script(reference.script) if reference.script else None
    found = _attribute(module or importlib.import_module(reference.module), reference.name)
    if isinstance(found, Tool):
        return found
    if not callable(found):
        raise ToolDefinitionError(f"{reference.module}:{reference.name}: there is no tool here")
    made = make_tool(found, options=ToolOptions(strict=False))
    return replace(made, receiver=False)


@cache
def _script(path: str) -> ModuleType:
    """A program's main module, under a name that keeps `if __name__ == "__main__"` from running.

    As `multiprocessing` does with the start method `spawn`: also what the script's own classes
    are found by, so it stands in for `__main__`.
    """
    module = ModuleType("__mp_main__")
    module.__dict__.update(runpy.run_path(path, run_name="__mp_main__"))
    sys.modules[_MAIN] = sys.modules["__mp_main__"] = module
    return module


def _attribute(module: ModuleType | None, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


# --- what travels --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RemoteCall:
    """All that another process must know to run a call.

    Attributes:
        tool: Where its function is found.
        call: The call; its arguments are checked again there, which gives them their types.
        run_id: The run that it belongs to.
        step: The step that asked for it.
        index: The call's place in the step.
        attempt: 1 at the first try.
        output_cap: Most characters of its result.
        has_deps: Whether the run has dependencies, which do not travel.
    """

    tool: Reference
    call: ToolCall
    run_id: str
    step: int
    index: int
    attempt: int
    output_cap: int | None
    has_deps: bool

    def to_json(self) -> bytes:
        """The call as one line of JSON."""
        return _dumped(self)


def remote_call(call: ValidatedCall, context: ToolContext[Any]) -> RemoteCall:
    """A call as it travels to the other process.

    Raises:
        ToolDefinitionError: The tool cannot be found from another process.
    """
    return RemoteCall(
        tool=reference_to(call.tool),
        call=call.call,
        run_id=context.run_id,
        step=context.step,
        index=context.index,
        attempt=context.attempt,
        output_cap=call.tool.options.output_cap,
        has_deps=context.deps is not None,
    )


def dump_result(result: ToolResult) -> bytes:
    """A result as one line of JSON."""
    return _dumped(result)


def load_result(text: bytes) -> ToolResult:
    """What `dump_result` wrote.

    Raises:
        ValueError: The text is something else.
    """
    result: ToolResult = _adapter(ToolResult).validate_python(json.loads(text))
    return result


def _dumped(value: RemoteCall | ToolResult) -> bytes:
    # Python's own JSON can write NaN and halves of surrogate pairs, which strict JSON has not.
    return json.dumps(to_jsonable_python(asdict(value), inf_nan_mode="constants")).encode()


@cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    """Built at the first use: it costs more than importing this module."""
    return TypeAdapter(kind)


# --- there ---------------------------------------------------------------------------------------


def perform(request: bytes, report: Callable[[str], None] = lambda _text: None) -> ToolResult:
    """Runs a call in this process, in this thread.

    Args:
        request: A `RemoteCall` as JSON.
        report: Takes the tool's progress.

    Raises:
        Exception: The tool cannot be found here.
    """
    wanted: RemoteCall = _adapter(RemoteCall).validate_python(json.loads(request))
    found = load(wanted.tool)
    tool = replace(found, options=replace(found.options, output_cap=wanted.output_cap))
    checked = tool.validate(wanted.call)
    if isinstance(checked, ToolResult):
        return checked
    context: ToolContext[Any] = ToolContext(
        deps=_Unreachable() if wanted.has_deps else None,
        run_id=wanted.run_id,
        step=wanted.step,
        call=wanted.call,
        index=wanted.index,
        attempt=wanted.attempt,
        handles=RunHandles(report=report),
    )
    try:
        value = checked.bind(context)()
        if inspect.isawaitable(value):

            async def awaited(value: Awaitable[Any] = value) -> Any:
                return await value

            value = anyio.run(awaited)
        return checked.result(value)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return failed(checked, error)


class _Unreachable:
    """Stands in the place of a run's deps, because live objects do not travel."""

    def __getattr__(self, name: str) -> Any:
        raise ToolError(
            f"the run's deps do not reach this process (deps.{name}); "
            "open what the tool needs inside the tool, or route it to a LocalExecutor"
        )


READY, RESULT, PROGRESS, UNABLE = b"H", b"R", b"P", b"U"
"""The first byte of a line says what it is: the worker is ready, a result, progress, or why a call
cannot run here."""


def serve(channel: int) -> None:
    """Runs calls until the socket closes. A call is over when all of its processes are.

    Args:
        channel: Number of the open socket: a line of JSON for each call.
    """
    adopt_orphans()
    lock = threading.Lock()
    with socket.socket(fileno=channel) as connection, connection.makefile("rb") as lines:

        def send(kind: bytes, line: bytes) -> None:
            with lock:
                connection.sendall(kind + line + b"\n")

        def report(text: str) -> None:
            send(PROGRESS, json.dumps(text).encode())

        send(READY, b"")
        for request in lines:
            try:
                kind, answer = RESULT, dump_result(perform(request, report))
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                kind, answer = UNABLE, json.dumps(f"{type(error).__name__}: {error}").encode()
            if sys.platform == "linux":  # elsewhere they are not to be found
                end_descendants()
            send(kind, answer)


if TYPE_CHECKING:
    _: type[Executor] = ProcessExecutor
