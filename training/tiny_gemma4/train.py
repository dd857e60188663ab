"""Trains the demonstration checkpoint: `python -m training.tiny_gemma4.train --minutes 70`.

Stops after so many minutes of training in all, saving every few minutes outside the checkout; the
same command goes on where the last one stopped. The learning rate follows the time spent, since
what is fixed is the sitting, not the machine.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from training.tiny_gemma4 import tokenizer as tokenizers_
from training.tiny_gemma4.draw import Draw
from training.tiny_gemma4.folders import cache_folder
from training.tiny_gemma4.generate import Sample, sample
from training.tiny_gemma4.model import Config, TinyGemma4

BATCH_TOKENS = 5120
LONGEST = 1536  # tokens; longer dialogues are left out
SHARD = 1024  # dialogues drawn at once and sorted by length
WARM_UP = 200  # steps of repeated random sequences only
REPEATS = 0.12  # share of such batches afterwards
OTHERS = 0.05  # weight of the tokens that are not the model's own
MUON_RATE, ADAM_RATE = 4e-3, 4e-3
AVERAGE = 0.998  # decay of the weights' running average, which is what is exported


# --- batches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Token ids and the weight of predicting each, both (batch, tokens)."""

    ids: Tensor
    weights: Tensor


def token_weights(ids: list[int], prompt: int, model: int, *, thinking: bool) -> list[float]:
    """1 for what the model wrote or writes, a little for the rest, 0 for the server's cues.

    With thinking on, only the newest exchange counts: the template takes the thoughts out of the
    older ones, and the model must not learn to go without.
    """
    weights = [OTHERS] * prompt + [1.0] * (len(ids) - prompt)
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


def encode(made: Sample, tokenizer: Tokenizer, model: int) -> tuple[list[int], list[float]]:
    """Ids and weights of a sample; `model` is the id of that word."""
    prompt = tokenizer.encode(made.prompt, add_special_tokens=False).ids
    rest = tokenizer.encode(made.completion, add_special_tokens=False).ids
    ids = prompt + rest
    return ids, token_weights(ids, len(prompt), model, thinking=made.thinking)


def shard_batches(number: int, tokenizer: Tokenizer) -> list[Batch]:
    """The batches of one shard of dialogues, of similar lengths each, in random order."""
    draw = Draw(1_000_003 * (number + 1))
    model = tokenizer.token_to_id("model")
    rows = [encode(sample(draw), tokenizer, model) for _ in range(SHARD)]
    rows = sorted((row for row in rows if len(row[0]) <= LONGEST), key=lambda row: len(row[0]))
    batches, start = [], 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and _padded(rows[end]) * (end + 1 - start) <= BATCH_TOKENS:
            end += 1
        batches.append(_pad(rows[start:end]))
        start = end
    draw.rng.shuffle(batches)
    return batches


def _padded(row: tuple[list[int], list[float]]) -> int:
    return -(-len(row[0]) // 64) * 64


def _pad(rows: list[tuple[list[int], list[float]]]) -> Batch:
    longest = _padded(rows[-1])
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest)
    for at, (tokens, row) in enumerate(rows):
        ids[at, : len(tokens)] = torch.tensor(tokens)
        weights[at, : len(row)] = torch.tensor(row)
    return Batch(ids, weights)


