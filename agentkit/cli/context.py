"""`agentkit context`: what filled the window of a run, drawn in the terminal.

In: a run's id, its file, or `last`. Out: a bar for each request, and below it what was cut, why,
and what that cost; or the exact prompt of one step.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from agentkit.cli.options import JournalPlace, RunName
from agentkit.cli.runs import opened, refuse
from agentkit.cli.terminal import print_hanging
from agentkit.errors import AgentKitError
from agentkit.trace import Filled, filled_of, parts_of, prompt_of
from agentkit.trace.window import PARTS, why
from agentkit.wording import pluralize, printable

context_app = typer.Typer(help="Look at what fills a model's window.", no_args_is_help=True)

_COLOURS: Final = {
    "instructions": "magenta",
    "tools": "blue",
    "user": "green",
    "assistant": "yellow",
    "results": "cyan",
    "format": "white",
}
_NUMBERS: Final = 29
"""Columns beside the bar: the step before it, the tokens and the cached share behind it."""

_LEAST_BAR: Final = 10


@context_app.command()
def show(
    run: RunName,
    step: Annotated[
        int | None,
        typer.Option("--step", "-s", min=1, help="The prompt of this step, to the letter."),
    ] = None,
    journal: JournalPlace = None,
) -> None:
    """Draw what fills the window request by request; what was cut, why, and what it cost.

    With --step the prompt itself, as the server's chat template rendered it.

    Exit codes: 0 shown, 1 the journal cannot be read, 2 no such run or step, or nothing is known.
    """
    recording = opened(run, journal)
    parts = parts_of(recording.events)
    try:
        if step is not None:
            _write(prompt_of(parts, step))
            return
        draw(filled_of(parts), Console(), recording.run_id)
    except AgentKitError as error:
        refuse(error)


def _write(prompt: str) -> None:
    """Writes the exact prompt; to a terminal, without characters that would control it."""
    if sys.stdout.isatty():
        prompt = printable(prompt)
    sys.stdout.buffer.write(prompt.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()
    if sys.stdout.isatty():
        sys.stdout.write("\n")


def draw(filled: Sequence[Filled], console: Console, run_id: str) -> None:
    """Draws the prompts of a run, one line each."""
    print_hanging(console, Text(printable(run_id), style="bold cyan"), 0)
    if not filled:
        print_hanging(console, Text("the record does not tell what filled the window"), 0)
        return
    last = filled[-1].fitted
    facts = [f"window {last.window:,}" if last.window else "a window of unknown size"]
    if last.compact_at is not None:
        facts.append(f"compacted beyond {last.compact_at:,} tokens: {last.source}")
    print_hanging(console, Text(" · ".join(facts)), 0)
    used = [name for name in PARTS if any(name in each.parts for each in filled)]
    key = Text("  ").join(Text.assemble((_mark(name), _COLOURS[name]), f" {name}") for name in used)
    print_hanging(console, key, 0)
    most = max(*(each.tokens for each in filled), last.compact_at or 0)
    width = max(console.width - _NUMBERS, _LEAST_BAR)
    print_hanging(console, Text(f"{'step':>5}  {'':{width}}{'tokens':>9}{'cached':>9}", "dim"), 0)
    for each in filled:
        console.print(_line(each, most, width), soft_wrap=True)
        for text, style in _notes(each):
            line = Text(" " * 7 + printable(text), style=style)
            print_hanging(console, line, 9)
    print_hanging(console, Text(_total(filled), style="bold"), 0)


def _mark(part: str) -> str:
    """A letter by which a part is recognised without colours."""
    return part[0]


def _line(each: Filled, most: int, width: int) -> Text:
    bar = Text()
    ends, tokens = 0, 0
    total = sum(each.parts.values()) or 1
    for name, size in each.parts.items():
        tokens += size
        end = round(tokens / total * each.tokens / max(most, 1) * width)
        bar.append(_mark(name) * (end - ends), style=f"{_COLOURS[name]} reverse")
        ends = end
    bar.append(" " * (width - ends))
    exact = " " if each.counted or each.sent.exact else "~"
    cached = f"{each.cached / each.counted:.0%}" if each.counted and each.cached is not None else ""
    numbers = f"{exact}{each.tokens:>8,}{cached:>9}"
    return Text.assemble(f"{each.step:>5}  ", bar, numbers)


def _notes(each: Filled) -> list[tuple[str, str]]:
    """The lines below a bar, with their styles: compactions, cuts, tokens that were read anew."""
    notes = [(f"▤ {why(compacted)}", "yellow") for compacted in each.compacted]
    notes += [(f"- {cut}", "dim") for cut in each.cuts[:_CUTS]]
    if len(each.cuts) > _CUTS:
        notes.append((f"- and {len(each.cuts) - _CUTS} more", "dim"))
    if each.again and (each.compacted or each.again * 4 > each.counted):
        notes.append((f"↻ {each.again:,} tokens that were cached before were read anew", "yellow"))
    return notes


_CUTS: Final = 6
"""Cuts of one request that are listed."""


def _total(filled: Sequence[Filled]) -> str:
    counted = sum(each.counted for each in filled)
    cached = sum(each.cached or 0 for each in filled)
    reports_cached = any(each.cached is not None for each in filled)
    compactions = sum(len(each.compacted) for each in filled)
    again = sum(each.again for each in filled if each.compacted)
    text = pluralize(len(filled), "request")
    if counted:
        share = "how many cached the server does not say"
        if reports_cached:
            share = f"{cached / counted:.1%} of them cached"
        text += f", {counted:,} tokens of prompts, {share}"
    if compactions:
        text += f"; {pluralize(compactions, 'compaction')}"
        if reports_cached:
            text += f", after which {again:,} tokens were read anew"
    return text
