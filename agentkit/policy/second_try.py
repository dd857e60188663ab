"""What becomes of a reply that cannot be used: cut, empty, repeating itself, thinking without end,
or a call in a form that cannot be run.

`bounded_thoughts` ends a reply whose reasoning grows too long, `unusable` says why a finished one
is no step forward, `second_try` and `reminded` what to change when the model is asked once more.
Nothing here asks it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from agentkit.events import ModelEvent, ModelFinished, ReasoningDelta, StepRestarted
from agentkit.gemma4.wrong_forms import is_blank, wrong_form
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelResponse,
    ModelSettings,
    StopReason,
    TextPart,
    ToolMessage,
    Usage,
    UserMessage,
)

_CHARACTERS_PER_TOKEN = 4
"""English text has about so many; a server does not count a reply that is left before its end."""


def bounded_thoughts(
    events: AsyncGenerator[ModelEvent, None], most: int | None
) -> AsyncGenerator[ModelEvent, None]:
    """A reply's events; one whose reasoning grows too long is left there, as if it had been cut.

    What it cost is then an estimate of its reasoning, without the prompt.

    Args:
        events: The events of one `Model.generate`.
        most: Most tokens of reasoning; None for no bound.
    """
    return events if most is None else _bounded(events, most)


async def _bounded(
    events: AsyncGenerator[ModelEvent, None], most: int
) -> AsyncGenerator[ModelEvent, None]:
    length = 0  # characters of its reasoning
    async with aclosing(events):
        async for event in events:
            yield event
            if isinstance(event, StepRestarted):
                length = 0
            if not isinstance(event, ReasoningDelta):
                continue
            length += len(event.text)
            if length > most * _CHARACTERS_PER_TOKEN:
                cost = Usage(output_tokens=length // _CHARACTERS_PER_TOKEN)
                message = AssistantMessage(reasoning="(a thought that grew too long)")
                yield ModelFinished(ModelResponse(message, "length", cost))
                return


def unusable(
    response: ModelResponse, tools: Collection[str] = (), *, forced: bool = False
) -> tuple[StopReason, str] | None:
    """Why a reply is no step forward; None if it is one.

    Truncation is not malformation: a cut reply is told apart from a wrong one, its calls never run
    and its text is never an answer.

    Args:
        response: The reply.
        tools: Names of the tools that could be called; without them no text is taken for a call.
        forced: Whether the reply had to hold a call.
    """
    message = response.message
    match response.finish_reason:
        case "length":
            part = "the answer" if message.content else "a thought"
            part = "a call" if message.tool_calls else part
            return "truncated", f"the reply was cut by its bound of tokens in {part}"
        case "repetition":
            return "loop", "the reply repeated itself without end"
        case "content_filter":
            return "content_filter", "the server withheld a part of the reply"
        case "malformed_call":
            return "malformed_call", "the reply began a call where none can be"
        case _:
            pass
    if message.tool_calls:
        return None
    text = message.content or ""
    if is_blank(text):
        held = "only a thought" if message.reasoning and not text.strip() else "nothing"
        return "empty", f"the reply held {held}"
    if (notation := wrong_form(text, tools)) is not None:
        return "malformed_call", f"the reply was {notation} and nothing else"
    if forced:
        return "no_call", "a call was required, and the reply is text"
    return None


def second_try(
    response: ModelResponse, settings: ModelSettings, *, forced: bool = False
) -> ModelSettings:
    """Settings for asking once more after an unusable reply.

    | the reply | is asked for again |
    |---|---|
    | was cut while it reasoned | without reasoning |
    | was cut elsewhere | with twice the room; without a grammar, if a call was cut |
    | repeats itself | without reasoning, at another temperature; without a grammar, if in a call |
    | is empty | with reasoning turned the other way, for it may hang in either (vllm#39885) |
    | is a call in a wrong form | not in the very same way, or it would come again |
    | had to hold a call and holds none | without reasoning |

    A grammar waits for the end of the reasoning, so a model that had to call and began none was
    free.
    """
    message = response.message
    if forced and not message.tool_calls:
        return replace(settings, thinking=False)
    cut_in_reasoning = not message.content and not message.tool_calls and bool(message.reasoning)
    if message.tool_calls and response.finish_reason in ("length", "repetition"):
        # Under a grammar no string can end but by its quote, so a model that wanted to stop there
        # had to go on. Without one it can, and with another seed it need not come there again.
        seed = None if settings.seed is None else settings.seed + 1
        settings = replace(settings, grammar=False, seed=seed)
    if response.finish_reason == "length" and not cut_in_reasoning:
        given = settings.max_tokens or response.usage.output_tokens
        return replace(settings, max_tokens=2 * max(given, 256))
    if response.finish_reason == "repetition":
        return replace(settings, thinking=False, temperature=1.0)
    if response.finish_reason == "malformed_call":
        return replace(settings, thinking=False)
    if response.finish_reason == "content_filter":
        return replace(settings, temperature=1.0, seed=None)
    if not is_blank(message.content or ""):
        return replace(settings, temperature=settings.temperature or 1.0, seed=None)
    return replace(settings, thinking=not cut_in_reasoning and not settings.thinking)


def reminded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation for asking again for a call that was in a wrong form, with a note.

    The note stands at the end of what was said last: a message of its own would void the server's
    prefix cache and take the model's earlier reasoning from it. It is part of one request alone.
    """
    return noted(messages, _NOTE)


def noted(messages: Sequence[Message], note: str) -> tuple[Message, ...]:
    """The conversation with a note at the end of what was said last."""
    *before, last = messages
    if isinstance(last, (UserMessage, ToolMessage)):
        content = last.content
        if isinstance(content, str):
            return (*before, replace(last, content=f"{content}\n\n{note}"))
        return (*before, replace(last, content=(*content, TextPart(f"\n\n{note}"))))
    return tuple(messages)


_NOTE: Final = (
    "(Your last reply was a tool call in a wrong form, so nothing was run. Call the tool in your "
    "own tool call format, or answer in words.)"
)
