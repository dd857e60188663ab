"""The prompt that a server's chat template makes of a request, as the server itself spells it."""

from __future__ import annotations

from collections.abc import Sequence

from agentkit.messages import JsonObject, Message, ModelRequest
from agentkit.models.transport import Transport
from agentkit.wire import (
    MessageEncoder,
    encode_detokenize,
    encode_request,
    read_text,
    read_tokens,
)


async def prompt_of(
    transport: Transport, model: str, request: ModelRequest, declarations: Sequence[JsonObject]
) -> str:
    """The prompt, control tokens spelled out; empty if the answer holds no text.

    Args:
        transport: To the server.
        model: The served name.
        request: Its messages are sent as they are.
        declarations: Its tools, as the model is to see them.

    Raises:
        ModelError: The server does not say.
        ServerNotReadyError: The address is none.
    """
    return await spelled(
        transport, model, await prompt_ids(transport, model, request, declarations)
    )


async def prompt_ids(
    transport: Transport, model: str, request: ModelRequest, declarations: Sequence[JsonObject]
) -> list[int]:
    """The tokens of the prompt; arguments and exceptions are those of `prompt_of`."""
    body = encode_request(
        request,
        model=model,
        messages=MessageEncoder(_as_it_is).encode(request.messages),
        declarations=declarations,
        stream=False,
    )
    within = transport.timeouts.first_event
    return read_tokens(await transport.post("/tokenize", body, within=within))


async def spelled(transport: Transport, model: str, ids: Sequence[int]) -> str:
    """The text of tokens, control tokens spelled out; empty if the answer holds none.

    Raises:
        ModelError: The server does not say.
    """
    body = encode_detokenize(model, ids)
    within = transport.timeouts.first_event
    return read_text(await transport.post("/detokenize", body, within=within)) or ""


def _as_it_is(message: Message) -> Message:
    return message
