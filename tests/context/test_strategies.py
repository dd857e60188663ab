from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agentkit.context import (
    Clear,
    ClearOldResults,
    Context,
    ContextWindow,
    Drop,
    DropCoveredReads,
    DropDuplicateReads,
    DropOldExchanges,
    Fitted,
    Move,
    Past,
    Strategy,
    Summarize,
    estimated_tokens,
)
from agentkit.context.entries import GO_ON, RECALL_TOOLS, WHAT_WAS, Entries
from agentkit.context.strategies import Newer
from agentkit.errors import ContextWindowError, ModelError, ModelTimeoutError
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    SystemMessage,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
    text_of,
)
from tests.context.driving import driven, form_of, prompt_text, tokens, unasked

TASK: list[Message] = [SystemMessage("Be brief."), UserMessage("Mend the login.")]


def read(number: int, path: str, text: str, *, error: bool = False) -> list[Message]:
    """A call that reads a file, and its result."""
    call = ToolCall(f"call_{number}", "read", {"path": path})
    return [AssistantMessage(None, (call,)), ToolMessage(call.id, "read", text, error)]


def past_of(*exchanges: list[Message], repeatable: frozenset[str] = frozenset({"read"})) -> Past:
    entries = Entries()
    for message in [UserMessage("go"), *(m for exchange in exchanges for m in exchange)]:
        entries.add(message)
    return entries.past(repeatable)


def places(strategy: Strategy, past: Past) -> list[int]:
    return [move.at for move in strategy.moves(past) if isinstance(move, Clear)]


# --- which results -------------------------------------------------------------------------------


def test_of_several_reads_of_one_file_only_the_newest_is_no_duplicate() -> None:
    past = past_of(
        read(0, "a.py", "old"), read(1, "b.py", "b"), read(2, "a.py", "new"), read(3, "c.py", "c")
    )
    assert places(DropDuplicateReads(), past) == [2]
    assert past.newer == {2: Newer(6, same_call=True)}


def test_a_read_that_failed_makes_no_duplicate_of_the_one_before() -> None:
    past = past_of(
        read(0, "a.py", "text"), read(1, "a.py", "gone", error=True), read(2, "b.py", "b")
    )
    assert places(DropDuplicateReads(), past) == []


def test_of_a_tool_that_does_more_than_read_only_equal_results_are_duplicates() -> None:
    same = past_of(read(0, "a", "x"), read(1, "a", "x"), read(2, "b", "y"), repeatable=frozenset())
    other = past_of(read(0, "a", "x"), read(1, "a", "z"), read(2, "b", "y"), repeatable=frozenset())
    assert places(DropDuplicateReads(), same) == [2]
    assert places(DropDuplicateReads(), other) == []


def lines(first: int, last: int, *, numbered: bool = True) -> str:
    """That part of a file, as a tool shows it: with a line that says which part that is."""
    shown = [f"{n:>4}| line {n} of it" if numbered else f"line {n} of it" for n in range(1, 301)]
    return "\n".join([*shown[first - 1 : last], f"(lines {first} to {last} of 300)"])


def part(number: int, first: int, last: int, path: str = "a.py", **given: bool) -> list[Message]:
    """A call that reads a part of a file, and its result."""
    call = ToolCall(f"call_{number}", "read", {"path": path, "from": first, "to": last})
    result = ToolMessage(call.id, "read", lines(first, last, **given))
    return [AssistantMessage(None, (call,)), result]


@pytest.mark.parametrize("numbered", [True, False])
def test_lines_that_a_later_result_shows_too_are_no_news(numbered: bool) -> None:
    past = past_of(
        part(0, 50, 90, numbered=numbered),
        part(1, 1, 100, numbered=numbered),
        part(2, 1, 150, numbered=numbered),
        part(3, 200, 210),
    )
    assert places(DropCoveredReads(), past) == [2, 4]
    assert past.newer == {2: Newer(6, same_call=False), 4: Newer(6, same_call=False)}
    assert places(DropDuplicateReads(), past) == []


