"""How a summary of what is left out is asked for, checked, and worded.

In: the messages as they are sent, and those that are left out. Out: a `Summary`, with a text or
with the reason why there is none. The question follows the prompt that the model had last, which is
all but the newest exchange, so nearly all of it is in the server's prefix cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from agentkit.context.entries import GO_ON, WHAT_WAS
from agentkit.context.finding import missing
from agentkit.context.limits import UNKNOWN_WINDOW, WORTH_IT, PromptLimits
from agentkit.context.prompt import AskModel, PromptForm, Steps, estimated_tokens, tokens_of
from agentkit.context.strategies import Summarize
from agentkit.events import Summary
from agentkit.gemma4.wrong_forms import is_blank, wrong_form
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    ModelResponse,
    SystemMessage,
    TextPart,
    ToolChoice,
    ToolMessage,
    UserMessage,
)

_LEAST: Final = 64
"""Tokens; a summary is not asked for if there is less room for it."""

_ANSWERED: Final = "[After that you answered: {}]"
_FRAME: Final = "[What I wrote down of the messages that are left out:]\n{}"
_LIST: Final = "\n[Named there as well: {}]"
_AROUND: Final = estimated_tokens(_FRAME + _LIST + max(GO_ON, WHAT_WAS, key=len))
"""Tokens, at most, of the words around and after a summary and its list."""

_TOKENS_A_WORD: Final = 2
"""Tokens of a word of a summary, about: a summary is full of names, paths and numbers."""


def summary_tokens(limits: PromptLimits) -> int:
    """The most tokens of a summary with its list, by the limit alone.

    It is the least that a compaction frees, so that a summary never takes more than was freed.
    """
    return (limits.compact_at or UNKNOWN_WINDOW) // WORTH_IT


def summarize(
    strategy: Summarize,
    sent: Sequence[Message],
    gone: Sequence[str],
    request: ModelRequest,
    *,
    count: Callable[[Sequence[Message]], Steps[int]],
    limits: PromptLimits,
    form: PromptForm,
) -> Steps[Summary]:
    """Lets the model write down what it will need of the messages that are left out.

    Args:
        strategy: How the model is asked.
        sent: The messages of the prompt that it had last, the instructions included.
        gone: The texts of what is left out, oldest first.
        request: The request that has to be made shorter.
        count: The tokens of a prompt.
        limits: The limits of the request.
        form: What the model makes of it.
    """
    room = min(strategy.tokens, summary_tokens(limits))
    most = room * 2 // 3 - _AROUND  # the rest is for the list
    if most < _LEAST:
        return Summary(problem=f"a prompt of {limits.compact_at} tokens has no room for one")
    ask = strategy.ask.replace("{words}", str(most // _TOKENS_A_WORD))
    reply, settings = most, request.settings
    if settings.thinking:  # without it the prompt would differ from its first turn on
        reply += settings.thinking_tokens or 2 * most
    messages = tuple(_with_ask(sent, ask))
    if limits.window is not None:
        reply = min(reply, limits.window - (yield from count(messages)))
    if reply < _LEAST:
        return Summary(problem="the window has no room to write one")
    answer = yield AskModel(
        replace(
            request,
            messages=messages,
            settings=replace(settings, max_tokens=reply),
            tool_choice=ToolChoice("none"),
        )
    )
    if not isinstance(answer, ModelResponse):
        return Summary(problem=f"the model could not be asked: {answer}")
    text = (answer.message.content or "").strip()
    (taken,), counted = yield from tokens_of([text], form)
    if problem := _why_unusable(answer, [tool.name for tool in request.tools]):
        return Summary(cost=answer.usage, problem=problem)
    if taken > (room if counted else 2 * room):
        problem = f"what the model wrote is longer than {room} tokens"
        return Summary(cost=answer.usage, problem=problem)
    left = max(room - _AROUND - taken, room // 4)
    return Summary(_worded(text, missing(text, gone), left), answer.usage)


def _why_unusable(answer: ModelResponse, tools: Sequence[str]) -> str:
    text = answer.message.content or ""
    if is_blank(text) or answer.message.tool_calls:
        return "the model wrote nothing"
    if answer.finish_reason != "stop":
        return f"what the model wrote came to no end ({answer.finish_reason})"
    return "the model wrote a call in a wrong form" if wrong_form(text, tools) else ""


def _with_ask(messages: Sequence[Message], ask: str) -> list[Message]:
    """The messages with this question at their end, so that as much as possible stays cached.

    A user message after results would take the reasoning out of the turn, and so void the server's
    cache from there on. So the question stands in the last result itself. If the model has answered
    since, its answer is quoted there.
    """
    last = messages[-1]
    if isinstance(last, AssistantMessage) and isinstance(messages[-2], ToolMessage):
        ask = f"{_ANSWERED.format(last.content or '')}\n\n{ask}"
        messages, last = messages[:-1], messages[-2]
    if isinstance(last, AssistantMessage):
        return [*messages, UserMessage(ask)]
    assert not isinstance(last, SystemMessage), "a conversation is more than its instructions"
    if isinstance(last.content, str):
        return [*messages[:-1], replace(last, content=f"{last.content}\n\n{ask}")]
    return [*messages[:-1], replace(last, content=(*last.content, TextPart(f"\n\n{ask}")))]


def _worded(summary: str, lost: Iterable[str], room: int) -> str:
    """The text in place of the messages that are left out.

    Args:
        summary: The model's text.
        lost: Facts that it does not name, the most important first.
        room: Tokens for those facts, by an estimate on the safe side.
    """
    listed: list[str] = []
    for fact in lost:
        room -= estimated_tokens(fact) + 2
        if room < 0:
            break
        listed.append(fact)
    text = _FRAME.format(summary)
    return text + _LIST.format("; ".join(listed)) if listed else text
