"""A Gemma 4 checkpoint of random weights, small enough for a CPU, in the format vLLM loads.

Random weights say nonsense, so whatever is well formed in what they say was made so by the server
and the request, not by luck: that is what the live tests want to know. It is written without torch
and transformers (a safetensors file is a JSON header and the tensors' bytes), in milliseconds and
the same for the same seed.

Shape and names follow transformers 5.19 (`Gemma4TextConfig`, `Gemma4ForCausalLM`); the control
tokens have the ids of Gemma 4's own tokenizer, which vLLM's gemma4 parsers look for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from agentkit.gemma4 import tokens
from tests.gemma4.vocabulary import SIZE, real_size_tokenizer

REPO = Path(__file__).parents[2]
TEMPLATE = REPO / "agentkit" / "models" / "tiny" / "chat_template.jinja"

SPECIAL_TOKENS = 120  # up to and beyond `<turn|>`, Gemma's last control token of text
LAYER_TYPES = ("sliding_attention", "full_attention") * 2  # the last must be a full one
MLP, HEADS, KV_HEADS, HEAD_DIM = 512, 4, 2, 64


@dataclass(frozen=True)
class Size:
    """How large a checkpoint is.

    Attributes:
        vocabulary: Tokens.
        hidden: Numbers of a token's vector. Next to a real Gemma's vocabulary everything else is
            small: 64 of them make 67 MB.
        tokenizer: Folder of the `tokenizer.json`; None to make one.
    """

    vocabulary: int = 1024
    hidden: int = 192
    tokenizer: Path | None = None


def real_size() -> Size:
    """As many tokens as a real Gemma has, with its own tokenizer where that can be had."""
    return Size(SIZE, 64, real_size_tokenizer())


_CONFIG: dict[str, Any] = {
    "architectures": ["Gemma4ForCausalLM"],
    "model_type": "gemma4_text",
    "dtype": "float32",
    "hidden_size_per_layer_input": 0,
    "intermediate_size": MLP,
    "num_hidden_layers": len(LAYER_TYPES),
    "layer_types": list(LAYER_TYPES),
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "num_kv_shared_layers": 0,
    "head_dim": HEAD_DIM,
    "global_head_dim": HEAD_DIM,  # the default of 512 makes global layers eight times dearer
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attention_k_eq_v": False,
    "hidden_activation": "gelu_pytorch_tanh",
    "final_logit_softcapping": None,
    "sliding_window": 512,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {
        "full_attention": {
            "partial_rotary_factor": 0.25,
            "rope_theta": 1000000.0,
            "rope_type": "proportional",
        },
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    },
    "enable_moe_block": False,
    "use_double_wide_mlp": False,
    "tie_word_embeddings": True,
    "use_cache": True,
    "initializer_range": 0.02,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": list(tokens.STOP_IDS),
}

GENERATION_CONFIG: dict[str, Any] = {
    "bos_token_id": 2,
    "eos_token_id": list(tokens.STOP_IDS),
    "pad_token_id": 0,
    "do_sample": True,
    "temperature": 1.0,
    "top_k": 64,
    "top_p": 0.95,
}

TOKENIZER_CONFIG: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "clean_up_tokenization_spaces": False,
}


def random_checkpoint(cache: Path, seed: int = 0, size: Size | None = None) -> Path:
    """The checkpoint of that seed, made if the cache folder does not hold it.

    Args:
        cache: Folder of checkpoints.
        seed: Of the weights.
        size: None for the small one.

    Returns:
        Its folder, named after all that goes into it: this module, the template, the seed.
    """
    size = size or Size()
    template = TEMPLATE.read_bytes()
    content = hashlib.sha256(Path(__file__).read_bytes())
    content.update(template)
    content.update(f"{seed} {size}".encode())
    folder = cache / f"random-{content.hexdigest()[:16]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        half_built = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
        _write(half_built, template, seed, size)
        try:
            half_built.rename(folder)  # whole or not at all
        except OSError:  # another process was first
            shutil.rmtree(half_built)
    return folder


def _write(folder: Path, template: bytes, seed: int, size: Size) -> None:
    def write_json(name: str, value: dict[str, Any]) -> None:
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

    sizes = {
        "vocab_size": size.vocabulary,
        "vocab_size_per_layer_input": size.vocabulary,
        "hidden_size": size.hidden,
    }
    write_json("config.json", {**_CONFIG, **sizes})
    write_json("generation_config.json", GENERATION_CONFIG)
    write_json("tokenizer_config.json", TOKENIZER_CONFIG)
    (folder / "chat_template.jinja").write_bytes(template)
    if size.tokenizer is None:
        _tokenizer(size.vocabulary).save(str(folder / "tokenizer.json"))
    else:
        shutil.copyfile(size.tokenizer / "tokenizer.json", folder / "tokenizer.json")
    _write_safetensors(folder / "model.safetensors", _weights(seed, size))


def _tokenizer(vocabulary: int) -> Any:
    """Byte-level BPE over the licence's text: it can spell anything, and never changes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_special_tokens(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(REPO / "LICENSE")], trainer)
    return tokenizer


def _special_tokens() -> list[str]:
    names = {number: literal for literal, number in tokens.IDS.items()}
    return [names.get(number, f"<unused{number}>") for number in range(SPECIAL_TOKENS)]


def _weights(seed: int, size: Size) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    random = np.random.default_rng(seed)
    hidden = size.hidden

    def matrix(rows: int, columns: int) -> npt.NDArray[np.float32]:
        return random.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)

    def ones(size: int) -> npt.NDArray[np.float32]:
        return np.ones(size, dtype=np.float32)

    yield "model.embed_tokens.weight", matrix(size.vocabulary, hidden)
    for number in range(len(LAYER_TYPES)):
        layer = f"model.layers.{number}"
        yield f"{layer}.layer_scalar", ones(1)
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            yield f"{layer}.{norm}_layernorm.weight", ones(hidden)
        for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            yield f"{layer}.self_attn.{name}_proj.weight", matrix(heads * HEAD_DIM, hidden)
        yield f"{layer}.self_attn.o_proj.weight", matrix(hidden, HEADS * HEAD_DIM)
        for name in ("q", "k"):
            yield f"{layer}.self_attn.{name}_norm.weight", ones(HEAD_DIM)
        yield f"{layer}.mlp.gate_proj.weight", matrix(MLP, hidden)
        yield f"{layer}.mlp.up_proj.weight", matrix(MLP, hidden)
        yield f"{layer}.mlp.down_proj.weight", matrix(hidden, MLP)
    yield "model.norm.weight", ones(hidden)


def _write_safetensors(path: Path, tensors: Iterator[tuple[str, npt.NDArray[np.float32]]]) -> None:
    """Write the safetensors format: header length (u64), header JSON, tensors back to back."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blob = bytearray()
    for name, tensor in tensors:
        start = len(blob)
        blob += tensor.tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [start, len(blob)],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors start aligned
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)