@pytest.mark.parametrize(
    ("later", "why"),
    [
        (part(1, 50, 150), "a part of it stands nowhere else"),
        (part(1, 1, 99), "the last line stands nowhere else, nor does what the tool says of it"),
        (part(1, 1, 150, path="b.py"), "it is of another file"),
    ],
)
def test_a_result_that_holds_anything_else_is_covered_by_none(
    later: list[Message], why: str
) -> None:
    assert places(DropCoveredReads(), past_of(part(0, 1, 100), later, part(2, 3, 20))) == [], why


def test_what_a_tool_does_or_fails_at_covers_nothing() -> None:
    call, result = part(1, 1, 150)
    assert isinstance(result, ToolMessage)
    failed = [call, replace(result, is_error=True)]
    assert past_of(part(0, 50, 90), failed, part(2, 200, 210)).newer == {}
    doing = past_of(part(0, 50, 90), part(1, 1, 150), part(2, 3, 9), repeatable=frozenset())
    assert doing.newer == {}


def test_few_lines_may_stand_in_a_later_result_by_chance() -> None:
    assert past_of(part(0, 50, 55), part(1, 1, 150), part(2, 200, 210)).newer == {}


def test_so_many_of_the_newest_results_stay() -> None:
    past = past_of(*(read(n, f"{n}", "text") for n in range(5)))
    assert places(ClearOldResults(keep=3), past) == [2]
    assert places(ClearOldResults(keep=9), past) == []
    assert places(ClearOldResults(), past) == [2, 4, 6, 8]


def test_strategies_are_values() -> None:
    assert ClearOldResults(keep=3) == ClearOldResults(keep=3)
    assert repr(ClearOldResults(keep=3)) == "ClearOldResults(keep=3)"
    assert hash(Context(compaction=[DropOldExchanges()])) == hash(
        Context(compaction=(DropOldExchanges(),))
    )


@pytest.mark.parametrize("given", [[ClearOldResults], ["clear"], [list]])
def test_what_is_no_strategy_is_refused_with_what_to_write(given: list[Strategy]) -> None:
    with pytest.raises(TypeError, match=r"compaction=\[ClearOldResults\(\), …\]"):
        Context(compaction=given)


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        ClearOldResults(keep=-1)
    with pytest.raises(ValueError, match="at least 100"):
        Summarize(tokens=5)


# --- in a window ---------------------------------------------------------------------------------


def long(n: int, words: int = 160) -> list[Message]:
    return read(n, f"src/part_{n}.py", f"part {n} " + "word " * words)


def asked(messages: list[Message]) -> ModelRequest:
    return ModelRequest(tuple(messages), (), ModelSettings(max_tokens=100))


def compacted(context: Context, messages: list[Message]) -> Fitted:
    """What is sent of a conversation that outgrew a window of 4,096 tokens."""
    window = ContextWindow(context, repeatable={"read"}, recall=RECALL_TOOLS)
    fitted = driven(window.fit(asked(messages), form_of(window=4096)))
    assert fitted.compacted is not None
    return fitted


def texts(fitted: Fitted) -> list[str]:
    return [text_of(m.content) for m in fitted.request.messages if m.role == "tool"]


def test_duplicates_go_first_and_say_which_result_is_newer() -> None:
    again = read(9, "src/part_0.py", "part 0 " + "word " * 130)
    fitted = compacted(
        Context(compact_at=2_000, compaction=[DropDuplicateReads()]),
        [*TASK, *long(0, 130), *long(1, 130), *long(2, 130), *again, *long(3, 130)],
    )
    assert re.fullmatch(
        r"\[Old result 3 of read, \d+ tokens, is left out: result 9 is newer, of the same call\. "
        r"Call read_result with result 3 to read it\.\]",
        texts(fitted)[0],
    )
    assert [text.split()[:2] for text in texts(fitted)[1:]] == [
        ["part", f"{n}"] for n in (1, 2, 0, 3)
    ]


