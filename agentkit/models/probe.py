"""Whether a server obeys a grammar in Gemma's syntax, found out by asking it to."""

from __future__ import annotations

from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.messages import ModelRequest, ModelSettings, ToolChoice, ToolDefinition, UserMessage
from agentkit.models.transport import Transport
from agentkit.wire import MessageEncoder, ReplyDecoder, encode_request

__all__ = ["PROBE", "takes_grammar"]

PROBE = ToolDefinition(
    "agentkit_probe", "Say that you are ready.", {"type": "object", "properties": {}}
)
"""The tool of the probing request; a server of tests may know it by this name."""

_MAX_TOKENS = 64  # the forced call, spelled in whatever tokens the model likes


async def takes_grammar(transport: Transport, model: str) -> bool:
    """Forces one call of a tool that has no arguments, and looks whether it comes back.

    Servers ignore fields that they do not know, so only the reply tells.

    Raises:
        AgentKitError: The request is refused, or no reply came.
    """
    request = ModelRequest(
        [UserMessage("Call the tool.")],
        [PROBE],
        ModelSettings(max_tokens=_MAX_TOKENS, temperature=0.0, thinking=False),
        ToolChoice("required", max_calls=1),
    )
    dialect = Dialect(request.tools, Escape())
    body = encode_request(
        request,
        model=model,
        messages=MessageEncoder(dialect.outgoing).encode(request.messages),
        declarations=dialect.declarations,
        stream=False,
        grammar=dialect.grammar(request.tool_choice),
    )
    decoder = ReplyDecoder(_MAX_TOKENS)
    within = transport.timeouts.first_event
    decoder.feed(await transport.post_raw("/v1/chat/completions", body, within=within))
    return [call.name for call in decoder.finish(0).message.tool_calls] == [PROBE.name]
