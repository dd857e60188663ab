"""A run on the terminal: the answer on standard output, everything else on standard error."""

from __future__ import annotations

import time
from typing import Any

from rich.cells import chop_cells
from rich.console import Console
from rich.text import Text

from agentkit.cli.waiting import Waiting
from agentkit.events import (
    ContextCompacted,
    Event,
    ReasoningDelta,
    StepRestarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.messages import text_of
from agentkit.schema.phrases import many
from agentkit.trace import printable

_PREVIEW_LINES = 4
_PREVIEW_COLUMNS = 110
_RULE = "  │ "
_TAB = 4
_PATIENCE = 3.0  # seconds of a failing server before a person is told


class Printer:
    """Prints events as they come. It keeps no more than where the cursor stands.

    Args:
        out: For the answer.
        err: For thoughts, calls, results and notices.
    """

    def __init__(self, out: Console, err: Console) -> None:
        self._out = out
        self._err = err
        self._open: Console | None = None  # the console whose line has not ended
        self._began = time.monotonic()  # of the step
        self._shown = False  # whether anything of the step stands on the terminal
        self._waiting = Waiting(err)

    def __call__(self, event: Event) -> None:
        """Shows one event."""
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
        if isinstance(event, StepRestarted):
            self._restarted(event.reason)
        else:
            self.line(_compacted(event), "yellow")

    def _restarted(self, reason: str) -> None:
        """Takes back what was shown; a short hiccup before that concerns nobody."""
        if self._shown:
            self.line(f"↻ {reason}; what was shown of this step is void", "yellow")
        elif time.monotonic() - self._began > _PATIENCE:
            self.line(f"↻ {reason}; trying again", "yellow")
        self._shown = False

    def line(self, text: str, style: str = "") -> None:
        """A whole line on standard error."""
        self.end_line()
        self._err.print(Text(printable(text), style=style), soft_wrap=True)

    def quoted(self, text: str, head: str = _RULE) -> list[str]:
        """The lines of a text that others wrote, each behind a rule: none of them, not even where
        the terminal breaks one, can be taken for a line of ours.

        Args:
            text: Of any length.
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


def _compacted(event: ContextCompacted) -> str:
    gone = [
        (len(event.cleared), "old result", "cleared"),
        (event.dropped, "old message", "left out"),
    ]
    what = ", ".join(f"{many(n, noun)} {how}" for n, noun, how in gone if n) or "results shortened"
    return f"▤ context {event.before} → {event.after} tokens: {what}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _PREVIEW_COLUMNS else text[: _PREVIEW_COLUMNS - 1] + "…"


def _preview(text: str) -> list[str]:
    rows = text.splitlines() or [""]
    shown = [row[:_PREVIEW_COLUMNS] for row in rows[:_PREVIEW_LINES]]
    if len(rows) > _PREVIEW_LINES:
        shown.append(f"… {many(len(rows) - _PREVIEW_LINES, 'more line')}")
    return shown