def test_what_a_later_result_shows_whole_goes_before_what_is_older() -> None:
    messages = [*TASK, *long(8, 130), *part(0, 50, 90), *part(1, 1, 100), *long(9, 130)]
    fitted = compacted(Context(compact_at=1_200), messages)
    assert re.fullmatch(
        r"\[Old result 5 of read, \d+ tokens, is left out: result 7 holds all its lines\. "
        r"Call read_result with result 5 to read it\.\]",
        texts(fitted)[1],
    )


def test_a_preview_covers_nothing() -> None:
    messages = [*TASK, *part(0, 50, 90), *part(1, 1, 200), *long(9, 130)]
    chosen: list[Strategy] = [DropCoveredReads(), ClearOldResults()]
    fitted = compacted(Context(compact_at=900, result_tokens=700, compaction=chosen), messages)
    assert texts(fitted)[0].startswith("[Old result 3 of read, ")
    assert "holds all its lines" not in texts(fitted)[0]


def test_what_is_pinned_stays_with_its_call() -> None:
    messages = [*TASK, *(m for n in range(20) for m in long(n))]
    fitted = compacted(
        Context(compact_at=2_000, pinned=lambda m: text_of(m.content).startswith("part 1 ")),
        messages,
    )
    assert messages[5] in fitted.request.messages
    assert messages[4] in fitted.request.messages
    assert messages[7] not in fitted.request.messages


def test_a_strategy_of_ones_own_says_what_goes_first() -> None:
    class LongestFirst:
        def moves(self, past: Past) -> Iterator[Move]:
            longest = sorted(past.results, key=lambda at: -len(text_of(past.messages[at].content)))
            return map(Clear, longest)

    fitted = compacted(
        Context(compact_at=2_000, compaction=[LongestFirst()]),
        [*TASK, *long(0, 60), *long(1, 60), *long(2, 400), *long(3, 60), *long(4, 60)],
    )
    cleared = [text.startswith("[Old") for text in texts(fitted)]
    assert cleared == [False, False, True, False, False]


def test_a_strategy_that_names_what_must_stay_is_told_so() -> None:
    class Wrong:
        def moves(self, past: Past) -> Iterator[Move]:  # noqa: ARG002 - whatever it is
            yield Drop((0, 1, 2))

    with pytest.raises(ValueError, match=r"\(0, 1, 2\), which is none of Past.exchanges"):
        compacted(Context(compact_at=1_000, compaction=[Wrong()]), [*TASK, *long(0), *long(1, 900)])


def test_an_answer_stays_as_long_as_there_is_work_in_front_of_it() -> None:
    class NewestFirst:
        def moves(self, past: Past) -> Iterator[Move]:
            return map(Drop, reversed(past.exchanges))

    messages = [
        *TASK,
        *long(0, 300),
        *long(1, 300),
        AssistantMessage("Done."),
        UserMessage("More."),
    ]
    fitted = compacted(
        Context(compact_at=900, compaction=[NewestFirst()]), [*messages, *long(2, 300)]
    )
    assert [m.role for m in fitted.request.messages][-4:] == [
        "assistant",
        "user",
        "assistant",
        "tool",
    ]


def test_without_strategies_a_prompt_that_is_too_long_says_what_was_chosen() -> None:
    messages = [*TASK, *(m for n in range(40) for m in long(n))]
    with pytest.raises(
        ContextWindowError, match=r"left out by compaction=\[ClearOldResults\(keep=99"
    ):
        compacted(Context(compaction=[ClearOldResults(keep=99)]), messages)


# --- summaries -----------------------------------------------------------------------------------


class Writer:
    """Writes what it is told to, and keeps what it was asked."""

    def __init__(self, text: str = "I read the parts.", finish: FinishReason = "stop") -> None:
        self.requests: list[ModelRequest] = []
        self._response = ModelResponse(AssistantMessage(text), finish, Usage(900, 40, 880))

    def __call__(self, request: ModelRequest) -> ModelResponse | ModelError:
        self.requests.append(request)
        return self._response


NOTED, NEXT = AssistantMessage("Noted."), UserMessage("And now?")
SUMMARIZE = Context(compact_at=3_000, compaction=[Summarize(tokens=300)])


