"""The running server, asked without agentkit: what the facts tests compare with."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from agentkit.gemma4 import tokens
from tests.live.server import WINDOW as SMALL_WINDOW
from tests.live.server import window_of

URL = os.environ.get("AGENTKIT_LIVE_URL", "")
KEY = os.environ.get("AGENTKIT_LIVE_KEY") or "the-server-needs-no-key"

WINDOW = window_of(os.environ.get("AGENTKIT_LIVE_CHECKPOINT", "tiny"))
"""Tokens that the server takes, prompt and reply together."""

replies_end = pytest.mark.skipif(
    WINDOW != SMALL_WINDOW,
    reason="among 262,144 tokens random weights never find the one that ends a reply",
)
"""For tests whose replies have to end by themselves."""

keeps_tokens = pytest.mark.skipif(
    WINDOW != SMALL_WINDOW,
    reason="among 262,144 tokens random weights spell what stands between two calls in others",
)
"""For tests whose replies hold several calls."""

guarded = pytest.mark.skipif(
    not os.environ.get("AGENTKIT_LIVE_KEY"), reason="the server asks for no key"
)
"""For tests of a wrong key."""

live = [
    pytest.mark.live,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not URL, reason="needs a real vLLM; `make live` starts one"),
]
"""`pytestmark` of every module here."""

READ_FILE = {
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Read a text file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string", "description": "Path of the file."}},
            "required": ["path"],
        },
    },
}

BEGIN_CALL = {str(tokens.IDS[tokens.CALL_OPEN]): 100}
"""`logit_bias` under which a call begins with its control token, not with the token spelled out."""

SPELL_CALL = {str(tokens.IDS[tokens.CALL_OPEN]): -100}
"""`logit_bias` under which the control token that begins a call cannot come."""


def request(method: str, path: str, *, key: str = KEY, **content: Any) -> httpx2.Response:
    """One request to the server."""
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=URL, headers=headers, trust_env=False, timeout=200.0) as client:
        return client.request(method, path, **content)


def model() -> str:
    """The served name."""
    name: str = request("GET", "/v1/models").json()["data"][0]["id"]
    return name


def chat(text: str = "What does the file say?", **fields: Any) -> Any:
    """The JSON of a chat completion of one user message."""
    body: dict[str, Any] = {
        "model": model(),
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 60,
        "return_token_ids": True,
        "seed": 1,
    }
    response = request("POST", "/v1/chat/completions", json=body | fields)
    assert response.is_success, response.text
    return response.json()


def stream(text: str = "What does the file say?", **fields: Any) -> list[Any]:
    """The JSON of a streamed chat completion's chunks."""
    body: dict[str, Any] = {
        "model": model(),
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 60,
        "return_token_ids": True,
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    response = request("POST", "/v1/chat/completions", json=body | fields)
    assert response.is_success, response.text
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def forced(name: str, arguments: str) -> dict[str, Any]:
    """Request fields that force exactly one native call.

    Args:
        name: The tool.
        arguments: Grammar (xgrammar's EBNF) of what stands between the braces.
    """
    tag = {
        "type": "structural_tag",
        "format": {
            "type": "triggered_tags",
            "triggers": [tokens.CALL_OPEN],
            "tags": [
                {
                    "type": "tag",
                    "begin": f"{tokens.CALL_OPEN}call:{name}{{",
                    "content": {"type": "grammar", "grammar": f"root ::= {arguments}"},
                    "end": f"}}{tokens.CALL_CLOSE}",
                }
            ],
            "at_least_one": True,
            "stop_after_first": True,
        },
    }
    return {"structured_outputs": {"structural_tag": json.dumps(tag)}}


def text_argument(name: str, characters: str) -> str:
    """Grammar of one string argument."""
    quote = json.dumps(tokens.QUOTE)
    return f'"{name}:" {quote} {characters} {quote}'


def calls(completion: Any) -> list[tuple[str, Any]]:
    """Name and decoded arguments of the calls in a completion."""
    message = completion["choices"][0]["message"]
    functions = [call["function"] for call in message.get("tool_calls") or ()]
    return [(f["name"], json.loads(f["arguments"])) for f in functions]


def joined(chunks: Sequence[Any], field: str) -> str:
    """A text field of all deltas together."""
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get(field) or "" for delta in deltas)
