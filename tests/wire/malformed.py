"""Replies that break the protocol in a way that was seen of a real server or gateway, and what each
is to come to: its text and calls where they are beyond doubt, else the server's own words.

The expected values are those of the person who wrote the case, not of the library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]

_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
A, B = {"city": "Oslo"}, {"city": "Lima"}
TEXT_A, TEXT_B = json.dumps(A), json.dumps(B)


@dataclass(frozen=True)
class Read:
    """What can be read is read."""

    text: str | None = None
    calls: tuple[tuple[str, Json], ...] = ()
    reasoning: str | None = None
    finish: str | None = None
    input_tokens: int | None = None


@dataclass(frozen=True)
class Refused:
    """What cannot be read ends at once, in the server's words."""

    words: str


@dataclass(frozen=True)
class Case:
    """One reply.

    Attributes:
        name: What is wrong with it.
        body: As it comes.
        right: What is to come of it.
        kind: Its content type.
        status: Its HTTP status.
    """

    name: str
    body: bytes
    right: Read | Refused
    kind: str = _EVENTS
    status: int = 200


def event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def delta(finish: str | None = None, index: object = 0, **fields: Any) -> Json:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def stream(*chunks: object, done: bool = True) -> bytes:
    return b"".join(map(event, chunks)) + (b"data: [DONE]\n\n" if done else b"")


def piece(
    arguments: object = None, name: str | None = None, index: object = ..., id_: str | None = None
) -> Json:
    function: Json = {}
    if name is not None:
        function["name"] = name
    if arguments is not None:
        function["arguments"] = arguments
    made: Json = {"function": function, "type": "function"}
    if index is not ...:
        made["index"] = index
    if id_ is not None:
        made["id"] = id_
    return made


def calling(*pieces: Json) -> bytes:
    return stream(*(delta(tool_calls=[p]) for p in pieces), delta("tool_calls"))


def whole(message: Json, finish: object = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice], **more}).encode()


END = delta("tool_calls")
ONE = Read(calls=(("look", A),), finish="tool_calls")
TWO = Read(calls=(("look", A), ("look", B)), finish="tool_calls")
MIXED = Read(calls=(("look", A), ("wipe", {})), finish="tool_calls")
HI = Read("Hi there")


def _shapes() -> Iterator[Case]:
    yield Case("whole JSON for a stream", whole({"content": "Hi there"}), HI, _JSON)
    yield Case("whole JSON called a stream", whole({"content": "Hi there"}), HI)
    yield Case("whole JSON without a type", whole({"content": "Hi there"}), HI, "")
    yield Case(
        "whole JSON after blank lines", b"\r\n\n" + whole({"content": "Hi there"}), HI, _JSON
    )
    yield Case("a stream called JSON", stream(delta(content="Hi there"), delta("stop")), HI, _JSON)
    yield Case(
        "a stream called text", stream(delta(content="Hi there"), delta("stop")), HI, "text/plain"
    )
    yield Case("no end mark", stream(delta(content="Hi there"), delta("stop"), done=False), HI)
    yield Case(
        "the last event without its blank line",
        stream(delta(content="Hi there"), done=False)
        + b"data: "
        + json.dumps(delta("stop")).encode(),
        HI,
    )
    lines = [delta(content="Hi "), delta(content="there"), delta("stop")]
    yield Case(
        "events that end with one line end",
        b"".join(b"data: " + json.dumps(line).encode() + b"\n" for line in lines) + b"\n",
        HI,
    )
    yield Case(
        "events that end with one line end, and no blank line at all",
        b"".join(b"data: " + json.dumps(line).encode() + b"\n" for line in lines)
        + b"data: [DONE]\n",
        HI,
    )
    yield Case(
        "the whole message once more at the end of a stream",
        stream(lines[0], lines[1]) + event(json.loads(whole({"content": "Hi there"}))),
        HI,
    )
    halves = [delta(content="\ud83d"), delta(content="\ude00"), delta("stop")]
    yield Case("a character cut into two events", stream(*halves), Read("\U0001f600"))
    yield Case(
        "no space after data:",
        b"".join(b"data:" + json.dumps(line).encode() + b"\r\n\r\n" for line in lines),
        HI,
    )
    yield Case("a mark of byte order", b"\xef\xbb\xbf" + stream(*lines), HI)
    yield Case("event names", b"event: message\n" + stream(*lines), HI)
    yield Case("empty data", b"data:\n\ndata: \n\n" + stream(*lines), HI)
    for name, ping in {
        "pings": {"type": "ping"},
        "an empty object": {},
        "a role alone": delta(role="assistant"),
        "a null delta": {"choices": [{"index": 0, "delta": None}]},
        "no choices": {"choices": []},
        "null choices": {"choices": None},
        "filter results first": {"choices": [], "prompt_filter_results": [{"index": 0}]},
    }.items():
        yield Case(f"{name} between events", stream(lines[0], ping, lines[1], ping, lines[2]), HI)
        yield Case(f"{name} first", stream(ping, *lines), HI)
    yield Case("a message in a stream", event(json.loads(whole({"content": "Hi there"}))), HI)


