"""Random conversations that outgrow their window, step by step; shared with the soak part."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentkit.context import Context, ContextWindow, Fitted, PromptForm
from agentkit.errors import ContextWindowError
from agentkit.gemma4.render import Generation
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    ModelSettings,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
    text_of,
)
from agentkit.policy import history_problems
from tests.context.driving import driven, form_of, prompt_text, tokens
from tests.gemma4.replies import extends

TOOLS = [
    ToolDefinition(
        name,
        "Reads a thing.",
        {"type": "object", "properties": {"path": {"type": "string", "description": "Where."}}},
    )
    for name in ("read", "list", "write")
]
WORDS = [
    "alpha",
    "beta",
    "42",
    "file.py",
    "ü",
    "日本",
    "\n",
    "<turn|>",
    '<|"|>',
    "😀",
    "{a: 1}",
    "  ",
]


def _text(rng: random.Random, most: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(0, most)))


def _step(rng: random.Random, number: int, biggest: int) -> list[Message]:
    """A reply with one to three calls, and their results."""
    calls = tuple(
        ToolCall(f"call_{number}_{n}", rng.choice(TOOLS).name, {"path": _text(rng, 3)})
        for n in range(rng.choice([1, 1, 1, 2, 3]))
    )
    thought = rng.choice([None, None, _text(rng, 20)])
    sizes = [rng.choice([3, 100, 200, biggest]) for _ in calls]
    results = [
        ToolMessage(call.id, call.name, _content(rng, size), rng.random() < 0.1)
        for call, size in zip(calls, sizes, strict=True)
    ]
    return [AssistantMessage(None, calls, thought), *results]


def _content(rng: random.Random, size: int) -> str | tuple[TextPart, ...]:
    text = _text(rng, size)
    return text if rng.random() < 0.9 else (TextPart(text), TextPart("the end"))


def random_history(seed: int) -> list[list[Message]]:
    """The conversation at each of its requests: every list goes on from the one before."""
    rng = random.Random(seed)
    biggest = rng.choice([200, 600, 1500])
    messages: list[Message] = [SystemMessage(_text(rng, 30))] if rng.random() < 0.8 else []
    requests: list[list[Message]] = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        messages = [*messages, UserMessage(f"task {_text(rng, rng.choice([3, 60]))}")]
        for _ in range(rng.randint(1, 8)):
            requests.append(messages)
            messages = [*messages, *_step(rng, len(messages), biggest)]
        requests.append(messages)
        messages = [*messages, AssistantMessage(f"Done. {_text(rng, 30)}")]
    return requests


@dataclass(slots=True)
class _Before:
    fitted: Fitted
    text: str
    users: int


def check_history(
    seed: int, valid: Callable[[ModelRequest], None] = lambda _request: None
) -> Counter[str]:
    """One conversation against every promise of the window; what it counted.

    Args:
        seed: Decides everything.
        valid: Raises if what is sent is not valid for the official templates.
    """
    rng = random.Random(seed)
    generation = Generation(
        thinking=rng.random() < 0.3, variant="large" if rng.random() < 0.7 else "small"
    )
    form = form_of(TOOLS, window=rng.choice([1200, 2500, 4096]), generation=generation)
    context = Context(compact_at=rng.choice([None, None, 600, 900]))
    window, twin = (ContextWindow(context, repeatable={"read", "list"}) for _ in range(2))
    counts: Counter[str] = Counter(histories=1)
    before: _Before | None = None
    for messages in random_history(seed):
        request = ModelRequest(tuple(messages), TOOLS, ModelSettings(max_tokens=200))
        try:
            fitted = driven(window.fit(request, form))
        except ContextWindowError as error:
            counts["typed stops"] += "The largest is" in str(error)
            break
        assert fitted == driven(twin.fit(request, form)), "the same again"
        before = _check(fitted, messages, form, before)
        valid(fitted.request)
        counts["requests"] += 1
        counts["compactions"] += fitted.compacted is not None
        counts["dropped messages"] += fitted.compacted.dropped if fitted.compacted else 0
        counts["cleared results"] += len(fitted.compacted.cleared) if fitted.compacted else 0
    return counts


def _check(
    fitted: Fitted, messages: list[Message], form: PromptForm, before: _Before | None
) -> _Before:
    sent = fitted.request.messages
    text = prompt_text(sent, form)
    assert form.profile is not None
    window = form.profile.context_window
    assert fitted.exact
    assert fitted.tokens == tokens(text), "the prompt is counted to the token"
    assert fitted.tokens + min(200, window // 8) <= window, "there is room for a reply"
    assert history_problems(sent) == [], "calls and results stay together"
    assert sent[0] == messages[0] or messages[0].role == "user", "the instructions are kept"
    users = [message for message in messages if message.role == "user"]
    kept = [text_of(message.content) for message in sent if message.role == "user"]
    assert kept[0].startswith(text_of(users[0].content)), "the task is kept"
    assert kept[-1].startswith(text_of(users[-1].content)), "what was said last is kept"
    newest = max(n for n, message in enumerate(messages) if message.role != "tool")
    tail = messages[newest:]
    assert [m.role for m in sent[len(sent) - len(tail) :]] == [m.role for m in tail]
    assert tail[0] == sent[len(sent) - len(tail)] or tail[0].role == "user"
    if fitted.compacted is None:
        _check_late_cut(sent, tail[1:], form, window - min(200, window // 8))
    if before and fitted.compacted is None and len(users) == before.users:
        assert extends(before.text, text), "a request only adds to the one before"
    return _Before(fitted, text, len(users))


def _check_late_cut(
    sent: Sequence[Message], results: Sequence[Message], form: PromptForm, most: int
) -> None:
    """New results stand whole where they fit with two more like the longest."""
    if not results:
        return
    rest = sent[: len(sent) - len(results)]
    whole = tokens(prompt_text([*rest, *results], form))
    # Calls without results end with the token that opens a result: it is counted with both.
    before = tokens(prompt_text(rest, form)) - 1
    sizes = [tokens(prompt_text([*rest, result], form)) - before for result in results]
    if whole + 2 * max(sizes) <= most:
        assert list(sent[len(rest) :]) == list(results), "cut only when it does not fit"
