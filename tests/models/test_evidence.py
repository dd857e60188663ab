from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, cast

import pytest

from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.tokens import CHANNEL_CLOSE, CHANNEL_OPEN, IDS, STOP_IDS
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    ModelResponse,
    ToolCall,
    ToolDefinition,
)
from agentkit.models.calls import Evidence, believed, in_reasoning, may_hold_calls
from agentkit.wire import Reply
from tests.gemma4.replies import tokenize

Q = '<|"|>'
ADD = ToolDefinition(
    "add",
    "Adds.",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "note": {"type": "string"}},
        "additionalProperties": False,
    },
)
DIALECT = Dialect([ADD], Escape())
CALL = ToolCall("call_0", "add", {"a": 1})
WRITTEN = "<|tool_call>call:add{a:1}<tool_call|>"
OPEN, CLOSE = IDS[CHANNEL_OPEN], IDS[CHANNEL_CLOSE]


def server(text: str | None = None, *calls: ToolCall, thought: str | None = None) -> ModelResponse:
    return ModelResponse(AssistantMessage(text, calls, thought), "tool_calls" if calls else "stop")


def by_ids(written: str, *, spelled: str = "", forced: bool = False) -> Evidence:
    """A reply whose control literals are tokens, but for those in `spelled` in front of it."""
    tokens = [*([(5000, spelled)] if spelled else []), *tokenize(written, random.Random(1))]
    reply = Reply(finish="stop", token_ids=[number for number, _ in tokens])
    return Evidence(reply, forced, pieces=[text for _, text in tokens])


def calls(response: ModelResponse) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in response.message.tool_calls]


def test_with_ids_the_opening_token_makes_a_call() -> None:
    assert calls(believed(server("", CALL), by_ids(WRITTEN), DIALECT)) == [("add", {"a": 1})]


def test_with_ids_a_call_of_the_servers_that_is_spelled_is_text() -> None:
    spelled = believed(server("Use it: ", CALL), by_ids("", spelled=f"Use it: {WRITTEN}"), DIALECT)
    assert spelled.message == AssistantMessage(f"Use it: {WRITTEN}")
    assert spelled.finish_reason == "stop"


def test_with_ids_one_spelled_call_does_not_ride_on_a_real_one() -> None:
    both = server("", ToolCall("call_0", "add", {"a": 9}), CALL)
    evidence = by_ids(WRITTEN, spelled="<|tool_call>call:add{a:9}<tool_call|>")
    assert calls(believed(both, evidence, DIALECT)) == [("add", {"a": 1})]


def test_a_call_in_an_open_thought_spoils_the_reply() -> None:
    written = f"<|channel>thought\nhm {WRITTEN}<channel|>Done."
    response = believed(server("", CALL), by_ids(written), DIALECT)
    assert (response.message.tool_calls, response.finish_reason) == ((), "malformed_call")


def test_a_reply_that_was_held_to_calls_is_one_in_either_spelling() -> None:
    evidence = by_ids("", spelled=WRITTEN, forced=True)
    assert calls(believed(server(WRITTEN), evidence, DIALECT)) == [("add", {"a": 1})]
    prose = by_ids("", spelled=f"I say {WRITTEN}", forced=True)
    assert calls(believed(server(f"I say {WRITTEN}"), prose, DIALECT)) == []


def test_inside_a_call_that_a_grammar_held_the_tokens_may_be_spelled() -> None:
    pieces = ["<|tool_call>", "call:add{note:<|", f'"|>x{Q}', "}<tool_call", "|> and ", WRITTEN]
    reply = Reply(finish="stop", token_ids=[48, *[900] * 5])
    free = believed(server(""), Evidence(reply, pieces=pieces), DIALECT)
    assert calls(free) == [("add", {})]
    assert free.message.tool_calls[0].malformed is not None
    held = believed(server(""), Evidence(reply, constrained=True, pieces=pieces), DIALECT)
    assert calls(held) == [("add", {"note": "x"})]
    assert held.message.reasoning == f"and {WRITTEN}", "what is spelled outside stays text"


