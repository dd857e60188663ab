"""What to change when a reply cannot be used as it is: cut, empty, or repeating itself."""

from __future__ import annotations

from dataclasses import replace

from agentkit.messages import ModelResponse, ModelSettings, StopReason

__all__ = ["second_try", "unusable"]


def unusable(response: ModelResponse) -> tuple[StopReason, str] | None:
    """Why a reply is no step forward; None if it is one.

    Truncation is not malformation: a cut reply is told apart from a wrong one, its calls never run
    and its text is never an answer.
    """
    message = response.message
    if response.finish_reason == "length":
        part = "a call" if message.tool_calls else "the answer" if message.content else "a thought"
        return "truncated", f"the reply was cut by its bound of tokens in {part}"
    if response.finish_reason == "repetition":
        return "loop", "the reply repeated itself without end"
    if not message.tool_calls and not (message.content or "").strip():
        held = "only a thought" if message.reasoning else "nothing"
        return "empty", f"the reply held {held}"
    return None


def second_try(response: ModelResponse, settings: ModelSettings) -> ModelSettings:
    """Settings for asking once more after an unusable reply.

    A reply cut inside its thought gets no thought, other cut ones twice the room, and a call that
    was cut or repeats itself no grammar; an empty one the
    other way of thinking: after a tool's result the model may hang in either (vllm#39885).
    """
    message = response.message
    in_thought = not message.content and not message.tool_calls and bool(message.reasoning)
    if message.tool_calls and response.finish_reason in ("length", "repetition"):
        # Under a grammar no string can end but by its quote, so a model that wanted to stop there
        # had to go on. Without one it can, and with another seed it need not come there again.
        seed = None if settings.seed is None else settings.seed + 1
        settings = replace(settings, grammar=False, seed=seed)
    if response.finish_reason == "length" and not in_thought:
        given = settings.max_tokens or response.usage.output_tokens
        return replace(settings, max_tokens=2 * max(given, 256))
    if response.finish_reason == "repetition":
        return replace(settings, thinking=False, temperature=1.0)
    return replace(settings, thinking=not in_thought and not settings.thinking)
