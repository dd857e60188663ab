from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from agentkit.context import (
    Context,
    ContextWindow,
    Count,
    CountPrompt,
    DropOldExchanges,
    PromptForm,
    Summarize,
)
from agentkit.errors import ContextWindowError
from agentkit.events import ContextCompacted, PromptTokens, Summary
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    SystemMessage,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    Usage,
    UserMessage,
    text_of,
)
from tests.context.driving import driven, encoded, form_of, prompt_text, tokens


def steps(number: int, size: int) -> list[Message]:
    messages: list[Message] = []
    for n in range(number):
        call = ToolCall(f"call_{n}", "read", {"path": f"file {n}"})
        text = f"result {n} " + "word " * size
        messages += [AssistantMessage(None, (call,)), ToolMessage(call.id, "read", text)]
    return messages


def asked(messages: list[Message], max_tokens: int | None = None) -> ModelRequest:
    return ModelRequest(tuple(messages), (), ModelSettings(max_tokens=max_tokens))


TASK: list[Message] = [SystemMessage("Be brief."), UserMessage("Read all of it.")]


def test_what_fits_is_sent_as_it_is() -> None:
    messages = [*TASK, *steps(3, 20)]
    fitted = driven(ContextWindow().fit(asked(messages), form_of()))
    assert list(fitted.request.messages) == messages
    assert fitted.exact
    assert fitted.compacted is None


def test_a_long_result_is_sent_as_a_preview_of_so_many_tokens() -> None:
    messages = [*TASK, *steps(1, 8000)]
    form = form_of()
    fitted = driven(ContextWindow(Context(result_tokens=300)).fit(asked(messages), form))
    shown = text_of(fitted.request.messages[-1].content)
    assert "characters are left out" in shown
    assert shown.startswith("result 0 word")
    assert 150 < fitted.tokens - tokens(prompt_text(messages[:-1], form)) <= 300
    assert len(text_of(messages[-1].content)) > 40_000


def test_a_compaction_goes_well_below_the_limit_and_leaves_alone_what_is_new() -> None:
    window, form = ContextWindow(repeatable={"read"}), form_of(window=4096)
    fitted = driven(window.fit(asked(TASK), form))
    compactions: list[int] = []
    for n in range(1, 40):
        fitted = driven(window.fit(asked([*TASK, *steps(n, 60)]), form))
        assert fitted.tokens <= 3072
        if fitted.compacted is not None:
            compactions.append(n)
            assert fitted.tokens <= 3072 * 0.62
            assert fitted.compacted.before > 3072
            assert fitted.compacted.reason.startswith("the prompt would have passed 3072 tokens")
    assert len(compactions) >= 2
    assert min(b - a for a, b in pairwise(compactions)) >= 3
    use = window.use()
    assert text_of(fitted.request.messages[1].content).endswith("are left out to save space.]")
    assert use.compactions == len(compactions)
    assert use.dropped + len(use.cleared) > 10
    assert sum(use.parts.values()) == fitted.tokens
    assert all(use.parts.values())


@pytest.mark.parametrize(
    ("repeatable", "words"),
    [({"read"}, "Call read again"), (set[str](), "do not repeat it only to")],
)
def test_the_line_for_an_old_result_says_whether_the_call_may_be_made_again(
    repeatable: set[str], words: str
) -> None:
    window, form = ContextWindow(repeatable=repeatable), form_of(window=4096)
    driven(window.fit(asked([*TASK, *steps(1, 60)]), form))
    fitted = driven(window.fit(asked([*TASK, *steps(16, 60)]), form))
    assert window.use().cleared
    assert words in text_of(fitted.request.messages[3].content)


def test_several_long_results_at_once_are_cut_until_they_fit_together() -> None:
    calls = tuple(ToolCall(f"c{n}", "read") for n in range(6))
    results = [ToolMessage(f"c{n}", "read", f"{n} " + "word " * 3000) for n in range(6)]
    messages = [*TASK, AssistantMessage(None, calls), *results]
    fitted = driven(
        ContextWindow(Context(result_tokens=900)).fit(asked(messages), form_of(window=2500))
    )
    assert 2000 < fitted.tokens <= 2500 - 256, "no more is cut than has to be"
    assert [m.role for m in fitted.request.messages] == [m.role for m in messages]


