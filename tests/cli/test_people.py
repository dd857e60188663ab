"""What a person is shown before a decision."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from agentkit.cli.terminal import Person, Printer
from agentkit.messages import ToolCall
from agentkit.policy import Approval, Approve, Deny, Grant

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


# --- long questions ----------------------------------------------------------------------------


class Terminal:
    """A person who types lines, and what stands on the screen when each is read."""

    def __init__(self, *typed: str, height: int = 30, leafing: bool = True) -> None:
        self._typed = list(typed)
        self._err = io.StringIO()
        console = Console(file=self._err, width=60, height=height, force_terminal=leafing)
        self.person = Person(self.read, Printer(Console(file=io.StringIO()), console))
        self.seen: list[list[str]] = []

    async def read(self, prompt: str) -> str:
        self.seen.append([_plain(line) for line in self._err.getvalue().split("\n")[:-1]])
        self._err.seek(0)
        self._err.truncate()
        if not self._typed:
            raise EOFError
        self.prompt = prompt
        return self._typed.pop(0)

    async def decide(self, command: str, **options: Any) -> Any:
        call = ToolCall("1", "run_command", {"command": command})
        return await self.person.decide(Approval("a", call, command, **options))


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


_PAGES = 41
"""Between the head and the tail of it, each but the last ended by a key."""

LONG = "\n".join(f"line {number}" for number in range(1_000))


async def test_of_a_long_question_head_and_tail_are_shown_with_what_lies_between() -> None:
    terminal = Terminal()
    assert await terminal.decide(LONG) == Deny("nobody answered")
    (screen,) = terminal.seen
    assert len(screen) <= 30
    assert screen[:2] == ["? run_command", "  │ line 0"]
    assert screen[-2:] == ["  │ line 999", "  command: as above"]
    (between,) = [line for line in screen if "⋮" in line]
    left_out = int(between.split()[1].replace(",", ""))
    assert between == f"  ⋮ {left_out:,} of 1,002 lines are not shown: v shows them"
    assert left_out + len(screen) - 1 == 1_002


@pytest.mark.parametrize("first", ["v", "y", "yes", "a"])
async def test_nothing_is_approved_that_was_not_shown(first: str) -> None:
    terminal = Terminal(first, *[""] * _PAGES, "y")
    assert await terminal.decide(LONG) == Approve()
    shown = {line for screen in terminal.seen for line in screen}
    assert {f"  │ line {number}" for number in range(1_000)} <= shown
    assert max(map(len, terminal.seen)) <= 30, "no page is longer than the terminal"


async def test_who_stops_leafing_has_not_seen_it_and_cannot_approve_it() -> None:
    terminal = Terminal("y", "q", "y", "q", "n too long")
    assert await terminal.decide(LONG) == Deny("too long")


async def test_where_nobody_leafs_the_rest_comes_in_one_piece() -> None:
    terminal = Terminal("y", "y", leafing=False)
    assert await terminal.decide(LONG) == Approve()
    assert sum(map(len, terminal.seen)) == 1_002 + 2


async def test_one_endless_line_or_name_is_counted_in_lines_of_the_terminal() -> None:
    terminal = Terminal()
    await terminal.decide("x" * 100_000)
    assert len(terminal.seen[0]) <= 30
    call = ToolCall("1", "act", {"? act " * 10_000: 1, "many": list(range(9_999))})
    await terminal.person.decide(Approval("a", call))
    assert len(terminal.seen[-1]) <= 30


# --- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "options", "decision"),
    [
        (["a"], {}, Approve(Grant("run_command", "make test"))),
        (["a make *"], {}, Approve(Grant("run_command", "make *"))),
        (["a *"], {"labels": ("exec",)}, Approve(Grant("run_command", "*"))),
        (
            ["a make *", "a make test"],
            {"labels": ("exec",)},
            Approve(Grant("run_command", "make test")),
        ),
        (["a rm *", "y"], {}, Approve()),
        (["a", "y"], {"why": "it could leak"}, Approve()),
    ],
)
async def test_a_person_can_make_a_rule_of_what_fits_the_call(
    typed: list[str], options: dict[str, Any], decision: Approve
) -> None:
    terminal = Terminal(*typed)
    assert await terminal.decide("make test", **options) == decision
    assert terminal.person.grants == ([decision.grant] if decision.grant else [])


async def test_what_else_is_to_be_known_is_said_first() -> None:
    terminal = Terminal()
    await terminal.decide("make", why="it can send data out")
    assert terminal.seen[0][:2] == ["? run_command", "  it can send data out"]
