"""What results hold beyond what a conversation does, kept for the run that made them."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import Final

from agentkit.messages import Content, text_of

_IN_MEMORY: Final = 64 * 2**20
"""Bytes of results, in UTF-8, that one run keeps in memory beyond its history."""


class WholeResults:
    """The text of those results of a run of which its history holds less.

    What outgrows memory goes to a private temporary file, which is gone with this object.

    Args:
        in_memory: Most bytes that are kept in memory.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._places: dict[int, tuple[int, int]] = {}  # number -> first byte and length
        self._bytes = SpooledTemporaryFile(in_memory, prefix="agentkit-")  # noqa: SIM115 - `close`

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
        self._places[number] = self._bytes.seek(0, 2), len(data)
        self._bytes.write(data)

    def get(self, number: int) -> str | None:
        """All of a result's text; None where the history holds it."""
        if number not in self._places:
            return None
        start, length = self._places[number]
        self._bytes.seek(start)
        return self._bytes.read(length).decode()

    def close(self) -> None:
        """Throws all of it away."""
        self._bytes.close()
