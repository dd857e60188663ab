"""A call of a suite's own code that may hang, exit or raise anything: it costs one trial.

The call runs in a thread, since it may block. When its time is over, or the trial is cancelled, an
exception is raised inside it, which ends what is written in Python; what hangs in C is left behind
in a thread that does not keep the process alive. A thread whose call came to its own end serves the
next one: starting one costs as much as all the rest.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

import anyio
import anyio.lowlevel

from agentkit_evals.core import SuiteError

T = TypeVar("T")


class _Ended(BaseException):
    """Raised inside a call whose time is over."""


async def contained(what: str, call: Callable[[], T], seconds: float) -> T:
    """What a call returns.

    Args:
        what: Names the call in errors.
        call: Blocks for as long as it likes.
        seconds: How long it may take.

    Raises:
        SuiteError: It raised, whatever it was, or took too long.
    """
    running = _Running(call)
    try:
        with anyio.fail_after(seconds):
            await running.done.wait()
    except TimeoutError:
        raise SuiteError(f"{what} did not end within {seconds:g} seconds") from None
    finally:
        running.end()
    if running.error is not None:
        raise SuiteError(f"{what} raised {running.error!r}"[:500]) from running.error
    return running.value[0]


class _Running(Generic[T]):
    """A call in a thread.

    That it is over and that it is to be ended are told apart under a lock: an exception for a call
    that is over would hit the next one.
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
        self._thread = _thread()
        self._thread.calls.put(self)

    def run(self) -> None:
        """Makes the call, in the thread."""
        try:
            self.value.append(self._call())
        except BaseException as error:  # noqa: BLE001 - a suite's code may raise anything
            self.error = error
        with self._lock:
            self._over = True
        try:
            self._soon(self.done.set)
        except RuntimeError:  # nobody waits any more: the event loop is gone
            return

    def end(self) -> None:
        """Ends it if it still runs."""
        with self._lock:
            if not self._over:
                self.ended = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Ended)
                )


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
