"""Trains the demonstration checkpoint: `python -m training.tiny_gemma4.train --minutes 600`.

On a GPU if there is one, otherwise on a CPU with so many processes, each of them on a thread of its
own with batches of its own. It stops after so many minutes in all, of the clock on a GPU and of
processor time on a CPU, which others may share. It saves every few minutes outside the checkout,
and the same command goes on where the last one was stopped or killed. The learning rate holds, then
falls to nothing over the last part of the time: with more minutes a run that has not come to that
part simply goes on. `curve.jsonl` beside the checkpoint says how the loss fell and how many
held-out replies were exact.

It computes in bfloat16 where the processor has instructions for it.

With `--start FOLDER` it begins with the weights and the tokenizer of an exported checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from training.tiny_gemma4.batches import Batch, Mixture, batches, own_tokenizer
from training.tiny_gemma4.draw import HeldOutDraw
from training.tiny_gemma4.folders import cache_folder
from training.tiny_gemma4.generate import sample
from training.tiny_gemma4.model import Config, TinyGemma4, read_exported
from training.tiny_gemma4.muon import Muon

RATE = 4e-3
AVERAGE = 0.998  # decay of the weights' running average, which is what is exported


def fast_precision(device: str) -> torch.dtype:
    """What the processor multiplies fastest; a CPU may have to imitate bfloat16."""
    able = torch.cpu.get_capabilities()
    fast = device != "cpu" or able.get("avx512_bf16") or able.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


# --- the model in training ----------------------------------------------------------------------


class Trainer:
    """The model, its running average, its optimisers, and where it stands."""

    def __init__(self, model: TinyGemma4, folder: Path, device: str = "cpu") -> None:
        self.model = model.to(device)
        self.average = copy.deepcopy(self.model).requires_grad_(requires_grad=False)
        self.folder = folder
        self.device = device
        self.precision = fast_precision(device)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        matrices = [p for p in self.model.model.layers.parameters() if p.dim() == 2]
        others = [p for p in self.model.parameters() if all(p is not m for m in matrices)]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=RATE, weight_decay=0.01, precision=self.precision),
            torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
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
            "progress": (self.step, self.tokens, self.seconds),
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
        self.step, self.tokens, self.seconds = state["progress"]

    def set_rate(self, minutes: float, hold: float, peak: float = RATE) -> float:
        """Warms up, holds, then falls to nothing at the end of the time; returns the rate."""
        progress = min(1.0, self.seconds / (60 * minutes))
        rate = peak * min(1.0, (self.step + 1) / 100)
        if progress > hold:
            rate *= max(0.01, (1 - progress) / (1 - hold))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        return rate

    def train_on(self, batch: Batch) -> float:
        """One step, together with other processes if there are any; returns the loss."""
        enabled = self.precision is torch.bfloat16
        with torch.autocast(self.device, torch.bfloat16, enabled=enabled):
            loss = loss_of(self.model, batch.to(self.device))
        loss.backward()
        if distributed.is_initialized():
            self._share_gradients()
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
        self.tokens += batch.tokens
        return float(loss.detach())

    def _share_gradients(self) -> None:
        """Gives every process the mean of all gradients."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        parts = flat.split([gradient.numel() for gradient in gradients])
        shaped = [part.view_as(own) for part, own in zip(parts, gradients, strict=True)]
        torch._foreach_copy_(gradients, shaped)


def loss_of(model: TinyGemma4, batch: Batch) -> Tensor:
    """Mean loss over a batch's tokens by weight."""
    body = model.model
    first, rest = body.continued(batch.shared, batch.ids, batch.positions, batch.dialogues)
    states = torch.cat((first[:, :-1].flatten(0, 1), rest[:, :-1].flatten(0, 1)))
    ids = torch.cat((batch.shared[1:], batch.ids[:, 1:].flatten()))
    weights = torch.cat((batch.shared_weights[1:], batch.weights[:, 1:].flatten()))
    return weighted_loss(states, body.embed_tokens.weight, ids, weights)


