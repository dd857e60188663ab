"""Answers of a server that are no replies: what it says about itself, and its refusals.

In: the JSON or the bytes of an answer. Out: the models that it lists, its window, tokens and their
text, the literals that are special to it; and of a refusal the error that it comes to. Nothing here
asks a server, and replies are read in `replies`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from html import unescape
from http import HTTPStatus
from typing import Any, Final

from pydantic_core import to_json

from agentkit.errors import (
    AgentKitError,
    ContextWindowError,
    ModelProtocolError,
    ModelResponseTooLargeError,
    ModelStatusError,
    ModelUnreadableError,
    ServerNotReadyError,
)
from agentkit.messages import JsonObject
from agentkit.stream import read_json
from agentkit.wording import printable


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
    """The models of `/v1/models`, in the server's order; what is no model is left out.

    Raises:
        AgentKitError: It lists none and says why.
    """
    listed = answer.get("data") or answer.get("models")  # Ollama's own list is called `models`
    cards = [card for each in listed if (card := _card(each))] if isinstance(listed, list) else []
    if not cards and error_in(answer):
        raise ANY_SERVER.error(to_json(answer))
    by_name = {card["id"]: card for card in reversed(cards)}
    models: list[ServedModel] = []
    for card in cards:
        base = by_name.get(str(card.get("parent")), {})
        roots = (card.get("root"), base.get("root"))
        owner = card.get("owned_by")
        models.append(
            ServedModel(
                card["id"],
                _window(card) or _window(card.get("meta")),
                tuple(root for root in roots if isinstance(root, str)),
                owner if isinstance(owner, str) else "",
            )
        )
    return models


def _card(listed: object) -> JsonObject | None:
    """A model as it is listed, with its name as `id`; some servers list the names alone."""
    card = listed if isinstance(listed, dict) else {"id": listed}
    names = (card.get(key) for key in ("id", "model", "name"))
    name = next((name for name in names if name and isinstance(name, str)), None)
    if name is None or any("\ud800" <= each <= "\udfff" for each in name):  # no request can hold it
        return None
    return {**card, "id": name}


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
        if (tokens := _tokens(value)) is not None:
            return tokens
    return None


def _tokens(value: object) -> int | None:
    """A length, also as a float or as text; None where it is none."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 < value < _MOST_TOKENS and value == int(value) else None


_MOST_TOKENS: Final = 10**12


def _props(answer: JsonObject, _model: str) -> int | None:
    """llama.cpp's `/props`: the window of one slot."""
    settings = answer.get("default_generation_settings")
    return _window(settings)


def _info(answer: JsonObject, _model: str) -> int | None:
    """TGI's `/info`."""
    return _tokens(answer.get("max_total_tokens"))


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


_WAITING: Final = re.compile(rb"^vllm:num_requests_waiting(?:{[^}]*})? +(\S+)", re.MULTILINE)
"""One engine's line in vLLM's `/metrics`, in Prometheus' text format."""


def read_waiting(metrics: bytes) -> int | None:
    """How many requests wait for a place, by the text of `/metrics`; None if it has no count."""
    try:
        counts = [float(number) for number in _WAITING.findall(metrics)]
        return int(sum(counts)) if counts else None
    except (ValueError, OverflowError):  # no number, or none that can be counted to
        return None


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
    counted = tokens or answer.get("count") == 0
    if isinstance(tokens, list) and counted and all(map(_is_id, tokens)):
        return tokens
    raise ModelProtocolError(f"/tokenize answered without token ids: {str(answer)[:200]}")


def _is_id(token: object) -> bool:
    return type(token) is int and token >= 0


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


# --- refusals ------------------------------------------------------------------------------------
# Servers agree on little here. The words stand in `error.message` (vLLM, SGLang, llama.cpp,
# LiteLLM, OpenAI), in `error` itself (Ollama, TGI), in `detail` (FastAPI, so `transformers serve`
# and many gateways) or in `message` (older vLLM); and the same refusal may come with an HTTP
# status, in the place of a reply with the status 200, or as an event in mid-stream. All three are
# read.

_LONGEST: Final = 500  # characters of a server's words that are shown

