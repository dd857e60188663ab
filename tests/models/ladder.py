"""A server that can be made to call by one field and no other, with a model that likes to talk."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, Final

import httpx2

from agentkit import VLLMModel
from agentkit.messages import Control
from agentkit.models.calls import forced_code

RUNGS: Final[tuple[Control, ...]] = ("grammar", "tool_choice", "json_schema", "free")

Json = dict[str, Any]


class LadderServer:
    """Chats in words unless it is made to call.

    Args:
        rung: The field that makes it call; None of them for `free`.
        model: The name it serves.
        refuses: Fields that it refuses, as `transformers serve` does.
        refusal: Why a body is refused, in an answer with that status.
        obeys_words: Whether a note in the conversation makes it call as well.
        arguments: Of the calls that it makes.

    Attributes:
        bodies: What it was asked.
        paths: All paths it was asked for.
    """

    def __init__(
        self,
        rung: Control,
        *,
        model: str = "gemma-4-e4b-it",
        refuses: Collection[str] = (),
        refusal: Callable[[Json], str | None] = lambda _body: None,
        status: int = 400,
        obeys_words: bool = False,
        arguments: Json | None = None,
    ) -> None:
        self._rung = rung
        self._model = model
        self._refuses = set(refuses)
        self._refusal = refusal
        self._status = status
        self._obeys_words = obeys_words
        self._arguments = arguments or {}
        self.bodies: list[Json] = []
        self.paths: list[str] = []

    def model(self, name: str | None = None) -> VLLMModel:
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self))
        return VLLMModel("http://server/v1", name, http_client=client, stream=False)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.paths.append(request.url.path)
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json={"data": [{"id": self._model, "max_model_len": 4096}]})
        if request.url.path != "/v1/chat/completions":
            return httpx2.Response(404, json={"detail": "Not Found"})
        body = json.loads(request.content)
        self.bodies.append(body)
        if bad := self._refuses & body.keys():
            words = {"detail": f"Unexpected fields in the request: {bad}"}
            return httpx2.Response(422, json=words)
        if (why := self._refusal(body)) is not None:
            return httpx2.Response(self._status, json={"error": {"message": why}})
        return httpx2.Response(200, json=self._reply(body))

    def _reply(self, body: Json) -> Json:
        offered = [tool["function"]["name"] for tool in body.get("tools") or ()]
        said = json.dumps(body["messages"][-1]["content"])
        tag = (body.get("structured_outputs") or {}).get("structural_tag")
        if self._rung == "grammar" and tag and _forces(json.loads(tag)["format"]):
            return self._call(offered[0], forced_code(body))
        if self._rung == "tool_choice" and (choice := body.get("tool_choice")) not in (
            None,
            "none",
        ):
            named = choice["function"]["name"] if isinstance(choice, dict) else offered[0]
            return self._call(named)
        if self._rung == "json_schema" and (held := body.get("response_format")):
            return self._text(json.dumps(self._fitting(held["json_schema"]["schema"])))
        if self._obeys_words and offered and "now, in your own" in said:
            return self._call(offered[0])
        return self._text("Let us talk about it.")

    def _fitting(self, schema: Json) -> Json:
        first = schema["anyOf"][0] if "anyOf" in schema else schema  # one of several tools
        properties = first["properties"]
        if "ready" in properties:
            return {"ready": "yes"}
        return {"name": properties["name"]["enum"][0], "arguments": self._arguments}

    def _call(self, name: str, code: str | None = None) -> Json:
        text = json.dumps({"code": code} if code else self._arguments)
        made = {"id": "x", "type": "function", "function": {"name": name, "arguments": text}}
        return _completion({"content": None, "tool_calls": [made]}, "tool_calls")

    def _text(self, text: str) -> Json:
        return _completion({"content": text}, "stop")


def _forces(form: Json) -> bool:
    """Whether a structural tag leaves no way but a call."""
    return bool(form.get("at_least_one")) or form["type"] == "plus"


def _completion(message: Json, finish: str) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