def _values() -> Iterator[Case]:
    parts = [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]
    yield Case("content as a list", whole({"content": parts}), HI, _JSON)
    yield Case("content as a list, streamed", stream(delta(content=parts), delta("stop")), HI)
    yield Case("content as a list of texts", whole({"content": ["Hi ", "there"]}), HI, _JSON)
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, *parts]
    thought = Read("Hi there", reasoning="Hm.")
    yield Case("a thought among the parts", whole({"content": thinking}), thought, _JSON)
    for name in ("reasoning", "reasoning_content"):
        yield Case(
            f"a thought as {name}", whole({"content": "Hi there", name: "Hm."}), thought, _JSON
        )
    for name, count in {"a float": 12.0, "a text": "12", "a float as text": "12.0"}.items():
        counted = {"prompt_tokens": count, "completion_tokens": count}
        yield Case(
            f"usage as {name}",
            whole({"content": "Hi there"}, usage=counted),
            Read("Hi there", input_tokens=12),
            _JSON,
        )
    odd: tuple[object, ...] = (
        [],
        "free",
        5,
        {"prompt_tokens": {}},
        {"prompt_tokens": -1},
        {"prompt_tokens": "n/a"},
        {"prompt_tokens": True, "prompt_tokens_details": 5},
    )
    for usage in odd:
        yield Case(f"usage {usage!r}", whole({"content": "Hi there"}, usage=usage), HI, _JSON)
    for finish, meant in {
        "eos": "stop",
        "eos_token": "stop",
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "MAX_TOKENS": "length",
        "model_length": "length",
        "SAFETY": "content_filter",
        "guardrail_intervened": "content_filter",
        "RECITATION": "content_filter",
        "refusal": "content_filter",
        "LENGTH": "length",
        "ERROR_TOXIC": "content_filter",
        "ERROR_LIMIT": "length",
        "maxTokens": "length",
        "contentFilter": "content_filter",
        "MALFORMED_FUNCTION_CALL": "malformed_call",
    }.items():
        yield Case(
            f"finish reason {finish}",
            whole({"content": "Hi there"}, finish),
            Read("Hi there", finish=meant),
            _JSON,
        )
    call = [{"id": "x", "type": "function", "function": {"name": "look", "arguments": A}}]
    yield Case("arguments as an object", whole({"content": None, "tool_calls": call}), ONE, _JSON)
    for kind, named in {
        "tool_use": "input",
        "tool_call": "args",
        "function_call": "arguments",
    }.items():
        among = [{"type": kind, "id": "x", "name": "look", named: A}]
        yield Case(f"a call as a part {kind}", whole({"content": among}, "tool_use"), ONE, _JSON)
        yield Case(
            f"a call as a part {kind}, streamed",
            stream(delta(content=among), delta("tool_use")),
            ONE,
        )
    yield Case("arguments as an object, streamed", calling(piece(A, "look", 0, "x")), ONE)
    nothing: dict[str, Any] = {"null": None, "empty": "", "an empty object": {}}
    for name, empty in nothing.items():
        made = [{"id": "x", "function": {"name": "look", "arguments": empty}}]
        right = Read(calls=(("look", {}),))
        yield Case(f"arguments {name}", whole({"tool_calls": made}), right, _JSON)
    yield Case(
        "arguments as JSON in JSON",
        whole(
            {
                "tool_calls": [
                    {"id": "x", "function": {"name": "look", "arguments": json.dumps(TEXT_A)}}
                ]
            }
        ),
        ONE,
        _JSON,
    )
    yield Case(
        "an older function_call",
        whole(
            {"content": None, "function_call": {"name": "look", "arguments": TEXT_A}},
            "function_call",
        ),
        ONE,
        _JSON,
    )