_OVERFLOWS: Final = re.compile(
    "|".join(
        (
            # vLLM 0.32 `renderers/params.py`, SGLang, OpenAI, LiteLLM in front of any of them
            r"maximum context length",
            r"longer than the max(?:imum)? (?:model|context) len",
            # vLLM 0.32 `sampling_params.py`: the prompt fills the window to the last token
            r"max_tokens must be at least 1, got (?:0|-\d+)\b",
            r"context_length_exceeded",
            r"ContextWindowExceeded",
            # SGLang `managers/tokenizer_manager.py`: "longer than the model's context length"
            r"longer than the model'?s? context length",
            # llama.cpp `tools/server/server-task.cpp`: "exceeds the available context size"
            r"exceed_context_size_error",
            # Ollama `server/routes.go`, `llm/server.go`: "exceeds the context length",
            # "exceeded max context length by 12 tokens"
            r"(?:exceed\w*|(?:greater|longer|larger) than) (?:[\w']+ ){0,3}context"
            r" (?:length|size|window|limit)",
            # LM Studio: "when context the overflows"
            r"context the overflows",
            # TGI `router/src/validation.rs`
            r"`inputs` (?:tokens \+ `max_new_tokens` must be <=|must have less than)",
            # gateways in front of others; older vLLM: "The prompt (total length 9000) is too long"
            r"(?:prompt|input)(?: \([^()]{0,40}\))? is (?:too long|longer than)",
            # MLX, TensorRT-LLM, TabbyAPI, LMDeploy, Databricks: "Prompt length 9000 exceeds",
            # "prompt token count (9000) cannot exceed", "The length of the prompt (9000) exceeds"
            r"(?:(?:prompt|input)(?: token)? (?:length|count)|length of the (?:prompt|input))"
            r"[^.:]{0,40}?(?:exceed|greater than|longer than)",
            r"input token count .{0,40}exceeds",
            r"(?:input|prompt) tokens exceed",
            r"too many (?:input |prompt )?tokens(?! (?:per|a) )",
        )
    ),
    re.IGNORECASE,
)
"""The prompt does not fit, in the words of each server."""

_UNKNOWN: Final = re.compile(
    r"(?:unexpected|unsupported)(?! (?:type|value))|unrecogni[sz]ed|unknown|not support"
    r"|not permitted|does ?n[o']t (?:support|exist)|not (?:allowed|available|implemented"
    r"|recogni[sz]ed)|no such|cannot find|disabled|forbidden|additional propert"
    r"|extra (?:input|field|propert|argument)",
    re.IGNORECASE,
)
"""A field of the request is refused, whatever it holds: `transformers serve` ("Unexpected fields in
the request"), pydantic ("Extra inputs are not permitted"), OpenAI ("Unrecognized request argument
supplied", "Unknown parameter"), LiteLLM ("does not support parameters"), TGI ("unknown field")."""

_ASIDE: Final = re.compile(
    r"\bdid you mean\b.*"
    r"|(?<!not )(?<!not a )(?<!n't )\b(?:accepted|allowed|available|expected|known|permitted"
    r"|possible|supported|valid)\b[\w\s]{0,20}(?::|\bone of\b|\bare\b)(?:(?![.;](?:\s|$)).)*"
    r"|\{\s*['\"]\w+['\"]\s*:.*",
    re.IGNORECASE | re.DOTALL,
)
"""What a refusal says of other fields: which there are, as Rust's serde does ("expected one of
`messages`, `max_tokens`") and Jackson ("12 known properties"), or the whole request."""

_UNASKED: Final = frozenset(
    {"return_token_ids", "stop_token_ids", "chat_template_kwargs", "stream_options", "logit_bias"}
)
"""Fields of which we write the value: what names them refuses them, in whatever words."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Makes errors of what one server says in the place of a reply.

    Attributes:
        where: The server, for people.
        key: The API key. No error repeats it: gateways like to repeat the one that they refuse,
            also one that is too short to be registered as a secret.
    """

    where: str = "the server"
    key: str | None = None

    def error(
        self, content: bytes, status: int | None = None, retry_after: float | None = None
    ) -> AgentKitError:
        """The error that a refusal comes to.

        Args:
            content: What the server sent.
            status: The HTTP status; None where the refusal came in the place of a reply.
            retry_after: Seconds that the server asked to wait.
        """
        return _refusal(self._readable(content), self.where, status, retry_after)

    def unreadable(self, content: bytes) -> ModelUnreadableError:
        """The error for what is no chat completion, and no refusal that could be read either."""
        words = words_of(self._readable(content))
        return ModelUnreadableError(f"{self.where} sent no chat completion: {words}")

    def _readable(self, content: bytes) -> Any:
        return _json_or_text(
            content.replace(self.key.encode(), b"[the key]") if self.key else content
        )


ANY_SERVER: Final = Refusals()


