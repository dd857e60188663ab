"""What a server says when it gives no reply: its words, and what they come to.

Servers agree on little here. The words stand in `error.message` (vLLM, SGLang, llama.cpp, LiteLLM,
OpenAI), in `error` itself (Ollama, TGI), in `detail` (FastAPI, so `transformers serve` and many
gateways) or in `message` (older vLLM); and the same refusal may come with an HTTP status, in the
place of a reply with the status 200, or as an event in mid-stream. So all three are read here.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from html import unescape
from http import HTTPStatus
from typing import Any, Final

from agentkit.errors import (
    AgentKitError,
    ContextWindowError,
    ModelResponseTooLargeError,
    ModelStatusError,
    ModelUnreadableError,
    ServerNotReadyError,
)
from agentkit.stream import read_json

_LONGEST: Final = 500  # characters of a server's words that are shown

_OVERFLOWS: Final = re.compile(
    "|".join(
        (
            # vLLM 0.32 `renderers/params.py`, SGLang, OpenAI, LiteLLM in front of any of them
            r"maximum context length",
            r"longer than the max(?:imum)? (?:model|context) len",
            r"context_length_exceeded",
            r"ContextWindowExceeded",
            # SGLang `managers/tokenizer_manager.py`: "longer than the model's context length"
            r"longer than the model'?s? context length",
            # llama.cpp `tools/server/server-task.cpp`: "exceeds the available context size"
            r"exceed_context_size_error",
            # Ollama `server/routes.go`, `llm/server.go`: "exceeds the context length",
            # "exceeded max context length by 12 tokens"
            r"exceed\w* (?:\w+ ){0,3}context (?:length|size|window)",
            # TGI `router/src/validation.rs`
            r"`inputs` (?:tokens \+ `max_new_tokens` must be <=|must have less than)",
            # gateways in front of others
            r"prompt is too long",
            r"input token count .{0,40}exceeds",
            r"too many (?:input |prompt )?tokens",
        )
    ),
    re.IGNORECASE,
)
"""The prompt does not fit, in the words of each server."""

_UNKNOWN: Final = re.compile(
    r"unexpected|unrecogni[sz]ed|unknown|unsupported|not support|does ?n[o']t support|not permitted"
    r"|not allowed|forbidden|extra (?:input|field|propert|argument)|additional propert",
    re.IGNORECASE,
)
"""A field of the request is refused, whatever it holds: `transformers serve` ("Unexpected fields in
the request"), pydantic ("Extra inputs are not permitted"), OpenAI ("Unrecognized request argument
supplied", "Unknown parameter"), LiteLLM ("does not support parameters"), TGI ("unknown field")."""


def refusal(
    value: Any, where: str, status: int | None, retry_after: float | None = None
) -> AgentKitError:
    """The error that a refusal comes to.

    Args:
        value: What the server sent, as JSON or as bytes.
        where: The server, for people.
        status: The HTTP status; None where the refusal came in the place of a reply.
        retry_after: Seconds that the server asked to wait.
    """
    value = _json_or_text(value)
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


def unreadable(payload: bytes, where: str = "the server") -> ModelUnreadableError:
    """The error for what is no chat completion, and no refusal that could be read either."""
    return ModelUnreadableError(f"{where} sent no chat completion: {words_of(payload)}")


def error_in(value: Any) -> bool:
    """Whether JSON that came in the place of a reply says that there is none."""
    if not isinstance(value, dict):
        return False
    if value.get("error") or value.get("object") == "error" or value.get("type") == "error":
        return True
    return "choices" not in value and any(name in value for name in ("error", "detail", "message"))


def is_overflow(value: Any) -> bool:
    """Whether a refusal says that the prompt does not fit the window."""
    return _OVERFLOWS.search(str(value)[:_MOST_SEARCHED]) is not None


_MOST_SEARCHED: Final = 16_384  # characters; refusals are short, and some repeat the request


def unknown_fields(message: str, sent: Collection[str]) -> frozenset[str]:
    """Those of the fields that a refusal names as ones that the server does not take.

    Args:
        message: The server's words.
        sent: Names of fields that the request holds and can do without.
    """
    if not _UNKNOWN.search(message):
        return frozenset()
    return frozenset(
        name for name in sent if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message)
    )


def words_of(value: Any) -> str:
    """The server's words, at most 500 characters, whatever shape they come in."""
    return " ".join(_said(_json_or_text(value)).split())[:_LONGEST] or "no message"


def _json_or_text(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return read_json(value)
    except (ValueError, ModelResponseTooLargeError):
        return _text_of(value)


def _said(value: Any) -> str:
    """The sentence in a refusal: the innermost of the members that hold one."""
    if isinstance(value, list) and value:
        return "; ".join(map(_said, value[:5]))
    if not isinstance(value, dict):
        return "" if value is None else str(value)
    for name in ("error", "detail", "message", "msg", "errors"):
        if value.get(name):
            said = _said(value[name])
            place = value.get("loc")  # FastAPI says apart which field it is about
            return f"{'.'.join(map(str, place))}: {said}" if isinstance(place, list) else said
    return str(value)


def _text_of(content: bytes) -> str:
    """The text of an answer that is not JSON; of a web page, what a person would see of it."""
    text = content.decode("utf-8", "replace")
    if not text.lstrip().startswith("<"):
        return text
    seen = unescape(re.sub(r"<[^<>]*>", " ", text[:8192]))
    return f"a web page, not a model server's JSON: {' '.join(seen.split())[:200]}"


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
