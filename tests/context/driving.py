"""Drives a window without a model: a tokenizer answers what it asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tokenizers import Tokenizer

from agentkit.context import AskModel, Count, CountTexts, PromptForm, Steps, TokenCounts
from agentkit.errors import ModelError
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import PROFILES
from agentkit.gemma4.render import Generation, render
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    ModelResponse,
    ToolDefinition,
)
from agentkit.models.embedded import BUNDLED

T = TypeVar("T")

TOKENIZER = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))


def tokens(text: str) -> int:
    """Tokens of a text."""
    return len(TOKENIZER.encode(text, add_special_tokens=False).ids)


def encoded(wanted: Count) -> list[int] | None:
    """What the tokenizer answers."""
    return [tokens(text) for text in wanted.texts] if isinstance(wanted, CountTexts) else None


def unasked(request: ModelRequest) -> ModelResponse:
    """No reply: nothing is to ask for one."""
    raise AssertionError(f"the model is asked: {request.messages[-1]}")


def driven(
    steps: Steps[T],
    answer: Callable[[Count], Sequence[int] | None] = encoded,
    reply: Callable[[ModelRequest], ModelResponse | ModelError] = unasked,
) -> T:
    """The outcome of work that asks for counts, and perhaps the model."""
    try:
        wanted = next(steps)
        while True:
            if isinstance(wanted, AskModel):
                wanted = steps.send(reply(wanted.request))
            else:
                wanted = steps.send(answer(wanted))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # the generator's own result


def form_of(
    tools: Sequence[ToolDefinition] = (),
    *,
    window: int = 8192,
    generation: Generation | None = None,
    reply_tokens: int = 256,
) -> PromptForm:
    """What the demonstration model would make of a request."""
    dialect = Dialect(tools, Escape())
    return PromptForm(
        declarations=dialect.declarations,
        outgoing=dialect.outgoing,
        generation=generation or Generation(),
        profile=PROFILES["tiny"].served(window),
        reply_tokens=reply_tokens,
        counting="pieces",
        known=TokenCounts(),
    )


def prompt_text(messages: Sequence[Message], form: PromptForm) -> str:
    """The prompt that a server with our template would make, text beside calls not sent."""
    shown = [form.outgoing(message) for message in messages]
    shown = [
        replace(m, content=None) if isinstance(m, AssistantMessage) and m.tool_calls else m
        for m in shown
    ]
    text = render(shown, form.declarations, form.generation)
    return text.encode("utf-8", "replace").decode()
