"""What a server says of itself: its models, the text of tokens, the tokens that are special."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
        roots: What its weights were loaded as: the path of a folder or a name at a hub. A LoRA
            adapter has its own and that of its base.
    """

    name: str
    max_model_len: int | None
    roots: tuple[str, ...] = ()


def read_models(answer: JsonObject) -> list[ServedModel]:
    """The models of `/v1/models`, in the server's order; what is no model is left out."""
    listed = answer.get("data")
    cards = [card for card in (listed if isinstance(listed, list) else []) if _names(card)]
    by_name = {card["id"]: card for card in reversed(cards)}
    return [_model(card, by_name) for card in cards]


def _names(card: object) -> bool:
    return isinstance(card, dict) and isinstance(card.get("id"), str)


def _model(card: JsonObject, by_name: Mapping[str, JsonObject]) -> ServedModel:
    window, base = card.get("max_model_len"), by_name.get(str(card.get("parent")), {})
    roots = (card.get("root"), base.get("root"))
    return ServedModel(
        card["id"],
        window if isinstance(window, int) else None,
        tuple(root for root in roots if isinstance(root, str)),
    )


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