def weighted_loss(states: Tensor, embedding: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Mean loss over the tokens by weight; logits only of those that have any.

    Args:
        states: Final states, (tokens, width).
        embedding: Of the vocabulary, which is the output projection too.
        ids: The token that follows each state.
        weights: Of predicting it.
    """
    wanted = weights > 0
    logits = functional.linear(states[wanted], embedding).float()
    losses = functional.cross_entropy(logits, ids[wanted], reduction="none")
    return (losses * weights[wanted]).sum() / weights.sum().clamp(min=1.0)


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


def exact(model: TinyGemma4, replies: list[HeldOutReply], trainer: Trainer) -> dict[str, Any]:
    """Of how many replies every token is the likeliest: what greedy decoding writes as well."""
    right = {True: 0, False: 0}
    loss = 0.0
    enabled = trainer.precision is torch.bfloat16
    with torch.no_grad(), torch.autocast(trainer.device, torch.bfloat16, enabled=enabled):
        for each in replies:
            ids = torch.tensor([each.ids], device=trainer.device)
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
    parser.add_argument("--minutes", type=float, default=600, help="of each process")
    parser.add_argument("--hold", type=float, default=0.7, help="share of them at the full rate")
    parser.add_argument("--rate", type=float, default=RATE, help="the full learning rate")
    parser.add_argument("--start", type=Path, help="a folder with an exported checkpoint")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "tiny-gemma4")
    parser.add_argument("--save-every", type=float, default=3, help="minutes of the clock")
    parser.add_argument("--measure-every", type=float, default=20, help="minutes of training")
    parser.add_argument("--processes", type=int, default=1, help="that train together on a CPU")
    parser.add_argument("--workers", type=int, default=0, help="processes that make data ahead")
    for row in (Config, Mixture):
        parser.add_argument(
            f"--{row.__name__.lower()}", type=json.loads, default={}, help="fields to change, JSON"
        )
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.start:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(options.start / name, options.folder)
    if options.processes == 1:
        train(0, options)
    else:
        (options.folder / "meeting").unlink(missing_ok=True)
        spawn(train, (options,), options.processes)
    return 0


def train(rank: int, options: argparse.Namespace) -> None:
    """What each process does; the first one measures and saves."""
    torch.manual_seed(0)
    if options.processes > 1:
        torch.set_num_threads(1)
        meeting = f"file://{options.folder / 'meeting'}"
        distributed.init_process_group(
            "gloo", init_method=meeting, rank=rank, world_size=options.processes
        )
    if options.start:
        model = read_exported(options.start, **options.config)
    else:
        model = TinyGemma4(Config(**options.config))
    trainer = Trainer(model, options.folder, "cuda" if torch.cuda.is_available() else "cpu")
    own_tokenizer(options.folder, model.config.vocab_size)
    trainer.load()
    if rank == 0:
        print(f"{sum(p.numel() for p in trainer.model.parameters()):,} parameters", flush=True)
    run(trainer, rank, options)


def run(trainer: Trainer, rank: int, options: argparse.Namespace) -> None:
    """The loop."""
    clock = time.process_time if trainer.device == "cpu" else time.monotonic
    saved, losses = time.monotonic(), list[float]()
    file, vocabulary = options.folder / "tokenizer.json", trainer.model.config.vocab_size
    replies = held_out_replies(options.folder, vocabulary, 160) if rank == 0 else []
    measured, mixture = trainer.seconds, Mixture(**options.mixture)
    start = clock()
    first, every = trainer.step * options.processes + rank, options.processes
    for batch in batches(file, mixture, first, every, workers=options.workers):
        rate = trainer.set_rate(options.minutes, options.hold, options.rate)
        losses.append(trainer.train_on(batch))
        trainer.seconds += _shared(clock() - start)
        start = clock()
        done = trainer.seconds > 60 * options.minutes
        if rank == 0 and (done or trainer.seconds - measured > 60 * options.measure_every):
            record = {
                "step": trainer.step,
                "minutes": round(trainer.seconds / 60, 1),
                "tokens": trainer.tokens * options.processes,
                "rate": round(rate, 5),
                "train loss": round(sum(losses) / len(losses), 4),
                "now": exact(trainer.model, replies, trainer),
                "average": exact(trainer.average, replies, trainer),
            }
            with (options.folder / "curve.jsonl").open("a", encoding="utf-8") as out:
                print(json.dumps(record), file=out)
            print(json.dumps(record), flush=True)
            measured, losses, start = trainer.seconds, [], clock()
        if rank == 0 and (done or time.monotonic() - saved > 60 * options.save_every):
            trainer.save()
            saved = time.monotonic()
        if done:
            return


def _shared(seconds: float) -> float:
    """The mean of all processes, so that they stop at the same step."""
    if not distributed.is_initialized():
        return seconds
    total = torch.tensor(seconds)
    distributed.all_reduce(total)
    return float(total) / distributed.get_world_size()


if __name__ == "__main__":
    raise SystemExit(main())
