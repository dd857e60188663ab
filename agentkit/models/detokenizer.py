"""Token ids → the text of each token, asked for once and remembered.

A tokenizer of Gemma's kind has tokens of two sorts. Most stand for the same characters wherever
they are met. A few hold only some bytes of a character (the byte-fallback tokens of a real Gemma,
single bytes in a byte-level vocabulary), and those mean something together with their neighbours.
So the text of a token alone is learned once, and only a stretch of partial tokens is decoded anew.

Where the decoder is a server, what is asked for are whole blocks of the vocabulary: a reply
nearly always holds a word that none before it had, but tokens that are used together lie together
(merges are numbered by how frequent they are), so after some replies nothing is asked any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from agentkit.errors import ModelProtocolError, ModelStatusError
from agentkit.gemma4.tokens import EOS, IDS, TOOL_CLOSE
from agentkit.models.transport import Transport
from agentkit.wire import encode_detokenize, read_text

Decode: TypeAlias = Callable[[Sequence[Sequence[int]]], Awaitable[list[str]]]
"""The text of each sequence of token ids, decoded apart from the others."""

_LITERALS: Final = {number: literal for literal, number in IDS.items()}

_BLOCK: Final = 2048
"""Tokens that are asked for together: 128 requests would bring all 262,144, and one has some 20 kB.
"""

_SEPARATORS: Final = (EOS, TOOL_CLOSE)
"""What is put between texts that are asked for together: the second where a text spells the first.
"""

_REMEMBERED: Final = 4096
"""Stretches of partial tokens whose text is kept."""

_NO_SUCH_TOKEN: Final = 400
"""Status of a server that refuses an id above its vocabulary, as some do."""

_PARTIAL: Final = "\ufffd"
"""What a decoder writes for bytes that are no character."""


class Detokenizer:
    """The text of the tokens of one vocabulary.

    Shareable between event loops and threads: what two of them learn at once is the same.

    Args:
        decode: Never given a control token, except where the text of the token is all it asks for.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._known: dict[int, str] = dict(_LITERALS)
        self._partial: set[int] = set()
        self._decoded: dict[tuple[int, ...], str] = {}  # partial tokens side by side
        self._in_blocks = True  # whether the decoder takes ids that its vocabulary may not have
        self._adds_up = True  # whether the text of a stretch is that of its tokens, side by side

    async def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token, as many as ids; joined, it is the text of the whole.

        Control tokens are spelled out: what tells them from text is their id. Tokens that make a
        character together have it at the last of them, and nothing before it.

        Raises:
            ModelError: The decoder cannot be had.
        """
        stretches = list(_between_controls(ids))
        unknown = {n for start, end in stretches for n in ids[start:end]} - self._known.keys()
        unknown -= self._partial
        new = [(a, b) for a, b in stretches if not unknown.isdisjoint(ids[a:b])]
        texts = dict(zip(new, await self._learn(unknown, [ids[a:b] for a, b in new]), strict=True))
        known = [part for part in stretches if part not in texts]
        texts |= await self._undecided(ids, known)
        pieces = [self._known.get(number, "") for number in ids]
        for (start, end), text in texts.items():
            if text != "".join(pieces[start:end]):
                pieces[start:end] = [*[""] * (end - start - 1), text]
        return pieces

    async def _learn(self, unknown: set[int], stretches: list[Sequence[int]]) -> list[str]:
        """Learns tokens, and returns the text of the stretches in which they were met."""
        if not unknown:
            return []
        wanted = sorted(self._blocks(unknown) if self._in_blocks else unknown)
        try:
            texts = await self._decode([*stretches, *([number] for number in wanted)])
        except ModelStatusError as error:
            if error.status_code != _NO_SUCH_TOKEN or not self._in_blocks:
                raise
            self._in_blocks = False
            return await self._learn(unknown, stretches)
        for number, text in zip(wanted, texts[len(stretches) :], strict=True):
            if _PARTIAL in text:
                self._partial.add(number)
            else:
                self._known[number] = text
        for ids, text in zip(stretches, texts, strict=False):
            if self._partial.isdisjoint(ids) and text != "".join(map(self._known.__getitem__, ids)):
                self._adds_up = False
        return texts[: len(stretches)]

    def _blocks(self, numbers: set[int]) -> set[int]:
        """All tokens of the blocks of these that are not known yet."""
        starts = {number - number % _BLOCK for number in numbers}
        near = {number for start in starts for number in range(start, start + _BLOCK)}
        return near - self._known.keys() - self._partial

    async def _undecided(
        self, ids: Sequence[int], stretches: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], str]:
        """The text of what has to be decoded as it stands: partial tokens side by side, or every
        stretch where tokens do not add up.
        """
        parts = self._partial_parts(ids, stretches) if self._adds_up else stretches
        by_part = {part: tuple(ids[part[0] : part[1]]) for part in parts}
        if new := list(dict.fromkeys(key for key in by_part.values() if key not in self._decoded)):
            texts = await self._decode(new)
            if len(self._decoded) > _REMEMBERED:
                self._decoded = {
                    key: self._decoded[key] for key in by_part.values() if key not in new
                }
            self._decoded |= dict(zip(new, texts, strict=True))
        return {part: self._decoded[key] for part, key in by_part.items()}

    def _partial_parts(
        self, ids: Sequence[int], stretches: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, int]]:
        for begin, end in stretches:
            at = begin
            for partial, run in groupby(ids[begin:end], self._partial.__contains__):
                size = sum(1 for _ in run)
                if partial:
                    yield at, at + size
                at += size


def _between_controls(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each stretch of text starts and ends."""
    start = 0
    for at, number in enumerate(ids):
        if number in _LITERALS:
            if at > start:
                yield start, at
            start = at + 1
    if start < len(ids):
        yield start, len(ids)


def on_server(transport: Transport, model: str) -> Decode:
    """Decodes by `/detokenize`, all sequences in one request.

    Args:
        transport: To the server.
        model: The served name.
    """

    async def decode(sequences: Sequence[Sequence[int]]) -> list[str]:
        for literal in _SEPARATORS:
            mark = IDS[literal]
            ids = [number for sequence in sequences for number in (mark, *sequence)]
            within = transport.timeouts.first_event
            answer = await transport.post(
                "/detokenize", encode_detokenize(model, ids), within=within
            )
            if (text := read_text(answer)) is None:
                break
            before, *texts = text.split(literal)
            if len(texts) == len(sequences) and not before:
                return texts
        raise ModelProtocolError(f"{transport.where}/detokenize does not spell the tokens out")

    return decode
