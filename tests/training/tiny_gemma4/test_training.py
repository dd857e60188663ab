"""What only the training environment can check: it has torch and transformers, ours has not."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from training.tiny_gemma4.draw import Draw
from training.tiny_gemma4.generate import sample

torch = pytest.importorskip("torch", reason="needs the training environment")
safetensors = pytest.importorskip("safetensors.torch", reason="needs the training environment")
transformers = pytest.importorskip("transformers", reason="needs the training environment")
model = pytest.importorskip("training.tiny_gemma4.model")
batches = pytest.importorskip("training.tiny_gemma4.batches")
train = pytest.importorskip("training.tiny_gemma4.train")
tokenizer = pytest.importorskip("training.tiny_gemma4.tokenizer")

CONFIG = model.Config(vocab_size=300, num_hidden_layers=4, sliding_window=16)


def loss_of(tiny: Any) -> Any:
    embedding = tiny.model.embed_tokens.weight
    return lambda ids, weights: train.weighted_loss(tiny.model(ids), embedding, ids, weights)


def test_the_logits_are_those_of_transformers() -> None:
    torch.manual_seed(0)
    ours = model.TinyGemma4(CONFIG).eval()
    config = transformers.Gemma4TextConfig(**CONFIG.to_transformers())
    theirs = transformers.Gemma4ForCausalLM(config).eval()
    state = ours.state_dict()
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert not unexpected
    theirs.tie_weights()
    ids = torch.randint(4, CONFIG.vocab_size, (2, 50))
    with torch.no_grad():
        assert (ours(ids) - theirs(ids).logits).abs().max() < 1e-4


def test_the_models_own_tokens_weigh_most_and_the_servers_cues_nothing(tmp_path: Path) -> None:
    draw = Draw(1)
    samples = [sample(draw) for _ in range(200)]
    made = tokenizer.train((s.prompt + s.completion for s in samples), 500)
    for one in samples:
        ids, weights = batches.encode(one, made, 0.05)
        prompt = len(made.encode(one.prompt, add_special_tokens=False).ids)
        assert weights[prompt:] == [1.0] * (len(ids) - prompt)
        assert set(weights) <= {0.0, 0.05, 1.0}
        for at in range(prompt - 1):
            if ids[at] == 51 and ids[at + 1] == 50:  # another answer of the server
                assert weights[at + 1] != 1.0
            if ids[at] == 100 and not one.thinking:
                assert weights[at] == 0.0


def test_only_copying_can_predict_what_weighs_in_a_repeated_batch() -> None:
    batch = batches.repeated_batch(random.Random(1), 768, 4096)
    assert batch.ids.shape == batch.weights.shape
    assert 0 < float(batch.weights.mean()) < 0.5


def test_control_tokens_have_gemmas_numbers() -> None:
    draw = Draw(2)
    made = tokenizer.train((sample(draw).prompt for _ in range(100)), 450)
    assert {text: made.token_to_id(text) for text in tokenizer.CONTROL.values()} == {
        text: number for number, text in tokenizer.CONTROL.items()
    }


def test_a_name_has_the_same_tokens_wherever_it_stands() -> None:
    draw = Draw(3)
    made = tokenizer.train((sample(draw).prompt for _ in range(300)), 600)

    def tokens(text: str) -> list[str]:
        return list(made.encode(text, add_special_tokens=False).tokens)

    name = tokens("parse_HTTPHeader2")
    for before, after in ((" ", " "), ("`", "`"), ('<|"|>', '<|"|>'), (" ", "?"), ("\n", "(")):
        whole = tokens(f"{before}parse_HTTPHeader2{after}")
        at = whole.index(name[0])
        assert whole[at : at + len(name)] == name


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    trainer = train.Trainer(model.TinyGemma4(CONFIG), tmp_path)
    batch = batches.repeated_batch(random.Random(1), CONFIG.vocab_size, 1024)
    trainer.train_on(batch, loss_of(trainer.model))
    trainer.save()
    other = train.Trainer(model.TinyGemma4(CONFIG), tmp_path)
    other.load()
    assert other.step == 1
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


def test_a_start_with_more_heads_computes_what_the_exported_checkpoint_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    few = model.Config(vocab_size=300, num_key_value_heads=2)
    exported = model.TinyGemma4(few)
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(few)))
    safetensors.save_file(exported.state_dict(), tmp_path / "model.safetensors")
    more = model.read_exported(tmp_path, num_key_value_heads=4)
    ids = torch.randint(4, few.vocab_size, (2, 50))
    with torch.no_grad():
        assert torch.allclose(more(ids), exported(ids), atol=1e-5)
    assert more.config.num_key_value_heads == 4


def tokenizer_file(folder: Path) -> Path:
    draw = Draw(5)
    made = tokenizer.train((sample(draw).prompt for _ in range(150)), 500)
    tokenizer.save(made, folder)
    return folder / "tokenizer.json"


@pytest.mark.timeout(300)  # another process has to import torch
def test_a_shard_is_the_same_whoever_makes_it(tmp_path: Path) -> None:
    file, mixture = tokenizer_file(tmp_path), batches.Mixture(tokens=2048, warm_up=2)
    alone = batches.batches(file, mixture, 0, 3)
    ahead = batches.batches(file, mixture, 0, 3, workers=1)
    for _ in range(6):
        (one, kind, shard), (other, *rest) = next(alone), next(ahead)
        assert [kind, shard] == rest
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.weights, other.weights)


def test_dialogues_grow_from_short_ones_to_long_ones(tmp_path: Path) -> None:
    file, mixture = tokenizer_file(tmp_path), batches.Mixture(grow=10)

    def longest(number: int) -> int:
        made = batches.shard_batches(number, file, mixture)
        return max(len(ids) for rows in made for ids, _ in rows)

    assert longest(0) <= 640 < longest(10) <= 1536


def test_the_loss_counts_only_what_weighs() -> None:
    torch.manual_seed(0)
    tiny = model.TinyGemma4(CONFIG)
    ids = torch.randint(4, CONFIG.vocab_size, (2, 40))
    weights = torch.zeros(2, 40)
    weights[:, 30:] = 1.0
    logits = tiny(ids)[:, 29:-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, ids[:, 30:].flatten())
    assert torch.allclose(loss_of(tiny)(ids, weights), expected, atol=1e-5)
