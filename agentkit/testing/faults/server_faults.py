"""Faults of a server and of the wire to it: what goes wrong after the model has spoken."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from agentkit.testing.faults.delivery import Delivery, End
from agentkit.testing.faults.fault import ChangeDelivery, Fault

_PAGE: Final = b"<html><head><title>502</title></head><body><h1>Bad Gateway</h1></body></html>"
_HTML: Final = {"content-type": "text/html"}
_JSON: Final = {"content-type": "application/json"}
_OVERFLOW: Final = (
    "This model's maximum context length is 8192 tokens. However, your prompt contains at least "
    "8193 input tokens, which exceeds this limit even without any output tokens. Please reduce the "
    "length of the input prompt. (parameter=input_tokens, value=8193)"
)
_NO_PARSER: Final = (
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
)


def _cut(end: End) -> ChangeDelivery:
    """Cuts the body somewhere in the middle: never before its first byte, never after its last."""

    def change(delivery: Delivery, place: float) -> Delivery:
        return delivery.cut(1 + int(place * (delivery.size - 2)), end)

    return change


def _instead(delivery: Delivery) -> ChangeDelivery:
    """Something else altogether."""
    return lambda _reply, _place: delivery


def _nothing(end: End, *, down: float = 0.0) -> ChangeDelivery:
    """Not even a status line."""
    return _instead(Delivery(status=None, end=end, down=down))


def _status(status: int, message: str, headers: Mapping[str, str] | None = None) -> ChangeDelivery:
    error = {"message": message, "type": "Error", "param": None, "code": status}
    body = json.dumps({"error": error}).encode()
    return _instead(Delivery((body,), status, {**_JSON, **(headers or {})}))


def _busy(retry_after: str) -> ChangeDelivery:
    return _status(429, "too many requests", {"retry-after": retry_after})


def _page(status: int) -> ChangeDelivery:
    return _instead(Delivery((_PAGE,), status, _HTML))


def _insert(*events: bytes, end: End | None = None) -> ChangeDelivery:
    """Puts events between two of the middle; with an end, nothing of the reply follows them."""

    def change(delivery: Delivery, place: float) -> Delivery:
        at = int(place * len(delivery.body))
        rest = () if end else delivery.body[at:]
        return replace(delivery, body=(*delivery.body[:at], *events, *rest), end=end or "complete")

    return change


def _rewrite(pattern: bytes, by: bytes) -> ChangeDelivery:
    def change(delivery: Delivery, _place: float) -> Delivery:
        pieces = (re.sub(pattern, by, piece) for piece in delivery.body)
        return replace(delivery, body=tuple(filter(None, pieces)))

    return change


def _crumbs(delivery: Delivery, _place: float) -> Delivery:
    whole = b"".join(delivery.body)
    return replace(delivery, body=tuple(whole[i : i + 1] for i in range(len(whole))))


def _slowly(delivery: Delivery, _place: float) -> Delivery:
    return replace(delivery, pause=0.02)


_ERROR_EVENT: Final = (
    b'data: {"error": {"message": "engine died", "type": "InternalServerError", "code": 500}}\n\n'
)

SERVER_FAULTS: Final = (
    Fault(
        "overflow", "400: the prompt is longer than the window", delivery=_status(400, _OVERFLOW)
    ),
    Fault("wrong_key", "401: the API key is refused", delivery=_status(401, "Unauthorized")),
    Fault("no_tool_parser", "400: started without tool calling", delivery=_status(400, _NO_PARSER)),
    Fault("busy", "429 with Retry-After: 1", delivery=_busy("1")),
    Fault("busy_bad_header", "429 with Retry-After: soon", delivery=_busy("soon")),
    Fault("busy_negative_header", "429 with Retry-After: -5", delivery=_busy("-5")),
    Fault("busy_huge_header", "429 with Retry-After: 86400", delivery=_busy("86400")),
    Fault("internal_error", "500 in vLLM's JSON", delivery=_status(500, "engine died")),
    Fault("bad_gateway", "502 with a proxy's HTML page", delivery=_page(502)),
    Fault("unavailable", "503: the queue is full", delivery=_status(503, "queue is full")),
    Fault("html_page", "200 with a proxy's HTML page", delivery=_page(200)),
    Fault("reset_at_once", "Connection reset before a status line", delivery=_nothing("reset")),
    Fault("closed_at_once", "Connection closed before a status line", delivery=_nothing("close")),
    Fault("silent", "The request is taken and never answered", delivery=_nothing("stall")),
    Fault("reset_mid_reply", "Connection reset in the middle of the body", delivery=_cut("reset")),
    Fault("closed_mid_reply", "Connection closed in the middle", delivery=_cut("close")),
    Fault("ends_early", "The body ends cleanly, half said", delivery=_cut("complete")),
    Fault("stalls", "Half the body, then silence on an open line", delivery=_cut("stall")),
    Fault(
        "only_pings",
        "Half the events, then only keep-alive comments",
        delivery=_insert(b": ping\n\n", end="pings"),
    ),
    Fault(
        "restart",
        "Reset, then connections are refused for half a second",
        delivery=_nothing("restart", down=0.5),
    ),
    Fault(
        "error_event",
        "An error event in the stream, and its end",
        delivery=_insert(_ERROR_EVENT, b"data: [DONE]\n\n", end="complete"),
    ),
    Fault(
        "bad_json",
        "An event whose data is broken JSON",
        delivery=_insert(b'data: {"choices": [{"del\n\n'),
    ),
    Fault(
        "noise",
        "Bytes that are neither UTF-8 nor an event, then the end",
        delivery=_insert(b"\x00\xff\xfe garbage \x80\n\n", end="complete"),
    ),
    Fault(
        "other_json",
        "JSON that is no chat completion",
        delivery=_instead(Delivery((b'data: {"hello": "world"}\n\n',))),
    ),
    Fault("no_done", "The final [DONE] is missing", delivery=_rewrite(rb"data: \[DONE\]\n\n", b"")),
    Fault(
        "pinged", "Keep-alive comments between events", delivery=_insert(b": ping\n\n", b":\n\n")
    ),
    Fault("crlf", "Lines end with CR LF", delivery=_rewrite(rb"\n", b"\r\n")),
    Fault("crumbs", "The body comes byte by byte", delivery=_crumbs),
    Fault("slow", "Each piece of the body comes late", delivery=_slowly),
)