def test_what_must_be_kept_and_does_not_fit_is_a_typed_stop_that_names_it() -> None:
    long = "word " * 5000
    too_long: dict[str, list[Message]] = {
        "user": [UserMessage(long)],
        "instructions": [SystemMessage(long), UserMessage("go")],
    }
    for part, messages in too_long.items():
        with pytest.raises(ContextWindowError, match=f"window's 4096.*The largest is {part}: "):
            driven(ContextWindow().fit(asked(messages), form_of(window=4096)))


def test_max_tokens_is_fitted_to_what_is_left() -> None:
    messages = [*TASK, *steps(4, 60)]
    form = form_of(window=2048)
    fitted = driven(ContextWindow().fit(asked(messages, max_tokens=4000), form))
    assert fitted.request.settings.max_tokens == 2048 - fitted.tokens
    assert driven(ContextWindow().fit(asked(TASK, max_tokens=50), form)).request.settings == (
        ModelSettings(max_tokens=50)
    )
    long = replace(form, reply_tokens=2048)
    fitted = driven(ContextWindow().fit(asked(TASK), long))
    assert fitted.request.settings.max_tokens == 2048 - fitted.tokens


def test_a_server_that_is_stricter_gets_less_the_second_time() -> None:
    window, form = ContextWindow(repeatable={"read"}), form_of()
    messages = [*TASK, *steps(8, 100)]
    first = driven(window.fit(asked(messages), form))
    window.refused()
    second = driven(window.fit(asked(messages), form))
    assert second.tokens <= first.tokens * 3 // 4
    assert second.compacted is not None
    assert "server" in second.compacted.reason


def test_a_reply_makes_room_where_a_server_without_counts_finds_a_task_too_long() -> None:
    task: list[Message] = [UserMessage("word " * 1_000)]
    window, form = ContextWindow(), replace(form_of(window=2048), counting="estimate")
    first = driven(window.fit(asked(task, max_tokens=1024), form))
    assert first.request.settings.max_tokens == 512
    window.refused()
    second = driven(window.fit(asked(task, max_tokens=1024), form))
    assert second.request.settings.max_tokens == 128


def test_a_count_that_turns_out_wrong_makes_it_ask_for_the_whole() -> None:
    window, form = ContextWindow(), form_of()
    whole: list[ModelRequest] = []

    def answer(wanted: Count) -> list[int] | None:
        if isinstance(wanted, CountPrompt):
            whole.append(wanted.request)
            return [777]
        return encoded(wanted)

    messages = [*TASK, *steps(1, 10)]
    first = driven(window.fit(asked(TASK), form), answer)
    window.observe(Usage(input_tokens=first.tokens + 5))
    second = driven(window.fit(asked(messages), form), answer)
    assert [list(request.messages) for request in whole] == [messages]
    assert (second.tokens, second.exact) == (777, True)
    window.observe(Usage(input_tokens=770))
    third = driven(window.fit(asked(messages), form), answer)
    assert (third.tokens >= tokens(prompt_text(messages, form)), third.exact) == (True, False)
    wrong = [(p.foreseen, p.counted, p.exact) for p in window.use().prompts]
    assert wrong == [(first.tokens, first.tokens + 5, True), (777, 770, True)]


def test_another_template_is_asked_for_the_whole_prompt() -> None:
    form = replace(form_of(), counting="whole")
    fitted = driven(
        ContextWindow().fit(asked(TASK), form),
        lambda wanted: [123] if isinstance(wanted, CountPrompt) else encoded(wanted),
    )
    assert (fitted.tokens, fitted.exact) == (123, True)