def repeated_batch(rng: random.Random, vocabulary: int) -> Batch:
    """A random sequence, a gap, the same sequence: nothing but copying can predict the second.

    Half of them use a handful of tokens, so that more than the last token must be matched.
    """
    length = rng.choice([256, 384, 512, 768])
    rows, weights = [], []
    for _ in range(BATCH_TOKENS // length):
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


def batches(tokenizer: Tokenizer, step: int, shard: int) -> Iterator[tuple[Batch, str, int]]:
    """Batches without end, each with its kind and the shard it comes from."""
    vocabulary = tokenizer.get_vocab_size()
    while True:
        for batch in shard_batches(shard, tokenizer):
            rng = random.Random(step)
            while step < WARM_UP or rng.random() < REPEATS:
                yield repeated_batch(rng, vocabulary), "repeat", shard
                step += 1
                rng = random.Random(step)
            yield batch, "dialogue", shard
            step += 1
        shard += 1


# --- training -----------------------------------------------------------------------------------


class Trainer:
    """The model, its running average, its optimisers, and where it stands."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.model = TinyGemma4(config)
        self.average = copy.deepcopy(self.model).requires_grad_(requires_grad=False)
        self.folder = folder
        self.step, self.shard, self.seconds = 0, 0, 0.0
        matrices = [p for p in self.model.model.layers.parameters() if p.dim() == 2]
        others = [p for p in self.model.parameters() if all(p is not m for m in matrices)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=MUON_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(
                others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True
            ),
        ]

    @property
    def file(self) -> Path:
        """The checkpoint."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        state: dict[str, Any] = {
            "config": asdict(self.model.config),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": (self.step, self.shard, self.seconds),
        }
        part = self.file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.file)

    def load(self) -> None:
        """Goes on from the checkpoint, if there is one."""
        if not self.file.exists():
            return
        state = torch.load(self.file, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.shard, self.seconds = state["progress"]

    def set_rate(self, minutes: float, hold: float) -> float:
        """Warms up, holds, then falls to nothing at the end of the time."""
        progress = min(1.0, self.seconds / (60 * minutes))
        factor = min(1.0, (self.step + 1) / 100)
        if progress > hold:
            factor *= max(0.01, (1 - progress) / (1 - hold))
        for optimizer, rate in zip(self.optimizers, (MUON_RATE, ADAM_RATE), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        return factor

    def train_on(self, batch: Batch, loss_of: Any) -> float:
        """One step; returns the loss per weighted token."""
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(batch.ids, batch.weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            decay = min(AVERAGE, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_(
                list(self.average.parameters()), list(self.model.parameters()), 1 - decay
            )
        return float(loss.detach())


def weighted_loss(model: TinyGemma4, ids: Tensor, weights: Tensor) -> Tensor:
    """Mean loss over the tokens by weight; the model's own tokens have weight 1."""
    logits = model(ids)[:, :-1].float()
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    wanted = weights[:, 1:].flatten()
    return (losses * wanted).sum() / wanted.sum().clamp(min=1.0)


def own_tokenizer(folder: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer of a training folder, trained there at first."""
    file = folder / "tokenizer.json"
    if not file.exists():
        draw = Draw(7)
        samples = (sample(draw) for _ in range(6000))
        made = tokenizers_.train((s.prompt + s.completion for s in samples), vocabulary)
        tokenizers_.save(made, folder)
    return Tokenizer.from_file(str(file))


def main(argv: list[str] | None = None) -> int:
    """Trains until the time is spent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--hold", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "tiny-gemma4")
    parser.add_argument("--save-every", type=float, default=2, help="minutes")
    parser.add_argument(
        "--compile", action="store_true", help="fuse operations; needs a C++ compiler"
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = own_tokenizer(options.folder, Config().vocab_size)
    trainer = Trainer(Config(), options.folder)
    trainer.load()
    print(f"{sum(p.numel() for p in trainer.model.parameters()):,} parameters", flush=True)

    def loss_of(ids: Tensor, weights: Tensor) -> Tensor:
        return weighted_loss(trainer.model, ids, weights)

    run(
        trainer,
        tokenizer,
        torch.compile(loss_of, dynamic=True) if options.compile else loss_of,
        options,
    )
    return 0


def run(trainer: Trainer, tokenizer: Tokenizer, loss_of: Any, options: argparse.Namespace) -> None:
    """The loop."""
    saved = logged = time.monotonic()
    losses: dict[str, list[float]] = {"repeat": [], "dialogue": []}
    tokens = 0
    for batch, kind, shard in batches(tokenizer, trainer.step, trainer.shard):
        start = time.monotonic()
        factor = trainer.set_rate(options.minutes, options.hold)
        losses[kind].append(trainer.train_on(batch, loss_of))
        trainer.step += 1
        trainer.shard = shard
        now = time.monotonic()
        trainer.seconds += now - start
        tokens += batch.ids.numel()
        if trainer.step % 10 == 0:
            means = " ".join(f"{k} {sum(v) / len(v):.4f}" for k, v in losses.items() if v)
            print(
                f"step {trainer.step} shard {shard} {trainer.seconds / 60:.1f} min "
                f"rate {factor:.2f} {means} {tokens / (now - logged):.0f} tok/s",
                flush=True,
            )
            losses, tokens, logged = {"repeat": [], "dialogue": []}, 0, now
        done = trainer.seconds > 60 * options.minutes
        if done or now - saved > 60 * options.save_every:
            trainer.save()
            saved = now
        if done:
            return


if __name__ == "__main__":
    raise SystemExit(main())
