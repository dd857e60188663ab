"""What results hold beyond what a conversation does, kept for the run that made them."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import IO, Final

from agentkit.messages import Content, text_of

_IN_MEMORY: Final = 64 * 2**20
"""Bytes of results, in UTF-8, that one run keeps in memory beyond its history."""


class WholeResults:
    """The text of those results of a run of which its history holds less.

    What does not fit in memory goes to a private temporary file, which is gone with this object.

    Args:
        in_memory: Most bytes that are kept in memory.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._left = in_memory
        self._texts: dict[int, str] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._file: IO[bytes] | None = None

    def keep(self, number: int, content: Content, in_history: Content) -> None:
        """Keeps the text of a result, if the history holds less of it.

        Args:
            number: Its place in the history, from 1, the instructions not counted.
            content: What the tool returned.
            in_history: What the history holds.
        """
        text = text_of(content)
        if len(text) <= len(text_of(in_history)):
            return
        data = text.encode()
        if len(data) <= self._left:
            self._left -= len(data)
            self._texts[number] = text
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="agentkit-")  # noqa: SIM115 - see `close`
        self._places[number] = self._file.seek(0, 2), len(data)
        self._file.write(data)

    def get(self, number: int) -> str | None:
        """All of a result's text; None where the history holds it."""
        if number not in self._places:
            return self._texts.get(number)
        assert self._file is not None, "a place is one in the file"
        start, length = self._places[number]
        self._file.seek(start)
        return self._file.read(length).decode()

    def close(self) -> None:
        """Takes the file away. It is not an error to call this twice."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> WholeResults:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
