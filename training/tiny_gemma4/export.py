"""Writes the shipped files from a training checkpoint: `python -m training.tiny_gemma4.export`.

The folder is a checkpoint that transformers and vLLM load as `Gemma4ForCausalLM`, and beside it
`graph.onnx`: the same computation with a key-value cache and *without* weights, which the
embedded runtime takes from `model.safetensors`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from training.tiny_gemma4.folders import cache_folder
from training.tiny_gemma4.model import Config, TinyGemma4, rotary

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "agentkit" / "models" / "tiny"
STOP = [1, 106, 50]


class Cached(nn.Module):
    """One step of decoding: new ids and what is remembered → logits and what to remember.

    `past` is (2 x layers, key-value heads, tokens before, head size), keys and values in turn.
    """

    def __init__(self, inner: TinyGemma4) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the last position (vocabulary) and the new `past`."""
        config, body = self.inner.config, self.inner.model
        before, tokens = past.shape[2], ids.shape[0]
        positions = torch.arange(tokens) + before
        distance = positions[:, None] - torch.arange(before + tokens)[None, :]
        full = distance >= 0
        masks = {
            "full_attention": full,
            "sliding_attention": full & (distance < config.sliding_window),
        }
        turned = {kind: rotary(config, kind, positions) for kind in masks}
        x = body.embed(ids[None])
        kept: list[Tensor] = []
        for at, (layer, kind) in enumerate(zip(body.layers, config.layer_types, strict=True)):
            remembered = (past[None, 2 * at], past[None, 2 * at + 1])
            x, (keys, values) = layer(x, turned[kind], masks[kind], remembered)
            kept += [keys[0], values[0]]
        logits = functional.linear(body.norm(x[:, -1]), body.embed_tokens.weight)
        return logits[0], torch.stack(kept)


def load(checkpoint: Path) -> TinyGemma4:
    """The averaged weights of a training checkpoint, rounded to bfloat16 as they are shipped."""
    state = torch.load(checkpoint, weights_only=True)
    model = TinyGemma4(Config(**state["config"]))
    model.load_state_dict({k: v.to(torch.bfloat16).float() for k, v in state["average"].items()})
    return model.eval()


def write_weights(model: TinyGemma4, folder: Path) -> None:
    """`model.safetensors` in bfloat16."""
    state = {
        name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def write_config(config: Config, folder: Path) -> None:
    """`config.json` and `generation_config.json`."""
    text: dict[str, Any] = {
        "architectures": ["Gemma4ForCausalLM"],
        "model_type": "gemma4_text",
        "dtype": "bfloat16",
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "attention_k_eq_v": False,
        "enable_moe_block": False,
        "num_kv_shared_layers": 0,
        "use_cache": True,
        "rope_parameters": {
            "full_attention": {
                "partial_rotary_factor": 0.25,
                "rope_theta": 1000000.0,
                "rope_type": "proportional",
            },
            "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
        },
        **config.to_transformers(),
    }
    generation = {
        "bos_token_id": 2,
        "pad_token_id": 0,
        "eos_token_id": STOP,
        "do_sample": True,
        "temperature": 0.1,  # so small a model strays at the 1.0 of its big sisters
        "top_k": 64,
        "top_p": 0.95,
    }
    for name, content in (("config.json", text), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_graph(model: TinyGemma4, folder: Path) -> None:
    """`graph.onnx`: every weight an external initialiser under the checkpoint's own name."""
    config = model.config
    shape = (2 * config.num_hidden_layers, config.num_key_value_heads, 5, config.head_dim)
    ids, past = torch.randint(120, config.vocab_size, (7,)), torch.randn(shape)
    tokens, before = torch.export.Dim("tokens", min=1), torch.export.Dim("before", min=0)
    program = torch.onnx.export(
        Cached(model).eval(),
        (ids, past),
        dynamo=True,
        optimize=False,
        opset_version=20,
        input_names=["ids", "past"],
        output_names=["logits", "present"],
        dynamic_shapes={"ids": {0: tokens}, "past": {2: before}},
    )
    assert program is not None
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "graph.onnx"
        program.save(str(file), external_data=True)
        graph = onnx.load(str(file), load_external_data=False)
    shipped = set(model.state_dict())
    for initializer in graph.graph.initializer:
        initializer.name = _renamed(graph, initializer.name, shipped)
        if initializer.name in shipped:
            _make_external(initializer)
    for node in graph.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    onnx.save(graph, str(folder / "graph.onnx"))


def _make_external(initializer: onnx.TensorProto) -> None:
    """Leaves nothing but the name: the runtime supplies the values."""
    initializer.ClearField("raw_data")
    del initializer.external_data[:]
    initializer.data_location = onnx.TensorProto.EXTERNAL
    initializer.external_data.add(key="location", value="model.safetensors")


def _renamed(graph: onnx.ModelProto, name: str, shipped: set[str]) -> str:
    short = name.removeprefix("inner.")
    if short not in shipped:
        return name
    for node in graph.graph.node:
        for at, used in enumerate(node.input):
            if used == name:
                node.input[at] = short
    return short


def export(checkpoint: Path, folder: Path, *, graph: bool = True) -> None:
    """Every shipped file; the graph depends on the shape alone and may be kept."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load(checkpoint)
    write_weights(model, folder)
    write_config(model.config, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint.parent / name, folder / name)
    for name in ("chat_template.jinja", "MODEL_CARD.md"):
        if (HERE / name).exists():
            shutil.copy(HERE / name, folder / name)
    if graph:
        with torch.no_grad():
            write_graph(model, folder)


def main(argv: list[str] | None = None) -> int:
    """Exports the newest checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkpoint", type=Path, default=cache_folder() / "tiny-gemma4/checkpoint.pt"
    )
    parser.add_argument("--folder", type=Path, default=SHIPPED)
    parser.add_argument("--keep-graph", action="store_true")
    options = parser.parse_args(argv)
    export(options.checkpoint, options.folder, graph=not options.keep_graph)
    for file in sorted(options.folder.iterdir()):
        print(f"{file.name:28} {file.stat().st_size:>10,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
