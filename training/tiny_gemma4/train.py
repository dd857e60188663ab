"""Trains the demonstration checkpoint: `python -m training.tiny_gemma4.train --minutes 600`.

On a GPU if there is one, in bfloat16; otherwise on a CPU with so many threads. It stops after so
many minutes in all, of the clock on a GPU and of processor time on a CPU, which others may share.
It saves every few minutes outside the checkout, and the same command goes on where the last one was
stopped or killed. The learning rate holds, then falls to nothing over the last part of the time:
with more minutes a run that has not come to that part simply goes on. `curve.jsonl` beside the
checkpoint says how the loss fell and how many held-out replies were exact.

With `--start FOLDER` it begins with the weights and the tokenizer of an exported checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.tiny_gemma4.batches import Batch, Mixture, batches, own_tokenizer
from training.tiny_gemma4.draw import HeldOutDraw
from training.tiny_gemma4.folders import cache_folder
from training.tiny_gemma4.generate import sample
from training.tiny_gemma4.model import Config, TinyGemma4, read_exported

MUON_RATE, ADAM_RATE = 4e-3, 4e-3
AVERAGE = 0.998  # decay of the weights' running average, which is what is exported

LossOf = Callable[[Tensor, Tensor], Tensor]


# --- the model in training ----------------------------------------------------------------------


class Trainer:
    """The model, its running average, its optimisers, and where it stands."""

    def __init__(self, model: TinyGemma4, folder: Path, device: str = "cpu") -> None:
        self.model = model.to(device)
        self.average = copy.deepcopy(self.model).requires_grad_(requires_grad=False)
        self.folder = folder
        self.device = device
        self.step, self.shard, self.tokens, self.seconds = 0, 0, 0, 0.0
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
            "progress": (self.step, self.shard, self.tokens, self.seconds),
        }
        part = self.file.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.file)

    def load(self) -> None:
        """Goes on from the checkpoint, if there is one."""
        if not self.file.exists():
            return
        state = torch.load(self.file, weights_only=True, map_location=self.device)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.shard, self.tokens, self.seconds = state["progress"]

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

    def train_on(self, batch: Batch, loss_of: LossOf) -> float:
        """One step; returns the loss per weighted token."""
        with torch.autocast(self.device, torch.bfloat16):
            loss = loss_of(batch.ids.to(self.device), batch.weights.to(self.device))
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
        self.step += 1
        self.tokens += batch.ids.numel()
        return float(loss.detach())


def weighted_loss(states: Tensor, embedding: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Mean loss over the tokens by weight; logits only of those that have any.

    Args:
        states: Final states of every position.
        embedding: Of the tokens, which is the output projection too.
        ids: The tokens, (batch, tokens).
        weights: Of predicting each of them.
    """
    wanted = weights[:, 1:]
    counts = wanted > 0
    logits = functional.linear(states[:, :-1][counts], embedding).float()
    losses = functional.cross_entropy(logits, ids[:, 1:][counts], reduction="none")
    return (losses * wanted[counts]).sum() / wanted.sum().clamp(min=1.0)


# --- how good it is -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeldOutReply:
    """A held-out prompt with the reply that is right."""

    ids: list[int]
    reply: int
    calls: bool


def held_out_replies(folder: Path, vocabulary: int, count: int) -> list[HeldOutReply]:
    """The same ones each time."""
    draw, tokenizer = HeldOutDraw(5), own_tokenizer(folder, vocabulary)
    found: list[HeldOutReply] = []
    while len(found) < count:
        made = sample(draw, 2)
        prompt = tokenizer.encode(made.prompt, add_special_tokens=False).ids
        rest = tokenizer.encode(made.completion, add_special_tokens=False).ids
        if len(prompt) + len(rest) <= 1024:
            found.append(HeldOutReply(prompt + rest, len(rest), "call:" in made.completion))
    return found


