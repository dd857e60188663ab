"""More servers with a fault in them, before the server made of plain functions only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeAlias

from tests.serving.doctor.planted import (
    CHAT,
    Change,
    Json,
    Planted,
    message_of,
    version_of,
    window_of,
    without_request,
    without_usage,
)

Messages: TypeAlias = Callable[[list[Json]], list[Json]]


def _messages(change: Messages) -> Change:
    return lambda path, body: (
        body | {"messages": change(body["messages"])} if path == CHAT else body
    )


def _as_users(messages: list[Json]) -> list[Json]:
    return [m | ({"role": "user"} if m["role"] == "tool" else {}) for m in messages]


def _only_texts(messages: list[Json]) -> list[Json]:
    texts = [m for m in messages if m["role"] != "tool"]
    return [{"role": m["role"], "content": m.get("content") or ""} for m in texts]


def _lowered(messages: list[Json]) -> list[Json]:
    return [
        m | ({"content": m["content"].lower()} if isinstance(m.get("content"), str) else {})
        for m in messages
    ]


def _hides(*paths: str) -> Callable[[str, Json], str | None]:
    return lambda path, _body: "no such path" if path in paths else None


def _card(**changed: object) -> Change:
    """What the list of models says; None is left out."""

    def change(path: str, reply: Json) -> Json:
        for card in (reply.get("data") or ()) if path == "/v1/models" else ():
            for name, value in changed.items():
                card.pop(name, None)
                card |= {} if value is None else {name: value}
        return reply

    return change


def _function(change: Callable[[Json], Json]) -> Change:
    """What is said of each call."""

    def of_all(_path: str, reply: Json) -> Json:
        for call in message_of(reply).get("tool_calls") or ():
            call["function"] |= change(call["function"])
        return reply

    return of_all


def _prefixed(function: Json) -> Json:
    return {"name": f"functions.{function['name']}"} if function.get("name") else {}


def _other_city(function: Json) -> Json:
    return {"arguments": (function.get("arguments") or "").replace("Turin", "Rome")}


def _counted_more(_path: str, reply: Json) -> Json:
    if usage := reply.get("usage"):
        usage["prompt_tokens"] = usage.get("prompt_tokens", 0) + 7
    return reply


def _never_cached(_path: str, reply: Json) -> Json:
    if (usage := reply.get("usage") or {}).get("prompt_tokens_details"):
        usage["prompt_tokens_details"] = {"cached_tokens": 0}
    return reply


def _without_role(role: str) -> Messages:
    return lambda messages: [m for m in messages if m["role"] != role]


def _system_as_user(messages: list[Json]) -> list[Json]:
    return [m | ({"role": "user"} if m["role"] == "system" else {}) for m in messages]


def _shortened(role: str, most: int) -> Messages:
    return lambda messages: [
        m | ({"content": m["content"][:most]} if m["role"] == role else {}) for m in messages
    ]


def _replaced(pattern: str, by: str) -> Messages:
    return lambda messages: [
        m | ({"content": re.sub(pattern, by, m["content"])} if m.get("content") else {})
        for m in messages
    ]


def _without_arguments(messages: list[Json]) -> list[Json]:
    copied: list[Json] = json.loads(json.dumps(messages))
    for message in copied:
        for call in message.get("tool_calls") or ():
            call["function"]["arguments"] = "{}"
    return copied


def _five_tools(path: str, body: Json) -> Json:
    return body | {"tools": body["tools"][:5]} if path == CHAT and body.get("tools") else body


def _short_descriptions(path: str, body: Json) -> Json:
    tools: list[Json] = json.loads(json.dumps(body.get("tools") or []))
    for tool in tools if path == CHAT else ():
        tool["function"]["description"] = tool["function"]["description"][:1024]
    return body | ({"tools": tools} if tools else {})


def _filtered(_path: str, reply: Json) -> Json:
    message = message_of(reply)
    if message.get("content"):
        message["content"] = message["content"].replace("three", "*****")
    return reply


def _with_stop_token(_path: str, reply: Json) -> Json:
    """A whole reply whose text shows the token that ended it."""
    choices = reply.get("choices") or [{}]
    if (choices[0].get("message") or {}).get("content"):
        choices[0]["message"]["content"] += "<turn|>"
    return reply


def _without_prompt_ids(_path: str, reply: Json) -> Json:
    reply.pop("prompt_token_ids", None)
    return reply


def _without_thought(_path: str, reply: Json) -> Json:
    message_of(reply).pop("reasoning", None)
    return reply


def _warns(*probes: str) -> frozenset[str]:
    return frozenset(probes)


FURTHER = (
    Planted(
        "results of tools as words of the user",
        frozenset({"arrival"}),
        "no rewriting of `messages`",
        request=_messages(_as_users),
    ),
    Planted(
        "calls and results cut from history",
        frozenset({"arrival"}),
        "results of tools",
        request=_messages(_only_texts),
    ),
    Planted(
        "only the last message passed on",
        frozenset({"arrival"}),
        "what the user says",
        request=_messages(lambda messages: messages[-1:]),
    ),
    Planted(
        "texts that are rewritten",
        frozenset({"arrival"}),
        "no rewriting of `messages`",
        request=_messages(_lowered),
    ),
    *(
        Planted(
            f"{name}, and no tokens of prompts",
            frozenset({"arrival"}),
            told,
            request=request,
            reply=_without_prompt_ids,
        )
        for name, told, request in (
            ("instructions dropped", "instructions", _messages(_without_role("system"))),
            ("instructions shortened", "messages or tools", _messages(_shortened("system", 200))),
            ("arguments emptied", "arguments of calls", _messages(_without_arguments)),
            ("old messages dropped", "messages or tools", _messages(lambda ms: ms[-20:])),
            ("only some tools", "tools", _five_tools),
        )
    ),
    *(
        Planted(name, frozenset({"arrival"}), told, request=_messages(change))
        for name, told, change in (
            ("instructions dropped", "instructions", _without_role("system")),
            ("instructions as words of the user", "instructions", _system_as_user),
            ("old messages dropped", "earlier answers", lambda messages: messages[-20:]),
            ("instructions at the end", "in their order", lambda ms: [*ms[1:], *ms[:1]]),
            ("results beyond 4,000 characters cut", "results", _shortened("tool", 4000)),
            ("mail addresses masked", "what the user says", _replaced(r"\S+@\S+", "[EMAIL]")),
            ("white space tidied", "what the user says", _replaced(r"[ \t]{2,}", " ")),
            ("line ends changed", "results of tools", _replaced("\r\n", "\n")),
            ("tags unescaped", "instructions", _replaced("&amp;", "&")),
            ("accents composed", "instructions", _replaced("e\u0301", "\u00e9")),
            ("arguments of calls emptied", "arguments of calls", _without_arguments),
        )
    ),
    Planted("only some tools", frozenset({"arrival"}), "20 tools 5 reach", request=_five_tools),
    Planted(
        "descriptions of tools cut",
        frozenset({"arrival"}),
        "descriptions of tools",
        request=_short_descriptions,
    ),
    Planted(
        "a higher bound on max_tokens",
        frozenset({"reply length"}),
        "after 2048",
        request=lambda path, body: (
            body | {"max_tokens": min(body["max_tokens"], 2048)} if path == CHAT else body
        ),
    ),
    Planted(
        "no bound on replies",
        frozenset({"reply length"}),
        "has no bound",
        request=without_request("max_tokens"),
    ),
    Planted(
        "a low temperature of the server's own",
        frozenset(),
        "a narrower one than Gemma's",
        request=lambda path, body: {"temperature": 0.2} | body if path == CHAT else body,
        warned_by=_warns("own settings"),
    ),
    Planted(
        "one temperature for all",
        frozenset({"settings"}),
        "`temperature` of a request",
        request=without_request("temperature"),
    ),
    Planted(
        "stop texts dropped",
        frozenset({"settings"}),
        "`stop` of a request",
        request=without_request("stop"),
    ),
    Planted(
        "words filtered from replies",
        frozenset({"texts"}),
        "no filter of what is said",
        reply=_filtered,
    ),
    Planted(
        "stop tokens left in texts",
        frozenset({"texts"}),
        "no filter of what is said",
        reply=_with_stop_token,
    ),
    Planted(
        "thoughts cut from replies",
        frozenset({"reasoning parser"}),
        "does not come back",
        reply=_without_thought,
    ),
    Planted(
        "requests of more than 1 MiB refused",
        frozenset({"large requests"}),
        "client_max_body_size",
        most_bytes=1_048_576,
    ),
    Planted(
        "a hidden /tokenize",
        frozenset(),
        "a proxy before it hides these paths",
        refuses=_hides("/tokenize"),
        warned_by=_warns("chat template", "token counts", "control tokens"),
    ),
    Planted(
        "a hidden /detokenize",
        frozenset({"own tokens"}),
        "a proxy before it hides these paths",
        refuses=_hides("/detokenize"),
        warned_by=_warns("chat template", "token counts"),
    ),
    Planted(
        "a hidden /version",
        frozenset(),
        "reach vLLM itself",
        refuses=_hides("/version"),
        warned_by=_warns("version"),
    ),
    Planted(
        "a name that says nothing",
        frozenset(),
        "--served-model-name",
        reply=_card(id="default"),
        warned_by=_warns("model"),
    ),
    Planted(
        "a list of models without windows",
        frozenset(),
        "max_model_len",
        reply=_card(max_model_len=None),
        warned_by=_warns("window"),
    ),
    Planted(
        "a window beyond the model's",
        frozenset(),
        "--max-model-len 262144",
        reply=window_of(1_000_000),
        warned_by=_warns("window"),
    ),
    Planted(
        "a window that is soon full",
        frozenset(),
        "--max-model-len",
        reply=window_of(8_192),
        warned_by=_warns("window"),
    ),
    Planted(
        "another family of model",
        frozenset(),
        "agentkit serve google/gemma-4",
        reply=_card(id="Qwen/Qwen3-8B"),
        warned_by=_warns("model", "control"),
    ),
    Planted(
        "arguments that come back changed",
        frozenset({"tool parser"}),
        "Rome",
        reply=_function(_other_city),
    ),
    Planted(
        "names of tools with a prefix",
        frozenset({"tool parser"}),
        "functions.report_weather",
        reply=_function(_prefixed),
        warned_by=_warns("control"),
    ),
    Planted(
        "a proxy that drops tools",
        frozenset({"token counts", "cut replies", "arrival"}),
        "changes requests",
        request=without_request("tools", "tool_choice"),
        warned_by=_warns("control", "several calls"),
    ),
    Planted(
        "prompts counted wrongly",
        frozenset({"token counts"}),
        "counted differently",
        reply=_counted_more,
    ),
    Planted(
        "a proxy that drops the counts of tokens",
        frozenset({"token counts", "own tokens", "cut replies"}),
        "no proxy may drop `usage`",
        reply=without_usage("prompt_tokens", "completion_tokens", "total_tokens"),
        warned_by=_warns("thinking switch"),
    ),
    Planted(
        "a cache that no prompt comes from",
        frozenset({"prefix cache"}),
        "--enable-prefix-caching",
        reply=_never_cached,
    ),
    Planted(
        "a proxy that does not ask for token ids",
        frozenset({"own tokens"}),
        "requests and replies as they are",
        request=without_request("return_token_ids"),
    ),
    Planted(
        "a proxy that drops biases",
        frozenset(),
        "no such token came",
        request=without_request("logit_bias"),
        warned_by=_warns("stop tokens"),
    ),
    Planted(
        "a vLLM that nobody has tested",
        frozenset(),
        "newer than",
        reply=version_of("9.1.0"),
        warned_by=_warns("version"),
    ),
    *(
        Planted(
            f"a vLLM that calls itself {version}",
            frozenset(),
            "no release",
            reply=version_of(version),
            warned_by=_warns("version"),
        )
        for version in ("dev", "0.1.dev9500+g1a2b3c4", "0.10.dev3", "unknown")
    ),
    Planted(
        "a queue that is full every other time",
        frozenset(),
        "limit of rate",
        busy_every=2,
        warned_by=_warns("steadiness"),
    ),
    Planted(
        "requests of more than 16 KiB refused",
        frozenset({"large requests"}),
        "client_max_body_size",
        most_bytes=16_384,
    ),
)
"""Each with the probes that fail of it."""
