"""Going in circles is noticed; making progress is not disturbed."""

from __future__ import annotations

from itertools import count

from agentkit.messages import TextPart, ToolCall, ToolResult, text_of
from agentkit.policy import ProgressGuard

STEPS = count(1)


def watch(
    guard: ProgressGuard, name: str, content: str, *, error: bool = False, step: int | None = None
) -> str:
    """What the model reads of a result; each is one of a reply of its own if no step is named."""
    call = ToolCall("c", name, {"a": 1})
    result = ToolResult("c", content, error, "error" if error else "ok")
    step = next(STEPS) if step is None else step
    return text_of(guard.watch(call, result, "once", step).content)


def test_a_first_call_comes_back_as_it_was() -> None:
    assert watch(ProgressGuard(), "look", "x") == "x"


def test_repeats_are_noted_then_warned_of_then_change_something_then_end_the_run() -> None:
    guard = ProgressGuard()
    seen = [(watch(guard, "look", "x"), guard.change, guard.stop) for _ in range(6)]
    assert [text.partition("\n\n")[2][:35] for text, _, _ in seen] == [
        "",
        "(You have made this call before; it",
        "Warning: this is call number 3 of l",
        "Warning: this is call number 4 of l",
        "Warning: this is call number 5 of l",
        "Warning: this is call number 6 of l",
    ]
    assert [change for _, change, _ in seen] == [False, False, False, True, True, True]
    ends = "look was called 6 times with the same result"
    assert [stop for _, _, stop in seen] == [None, None, None, None, None, ends]


def test_a_cycle_of_two_calls_is_noticed_like_a_repeat() -> None:
    guard = ProgressGuard()
    for _ in range(6):
        watch(guard, "a", "x")
        watch(guard, "b", "y")
    assert guard.stop is not None


def test_polling_something_that_changes_is_no_circle() -> None:
    guard = ProgressGuard()
    for number in range(20):
        assert watch(guard, "status", f"{number} %") == f"{number} %"
    assert guard.stop is None


def test_a_change_that_led_out_of_the_circle_is_taken_back() -> None:
    guard = ProgressGuard()
    for _ in range(4):
        watch(guard, "look", "x")
    assert guard.change
    watch(guard, "look", "y")
    assert not guard.change


def test_errors_in_a_row_are_warned_of_and_end_the_run_however_the_arguments_differ() -> None:
    guard = ProgressGuard()
    seen = [(watch(guard, "save", f"Error: {n}", error=True), guard.stop) for n in range(8)]
    warned = [f"has failed {n} times in a row" in text for n, (text, _) in enumerate(seen, 1)]
    assert warned == [False, False, True, True, True, True, True, True]
    assert [stop for _, stop in seen[:-1]] == [None] * 7
    assert guard.stop == "save failed 8 times in a row (error)"


def test_the_errors_of_one_reply_count_once_and_its_success_ends_the_row() -> None:
    guard = ProgressGuard()
    for step in range(7):
        for number in range(20):
            watch(guard, "read", f"Error: {step} {number}", error=True, step=-step)
    assert guard.stop is None
    watch(guard, "read", "Error: the last", error=True, step=1)
    assert guard.stop == "read failed 8 times in a row (error)"
    watch(guard, "read", "found", step=1)
    assert guard.stop is None


def test_a_success_or_another_kind_of_error_begins_the_count_anew() -> None:
    guard = ProgressGuard()
    for number in range(20):
        result = watch(guard, "save", f"Error: {number}", error=number % 3 < 2)
        assert "in a row" not in result
    assert guard.stop is None


def test_failures_of_different_tools_are_no_row() -> None:
    guard = ProgressGuard()
    for number in range(20):
        result = watch(guard, f"tool {number % 2}", f"Error: {number}", error=True)
        assert "in a row" not in result
    assert guard.stop is None


def test_unknown_tools_are_one_row_whatever_their_names() -> None:
    guard = ProgressGuard()
    for number in range(8):
        error = ToolResult("c", f"Error: {number}", is_error=True, kind="unknown_tool", attempts=0)
        guard.watch(ToolCall("c", f"tool_{number}"), error, None, number)
    assert guard.stop == "a tool that is not offered failed 8 times in a row (unknown_tool)"


def test_a_result_of_several_parts_gets_no_warning_and_comes_back_as_it_was() -> None:
    guard = ProgressGuard()
    parts = ToolResult("c", (TextPart("the same"),))
    for step in range(3):
        assert guard.watch(ToolCall("c", "look"), parts, "once", step) is parts


def test_the_result_of_a_pure_call_is_known_until_something_else_changed_the_world() -> None:
    guard = ProgressGuard()
    call = ToolCall("1", "look", {})
    guard.watch(call, ToolResult("1", "x"), "pure", 1)
    again = guard.known(ToolCall("2", "look", {}), "pure")
    assert again is not None
    assert (again.call_id, again.content) == ("2", "x")
    guard.watch(ToolCall("3", "write", {}), ToolResult("3", "done"), "once", 2)
    assert guard.known(ToolCall("4", "look", {}), "pure") is None
    assert guard.known(ToolCall("5", "write", {}), "once") is None


def test_an_earlier_result_stays_known_where_nothing_ran_that_could_change_it() -> None:
    guard = ProgressGuard()
    guard.watch(ToolCall("1", "look", {"a": 1, "b": 2}), ToolResult("1", "x"), "pure", 1)
    guard.watch(ToolCall("2", "other"), ToolResult("2", "y"), "pure", 1)
    not_run = ToolResult("3", "Error: no", is_error=True, kind="denied", attempts=0)
    guard.watch(ToolCall("3", "write"), not_run, "once", 1)
    again = guard.known(ToolCall("4", "look", {"b": 2, "a": 1}), "pure")
    assert again is not None
    assert (again.content, again.attempts, again.seconds) == ("x", 0, 0.0)
