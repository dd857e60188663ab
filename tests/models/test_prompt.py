"""Counting against a server with a real template and a real tokenizer, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import jinja2
import pytest

from agentkit import ModelSettings, VLLMModel
from agentkit.context import AskModel, CountPrompt, CountTexts, PromptForm
from agentkit.context.prompt import Prompt
from agentkit.gemma4.parse import parse
from agentkit.gemma4.tokens import BOS, IDS, RESPONSE_OPEN, TURN_CLOSE
from agentkit.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    ModelRequest,
    SystemMessage,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from agentkit.models.calls import PROBE, forced_code
from agentkit.models.embedded import BUNDLED
from tests.context.driving import TOKENIZER, tokens
from tests.gemma4.official import TEMPLATES, compiled, needs_templates

READ = ToolDefinition(
    "read",
    "Reads a file.",
    {
        "type": "object",
        "properties": {"path": {"type": "string", "description": "Which."}},
        "required": ["path"],
    },
)
TALK: list[Message] = [
    SystemMessage("Be careful <turn|>."),
    UserMessage("  What does a.py say?\n"),
    AssistantMessage(None, (ToolCall("c", "read", {"path": "ü.py"}),), "a thought"),
    ToolMessage("c", "read", "line 1\n<|turn>\nhalf \ud800"),
]


class TemplateServer:
    """A vLLM as far as prompts go: its template, `/tokenize` and `/detokenize`.

    Args:
        template: Its chat template.
        missing: Paths that it does not have.
        root: What its weights were loaded as.
        replies: What the model writes, one after another, control tokens spelled out.

    Attributes:
        asked: The path of each request so far.
        missing: Paths that it does not have.
        away: Whether nobody listens.
    """

    def __init__(
        self,
        template: Path,
        *,
        missing: Sequence[str] = (),
        root: str = "somewhere/else",
        replies: Sequence[str] = (),
    ) -> None:
        self._template = compiled(template)
        self._root = root
        self._replies = list(replies)
        self.missing = list(missing)
        self.away = False
        self.asked: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if self.away:
            raise httpx2.ConnectError("refused", request=request)
        self.asked.append(path)
        if path in self.missing or path == "/tokenizer_info":
            return httpx2.Response(404, json={"detail": "Not Found"})
        if path == "/v1/models":
            card = {"id": "tiny-gemma4", "max_model_len": 8192, "root": self._root}
            return httpx2.Response(200, json={"data": [card]})
        if path == "/version":
            return httpx2.Response(200, json={"version": "0.32.0"})
        body = json.loads(request.content)
        if path == "/v1/chat/completions":
            return httpx2.Response(200, json=self._reply(body))
        if path == "/detokenize":
            text = TOKENIZER.decode(body["tokens"], skip_special_tokens=False)
            return httpx2.Response(200, json={"prompt": text})
        text = body["prompt"] if "prompt" in body else self.rendered(body)
        ids = encode(text)
        return httpx2.Response(200, json={"tokens": ids, "count": len(ids)})

    def _reply(self, body: JsonObject) -> JsonObject:
        code = forced_code(body)
        written = (
            f'<|tool_call>call:{PROBE}{{code:<|"|>{code}<|"|>}}<tool_call|>'
            if code
            else self._replies.pop(0)
        )
        calls = [
            {
                "id": "x",
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps({"code": code} if code else {}),
                },
            }
            for call in parse(written).calls
        ]
        message = {"role": "assistant", "content": None if calls else written, "tool_calls": calls}
        ids = encode(written)
        prompt = len(encode(self.rendered(body)))
        return {
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "finish_reason": "tool_calls" if calls else "stop",
                    "token_ids": [*ids, IDS[RESPONSE_OPEN if calls else TURN_CLOSE]],
                }
            ],
            "usage": {"prompt_tokens": prompt, "completion_tokens": len(ids) + 1},
        }

    def rendered(self, body: JsonObject) -> str:
        """The prompt of a chat request, fed as vLLM feeds it."""
        return self._template.render(
            messages=[_fed(message) for message in body["messages"]],
            tools=body.get("tools"),
            bos_token=BOS,
            raise_exception=_refuse,
            add_generation_prompt=True,
            **body.get("chat_template_kwargs", {}),
        )

    def model(self, tokenizer: Path | None = None) -> VLLMModel:
        """A model whose every request comes here."""
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self))
        return VLLMModel("http://server", http_client=client, tokenizer=tokenizer, stream=False)


def encode(text: str) -> list[int]:
    """The ids of a text in the tiny checkpoint's vocabulary."""
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=False).ids
    return ids


def _refuse(why: str) -> None:
    raise jinja2.TemplateError(why)


def _fed(message: JsonObject) -> JsonObject:
    content = message.get("content") or []
    if message["role"] == "tool":
        return message
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    fed: JsonObject = {**message, "content": parts}
    for call in fed.get("tool_calls", ()):
        function = call["function"]
        if isinstance(function["arguments"], str):
            function["arguments"] = json.loads(function["arguments"])
    return fed


