"""A fact that is found out once, however many runs ask for it at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

T = TypeVar("T")


class Once(Generic[T]):
    """The first who asks finds it out; who asks meanwhile waits for that, in any event loop.

    A failure is not kept. Those who had waited then ask for themselves, all at once, so that none
    of them waits for the time-outs of the others. A cancelled finder hands on to the next.

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
        while not self._found:
            with self._lock:
                asking, leads = self._asking or _Asking(), self._asking is None
                self._asking = asking
            if leads:
                return await self._lead(asking)
            if await asking.ended_in_failure():
                return self._keep(await self._find())
        return self._found[0]

    async def _lead(self, asking: _Asking) -> T:
        failed = False
        try:
            return self._keep(await self._find())
        except Exception:
            failed = True
            raise
        finally:
            with self._lock:
                self._asking = None
            asking.end(failed)

    def _keep(self, fact: T) -> T:
        with self._lock:
            if not self._found:
                self._found.append(fact)
        return self._found[0]


class _Asking:
    """That somebody is finding it out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[anyio.lowlevel.EventLoopToken, anyio.Event]] = []
        self._failed: bool | None = None

    async def ended_in_failure(self) -> bool:
        """Waits for the end; whether it was a failure."""
        event = anyio.Event()
        with self._lock:
            if self._failed is not None:
                return self._failed
            self._waiting.append((anyio.lowlevel.current_token(), event))
        await event.wait()
        return bool(self._failed)

    def end(self, failed: bool) -> None:
        """Wakes all who wait."""
        with self._lock:
            self._failed = failed
            waiting, self._waiting = self._waiting, []
        here = anyio.lowlevel.current_token()
        for token, event in waiting:
            if token == here:
                event.set()
            else:  # from a thread: setting it from here would wait for that loop
                threading.Thread(target=_set, args=(token, event), daemon=True).start()


def _set(token: anyio.lowlevel.EventLoopToken, event: anyio.Event) -> None:
    with suppress(RuntimeError):  # its loop has ended, and nobody waits there
        anyio.from_thread.run_sync(event.set, token=token)
