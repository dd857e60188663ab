"""Calls of a suite's own code, which may hang, exit or raise anything: that costs one trial.

The call runs in a thread, since it may block. So does the reading of what it returned or raised,
since the `repr` of a foreign object is code as well. An awaitable gets an event loop of its own in
that thread. When its time is over, or the trial is cancelled, an exception is raised inside the
call, which ends Python code; code that hangs in C is left behind in a daemon thread. A thread whose
call ended by itself serves the next call, since starting one costs as much as all the rest.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

import anyio
import anyio.lowlevel

from agentkit import ContextWindowError, ModelError
from agentkit_evals.core import SuiteError

T = TypeVar("T")


class _Ended(BaseException):
    """Raised inside a call whose time is over or whose trial is cancelled."""


async def contained(
    what: str, call: Callable[[], object], read: Callable[[Any], T], seconds: float | None
) -> T:
    """Calls a function of a suite and returns its result as plain data.

    Args:
        what: Names the function in errors.
        call: Calls it; it may block, or return an awaitable.
        read: Makes plain data of the result, or raises a `SuiteError`.
        seconds: How long all this may take; None is no limit.

    Raises:
        SuiteError: It raised anything, took too long, or returned something unusable.
        ModelError: A model that it asked failed.
    """

    def called() -> T:
        found = call()
        if inspect.isawaitable(found):
            found = anyio.run(_awaited, what, found, seconds, running)
        return read(found)

    running = _Running(called)
    running.start()
    try:
        with anyio.fail_after(None if seconds is None else seconds + _GRACE):
            await running.done.wait()
    except TimeoutError:
        raise _late(what, seconds) from None
    finally:
        running.end()
    error = running.error
    if error is None:
        return running.value[0]
    # A ContextWindowError would count as the agent's failure; this one was of another model.
    if isinstance(error, ModelError | SuiteError) and not isinstance(error, ContextWindowError):
        raise error
    raise SuiteError(f"{what} raised {running.description}") from error


_GRACE: Final = 0.2
"""Seconds in which an awaitable whose time is over closes its event loop, before it is ended."""


async def _awaited(
    what: str, found: Awaitable[object], seconds: float | None, running: _Running[Any]
) -> object:
    """Awaits a result in the event loop of this thread."""
    running.inner = _waker()
    with anyio.move_on_after(seconds):
        return await found
    raise _late(what, seconds)


def _late(what: str, seconds: float | None) -> SuiteError:
    return SuiteError(f"{what} did not end within {seconds:g} seconds")


class _Running(Generic[T]):
    """A call in a thread.

    A lock decides whether the call ended by itself or is ended: an exception that comes after the
    call would hit the next call of the thread.

    Attributes:
        ended: Whether the call was ended by an exception.
        done: Set when the call is over.
        value: The result, if it returned.
        error: What it raised.
        description: The text of the error.
        inner: Wakes the call's own event loop, if it has one: while that waits, it is in C.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._wake = _waker()
        self._lock = threading.Lock()
        self._over = False
        self.ended = False
        self.done = anyio.Event()
        self.value: list[T] = []
        self.error: BaseException | None = None
        self.description = ""
        self.inner: Callable[[Callable[[], None]], object] | None = None
        self._thread: _Thread | None = None

    def start(self) -> None:
        """Gives the call to a thread."""
        self._thread = _thread()
        self._thread.calls.put(self)

    def run(self) -> None:
        """Makes the call; runs in the thread."""
        try:
            self.value.append(self._call())
        except BaseException as error:  # noqa: BLE001 - a suite's code may raise anything
            self.error, self.description = error, _text_of(error)
        with self._lock:
            self._over = True
        try:
            self._wake(self.done.set)
        except RuntimeError:  # nobody waits any more: the event loop is closed
            return

    def end(self) -> None:
        """Ends the call if it still runs."""
        with self._lock:
            if self._over or self._thread is None:
                return
            self.ended = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Ended)
            )
            if self.inner is not None:
                with suppress(RuntimeError):  # that event loop is closed already
                    self.inner(_nothing)


def _text_of(error: BaseException) -> str:
    """The `repr` of an exception, which is a suite's code too and may raise."""
    try:
        return repr(error)[:_LONGEST]
    except BaseException:  # noqa: BLE001 - whatever it raises
        return type(error).__name__


_LONGEST: Final = 500
"""Characters of an exception's text."""


def _nothing() -> None:
    """Wakes an event loop without any work."""


class _Thread:
    """A thread that makes one call after another, until one has to be ended."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[_Running[Any]] = SimpleQueue()
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        assert thread.ident is not None, "it has started"
        self.ident = thread.ident

    def _serve(self) -> None:
        try:
            while True:
                running = self.calls.get()
                running.run()
                if running.ended:
                    return
                del running  # so that its result is not kept until the next call
                _idle.append(self)
        except _Ended:
            return


_idle: Final[list[_Thread]] = []
os.register_at_fork(after_in_child=_idle.clear)  # a forked child has none of these threads


def _thread() -> _Thread:
    try:
        return _idle.pop()
    except IndexError:
        return _Thread()


def _waker() -> Callable[[Callable[[], None]], object]:
    """A function by which another thread lets this event loop call something, without waiting."""
    loop: Any = anyio.lowlevel.current_token().native_token
    soon: Callable[[Callable[[], None]], object] = (
        loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon
    )
    return soon
