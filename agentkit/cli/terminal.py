"""Output to a terminal: a run as it happens, a progress line while the model works, and lines and
lists that stay readable in a narrow window.

The answer of a run goes to standard output, everything else to standard error. Text of models,
tools and files cannot control the terminal: it passes through `printable`. What a person is asked
about is printed behind a vertical rule, so that it cannot be taken for a line of agentkit's own. In
a pipe, lines are not wrapped.

`Person` is the person at the terminal who decides on calls: one call at a time, and all of it must
have been shown before a yes counts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from typing import Any, Literal

from pydantic import JsonValue
from pydantic_core import to_json
from rich.cells import chop_cells
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from agentkit.events import (
    ContextCompacted,
    Event,
    ReasoningDelta,
    RunResult,
    StepRestarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.exact import InexactError, read_exact
from agentkit.messages import ToolCall, text_of
from agentkit.policy import Approval, Approve, Decision, Deny, Edit, Grant
from agentkit.wording import pluralize, printable

_PREVIEW_LINES = 4
_PREVIEW_COLUMNS = 110
_RULE = "  │ "
_TAB = 4
_HICCUP = 3.0  # seconds of a failing server before a person is told


class Printer:
    """Prints events as they come.

    Args:
        out: For the answer.
        err: For reasoning, calls, results and notices.
        waits: Whether to show a line that counts the seconds until the model answers.
    """

    def __init__(self, out: Console, err: Console, *, waits: bool = True) -> None:
        self._out = out
        self._err = err
        self._open: Console | None = None  # the console whose line has not ended
        self._began = time.monotonic()  # of the step
        self._shown = False  # whether anything of the step stands on the terminal
        self._waiting = Waiting(err, shown=waits)

    def __call__(self, event: Event) -> None:
        match event:
            case TextDelta(text=text):
                self._write(self._out, text, "")
            case ReasoningDelta(text=text):
                self._write(self._err, text, "dim italic")
            case ToolStarted(call=call):
                arguments = ", ".join(f"{k}={_short(v)}" for k, v in call.arguments.items())
                self.line(f"→ {call.name}({arguments})", "cyan")
            case ToolProgress(text=text):
                for row in text.splitlines():
                    self.line(f"  {row}", "dim")
            case ToolFinished(result=result):
                style = "red" if result.is_error else "dim"
                for row in _preview(text_of(result.content)):
                    self.line(f"  {row}", style)
            case StepRestarted() | ContextCompacted():
                self._notice(event)
                self._waiting.begin(self._began)
            case StepStarted():
                self.end_line()
                self._began, self._shown = time.monotonic(), False
                self._waiting.begin(self._began)
            case _:
                pass

    def _notice(self, event: StepRestarted | ContextCompacted) -> None:
        if isinstance(event, ContextCompacted):
            gone = [
                (len(event.cleared), "old result", "cleared"),
                (event.dropped, "old message", "left out"),
            ]
            what = ", ".join(f"{pluralize(n, noun)} {how}" for n, noun, how in gone if n)
            what = what or "results shortened"
            if (summary := event.summary) is not None:
                what += ", summarized" if summary.text else f", no summary ({summary.problem})"
            sizes = f"{event.before:,} → {event.after:,} tokens"
            self.line(f"▤ context {sizes}: {what}; {event.reason}", "yellow")
            return
        # A short failure of the server before anything was shown is not worth a line.
        if self._shown:
            self.line(f"↻ {event.reason}; what was shown of this step is void", "yellow")
        elif time.monotonic() - self._began > _HICCUP:
            self.line(f"↻ {event.reason}; trying again", "yellow")
        self._shown = False

    def answer(self, result: RunResult[Any]) -> None:
        """Prints a whole answer; one that is no text as JSON."""
        said = result.said
        text = said if isinstance(said, str) else to_json(said, fallback=str, indent=2).decode()
        self.end_line()
        self._write(self._out, text, "")
        self.end_line()

    def line(self, text: str, style: str = "") -> None:
        """Prints a whole line to standard error."""
        self.end_line()
        self._err.print(Text(printable(text), style=style), soft_wrap=True)

    def words(self, text: str, style: str = "", indent: int = 0) -> None:
        """Prints a line to standard error, wrapped between words; further lines begin at `indent`.

        For text that is read and not copied; `line` does not wrap.
        """
        self.end_line()
        print_hanging(self._err, Text(printable(text), style=style), indent)

    def quoted(self, text: str, head: str = _RULE) -> list[str]:
        """The lines of a text that others wrote, wrapped, each behind a rule.

        So none of them can be taken for a line of agentkit's own.

        Args:
            text: The text, of any length.
            head: Replaces the rule before the first line.
        """
        room = max(self._err.width - len(_RULE), 1)
        lines = printable(text).expandtabs(_TAB).split("\n") if text else []
        pieces = [piece for line in lines for piece in chop_cells(line, room) or [""]]
        return [f"{head if n == 0 else _RULE}{piece}" for n, piece in enumerate(pieces)]

    @property
    def height(self) -> int:
        """The height of the terminal in lines."""
        return self._err.height

    @property
    def is_terminal(self) -> bool:
        """Whether standard error is a terminal, where a person can page through a text."""
        return self._err.is_terminal

    def end_line(self) -> None:
        """Ends a line that text has begun, and removes the line that counts the seconds."""
        self._waiting.end()
        if self._open is not None:
            self._open.print()
            self._open = None

    def _write(self, console: Console, text: str, style: str) -> None:
        self._waiting.end()
        if self._open is not None and self._open is not console:
            self.end_line()
        if style:
            console.print(Text(printable(text), style=style), end="", soft_wrap=True)
        else:
            console.file.write(printable(text))  # as it is: rich would turn tabs into spaces
        console.file.flush()
        self._open = None if text.endswith("\n") else console
        self._shown = True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _PREVIEW_COLUMNS else text[: _PREVIEW_COLUMNS - 1] + "…"


def _preview(text: str) -> list[str]:
    rows = text.splitlines() or [""]
    shown = [row[:_PREVIEW_COLUMNS] for row in rows[:_PREVIEW_LINES]]
    if len(rows) > _PREVIEW_LINES:
        shown.append(f"… {pluralize(len(rows) - _PREVIEW_LINES, 'more line')}")
    return shown


# --- the progress line ---------------------------------------------------------------------------


_EACH_SECOND = 10  # frames of the spinner


class Waiting:
    """A line on a terminal that counts the seconds; without a terminal, nothing.

    Args:
        console: Where to show it. Before anything else is printed there, `end` must be called.
        shown: False shows nothing.
    """

    def __init__(self, console: Console, *, shown: bool = True) -> None:
        self._console = console
        self._shown = shown and os.environ.get("TERM") not in ("dumb", "unknown")
        self._live: Live | None = None
        self._began = 0.0
        ascii_only = not console.encoding.startswith("utf")
        self._spinner = Spinner("line" if ascii_only else "dots", style="dim")

    def begin(self, since: float) -> None:
        """Shows the line, if it is not shown; `since` is a time of the monotonic clock."""
        # The file is asked too: with FORCE_COLOR, rich takes any stream for a terminal.
        is_terminal = self._console.is_interactive and self._console.file.isatty()
        if self._live or not self._shown or not is_terminal:
            return
        self._began = since
        self._live = Live(
            console=self._console,
            get_renderable=self._line,
            refresh_per_second=_EACH_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def end(self) -> None:
        """Removes the line, if it is shown."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self) -> Spinner:
        seconds = time.monotonic() - self._began
        self._spinner.update(text=Text(f"waiting for the model, {seconds:.0f} s", style="dim"))
        return self._spinner


