"""A model's reply as a text in which one private character stands for each control token.

Everything else of such a text is written in ordinary tokens, also what is spelled like a control
token. The vocabulary is small: Gemma 4's control tokens have their own ids, every byte is a token,
and so are some short pieces. All of it is written apart from agentkit, which it judges.
"""

from __future__ import annotations

import codecs
import random
import re
from collections.abc import Iterator, Sequence
from typing import Final

QUOTE: Final = "\ue000"
OPEN: Final = "\ue001"
CLOSE: Final = "\ue002"
THOUGHT_OPEN: Final = "\ue003"
THOUGHT_CLOSE: Final = "\ue004"
RESPONSE: Final = "\ue005"
TURN_END: Final = "\ue006"
EOS: Final = "\ue007"
PAD: Final = "\ue008"

LITERALS: Final = {
    QUOTE: '<|"|>',
    OPEN: "<|tool_call>",
    CLOSE: "<tool_call|>",
    THOUGHT_OPEN: "<|channel>",
    THOUGHT_CLOSE: "<channel|>",
    RESPONSE: "<|tool_response>",
    TURN_END: "<turn|>",
    EOS: "<eos>",
    PAD: "<pad>",
}
CALLS_END: Final = (LITERALS[RESPONSE], LITERALS[TURN_END], LITERALS[EOS])
"""How the tokens that end a reply are spelled."""
_IDS: Final = {
    QUOTE: 52,
    OPEN: 48,
    CLOSE: 49,
    THOUGHT_OPEN: 100,
    THOUGHT_CLOSE: 101,
    RESPONSE: 50,
    TURN_END: 106,
    EOS: 1,
    PAD: 0,
}
_OTHER_IDS: Final = {
    "<mask>": 4,
    "<bos>": 2,
    "<unk>": 3,
    "<|tool>": 46,
    "<tool|>": 47,
    "<tool_response|>": 51,
}
_MORE_IDS: Final = {"<|think|>": 98, "<|turn>": 105}

VOCABULARY: Final = 262_144
BYTES_FROM: Final = 1000
PIECES_FROM: Final = 2000
_PIECES: Final = re.findall(
    r"\S+",
    """the ing ion and tion th er in on an re st en at es or al is it ed ar le ch call call: tool
    name arg {" "} }} }, ], "," ":" ": ": ", , :{ {a true false null None True 00 10 20 .py .md
    :// ./ ``` ** || -- => == <| |> tool_ _call "|> 'a' file path text query user date""",
)
CONTROL: Final = re.compile(f"[{''.join(LITERALS)}]")
_TEXTS: Final = {
    **{_IDS[mark]: literal.encode() for mark, literal in LITERALS.items()},
    **{number: literal.encode() for literal, number in (_OTHER_IDS | _MORE_IDS).items()},
    **{BYTES_FROM + byte: bytes((byte,)) for byte in range(256)},
    **{PIECES_FROM + n: piece.encode() for n, piece in enumerate(_PIECES)},
}
_PIECE_IDS: Final = {piece: PIECES_FROM + n for n, piece in enumerate(_PIECES)}
_SPLIT: Final = re.compile(
    "|".join([*map(re.escape, sorted(_PIECES, key=len, reverse=True)), "."]), re.DOTALL
)


def encode(written: str, source: random.Random | None = None) -> list[int]:
    """Ids of a reply; by bytes, or in short pieces where chance has it so."""
    ids: list[int] = []
    at = 0
    in_pieces = source is not None and source.random() < 0.5
    spell = _pieces if in_pieces else _bytes
    for found in CONTROL.finditer(written):
        ids += spell(written[at : found.start()])
        ids.append(_IDS[found[0]])
        at = found.end()
    return [*ids, *spell(written[at:])]


def _bytes(text: str) -> Iterator[int]:
    return (BYTES_FROM + byte for byte in text.encode())


def _pieces(text: str) -> Iterator[int]:
    for found in _SPLIT.finditer(text):
        known = _PIECE_IDS.get(found[0])
        yield from _bytes(found[0]) if known is None else (known,)


def decode(ids: Sequence[int]) -> str:
    """The text of ids, control tokens spelled out, as `/detokenize` gives it.

    Raises:
        ValueError: One of them is not in the vocabulary.
    """
    if any(not 0 <= number < VOCABULARY for number in ids):
        raise ValueError("token ids out of vocabulary")
    unused = ((_TEXTS.get(number) or f"<unused{number}>".encode()) for number in ids)
    return b"".join(unused).decode("utf-8", "replace")


def texts_of(ids: Sequence[int]) -> list[str]:
    """What each id adds to the text; a character comes with its last byte, as in a stream."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(_TEXTS[number]) for number in ids]


def control_ids() -> dict[str, int]:
    """Control tokens as they are spelled, and their ids."""
    return {LITERALS[mark]: number for mark, number in _IDS.items()} | _OTHER_IDS | _MORE_IDS


def vocabulary() -> dict[int, str]:
    """Every id and its text."""
    return {number: text.decode("utf-8", "replace") for number, text in _TEXTS.items()}


def encode_prompt(text: str) -> list[int]:
    """Ids of a text as a tokenizer takes it, which knows control tokens by their spelling."""
    for mark, literal in LITERALS.items():
        text = text.replace(literal, mark)
    return encode(text)


def spelled(written: str) -> str:
    """The reply as a text without ids: control tokens look as if they were spelled out."""
    return CONTROL.sub(lambda found: LITERALS[found[0]], written)


def in_ordinary_tokens(text: str) -> str:
    """A text that the model spelled letter by letter; it must hold no private character."""
    assert not CONTROL.search(text), text
    return text
