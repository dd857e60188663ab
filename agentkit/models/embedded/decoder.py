"""The bundled checkpoint as a function in this process: ids to logits, to the next id, to its text.

A `Decoder` reads token ids and gives logits, a `Sampler` picks the next id by them, and `Pieces`
turns the ids of a reply into text that can be shown. Nothing here knows of messages or calls.

The graph is `graph.onnx`; its weights are the ones of `model.safetensors`, the same file that vLLM
serves, widened from bfloat16 to float32 when it is loaded. Keys and values of a prefix are plain
arrays that nobody changes, so they can be kept and shared between replies and threads.
"""

from __future__ import annotations

import codecs
import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from agentkit.errors import install
from agentkit.wire.replies import overlap

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

BUNDLED: Final = Path(__file__).parents[1] / "tiny"
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
        """A prefix of its first tokens."""
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


# --- the next token ------------------------------------------------------------------------------

_GREEDY_BELOW: Final = 1e-5  # as vLLM 0.32 (`_SAMPLING_EPS`)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw, in the order vLLM 0.32 applies it: temperature, top-k, top-p.

    Attributes:
        temperature: 0 is greedy.
        top_k: Only the k likeliest tokens; 0 or less is all.
        top_p: Only the likeliest tokens that together have this probability.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Sampler:
    """Draws tokens; the same seed and logits give the same tokens.

    Args:
        sampling: How tokens are drawn.
        seed: None draws from the system's entropy.
    """

    def __init__(self, sampling: Sampling, seed: int | None = None) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(seed)

    def next(self, logits: Logits, forbidden: int | None = None) -> int:
        """The next token, which is never the forbidden one."""
        if forbidden is not None:
            logits = logits.copy()
            logits[forbidden] = -np.inf
        if self._sampling.temperature < _GREEDY_BELOW:
            return int(logits.argmax())
        return self._draw(logits)

    def _draw(self, logits: Logits) -> int:
        how = self._sampling
        order = np.argsort(-logits, kind="stable")
        if how.top_k > 0:
            order = order[: how.top_k]
        scaled = logits[order].astype(np.float64) / how.temperature
        weights = np.exp(scaled - scaled[0])
        reached = np.cumsum(weights / weights.sum())
        # The token that reaches top_p still belongs to the nucleus.
        kept = min(int(np.searchsorted(reached, how.top_p)) + 1, len(order))
        drawn = self._random.random() * reached[kept - 1]
        return int(order[min(int(np.searchsorted(reached, drawn, side="right")), kept - 1)])


# --- its text ------------------------------------------------------------------------------------

_CONTROL_TOKENS: Final = 120  # the checkpoint's first ids, under Gemma 4's own numbers


def token_bytes(decoder: Decoder) -> tuple[bytes, ...]:
    """The bytes of each token of a byte-level vocabulary; control tokens as they are spelled."""
    # GPT-2's byte alphabet: printable Latin-1 for itself, the other bytes from U+0100 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable} | {
        chr(256 + at): byte for at, byte in enumerate(others)
    }
    size = decoder.tokenizer.get_vocab_size()
    spelled = [decoder.tokenizer.id_to_token(number) or "" for number in range(size)]
    return tuple(
        text.encode() if number < _CONTROL_TOKENS else bytes(alphabet[letter] for letter in text)
        for number, text in enumerate(spelled)
    )


def control_literals(decoder: Decoder) -> list[str]:
    """How the checkpoint's control tokens are spelled."""
    spelled = (decoder.tokenizer.id_to_token(number) for number in range(_CONTROL_TOKENS))
    return [text for text in spelled if text]


class Pieces:
    """The text of one reply, token by token.

    Args:
        table: `token_bytes` of the checkpoint.
        stops: Texts that end the reply and are not part of it.

    Attributes:
        stopped: A stop text was met.
    """

    def __init__(self, table: Sequence[bytes], stops: Sequence[str]) -> None:
        self._table = table
        self._stops = [stop for stop in stops if stop]
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # may be the beginning of a stop text
        self.stopped = False

    def take(self, token: int) -> tuple[list[int], list[str]]:
        """What can be shown now, as ids and their texts; a control token stands alone."""
        if token < _CONTROL_TOKENS:
            ids, texts = self.rest()
            return [*ids, token], [*texts, self._table[token].decode()]
        self._held += self._characters.decode(self._table[token])
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
        else:
            keep = max((overlap(self._held, stop) for stop in self._stops), default=0)
            end = len(self._held) - keep
            shown, self._held = self._held[:end], self._held[end:]
        return ([token], [shown]) if shown else ([], [])

    def rest(self) -> tuple[list[int], list[str]]:
        """What was held back, once no stop text can follow."""
        held = self._held + self._characters.decode(b"", final=True)
        self._held = ""
        self._characters.reset()
        return ([_CONTROL_TOKENS], [held]) if held else ([], [])