def steps_until_compacted(context: Context, writer: Writer) -> tuple[Fitted, Fitted, ContextWindow]:
    """The request before the first compaction, the one with it, and the window."""
    window = ContextWindow(context, repeatable={"read"}, recall=RECALL_TOOLS)
    messages, before = list(TASK), None
    for n in range(40):
        fitted = driven(window.fit(asked(messages), form_of(window=8192)), reply=writer)
        window.observe(Usage(input_tokens=fitted.tokens))
        if fitted.compacted is not None:
            assert before is not None
            return before, fitted, window
        before, messages = fitted, [*messages, *long(n)]
    raise AssertionError("it never was too long")


def test_a_summary_stands_where_the_exchanges_stood_with_what_it_does_not_name() -> None:
    writer = Writer("I read src/part_0.py: nothing there.")
    before, fitted, window = steps_until_compacted(SUMMARIZE, writer)
    task, summary, behind = fitted.request.messages[1:4]
    assert behind == UserMessage(GO_ON)
    assert "older messages that followed this one are left out" in text_of(task.content)
    assert "Call recall with some words to find them" in text_of(task.content)
    assert isinstance(summary, AssistantMessage)
    text = text_of(summary.content)
    assert text.startswith(
        "[What I wrote down of the messages that are left out:]\nI read src/part_0"
    )
    named = text.split("[Named there as well: ")[1]
    assert "src/part_1.py" in named
    assert "part_0" not in named
    assert window.use().summary == text
    sent, part = fitted.within.sent, window.use().parts
    assert sent is not None
    assert (
        sent.stays - estimated_tokens(text) == part["instructions"] + part["user"] + part["format"]
    )
    assert window.use().dropped == fitted.compacted.dropped if fitted.compacted else False
    assert fitted.tokens < before.tokens


def talked_until_compacted(context: Context) -> Fitted:
    """The request with the first compaction of a conversation without tools."""
    window = ContextWindow(context)
    messages: list[Message] = [UserMessage("Keep it short."), NOTED]
    for n in range(12):
        messages += [UserMessage(f"Question {n}? " * 60), AssistantMessage(f"Answer {n}. " * 60)]
        fitted = driven(window.fit(asked([*messages, NEXT]), form_of(window=8192)), reply=Writer())
        if fitted.compacted is not None:
            return fitted
    raise AssertionError("it never was too long")


def test_behind_a_text_of_the_model_the_user_asks_for_the_summary() -> None:
    context = replace(SUMMARIZE, pinned=lambda message: message.content == "Noted.")
    fitted = talked_until_compacted(context)
    task, noted, question, summary, behind = fitted.request.messages[:5]
    assert text_of(task.content).startswith("Keep it short.")
    assert (noted, question) == (NOTED, UserMessage(WHAT_WAS))
    assert text_of(summary.content).startswith("[What I wrote down")
    assert behind.role == "user"


def test_it_is_asked_for_behind_the_very_prompt_that_went_before() -> None:
    writer, form = Writer(), form_of(window=8192)
    before, fitted, _ = steps_until_compacted(SUMMARIZE, writer)
    (request,) = writer.requests
    assert request.tool_choice.mode == "none"
    assert request.tools == before.request.tools
    was = prompt_text(before.request.messages, form)
    now = prompt_text(request.messages, form)
    same = next(n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b)
    assert tokens(was[same:]) <= 16, "all but what closes the last result is in the cache"
    assert tokens(now[same:]) < 200, "and what is new is the question"
    assert fitted.compacted is not None
    assert fitted.compacted.summary is not None
    assert fitted.compacted.summary.cost == Usage(900, 40, 880)


