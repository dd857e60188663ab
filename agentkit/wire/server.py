"""What a server says of itself: its models, the text of tokens, the tokens that are special."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agentkit.errors import ModelProtocolError
from agentkit.messages import JsonObject


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the server lists.

    Attributes:
        name: The served name, or a LoRA adapter's.
        max_model_len: Tokens of the window, prompt and reply together.
        roots: What its weights were loaded as: the path of a folder or a name at a hub. A LoRA
            adapter has its own and that of its base.
        owner: Who the server says owns it, which mostly names the server's own program.
    """

    name: str
    max_model_len: int | None
    roots: tuple[str, ...] = ()
    owner: str = ""


def read_models(answer: JsonObject) -> list[ServedModel]:
    """The models of `/v1/models`, in the server's order; what is no model is left out."""
    listed = answer.get("data")
    cards = [card for card in (listed if isinstance(listed, list) else []) if _names(card)]
    by_name = {card["id"]: card for card in reversed(cards)}
    return [_model(card, by_name) for card in cards]


def _names(card: object) -> bool:
    return isinstance(card, dict) and isinstance(card.get("id"), str)


def _model(card: JsonObject, by_name: Mapping[str, JsonObject]) -> ServedModel:
    base = by_name.get(str(card.get("parent")), {})
    roots = (card.get("root"), base.get("root"))
    owner = card.get("owned_by")
    return ServedModel(
        card["id"],
        _window(card) or _window(card.get("meta")),
        tuple(root for root in roots if isinstance(root, str)),
        owner if isinstance(owner, str) else "",
    )


_WINDOW_NAMES: Final = (
    "max_model_len",  # vLLM, SGLang
    "n_ctx",  # llama.cpp, in `meta`; never `n_ctx_train`, which is the checkpoint's
    "loaded_context_length",  # LM Studio
    "context_length",  # OpenRouter, Together
    "context_window",  # Groq
    "max_context_length",  # Mistral
    "max_input_tokens",  # LiteLLM
)


def _window(card: object) -> int | None:
    for name in _WINDOW_NAMES:
        value = card.get(name) if isinstance(card, dict) else None
        if type(value) is int and value > 0:
            return value
    return None


def _props(answer: JsonObject, _model: str) -> int | None:
    """llama.cpp's `/props`: the window of one slot."""
    settings = answer.get("default_generation_settings")
    return _window(settings)


def _info(answer: JsonObject, _model: str) -> int | None:
    """TGI's `/info`."""
    value = answer.get("max_total_tokens")
    return value if type(value) is int and value > 0 else None


def _running(answer: JsonObject, model: str) -> int | None:
    """Ollama's `/api/ps`: of the models in memory, with the window each was loaded with."""
    models = answer.get("models")
    for card in models if isinstance(models, list) else ():
        if isinstance(card, dict) and model in (card.get("name"), card.get("model")):
            return _window(card)
    return None


def _listed(answer: JsonObject, model: str) -> int | None:
    """LM Studio's `/api/v0/models`."""
    cards = answer.get("data")
    for card in cards if isinstance(cards, list) else ():
        if isinstance(card, dict) and card.get("id") == model:
            return _window(card)
    return None


def _proxied(answer: JsonObject, model: str) -> int | None:
    """LiteLLM's `/model/info`."""
    cards = answer.get("data")
    for card in cards if isinstance(cards, list) else ():
        if isinstance(card, dict) and card.get("model_name") == model:
            return _window(card.get("model_info"))
    return None


WINDOWS: Final[tuple[tuple[str, Callable[[JsonObject, str], int | None]], ...]] = (
    ("/props", _props),
    ("/info", _info),
    ("/api/ps", _running),
    ("/model/info", _proxied),
    ("/api/v0/models", _listed),
)
"""Where a server says how long its window is, if `/v1/models` does not, and how to read it."""


def names_server(owner: str) -> str:
    """The program that serves, by what `/v1/models` says of the owner; empty if that is unknown."""
    return _OWNERS.get(owner.lower(), "")


_OWNERS: Final = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "library": "Ollama",
    "organization_owner": "LM Studio",
}


def read_text(answer: JsonObject) -> str | None:
    """The text of `/detokenize`, control tokens spelled out."""
    text = answer.get("prompt")
    return text if isinstance(text, str) else None


def read_tokens(answer: JsonObject) -> list[int]:
    """The token ids of `/tokenize`.

    Raises:
        ModelProtocolError: There are none.
    """
    tokens = answer.get("tokens")
    # Empty means so only where it is counted too: llama.cpp answers so to what it does not read.
    if isinstance(tokens, list) and (tokens or answer.get("count") == 0):
        return tokens
    raise ModelProtocolError(f"/tokenize answered without token ids: {str(answer)[:200]}")


def read_special_tokens(answer: JsonObject) -> list[str]:
    """The literals of `/tokenizer_info` that become control tokens wherever they stand.

    vLLM 0.32 tells of an added token its text alone. A real Gemma has thousands that are none (runs
    of line ends, HTML tags), so of those the ones that are spelled as control tokens are.
    """
    added = answer.get("added_tokens_decoder")
    found: list[str] = []
    for card in added.values() if isinstance(added, dict) else ():
        match card:
            case {"content": str(text), "special": True}:
                found.append(text)
            case str(text) if _CONTROL.fullmatch(text):
                found.append(text)
            case _:
                pass
    return found


_CONTROL = re.compile(r"<\|[^<>\s]+>|<[^<>\s]+\|>|<(?:pad|eos|bos|unk|mask|(?:start|end)_of_\w+)>")