def _deltas() -> Iterator[Case]:
    half = len(TEXT_A) // 2
    first, second = TEXT_A[:half], TEXT_A[half:]
    yield Case(
        "one index, two ids",
        calling(piece(TEXT_A, "look", 0, "a"), piece(TEXT_B, "look", 0, "b")),
        TWO,
    )
    yield Case(
        "no index, two ids",
        calling(piece(TEXT_A, "look", id_="a"), piece(TEXT_B, "look", id_="b")),
        TWO,
    )
    yield Case(
        "null index",
        calling(piece(TEXT_A, "look", None, "a"), piece(TEXT_B, "look", None, "b")),
        TWO,
    )
    yield Case(
        "index as text",
        calling(piece(TEXT_A, "look", "0", "a"), piece(TEXT_B, "look", "1", "b")),
        TWO,
    )
    yield Case(
        "index as a float",
        calling(piece(TEXT_A, "look", 0.0, "a"), piece(TEXT_B, "look", 1.0, "b")),
        TWO,
    )
    yield Case(
        "one index, two ids, in pieces",
        calling(
            piece("", "look", 0, "a"),
            piece(first, index=0),
            piece(second, index=0),
            piece("", "look", 0, "b"),
            piece(TEXT_B, index=0),
        ),
        TWO,
    )
    yield Case(
        "no index, in pieces",
        calling(
            piece("", "look", id_="a"),
            piece(first),
            piece(second),
            piece("", "look", id_="b"),
            piece(TEXT_B),
        ),
        TWO,
    )
    yield Case(
        "ids in each chunk, interleaved",
        calling(
            piece(first, "look", 0, "a"),
            piece("", "look", 0, "b"),
            piece(second, None, 0, "a"),
            piece(TEXT_B, None, 0, "b"),
        ),
        TWO,
    )
    for name, index, ids in (
        ("", 0, ("a", "a")),
        (" without an id", 0, (None, None)),
        (" without an index", ..., ("a", "a")),
        (" without either", ..., (None, None)),
        (" and an id once", 0, ("a", None)),
    ):
        yield Case(
            f"the name in each chunk{name}",
            calling(piece(first, "look", index, ids[0]), piece(second, "look", index, ids[1])),
            ONE,
        )
        yield Case(
            f"name and empty id in each chunk{name}",
            calling(
                piece(first, "look", index, ids[0] or ""),
                piece(second, "look", index, ids[1] or ""),
            ),
            ONE,
        )
    again = {"tool_calls": [piece(TEXT_A, "look", 0, "a")]}
    yield Case(
        "the whole message once more behind its call",
        stream(delta(tool_calls=[piece(TEXT_A, "look", 0, "a")]))
        + event(json.loads(whole(again, "tool_calls"))),
        ONE,
    )
    yield Case(
        "the whole arguments once more",
        calling(piece(first, "look", 0, "a"), piece(second, index=0), piece(TEXT_A, None, 0, "a")),
        ONE,
    )
    yield Case(
        "arguments behind an empty object",
        calling(piece("{}", "look", 0, "a"), piece(TEXT_A, index=0)),
        ONE,
    )
    yield Case(
        "one call that is no list", stream(delta(tool_calls=piece(TEXT_A, "look", 0)), END), ONE
    )
    yield Case(
        "name and arguments without a function around them",
        stream(delta(tool_calls=[{"index": 0, "name": "look", "arguments": TEXT_A}]), END),
        ONE,
    )
    yield Case(
        "two names at one index", calling(piece(TEXT_A, "look", 0), piece("{}", "wipe", 0)), MIXED
    )
    yield Case(
        "two names without an index", calling(piece(TEXT_A, "look"), piece("{}", "wipe")), MIXED
    )
    yield Case(
        "two names under one id",
        calling(piece(TEXT_A, "look", 0, "x"), piece("{}", "wipe", 0, "x")),
        MIXED,
    )
    yield Case(
        "one name twice, whole each time",
        calling(piece(TEXT_A, "look", 0), piece(TEXT_B, "look", 0)),
        TWO,
    )
    yield Case(
        "one name twice, no index", calling(piece(TEXT_A, "look"), piece(TEXT_B, "look")), TWO
    )
    yield Case(
        "two calls in one chunk without an index",
        stream(
            delta(tool_calls=[piece(TEXT_A, "look", id_="a"), piece(TEXT_B, "look", id_="b")]),
            delta("tool_calls"),
        ),
        TWO,
    )
    yield Case(
        "two calls of one id, whole",
        whole(
            {"tool_calls": [piece(TEXT_A, "look", id_="x"), piece(TEXT_B, "look", id_="x")]},
            "tool_calls",
        ),
        TWO,
        _JSON,
    )
    yield Case(
        "indices from one",
        calling(piece(TEXT_A, "look", 1, "a"), piece(TEXT_B, "look", 2, "b")),
        TWO,
    )
    yield Case(
        "the id after the name", calling(piece("", "look", 0), piece(TEXT_A, None, 0, "a")), ONE
    )
    yield Case(
        "calls that end as stop",
        stream(delta(tool_calls=[piece(TEXT_A, "look", 0, "a")]), delta("stop")),
        ONE,
    )
    both = {
        "choices": [
            {"index": 0, "delta": {"content": "Hi there"}},
            {"index": 1, "delta": {"content": "WRONG"}},
        ]
    }
    yield Case("two choices in a chunk", stream(both, delta("stop"), delta("stop", 1)), HI)
    yield Case(
        "two choices, interleaved",
        stream(
            delta(content="Hi "),
            delta(index=1, content="WRONG"),
            delta(content="there"),
            delta("length", 1),
            delta("stop"),
        ),
        HI,
    )
    yield Case(
        "two choices with calls",
        stream(
            delta(tool_calls=[piece(first, "look", 0, "a")]),
            delta(index=1, tool_calls=[piece(TEXT_B, "look", 0, "a")]),
            delta(tool_calls=[piece(second, index=0)]),
            delta("tool_calls", 1),
            delta("tool_calls"),
        ),
        ONE,
    )
    yield Case(
        "choices without an index",
        stream(
            *(
                {"choices": [{"delta": d, "finish_reason": f}]}
                for d, f in (({"content": "Hi there"}, None), ({}, "stop"))
            )
        ),
        HI,
    )