def test_without_ids_a_call_is_what_the_server_says() -> None:
    reply = Evidence(Reply(finish="tool_calls"))
    assert calls(believed(server(None, CALL), reply, DIALECT)) == [("add", {"a": 1})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (WRITTEN, 1),
        (f" {WRITTEN}\n{WRITTEN}", 2),
        (f"<|channel>thought\nhm<channel|>{WRITTEN}", 1),
        (f"Use {WRITTEN}", 0),
        (f"{WRITTEN}.", 0),
        ("<|tool_call>call:add{a:1<tool_call|>", 0),  # not exactly the form
        ("<|tool_call>call:add{a:1}", 1),
        ("call:add{a:1}", 0),
        (f"`{WRITTEN}`", 0),
    ],
)
def test_without_ids_a_text_is_a_call_only_if_all_of_it_is(text: str, found: int) -> None:
    assert len(calls(believed(server(text), Evidence(Reply(finish="stop")), DIALECT))) == found


PUT = ToolDefinition(
    "put",
    "Puts.",
    {
        "type": "object",
        "properties": {
            "to": {"type": "string"},
            "note": {"type": ["string", "null"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
    },
)


@pytest.mark.parametrize(
    ("read", "believed_as"),
    [
        ({"to": "ann"}, {"to": "ann"}),
        ({"to": 'ann<|"|>'}, None),  # its opening quote was missing
        ({'to<|"|>': "ann"}, None),
        ({"tags": ["a", 'b<|"|>']}, None),
        ({"to": "'ann'"}, None),
        ({"to": '"ann"', "tags": ['"a"']}, None),
        ({"to": '"ann"'}, {"to": '"ann"'}),
        ({"to": "'ann'", "note": "b"}, {"to": "'ann'", "note": "b"}),
        ({"to": "null", "note": "null"}, {"to": "null", "note": None}),
    ],
)
def test_a_servers_reading_alone_is_believed_but_for_what_is_plainly_wrong_in_it(
    read: dict[str, Any], believed_as: dict[str, Any] | None
) -> None:
    given, dialect = server(None, ToolCall("call_0", "put", read)), Dialect([PUT], Escape())
    for ids in ([], [48, 7, 49]):
        reply = Reply(finish="tool_calls", token_ids=ids)
        (call,) = believed(given, Evidence(reply, native=True), dialect).message.tool_calls
        assert (None if call.malformed else call.arguments) == believed_as
    other = believed(given, Evidence(Reply(finish="tool_calls")), dialect)
    assert other is given, "of another model's syntax nothing is known"


def test_where_the_tokens_cannot_be_spelled_out_their_number_counts() -> None:
    one = Reply(finish="tool_calls", token_ids=[48, 7, 49])
    assert calls(believed(server(None, CALL), Evidence(one), DIALECT)) == [("add", {"a": 1})]
    two = believed(server(None, CALL, CALL), Evidence(one), DIALECT)
    assert (two.message.content, two.finish_reason) == (None, "malformed_call")
    none = believed(server("Hm: ", CALL), Evidence(Reply(finish="stop", token_ids=[7])), DIALECT)
    assert none.message == AssistantMessage(f"Hm: {WRITTEN}")


@pytest.mark.parametrize(
    ("written", "theirs", "expected"),
    [
        (f"a:1,note:{Q}x{Q}", {"a": 1, "note": "y"}, {"a": 1, "note": "x"}),  # exact: ours
        ("a:1,note:'x'", {"a": 1, "note": "'x'"}, {"a": 1, "note": "x"}),  # theirs has the marks on
        (f"note:{Q}x{Q}a:1", {"note": "x"}, None),  # both fit, and differ
        (f"note:{Q}x{Q}a:1", {"note": "x", "a": "1"}, {"note": "x", "a": 1}),
        (f"note:{Q}x{Q}a:1", {"note": 3, "b": 1}, {"note": "x", "a": 1}),  # theirs does not fit
    ],
)
def test_a_repaired_reading_stands_only_where_the_server_has_no_other_that_fits(
    written: str, theirs: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    evidence = by_ids(f"<|tool_call>call:add{{{written}}}<tool_call|>")
    response = believed(server(None, ToolCall("call_0", "add", theirs)), evidence, DIALECT)
    call = response.message.tool_calls[0]
    assert (None if call.malformed else call.arguments) == expected


def test_a_thought_in_the_text_moves_to_the_reasoning() -> None:
    given = server("<|channel>thought\nhm<channel|>Yes.", thought="first")
    reply = Reply(finish="stop", token_ids=[OPEN, 7, CLOSE, 7])
    response = believed(given, Evidence(reply), DIALECT)
    assert response.message == AssistantMessage("Yes.", (), "first\nhm")


def test_a_thought_that_is_spelled_in_ordinary_tokens_is_text() -> None:
    given = server("Write <|channel>thought\nhm<channel|> in front.")
    reply = Reply(finish="stop", token_ids=[7, 7])
    assert believed(given, Evidence(reply), DIALECT) is given
    begun = replace(reply, prompt_token_ids=[OPEN, 7])
    assert believed(given, Evidence(begun), DIALECT).message.reasoning == "hm"


def test_an_answer_is_left_alone() -> None:
    given = server("Yes.")
    assert believed(given, Evidence(Reply(finish="stop", token_ids=[7])), DIALECT) is given


def test_a_parameter_is_taken_under_its_own_name_and_under_the_one_shown() -> None:
    tool = ToolDefinition(
        "mark",
        "Marks.",
        {
            "type": "object",
            "properties": {"type": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["type"],
        },
    )
    dialect = Dialect([tool], Escape())
    for body in (f"type:{Q}x{Q},n:1", f"type_:{Q}x{Q},n:1", "type:'x',n:1"):
        written = f"<|tool_call>call:mark{{{body}}}<tool_call|>"
        response = believed(server(), by_ids(written), dialect)
        assert dialect.incoming(response.message).tool_calls[0].arguments == {"type": "x", "n": 1}
    both = by_ids(f"<|tool_call>call:mark{{type:{Q}x{Q},type_:{Q}y{Q}}}<tool_call|>")
    message = dialect.incoming(believed(server(), both, dialect).message)
    assert message.tool_calls[0].malformed is not None


def finish_of(written: str, said: str, *, last: int | None = None) -> str:
    """The finish reason of a reply that the server ended with `said`."""
    evidence = by_ids(written)
    if last is not None:
        evidence.reply.token_ids.append(last)
        evidence = replace(evidence, pieces=[*(evidence.pieces or ()), ""])
    given = replace(server(""), finish_reason=cast("FinishReason", said))
    return believed(given, replace(evidence, forced=True), DIALECT).finish_reason


@pytest.mark.parametrize(
    ("written", "said", "concluded"),
    [
        (WRITTEN, "stop", "tool_calls"),
        (WRITTEN, "tool_calls", "tool_calls"),
        (WRITTEN, "length", "length"),
        ("Hi.", "tool_calls", "stop"),
        ("<|tool_call>call:add{a:1", "tool_calls", "length"),  # cut, whatever the server says
        ("<|tool_call>call:add{a:1", "content_filter", "content_filter"),
        (f"<|channel>thought\nhm {WRITTEN}<channel|>Done.", "stop", "malformed_call"),
    ],
)
def test_a_reply_ends_as_its_own_words_say(written: str, said: str, concluded: str) -> None:
    assert finish_of(written, said) == concluded


def test_a_cut_call_before_a_stop_token_was_not_cut_by_the_servers_limit() -> None:
    assert finish_of("<|tool_call>call:add{a:1", "stop", last=STOP_IDS[0]) == "tool_calls"
    assert finish_of("<|tool_call>call:add{a:1", "stop", last=7) == "length"


def test_calls_are_numbered_on_through_a_conversation() -> None:
    evidence = replace(by_ids(WRITTEN * 2), first_call=4)
    message = believed(server("", CALL, CALL), evidence, DIALECT).message
    assert [call.id for call in message.tool_calls] == ["call_4", "call_5"]


@pytest.mark.parametrize(
    ("prompt", "thinks"),
    [
        ([], False),
        ([7, OPEN, 8], True),
        ([7, OPEN, 8, CLOSE], False),
        ([CLOSE, OPEN, 8], True),
        ([OPEN, *[8] * 7], True),
        ([OPEN, *[8] * 8], False),  # too long ago to be the cue of this reply
    ],
)
def test_a_prompt_that_ends_in_an_open_thought_is_gone_on_with(
    prompt: list[int], thinks: bool
) -> None:
    assert in_reasoning(prompt) is thinks


def test_a_reply_that_goes_on_with_a_thought_begins_in_it() -> None:
    evidence = by_ids(f"hm<channel|>{WRITTEN}")
    evidence.reply.prompt_token_ids.extend([7, OPEN, 8])
    message = believed(server("", CALL), evidence, DIALECT).message
    assert message == AssistantMessage(None, (CALL,), "hm")


def test_text_beside_calls_joins_the_thought() -> None:
    for before, expected in (("", "Now. "), ("<|channel>thought\nhm<channel|>", "hm\nNow.")):
        message = believed(server("", CALL), by_ids(f"{before}Now. {WRITTEN}"), DIALECT).message
        assert (message.content, message.reasoning) == (None, expected.strip())
    assert believed(server("", CALL), by_ids(WRITTEN), DIALECT).message.reasoning is None


@pytest.mark.parametrize(
    ("token_ids", "finish", "forced", "calls_of_the_server", "may"),
    [
        ([7], "stop", False, (), False),
        ([7], "stop", True, (), True),
        ([7], "stop", False, (CALL,), True),
        ([7], "tool_calls", False, (), True),
        ([7, 48], "stop", False, (), True),
    ],
)
def test_what_says_that_a_reply_holds_calls(
    token_ids: list[int],
    finish: str,
    forced: bool,
    calls_of_the_server: tuple[ToolCall, ...],
    may: bool,
) -> None:
    reply = Reply(finish=finish, token_ids=token_ids)
    assert may_hold_calls(reply, server("", *calls_of_the_server), forced=forced) is may


def test_without_the_tokens_text_a_cut_reply_stays_cut() -> None:
    cut = replace(server(None, CALL, CALL), finish_reason="length")
    one = Evidence(Reply(finish="length", token_ids=[48, 7]))
    assert believed(cut, one, DIALECT).finish_reason == "length"
    none = Evidence(Reply(finish="length", token_ids=[7]))
    response = believed(replace(server("", CALL), finish_reason="length"), none, DIALECT)
    assert (response.message.content, response.finish_reason) == (WRITTEN, "length")
    forced = Evidence(Reply(finish="tool_calls", token_ids=[7]), forced=True)
    assert calls(believed(server(None, CALL), forced, DIALECT)) == [("add", {"a": 1})]


def test_without_ids_a_thought_before_a_call_joins_the_servers() -> None:
    text = f"<|channel>thought\nsecond<channel|>{WRITTEN}"
    response = believed(server(text, thought="first"), Evidence(Reply(finish="stop")), DIALECT)
    assert response.message == AssistantMessage(None, (CALL,), "first\nsecond")


def test_of_several_calls_only_the_repaired_one_that_is_read_otherwise_is_given_up() -> None:
    damaged = "<|tool_call>call:add{note:'x'a:1}<tool_call|>"
    evidence = by_ids(WRITTEN + damaged)
    other = ToolCall("call_1", "add", {"note": "y", "a": 1})
    first, second = believed(server(None, CALL, other), evidence, DIALECT).message.tool_calls
    assert (first.arguments, first.malformed) == ({"a": 1}, None)
    assert second.malformed == damaged
    same = ToolCall("call_1", "add", {"note": "x", "a": "1"})
    _, second = believed(server(None, CALL, same), evidence, DIALECT).message.tool_calls
    assert (second.arguments, second.malformed) == ({"note": "x", "a": 1}, None)
