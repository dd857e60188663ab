"""What instructions and tools may know of the run that they serve, and of the process it is in."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from agentkit.errors import ToolError
from agentkit.logs import get_logger
from agentkit.messages import Message, ModelSettings, ToolCall

DepsT = TypeVar("DepsT")


@dataclass(frozen=True, slots=True)
class RunContext(Generic[DepsT]):
    """What instructions and dynamic toolsets may depend on.

    Attributes:
        deps: The `deps=` of this run.
        run_id: Names the run, its file and its journal.
    """

    deps: DepsT
    run_id: str


@dataclass(frozen=True, slots=True)
class RunHandles:
    """What a tool can do to its run, provided by whoever runs it.

    Attributes:
        report: Shows a text to whoever watches the run; callable from any thread.
        cancelled: Set when nobody waits for the result any more; an executor makes one for each
            attempt.
        ask: Puts a question to a person and returns the answer; None where there is nobody.
        generate: Has the run's model answer something else; None where there is no model.
    """

    report: Callable[[str], None] = lambda _text: None
    cancelled: threading.Event = field(default_factory=threading.Event)
    ask: Callable[[str], Awaitable[str]] | None = None
    generate: Callable[[Sequence[Message], ModelSettings], Awaitable[str]] | None = None


_NO_CALL = ToolCall("", "")
_NO_HANDLES = RunHandles()


@dataclass(frozen=True, slots=True)
class ToolContext(RunContext[DepsT]):
    """What a tool may know of the run it serves; ask for it by annotating a parameter with it.

    The parameter may stand anywhere in the signature and have any name; the model never sees it.

    Attributes:
        step: The step that asked for the call, from 1.
        call: The call being run.
        index: The call's place among the calls of its step, from 0.
        attempt: 1 at the first try, 2 at the first retry.
        handles: Behind `report`, `cancelled` and `ask`.
    """

    step: int = 0
    call: ToolCall = _NO_CALL
    index: int = 0
    attempt: int = 1
    handles: RunHandles = _NO_HANDLES

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for every attempt at this call, also after a crash."""
        return idempotency_key(self.run_id, self.step, self.index, self.call)

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted. A long sync tool polls this and returns."""
        return self.handles.cancelled.is_set()

    @property
    def logger(self) -> structlog.stdlib.BoundLogger:
        """A structlog logger, over `logging`'s `agentkit.tool`, that carries run, step, tool and
        call, and leaves out what is registered as secret.
        """
        logger: structlog.stdlib.BoundLogger = get_logger("agentkit.tool").bind(
            run_id=self.run_id, step=self.step, tool=self.call.name, call_id=self.call.id
        )
        return logger

    def report(self, text: str) -> None:
        """Shows progress to whoever watches the run; it does not reach the model."""
        self.handles.report(text)

    async def ask(self, question: str) -> str:
        """A person's answer. From a sync tool: `anyio.from_thread.run(context.ask, question)`.

        Raises:
            ToolError: Nobody can be asked in this run.
        """
        if self.handles.ask is None:
            raise ToolError(f"nobody can be asked in this run; the question was: {question}")
        return await self.handles.ask(question)

    async def generate(
        self, messages: Sequence[Message], settings: ModelSettings | None = None
    ) -> str:
        """What the run's own model writes on other messages, such as a summary of a long result.

        It sees nothing of the run and has no tools; its tokens count in the run's limits.

        Raises:
            ToolError: There is no model here, a limit is reached, or no text came of it.
        """
        if self.handles.generate is None:
            raise ToolError("no model can be asked here")
        return await self.handles.generate(messages, settings or ModelSettings())


def idempotency_key(run_id: str, step: int, index: int, call: ToolCall) -> str:
    """32 hex digits that name one call of one run, whatever id the model's server gave it.

    Equal for every attempt at the call and after a resumed crash, because it depends only on the
    run, the step, the call's place in it, the tool and the arguments in canonical JSON.
    """
    parts: list[Any] = [run_id, step, index, call.name, call.arguments]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# --- programs that this process starts -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launch:
    """A program that this process starts outside of any sandbox, such as an MCP server.

    Whoever starts one notes it (`note_launch`), and whoever lets a model run commands keeps those
    commands from changing what is noted (`launched`).

    Attributes:
        command: The program, as a path or as a name on PATH, and its arguments.
        folder: Where it runs.
    """

    command: tuple[str, ...]
    folder: str


_LAUNCHED: set[Launch] = set()


def note_launch(command: Sequence[str], folder: str | Path | None = None) -> None:
    """Notes that this process starts a program, now or later.

    Args:
        command: The program and its arguments.
        folder: Where it runs; None for the working directory.
    """
    _LAUNCHED.add(Launch(tuple(command), os.path.abspath(folder or os.getcwd())))


def launched() -> tuple[Launch, ...]:
    """All programs that were noted since this process began."""
    return tuple(_LAUNCHED)