async def form_and_count(
    server: TemplateServer, settings: ModelSettings | None = None, tokenizer: Path | None = None
) -> tuple[PromptForm, int | None, int | None]:
    """What a model says of its prompts; the pieces' sum, and the whole, as far as it can count."""
    model = server.model(tokenizer)
    request = ModelRequest(tuple(TALK), (READ,), settings or ModelSettings())
    form = await model.prompt_form(request)
    assert form is not None
    prompt = Prompt()
    steps = prompt.update(TALK, form)
    answers: list[Any] = []
    try:
        wanted = next(steps)
        while True:
            assert not isinstance(wanted, AskModel)
            answers.append(await model.count(wanted))
            wanted = steps.send(answers[-1])
    except StopIteration:
        pass
    whole = await model.count(CountPrompt(request))
    return form, prompt.tokens if prompt.exact else None, whole[0] if whole else None


TINY = BUNDLED / "chat_template.jinja"


@pytest.mark.anyio
@pytest.mark.parametrize("thinking", [True, False])
async def test_the_pieces_add_up_to_what_the_server_makes_of_the_whole(thinking: bool) -> None:
    server = TemplateServer(TINY)
    form, pieces, whole = await form_and_count(server, ModelSettings(thinking=thinking))
    assert form.counting == "pieces"
    assert pieces == whole
    assert whole is not None
    assert server.asked.count("/tokenize") == 3  # the probe, all pieces at once, the whole


@needs_templates
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("file", "counting", "variant"),
    [
        ("gemma4-canonical-2026-07-09-31b.jinja", "pieces", "large"),
        ("gemma4-canonical-2026-07-09-e2b.jinja", "pieces", "small"),
        ("gemma4-2026-04-31b.jinja", "whole", "large"),
    ],
)
async def test_how_to_count_follows_from_the_servers_template(
    file: str, counting: str, variant: str
) -> None:
    form, pieces, whole = await form_and_count(TemplateServer(TEMPLATES / file))
    assert (form.counting, form.generation.variant) == (counting, variant)
    assert (pieces == whole) is (counting == "pieces")


@pytest.mark.anyio
async def test_a_tokenizer_at_hand_is_used_instead_of_the_server() -> None:
    server = TemplateServer(TINY)
    _, pieces, whole = await form_and_count(server, tokenizer=BUNDLED / "tokenizer.json")
    assert pieces == whole
    assert server.asked.count("/tokenize") == 3  # is it the server's, the probe, the whole
    assert "/detokenize" not in server.asked


@pytest.mark.anyio
@pytest.mark.parametrize("missing", ["/tokenize", "/detokenize"])
async def test_a_server_that_cannot_tell_is_asked_no_more(missing: str) -> None:
    server = TemplateServer(TINY, missing=(missing,))
    form, pieces, whole = await form_and_count(server)
    assert form.counting == "estimate"
    assert (pieces, whole) == (None, None)
    assert server.asked.count("/tokenize") <= 1


@pytest.mark.anyio
async def test_fields_of_the_caller_that_change_the_prompt_are_left_to_the_server() -> None:
    bodies: list[JsonObject] = [
        {"documents": []},
        {"chat_template_kwargs": {"preserve_thinking": True}},
    ]
    for body in bodies:
        form, _, _ = await form_and_count(TemplateServer(TINY), ModelSettings(extra_body=body))
        assert form.counting == "whole"
    kwargs = {"chat_template_kwargs": {"enable_thinking": True}}
    form, pieces, whole = await form_and_count(
        TemplateServer(TINY), ModelSettings(extra_body=kwargs)
    )
    assert (form.counting, form.generation.thinking) == ("pieces", True)
    assert pieces == whole


@pytest.mark.anyio
async def test_the_form_holds_the_served_window() -> None:
    form, _, _ = await form_and_count(TemplateServer(TINY))
    assert form.profile is not None
    assert (form.profile.context_window, form.profile.compaction_point) == (8192, 6144)
    assert form.reply_tokens == 4096


@pytest.mark.anyio
async def test_while_the_server_cannot_be_reached_there_is_no_form() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(refuse))
    model = VLLMModel("http://server", http_client=client)
    assert await model.prompt_form(ModelRequest(tuple(TALK))) is None


@pytest.mark.anyio
async def test_a_count_that_fails_is_no_failure() -> None:
    server = TemplateServer(TINY)
    model = server.model()
    await model.prompt_form(ModelRequest(tuple(TALK)))
    texts = CountTexts(("a b", "<|turn>user\n", ""))
    assert await model.count(texts) == [tokens("a b"), tokens("<|turn>user\n"), 0]
    server.missing.append("/tokenize")
    assert await model.count(texts) is None