def _refusal(
    value: Any, where: str, status: int | None, retry_after: float | None
) -> AgentKitError:
    message = words_of(value)
    code = status or _code_in(value)
    lowered = message.lower()
    if code == HTTPStatus.UNAUTHORIZED:
        return ModelStatusError(
            f"{where} refused the API key (401); set AGENTKIT_API_KEY or api_key=",
            status_code=code,
        )
    if is_overflow(value):
        return ContextWindowError(f"{where}: {message}")
    if "tool choice requires" in lowered or "--tool-call-parser" in lowered:
        return ServerNotReadyError(
            f"{where} was started without tool calling; restart it with "
            "--enable-auto-tool-choice --tool-call-parser gemma4 --reasoning-parser gemma4"
        )
    if "--jinja" in lowered:  # llama.cpp: "tools param requires --jinja flag"
        return ServerNotReadyError(f"{where}: {message}; restart llama-server with --jinja")
    if "mmproj" in lowered:  # llama.cpp: "image input is not supported - hint: …"
        return ServerNotReadyError(f"{where}: {message} (see llama-server's --mmproj)")
    if "multimodal" in lowered or "may be provided in one prompt" in lowered:
        return ServerNotReadyError(f"{where}: {message} (see vLLM's --limit-mm-per-prompt)")
    if code is None:
        return ModelUnreadableError(f"{where} sent an error in place of a reply: {message}")
    return ModelStatusError(
        f"{where} answered {code}: {message}", status_code=code, retry_after=retry_after
    )


def error_in(value: Any) -> bool:
    """Whether JSON that came in the place of a reply is an error message."""
    if not isinstance(value, dict):
        return False
    error = value.get("error")
    if isinstance(error, dict):  # `{"code": 0, "message": ""}` stands for none
        error = any(error.values())
    if error or value.get("object") == "error" or value.get("type") == "error":
        return True
    if "choices" in value:
        return False
    words = [value[name] for name in ("error", "detail", "message") if name in value]
    return any(not isinstance(each, dict) or "role" not in each for each in words)


def is_overflow(value: Any) -> bool:
    """Whether a refusal says that the prompt does not fit the window."""
    return _OVERFLOWS.search(str(value)[:_MOST_SEARCHED]) is not None


_MOST_SEARCHED: Final = 16_384  # characters; refusals are short, and some repeat the request


def unknown_fields(message: str, sent: Collection[str]) -> frozenset[str]:
    """The fields of a request that a refusal says the server does not take.

    Args:
        message: The server's words.
        sent: Names of fields that the request holds and can do without.
    """
    message = _ASIDE.sub(" ", message)
    possible = sent if _UNKNOWN.search(message) else _UNASKED.intersection(sent)
    return frozenset(  # of `max_tokens > 4096` the value is refused
        name for name in possible if re.search(rf"(?<![\w-]){name}(?![\w-])(?!\s?[=<>])", message)
    )


def words_of(value: Any) -> str:
    """The server's words, at most 500 characters, whatever shape they come in; nothing of them can
    control the terminal that shows them.
    """
    words = " ".join(_sentence(_json_or_text(value)).split())
    return printable(words[:_LONGEST]) or "no message"


def _json_or_text(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return read_json(value)
    except (ValueError, ModelResponseTooLargeError):
        text = value.decode("utf-8", "replace")
    if not text.lstrip().startswith("<"):
        return text
    seen = unescape(re.sub(r"<[^<>]*>", " ", text[:8192]))  # what a person would see of a web page
    return f"a web page, not a model server's JSON: {' '.join(seen.split())[:200]}"


def _sentence(value: Any) -> str:
    """The sentence in a refusal: the innermost of the members that hold one."""
    if isinstance(value, list) and value:
        return "; ".join(map(_sentence, value[:5]))
    if not isinstance(value, dict):
        return "" if value is None else str(value)
    for name in _SENTENCES:
        if value.get(name):
            sentence = _sentence(value[name])
            place = value.get("loc")  # where FastAPI names the field
            return (
                f"{'.'.join(map(str, place))}: {sentence}" if isinstance(place, list) else sentence
            )
    return str(value)


_SENTENCES: Final = (
    *("error", "detail", "message", "msg", "errors"),
    *("reason", "title", "fault", "faultstring", "error_description", "status_msg", "base_resp"),
)
"""Members that hold the sentence or lead to it: those of model servers, then those of gateways."""


def _code_in(value: Any) -> int | None:
    """The HTTP status that a refusal claims for itself."""
    inner = value.get("error") if isinstance(value, dict) else None
    for holder in (inner, value):
        for name in ("code", "status", "status_code", "http_status_code"):
            code = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
                code = int(code)
            if isinstance(code, int) and 400 <= code < 600:
                return code
    return None
