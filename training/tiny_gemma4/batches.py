"""From dialogues to batches: which tokens count, what is padded with what, in which order.

All of it follows from the number of a shard, so that the same batches come whatever makes them and
wherever training is stopped.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.tiny_gemma4 import tokenizer as tokenizers_
from training.tiny_gemma4.dialogue import Sample
from training.tiny_gemma4.draw import Draw
from training.tiny_gemma4.generate import sample

SHARD = 512  # dialogues drawn at once and sorted by length
TOKENIZER_SEED, TOKENIZER_SAMPLES = 7, 6000


@dataclass(frozen=True, slots=True)
class Mixture:
    """What is trained on.

    Attributes:
        tokens: Of one batch, padding included.
        longest: Tokens; longer dialogues are left out.
        grow: Over so many shards the dialogues grow from one question to six, and from 640 tokens
            to the longest: short ones teach to copy, and most are learnt from in the same time.
        warm_up: Steps of repeated random sequences only.
        repeats: Share of such batches afterwards.
        others: Weight of the tokens that are not the model's own.
    """

    tokens: int = 2048
    longest: int = 1536
    grow: int = 24
    warm_up: int = 100
    repeats: float = 0.08
    others: float = 0.05


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and the weight of predicting each, both (batch, tokens)."""

    ids: Tensor
    weights: Tensor


Row = tuple[list[int], list[float]]


def token_weights(
    ids: list[int], prompt: int, model: int, *, thinking: bool, others: float
) -> list[float]:
    """1 for what the model wrote or writes, little for the rest, 0 for the server's cues.

    With thinking on, only the newest exchange counts: the template takes the thoughts out of the
    older ones, and the model must not learn to go without.
    """
    weights = [others] * prompt + [1.0] * (len(ids) - prompt)
    turns = [at for at in range(2, prompt) if ids[at - 2 : at] == [105, model]]
    own = False
    for at in range(turns[-1] if thinking else turns[0], prompt):
        own = own or at in turns or ids[at - 1] == 51
        if own and not (ids[at] == 50 and ids[at - 1] == 51):
            weights[at] = 1.0
        if ids[at] in (50, 106):
            own = False
    if not thinking:  # the empty thought is the server's
        for at in range(prompt):
            if ids[at] == 100:
                weights[at : at + 4] = [0.0] * 4
    return weights


def encode(made: Sample, tokenizer: Tokenizer, others: float = 0.0) -> Row:
    """Ids and weights of a sample."""
    prompt = tokenizer.encode(made.prompt, add_special_tokens=False).ids
    rest = tokenizer.encode(made.completion, add_special_tokens=False).ids
    model = tokenizer.token_to_id("model")
    assert model is not None
    ids = prompt + rest
    thinking = made.thinking
    return ids, token_weights(ids, len(prompt), model, thinking=thinking, others=others)


def own_tokenizer(folder: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer of a training folder, trained there at first."""
    file = folder / "tokenizer.json"
    if not file.exists():
        draw = Draw(TOKENIZER_SEED)
        samples = (sample(draw) for _ in range(TOKENIZER_SAMPLES))
        made = tokenizers_.train((s.prompt + s.completion for s in samples), vocabulary)
        tokenizers_.save(made, folder)
    return _tokenizer(file)


@cache
def _tokenizer(file: Path) -> Tokenizer:
    return Tokenizer.from_file(str(file))


# --- shards -------------------------------------------------------------------------------------


def shard_batches(number: int, file: Path, mixture: Mixture) -> list[list[Row]]:
    """The rows of each batch of a shard: of similar lengths, the batches in random order."""
    draw, tokenizer = Draw(1_000_003 * (number + 1)), _tokenizer(file)
    grown = min(1.0, number / max(mixture.grow, 1))
    longest = round(640 + grown * (mixture.longest - 640))
    questions = 1 + round(grown * 5)
    rows = [encode(sample(draw, questions), tokenizer, mixture.others) for _ in range(SHARD)]
    rows = sorted((row for row in rows if len(row[0]) <= longest), key=lambda row: len(row[0]))
    found: list[list[Row]] = []
    start = 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and padded(rows[end]) * (end + 1 - start) <= mixture.tokens:
            end += 1
        found.append(rows[start:end])
        start = end
    draw.rng.shuffle(found)
    return found


def padded(row: Row) -> int:
    """The length that a row is padded to."""
    return -(-len(row[0]) // 64) * 64


def pad(rows: list[Row]) -> Batch:
    """Rows, the longest last, as one batch."""
    longest = padded(rows[-1])
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest)
    for at, (tokens, row) in enumerate(rows):
        ids[at, : len(tokens)] = torch.tensor(tokens)
        weights[at, : len(row)] = torch.tensor(row)
    return Batch(ids, weights)


def repeated_batch(rng: random.Random, vocabulary: int, tokens: int) -> Batch:
    """A random sequence, a gap, the same sequence: nothing but copying can predict the second.

    Half of them use a handful of tokens, so that more than the last token must be matched.
    """
    length = rng.choice([256, 384, 512, 768])
    rows, weights = [], []
    for _ in range(max(tokens // length, 1)):
        row: list[int] = []
        weight: list[float] = []
        while len(row) < length:
            few = rng.choices(range(120, vocabulary), k=rng.choice([3, 5, 8, 20]))
            pool = few if rng.random() < 0.5 else range(120, vocabulary)
            piece = rng.choices(pool, k=rng.randint(6, 40))
            gap = rng.choices(range(vocabulary), k=rng.randint(0, length // 2))
            row += [*piece, *gap, *piece]
            weight += [0.0] * (len(piece) + len(gap)) + [0.0] * 3 + [1.0] * (len(piece) - 3)
        rows.append(row[:length])
        weights.append(weight[:length])
    return Batch(torch.tensor(rows), torch.tensor(weights))


def _shards(first: int, file: Path, mixture: Mixture, workers: int) -> Iterator[list[list[Row]]]:
    """Shards without end, made ahead by worker processes if there are any."""
    if not workers:
        while True:
            yield shard_batches(first, file, mixture)
            first += 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ahead: deque[Future[list[list[Row]]]] = deque()
        while True:
            while len(ahead) < 2 * workers:
                ahead.append(pool.submit(shard_batches, first + len(ahead), file, mixture))
            yield ahead.popleft().result()
            first += 1


def batches(
    file: Path, mixture: Mixture, step: int, shard: int, *, workers: int = 0
) -> Iterator[tuple[Batch, str, int]]:
    """Batches without end, each with its kind and the shard it comes from.

    Args:
        file: Of the tokenizer.
        mixture: What is trained on.
        step: How many batches there were before.
        shard: The shard to begin with.
        workers: Processes that make shards ahead.
    """
    vocabulary = _tokenizer(file).get_vocab_size()
    for rows in _shards(shard, file, mixture, workers):
        for each in rows:
            rng = random.Random(step)
            while step < mixture.warm_up or rng.random() < mixture.repeats:
                yield repeated_batch(rng, vocabulary, mixture.tokens), "repeat", shard
                step += 1
                rng = random.Random(step)
            yield pad(each), "dialogue", shard
            step += 1
        shard += 1