def exact(model: TinyGemma4, replies: list[HeldOutReply], device: str) -> dict[str, Any]:
    """Of how many replies every token is the likeliest: what greedy decoding writes as well."""
    right = {True: 0, False: 0}
    loss = 0.0
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        for each in replies:
            ids = torch.tensor([each.ids], device=device)
            logits = model(ids)[0, -each.reply - 1 : -1].float()
            wanted = ids[0, -each.reply :]
            loss += float(functional.cross_entropy(logits, wanted))
            right[each.calls] += bool((logits.argmax(-1) == wanted).all())
    calls = sum(each.calls for each in replies)
    return {
        "loss": round(loss / len(replies), 4),
        "calls": f"{right[True]}/{calls}",
        "answers": f"{right[False]}/{len(replies) - calls}",
    }


# --- the command --------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Trains until the time is spent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--hold", type=float, default=0.7)
    parser.add_argument("--start", type=Path, help="a folder with an exported checkpoint")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "tiny-gemma4")
    parser.add_argument("--save-every", type=float, default=3, help="minutes of the clock")
    parser.add_argument("--measure-every", type=float, default=20, help="minutes of training")
    parser.add_argument("--compile", action="store_true", help="fuse operations; needs a compiler")
    parser.add_argument("--threads", type=int, default=2, help="of a CPU")
    parser.add_argument("--workers", type=int, default=0, help="processes that make data ahead")
    for row in (Config, Mixture):
        parser.add_argument(
            f"--{row.__name__.lower()}", type=json.loads, default={}, help="fields to change, JSON"
        )
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.start:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(options.start / name, options.folder)
        model = read_exported(options.start, **options.config)
    else:
        model = TinyGemma4(Config(**options.config))
    mixture = Mixture(**options.mixture)
    own_tokenizer(options.folder, model.config.vocab_size)
    trainer = Trainer(model, options.folder, "cuda" if torch.cuda.is_available() else "cpu")
    trainer.load()
    print(f"{sum(p.numel() for p in trainer.model.parameters()):,} parameters", flush=True)

    backbone: Callable[[Tensor], Tensor] = trainer.model.model
    if options.compile:
        backbone = torch.compile(trainer.model.model.forward, dynamic=True)

    def loss_of(ids: Tensor, weights: Tensor) -> Tensor:
        return weighted_loss(backbone(ids), trainer.model.model.embed_tokens.weight, ids, weights)

    run(trainer, mixture, loss_of, options)
    return 0


def run(trainer: Trainer, mixture: Mixture, loss_of: LossOf, options: argparse.Namespace) -> None:
    """The loop."""
    clock = time.process_time if trainer.device == "cpu" else time.monotonic
    saved, losses = time.monotonic(), list[float]()
    file, vocabulary = options.folder / "tokenizer.json", trainer.model.config.vocab_size
    replies = held_out_replies(options.folder, vocabulary, 160)
    step, shard = trainer.step, trainer.shard
    measured = trainer.seconds
    start = clock()
    for batch, kind, number in batches(file, mixture, step, shard, workers=options.workers):
        factor = trainer.set_rate(options.minutes, options.hold)
        loss = trainer.train_on(batch, loss_of)
        losses += [loss] if kind == "dialogue" else []
        trainer.shard = number
        now = clock()
        trainer.seconds += (now - start) / (options.threads if trainer.device == "cpu" else 1)
        start = now
        done = trainer.seconds > 60 * options.minutes
        if done or trainer.seconds - measured > 60 * options.measure_every:
            record = {
                "step": trainer.step,
                "shard": trainer.shard,
                "minutes": round(trainer.seconds / 60, 1),
                "tokens": trainer.tokens,
                "rate": round(factor, 3),
                "train loss": round(sum(losses) / max(len(losses), 1), 4),
                "now": exact(trainer.model, replies, trainer.device),
                "average": exact(trainer.average, replies, trainer.device),
            }
            with (options.folder / "curve.jsonl").open("a", encoding="utf-8") as out:
                print(json.dumps(record), file=out)
            print(json.dumps(record), flush=True)
            measured, losses, start = trainer.seconds, [], clock()
        if done or time.monotonic() - saved > 60 * options.save_every:
            trainer.save()
            saved = time.monotonic()
        if done:
            return


if __name__ == "__main__":
    raise SystemExit(main())
