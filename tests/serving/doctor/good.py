"""A vLLM made of plain functions that does all that agentkit relies on, behind a planted fault."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from os.path import commonprefix
from typing import Any

import httpx2

from agentkit.gemma4 import tokens
from agentkit.gemma4.render import Generation, render
from agentkit.messages import load_messages
from agentkit.models.calls import PROBE, forced_code
from agentkit.testing.faults.served import Served, ServedCall, detokenize, encode, tokenize
from tests.serving.doctor.planted import CHAT, Json, Planted
from tests.virtual import Script

MODEL = "gemma-4-26b-a4b-it"
WINDOW = 131_072
PAUSE = 0.02
"""Seconds between two events of a stream: fifty tokens a second."""


def good(
    path: str, body: Json, state: Json, reply: Callable[[Json], Served | None] = lambda _: None
) -> tuple[int, Any]:
    """What vLLM answers: a status, and JSON or the pieces of a stream.

    Args:
        path: Of the request.
        body: Of the request.
        state: What the server remembers, which starts empty.
        reply: What the model says; None for what it says to the doctor.
    """
    match path:
        case "/v1/models":
            return 200, {"data": [{"id": MODEL, "max_model_len": WINDOW}]}
        case "/version":
            return 200, {"version": "0.32.0"}
        case "/tokenize":
            ids = tokenize(body["prompt"] if "prompt" in body else _prompt(body))
            return 200, {"count": len(ids), "max_model_len": WINDOW, "tokens": ids}
        case "/detokenize":
            return 200, {"prompt": detokenize(body["tokens"])}
        case "/v1/chat/completions" if body.get("min_tokens", 0) > body.get("max_tokens", WINDOW):
            words = f"max_tokens={body['max_tokens']}, got {body['min_tokens']}."
            return 400, {"error": {"message": f"min_tokens must be less than or equal to {words}"}}
        case "/v1/chat/completions":
            return 200, _chat(body, state, reply(body) or _reply(body))
        case _:
            return 404, {"detail": "Not Found"}


def _prompt(body: Json) -> str:
    messages = [_message(m) for m in body["messages"]]
    functions = [tool["function"] for tool in body.get("tools") or ()]
    thinking = bool((body.get("chat_template_kwargs") or {}).get("enable_thinking"))
    return render(load_messages(json.dumps(messages)), functions, Generation(thinking=thinking))


def _message(wire: Json) -> Json:
    if wire["role"] == "tool":
        return {
            "role": "tool",
            "call_id": wire["tool_call_id"],
            "name": "probe",
            "content": wire["content"],
        }
    calls = [
        {
            "id": call["id"],
            "name": call["function"]["name"],
            "arguments": json.loads(call["function"]["arguments"]),
        }
        for call in wire.get("tool_calls") or ()
    ]
    return {**wire, "tool_calls": calls} if wire["role"] == "assistant" else wire


def _chat(body: Json, state: Json, said: Served) -> Any:
    prompt = _prompt(body)
    salted = f"{body.get('cache_salt', '')}{prompt}"
    seen = state.setdefault("seen", [])
    prefixes = (commonprefix([salted, before]) for before in seen)  # noqa: RUF071 - no paths
    known = max(prefixes, key=len, default="")
    cached = len(tokenize(known)) // 128 * 128
    seen.append(salted)
    pieces = encode(said, body, model=MODEL, number=len(seen))
    ids = tokenize(prompt)[: body.get("truncate_prompt_tokens")]
    usage = {"prompt_tokens": len(ids)}
    pieces = [_with_prompt(piece, ids) for piece in pieces] if not body.get("stream") else pieces
    pieces = [_drawn(piece, body) for piece in pieces] if "n" in body else pieces
    return [_counted(piece, usage, cached) for piece in pieces]


def _with_prompt(piece: bytes, ids: list[int]) -> bytes:
    return json.dumps(json.loads(piece) | {"prompt_token_ids": ids}).encode()


def _drawn(piece: bytes, body: Json) -> bytes:
    """So many replies; the checkpoint's sampling never draws the less likely of two tokens."""
    reply = json.loads(piece)
    choices = reply["choices"] * body["n"]
    unlikely, likely = sorted(body["logit_bias"], key=body["logit_bias"].__getitem__)
    gap = body["logit_bias"][likely] - body["logit_bias"][unlikely]
    chance = 1 / (1 + math.exp(gap / body.get("temperature", 1.0)))
    if chance > (0.01 if body.get("top_p") == 1.0 else 0.05):  # Gemma's own top-p is 0.95
        choices[-1] = choices[-1] | {"token_ids": [int(unlikely)]}
    return json.dumps(reply | {"choices": choices}).encode()


