"""Every fault by name: what a small local model and its parser get wrong, and what goes wrong when
its reply is delivered.

In: a faultless reply. Out: a damaged one (faults of the model), or a damaged delivery of it (faults
of the server). A fault that needs a call leaves a reply without calls unchanged. The names are
stable, since tests and scripts of users contain them. A form that users have reported has the
report beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    QUOTE,
    TURN_CLOSE,
)
from agentkit.messages import JsonObject
from agentkit.testing.faults.served import (
    ChangeDelivery,
    ChangeReply,
    Damaged,
    Delivery,
    End,
    Fault,
    Served,
    ServedCall,
    native_call,
    plain,
    served,
)
from agentkit.testing.scripted import Reply

# --- of the model: ways to damage a reply --------------------------------------------------------


def _names(change: Callable[[str], str]) -> ChangeReply:
    return _each_call(lambda call: replace(call, name=change(call.name)))


def _arguments(change: Callable[[str], str | None]) -> ChangeReply:
    return _each_call(lambda call: replace(call, arguments=change(call.arguments or "{}")))


def _object(change: Callable[[JsonObject], Any]) -> ChangeReply:
    """Changes the arguments as a value; empty arguments stay empty."""

    def rewrite(text: str) -> str:
        value = json.loads(text)
        return json.dumps(change(value)) if value else text

    return _arguments(rewrite)


def _each_call(change: Callable[[ServedCall], ServedCall]) -> ChangeReply:
    return lambda reply: replace(reply, calls=tuple(map(change, reply.calls)))


_REASONING: Final = "The user asked, so I will answer."


def _says(reply: Served, text: str, **changes: Any) -> Served:
    """The reply as plain text instead of calls."""
    return replace(reply, text=text, calls=(), finish_reason="stop", **changes)


def _leaking(reply: Served, leaked: str) -> Served:
    """The model reasons, and the server shows some of that in front of the answer."""
    native = f"{CHANNEL_OPEN}thought\n{_REASONING}{CHANNEL_CLOSE}{plain(reply.text)}{TURN_CLOSE}"
    return replace(reply, text=leaked + reply.text, reasoning="", native=native)


def _if_calls(change: Callable[[Served], Served]) -> ChangeReply:
    return lambda reply: change(reply) if reply.calls else reply


def _if_text(change: Callable[[Served], Served]) -> ChangeReply:
    return lambda reply: change(reply) if reply.text and not reply.calls else reply


def _native_calls(reply: Served) -> str:
    return "".join(native_call(call) or "" for call in reply.calls)


# --- arguments -----------------------------------------------------------------------------------


def _garble(reply: Served) -> Served:
    """Garbles values as vLLM 0.32's parser does (vllm#51284).

    The model wrote a value between ordinary quotes: the client gets the quotes as part of the
    value, and the tokens show what was meant.
    """

    def quoted(value: Any) -> Any:
        return f'"{value}"' if isinstance(value, str) else [value]

    native = _native_calls(reply)
    garbled = _object(lambda a: {k: quoted(v) for k, v in a.items()})(reply)
    return replace(garbled, native=native) if garbled != reply else reply


def _first(change: Callable[[Any], Any]) -> Callable[[JsonObject], JsonObject]:
    """Changes the first argument's value."""

    def spoil(arguments: JsonObject) -> JsonObject:
        name, value = next(iter(arguments.items()))
        return arguments | {name: change(value)}

    return spoil


def _renamed(arguments: JsonObject) -> JsonObject:
    (name, value), *rest = arguments.items()
    return {f"{name}_value": value, **dict(rest)}


# --- cuts ----------------------------------------------------------------------------------------


def _cut_last(place: Callable[[ServedCall], tuple[ServedCall, str]]) -> ChangeReply:
    """Cuts the reply within its last call.

    Args:
        place: The whole call → the call that the server reports, and the piece of the call's native
            text after which the reply was cut. vLLM closes what was open, so the call looks whole.
    """

    def change(reply: Served) -> Served:
        *kept, last = reply.calls
        cut, end = place(last)
        text = native_call(last) or ""
        before = _native_calls(replace(reply, calls=tuple(kept)))
        native = before + text[: text.index(end) + len(end)]
        calls = (*kept, cut)
        return replace(reply, calls=calls, finish_reason="length", cut=True, native=native)

    return _if_calls(change)


