"""Lines and lists that stay readable in a narrow terminal; a pipe has no edge."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

_LEAST = 20
"""Columns that a text is given at least, and the last column of a list."""

_UNCUT = 200
_GAP = 2


def print_hanging(console: Console, line: Text, indent: int) -> None:
    """A line; one that is too long for the terminal goes on below itself.

    Args:
        console: Where to.
        line: Without line breaks.
        indent: Where its text begins; what stands before that stands there once.
    """
    if not console.is_terminal:
        console.print(line, soft_wrap=True)
        return
    head, text = line[:indent], line[indent:]
    for piece in text.wrap(console, max(console.width - indent, _LEAST)) or [text]:
        shown = head + piece
        shown.rstrip()
        console.print(shown, soft_wrap=True)
        head = Text(" " * indent)


def print_rows(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[Text]],
    *,
    numbers: Container[str] = (),
) -> None:
    """A list as a table; where the terminal is too narrow for one, some lines for each row.

    Args:
        console: Where to.
        columns: Their names. The first is what a row is called by, the last a text that may be cut.
        rows: A cell for each column.
        numbers: The columns that are set to the right.
    """
    sizes = [
        max(len(name), *(row[at].cell_len for row in rows), 0)
        for at, name in enumerate(columns[:-1])
    ]
    before = sum(size + _GAP for size in sizes)
    if not console.is_terminal:
        console = Console(width=max(_UNCUT, before + _LEAST))
    elif before + _LEAST > console.width:
        for row in rows:
            _print_row(console, columns, row)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, size in zip(columns, [*sizes, console.width - before], strict=True):
        justify: Literal["right", "left"] = "right" if name in numbers else "left"
        table.add_column(name, justify=justify, no_wrap=True, max_width=size)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_row(console: Console, columns: Sequence[str], row: Sequence[Text]) -> None:
    name, *cells, text = row
    print_hanging(console, name, 0)
    named = zip(columns[1:], cells, strict=False)
    facts = [Text.assemble(f"{column} ", cell) for column, cell in named if cell]
    if facts:
        print_hanging(console, Text("  ") + Text(", ").join(facts), 2)
    shown = text.copy()
    shown.truncate(console.width - 2, overflow="ellipsis")
    console.print(Text("  ") + shown, soft_wrap=True)
