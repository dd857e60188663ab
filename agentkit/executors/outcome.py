"""What the model reads when a call brought no value; the same words from every executor."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import anyio

from agentkit.errors import ToolError
from agentkit.logs import get_logger
from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall, result_content
from agentkit.wording import pluralize

_log = get_logger()

_MOST_ERROR_TEXT = 4_000
"""Characters: a traceback's worth. What matters stands at the beginning and the end."""


def failed(call: ValidatedCall, error: BaseException) -> ToolResult:
    """The result of a call that raised: a tool's own words, or the kind of the bug too."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - an exception's own text may raise
        words = "(it has no text)"
    if not isinstance(error, ToolError):
        words = f"{type(error).__name__}: {words}".removesuffix(": ")
    text = result_content(f"Error: {words}", cap=_MOST_ERROR_TEXT)
    retry = isinstance(error, Exception) and (not isinstance(error, ToolError) or error.retry)
    return ToolResult(
        call.call.id,
        text,
        is_error=True,
        kind="error",
        retry=retry,
        traceback=_traceback(error),
    )


def ends_this_task(error: BaseException) -> bool:
    """Whether an exception that came out of a tool is meant for the task that runs it.

    That is a cancellation, Ctrl-C, or the end of an event loop that closes its coroutines. A tool
    can raise the same types by itself, by awaiting a task of its own that was cancelled for
    instance: then nothing has asked this task to end, and it is a failure like any other.
    """
    if isinstance(error, Exception | SystemExit):
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    if isinstance(error, BaseExceptionGroup):
        return any(map(ends_this_task, error.exceptions))
    try:
        cancelled = anyio.get_cancelled_exc_class()
        task = asyncio.current_task() if cancelled is asyncio.CancelledError else None
    except (RuntimeError, anyio.NoEventLoopError):
        return True  # no event loop runs any more
    if isinstance(error, cancelled):
        return task is None or task.cancelling() > 0
    return False


def log_failure(
    result: ToolResult, context: ToolContext[Any], error: BaseException | None = None
) -> None:
    """Logs where a tool raised; its own words to the model (`ToolError`) only on the level info.

    Args:
        result: As `failed` made it, perhaps in another process.
        context: The context of the call.
        error: What was raised, where it was raised here.
    """
    call = {"tool": context.call.name, "run_id": context.run_id, "step": context.step}
    last = result.traceback.rstrip().rpartition("\n")[2]
    meant = isinstance(error, ToolError) or f"{ToolError.__name__}: " in last
    log = _log.info if meant else _log.warning
    if error is not None:
        log("tool failed", **call, exc_info=(type(error), error, _frames(error)))
    elif result.traceback:
        log("tool failed", **call, exception=result.traceback)


_LONGEST: Final = 20_000
"""Characters of a traceback; of a longer one the middle is left out."""

_OURS: Final = (
    str(Path(__file__).parents[1]),
    "/anyio/",
    "/asyncio/",
    "/trio/",
    "/outcome/",
    "/concurrent/",
)
"""Where the frames between the loop and a tool are: they say nothing about its failure."""


def _traceback(error: BaseException) -> str:
    """Where it was raised, from the tool's own first frame on."""
    try:
        lines = traceback.format_exception(type(error), error, _frames(error))
    except Exception as broken:  # noqa: BLE001 - an exception's own text may raise
        return f"(a traceback that cannot be written: {type(broken).__name__})"
    text = "".join(lines)
    if len(text) <= _LONGEST:
        return text
    head = _LONGEST // 4
    return f"{text[:head]}\n[…]\n{text[head - _LONGEST :]}"


def _frames(error: BaseException) -> TracebackType | None:
    frames: TracebackType | None = error.__traceback__
    while frames is not None and any(part in frames.tb_frame.f_code.co_filename for part in _OURS):
        frames = frames.tb_next
    return frames or error.__traceback__


def timed_out(call: ValidatedCall, *, ended: bool) -> ToolResult:
    """The result of a call whose time was over.

    Args:
        call: The call.
        ended: Whether its work certainly ended with it.
    """
    within = pluralize(call.tool.timeout or 0, "second")
    text = f"Error: {call.tool.name} did not finish within {within}."
    if not ended:
        text += " It may still complete: check before you call it again."
    return ToolResult(call.call.id, text, is_error=True, kind="timeout")


def lost(call: ValidatedCall, what: str) -> ToolResult:
    """The result of a call whose outcome nobody knows.

    Args:
        call: The call.
        what: Happened, as the beginning of a sentence: "the process died".
    """
    text = (
        f"Error: {what} while {call.tool.name} was running. "
        "It may or may not have taken effect: check before you call it again."
    )
    return ToolResult(call.call.id, text, is_error=True, kind="unknown", retry=True)
