"""The person at the terminal: lines that are typed, and decisions on calls."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory

from agentkit.cli.show import Printer
from agentkit.policy import Approval, Approve, Decision, Deny, Edit

__all__ = ["Ask", "Person", "asker"]

Ask = Callable[[str], Awaitable[str]]
"""Shows a prompt and returns the line that is typed; EOFError when there is no more."""


class Person:
    """Whoever answers what a run asks.

    Args:
        ask: Where lines come from.
        printer: Where questions go.
    """

    def __init__(self, ask: Ask, printer: Printer) -> None:
        self._ask = ask
        self._printer = printer

    async def answer(self, question: str) -> str:
        """The answer to a tool's question."""
        self._printer.line(f"? {question}", "bold")
        return (await self._ask("  ")).strip()

    async def decide(self, approval: Approval) -> Decision:
        """The decision on one call."""
        call = approval.call
        shown = f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}"
        self._printer.line(
            f"? {shown}{'  on ' if approval.target else ''}{approval.target}", "bold"
        )
        while True:
            try:
                reply = (await self._ask("  run it? [y]es, [n]o REASON, [e]dit JSON: ")).strip()
            except (EOFError, KeyboardInterrupt):
                return Deny("nobody answered")
            word, _, rest = reply.partition(" ")
            if word in ("y", "yes"):
                return Approve()
            if word in ("n", "no"):
                return Deny(rest.strip())
            if word in ("e", "edit") and (edited := _object(rest)) is not None:
                return Edit(edited)
            self._printer.line('Type y, n with a reason, or e with JSON, as in: e {"a": 1}', "dim")


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def asker(history: Path | None = None) -> Ask:
    """Lines from the terminal, with editing; from a pipe as they are.

    Args:
        history: File of what was typed before.
    """
    if sys.stdin is None:  # closed by whoever started the command

        async def from_nobody(_prompt: str) -> str:
            raise EOFError

        return from_nobody

    if sys.stdin.isatty():
        kept = FileHistory(str(history)) if history else None
        session: PromptSession[str] = PromptSession(history=kept)

        async def from_terminal(prompt: str) -> str:
            return str(await session.prompt_async(prompt))

        return from_terminal

    async def from_pipe(_prompt: str) -> str:
        line: str = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        if not line:
            raise EOFError
        return line

    return from_pipe
