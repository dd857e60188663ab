"""Each malformed reply is read, or refused within a second in the server's own words."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import httpx2
import pytest

from agentkit import VLLMModel
from agentkit.errors import AgentKitError
from agentkit.events import ModelFinished
from agentkit.messages import ModelRequest, ModelResponse, UserMessage
from tests.servers import CHAT, MODEL
from tests.virtual import run_virtual
from tests.wire.malformed import CASES, Case, Read, Refused

WITHIN = 1.0
"""Seconds that a refusal may take, all attempts together."""


def reply_of(case: Case, *, stream: bool) -> ModelResponse | AgentKitError:
    """What comes of it, and whether in time: the clock is a virtual one."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path != CHAT:
            return httpx2.Response(200, json={"data": [{"id": MODEL, "max_model_len": 8192}]})
        return httpx2.Response(case.status, content=case.body, headers={"content-type": case.kind})

    async def main() -> ModelResponse | AgentKitError:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
            model = VLLMModel("http://server/v1", http_client=client, stream=stream)
            await model.served()
            with anyio.fail_after(WITHIN):
                try:
                    return await _asked(model)
                except AgentKitError as error:
                    return error

    return run_virtual(main)


async def _asked(model: VLLMModel) -> ModelResponse:
    async with aclosing(model.generate(ModelRequest([UserMessage("hi")]))) as events:
        *_, last = [event async for event in events]
    assert isinstance(last, ModelFinished)
    return last.response


def test_each_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_malformed_reply_is_read_or_refused_in_the_servers_words(case: Case) -> None:
    for stream in (True, False):
        came = reply_of(case, stream=stream)
        match case.right:
            case Refused(words=words):
                assert isinstance(came, AgentKitError), came
                assert words in str(came)
            case Read() as right:
                assert isinstance(came, ModelResponse), came
                message = came.message
                assert [(call.name, call.arguments) for call in message.tool_calls] == [
                    *right.calls
                ]
                if right.text is not None:
                    assert message.content == right.text
                assert message.reasoning == right.reasoning
                assert right.finish in (None, came.finish_reason)
                assert right.input_tokens in (None, came.usage.input_tokens)
