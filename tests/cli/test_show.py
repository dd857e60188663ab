from __future__ import annotations

import io

import pytest
from rich.console import Console

from agentkit.cli.terminal import Printer
from agentkit.events import (
    Event,
    ReasoningDelta,
    StepRestarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.messages import ToolCall, ToolResult


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(*events: Event, err: io.StringIO | None = None) -> tuple[str, str]:
    """What stands on standard output and on standard error."""
    out, err = io.StringIO(), err or io.StringIO()
    printer = Printer(Console(file=out, width=80), Console(file=err, width=80))
    for event in events:
        printer(event)
    printer.end_line()
    return out.getvalue(), err.getvalue()


def test_the_answer_stands_alone_on_standard_output() -> None:
    out, err = shown(StepStarted(1), ReasoningDelta("Hm."), TextDelta("It is "), TextDelta("3."))
    assert out == "It is 3.\n"
    assert err == "Hm.\n"


def test_calls_progress_and_results_are_lines_of_their_own() -> None:
    call = ToolCall("call_0", "read", {"path": "a.py", "n": 1})
    _, err = shown(
        TextDelta("Let me"),
        ToolStarted(call, 1),
        ToolProgress("call_0", "half way", 1),
        ToolFinished(call, ToolResult("call_0", "one\ntwo"), 1),
    )
    assert err.splitlines() == ["→ read(path='a.py', n=1)", "  half way", "  one", "  two"]


def test_long_results_and_arguments_are_cut() -> None:
    call = ToolCall("call_0", "write", {"text": "x" * 5000})
    text = "\n".join(["y" * 5000, *map(str, range(9))])
    _, err = shown(ToolStarted(call, 1), ToolFinished(call, ToolResult("call_0", text), 1))
    assert max(map(len, err.splitlines())) < 150
    assert err.splitlines()[-1] == "  … 6 more lines"


def test_a_restart_takes_back_what_was_shown() -> None:
    _, err = shown(StepStarted(1), TextDelta("Half"), StepRestarted("the stream was cut", 2, 1))
    assert err == "↻ the stream was cut; what was shown of this step is void\n"


def test_a_short_hiccup_before_anything_was_shown_is_not_worth_a_line() -> None:
    out, err = shown(StepStarted(1), StepRestarted("busy", 2, 1), TextDelta("Hi."))
    assert (out, err) == ("Hi.\n", "")


WAITED = "waiting for the model"


@pytest.mark.parametrize("came", [TextDelta("Hi."), ToolStarted(ToolCall("call_0", "read", {}), 1)])
def test_a_terminal_shows_that_the_model_is_waited_for_until_the_first_text_or_call(
    monkeypatch: pytest.MonkeyPatch, came: Event
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    _, waiting = shown(StepStarted(1), err=Terminal())
    assert WAITED in waiting
    out, err = shown(StepStarted(1), came, ToolProgress("call_0", "half way", 1), err=Terminal())
    assert WAITED not in out
    assert "half way" in err[err.rindex(WAITED) :]


def test_after_a_restart_the_model_is_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    restarted = StepRestarted("the stream was cut", 2, 1)
    _, err = shown(StepStarted(1), TextDelta("Half"), restarted, err=Terminal())
    assert WAITED in err[err.index("void") :]


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J",
        "\x1b]0;title\x07",
        "\x9b31m",
        "\b\b\b",
        "\r",
        "\x00",
        "\x7f",
        "\u202e",
        "\u2028",
        "\u2066",
        "\ufeff",
    ],
)
def test_what_could_drive_a_terminal_is_shown_as_a_mark(text: str) -> None:
    call = ToolCall("call_0", text, {"a": text})
    result = ToolResult("call_0", text)
    out, err = shown(TextDelta(text), ToolStarted(call, 1), ToolFinished(call, result, 1))
    for bad in set(text) - set("[]02J;title31m"):
        assert bad not in out
        assert bad not in err
    assert "�" in out


@pytest.mark.parametrize(
    "text",
    [
        "prix\u00a0: 3\u202f€",
        "東京\u3000大阪",
        "می\u200cخواهم",  # noqa: RUF001 - Persian needs the joiner
        "👩\u200d💻 ❤\ufe0f",
        "Straße\tß\nnext",
        "[bold]no markup[/bold]",
    ],
)
def test_text_of_every_language_is_shown_as_it_is(text: str) -> None:
    assert shown(TextDelta(text))[0] == f"{text}\n"
