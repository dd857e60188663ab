"""Running a callable of any kind to its end: coroutine, generator, or what turns out to be one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast

from agentkit.toolset.context import ToolContext
from agentkit.toolset.results import result_text


def finish(function: Callable[[], Any], context: ToolContext[Any]) -> Any:
    """The value of a sync callable; an awaitable where it turns out to be async after all."""
    value = function()
    if inspect.isgenerator(value):
        return _drained(value, context)
    if inspect.isasyncgen(value):
        return finish_async(lambda: value, context)
    return value


async def finish_async(function: Callable[[], Any], context: ToolContext[Any]) -> Any:
    """The value of an async callable: awaited, or its parts joined."""
    value = function()
    if not inspect.isasyncgen(value):
        return await value
    parts: list[Any] = []
    async for part in value:
        parts.append(part)
        context.report(result_text(part))
    return _joined(parts)


def _drained(generator: Iterator[Any], context: ToolContext[Any]) -> Any:
    parts: list[Any] = []
    while True:
        if context.cancelled:
            cast("Any", generator).close()
            return _joined(parts)
        try:
            part = next(generator)
        except StopIteration as end:
            return _joined(parts) if end.value is None else end.value
        parts.append(part)
        context.report(result_text(part))


def _joined(parts: list[Any]) -> Any:
    """Texts as one text; other parts as the list they are."""
    return "".join(parts) if all(isinstance(part, str) for part in parts) else parts
