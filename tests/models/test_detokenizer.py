"""The text of tokens, learned once; judged by the tokenizer itself."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from agentkit.errors import ModelStatusError
from agentkit.gemma4.tokens import CALL_OPEN, EOS, IDS, QUOTE
from agentkit.models.tokens import Detokenizer
from tests.context.driving import TOKENIZER

pytestmark = pytest.mark.anyio


def byte_fallback() -> Tokenizer:
    """A vocabulary built as Gemma's: words with `▁` for a space, and a token for each byte."""
    words = ["▁the", "▁", "a", "b", "▁cat", "é", "日本", "\n", "▁▁▁▁", "<", "eos", ">", "\ufffd"]
    vocabulary = {literal: number for literal, number in IDS.items() if number < 200}
    vocabulary |= {f"<0x{byte:02X}>": 238 + byte for byte in range(256)}
    vocabulary |= {word: 500 + n for n, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


FALLBACK = byte_fallback()


class Decoding:
    """A tokenizer behind the seam.

    Attributes:
        asked: How many sequences each request had.
        size: Ids from here on are refused.
    """

    def __init__(self, tokenizer: Tokenizer, size: int = 1 << 30) -> None:
        self._tokenizer = tokenizer
        self.size = size
        self.asked: list[int] = []

    async def __call__(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        self.asked.append(len(sequences))
        if any(number >= self.size for ids in sequences for number in ids):
            raise ModelStatusError("out of vocabulary", status_code=400)
        return [self._tokenizer.decode(list(ids), skip_special_tokens=False) for ids in sequences]


def spelled(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The whole as the tokenizer has it, stretch by stretch between control tokens."""
    by_id = {number: literal for literal, number in IDS.items()}
    text, held = "", list[int]()
    for number in [*ids, IDS[EOS]]:
        if number in by_id:
            text += tokenizer.decode(held, skip_special_tokens=False) + by_id[number]
            held = []
        else:
            held.append(number)
    return text.removesuffix(EOS)


@pytest.mark.slow
@given(st.lists(st.lists(st.sampled_from(sorted(FALLBACK.get_vocab().values()))), max_size=4))
async def test_joined_the_pieces_are_what_the_tokenizer_makes_of_valid_characters(
    replies: list[list[int]],
) -> None:
    detokenizer = Detokenizer(Decoding(FALLBACK))
    for ids in replies:
        pieces = await detokenizer.pieces(ids)
        assert len(pieces) == len(ids)
        whole = spelled(FALLBACK, ids)
        if "\ufffd" not in whole:
            assert "".join(pieces) == whole


@pytest.mark.slow
@given(st.lists(st.text(), max_size=3))
async def test_text_in_any_script_comes_back_from_bytes_that_are_no_characters_alone(
    texts: list[str],
) -> None:
    decoding = Decoding(TOKENIZER)
    detokenizer = Detokenizer(decoding)
    for text in texts:
        ids = TOKENIZER.encode(text, add_special_tokens=False).ids
        assert "".join(await detokenizer.pieces(ids)) == spelled(TOKENIZER, ids)


async def test_what_is_known_is_not_asked_for() -> None:
    decoding = Decoding(TOKENIZER)
    detokenizer = Detokenizer(decoding)
    ids = TOKENIZER.encode("the cat — 日本 😀", add_special_tokens=False).ids
    for _ in range(3):
        assert "".join(await detokenizer.pieces(ids)) == "the cat — 日本 😀"
    assert len(decoding.asked) == 2, "its tokens, and once more those that are only bytes"
    other = TOKENIZER.encode("the cat and some other words", add_special_tokens=False).ids
    assert "".join(await detokenizer.pieces(other)) == "the cat and some other words"
    assert len(decoding.asked) == 2, "they came with the first"


async def test_a_control_token_is_known_by_its_id_and_text_that_spells_one_by_its_tokens() -> None:
    vocabulary = FALLBACK.get_vocab()
    word = [vocabulary[part] for part in ("<", "eos", ">")]
    ids = [IDS[CALL_OPEN], *word, IDS[QUOTE]]
    assert await Detokenizer(Decoding(FALLBACK)).pieces(ids) == [CALL_OPEN, "<", "eos", ">", QUOTE]


async def test_a_decoder_that_refuses_ids_it_does_not_have_is_asked_for_those_it_has() -> None:
    decoding = Decoding(FALLBACK, size=513)
    detokenizer = Detokenizer(decoding)
    assert await detokenizer.pieces([500, 504]) == [" the", " cat"]
    assert await detokenizer.pieces([505, 500]) == ["é", " the"]
    assert decoding.asked[1:] == [3, 2], "the text and its two tokens, then another with one"


async def test_a_tokenizer_whose_tokens_do_not_add_up_is_asked_for_each_text() -> None:
    tokenizer = byte_fallback()
    tokenizer.decoder = decoders.Metaspace()  # takes the space off the beginning
    decoding = Decoding(tokenizer)
    detokenizer = Detokenizer(decoding)
    rng = random.Random(1)
    for _ in range(20):
        ids = [rng.choice([500, 502, 504]) for _ in range(6)]
        assert "".join(await detokenizer.pieces(ids)) == spelled(tokenizer, ids)
