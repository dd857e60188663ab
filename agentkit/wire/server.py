"""What a server says of itself: its models, the text of tokens, the tokens that are special."""

from __future__ import annotations

from dataclasses import dataclass

from agentkit.errors import ModelProtocolError
from agentkit.messages import JsonObject

__all__ = ["ServedModel", "read_models", "read_special_tokens", "read_text", "read_tokens"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the server lists.

    Attributes:
        name: The served name, or a LoRA adapter's.
        max_model_len: Tokens of the window, prompt and reply together.
    """

    name: str
    max_model_len: int | None


def read_models(answer: JsonObject) -> list[ServedModel]:
    """The models of `/v1/models`, in the server's order; what is no model is left out."""
    listed = answer.get("data")
    found = [_model(card) for card in (listed if isinstance(listed, list) else [])]
    return [model for model in found if model is not None]


def _model(card: object) -> ServedModel | None:
    match card:
        case {"id": str(name), "max_model_len": int(window)}:
            return ServedModel(name, window)
        case {"id": str(name)}:
            return ServedModel(name, None)
        case _:
            return None


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
    if isinstance(tokens, list) and (tokens or not answer.get("count")):
        return tokens
    raise ModelProtocolError(f"/tokenize answered without token ids: {str(answer)[:200]}")


def read_special_tokens(answer: JsonObject) -> list[str]:
    """The literals of `/tokenizer_info` that become control tokens wherever they stand."""
    added = answer.get("added_tokens_decoder")
    cards = added.values() if isinstance(added, dict) else ()
    return [
        card["content"]
        for card in cards
        if isinstance(card, dict) and card.get("special") and isinstance(card.get("content"), str)
    ]
