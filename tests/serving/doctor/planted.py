"""Servers with a fault in them: what a proxy changes on the way to and from a good one.

The same table serves the unit tests, before a server made of plain functions, and the live tests,
before a real vLLM.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[str, Json], Json]
"""Path and body → the body to pass on."""

CHAT = "/v1/chat/completions"


def _same(_path: str, body: Json) -> Json:
    return body


@dataclass(frozen=True)
class Planted:
    """A fault.

    Attributes:
        name: What is wrong.
        found_by: The probes that fail of it, and no others.
        told: What must stand in what they say or advise.
        request: What becomes of a request.
        reply: What becomes of a reply, and of each event of a stream.
        refuses: The message of a 400 that answers a request, if it is refused.
        buffers: Whether streams are held back until their end.
        most_bytes: Of a request.
        busy_every: Each so manyth chat request is answered 503.
        warned_by: The probes that warn of it.
    """

    name: str
    found_by: frozenset[str]
    told: str
    request: Change = _same
    reply: Change = _same
    refuses: Callable[[str, Json], str | None] = lambda _path, _body: None
    buffers: bool = False
    most_bytes: int = 1 << 30
    busy_every: int = 0
    warned_by: frozenset[str] = frozenset()


def _refuses_tools(_path: str, body: Json) -> str | None:
    if body.get("tools") and _path == CHAT:
        return (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        )
    return None


def message_of(reply: Json) -> Json:
    choices = reply.get("choices") or [{}]
    found: Json = choices[0].get("message") or choices[0].get("delta") or {}
    return found


def _calls_as_text(_path: str, reply: Json) -> Json:
    message = message_of(reply)
    for call in message.pop("tool_calls", None) or ():
        function = call["function"]
        text = f"<|tool_call>call:{function.get('name', '')}{{{function.get('arguments', '')}}}"
        message["content"] = (message.get("content") or "") + text
    return reply


def _thoughts_as_text(_path: str, reply: Json) -> Json:
    message = message_of(reply)
    if thought := message.pop("reasoning", None):
        message["content"] = f"thought\n{thought}{message.get('content') or ''}"
    return reply


def _april_prompts(path: str, reply: Json) -> Json:
    if path == "/detokenize" and "declaration:probe" in reply.get("prompt", ""):
        told = reply["prompt"].replace("flag:null", "flag:None")
        reply["prompt"] = told.replace("A name of JSON Schema itself.", "")
    return reply


def without_usage(*names: str) -> Change:
    def change(_path: str, reply: Json) -> Json:
        for name in names:
            (reply.get("usage") or {}).pop(name, None)
        return reply

    return change


def _without_ids(_path: str, reply: Json) -> Json:
    for choice in reply.get("choices") or ():
        choice.pop("token_ids", None)
    return reply


def without_request(*names: str) -> Change:
    def change(path: str, body: Json) -> Json:
        return {k: v for k, v in body.items() if path != CHAT or k not in names}

    return change


def _salted(path: str, body: Json) -> Json:
    return body | ({"cache_salt": secrets.token_hex()} if path == CHAT else {})


def _never_ending(path: str, body: Json) -> Json:
    body = {k: v for k, v in body.items() if k != "stop_token_ids"}
    return body | ({"ignore_eos": True} if path == CHAT else {})


def _another_system(path: str, body: Json) -> Json:
    if path != CHAT:
        return body
    told = {"role": "system", "content": "You are the assistant of Example Corporation."}
    return body | {"messages": [told, *body["messages"]]}


def window_of(tokens: int) -> Change:
    def change(path: str, reply: Json) -> Json:
        for card in (reply.get("data") or ()) if path == "/v1/models" else ():
            card["max_model_len"] = tokens
        return reply

    return change


def version_of(version: str) -> Change:
    def change(path: str, reply: Json) -> Json:
        return {"version": version} if path == "/version" else reply

    return change


def _always_finished(_path: str, reply: Json) -> Json:
    reply.pop("usage", None)
    for choice in reply.get("choices") or ():
        choice.pop("token_ids", None)
        if choice.get("finish_reason") == "length":
            choice["finish_reason"] = "stop"
    return reply


def _shuffled(path: str, body: Json) -> Json:
    tools = body.get("tools")
    return body | {"tools": list(reversed(tools))} if tools and path == CHAT else body


def _clamped(path: str, body: Json) -> Json:
    most = min(body.get("max_tokens", 256), 256)
    return body | {"max_tokens": most} if path == CHAT else body


def _without_thoughts(path: str, body: Json) -> Json:
    kept = [
        {k: v for k, v in message.items() if k != "reasoning"}
        for message in body.get("messages") or ()
    ]
    return body | {"messages": kept} if path == CHAT else body


def _short_results(path: str, body: Json) -> Json:
    kept = [
        message | {"content": message["content"][:64]} if message["role"] == "tool" else message
        for message in body.get("messages") or ()
    ]
    return body | {"messages": kept} if path == CHAT else body


def _truncating(path: str, body: Json) -> Json:
    return body | ({"truncate_prompt_tokens": 128} if path == CHAT else {})


def _first_call_only(_path: str, reply: Json) -> Json:
    message = message_of(reply)
    if len(message.get("tool_calls") or ()) > 1:
        message["tool_calls"] = message["tool_calls"][:1]
    elif any(call.get("index", 0) > 0 for call in message.get("tool_calls") or ()):
        del message["tool_calls"]
    return reply


def _own_sampling_lost(path: str, body: Json) -> Json:
    return {"temperature": 1.0, "top_p": 1.0, "top_k": 0} | body if path == CHAT else body


def _own_ends_lost(path: str, body: Json) -> Json:
    """vLLM that is told to ignore them looks at no ends but those of the request."""
    return body | ({"ignore_eos": True} if path == CHAT and "stop_token_ids" not in body else {})


def _refuses_structures(path: str, body: Json) -> str | None:
    if path == CHAT and "structural_tag" in (body.get("structured_outputs") or {}):
        return "Failed to convert the grammar from JSON: structural tags are not supported"
    return None


def _refuses_unknown(path: str, body: Json) -> str | None:
    if path == CHAT and (unknown := {"structured_outputs"} & set(body)):
        return f"Unexpected fields in the request: {unknown}"  # in the words of transformers serve
    return None


PLANTED = (
    Planted(
        "no tool parser",
        frozenset({"tool parser"}),
        "--tool-call-parser gemma4",
        refuses=_refuses_tools,
    ),
    Planted(
        "no reasoning parser",
        frozenset({"reasoning parser"}),
        "--reasoning-parser gemma4",
        reply=_thoughts_as_text,
    ),
    Planted(
        "April's template", frozenset({"chat template"}), "--chat-template", reply=_april_prompts
    ),
    Planted(
        "no details of prompt tokens",
        frozenset({"prefix cache"}),
        "--enable-prompt-tokens-details",
        reply=without_usage("prompt_tokens_details"),
    ),
    Planted("no prefix cache", frozenset({"prefix cache"}), "prefix-caching", request=_salted),
    Planted("a tiny window", frozenset({"window"}), "--max-model-len", reply=window_of(2048)),
    Planted(
        "a proxy that drops the grammar",
        frozenset({"grammar"}),
        "structured_outputs",
        request=without_request("structured_outputs"),
    ),
    Planted("a proxy that buffers", frozenset({"streaming"}), "buffering", buffers=True),
    Planted(
        "another model's tool parser",
        frozenset({"tool parser"}),
        "--tool-call-parser gemma4",
        reply=_calls_as_text,
    ),
    Planted("an old vLLM", frozenset({"version"}), "0.24", reply=version_of("0.20.1")),
    Planted(
        "a proxy that drops token ids",
        frozenset({"own tokens"}),
        "requests and replies as they are",
        reply=_without_ids,
    ),
    Planted(
        "a proxy that drops stream options",
        frozenset({"streaming"}),
        "stream_options",
        request=without_request("stream_options"),
    ),
    Planted(
        "stop tokens forgotten",
        frozenset({"stop tokens", "own settings"}),
        "stop_token_ids",
        request=_never_ending,
    ),
    Planted(
        "a proxy with a system prompt of its own",
        frozenset({"token counts"}),
        "changes requests",
        request=_another_system,
    ),
    Planted(
        "replies that never say they were cut",
        frozenset({"cut replies", "own tokens", "token counts", "streaming", "prefix cache"}),
        "finish_reason",
        reply=_always_finished,
    ),
    Planted(
        "tools in another order",
        frozenset({"arrival"}),
        "in the order in which they are sent",
        request=_shuffled,
    ),
    Planted("a bound on max_tokens", frozenset({"reply length"}), "max_tokens", request=_clamped),
    Planted(
        "a proxy that drops template arguments",
        frozenset({"thinking switch"}),
        "chat_template_kwargs",
        request=without_request("chat_template_kwargs"),
    ),
    Planted(
        "thoughts cut from history",
        frozenset({"arrival"}),
        "reasoning between calls",
        request=_without_thoughts,
    ),
    Planted(
        "results cut in history", frozenset({"arrival"}), "results of tools", request=_short_results
    ),
    Planted(
        "a prompt that is truncated",
        frozenset({"arrival", "token counts"}),
        "truncate_prompt_tokens",
        request=_truncating,
    ),
    Planted(
        "only the first of several calls",
        frozenset({"several calls"}),
        "parallel_tool_calls",
        reply=_first_call_only,
    ),
    Planted(
        "large requests refused",
        frozenset({"large requests"}),
        "client_max_body_size",
        most_bytes=65_536,
    ),
    Planted(
        "the generation config not read",
        frozenset({"own settings"}),
        "--generation-config auto",
        request=_own_ends_lost,
    ),
    Planted(
        "another sampling than the checkpoint's",
        frozenset({"own settings"}),
        "--generation-config auto",
        request=_own_sampling_lost,
    ),
    Planted(
        "a backend without structural tags",
        frozenset({"grammar"}),
        "--structured-outputs-config.backend xgrammar",
        refuses=_refuses_structures,
    ),
    Planted(
        "a server that refuses what it does not know",
        frozenset({"grammar"}),
        "structured_outputs",
        refuses=_refuses_unknown,
        warned_by=frozenset({"fields", "control"}),
    ),
    Planted(
        "a queue that is full now and then",
        frozenset(),
        "503",
        busy_every=5,
        warned_by=frozenset({"steadiness"}),
    ),
)
"""Each with the probes that fail of it; the first eight are also planted in `make live`."""
