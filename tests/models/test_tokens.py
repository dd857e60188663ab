from __future__ import annotations

import json

import httpx2
import pytest

from agentkit.errors import ModelStatusError
from agentkit.messages import JsonObject, ModelRequest, UserMessage
from agentkit.models import Connection, Timeouts
from agentkit.models.tokens import prompt_of
from agentkit.models.transport import Transport

pytestmark = pytest.mark.anyio
READ: JsonObject = {"name": "read", "description": "Reads.", "parameters": {"type": "object"}}


async def prompt(*, missing: str = "", spelled: object = "<bos>all of it") -> str:
    """What is made of a server that spells each prompt so; it looks at what it is asked."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path, json.loads(request.content)
        assert body["model"] == "gemma"
        if path == missing:
            return httpx2.Response(404, json={})
        if path == "/detokenize":
            assert body["tokens"] == [2, 7]
            return httpx2.Response(200, json={"prompt": spelled})
        assert body["messages"] == [{"role": "user", "content": "x"}]
        assert [each["function"] for each in body["tools"]] == [READ]
        return httpx2.Response(200, json={"tokens": [2, 7], "count": 2})

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
    transport = Transport(Connection(base_url="http://server/v1", http_client=client), Timeouts())
    async with client:
        return await prompt_of(transport, "gemma", ModelRequest([UserMessage("x")]), [READ])


async def test_a_prompt_is_what_the_server_spells_out() -> None:
    assert await prompt() == "<bos>all of it"
    assert await prompt(spelled=None) == ""


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
async def test_a_server_without_such_a_path_is_an_error(path: str) -> None:
    with pytest.raises(ModelStatusError, match="404"):
        await prompt(missing=path)
