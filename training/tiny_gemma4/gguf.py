"""The demonstration checkpoint as a GGUF file, for llama.cpp.

Names and keys are those of llama.cpp's `gguf` package for Gemma 4 (`MODEL_ARCH.GEMMA4`). Two things
are not the checkpoint's own: llama.cpp has no pre-tokenizer with its regular expression, so texts
are split into other tokens here and there, and control tokens that a chat parser has to see are
marked as user-defined, as llama.cpp's own conversion marks them.

    python -m training.tiny_gemma4.gguf FILE        (needs the `gguf` package)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from agentkit.models.embedded import BUNDLED, read_weights

_VISIBLE: Final = frozenset(
    {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>'}
    | {"<|tool_response>", "<tool_response|>"}
)
_UNROTATED: Final = 1e30
"""The frequency factor of dimensions that are not rotated (llama.cpp `conversion/gemma.py`)."""


def export(file: Path, folder: Path = BUNDLED) -> None:
    """Writes the file.

    Args:
        file: Where to.
        folder: Of the checkpoint.

    Raises:
        ImportError: The `gguf` package is not installed.
    """
    import gguf  # noqa: PLC0415 - only whoever exports needs it

    config = json.loads((folder / "config.json").read_bytes())
    layers = config["num_hidden_layers"]
    writer: Any = gguf.GGUFWriter(file, "gemma4")
    writer.add_name("tiny-gemma4")
    _parameters(writer, config)
    _vocabulary(writer, gguf, folder)
    names: Any = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA4, layers)
    for name, array in read_weights(folder / "model.safetensors").items():
        known = names.get_name(name, try_suffixes=(".weight",))
        if known is None:
            raise ValueError(f"llama.cpp knows no tensor {name}")
        known = known if known.endswith(".weight") else f"{known}.weight"
        writer.add_tensor(known, np.ascontiguousarray(array, np.float32))
    writer.add_tensor("rope_freqs.weight", _rope(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _parameters(writer: Any, config: dict[str, Any]) -> None:
    rope = config["rope_parameters"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(config["global_head_dim"])
    writer.add_value_length(config["global_head_dim"])
    writer.add_key_length_swa(config["head_dim"])
    writer.add_value_length_swa(config["head_dim"])
    writer.add_rope_dimension_count(config["global_head_dim"])
    writer.add_rope_dimension_count_swa(config["head_dim"])
    writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
    writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_sliding_window_pattern([k == "sliding_attention" for k in config["layer_types"]])
    writer.add_shared_kv_layers(config["num_kv_shared_layers"])
    writer.add_embedding_length_per_layer_input(config["hidden_size_per_layer_input"])


def _vocabulary(writer: Any, gguf: Any, folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_bytes())
    model = tokenizer["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    special = {token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [
            kinds.USER_DEFINED
            if token in _VISIBLE
            else kinds.CONTROL
            if token in special
            else kinds.NORMAL
            for token in tokens
        ]
    )
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    writer.add_token_merges(merges)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(106)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))


def _rope(config: dict[str, Any]) -> Any:
    """Factors of the full-attention layers, of which only the first dimensions are rotated."""
    half = config["global_head_dim"] // 2
    rotated = int(half * config["rope_parameters"]["full_attention"]["partial_rotary_factor"])
    return np.array([1.0] * rotated + [_UNROTATED] * (half - rotated), np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="to write, GGUF")
    export(parser.parse_args().file)
