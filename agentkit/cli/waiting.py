"""A sign of life while a model is waited for."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

_EACH_SECOND = 10  # frames, so that the spinner turns


class Waiting:
    """A line on a terminal that counts the seconds; nothing at all where there is no terminal.

    Args:
        console: Where it stands. Whoever else writes to that terminal calls `end` before.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._began = 0.0
        self._spinner = Spinner("dots", style="dim")

    def begin(self, since: float) -> None:
        """Shows the line, unless it is there; `since` is of the monotonic clock."""
        # The file is asked too: FORCE_COLOR makes rich take any stream for a terminal.
        if self._live or not (self._console.is_interactive and self._console.file.isatty()):
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
