"""A result is cut only where it does not fit what is left of the window."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.context import Context, ContextWindow, PromptForm
from agentkit.context.entries import ask_for_less
from agentkit.context.limits import fair_share
from agentkit.gemma4.profiles import PROFILES
from agentkit.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    ModelRequest,
    ModelSettings,
    SystemMessage,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
    text_of,
)
from tests.context.driving import driven, form_of, prompt_text, tokens

WORDS = ["handle", "return", "value", "self.total", "=", "0", "(x, y)", "# why", "import", "None"]


def file_of(rng: random.Random, characters: int) -> str:
    lines: list[str] = []
    while sum(map(len, lines)) + len(lines) < characters:
        lines.append("    " + " ".join(rng.choices(WORDS, k=rng.randint(3, 9))))
    lines[len(lines) // 2] = f"    the answer is {rng.randint(1000, 9999)}"
    return "\n".join(lines)


def asked(*messages: Message, tools: tuple[ToolDefinition, ...] = ()) -> ModelRequest:
    return ModelRequest(messages, tools, ModelSettings(max_tokens=1024))


def read(number: int, text: str) -> list[Message]:
    call = ToolCall(f"call_{number}", "read_file", {"path": f"{number}.py"})
    return [AssistantMessage(None, (call,)), ToolMessage(call.id, "read_file", text)]


def task(words: int) -> list[Message]:
    return [SystemMessage("Look. " * words), UserMessage("What is the answer in the file?")]


@pytest.mark.parametrize("seed", range(40))
def test_a_file_of_two_thousand_characters_stands_whole_in_an_empty_window(seed: int) -> None:
    rng = random.Random(seed)
    text = file_of(rng, rng.randint(1700, 2300))
    form = form_of(window=8192)
    messages = [*task(380), *read(0, text)]
    fitted = driven(ContextWindow().fit(asked(*messages), form))
    assert 800 < tokens(prompt_text(messages[:2], form)) < 2_000
    assert text_of(fitted.request.messages[-1].content) == text


@pytest.mark.parametrize("name", [None, *sorted(PROFILES)])
def test_where_tokens_can_only_be_estimated_the_window_counts_not_a_share(name: str | None) -> None:
    form = PromptForm(counting="estimate", reply_tokens=8192)
    if name is not None:
        profile = replace(PROFILES[name], context_window=131_072)
        form = replace(form, profile=profile.served(131_072))
    text = file_of(random.Random(0), 5_200)
    fitted = driven(ContextWindow().fit(asked(*task(10), *read(0, text)), form))
    assert text_of(fitted.request.messages[-1].content) == text


def test_older_results_make_room_for_a_new_one_before_it_is_cut() -> None:
    rng, window, form = random.Random(3), ContextWindow(), form_of(window=8192)
    messages: list[Message] = task(20)
    for number in range(12):
        messages += read(number, file_of(rng, 2_000))
        fitted = driven(window.fit(asked(*messages), form))
        assert fitted.request.messages[-1] == messages[-1]
        assert fitted.tokens <= 8192 - 1024
    assert window.use().compactions


def test_results_that_fit_together_all_stand_whole() -> None:
    calls = tuple(ToolCall(f"c{n}", "read_file") for n in range(4))
    texts = [file_of(random.Random(n), 1_500) for n in range(4)]
    results = [ToolMessage(f"c{n}", "read_file", text) for n, text in enumerate(texts)]
    messages = [*task(10), AssistantMessage(None, calls), *results]
    fitted = driven(ContextWindow().fit(asked(*messages), form_of(window=8192)))
    assert [text_of(m.content) for m in fitted.request.messages[-4:]] == texts


def test_a_result_that_does_not_fit_is_cut_so_that_two_more_like_it_have_room() -> None:
    text, form = file_of(random.Random(1), 40_000), form_of(window=8192)
    messages = [*task(10), *read(0, text)]
    fitted = driven(ContextWindow().fit(asked(*messages), form))
    rest = tokens(prompt_text(messages[:-1], form))
    assert (7168 - rest) / 3 * 0.7 < fitted.tokens - rest <= (7168 - rest) / 3
    assert "are left out here" in text_of(fitted.request.messages[-1].content)


def test_all_results_stand_whole_as_long_as_all_of_them_fit() -> None:
    form, window = form_of(window=8192), ContextWindow(Context(compact_at=1.0))
    messages = [*task(10), *read(0, file_of(random.Random(0), 5_000))]
    first = driven(window.fit(asked(*messages), form))
    assert list(first.request.messages) == messages
    messages += read(1, file_of(random.Random(1), 5_000))
    fitted = driven(window.fit(asked(*messages), form))
    assert list(fitted.request.messages) == messages
    assert fitted.compacted is None
    assert fitted.tokens > 7168 * 0.7, "there is no room for another like these"


def test_what_stood_whole_because_there_was_room_becomes_a_preview_not_a_stub() -> None:
    form, window = form_of(window=8192), ContextWindow(Context(compact_at=1.0))
    messages = [*task(10), *read(0, file_of(random.Random(0), 7_500))]
    for number in (1, 2):
        driven(window.fit(asked(*messages), form))
        messages += read(number, file_of(random.Random(number), 7_500))
    fitted = driven(window.fit(asked(*messages), form))
    assert fitted.compacted is not None
    assert (fitted.compacted.cleared, fitted.compacted.dropped) == ((), 0)
    assert fitted.compacted.before > 7168
    assert fitted.compacted.after == fitted.tokens
    assert window.use().compactions == 1
    shown = [text_of(m.content) for m in fitted.request.messages if m.role == "tool"]
    assert all("are left out here" in text for text in shown)
    assert min(map(len, shown)) > 3_000


@pytest.mark.parametrize(("length", "preview"), [(5_600, True), (4_000, False)])
def test_a_long_result_becomes_a_preview_where_that_makes_enough_room(
    length: int, preview: bool
) -> None:
    form, window = form_of(window=8192), ContextWindow(Context(compact_at=1.0))
    messages = [*task(10), *read(0, file_of(random.Random(0), length))]
    fitted = driven(window.fit(asked(*messages), form))
    for number in range(1, 40):
        messages += read(number, file_of(random.Random(number), 500))
        fitted = driven(window.fit(asked(*messages), form))
        if fitted.compacted is not None:
            break
    use = window.use()
    assert fitted.tokens <= 7168
    assert (use.shortened == ("call_0",), use.cleared == ()) == (preview, preview)


def test_a_result_that_was_cut_when_it_came_is_not_cut_again_to_make_room() -> None:
    form, window = form_of(window=8192), ContextWindow(Context(compact_at=1.0))
    messages = [*task(10), *read(0, file_of(random.Random(0), 40_000))]
    fitted = driven(window.fit(asked(*messages), form))
    first = fitted.request.messages[-1]
    assert "are left out here" in text_of(first.content)
    for number in range(1, 9):
        messages += read(number, file_of(random.Random(number), 3_000))
        fitted = driven(window.fit(asked(*messages), form))
        if fitted.compacted is not None:
            break
    shown = [m for m in fitted.request.messages if m.role == "tool"]
    assert fitted.compacted is not None
    assert shown[0] == first or text_of(shown[0].content).startswith("[This old result")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=6), st.integers(-100, 7_500))
def test_a_share_is_the_largest_that_leaves_room_for_two_more(sizes: list[int], left: int) -> None:
    share = fair_share(sizes, left)

    def fits(most: int) -> bool:
        cut = [min(size, most) for size in sizes]
        return sum(cut) + 2 * max(cut) <= left

    assert share == 0 or fits(share)
    assert fits(share + 1) == fits(share) or share < max(sizes)


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        (
            {"path": {"type": "string"}, "first_line": {"type": "integer"}},
            "Call look again with first_line set to what is missing.",
        ),
        (
            {
                "offset": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "maxItems": {"type": "number"},
            },
            "Call look again with offset and maxItems set to what is missing.",
        ),
        (
            {"query": {"type": "string"}, "user_id": {"type": "integer"}},
            "If you need what is missing, call look for less at once, by its query or user_id.",
        ),
        ({}, "look takes no arguments: what is missing cannot be asked for."),
    ],
)
def test_what_is_cut_says_how_to_ask_for_the_rest(properties: JsonObject, wanted: str) -> None:
    definition = ToolDefinition("look", "", {"type": "object", "properties": properties})
    assert ask_for_less(definition) == wanted
    call = ToolCall("c", "look")
    text = "word " * 20_000
    messages = [*task(1), AssistantMessage(None, (call,)), ToolMessage("c", "look", text)]
    fitted = driven(ContextWindow().fit(asked(*messages, tools=(definition,)), form_of()))
    assert wanted in text_of(fitted.request.messages[-1].content)
