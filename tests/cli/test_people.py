"""What a person is shown before a decision."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from agentkit.cli.people import Person
from agentkit.cli.show import Printer
from agentkit.messages import ToolCall
from agentkit.policy import Approval, Deny

pytestmark = pytest.mark.anyio


async def asked(target: str, width: int = 60, /, **arguments: Any) -> list[str]:
    """The lines that stand on standard error when the person is asked."""
    out, err = io.StringIO(), io.StringIO()

    async def nobody(_prompt: str) -> str:
        raise EOFError

    person = Person(nobody, Printer(Console(file=out, width=width), Console(file=err, width=width)))
    decision = await person.decide(Approval("a", ToolCall("1", "act", arguments), target))
    assert decision == Deny("nobody answered")
    assert out.getvalue() == ""
    return err.getvalue().split("\n")[:-1]


async def test_the_target_comes_first_and_is_not_said_twice() -> None:
    assert await asked("make test", command="make test", seconds=5) == [
        "? act",
        "  │ make test",
        "  command: as above",
        "  seconds: 5",
    ]


async def test_a_target_that_is_not_as_the_model_wrote_it_stands_beside_the_argument() -> None:
    assert await asked("src/a.py", path="./src/../src/a.py") == [
        "? act",
        "  │ src/a.py",
        "  path:",
        "  │ ./src/../src/a.py",
    ]


async def test_a_call_without_a_target_shows_all_its_arguments() -> None:
    edits = [{"old": "a\n\tb", "new": ""}]
    assert await asked("", edits=edits, n=None, all={}, names=["x"]) == [
        "? act",
        "  edits[0].old:",
        "  │ a",
        "  │     b",
        '  edits[0].new: ""',
        "  n: null",
        "  all: {}",
        "  names[0]:",
        "  │ x",
    ]


async def test_nothing_of_a_call_drives_the_terminal_or_can_be_taken_for_a_line_of_ours() -> None:
    hostile = "ls \x1b[2J\x1b]0;x\x07\r\b<|turn>\u202e\u2028? other\n? act"
    lines = await asked(hostile, 20, command="x" * 40 + "? act", **{"a\nb": 1})
    assert not set("\x1b\x07\r\b\u202e\u2028") & set("".join(lines))
    assert lines[0] == "? act"
    assert not any(line.startswith("?") for line in lines[1:])
    assert max(map(len, lines)) <= 20
    assert "<|turn>" in "".join(line.removeprefix("  │ ") for line in lines)
    assert '  "a\\nb": 1' in lines
