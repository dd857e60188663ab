"""The person who sits at the terminal, and decides on calls.

A person is asked about one call at a time, and shown all of it before a yes counts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from pydantic import JsonValue

from agentkit.cli.terminal import Printer
from agentkit.exact import InexactError, read_exact
from agentkit.messages import ToolCall
from agentkit.policy import Approval, Approve, Decision, Deny, Edit, Grant

Ask = Callable[[str], Awaitable[str]]
"""Shows a prompt and returns the line that is typed; EOFError when there is no more."""


Preview = Callable[[ToolCall], str]
"""What a call would change, as a diff; empty where it cannot be told."""


class Person:
    """Whoever answers what a run asks.

    Args:
        ask: Where lines come from.
        printer: Where questions go.
        preview: Shown above a call's arguments.

    Attributes:
        grants: The rules that the person has made so far for further runs as well.
    """

    def __init__(self, ask: Ask, printer: Printer, preview: Preview = lambda _call: "") -> None:
        self._ask = ask
        self._printer = printer
        self._preview = preview
        self.grants: list[Grant] = []

    async def answer(self, question: str) -> str:
        """The answer to a tool's question."""
        for line in self._printer.quoted(question, "? "):
            self._printer.line(line, "bold")
        return (await self._ask("  ")).strip()

    async def decide(self, approval: Approval) -> Decision:
        """The decision on one call: shown is what it would touch, then all that it would be given.

        Of a question that is longer than the terminal head and tail are shown, and how much lies
        between them; yes is taken for an answer only when that has been shown as well.
        """
        shown = _Question(self._printer, approval, self._preview(approval.call))
        shown.begin()
        while True:
            try:
                reply = (await self._ask(_CHOICE)).strip()
                word, _, rest = reply.partition(" ")
                said = _WORDS.get(word, "")
                if said in ("view", "yes", *_RULES) and shown.hidden:
                    await shown.leaf_through(self._ask)
                    continue
            except (EOFError, KeyboardInterrupt):
                return Deny("nobody answered")
            if said == "yes":
                return Approve()
            if said == "no":
                return Deny(rest.strip())
            if said == "edit" and (edited := _object(rest)) is not None:
                return Edit(edited)
            if said in _RULES:
                if (grant := self._grant(approval, rest.strip())) is not None:
                    self.grants += [grant] if said == "always" else []
                    until = _RULES[said]
                    what = f"no question about {grant.tool} on {grant.target} {until}"
                    self._printer.line(f"From now on {what}", "yellow")
                    return Approve(grant)
            else:
                self._printer.line(_HELP, "dim")

    def _grant(self, approval: Approval, pattern: str) -> Grant | None:
        """The rule that a person wants; None, and a sentence, where it would be none."""
        name, target = approval.call.name, approval.target
        if approval.why:
            self._printer.line("No rule lifts this question: y, n or e?", "dim")
            return None
        if not pattern and not target:
            self._printer.line(f"{name} does not say what it touches: a * means all calls", "dim")
            return None
        grant = Grant(name, pattern or target)
        if not grant.fits(name, approval.labels, target):
            whole = ": of what executes, give all of it, or *" * ("exec" in approval.labels)
            self._printer.line(f"{pattern} does not fit this call{whole}", "dim")
            return None
        return grant


_CHOICE = "  [y]es, this [r]un, [a]lways PATTERN, [n]o REASON, [e]dit JSON: "
_HELP = (
    'Type y for this call, n with a reason, e with JSON, as in: e {"a": 1}, or what further calls '
    "of this tool may touch without a question, as in: a docs/*, or r docs/* until this run ends"
)
_RULES = {"run": "in this run", "always": "until you begin anew"}
"""How long the rules hold that a person makes."""
_WORDS = {
    word: said
    for said in ("yes", "no", "edit", "always", "view", "run")
    for word in (said[0], said, said.capitalize())
}


class _Question:
    """All that is to be read about a call, and how much of it has been shown.

    Attributes:
        hidden: Lines that have not been shown yet.
    """

    def __init__(self, printer: Printer, approval: Approval, change: str) -> None:
        self._printer = printer
        self._lines = list(_question_lines(printer, approval, change))
        room = max(printer.height - 6, _LEAST_ROOM)  # of the terminal, for the prompt and ourselves
        tail = room // 3
        cut = len(self._lines) > room
        self._first, self._last = (room - tail, len(self._lines) - tail) if cut else (0, 0)
        self._room = room
        self.hidden = self._last - self._first

    def begin(self) -> None:
        """Shows all of it, or its head and its tail."""
        if not self.hidden:
            self._print(0, len(self._lines))
            return
        self._print(0, self._first)
        between = f"{self.hidden:,} of {len(self._lines):,} lines"
        self._printer.line(f"  ⋮ {between} are not shown: v shows them", "yellow")
        self._print(self._last, len(self._lines))

    async def leaf_through(self, ask: Ask) -> None:
        """Shows what was not shown: on a terminal page by page, as far as the person wants to."""
        here = self._first
        while here < self._last:
            end = min(here + self._room, self._last) if self._printer.is_terminal else self._last
            self._print(here, end)
            here = end
            if here < self._last:
                where = f"  line {here:,} of {self._last:,}; Enter goes on, q stops: "
                if (await ask(where)).strip().startswith("q"):
                    return
        self.hidden = 0
        self._printer.line("  ⋮ that was all of it", "yellow")

    def _print(self, start: int, end: int) -> None:
        for text, style in self._lines[start:end]:
            self._printer.line(text, style)


_LEAST_ROOM = 20
"""Lines; a terminal may be smaller, and then scrolls."""


def _question_lines(printer: Printer, approval: Approval, change: str) -> Iterator[tuple[str, str]]:
    """The question, line by line, each with its style."""
    call, target = approval.call, approval.target
    for line in printer.quoted(call.name, "? "):
        yield line, "bold"
    if approval.why:
        yield f"  {approval.why}", "yellow"
    for line in printer.quoted(target):
        yield line, "bold yellow"
    yield from _change_lines(printer, change)
    for name, value in _leaves("", call.arguments):
        if value and isinstance(value, str) and value != target:
            for line in printer.quoted(f"{name}:", "  "):
                yield line, "dim"
            for line in printer.quoted(value):
                yield line, ""
        else:
            shown = "as above" if value and value == target else json.dumps(value)
            for line in printer.quoted(f"{name}: {shown}", "  "):
                yield line, "dim"


def _change_lines(printer: Printer, change: str) -> Iterator[tuple[str, str]]:
    for row in change.split("\n") if change else ():
        for line in printer.quoted(row):
            yield line, _COLOURS.get(row[:1], "dim")


_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


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
        value = read_exact(text)
    except InexactError:
        return None
    return value if isinstance(value, dict) else None
