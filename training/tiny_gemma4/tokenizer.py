"""The tokenizer: byte-level BPE trained on the dialogues themselves.

Copying is what the model must learn, so a name should be spelled with the same tokens wherever it
stands: spaces, digits, quotes, slashes, dots and underscores are tokens of their own, and a word
takes the space before it only if it is one of the frequent words of the questions and
declarations. The first 120 ids are Gemma 4's own control tokens under Gemma 4's own numbers.
"""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.tiny_gemma4.phrasebook import phrasings

VOCABULARY = 1536
CONTROL = {
    0: "<pad>",
    1: "<eos>",
    2: "<bos>",
    3: "<unk>",
    46: "<|tool>",
    47: "<tool|>",
    48: "<|tool_call>",
    49: "<tool_call|>",
    50: "<|tool_response>",
    51: "<tool_response|>",
    52: '<|"|>',
    98: "<|think|>",
    100: "<|channel>",
    101: "<channel|>",
    105: "<|turn>",
    106: "<turn|>",
}
SPECIAL = tuple(CONTROL.get(at, f"<unused{at}>") for at in range(120))
_SPLIT = re.compile("|".join(map(re.escape, CONTROL.values())))


def frequent_words() -> list[str]:
    """Function words of the questions, which may carry the space before them."""
    counts: collections.Counter[str] = collections.Counter()
    for kind, templates in phrasings().items():
        if not kind.endswith(" held"):
            for template in templates:
                counts.update(re.findall(r"(?<=[ |<])[a-z]+\b", template))
    extra = (
        "the of a an to is in and are for by with from or where which what how name text file "
        "files folder project class function constant exact number line lines defined holds "
        "occurs first has not does do you answer questions about things up tools before look find "
        "search list read inside top piece without parentheses city user parameter entries results "
        "shown places times once call again next result have no tool that try for there mean did "
        "outside path"
    )
    words = {word for word, count in counts.items() if count >= 4} | set(extra.split())
    return sorted(words, key=lambda word: (-len(word), word))


def untrained() -> Tokenizer:
    """Splitting and bytes, before any merge is learnt."""
    words = "|".join(frequent_words())
    pieces = "|".join(
        [
            rf" (?:{words})(?![\p{{L}}\p{{N}}_./\-:=(])",
            r"\p{Lu}?[\p{Ll}\p{Lo}\p{Lm}\p{M}]+",
            r"\p{Lu}+(?!\p{Ll})",
            r"\p{N}",
            r"_+|\.|/|\-|\"|'|`",
            r"[(){}\[\]:,=]+",
            r" +",
            r"\n",
            r"[^\s\p{L}\p{N}]",
            r"\s+",
        ]
    )
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """Learns the merges from rendered dialogues, control tokens left out."""
    tokenizer = untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=16,
        show_progress=False,
    )
    plain = (part for text in texts for part in _SPLIT.split(text) if part)
    tokenizer.train_from_iterator(plain, trainer)
    assert tokenizer.get_vocab_size() == vocabulary
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes `tokenizer.json` and the `tokenizer_config.json` that transformers wants beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
