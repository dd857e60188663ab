"""What is written to a terminal: a run as it happens, a sign of life while a model is waited for,
lines and lists that stay readable where there is little room.

The answer of a run goes to standard output, everything else to standard error. What models, tools
and files said never drives the terminal: it passes through `printable`, and what a person is asked
about stands behind a rule, so that none of it can be taken for a line of ours. A pipe has no edge.
"""

from __future__ import annotations

import os
import time
from collections.abc import Container, Sequence
from typing import Any, Literal

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
from agentkit.messages import text_of
from agentkit.wording import pluralize, printable

_PREVIEW_LINES = 4
_PREVIEW_COLUMNS = 110
_RULE = "  │ "
_TAB = 4
_HICCUP = 3.0  # seconds of a failing server before a person is told


class Printer:
    """Prints events as they come. It keeps no more than where the cursor stands.

    Args:
        out: Where the answer goes.
        err: Where reasoning, calls, results and notices go.
        waits: Whether a line is to count the seconds that a model is waited for.
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
        # What was shown is taken back; a short hiccup before anything was shown concerns nobody.
        if self._shown:
            self.line(f"↻ {event.reason}; what was shown of this step is void", "yellow")
        elif time.monotonic() - self._began > _HICCUP:
            self.line(f"↻ {event.reason}; trying again", "yellow")
        self._shown = False

    def answer(self, result: RunResult[Any]) -> None:
        """A whole answer; one that is no text as JSON."""
        said = result.said
        text = said if isinstance(said, str) else to_json(said, fallback=str, indent=2).decode()
        self.end_line()
        self._write(self._out, text, "")
        self.end_line()

    def line(self, text: str, style: str = "") -> None:
        """A whole line on standard error."""
        self.end_line()
        self._err.print(Text(printable(text), style=style), soft_wrap=True)

    def words(self, text: str, style: str = "", indent: int = 0) -> None:
        """A whole line on standard error that is read and not copied: a narrow terminal breaks it
        between words, and it goes on below its text, which begins at `indent`.
        """
        self.end_line()
        print_hanging(self._err, Text(printable(text), style=style), indent)

    def quoted(self, text: str, head: str = _RULE) -> list[str]:
        """The lines of a text that others wrote, each behind a rule: none of them, not even where
        the terminal breaks one, can be taken for a line of ours.

        Args:
            text: The text, of any length.
            head: Stands before the first line instead of the rule.
        """
        room = max(self._err.width - len(_RULE), 1)
        lines = printable(text).expandtabs(_TAB).split("\n") if text else []
        pieces = [piece for line in lines for piece in chop_cells(line, room) or [""]]
        return [f"{head if n == 0 else _RULE}{piece}" for n, piece in enumerate(pieces)]

    @property
    def height(self) -> int:
        """Lines of the terminal, or of what is taken for one."""
        return self._err.height

    @property
    def is_terminal(self) -> bool:
        """Whether somebody sits there who can leaf through a text."""
        return self._err.is_terminal

    def end_line(self) -> None:
        """Ends a line that text has begun, and takes away the one that says it is waited."""
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


# --- a sign of life ------------------------------------------------------------------------------


_EACH_SECOND = 10  # frames, so that the spinner turns


class Waiting:
    """A line on a terminal that counts the seconds; nothing at all where there is no terminal.

    Args:
        console: Where it stands. Whoever else writes to that terminal calls `end` before.
    """

    def __init__(self, console: Console, *, shown: bool = True) -> None:
        self._console = console
        self._shown = shown and os.environ.get("TERM") not in ("dumb", "unknown")
        self._live: Live | None = None
        self._began = 0.0
        ascii_only = not console.encoding.startswith("utf")
        self._spinner = Spinner("line" if ascii_only else "dots", style="dim")

    def begin(self, since: float) -> None:
        """Shows the line, unless it is there; `since` is of the monotonic clock."""
        # The file is asked too: FORCE_COLOR makes rich take any stream for a terminal.
        if (
            self._live
            or not self._shown
            or not (self._console.is_interactive and self._console.file.isatty())
        ):
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
        """Takes the line away, if it is there."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self) -> Spinner:
        seconds = time.monotonic() - self._began
        self._spinner.update(text=Text(f"waiting for the model, {seconds:.0f} s", style="dim"))
        return self._spinner


# --- lines and lists -----------------------------------------------------------------------------


_LEAST = 20
"""Columns that a text is given at least, and the last column of a list."""

_UNCUT = 200
_GAP = 2


def print_hanging(console: Console, line: Text, indent: int) -> None:
    """A line; one that is too long for the terminal goes on below itself.

    Args:
        console: Where to.
        line: Without line breaks.
        indent: Where its text begins; what stands before that stands there once.
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
    """A list as a table; where the terminal is too narrow for one, some lines for each row.

    Args:
        console: Where to.
        columns: Their names. The first is what a row is called by, the last a text that may be cut.
        rows: A cell for each column.
        numbers: The columns that are set to the right.
    """
    sizes = [
        max(len(name), *(row[at].cell_len for row in rows), 0)
        for at, name in enumerate(columns[:-1])
    ]
    before = sum(size + _GAP for size in sizes)
    if not console.is_terminal:
        console = Console(width=max(_UNCUT, before + _LEAST))
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
