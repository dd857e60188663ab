"""Token ids → text as it grows: whole characters only, and nothing of a stop text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final

from agentkit.models.decoder import Decoder

_CONTROL_TOKENS: Final = 120  # the checkpoint's first ids, under Gemma 4's own numbers


def token_bytes(decoder: Decoder) -> tuple[bytes, ...]:
    """The bytes of each token of a byte-level vocabulary; control tokens as they are spelled."""
    alphabet = _alphabet()
    size = decoder.tokenizer.get_vocab_size()
    spelled = [decoder.tokenizer.id_to_token(number) or "" for number in range(size)]
    return tuple(
        text.encode() if number < _CONTROL_TOKENS else bytes(alphabet[letter] for letter in text)
        for number, text in enumerate(spelled)
    )


def control_literals(decoder: Decoder) -> list[str]:
    """How the checkpoint's control tokens are spelled."""
    spelled = (decoder.tokenizer.id_to_token(number) for number in range(_CONTROL_TOKENS))
    return [text for text in spelled if text]


def _alphabet() -> dict[str, int]:
    """GPT-2's byte alphabet: printable Latin-1 for itself, the other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + at): byte for at, byte in enumerate(others)
    }


class Pieces:
    """The text of one reply, token by token.

    Args:
        table: `token_bytes` of the checkpoint.
        stops: Texts that end the reply and are not part of it.

    Attributes:
        stopped: A stop text was met.
    """

    def __init__(self, table: Sequence[bytes], stops: Sequence[str]) -> None:
        self._table = table
        self._stops = [stop for stop in stops if stop]
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # may be the beginning of a stop text
        self.stopped = False

    def take(self, token: int) -> tuple[list[int], list[str]]:
        """What can be shown now, as ids and their texts; a control token stands alone."""
        if token < _CONTROL_TOKENS:
            ids, texts = self.rest()
            return [*ids, token], [*texts, self._table[token].decode()]
        self._held += self._characters.decode(self._table[token])
        return self._released(token)

    def rest(self) -> tuple[list[int], list[str]]:
        """What was held back, once no stop text can follow."""
        held = self._held + self._characters.decode(b"", final=True)
        self._held = ""
        self._characters.reset()
        return ([_CONTROL_TOKENS], [held]) if held else ([], [])

    def _released(self, token: int) -> tuple[list[int], list[str]]:
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
        else:
            keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
            end = len(self._held) - keep
            shown, self._held = self._held[:end], self._held[end:]
        return ([token], [shown]) if shown else ([], [])


def _overlap(text: str, stop: str) -> int:
    """How many of the text's last characters could begin the stop text."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
