"""A call of a suite's own code that may hang, exit or raise anything: it costs one trial.

The call runs in a thread, since it may block, and so does the reading of what it returned or
raised: the text of a foreign object is code as well. What is `async` has an event loop of its own
there. When its time is over, or the trial is cancelled, an exception is raised inside it, which
ends what is written in Python; what hangs in C is left behind in a thread that does not keep the
process alive. A thread whose call came to its own end serves the next one: starting one costs as
much as all the rest.
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
    """Raised inside a call whose time is over."""


async def contained(
    what: str, call: Callable[[], object], read: Callable[[Any], T], seconds: float | None
) -> T:
    """What a function of a suite returns.

    Args:
        what: Names the function in errors.
        call: Calls it; may block for as long as it likes, or return what is to be awaited.
        read: Makes plain data of what came of it, or raises a `SuiteError` if that cannot be.
        seconds: How long all this may take; None is no limit.

    Raises:
        SuiteError: It raised, whatever it was, took too long, or returned what it may not.
        ModelError: A model that it asked could not be had.
    """

    def called() -> T:
        found = call()
        if inspect.isawaitable(found):
            found = anyio.run(_awaited, what, found, seconds, running)
        return read(found)

    running = _Running(called)
    running.start()
    try:
        with anyio.fail_after(seconds):
            await running.done.wait()
    except TimeoutError:
        raise _late(what, seconds) from None
    finally:
        running.end()
    error = running.error
    if error is None:
        return running.value[0]
    # That a window was too small is said of the agent under test; here it was another one's.
    if isinstance(error, ModelError | SuiteError) and not isinstance(error, ContextWindowError):
        raise error
    raise SuiteError(f"{what} raised {running.said}") from error


async def _awaited(
    what: str, found: Awaitable[object], seconds: float | None, running: _Running[Any]
) -> object:
    """What comes of it, in the event loop that runs here."""
    running.inner = _sooner()
    with anyio.move_on_after(seconds):
        return await found
    raise _late(what, seconds)


def _late(what: str, seconds: float | None) -> SuiteError:
    return SuiteError(f"{what} did not end within {seconds:g} seconds")


class _Running(Generic[T]):
    """A call in a thread.

    That it is over and that it is to be ended are told apart under a lock: an exception for a call
    that is over would hit the next one.

    Attributes:
        inner: Wakes the event loop of the call, where it has one: one that waits is in C.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._soon = _sooner()
        self._lock = threading.Lock()
        self._over = False
        self.ended = False
        self.done = anyio.Event()
        self.value: list[T] = []
        self.error: BaseException | None = None
        self.said = ""
        self.inner: Callable[[Callable[[], None]], object] | None = None
        self._thread: _Thread | None = None

    def start(self) -> None:
        """Begins it."""
        self._thread = _thread()
        self._thread.calls.put(self)

    def run(self) -> None:
        """Makes the call, in the thread."""
        try:
            self.value.append(self._call())
        except BaseException as error:  # noqa: BLE001 - a suite's code may raise anything
            self.error, self.said = error, _said_of(error)
        with self._lock:
            self._over = True
        try:
            self._soon(self.done.set)
        except RuntimeError:  # nobody waits any more: the event loop is gone
            return

    def end(self) -> None:
        """Ends it if it still runs."""
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


def _said_of(error: BaseException) -> str:
    """What an exception says of itself; its own text is a suite's code too, and may raise."""
    try:
        return repr(error)[:_LONGEST]
    except BaseException:  # noqa: BLE001 - whatever it raises
        return type(error).__name__


_LONGEST: Final = 500
"""Characters of what an exception says."""


def _nothing() -> None:
    """What an event loop is woken for."""


class _Thread:
    """Makes calls, one after another, until one had to be ended."""

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
                del running  # what it returned is not kept for the next call's sake
                _idle.append(self)
        except _Ended:
            return


_idle: Final[list[_Thread]] = []
os.register_at_fork(after_in_child=_idle.clear)  # a child has none of them


def _thread() -> _Thread:
    try:
        return _idle.pop()
    except IndexError:
        return _Thread()


def _sooner() -> Callable[[Callable[[], None]], object]:
    """How a thread has this event loop call something, without waiting for it."""
    loop: Any = anyio.lowlevel.current_token().native_token
    soon: Callable[[Callable[[], None]], object] = (
        loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon
    )
    return soon
