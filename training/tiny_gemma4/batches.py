"""From dialogues to batches: which tokens count, what is computed once, in which order.

A batch is some dialogues with the same tools. What stands before their questions, mostly the
declarations, is in it once; the rest is packed into rows, where each dialogue sees what is shared
and itself. All of it follows from the batch's number, so that the same batches come whatever makes
them and wherever training is stopped.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.tiny_gemma4 import tokenizer as tokenizers_
from training.tiny_gemma4.dialogue import Sample
from training.tiny_gemma4.draw import Draw
from training.tiny_gemma4.generate import sample, siblings

TOKENIZER_SEED, TOKENIZER_SAMPLES = 7, 6000


@dataclass(frozen=True, slots=True)
class Mixture:
    """What is trained on.

    Attributes:
        dialogues: Of one batch.
        questions: Of one dialogue at most.
        longest: Tokens of what is shared, and of the rest of one dialogue; longer ones are left
            out.
        short: The same for the rest in most batches, whose rows are so long: attention is what
            long rows cost.
        long: Share of the batches that have longer ones.
        grow: Over so many batches the dialogues grow from one question to all: short ones teach to
            copy, and most are learnt from in the same time.
        warm_up: Batches of repeated random sequences only.
        repeats: Share of such batches afterwards.
        others: Weight of the tokens that are not the model's own.
    """

    dialogues: int = 12
    questions: int = 3
    longest: int = 1280
    short: int = 512
    long: float = 0.15
    grow: int = 4000
    warm_up: int = 100
    repeats: float = 0.05
    others: float = 0.05


@dataclass(frozen=True, slots=True)
class Batch:
    """Dialogues that begin alike.

    Attributes:
        shared: Token ids that they begin with, (tokens).
        shared_weights: Of predicting each of them.
        ids: The rest, one dialogue behind another, (rows, tokens).
        weights: Of predicting each of them from the one before it.
        positions: Of each token in the rest of its dialogue.
        dialogues: The number, in its row, of the dialogue that each token belongs to.
    """

    shared: Tensor
    shared_weights: Tensor
    ids: Tensor
    weights: Tensor
    positions: Tensor
    dialogues: Tensor

    @property
    def tokens(self) -> int:
        """All that are computed."""
        return self.shared.numel() + self.ids.numel()

    def to(self, device: str) -> Batch:
        """The same on a device."""
        return Batch(*(getattr(self, each.name).to(device) for each in fields(self)))


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


# --- batches ------------------------------------------------------------------------------------


def batch(number: int, file: Path, mixture: Mixture) -> Batch:
    """The batch of a number.

    Args:
        number: From 0 on.
        file: Of the tokenizer.
        mixture: What is trained on.
    """
    tokenizer = _tokenizer(file)
    rng = random.Random(number)
    if number < mixture.warm_up or rng.random() < mixture.repeats:
        return repeated_batch(rng, tokenizer.get_vocab_size(), 2 * mixture.longest)
    longest = mixture.longest if rng.random() < mixture.long else mixture.short
    draw = Draw(1_000_003 * (number + 1))
    grown = min(1.0, number / max(mixture.grow, 1))
    questions = 1 + round(grown * (mixture.questions - 1))
    while True:
        made = siblings(draw, mixture.dialogues, questions)
        start = made[0].prompt.partition("<|turn>user")[0]
        shared = len(tokenizer.encode(start, add_special_tokens=False).ids)
        rows = [encode(each, tokenizer, mixture.others) for each in made]
        rows = [row for row in rows if len(row[0]) - shared <= longest]
        if rows and shared <= mixture.longest:
            return packed(rows, shared)


def packed(rows: list[Row], shared: int) -> Batch:
    """Dialogues in as few equal rows as they fit into, the longest first.

    Args:
        rows: Of each dialogue its tokens and their weights.
        shared: The number of tokens that all of them begin with.
    """
    rest = [(ids[shared:], weights[shared:]) for ids, weights in rows]
    rest.sort(key=lambda each: len(each[0]), reverse=True)
    width = len(rest[0][0])
    filled: list[list[Row]] = []
    for each in rest:
        used = (sum(len(ids) for ids, _ in row) for row in filled)
        at = next((at for at, n in enumerate(used) if n + len(each[0]) <= width), None)
        if at is None:
            filled.append([each])
        else:
            filled[at].append(each)
    ids, positions, dialogues = (torch.zeros(len(filled), width, dtype=torch.long) for _ in "123")
    weights = torch.zeros(len(filled), width)
    for at, row in enumerate(filled):
        start = 0
        for number, (tokens, weighed) in enumerate(row, 1):
            place = (at, slice(start, start := start + len(tokens)))
            ids[place], weights[place] = torch.tensor(tokens), torch.tensor(weighed)
            weights[place][0] = 0.0  # the token before it belongs to another dialogue
            positions[place], dialogues[place] = torch.arange(len(tokens)), number
    first, weighed = rows[0][0][:shared], rows[0][1][:shared]
    return Batch(torch.tensor(first), torch.tensor(weighed), ids, weights, positions, dialogues)


def repeated_batch(rng: random.Random, vocabulary: int, tokens: int) -> Batch:
    """A random sequence, a gap, the same sequence: nothing but copying can predict the second.

    Half of them use a handful of tokens, so that more than the last token must be matched.
    """
    length = rng.choice([256, 384, 512, 768])
    rows: list[Row] = []
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
        rows.append(([2, *row[: length - 1]], [0.0, *weight[: length - 1]]))
    return packed(rows, 1)


def batches(
    file: Path, mixture: Mixture, first: int, every: int = 1, *, workers: int = 0
) -> Iterator[Batch]:
    """Batches without end.

    Args:
        file: Of the tokenizer.
        mixture: What is trained on.
        first: The number of the first one.
        every: From one number to the next: as many as there are processes that train.
        workers: Processes that make them ahead.
    """
    if not workers:
        for number in count(first, every):
            yield batch(number, file, mixture)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ahead: deque[Future[Batch]] = deque()
        for number in count(first, every):
            ahead.append(pool.submit(batch, number, file, mixture))
            if len(ahead) >= 4 * workers:
                yield ahead.popleft().result()