# --- lines and lists -----------------------------------------------------------------------------


_LEAST = 20
"""The least columns of a text, and of the last column of a list."""

_UNCUT = 200
_GAP = 2


def print_hanging(console: Console, line: Text, indent: int) -> None:
    """Prints a line; one that is too long for the terminal is wrapped with a hanging indent.

    Args:
        console: Where to print.
        line: A text without line breaks.
        indent: The column of the further lines; what stands before it is printed once.
    """
    if not console.is_terminal:
        console.print(line, soft_wrap=True)
        return
    head, text = line[:indent], line[indent:]
    for piece in text.wrap(console, max(console.width - indent, _LEAST)) or [text]:
        shown = head + piece
        shown.rstrip()
        console.print(shown, soft_wrap=True)
        head = Text(" " * indent)


def print_rows(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[Text]],
    *,
    numbers: Container[str] = (),
) -> None:
    """Prints a list as a table; in a terminal too narrow for that, as some lines for each row.

    Args:
        console: Where to print.
        columns: The headings. The first column names a row, the last has a text that may be cut.
        rows: A cell for each column.
        numbers: The columns that are right-aligned.
    """
    sizes = [
        max(len(name), *(row[at].cell_len for row in rows), 0)
        for at, name in enumerate(columns[:-1])
    ]
    before = sum(size + _GAP for size in sizes)
    if not console.is_terminal:
        console = Console(file=console.file, width=max(_UNCUT, before + _LEAST))
    elif before + _LEAST > console.width:
        for row in rows:
            _print_row(console, columns, row)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, size in zip(columns, [*sizes, console.width - before], strict=True):
        justify: Literal["right", "left"] = "right" if name in numbers else "left"
        table.add_column(name, justify=justify, no_wrap=True, max_width=size)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_row(console: Console, columns: Sequence[str], row: Sequence[Text]) -> None:
    name, *cells, text = row
    print_hanging(console, name, 0)
    named = zip(columns[1:], cells, strict=False)
    facts = [Text.assemble(f"{column} ", cell) for column, cell in named if cell]
    if facts:
        print_hanging(console, Text("  ") + Text(", ").join(facts), 2)
    shown = text.copy()
    shown.truncate(console.width - 2, overflow="ellipsis")
    console.print(Text("  ") + shown, soft_wrap=True)


