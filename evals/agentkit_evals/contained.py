"""A call of a suite's own code that may hang, exit or raise anything: it costs one trial.

The call runs in a thread of its own, since it may block. When its time is over, or the trial is
cancelled, an exception is raised inside it, which ends what is written in Python; what hangs in C
is left behind in a thread that does not keep the process alive.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

from agentkit_evals.core import SuiteError

__all__ = ["contained"]

T = TypeVar("T")


class _Ended(BaseException):
    """Raised inside a call whose time is over."""


async def contained(what: str, call: Callable[[], T], seconds: float) -> T:
    """What a call returns.

    Args:
        what: Names the call in errors.
        call: Blocks for as long as it likes.
        seconds: That it may take.

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
    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._token = anyio.lowlevel.current_token()
        self.done = anyio.Event()
        self.value: list[T] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value.append(self._call())
        except BaseException as error:  # noqa: BLE001 - a suite's code may raise anything
            self.error = error
        try:
            anyio.from_thread.run_sync(self.done.set, token=self._token)
        except (RuntimeError, _Ended):  # nobody waits any more
            return

    def end(self) -> None:
        """Ends it if it still runs."""
        if self._thread.is_alive() and not self.done.is_set() and self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Ended)
            )
