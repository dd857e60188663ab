"""The person at the terminal: lines that are typed, and decisions on calls."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory

from agentkit.cli.show import Printer
from agentkit.messages import JsonValue
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
        """The decision on one call: shown is what it would touch, then all that it would be given.

        Nothing is cut: what is approved has been shown.
        """
        call, target = approval.call, approval.target
        self._printer.line(f"? {call.name}", "bold")
        self._printer.block(target, "bold yellow")
        for name, value in _leaves("", call.arguments):
            if value and isinstance(value, str) and value != target:
                self._printer.line(f"  {name}:", "dim")
                self._printer.block(value)
            else:
                shown = "as above" if value and value == target else json.dumps(value)
                self._printer.line(f"  {name}: {shown}", "dim")
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


def _leaves(name: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """Each text and number of a call's arguments with its place, such as `edits[0].old`."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            said = key if key.isidentifier() else json.dumps(key)
            yield from _leaves(f"{name}.{said}" if name else said, inner)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(f"{name}[{number}]", inner)
    elif name:
        yield name, value


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
