"""A coroutine that runs beside its starter, on asyncio or trio.

A task group must not be open across a `yield`: who iterates a stream may leave it at any point
and from any task. So a streamed run is a task of its own, held by a handle that ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

import anyio

T = TypeVar("T")


class Detached(Generic[T]):
    """A running call and its outcome.

    Args:
        call: What to run, in a copy of the starter's context.
        finished: Called when it has ended, however it did.
    """

    def __init__(self, call: Callable[[], Awaitable[T]], finished: Callable[[], object]) -> None:
        self._call = call
        self._finished = finished
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._task = _spawn(self._run)  # asyncio keeps no strong reference to its tasks

    async def _run(self) -> None:
        try:
            with self._scope:
                self._value.append(await self._call())
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self._finished()
            self._done.set()

    def result(self) -> T:
        """What it returned, or raises what it raised; to be asked when it has ended."""
        if self._error is not None:
            raise self._error
        return self._value[0]

    async def end(self) -> None:
        """Cancels it if it still runs, and waits until it has ended."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._done.wait()


def _spawn(call: Callable[[], Coroutine[Any, Any, None]]) -> object:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return trio.lowlevel.spawn_system_task(call, context=contextvars.copy_context())
    return asyncio.get_running_loop().create_task(call())