def test_an_estimate_stands_on_what_the_server_counted_last() -> None:
    window = ContextWindow()
    form = PromptForm()
    first = driven(window.fit(asked(TASK), form))
    assert not first.exact
    window.observe(Usage(input_tokens=first.tokens // 2))
    again = driven(window.fit(asked(TASK), form))
    assert again.tokens == first.tokens // 2
    more = driven(window.fit(asked([*TASK, *steps(1, 10)]), form))
    assert more.tokens > first.tokens // 2


def test_what_the_server_counted_once_is_not_counted_again_while_there_is_room() -> None:
    asks: list[Count] = []

    def answer(wanted: Count) -> list[int] | None:
        asks.append(wanted)
        return encoded(wanted)

    window, form = ContextWindow(), replace(form_of(), asks=True)
    messages = [*TASK, *steps(1, 1500)]
    first = driven(window.fit(asked(messages), form), answer)
    window.observe(Usage(input_tokens=first.tokens))
    longer = [*messages, AssistantMessage("Yes."), UserMessage("Go on.")]
    asks.clear()
    driven(window.fit(asked(longer), form), answer)
    assert asks == []
    driven(ContextWindow().fit(asked(longer), replace(form_of(), asks=True)), answer)
    assert asks, "without a count of before it has to be counted"


def test_a_count_that_cannot_be_the_prompts_is_not_believed() -> None:
    window = ContextWindow()
    messages = [*TASK, *steps(3, 300)]
    first = driven(window.fit(asked(messages), PromptForm()))
    window.observe(Usage(input_tokens=10))
    assert driven(window.fit(asked(messages), PromptForm())).tokens == first.tokens


def test_an_estimate_alone_never_refuses_a_prompt() -> None:
    form = replace(form_of(window=1024), counting="estimate")
    messages: list[Message] = [UserMessage("word " * 900)]
    fitted = driven(ContextWindow().fit(asked(messages), form))
    assert fitted.tokens > 1024
    assert not fitted.exact


def test_a_history_that_is_another_one_begins_anew() -> None:
    window, form = ContextWindow(), form_of()
    driven(window.fit(asked([*TASK, *steps(3, 20)]), form))
    other: list[Message] = [UserMessage("Something else.")]
    fitted = driven(window.fit(asked(other), form))
    assert list(fitted.request.messages) == other
    assert fitted.tokens == tokens(prompt_text(other, form))
    sent = fitted.within.sent
    assert sent is not None
    assert sent.parts == window.use().parts
    assert set(sent.parts) == {"format", "user"}


@pytest.mark.parametrize("letter", ["a", "7", "日", "é", "\U0001f600", "አ"])
def test_what_is_sent_without_a_count_fits_whatever_tokens_are_made_of_it(letter: str) -> None:
    class AskedError(Exception):
        pass

    def answer(_wanted: Count) -> list[int] | None:
        raise AskedError

    sent = 0
    for length in range(250, 8_001, 250):
        form = replace(form_of(), asks=True)
        messages: list[Message] = [UserMessage(letter * length)]
        with suppress(AskedError):
            driven(ContextWindow().fit(asked(messages), form), answer)
            assert len(prompt_text(messages, form).encode()) + form.reply_tokens <= 8_192
            sent += 1
    assert sent


def test_counts_that_stay_wrong_are_estimates_from_then_on() -> None:
    window, form = ContextWindow(), form_of()
    asks: list[Count] = []

    def answer(wanted: Count) -> list[int] | None:
        asks.append(wanted)
        return [777] if isinstance(wanted, CountPrompt) else encoded(wanted)

    first = driven(window.fit(asked(TASK), form), answer)
    window.observe(Usage(input_tokens=first.tokens + 5))
    driven(window.fit(asked([*TASK, *steps(1, 10)]), form), answer)
    window.observe(Usage(input_tokens=800))
    asks.clear()
    third = driven(window.fit(asked([*TASK, *steps(2, 10)]), form), answer)
    assert not third.exact
    assert not any(isinstance(wanted, CountPrompt) for wanted in asks)
    before, now = (tokens(prompt_text([*TASK, *steps(n, 10)], form)) for n in (1, 2))
    assert third.tokens == 800 + now - before


@pytest.mark.parametrize("more", [100, 0, -5])
def test_an_estimate_goes_on_from_what_the_server_counted_last(more: int) -> None:
    window, form = ContextWindow(), replace(form_of(), counting="estimate")
    longer = asked([*TASK, *steps(1, 10)])
    plain = driven(ContextWindow().fit(longer, form))
    first = driven(window.fit(asked(TASK), form))
    window.observe(Usage(input_tokens=first.tokens + more))
    second = driven(window.fit(longer, form))
    assert (second.tokens, second.exact) == (plain.tokens + more, False)


@pytest.mark.parametrize("counted", [0, 1, "a quarter less one", "a quarter"])
def test_a_count_that_cannot_be_of_the_prompt_is_not_believed(counted: int | str) -> None:
    window, form = ContextWindow(), replace(form_of(), counting="estimate")
    longer = asked([*TASK, *steps(1, 10)])
    plain = driven(ContextWindow().fit(longer, form))
    first = driven(window.fit(asked(TASK), form))
    said = {"a quarter less one": first.tokens // 4 - 1, "a quarter": first.tokens // 4}
    usage = Usage(input_tokens=counted if isinstance(counted, int) else said[counted])
    window.observe(usage)
    second = driven(window.fit(longer, form))
    believed = counted == "a quarter"
    less = first.tokens - usage.input_tokens if believed else 0
    assert second.tokens == plain.tokens - less


def test_what_the_server_counted_stands_beside_what_was_foreseen() -> None:
    window, form = ContextWindow(), form_of()
    told: list[PromptTokens] = []
    for n in range(3):
        fitted = driven(window.fit(asked([*TASK, *steps(n, 10)]), form))
        window.observe(Usage(input_tokens=fitted.tokens, cached_input_tokens=n))
        told.append(PromptTokens(n + 1, fitted.tokens, True, fitted.tokens, n))
    assert window.use().prompts == tuple(told)


def test_what_would_free_little_is_left_in_as_long_as_there_is_room() -> None:
    window = ContextWindow(Context(compact_at=1_000), repeatable={"read"})
    messages = [*TASK, *steps(1, 10), *steps(2, 330)[2:]]
    fitted = driven(window.fit(asked(messages), form_of()))
    assert fitted.tokens > 1_000
    assert fitted.compacted is None
    assert list(fitted.request.messages) == messages


@pytest.mark.parametrize("counted", [None, []])
def test_where_the_whole_is_not_counted_its_tokens_are_an_estimate(
    counted: list[int] | None,
) -> None:
    form = replace(form_of(), counting="whole")
    fitted = driven(
        ContextWindow().fit(asked(TASK), form),
        lambda wanted: counted if isinstance(wanted, CountPrompt) else encoded(wanted),
    )
    assert (fitted.tokens, fitted.exact) == (tokens(prompt_text(TASK, form)), False)


def test_a_count_of_no_request_changes_nothing() -> None:
    window = ContextWindow()
    window.observe(Usage(input_tokens=500))
    window.refused()
    assert window.use().prompts == ()
    fitted = driven(window.fit(asked(TASK), form_of()))
    assert fitted.tokens == tokens(prompt_text(TASK, form_of()))


def test_what_can_never_be_left_out_is_told_apart() -> None:
    fitted = driven(ContextWindow().fit(asked([*TASK, *steps(2, 50)]), form_of()))
    sent = fitted.within.sent
    assert sent is not None
    parts = sent.parts
    assert set(parts) == {"format", "instructions", "user", "assistant", "results"}
    assert sent.stays == parts["instructions"] + parts["user"] + parts["format"]


def test_a_window_that_is_restored_sends_what_the_first_one_would_have_sent() -> None:
    form = form_of(window=4096)
    window, restored = ContextWindow(repeatable={"read"}), ContextWindow(repeatable={"read"})
    messages, stubs = list(TASK), set[str]()
    for n in range(30):
        call = ToolCall(f"call_{n}", "read", {"path": f"file {n // 2}"})  # each file is read twice
        result = ToolMessage(call.id, "read", f"file {n // 2} " + "word " * 60)
        messages += [AssistantMessage(None, (call,)), result]
        fitted = driven(window.fit(asked(messages), form))
        usage = Usage(input_tokens=fitted.tokens)
        window.observe(usage)
        restored.restore(asked(messages), fitted.within, usage)
        stubs |= {
            text_of(m.content) for m in fitted.request.messages if "is left out" in str(m.content)
        }
    assert window.use().compactions == restored.use().compactions > 1
    assert any("the same call was made again later" in text for text in stubs)
    longer = asked([*messages, *steps(1, 60)])
    ours, theirs = (driven(each.fit(longer, form)) for each in (window, restored))
    assert theirs == ours


# --- what the record says, and bounds ------------------------------------------------------------


def test_tools_are_of_what_can_never_be_left_out() -> None:
    tools = [ToolDefinition("read", "Reads a file.", {"type": "object"})]
    request = ModelRequest((*TASK, *steps(1, 50)), tools, ModelSettings())
    sent = driven(ContextWindow().fit(request, form_of(tools))).within.sent
    assert sent is not None
    assert sent.parts["tools"] > 0
    stays = ("instructions", "tools", "user", "format")
    assert sent.stays == sum(sent.parts[part] for part in stays)


def test_the_record_says_whether_a_new_result_was_shortened() -> None:
    window = ContextWindow(Context(result_tokens=300))
    for number, size, shortened in ((1, 20, False), (2, 2_000, True)):
        messages = [*TASK, *steps(number - 1, 20), *steps(number, size)[-2:]]
        assert driven(window.fit(asked(messages), form_of())).within.shortened is shortened


def test_a_preview_is_one_of_the_whole_result_and_not_of_what_the_history_holds_of_it() -> None:
    whole = {3: "The whole begins here. " + "word " * 2_000}  # the task is the first message
    window = ContextWindow(Context(result_tokens=300), whole=whole.get)
    fitted = driven(window.fit(asked([*TASK, *steps(1, 1_000)]), form_of()))
    assert text_of(fitted.request.messages[-1].content).startswith("The whole begins here. ")


@pytest.mark.parametrize(("page", "other", "kept"), [(300, 3_000, True), (3_000, 60, False)])
def test_a_page_of_an_old_result_is_cut_last(page: int, other: int, kept: bool) -> None:
    names = ["read_result", *["read"] * 5]
    calls = tuple(ToolCall(f"c{n}", name) for n, name in enumerate(names))
    results = [
        ToolMessage(call.id, call.name, f"{call.id} " + "word " * (other if at else page))
        for at, call in enumerate(calls)
    ]
    window = ContextWindow(Context(result_tokens=2_000), recall=frozenset({"read_result"}))
    messages = [*TASK, AssistantMessage(None, calls), *results]
    fitted = driven(window.fit(asked(messages), form_of(window=2_500)))
    assert fitted.tokens <= 2_500 - 256
    shown = text_of(fitted.request.messages[3].content)
    assert (shown == results[0].content) is kept


def test_the_limit_itself_is_not_beyond_the_limit() -> None:
    messages = [*TASK, *steps(12, 60)]
    tokens_of_all = driven(ContextWindow().fit(asked(messages), form_of())).tokens
    for limit, beyond in ((tokens_of_all, False), (tokens_of_all - 1, True)):
        window = ContextWindow(Context(compact_at=limit), repeatable={"read"})
        driven(window.fit(asked(messages[:4]), form_of()))
        fitted = driven(window.fit(asked(messages), form_of()))
        assert (fitted.compacted is not None) is beyond


def test_what_is_dropped_is_recorded_as_of_no_size() -> None:
    window = ContextWindow(Context(compaction=[DropOldExchanges()]))
    dropped: list[int] = []
    for number in range(1, 30):
        fitted = driven(window.fit(asked([*TASK, *steps(number, 80)]), form_of(window=2_048)))
        assert fitted.within.sent is not None
        dropped += [size for _, state, size in fitted.within.sent.changes if state == "dropped"]
        window.observe(Usage(input_tokens=fitted.tokens))
    assert set(dropped) == {0}


def test_a_limit_of_the_users_own_is_counted_for_too() -> None:
    asks: list[Count] = []

    def answer(wanted: Count) -> list[int] | None:
        asks.append(wanted)
        return encoded(wanted)

    form, request = replace(form_of(), asks=True), asked([*TASK, *steps(1, 300)])
    sent = driven(ContextWindow().fit(request, form), answer).within.sent
    assert asks == [], "there is room for it however it is counted"
    assert sent is not None
    assert not sent.exact
    driven(ContextWindow(Context(compact_at=1_000)).fit(request, form), answer)
    assert asks


def test_a_recorded_summary_of_other_messages_is_not_taken() -> None:
    told: list[ModelRequest] = []

    def writer(request: ModelRequest) -> ModelResponse:
        told.append(request)
        return ModelResponse(AssistantMessage("What I read."), "stop", Usage(900, 40))

    recorded = ContextCompacted(9, 9, ("call_99",), 77, "", summary=Summary("Of another run."))
    window = ContextWindow(Context(compact_at=3_000, compaction=[Summarize(tokens=300)]))
    window.expect([recorded])
    for number in range(30):
        messages = [*TASK, *steps(number, 60)]
        fitted = driven(window.fit(asked(messages), form_of()), reply=writer)
        window.observe(Usage(input_tokens=fitted.tokens))
        if fitted.compacted is not None:
            break
    assert len(told) == 1
    assert "What I read." in window.use().summary
