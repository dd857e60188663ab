"""The bundled checkpoint as a function in this process: token ids in, logits out.

The graph is `graph.onnx`; its weights are the ones of `model.safetensors`, the same file that vLLM
serves, widened from bfloat16 to float32 when it is loaded. Keys and values of a prefix are plain
arrays that nobody changes, so they can be kept and shared between replies and threads.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from agentkit.mistakes import install

try:
    import numpy as np
    import onnxruntime as ort
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
except ImportError as error:  # an optional extra
    raise ImportError(
        f"the demonstration model needs the extra `local` ({error.name} is missing): "
        f"{install('local')}"
    ) from error

BUNDLED: Final = Path(__file__).parent / "tiny"
"""The folder of the bundled checkpoint."""

_CHUNK: Final = 512  # tokens of one forward pass: bounds memory, and how long a cancel waits

Logits: TypeAlias = "NDArray[np.float32]"
"""One number for each token of the vocabulary."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Token ids and what the model remembers of them.

    Attributes:
        ids: The tokens.
        memory: Keys and values, (2 x layers, key-value heads, tokens, head size), float32.
    """

    ids: tuple[int, ...]
    memory: NDArray[np.float32]

    def common(self, ids: Sequence[int]) -> int:
        """How many tokens it shares with the start of `ids`."""
        pairs = zip(self.ids, ids, strict=False)
        return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(self.ids), len(ids)))

    def cut(self, length: int) -> Prefix:
        """Its first tokens."""
        return Prefix(self.ids[:length], self.memory[:, :, :length])


class Decoder:
    """A checkpoint folder, loaded.

    Immutable and safe to use from several threads at once.

    Args:
        folder: Holds `config.json`, `generation_config.json`, `tokenizer.json`,
            `model.safetensors` and `graph.onnx`.
        threads: Threads of one forward pass; a model of this size gains little from more.

    Raises:
        FileNotFoundError: A file is missing.
    """

    def __init__(self, folder: Path = BUNDLED, *, threads: int = 1) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        generation = json.loads((folder / "generation_config.json").read_bytes())
        self.window: int = config["max_position_embeddings"]
        self.stop_ids = frozenset(generation["eos_token_id"])
        self.temperature: float = generation["temperature"]
        self.top_p: float = generation["top_p"]
        self.top_k: int = generation["top_k"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._session = _session(folder, threads)
        layers, heads = config["num_hidden_layers"], config["num_key_value_heads"]
        shape = (2 * layers, heads, 0, config["head_dim"])
        self.nothing = Prefix((), np.zeros(shape, np.float32))

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt; control tokens are found by their spelling."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def extend(self, prefix: Prefix, ids: Sequence[int]) -> tuple[Prefix, Logits]:
        """Reads up to 512 more tokens.

        Returns:
            The longer prefix, and the logits of what follows its last token. Where tokens are left
            over, the prefix is shorter than asked for: call again.
        """
        taken = tuple(ids[:_CHUNK])
        feed = {"ids": np.array(taken, np.int64), "past": prefix.memory}
        logits, memory = self._session.run(None, feed)
        return Prefix(prefix.ids + taken, memory), logits


def _session(folder: Path, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only
    weights = read_weights(folder / "model.safetensors")
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    graph = str(folder / "graph.onnx")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def read_weights(file: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a bfloat16 safetensors file as float32.

    The format: eight bytes with the length of a JSON header, the header with each tensor's type,
    shape and place, then the data (huggingface/safetensors). bfloat16 is the upper half of a
    float32, so widening is exact.
    """
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        return {name: _widened(data, start, tensor) for name, tensor in header.items()}


def _widened(data: mmap.mmap, start: int, tensor: dict[str, Any]) -> NDArray[np.float32]:
    if tensor["dtype"] != "BF16":
        raise ValueError(f"expected bfloat16 weights, found {tensor['dtype']}")
    first, last = tensor["data_offsets"]
    halves = np.frombuffer(data[start + first : start + last], np.uint16)
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(tensor["shape"])
