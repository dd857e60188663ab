"""How tests ask a `VLLMModel`, and what its server may say."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import httpx2

from agentkit.events import ModelEvent, ModelFinished
from agentkit.messages import ModelRequest, ModelResponse, UserMessage
from agentkit.models import Timeouts, VLLMModel
from tests.servers import text_chunks
from tests.virtual import replies_fresh, stream_of

REQUEST = ModelRequest([UserMessage("hi")])


async def events_of(model: VLLMModel, request: ModelRequest = REQUEST) -> list[ModelEvent]:
    async with aclosing(model.generate(request)) as events:
        return [event async for event in events]


async def response_of(model: VLLMModel, request: ModelRequest = REQUEST) -> ModelResponse:
    last = (await events_of(model, request))[-1]
    assert isinstance(last, ModelFinished)
    return last.response


def model_on(client: httpx2.AsyncClient, timeouts: Timeouts | None = None) -> VLLMModel:
    return VLLMModel("http://gemma.invalid/v1", http_client=client, timeouts=timeouts)


def answers(text: str) -> Any:
    return replies_fresh(lambda: stream_of(text_chunks(text)))
