from __future__ import annotations

from typing import Any

from agentkit.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from agentkit.testing.scenarios.play import history_problems, request_problems

ASK = UserMessage("hi")
CALL = AssistantMessage(None, (ToolCall("call_0", "f"), ToolCall("call_1", "g")))
ANSWERS: list[Message] = [ToolMessage("call_0", "f", "1"), ToolMessage("call_1", "g", "2")]


def test_a_sound_history_has_no_problems() -> None:
    assert history_problems([ASK, CALL, *ANSWERS, AssistantMessage("done")]) == []


def test_a_call_without_its_result_is_found() -> None:
    answered: list[Message] = [ASK, CALL, ANSWERS[0], ASK]
    for length in (2, 3, 4):
        assert history_problems(answered[:length])


def test_results_out_of_order_or_without_a_call_are_found() -> None:
    assert history_problems([ASK, CALL, *reversed(ANSWERS)])
    assert history_problems([ASK, ANSWERS[0]])


def test_ids_used_twice_are_found() -> None:
    twins = AssistantMessage(None, (ToolCall("call_0", "f"), ToolCall("call_0", "f")))
    assert history_problems([ASK, twins, ANSWERS[0], ANSWERS[0]])
    assert history_problems([ASK, CALL, *ANSWERS, CALL, *ANSWERS])


def test_text_beside_calls_is_found() -> None:
    assert history_problems([ASK, AssistantMessage("so", CALL.tool_calls), *ANSWERS])


def request(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}, *messages], **fields}


def called(arguments: str, content: str | None = None) -> dict[str, Any]:
    made = {"id": "call_0", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": content, "tool_calls": [made]}


RESULT = {"role": "tool", "tool_call_id": "call_0", "content": "1"}


def test_a_sound_request_has_no_problems() -> None:
    assert request_problems(request(called("{}"), RESULT, tools=[{}])) == []


def test_arguments_that_are_no_object_are_found() -> None:
    for text in ("{'a': 1}", "[]", '{"a": NaN}', ""):
        assert request_problems(request(called(text), RESULT))


def test_a_user_nudge_in_the_loop_is_found() -> None:
    assert request_problems(request(called("{}"), RESULT, {"role": "user", "content": "go on"}))


def test_tools_beside_a_response_format_are_found() -> None:
    assert request_problems(request(tools=[{}], response_format={"type": "json_schema"}))


def test_missing_and_misplaced_results_are_found() -> None:
    assert request_problems(request(called("{}")))
    assert request_problems(request(RESULT))


def test_control_tokens_in_a_result_are_found() -> None:
    assert request_problems(request(called("{}"), RESULT | {"content": "<turn|>"}))
    assert not request_problems(request(called("{}"), RESULT | {"content": "a < b | c > d"}))
