"""Going in circles is noticed; making progress is not disturbed."""

from __future__ import annotations

from agentkit.messages import ToolCall, ToolResult, text_of
from agentkit.policy import ProgressGuard


def watch(guard: ProgressGuard, name: str, content: str, *, error: bool = False) -> str:
    call = ToolCall("c", name, {"a": 1})
    result = ToolResult("c", content, error, "error" if error else "ok")
    return text_of(guard.watch(call, result, "once").content)


def test_a_first_call_comes_back_as_it_was() -> None:
    assert watch(ProgressGuard(), "look", "x") == "x"


def test_repeats_are_noted_then_warned_of_then_change_something_then_end_the_run() -> None:
    guard = ProgressGuard()
    texts = [watch(guard, "look", "x") for _ in range(4)]
    assert "same as then" in texts[1]
    assert "Warning: this is call number 3" in texts[2]
    assert (guard.change, guard.stop) == (True, None)
    for _ in range(2):
        watch(guard, "look", "x")
    assert guard.stop == "look was called 6 times with the same result"


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
    texts = [watch(guard, "save", f"Error: {n}", error=True) for n in range(8)]
    assert "failed 3 times in a row" in texts[2]
    assert guard.stop == "save failed 8 times in a row (error)"


def test_the_result_of_a_pure_call_is_known_until_something_else_changed_the_world() -> None:
    guard = ProgressGuard()
    call = ToolCall("1", "look", {})
    guard.watch(call, ToolResult("1", "x"), "pure")
    again = guard.known(ToolCall("2", "look", {}), "pure")
    assert again is not None
    assert (again.call_id, again.content) == ("2", "x")
    guard.watch(ToolCall("3", "write", {}), ToolResult("3", "done"), "once")
    assert guard.known(ToolCall("4", "look", {}), "pure") is None
    assert guard.known(ToolCall("5", "write", {}), "once") is None
