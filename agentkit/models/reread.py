"""A reply in the model's own words against the server's reading of it: ours counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentkit.gemma4.leaks import split_thought
from agentkit.gemma4.parse import ParsedReply
from agentkit.gemma4.tokens import CALL_OPEN, CHANNEL_CLOSE, CHANNEL_OPEN, IDS, STOP_IDS
from agentkit.messages import AssistantMessage, FinishReason, ModelResponse, ToolCall
from agentkit.wire import Reply

__all__ = ["has_calls", "in_thought", "reread", "with_leaks", "without_thoughts"]

_THOUGHT_OPEN, _THOUGHT_CLOSE = IDS[CHANNEL_OPEN], IDS[CHANNEL_CLOSE]
_CUE_TOKENS = 8  # the generation cue `<|channel>thought\n` and no more fits in these


def has_calls(reply: Reply, response: ModelResponse, *, constrained: bool = False) -> bool:
    """Whether the model made a call, as its tokens or its server have it.

    Where its tokens are known and none of them opens a call, a call in its text is spelled out: it
    may be quoted. Under a grammar it is not: the grammar works on characters, and what follows the
    opening is held to be a call in either spelling.
    """
    if response.message.tool_calls or reply.finish == "tool_calls":
        return True
    if constrained and CALL_OPEN in (response.message.content or ""):
        return True
    return IDS[CALL_OPEN] in reply.token_ids


def without_thoughts(response: ModelResponse) -> ModelResponse:
    """The response with a thought that stands in its text where it belongs."""
    message = response.message
    thought, text = split_thought(message.content or "")
    if message.content is None or text == message.content:
        return response
    reasoning = "\n".join(filter(None, (message.reasoning, thought))) or None
    return replace(response, message=replace(message, content=text, reasoning=reasoning))


def in_thought(prompt_token_ids: Sequence[int]) -> bool:
    """Whether a prompt ended inside an open thought, so that the reply goes on with it."""
    cue = list(prompt_token_ids[-_CUE_TOKENS:])
    return _THOUGHT_OPEN in cue and _THOUGHT_CLOSE not in cue[cue.index(_THOUGHT_OPEN) :]


def reread(
    response: ModelResponse, parsed: ParsedReply, reply: Reply, first_call: int
) -> ModelResponse:
    """The response that the model's own words amount to.

    Args:
        response: As the server read it.
        parsed: As we read it.
        reply: For the last token, which tells a finished reply from a cut one.
        first_call: The number of the reply's first call within its conversation.
    """
    calls = tuple(call.tool_call(f"call_{first_call + n}") for n, call in enumerate(parsed.calls))
    if parsed.cut_call is not None:
        calls = (*calls, parsed.cut_call.tool_call(f"call_{first_call + len(calls)}"))
    stopped = parsed.stop is not None or bool(reply.token_ids and reply.token_ids[-1] in STOP_IDS)
    finish: FinishReason = response.finish_reason
    if finish in ("stop", "tool_calls"):
        finish = "tool_calls" if calls else "stop"
        if parsed.truncated is not None and not stopped:
            finish = "length"
    message = _message(parsed.text, parsed.reasoning, calls)
    return replace(response, message=message, finish_reason=finish)


def with_leaks(response: ModelResponse, leaked: tuple[ToolCall, ...]) -> ModelResponse:
    """The response with the calls that its text holds, where the server found none."""
    if response.message.tool_calls or not leaked:
        return response
    finish: FinishReason = "length" if response.finish_reason == "length" else "tool_calls"
    message = replace(response.message, content=None, tool_calls=leaked)
    return replace(response, message=message, finish_reason=finish)


def _message(text: str, reasoning: str, calls: tuple[ToolCall, ...]) -> AssistantMessage:
    """Text beside calls has no place in the history (vllm#39885), so it joins the thought."""
    if not calls:
        return AssistantMessage(text, (), reasoning or None)
    thought = "\n".join(part.strip() for part in (reasoning, text) if part.strip())
    return AssistantMessage(None, calls, thought or None)
