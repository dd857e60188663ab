"""The line at which a person types: in a terminal, in one that only prints (`TERM` is `dumb`), from
a pipe, or without standard input.

In a terminal the line stays while an answer runs: the answer is printed above it, and what is typed
ahead is sent afterwards. The line editor is prompt_toolkit's.

```
 The warehouse has three lamps and        whole lines, printed above
 no rugs. Shall I                         the last line of the answer so far
 > and the mats, too▌                     what is typed ahead
 gemma-4 | ask | 1,204 of 262,144 tokens  the status
```

A question about a call takes only what is typed after it was shown: the unfinished line comes back
after the answer.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TextIO

import anyio
import anyio.abc
import anyio.to_thread
from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle

PROMPT: Final = "> "
_MORE: Final = "  "
_LEAVE: Final = "Ctrl-D on an empty line leaves; what you typed stays"
_AWAY: Final = "\0"
"""The result of a line that is put away; nobody can type it."""
_REFRESH = 0.5  # seconds between updates of the status line, which counts seconds
_REDRAW = 0.05  # least seconds between redraws while an answer streams


class Lines:
    """The source of typed lines; this class reads a pipe or a file, line by line."""

    def __init__(self) -> None:
        self._interrupt: Callable[[], object] = lambda: None

    async def message(self) -> str:
        """The next message of the person; EOFError when there is no more."""
        return await self.ask(PROMPT)

    async def ask(self, prompt: str) -> str:  # noqa: ARG002 - nobody sees one
        """The answer to a question that was just shown."""
        line: str = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        if not line:
            raise EOFError
        return line

    @asynccontextmanager
    async def while_answering(self, interrupt: Callable[[], object]) -> AsyncGenerator[None]:
        """The block in which an answer runs; Ctrl-C calls `interrupt`."""
        self._interrupt = interrupt
        yield


class NoLines(Lines):
    """The source without standard input, which was closed when the command was started."""

    async def ask(self, prompt: str) -> str:  # noqa: ARG002 - nobody sees one
        """Raises EOFError: nobody is there."""
        raise EOFError


class PlainLines(Lines):
    """A terminal that only prints, with the system's own line editing and without a status line."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead: deque[str] = deque()

    async def message(self) -> str:
        """The next message, typed ahead or now; a backslash at a line's end continues it."""
        self._show(PROMPT)
        message = ""
        while True:
            if self._ahead:
                line = self._ahead.popleft()
                self._show(line)
            else:
                line = await self._uninterrupted()
            message += line
            if not message.endswith("\\\n"):
                return message
            message = message.removesuffix("\\\n") + "\n"
            self._show(_MORE)

    async def _uninterrupted(self) -> str:
        """The next line; Ctrl-C neither ends nor clears it."""

        async def say_how_to_leave() -> None:
            with anyio.open_signal_receiver(signal.SIGINT) as interrupts:
                async for _ in interrupts:
                    self._show(f"\n{_LEAVE}\n{PROMPT}")

        line = ""
        ended = False
        with _typed_text_stays():
            async with anyio.create_task_group() as group:
                group.start_soon(say_how_to_leave)
                try:
                    line = await self._line()
                except EOFError:
                    ended = True
                group.cancel_scope.cancel()
        if ended:
            raise EOFError
        return line

    @asynccontextmanager
    async def while_answering(self, interrupt: Callable[[], object]) -> AsyncGenerator[None]:
        """Leaves what is typed meanwhile in the terminal's buffer."""
        async with super().while_answering(interrupt):
            with _typed_text_stays():
                yield

    async def ask(self, prompt: str) -> str:
        """The next line that is typed from now on."""
        while select.select([sys.stdin], [], [], 0)[0]:
            self._ahead.append(await self._line())
        self._show(prompt)
        return await self._line()

    async def _line(self) -> str:
        await anyio.wait_readable(sys.stdin)
        # A terminal gives one line for each read; Python's buffer would take more of them.
        line = os.read(sys.stdin.fileno(), 65_536)
        if not line:
            raise EOFError
        return line.decode(errors="replace")

    def _show(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


@contextmanager
def _typed_text_stays() -> Generator[None]:
    """Keeps the terminal from discarding what was typed when Ctrl-C is pressed."""
    import termios  # noqa: PLC0415 - there is none on Windows

    before = termios.tcgetattr(sys.stdin)
    kept = [*before]
    kept[3] |= termios.NOFLSH  # the local modes, termios(3)
    termios.tcsetattr(sys.stdin, termios.TCSANOW, kept)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


class Above:
    """A stream whose text is printed above the line at which a person types, while there is one.

    Args:
        file: The terminal.

    Attributes:
        tail: The beginning of a line that has not ended.
        app: Draws the line at which a person types; None while there is none.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._whole: list[str] = []
        self._printing: Awaitable[None] | None = None
        self.tail = ""
        self.app: Application[str] | None = None

    def write(self, text: str) -> int:
        """Prints whole lines, and keeps the beginning of the next one."""
        if self.app is None:
            self._file.write(text)
            return len(text)
        whole, newline, self.tail = (self.tail + text).rpartition("\n")
        if newline:
            self._whole.append(whole + newline)
            if len(self._whole) == 1:
                self._printing = run_in_terminal(self._print)
        self.app.invalidate()
        return len(text)

    def _print(self) -> None:
        self._file.write("".join(self._whole))
        self._file.flush()
        self._whole.clear()

    async def printed(self) -> None:
        """Waits until all whole lines are printed."""
        if self._printing is not None:
            await self._printing

    def release(self) -> None:
        """Prints the rest, after the typed line is gone."""
        self.app = None
        self._print()
        self._file.write(self.tail)
        self.tail = ""
        self._file.flush()

    def flush(self) -> None:
        if self.app is None:
            self._file.flush()

    def isatty(self) -> bool:
        return self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()

    @property
    def encoding(self) -> str:
        return self._file.encoding


class EditedLines(Lines):
    """A terminal with a line editor.

    Args:
        above: The streams of the terminal, which print above the line.
        commands: What Tab completes.
        status: Makes the status below the line.
        history: File of earlier lines.
    """

    def __init__(
        self,
        above: Sequence[Above],
        commands: Sequence[str],
        status: Callable[[], str],
        history: Path | None,
    ) -> None:
        super().__init__()
        self._above = above
        self._status = status
        self._hint = ""
        self._ahead: deque[str] = deque()
        self._draft = ""
        self._group: anyio.abc.TaskGroup | None = None
        self._typing: anyio.Event | None = None  # set when the line during an answer is gone
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)) if history else None,
            completer=WordCompleter(list(commands), sentence=True),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            multiline=True,
            prompt_continuation=_MORE,
            key_bindings=self._keys(),
            bottom_toolbar=self._toolbar,
            refresh_interval=_REFRESH,
        )
        self._session.app.min_redraw_interval = _REDRAW
        self._question: PromptSession[str] = PromptSession()

    async def message(self) -> str:
        """The next message, typed ahead or now."""
        if self._ahead:
            line = self._ahead.popleft()
            shown = line.replace("\n", f"\n{_MORE}")
            self._above[0].write(f"{PROMPT}{shown}\n")
            return line
        draft, self._draft = self._draft, ""
        self._session.app.erase_when_done = False
        return await self._session.prompt_async(PROMPT, default=draft)

    async def ask(self, prompt: str) -> str:
        """The line that is typed from now on; an unfinished one comes back afterwards."""
        await self._put_away()
        try:
            return await self._question.prompt_async(prompt)
        except KeyboardInterrupt:
            self._interrupt()
            raise
        finally:
            self._take_out()

    @asynccontextmanager
    async def while_answering(self, interrupt: Callable[[], object]) -> AsyncGenerator[None]:
        """The block in which an answer runs and lines can be typed ahead."""
        self._interrupt = interrupt
        async with anyio.create_task_group() as self._group:
            self._take_out()
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self._put_away()
                self._group = None

    # --- the line during an answer ---------------------------------------------------------------

    def _take_out(self) -> None:
        if self._group is not None:
            self._typing = anyio.Event()
            self._group.start_soon(self._type_ahead, self._typing)

    async def _put_away(self) -> None:
        """Removes the line, and keeps its text as a draft."""
        typing, self._typing = self._typing, None
        if typing is None:
            return
        app = self._session.app
        while not app.is_running and not typing.is_set():
            await anyio.lowlevel.checkpoint()
        for stream in self._above:
            await stream.printed()
        if app.is_running and not app.is_done:
            self._draft = self._session.default_buffer.text
            app.exit(result=_AWAY)
        await typing.wait()
        for stream in self._above:
            stream.release()

    async def _type_ahead(self, typing: anyio.Event) -> None:
        for stream in self._above:
            stream.app = self._session.app
        self._session.app.erase_when_done = True
        try:
            while self._typing is typing:
                draft, self._draft = self._draft, ""
                line = await self._session.prompt_async(
                    self._over, default=draft, handle_sigint=False
                )
                if line is not _AWAY and line.strip():
                    self._ahead.append(line)
        except EOFError:
            self._interrupt()  # Ctrl-D: to leave, nobody wants to wait for the answer
            self._ahead.append("/exit")
        finally:
            typing.set()

    def _over(self) -> StyleAndTextTuples:
        """The last line of the answer so far, and below it the lines that are typed ahead."""
        size = self._session.app.output.get_size()
        shown = to_formatted_text(ANSI("".join(stream.tail for stream in self._above)))
        most = size.columns * max(size.rows // 2, 1)
        waiting = [("", f"{PROMPT}{line}\n") for line in self._ahead]
        before: StyleAndTextTuples = [*shown[-most:], ("", "\n")] if shown else []
        return [*before, *waiting, ("", PROMPT)]

    # --- keys ------------------------------------------------------------------------------------

    def _toolbar(self) -> str:
        room = max(self._session.app.output.get_size().columns - 1, 1)
        return (self._hint or self._status())[:room]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            self._hint = ""
            buffer = event.current_buffer
            if buffer.document.text_before_cursor.endswith("\\"):
                buffer.delete_before_cursor()
                buffer.insert_text("\n")
            else:
                buffer.validate_and_handle()

        @keys.add("escape", "enter")
        @keys.add("escape", "c-j")  # as the terminal itself writes it between two lines
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c")
        def _(event: KeyPressEvent) -> None:
            if self._typing is not None:
                self._interrupt()
            else:
                self._hint = _LEAVE
                event.app.invalidate()

        return keys


def lines_from_here(
    above: Sequence[Above],
    commands: Sequence[str] = (),
    status: Callable[[], str] = lambda: "",
    history: Path | None = None,
) -> Lines:
    """The source of lines for this process; see `EditedLines` for the arguments."""
    if sys.stdin is None:
        return NoLines()
    if not sys.stdin.isatty():
        return Lines()
    if os.environ.get("TERM") in ("dumb", "unknown") or not above[0].isatty():
        return PlainLines()
    return EditedLines(above, commands, status, history)
