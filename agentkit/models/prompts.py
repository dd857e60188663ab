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

__all__ = ["prompt_of"]


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
    within = transport.timeouts.first_event
    body = encode_request(
        request,
        model=model,
        messages=MessageEncoder(_as_it_is).encode(request.messages),
        declarations=declarations,
        stream=False,
    )
    ids = read_tokens(await transport.post("/tokenize", body, within=within))
    spelled = encode_detokenize(model, ids)
    return read_text(await transport.post("/detokenize", spelled, within=within)) or ""


def _as_it_is(message: Message) -> Message:
    return message
