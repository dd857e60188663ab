"""What surrounds a run: its beginning, its name, who watches it, which event loop it has."""

from __future__ import annotations

import inspect
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

import anyio
from anyio.from_thread import start_blocking_portal
from typing_extensions import TypeVar

from agentkit.agent.planning import PLAN
from agentkit.agent.state import current_call
from agentkit.context import Context, ContextWindow
from agentkit.events import Event
from agentkit.messages import Message, SystemMessage
from agentkit.toolset import RunContext, Tool
from agentkit.trace import RunFiles, get_logger, runs_directory
from agentkit.version import __version__

DepsT = TypeVar("DepsT", default=Any)

Instructions: TypeAlias = str | Callable[[RunContext[DepsT]], str | Awaitable[str]]
"""Text, or a function of the run's context, evaluated once a run so that the prompt's beginning
(and with it the server's prefix cache) stays the same over all its steps."""

Observer: TypeAlias = Callable[[str, Event], None]
"""Called with the run's id and each of its events, in the run's own thread; must be quick. One
that raises is logged and left out of the rest of the run."""

_log = get_logger()


def emitter(
    run_id: str, observers: Iterable[Observer], listener: Callable[[Event], None] | None
) -> Callable[[Event], None]:
    """Passes each event of a run to all who watch it, and to those who watch the run whose call it
    serves. Whoever watches cannot end it.
    """
    watching, call = list(observers), current_call.get()

    def emit(event: Event) -> None:
        for each in tuple(watching):
            if not _told(each, run_id, event):
                watching.remove(each)
        if listener is not None:
            listener(event)
        if call is not None:
            call.show(run_id, event)

    return emit


def _told(observer: Observer, run_id: str, event: Event) -> bool:
    try:
        observer(run_id, event)
    except Exception as error:  # noqa: BLE001 - the boundary around observers, which are users' code
        _log.warning(
            "observer left out of the rest of this run",
            observer=repr(observer),
            run_id=run_id,
            event_kind=type(event).__name__,
            error=repr(error),
        )
        return False
    return True


def default_observers() -> list[Observer]:
    """A JSONL file for each run, unless the environment says `off`."""
    directory = runs_directory()
    return [RunFiles(directory)] if directory else []


async def opening(
    instructions: Instructions[Any] | None, context: RunContext[Any], history: Sequence[Message]
) -> list[Message]:
    """The history with this run's instructions at its head."""
    text = instructions
    if callable(text):
        made = text(context)
        text = await made if inspect.isawaitable(made) else made
    if text is None:
        return list(history)
    rest = history[1:] if history and history[0].role == "system" else history
    return [SystemMessage(text), *rest]


def window_for(context: Context | None, tools: Iterable[Tool[..., Any]]) -> ContextWindow:
    """A run's window: it knows which calls may simply be made again, and keeps the plan in view."""
    again = frozenset(tool.name for tool in tools if tool.effect in ("pure", "idempotent"))
    return ContextWindow(context, repeatable=again, kept=frozenset({PLAN}))


def versions() -> dict[str, str]:
    """Of agentkit and of what it runs on, for the record of a run."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"agentkit": __version__, "python": python, "platform": sys.platform}


def new_run_id() -> str:
    """Sorts by time, and names a file on every system."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


T = TypeVar("T")


def in_own_loop(main: Callable[[], Awaitable[T]]) -> T:
    """Runs it in an event loop of its own: here, or in a thread if a loop already runs here."""
    try:
        anyio.get_current_task()
    except (RuntimeError, anyio.NoEventLoopError):
        return anyio.run(main)
    # Ctrl-C leaves the block, which cancels the run and waits until it has ended.
    with start_blocking_portal(name="agentkit-run-sync") as portal:
        return portal.call(main)
