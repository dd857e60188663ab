"""Random conversations that outgrow their window, step by step; shared with the soak part."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agentkit.context import (
    ClearOldResults,
    Context,
    ContextWindow,
    DropCoveredReads,
    DropDuplicateReads,
    DropOldExchanges,
    Fitted,
    PromptForm,
    Strategy,
    Summarize,
)
from agentkit.context.entries import GO_ON, RECALL_TOOLS, WHAT_WAS
from agentkit.context.strategies import DEFAULT
from agentkit.errors import ContextWindowError, ModelError, ModelTimeoutError
from agentkit.events import PromptFitted
from agentkit.gemma4.render import Generation
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    Usage,
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
    if rng.random() < 0.25:  # a part of a file, which a later result may show as well
        first, last = rng.choice([1, 1, 10, 20]), rng.choice([30, 40, 60])
        shown = [f"{n:>4}| {WORDS[n % len(WORDS)]} {n}".strip() for n in range(first, last + 1)]
        part = ToolCall(calls[0].id, "read", {"path": "a.py", "first": first, "last": last})
        told = "\n".join([*shown, f"(lines {first} to {last} of 90)"])
        calls, results[0] = (part, *calls[1:]), ToolMessage(part.id, "read", told)
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


def random_strategies(rng: random.Random) -> Sequence[Strategy]:
    """The default, or others in any order; mostly with one that can always go on."""
    if rng.random() < 0.4:
        return DEFAULT
    some: list[Strategy] = [
        DropDuplicateReads(),
        DropCoveredReads(),
        ClearOldResults(keep=rng.randrange(4)),
        Summarize(tokens=rng.choice([300, 1_200])),
    ]
    chosen = rng.sample(some, rng.randint(1, 4))
    return [*chosen, DropOldExchanges()] if rng.random() < 0.8 else chosen


def pinned(message: Message) -> bool:
    """Some messages, by their text alone."""
    return message.role in ("user", "tool") and len(text_of(message.content)) % 11 == 0


@dataclass(slots=True)
class _Before:
    fitted: Fitted
    text: str
    users: int


@dataclass(slots=True)
class _Writer:
    """The model, where it is asked for a summary: well, badly, or not at all."""

    seed: int
    form: PromptForm
    before: _Before | None = None
    users: int = 0
    asked: int = 0

    def __call__(self, request: ModelRequest) -> ModelResponse | ModelError:
        self.asked += 1
        assert history_problems(request.messages) == []
        assert request.tool_choice.mode == "none"
        assert "left out" in text_of(request.messages[-1].content)
        text, most = prompt_text(request.messages, self.form), request.settings.max_tokens
        assert self.form.profile is not None
        assert most is not None
        assert tokens(text) + most <= self.form.profile.context_window, "it fits"
        if self.before is not None and self.before.users == self.users:
            self._check_warm(self.before.text, text)
        rng = random.Random(f"{self.seed} {self.asked}")
        kind = rng.random()
        if kind < 0.1:
            return ModelTimeoutError("it took too long")
        said = "" if kind < 0.2 else f"I read file.py and wrote {rng.randrange(1000)}."
        finish: FinishReason = "length" if kind > 0.9 else "stop"
        usage = Usage(tokens(text), tokens(said))
        return ModelResponse(AssistantMessage(said), finish, usage)

    def _check_warm(self, before: str, text: str) -> None:
        """Of the prompt before, all but what closes its last message is computed already."""
        same = next((n for n, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), None)
        lost = 0 if same is None else tokens(before[same:])
        assert lost <= 16, "a summary costs its own tokens and one block of prefill"


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
    context = Context(
        compact_at=rng.choice([None, None, 600, 900]),
        compaction=random_strategies(rng),
        pinned=pinned if rng.random() < 0.3 else None,
    )
    recall = RECALL_TOOLS if rng.random() < 0.5 else frozenset[str]()
    window, twin = (
        ContextWindow(context, repeatable={"read", "list"}, recall=recall) for _ in range(2)
    )
    writer, again = (_Writer(seed, form) for _ in range(2))
    counts: Counter[str] = Counter(histories=1)
    record: list[tuple[ModelRequest, PromptFitted, Usage]] = []
    requests = random_history(seed)
    dies_at = rng.randrange(len(requests))
    for number, messages in enumerate(requests):
        settings = ModelSettings(max_tokens=200, thinking=generation.thinking or None)
        request = ModelRequest(tuple(messages), TOOLS, settings)
        writer.users = again.users = sum(message.role == "user" for message in messages)
        if number == dies_at:  # the twin is one that goes on from the record
            twin = ContextWindow(context, repeatable={"read", "list"}, recall=recall)
            for earlier in record:
                twin.restore(*earlier)
        try:
            fitted = driven(window.fit(request, form), reply=writer)
        except ContextWindowError as error:
            counts["typed stops"] += "The largest is" in str(error)
            break
        assert fitted == driven(twin.fit(request, form), reply=again), "the same again"
        before = writer.before = _check(fitted, messages, form, writer.before)
        again.before = before
        if context.pinned is not None:
            _check_pinned(fitted, messages)
        _check_summary(fitted, window.use().summary)
        counts["covered results"] += _check_covered(fitted, messages)
        usage = Usage(input_tokens=fitted.tokens)
        record.append((request, fitted.within, usage))
        window.observe(usage)
        twin.observe(usage)
        valid(fitted.request)
        _count(counts, fitted)
    counts["summaries asked for"] += writer.asked
    return counts


def _count(counts: Counter[str], fitted: Fitted) -> None:
    counts["requests"] += 1
    if (compacted := fitted.compacted) is not None:
        counts["compactions"] += 1
        counts["dropped messages"] += compacted.dropped
        counts["cleared results"] += len(compacted.cleared)
        counts["summaries"] += compacted.summary is not None and bool(compacted.summary.text)


def _check_pinned(fitted: Fitted, messages: Sequence[Message]) -> None:
    """What is pinned is there; of a result, at least its preview."""
    results = {m.call_id: text_of(m.content) for m in fitted.request.messages if m.role == "tool"}
    said = [text_of(m.content) for m in fitted.request.messages if m.role == "user"]
    for message in filter(pinned, messages):
        if isinstance(message, ToolMessage):
            assert not results[message.call_id].startswith(("[Old result", "[This old result"))
        else:
            assert any(text.startswith(text_of(message.content)) for text in said)


def _check_covered(fitted: Fitted, messages: Sequence[Message]) -> int:
    """Of a result in whose place another is named, that one shows all lines but one, and how many
    there are.
    """
    history = [message for message in messages if message.role != "system"]
    found = 0
    for message in fitted.request.messages:
        if told := COVERED.match(text_of(message.content)):
            old, later = (text_of(history[int(n) - 1].content).split("\n") for n in told.groups())
            shown = "\n".join(later)
            assert any("\n".join(part) in shown for part in (old[1:], old[:-1]))
            assert int(told[1]) < int(told[2])
            found += 1
    return found


COVERED = re.compile(r"\[Old result (\d+) of .* result (\d+) holds all its lines\.")


def _check_summary(fitted: Fitted, summary: str) -> None:
    """The newest summary stands there once, as the model's own words."""
    there = [m for m in fitted.request.messages if text_of(m.content).startswith("[What I wrote")]
    assert [text_of(message.content) for message in there] == ([summary] if summary else [])
    assert all(isinstance(message, AssistantMessage) for message in there)
    if fitted.compacted is not None and (asked := fitted.compacted.summary) is not None:
        assert bool(asked.text) != bool(asked.problem)


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
    assert _doubled(sent) <= _doubled(messages), "the model speaks twice only where it did"
    users = [message for message in messages if message.role == "user"]
    ours = (UserMessage(GO_ON), UserMessage(WHAT_WAS))
    kept = [text_of(m.content) for m in sent if m.role == "user" and m not in ours]
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


def _doubled(messages: Sequence[Message]) -> int:
    """How often a text of the model follows another one."""
    said = [isinstance(m, AssistantMessage) and not m.tool_calls for m in messages]
    return sum(map(all, pairwise(said)))


def _check_late_cut(
    sent: Sequence[Message], results: Sequence[Message], form: PromptForm, most: int
) -> None:
    """New results stand whole where they fit."""
    rest = sent[: len(sent) - len(results)]
    if tokens(prompt_text([*rest, *results], form)) <= most:
        assert list(sent[len(rest) :]) == list(results), "cut only when it does not fit"
