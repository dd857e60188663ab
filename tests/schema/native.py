"""Reads a rendered declaration back, strictly: the proof that nothing of it was garbled."""

from __future__ import annotations

from typing import Any

from agentkit.gemma4.tokens import QUOTE, TOOL_CLOSE, TOOL_OPEN


class Reader:
    """A reader of `{key:value}`, `[value]`, quoted text and bare words."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at == len(self._text)

    def expect(self, literal: str) -> None:
        assert self._text.startswith(literal, self._at), (literal, self._text[self._at :][:80])
        self._at += len(literal)

    def until(self, ends: str) -> str:
        start = self._at
        while self._text[self._at] not in ends:
            self._at += 1
        return self._text[start : self._at]

    def value(self) -> Any:
        if self._text.startswith(QUOTE, self._at):
            return self._quoted()
        if self._text[self._at] == "{":
            return self._object()
        if self._text[self._at] == "[":
            return self._array()
        return {"true": True}.get(word := self.until(",}]"), word)

    def _quoted(self) -> str:
        self.expect(QUOTE)
        end = self._text.index(QUOTE, self._at)
        text = self._text[self._at : end]
        self._at = end + len(QUOTE)
        return text

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.expect("{")
        while self._text[self._at] != "}":
            key = self.until(":{}[]<")
            self.expect(":")
            assert key not in found, f"{key} twice"
            found[key] = self.value()
            if self._text[self._at] == ",":
                self.expect(",")
                assert self._text[self._at] != "}", "a comma before a closing brace"
        self.expect("}")
        return found

    def _array(self) -> list[Any]:
        found = []
        self.expect("[")
        while self._text[self._at] != "]":
            found.append(self.value())
            if self._text[self._at] == ",":
                self.expect(",")
        self.expect("]")
        return found


def read_declaration(rendered: str) -> tuple[str, dict[str, Any]]:
    """Name and body of `<|tool>declaration:NAME{...}<tool|>`, which must be all there is."""
    reader = Reader(rendered)
    reader.expect(f"{TOOL_OPEN}declaration:")
    name = reader.until("{")
    body = reader.value()
    reader.expect(TOOL_CLOSE)
    assert reader.done
    return name, body