def _refusals() -> Iterator[Case]:
    words = "the engine fell over"
    for name, value in {
        "error.message": {"error": {"message": words}},
        "error.message beside others": {"id": "x", "error": {"message": words, "type": "t"}},
        "error": {"error": words},
        "detail": {"detail": words},
        "a list of details": {"detail": [{"loc": ["body", "x"], "msg": words, "type": "t"}]},
        "message": {"object": "error", "message": words, "code": None},
        "an error event": {
            "type": "error",
            "error": {"type": "overloaded_error", "message": words},
        },
        "nested": {"error": {"error": {"message": words}}},
        "errors": {"error": None, "errors": [{"message": words}]},
        "unknown JSON": {"status": words},
    }.items():
        yield Case(f"{name} in place of JSON", json.dumps(value).encode(), Refused(words), _JSON)
        yield Case(f"{name} in place of a stream", stream(value), Refused(words))
        if "unknown" not in name and name != "message":
            yield Case(f"{name} in mid-stream", stream(delta(content="Hi"), value), Refused(words))
    for code in (400, "400", 422):
        value = {"error": {"message": words, "code": code}}
        yield Case(f"200 with code {code!r}", json.dumps(value).encode(), Refused(words), _JSON)
    page = b"<!DOCTYPE html><html><title>Sign in</title><body><h1>Who are you?</h1></body></html>"
    yield Case("a page", page, Refused("Who are you?"), "text/html")
    yield Case("a page called a stream", page, Refused("Who are you?"))
    yield Case(
        "a text", b"upstream is out to lunch", Refused("upstream is out to lunch"), "text/plain"
    )
    yield Case("a text called a stream", b"upstream is out to lunch\n", Refused("lunch"), _JSON)
    yield Case("a JSON text", b'"no"', Refused("no"), _JSON)
    yield Case("a list", b"[1, 2]", Refused("1"), _JSON)
    yield Case("null", b"null", Refused("no chat completion"), _JSON)
    yield Case("broken JSON", b'{"choices": [{"mess', Refused("choices"), _JSON)
    yield Case("nothing but pings", stream({"type": "ping"}, {"type": "ping"}), Refused("ping"))
    yield Case("content as a number", whole({"content": 5}), Refused("content"), _JSON)
    yield Case("a choice that is a text", b'{"choices": ["Hi"]}', Refused("Hi"), _JSON)
    yield Case("calls that are a number", whole({"tool_calls": 5}), Refused("tool_calls"), _JSON)
    yield Case(
        "no finish reason, and the end", stream(delta(content="Hi")), Refused("finish reason")
    )
    for status in (400, 404, 422):
        for value in ({"detail": words}, {"error": words}, {"message": words}):
            yield Case(
                f"{status} with {next(iter(value))}",
                json.dumps(value).encode(),
                Refused(words),
                _JSON,
                status,
            )
        yield Case(f"{status} as text", words.encode(), Refused(words), "text/plain", status)
    yield Case("401", b"{}", Refused("AGENTKIT_API_KEY"), _JSON, 401)