def _counted(piece: bytes, usage: Json, cached: int) -> bytes:
    text = piece.decode()
    event = text.startswith("data: ")
    if text.startswith("data: [DONE]"):
        return piece
    value = json.loads(text.removeprefix("data: "))
    if value.get("usage"):
        value["usage"] |= {**usage, "prompt_tokens_details": {"cached_tokens": cached}}
    return f"data: {json.dumps(value)}\n\n".encode() if event else json.dumps(value).encode()


def _reply(body: Json) -> Served:
    """What a model says that can do nothing but what it is held to."""
    held = body.get("structured_outputs") or {}
    offered = [tool["function"]["name"] for tool in body.get("tools") or ()]
    biases = {int(token): bias for token, bias in (body.get("logit_bias") or {}).items()}
    ends = [token for token in biases if token in tokens.STOP_IDS]
    if ends and not held:
        return _ended(body, max(ends, key=biases.__getitem__))
    if "structural_tag" in held and "write_text" in offered:
        cut = '<|tool_call>call:write_text{text:<|"|>Turin Tu'
        call = ServedCall("write_text", '{"text":"Turin Tu"}')
        return Served(calls=(call,), finish_reason="length", cut=True, native=cut)
    if "structural_tag" in held and body.get("min_tokens"):
        return _counting(body)
    if (code := forced_code(body)) is not None:
        call = ServedCall(PROBE, json.dumps({"code": code}))
        return Served(calls=(call,), finish_reason="tool_calls")
    if "structural_tag" in held:
        call = ServedCall("report_weather", '{"city":"Turin"}')
        return Served(calls=(call,), finish_reason="tool_calls")
    if "choice" in held and offered:
        call = ServedCall("report_weather", '{"city":"Turin"}')
        return Served(calls=(call, call), finish_reason="tool_calls")
    if "choice" in held:
        said = _said(held["choice"][0], body.get("stop") or ())
        return replace(said, text=f"{said.text}{_RUN_ON}") if body.get("ignore_eos") else said
    if body.get("min_tokens"):
        return _counting(body)
    return Served(text="Hello.")


_RUN_ON = "<turn|>\n<|turn>model"
"""What a model goes on with that no token ends: its text shows the token that would have."""


def _said(said: str, stops: Sequence[str]) -> Served:
    if said.startswith(tokens.CHANNEL_OPEN):
        return Served(text="Fine.", reasoning="ready")
    for stop in stops:
        said = said.partition(stop)[0]
    return Served(text=said)


def _counting(body: Json) -> Served:
    wanted = min(body["min_tokens"], body.get("max_tokens", WINDOW))
    words = ("one two three four five six " * wanted)[:wanted]
    return Served(text=words, finish_reason="length", cut=True)


def _ended(body: Json, stop: int) -> Served:
    literal = next(text for text, number in tokens.IDS.items() if number == stop)
    if body.get("ignore_eos"):
        again = literal * body["max_tokens"]
        return Served(text="", finish_reason="length", cut=True, native=again)
    return Served(text="", native=literal)


def client_of(
    planted: Planted | None = None, pause: Callable[[Json], float] = lambda _: PAUSE
) -> httpx2.AsyncClient:
    """A client whose requests reach the good server through the fault.

    Args:
        planted: The fault.
        pause: Seconds between two events of the stream that answers a request.
    """
    state: Json = {}

    def handle(request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path, json.loads(request.content or b"{}")
        if planted is not None:
            if refusal := planted.refuses(path, body):
                return httpx2.Response(400, json={"error": {"message": refusal, "code": 400}})
            if len(request.content) > planted.most_bytes:
                return httpx2.Response(413, text="Request Entity Too Large")
            state["count"] = state.get("count", 0) + 1
            if path == CHAT and planted.busy_every and state["count"] % planted.busy_every == 0:
                return httpx2.Response(503, json={"error": {"message": "queue is full"}})
            body = planted.request(path, body)
        status, answer = good(path, body, state)
        pieces = answer if isinstance(answer, list) else [json.dumps(answer).encode()]
        passed = [_through(planted, path, piece) for piece in pieces]
        if not body.get("stream"):
            return httpx2.Response(status, content=passed[0])
        if planted is not None and planted.buffers:
            return httpx2.Response(status, content=b"".join(passed))
        steps = [step for piece in passed for step in (pause(body), piece)]
        return httpx2.Response(status, stream=Script(*steps))

    return httpx2.AsyncClient(transport=httpx2.MockTransport(handle))


def _through(planted: Planted | None, path: str, piece: bytes) -> bytes:
    text = piece.decode()
    if planted is None or text.startswith("data: [DONE]"):
        return piece
    event = text.startswith("data: ")
    changed = planted.reply(path, json.loads(text.removeprefix("data: ")))
    return f"data: {json.dumps(changed)}\n\n".encode() if event else json.dumps(changed).encode()