def _in_name(call: ServedCall) -> tuple[ServedCall, str]:
    name = _half(call.name)
    return replace(call, name=name, arguments="{}"), f"call:{name}"


def _in_key(call: ServedCall) -> tuple[ServedCall, str]:
    *kept, (key, _) = _in_order(call)
    before = "," if kept else "{"
    return replace(call, arguments=json.dumps(dict(kept))), f"{before}{key[:-1]}"


def _in_string(call: ServedCall) -> tuple[ServedCall, str]:
    kept: JsonObject = {}
    for key, value in _in_order(call):
        if isinstance(value, str):
            kept[key] = value[: len(value) // 2]
            return replace(call, arguments=json.dumps(kept)), f"{key}:{QUOTE}{kept[key]}"
        kept[key] = value
    return _in_key(call)


def _left_open(call: ServedCall) -> tuple[ServedCall, str]:
    cut, end = _in_string(call)
    return replace(cut, arguments=(cut.arguments or "")[:-2]), end


def _in_order(call: ServedCall) -> list[tuple[str, Any]]:
    """The arguments in the order in which the model writes them: by name."""
    return sorted(json.loads(call.arguments or "{}").items(), key=lambda item: item[0].lower())


def _half(text: str) -> str:
    return text[: len(text) // 2].rstrip()


def _cut_reasoning(reply: Served) -> Served:
    reasoning = reply.reasoning or "The user wants to know something, so let me think about what"
    return Served(reasoning=reasoning, finish_reason="length", cut=True)


def _leaked_json(reply: Served) -> Served:
    call = reply.calls[0]
    body = {"name": call.name, "arguments": json.loads(call.arguments or "{}")}
    return _says(reply, f"```json\n{json.dumps(body)}\n```")


def _quoting(reply: Served) -> Served:
    return _says(
        reply, f"In Gemma's syntax a call looks like this:\n```\n{_native_calls(reply)}\n```"
    )


MODEL_FAULTS: Final = (
    # names
    Fault("unknown_tool", "Calls a tool that nobody offers", _names(lambda n: f"compute_{n}_v2")),
    Fault("misspelt_name", "Doubles a letter of the tool's name", _names(lambda n: n + n[-1])),
    Fault("tool_prefix", "`tool:NAME` (hermes-agent#24411)", _names(lambda n: f"tool:{n}")),
    Fault("google_prefix", "` google:tool:NAME`", _names(lambda n: f" google:tool:{n}")),
    Fault("functions_prefix", "`functions.NAME`", _names(lambda n: f"functions.{n}")),
    Fault("name_in_capitals", "`NAME` where the tool is `name`", _names(str.upper)),
    Fault(
        "camel_case_name",
        "`SearchText` for `search_text`",
        _names(lambda n: n.title().replace("_", "")),
    ),
    # arguments
    Fault(
        "broken_arguments",
        "JSON that stops in the middle, in a reply that is whole",
        _arguments(lambda t: t[: len(t) // 2]),
    ),
    Fault("single_quoted_arguments", "{'a': 1}", _arguments(lambda t: t.replace('"', "'"))),
    Fault(
        "fenced_arguments",
        "JSON in a Markdown code fence",
        _arguments(lambda t: f"```json\n{t}\n```"),
    ),
    Fault("double_encoded_arguments", "A JSON string that holds the JSON", _arguments(json.dumps)),
    Fault("empty_arguments", "No text at all", _arguments(lambda _: "")),
    Fault("null_arguments", "The JSON value null", _arguments(lambda _: "null")),
    Fault("absent_arguments", "The field `arguments` is null", _arguments(lambda _: None)),
    Fault(
        "list_arguments",
        "The values in a list, their names lost",
        _object(lambda a: list(a.values())),
    ),
    Fault("trailing_comma", '{"a": 1,}', _arguments(lambda t: re.sub(r"\}$", ",}", t))),
    Fault("nan_argument", "NaN, which is no JSON", _object(_first(lambda _: float("nan")))),
    Fault("wrong_type", "Words where a number belongs", _object(_first(lambda _: "a few"))),
    Fault(
        "number_as_text",
        '"3" where 3 belongs (vllm#47906)',
        _object(lambda a: {k: str(v) for k, v in a.items()}),
    ),
    Fault(
        "number_as_float",
        "3.0 where 3 belongs",
        _object(lambda a: {k: float(v) if isinstance(v, int) else v for k, v in a.items()}),
    ),
    Fault(
        "missing_argument",
        "The first argument is left out",
        _object(lambda a: dict(list(a.items())[1:])),
    ),
    Fault(
        "extra_argument",
        "An argument that the tool does not have",
        _object(lambda a: a | {"precision": "high"}),
    ),
    Fault("renamed_argument", "The first argument under another name", _object(_renamed)),
    Fault(
        "garbled_by_parser",
        "Right tokens, values garbled by the server's parser (vllm#51284)",
        _garble,
    ),
    # ids and repetition within a reply
    Fault("same_ids", "Every call has the same id", _each_call(lambda c: replace(c, id="call_1"))),
    Fault("no_ids", "No call has an id", _each_call(lambda c: replace(c, id=None))),
    Fault(
        "called_twice", "The same call twice in one reply", lambda r: replace(r, calls=r.calls * 2)
    ),
    Fault(
        "called_nine_times",
        "The same call nine times (lmstudio#1756)",
        lambda r: replace(r, calls=r.calls * 9),
    ),
    # leaks
    Fault(
        "leaked_call",
        "The native call as answer text",
        _if_calls(lambda r: _says(r, _native_calls(r))),
    ),
    Fault(
        "leaked_call_after_text",
        "Words, then the native call as text",
        _if_calls(lambda r: _says(r, f"Let me look. {_native_calls(r)}")),
    ),
    Fault(
        "leaked_bare_call",
        "The same, its control tokens stripped",
        _if_calls(
            lambda r: _says(
                r,
                _native_calls(r).replace(CALL_OPEN, "").replace(CALL_CLOSE, "").replace(QUOTE, '"'),
            )
        ),
    ),
    Fault("leaked_json_call", "A call as JSON in a code fence", _if_calls(_leaked_json)),
    Fault("quoted_call", "An answer that shows a call in a code fence", _if_calls(_quoting)),
    Fault(
        "leaked_thought",
        "The reasoning stands in the answer (vllm#39885)",
        _if_text(lambda r: _leaking(r, f"{CHANNEL_OPEN}thought\n{_REASONING}{CHANNEL_CLOSE}")),
    ),
    Fault(
        "leaked_thought_word",
        "`thought` and a line break before the answer",
        _if_text(lambda r: _leaking(r, "thought\n")),
    ),
    Fault(
        "text_and_call",
        "Words beside the call",
        _if_calls(lambda r: replace(r, text="I will look that up.")),
    ),
    # cuts
    Fault("cut_in_name", "max_tokens ran out in a call's name", _cut_last(_in_name)),
    Fault(
        "cut_in_key",
        "... in the name of an argument",
        _cut_last(_in_key),
    ),
    Fault(
        "cut_in_string",
        "... in a string: a call that looks whole (vllm#47963)",
        _cut_last(_in_string),
    ),
    Fault("cut_json", "... and the arguments are left open", _cut_last(_left_open)),
    Fault(
        "cut_in_text",
        "... in the answer",
        _if_text(lambda r: replace(r, text=_half(r.text), finish_reason="length", cut=True)),
    ),
    Fault("cut_in_thought", "... in the reasoning", _cut_reasoning),
    Fault(
        "cut_but_says_stop",
        "... in the answer, and the server says `stop`",
        _if_text(lambda r: replace(r, text=_half(r.text), cut=True)),
    ),
    Fault(
        "cut_but_says_tool_calls",
        "... in a call, and the server says `tool_calls` (vllm#53269)",
        lambda r: replace(_cut_last(_in_string)(r), finish_reason="tool_calls") if r.calls else r,
    ),
    # finish reasons that lie about whole replies
    Fault(
        "whole_but_says_length",
        "`length` for a reply that a stop token ended",
        lambda r: replace(r, finish_reason="length"),
    ),
    Fault(
        "says_tool_calls_without_calls",
        "`tool_calls` for plain text (vLLM, tool_choice=required)",
        _if_text(lambda r: replace(r, finish_reason="tool_calls")),
    ),
    Fault(
        "says_stop_with_calls",
        "`stop` for a call (vLLM, named tool_choice)",
        _if_calls(lambda r: replace(r, finish_reason="stop")),
    ),
    Fault(
        "repetition",
        "Stopped by the server for repeating itself",
        lambda _: Served(text="and so on " * 12, finish_reason="repetition"),
    ),
    # nothing said
    Fault("empty_reply", "Nothing at all", lambda _: Served()),
    Fault("blank_reply", "White space", lambda _: Served(text=" \n\n ")),
    Fault(
        "only_thought",
        "Reasoning and no answer (Rapid-MLX#569)",
        lambda r: Served(reasoning=r.reasoning or _REASONING),
    ),
    Fault(
        "swallowed_call",
        "`tool_calls` and neither call nor text",
        lambda _: Served(finish_reason="tool_calls"),
    ),
)


# --- of the server and the wire ------------------------------------------------------------------


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
    """Cuts the body: after its first byte at the earliest, and before its last at the latest."""

    def change(delivery: Delivery, place: float) -> Delivery:
        return delivery.cut(1 + int(place * (delivery.size - 2)), end)

    return change


def _instead(delivery: Delivery) -> ChangeDelivery:
    """Replaces any delivery by another."""
    return lambda _reply, _place: delivery


def _nothing(end: End, *, down: float = 0.0) -> ChangeDelivery:
    """Ends the connection without a status line."""
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
    """Inserts events between two others; with an `end`, the rest of the reply is dropped."""

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
    Fault(
        "crumbs",
        "The body comes byte by byte",
        delivery=lambda d, _place: replace(
            d, body=tuple(bytes([byte]) for byte in b"".join(d.body))
        ),
    ),
    Fault(
        "slow",
        "Each piece of the body comes late",
        delivery=lambda d, _place: replace(d, pause=0.02),
    ),
)


# --- all by name ---------------------------------------------------------------------------------


FAULTS: Mapping[str, Fault] = MappingProxyType({f.name: f for f in MODEL_FAULTS + SERVER_FAULTS})
"""Name → fault."""


def find_fault(fault: Fault | str) -> Fault:
    """The fault of that name; a fault is returned unchanged.

    Raises:
        ValueError: There is none; the message lists all names.
    """
    if isinstance(fault, Fault):
        return fault
    if fault not in FAULTS:
        raise ValueError(f"there is no fault {fault!r}; there are: {', '.join(FAULTS)}")
    return FAULTS[fault]


def damaged(reply: Reply | Served, *faults: Fault | str, at: float | None = None) -> Damaged:
    """A reply with faults: `damaged(call("add", a=1, b=2), "single_quoted_arguments")`.

    Args:
        reply: The reply without faults.
        faults: Faults, or their names, in the order in which they strike.
        at: Where in the body faults of the wire strike, 0 to 1; default: by the server's seed.

    Raises:
        ValueError: There is no fault of that name, or it does not change such a reply.
    """
    sound = served(reply) if isinstance(reply, Reply) else reply
    found = tuple(find_fault(fault) for fault in faults)
    for fault in found:
        if not fault.fits(sound):
            raise ValueError(f"the fault {fault.name!r} does not change such a reply")
    return Damaged(found, sound, at)
