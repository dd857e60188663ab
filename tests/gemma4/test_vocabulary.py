from __future__ import annotations

from itertools import pairwise, takewhile

import pytest
from tokenizers import Tokenizer

from agentkit.gemma4.tokens import IDS
from tests.gemma4.vocabulary import SIZE, Kind, real_size_tokenizer

pytestmark = pytest.mark.slow

TEXT = 'if a <b && c: return "<p class=\\"x\\">";\n\t<|turn>user Привет שלום 日本語 한국 😀'


@pytest.mark.parametrize("kind", [None, "synthetic"])
def test_a_vocabulary_of_a_real_gemmas_size_has_its_controls_and_spells_any_text(
    kind: Kind | None,
) -> None:
    tokenizer = Tokenizer.from_file(str(real_size_tokenizer(kind) / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(SIZE))
    assert {literal: vocabulary[literal] for literal in IDS} == dict(IDS)
    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
    assert IDS["<|turn>"] in ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == TEXT


@pytest.mark.parametrize("kind", [None, "synthetic"])
def test_a_compiler_has_as_much_to_walk_through_as_in_the_real_vocabulary(
    kind: Kind | None,
) -> None:
    tokenizer = Tokenizer.from_file(str(real_size_tokenizer(kind) / "tokenizer.json"))
    tokens = sorted(text.replace("▁", " ").encode() for text in tokenizer.get_vocab())
    shared = sum(
        sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one, two, strict=False)))
        for one, two in pairwise(tokens)
    )
    assert 580_000 < sum(map(len, tokens)) - shared < 760_000