def _gateways() -> Iterator[Case]:
    """What gateways make of a reply that was in order."""
    for name, content in {
        "a part": {"type": "text", "text": "Hi there"},
        "a part that holds parts": {"parts": [{"text": "Hi "}, {"text": "there"}]},
        "a list in a list": [[{"type": "text", "text": "Hi there"}]],
        "a part with its value": [{"type": "text", "text": {"value": "Hi there"}}],
        "a part with its content": [{"type": "text", "content": "Hi there"}],
        "an empty part": [None, {"type": "text", "text": "Hi there"}],
        "a part of another kind": [{"type": "image"}, {"type": "output_text", "text": "Hi there"}],
    }.items():
        yield Case(f"content is {name}", whole({"content": content}), HI, _JSON)
        yield Case(f"content is {name}, streamed", stream(delta("stop", content=content)), HI)
    thought = Read("Hi there", reasoning="hm")
    for name, reasoning in {
        "a list": [{"type": "text", "text": "hm"}],
        "a part": {"content": "hm"},
    }.items():
        message = {"content": "Hi there", "reasoning": reasoning}
        yield Case(f"reasoning is {name}", whole(message), thought, _JSON)
    one = {"text": "Hi ", "index": 0}, {"text": "there", "index": 0, "finish_reason": "stop"}
    yield Case("a completion that is no chat", stream(*({"choices": [each]} for each in one)), HI)
    plain = {"choices": [{"text": "Hi there", "finish_reason": "stop"}]}
    yield Case("a whole completion that is no chat", json.dumps(plain).encode(), HI, _JSON)
    reply = json.loads(whole({"content": "Hi there"}))
    for name in ("data", "output", "result", "response"):
        wrapped = json.dumps({"code": 0, "message": "ok", name: reply}).encode()
        yield Case(f"in an envelope called {name}", wrapped, HI, _JSON)
    for status in (201, 206):
        yield Case(f"with the status {status}", whole({"content": "Hi there"}), HI, _JSON, status)
    nothing: dict[str, Any] = {
        "empty": {},
        "null": None,
        "without a name": {"id": "x", "type": "function", "function": {"arguments": ""}},
    }
    for name, value in nothing.items():
        message = {"content": "Hi there", "tool_calls": [value]}
        yield Case(f"a call that is {name} beside text", whole(message), HI, _JSON)
    for name in ("parameters", "input", "args"):
        call = {"id": "x", "name": "look", name: A}
        yield Case(f"arguments called {name}", whole({"tool_calls": [call]}, "stop"), ONE, _JSON)


def _envelopes() -> Iterator[Case]:
    """What gateways put around it."""
    numbered = piece(TEXT_A, "look", 0) | {"id": 7}
    yield Case("a number as id", calling(numbered), ONE)
    for name, ids in {"floats": [1.0, 2.0], "as they should be": [1, 2]}.items():
        chunk = delta("stop", content="Hi there")
        chunk["choices"][0]["token_ids"] = ids
        yield Case(f"token ids that are {name}", stream(chunk), HI)
    for mark in (b'"[DONE]"', b"[done]", b"DONE", b"{}", b"<html>bye</html>"):
        body = stream(delta(content="Hi there"), delta("stop"), done=False)
        yield Case(f"its end marked {mark.decode()}", body + b"data: " + mark + b"\n\n", HI)
    places: tuple[Any, ...] = (1e999, "inf", [], {})
    for place in places:
        chunk = delta("stop", index=place, content="Hi")
        yield Case(f"a choice at {place!r}", stream(chunk), Refused("no chat completion"))
    words = "the engine fell over"
    broken = {"index": 0, "finish_reason": "error", "error": {"code": 400, "message": words}}
    for name, before in {"at once": (), "in mid-stream": (delta(content="Hi"),)}.items():
        body = stream(*before, {"choices": [broken]})
        yield Case(f"an error in the choice, {name}", body, Refused(words))
    unfinished = json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode()
    yield Case("whole, without a finish reason", unfinished, Refused("finish reason"), _JSON)
    for name in ("reason", "title", "error_description"):
        body = json.dumps({"status": 400, name: words}).encode()
        yield Case(f"a gateway's {name}", body, Refused(words), _JSON, 400)


CASES: Final = (*_shapes(), *_values(), *_deltas(), *_refusals(), *_gateways(), *_envelopes())