def test_behind_an_answer_it_is_asked_for_in_the_result_before_with_the_answer_quoted() -> None:
    writer, form = Writer(), form_of(window=8192)
    window = ContextWindow(SUMMARIZE, repeatable={"read"}, recall=RECALL_TOOLS)
    worked = [*TASK, *(message for n in range(4) for message in long(n))]
    before = driven(window.fit(asked(worked), form), reply=writer)
    window.observe(Usage(input_tokens=before.tokens))
    goes_on = [*worked, AssistantMessage("It is in part 3."), UserMessage("And now? " * 900)]
    fitted = driven(window.fit(asked(goes_on), form), reply=writer)
    assert before.compacted is None
    assert fitted.compacted is not None
    (request,) = writer.requests
    assert isinstance(request.messages[-1], ToolMessage)
    assert "[After that you answered: It is in part 3.]" in text_of(request.messages[-1].content)
    was = prompt_text(before.request.messages, form)
    now = prompt_text(request.messages, form)
    same = next(n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b)
    assert tokens(was[same:]) <= 16, "all but what closes the last result is in the cache"


@pytest.mark.parametrize(
    ("writer", "why"),
    [
        (Writer(""), "the model wrote nothing"),
        (Writer("\u200b<turn|>"), "the model wrote nothing"),
        (Writer("and so on and so on", "length"), "came to no end"),
        (Writer("word " * 2_000), "is longer than 300 tokens"),
    ],
)
def test_without_a_usable_summary_the_exchanges_are_left_out_all_the_same(
    writer: Writer, why: str
) -> None:
    _, fitted, window = steps_until_compacted(SUMMARIZE, writer)
    assert fitted.compacted is not None
    assert fitted.compacted.dropped
    summary = fitted.compacted.summary
    assert summary is not None
    assert why in summary.problem
    assert summary.text == window.use().summary == ""
    assert summary.cost == Usage(900, 40, 880), "it is paid for all the same"
    plain = steps_until_compacted(
        Context(compact_at=3_000, compaction=[DropOldExchanges()]), Writer()
    )[1]
    assert len(fitted.request.messages) <= len(plain.request.messages)


def test_a_model_that_cannot_be_asked_ends_nothing() -> None:
    window = ContextWindow(SUMMARIZE)
    messages = [*TASK, *(m for n in range(30) for m in long(n))]
    fitted = driven(
        window.fit(asked(messages), form_of(window=16_384)),
        reply=lambda _request: ModelTimeoutError("it took too long"),
    )
    assert fitted.compacted is not None
    assert fitted.compacted.summary is not None
    assert fitted.compacted.summary.problem == "the model could not be asked: it took too long"


def test_a_limit_with_no_room_for_a_summary_asks_for_none() -> None:
    context = Context(compact_at=600, compaction=[Summarize()])
    window = ContextWindow(context)
    messages = [*TASK, *(m for n in range(6) for m in long(n))]
    fitted = driven(window.fit(asked(messages), form_of()), reply=unasked)
    assert fitted.compacted is not None
    assert fitted.compacted.summary is not None
    assert "no room" in fitted.compacted.summary.problem


def test_the_next_summary_takes_over_what_the_first_one_named() -> None:
    writer = Writer("I saw it all.")
    window = ContextWindow(SUMMARIZE, repeatable={"read"}, recall=RECALL_TOOLS)
    form, messages, seen, n = form_of(window=8192), list(TASK), 0, 0
    before = fitted = driven(window.fit(asked(messages), form), reply=writer)
    while seen < 2:
        before = fitted
        fitted = driven(window.fit(asked(messages), form), reply=writer)
        window.observe(Usage(input_tokens=fitted.tokens))
        seen += fitted.compacted is not None
        fact = "The key is 4711-XY." if n == 0 else ""
        messages, n = [*messages, *read(n, f"{n}", f"{fact} " + "word " * 160)], n + 1
    summaries = [m for m in fitted.request.messages if text_of(m.content).startswith("[What I wr")]
    assert len(summaries) == 1
    assert "4711-XY" in text_of(summaries[0].content)
    asked_again = [text_of(m.content) for m in writer.requests[1].messages]
    assert any("4711-XY" in text for text in asked_again), "it reads what it wrote before"
    shown = before.request.messages
    assert writer.requests[1].messages[: len(shown) - 1] == shown[:-1], "and nothing older"
