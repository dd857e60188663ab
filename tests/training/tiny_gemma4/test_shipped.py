"""The files in the package against what they were made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentkit.gemma4.tokens import IDS, STOP_IDS
from agentkit.models.embedded import BUNDLED, Decoder, read_weights

TRAINING = Path(__file__).parents[3] / "training" / "tiny_gemma4"


@pytest.mark.parametrize("name", ["chat_template.jinja", "MODEL_CARD.md"])
def test_what_is_shipped_is_what_lies_with_the_training(name: str) -> None:
    assert (BUNDLED / name).read_bytes() == (TRAINING / name).read_bytes()


def test_control_tokens_have_gemmas_own_numbers() -> None:
    tokenizer = Decoder().tokenizer
    for literal, number in IDS.items():
        if number < 120:
            assert tokenizer.token_to_id(literal) == number
            assert tokenizer.encode(f"a{literal}b", add_special_tokens=False).ids.count(number) == 1


def test_the_configurations_name_the_architecture_and_the_stop_tokens() -> None:
    config = json.loads((BUNDLED / "config.json").read_bytes())
    generation = json.loads((BUNDLED / "generation_config.json").read_bytes())
    assert config["architectures"] == ["Gemma4ForCausalLM"]
    assert config["layer_types"][-1] == "full_attention"
    assert set(generation["eos_token_id"]) == set(STOP_IDS)


def test_the_weights_have_the_shape_that_the_configuration_says() -> None:
    config = json.loads((BUNDLED / "config.json").read_bytes())
    weights = read_weights(BUNDLED / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    assert embedding.shape == (config["vocab_size"], config["hidden_size"])
    assert sum(array.size for array in weights.values()) < 6_000_000
    layers = {name.split(".")[2] for name in weights if ".layers." in name}
    assert len(layers) == config["num_hidden_layers"]
