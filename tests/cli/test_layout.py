"""What stands in a narrow terminal, and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from agentkit.cli.terminal import print_hanging, print_rows

COLUMNS = ("run", "end", "steps", "asked")
ROWS = [
    [Text("20260101-120000-abcdef01"), Text("answer"), Text("2"), Text("Where is it? " * 5)],
    [Text("r"), Text(), Text(), Text("Why?")],
]


def terminal(width: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, force_terminal=True, color_system=None), out


def test_a_long_line_goes_on_below_its_text() -> None:
    console, out = terminal(30)
    print_hanging(console, Text("fail  the server does not answer at all"), 6)
    assert out.getvalue() == "fail  the server does not\n      answer at all\n"


def test_a_line_for_a_pipe_is_not_broken() -> None:
    out = io.StringIO()
    print_hanging(Console(file=out, width=30), Text("  " + "words " * 20), 2)
    assert out.getvalue().count("\n") == 1


def test_an_empty_line_is_a_line() -> None:
    console, out = terminal(30)
    print_hanging(console, Text(""), 0)
    assert out.getvalue() == "\n"


def test_a_list_is_a_table_where_there_is_room_for_one() -> None:
    console, out = terminal(80)
    print_rows(console, COLUMNS, ROWS, numbers={"steps"})
    head, first, second = out.getvalue().splitlines()
    assert head.split() == list(COLUMNS)
    assert first.startswith("20260101-120000-abcdef01 ")
    assert first.rstrip().endswith("…")
    assert second.split() == ["r", "Why?"]
    assert first.index("Where") == second.index("Why?") == head.index("asked")


def test_a_list_for_a_pipe_is_not_cut_at_its_width() -> None:
    out = io.StringIO()
    print_rows(Console(file=out, width=30), COLUMNS, ROWS)
    assert len(out.getvalue().splitlines()) == 1 + len(ROWS)


@pytest.mark.parametrize("width", [24, 40])
def test_a_list_in_a_narrow_terminal_has_some_lines_for_each_row(width: int) -> None:
    console, out = terminal(width)
    print_rows(console, COLUMNS, ROWS)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[:2] == ["20260101-120000-abcdef01", "  end answer, steps 2"]
    assert lines[2].endswith("…")
    assert lines[3:] == ["r", "  Why?"]
