"""What only the training environment can check: it has torch and transformers, ours has not."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest

from training.tiny_gemma4.draw import Draw
from training.tiny_gemma4.generate import sample

torch = pytest.importorskip("torch", reason="needs the training environment")
safetensors = pytest.importorskip("safetensors.torch", reason="needs the training environment")
transformers = pytest.importorskip("transformers", reason="needs the training environment")
model = pytest.importorskip("training.tiny_gemma4.model")
batches = pytest.importorskip("training.tiny_gemma4.batches")
muon = pytest.importorskip("training.tiny_gemma4.muon")
train = pytest.importorskip("training.tiny_gemma4.train")
tokenizer = pytest.importorskip("training.tiny_gemma4.tokenizer")

CONFIG = model.Config(vocab_size=300, num_hidden_layers=4, sliding_window=16)


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
    assert batch.shared.tolist() == [2]


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
    trainer.train_on(batch)
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
def test_a_batch_is_the_same_whoever_makes_it(tmp_path: Path) -> None:
    file, mixture = tokenizer_file(tmp_path), batches.Mixture(dialogues=3, warm_up=2)
    alone = batches.batches(file, mixture, 0, 3)
    ahead = batches.batches(file, mixture, 0, 3, workers=1)
    for _ in range(6):
        one, other = next(alone), next(ahead)
        for each in dataclasses.fields(one):
            assert torch.equal(getattr(one, each.name), getattr(other, each.name))


def test_dialogues_grow_from_one_question_to_all(tmp_path: Path) -> None:
    file = tokenizer_file(tmp_path)
    mixture = batches.Mixture(grow=100, warm_up=0, repeats=0.0)

    def tokens(first: int) -> float:
        made = [batches.batch(first + at, file, mixture) for at in range(6)]
        return sum(int((each.dialogues > 0).sum()) for each in made) / sum(
            int(each.dialogues.max(1).values.sum()) for each in made
        )

    assert 1.5 * tokens(0) < tokens(100)


def test_dialogues_that_share_their_beginning_are_computed_as_if_each_stood_alone(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    tiny = model.TinyGemma4(model.Config(vocab_size=500, num_hidden_layers=4, sliding_window=40))
    batch = batches.batch(0, tokenizer_file(tmp_path), batches.Mixture(warm_up=0, repeats=0.0))
    with torch.no_grad():
        first, rest = tiny.model.continued(
            batch.shared, batch.ids, batch.positions, batch.dialogues
        )
        for row, numbers in enumerate(batch.dialogues):
            for number in range(1, int(numbers.max()) + 1):
                own = numbers == number
                alone = tiny.model(torch.cat((batch.shared, batch.ids[row][own]))[None])[0]
                both = torch.cat((first[0], rest[row][own]))
                assert torch.allclose(alone, both, atol=1e-4)


def test_a_dialogues_first_token_is_not_learnt_from_the_dialogue_before_it() -> None:
    rows = [([2, 5, at, 7, 8], [0.0, 0.0, 1.0, 1.0, 1.0]) for at in range(10, 13)]
    batch = batches.packed([*rows, ([2, 5, *range(20, 32)], [0.0, 0.0] + [1.0] * 12)], 2)
    assert batch.ids.shape == (2, 12)
    assert batch.ids[1].tolist() == [10, 7, 8, 11, 7, 8, 12, 7, 8, 0, 0, 0]
    assert batch.weights[1].tolist() == [0, 1, 1] * 3 + [0, 0, 0]
    assert batch.positions[1].tolist() == [0, 1, 2] * 3 + [0, 0, 0]
    assert batch.dialogues[1].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0]


def test_the_loss_counts_only_what_weighs() -> None:
    torch.manual_seed(0)
    tiny = model.TinyGemma4(CONFIG)
    ids = torch.randint(4, CONFIG.vocab_size, (41,)).tolist()
    weights = [0.0] * 30 + [1.0] * 11
    batch = batches.packed([(ids, weights)], 1)
    logits = tiny(torch.tensor([ids]))[0, 29:-1]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[30:]))
    assert torch.allclose(train.loss_of(tiny, batch), expected, atol=1e-5)


def test_the_update_is_that_of_torch_s_own_muon() -> None:
    torch.manual_seed(0)
    shapes = ((64, 64), (96, 64), (64, 96), (64, 64))
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(each.detach().clone()) for each in ours]
    steps = (
        muon.Muon(ours, lr=0.1, weight_decay=0.01, precision=torch.float32),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for step in steps:
            step.step()
    for one, other in zip(ours, theirs, strict=True):  # theirs computes in bfloat16
        assert (one - other).abs().max() < 0.01
        assert (one - other).abs().mean() < 0.002
