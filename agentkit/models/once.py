"""A fact that many runs want, found out once."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy
from typing import Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

T = TypeVar("T")


class Once(Generic[T]):
    """A fact that is found out once, however many runs ask for it at the same moment.

    The first who asks finds it out; who asks meanwhile waits, in any event loop, and shares what
    comes of it. A failure is not kept for those who ask later. A cancelled finder hands on.

    Args:
        find: Finds the fact out.
    """

    def __init__(self, find: Callable[[], Awaitable[T]]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._asking: _Asking | None = None
        self._found: list[T] = []  # at most one: None is a fact too

    @property
    def known(self) -> T | None:
        """The fact, if it was found out."""
        return self._found[0] if self._found else None

    async def get(self) -> T:
        """The fact.

        Raises:
            Exception: Whatever finding it out raises.
        """
        while True:
            with self._lock:
                if self._found:
                    return self._found[0]
                leads = self._asking is None
                asking = self._asking = self._asking or _Asking()
            if leads:
                return await self._lead(asking)
            if (failure := await asking.failure()) is not None:
                raise copy(failure) from failure.__cause__  # each run adds its own result to it

    async def _lead(self, asking: _Asking) -> T:
        failure: Exception | None = None
        try:
            return self._keep(await self._find())
        except Exception as error:
            failure = error
            raise
        finally:
            with self._lock:
                self._asking = None
            asking.end(failure)

    def _keep(self, fact: T) -> T:
        with self._lock:
            if not self._found:
                self._found.append(fact)
        return self._found[0]


class _Asking:
    """One attempt to find a fact out, for whose end others wait, maybe in other event loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[anyio.lowlevel.EventLoopToken, anyio.Event]] = []
        self._ended = False
        self._failure: Exception | None = None

    async def failure(self) -> Exception | None:
        """Waits for the end; the failure, where it was one."""
        event = anyio.Event()
        with self._lock:
            if self._ended:
                return self._failure
            self._waiting.append((anyio.lowlevel.current_token(), event))
        await event.wait()
        return self._failure

    def end(self, failure: Exception | None) -> None:
        """Tells the outcome and wakes all who wait for it."""
        with self._lock:
            self._ended, self._failure = True, failure
            waiting, self._waiting = self._waiting, []
        here = anyio.lowlevel.current_token()
        for token, event in waiting:
            if token == here:
                event.set()
            else:  # from a thread: setting it from here would wait for that loop
                threading.Thread(target=_set, args=(token, event), daemon=True).start()


def _set(token: anyio.lowlevel.EventLoopToken, event: anyio.Event) -> None:
    with suppress(RuntimeError):  # its loop has ended, so nothing waits there
        anyio.from_thread.run_sync(event.set, token=token)