# --- the person who decides ----------------------------------------------------------------------

Ask = Callable[[str], Awaitable[str]]
"""Shows a prompt and returns the line that is typed; EOFError when there is no more."""


Preview = Callable[[ToolCall], str]
"""Call → what it would change, as a diff; empty if that is not known."""


class Person:
    """The person who answers the questions of a run.

    Args:
        ask: Reads a line.
        printer: Prints questions.
        preview: Makes the diff above a call's arguments.

    Attributes:
        grants: The rules that the person has made for further runs as well.
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
        """Asks for the decision on one call: prints what it would touch, then all its arguments.

        Of a question that is longer than the terminal, the beginning and the end are shown with the
        number of lines between them. A yes counts only after these have been shown as well.
        """
        shown = _Question(self._printer, approval, self._preview(approval.call))
        shown.begin()
        while True:
            try:
                reply = (await self._ask(_CHOICE)).strip()
                word, _, rest = reply.partition(" ")
                choice = _WORDS.get(word, "")
                if choice in ("view", "yes", *_RULES) and shown.hidden:
                    await shown.leaf_through(self._ask)
                    continue
            except (EOFError, KeyboardInterrupt):
                return Deny("nobody answered")
            if choice == "yes":
                return Approve()
            if choice == "no":
                return Deny(rest.strip())
            if choice == "edit" and (edited := _object(rest)) is not None:
                return Edit(edited)
            if choice in _RULES:
                if (grant := self._grant(approval, rest.strip())) is not None:
                    if choice == "always":
                        self.grants.append(grant)
                    what = f"no question about {grant.tool} on {grant.target} {_RULES[choice]}"
                    self._printer.line(f"From now on {what}", "yellow")
                    return Approve(grant)
            else:
                self._printer.line(_HELP, "dim")

    def _grant(self, approval: Approval, pattern: str) -> Grant | None:
        """The rule that a person asks for; None, after a message, if it would not work."""
        name, target = approval.call.name, approval.target
        if approval.why:
            self._printer.line("No rule lifts this question: y, n or e?", "dim")
            return None
        if not pattern and not target:
            self._printer.line(f"{name} does not say what it touches: a * means all calls", "dim")
            return None
        grant = Grant(name, pattern or target)
        if not grant.fits(name, approval.labels, target):
            runs_code = "exec" in approval.labels
            advice = ": of what executes, give all of it, or *" if runs_code else ""
            self._printer.line(f"{pattern} does not fit this call{advice}", "dim")
            return None
        return grant


_CHOICE = "  [y]es, this [r]un, [a]lways PATTERN, [n]o REASON, [e]dit JSON: "
_HELP = (
    'Type y for this call, n with a reason, e with JSON, as in: e {"a": 1}, or what further calls '
    "of this tool may touch without a question, as in: a docs/*, or r docs/* until this run ends"
)
_RULES = {"run": "in this run", "always": "until you begin anew"}
"""Choices that make a rule → how long it holds."""
_WORDS = {
    word: choice
    for choice in ("yes", "no", "edit", "always", "view", "run")
    for word in (choice[0], choice, choice.capitalize())
}


class _Question:
    """The lines of a question about a call, and how many of them are still hidden.

    Attributes:
        hidden: The number of lines that have not been shown yet.
    """

    def __init__(self, printer: Printer, approval: Approval, change: str) -> None:
        self._printer = printer
        self._lines = list(_question_lines(printer, approval, change))
        room = max(printer.height - 6, _LEAST_ROOM)  # without the prompt and our own lines
        tail = room // 3
        cut = len(self._lines) > room
        self._first, self._last = (room - tail, len(self._lines) - tail) if cut else (0, 0)
        self._room = room
        self.hidden = self._last - self._first

    def begin(self) -> None:
        """Shows the whole question, or its beginning and its end."""
        if not self.hidden:
            self._print(0, len(self._lines))
            return
        self._print(0, self._first)
        between = f"{self.hidden:,} of {len(self._lines):,} lines"
        self._printer.line(f"  ⋮ {between} are not shown: v shows them", "yellow")
        self._print(self._last, len(self._lines))

    async def leaf_through(self, ask: Ask) -> None:
        """Shows the hidden lines; on a terminal page by page, until the person stops."""
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
"""Lines; a smaller terminal scrolls."""


def _question_lines(printer: Printer, approval: Approval, change: str) -> Iterator[tuple[str, str]]:
    """Yields the lines of a question, each with its style."""
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
    """Yields each text and number of a call's arguments with its path, such as `edits[0].old`."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            shown = key if key.isidentifier() else json.dumps(key)
            yield from _leaves(f"{name}.{shown}" if name else shown, inner)
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
