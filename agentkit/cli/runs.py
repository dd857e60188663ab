"""`agentkit runs`: everything that can be done with recorded runs.

In: a run's id, its file, or `last`. Out: a list, the run step by step in the terminal, a page, an
export, or the run again. Only `delete` and `resume` ever change a record.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import anyio
import typer
from rich.console import Console
from rich.text import Text

from agentkit.cli.journal import name_of, shared
from agentkit.cli.options import JournalPlace, RunName, UsageError, find_agent
from agentkit.cli.run import open_journal, resume
from agentkit.cli.streams import write_private
from agentkit.cli.terminal import Printer, print_hanging, print_rows
from agentkit.errors import AgentKitError
from agentkit.events import ReplyInterrupted, StepFinished
from agentkit.events.lines import Values
from agentkit.journal import Damage, RunSummary
from agentkit.messages import AssistantMessage, Usage, UserMessage, text_of
from agentkit.runtime import replay as replay_run
from agentkit.testing import ScriptedModel
from agentkit.trace import (
    Library,
    Part,
    Recording,
    Step,
    ToolRun,
    TraceError,
    follow,
    moment,
    parts_of,
    run_file_name,
)
from agentkit.trace.library import line_of
from agentkit.trace.page import page_of
from agentkit.wording import pluralize, printable

if TYPE_CHECKING:
    from agentkit.journal.postgres import PostgresJournal

runs = typer.Typer(
    help="Look at the runs that are kept, go on with one, hand one on.", no_args_is_help=True
)

_NUMBERS = ("steps", "calls", "unknown", "in", "cached", "out", "seconds")
_COLUMNS = ("run", "began", "state", *_NUMBERS, "asked")

Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file to write.", show_default=False)
]


@runs.command("list")
def list_runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show this many.")] = 20,
    journal: JournalPlace = None,
) -> None:
    """List the newest runs: when, how they ended, steps, calls, tokens, time, what was asked.

    A run whose state is `died` can be gone on with: agentkit runs resume.

    Exit codes: 0 listed, 1 the journal cannot be read, 2 nothing is kept.
    """
    try:
        found = Library(journal=journal).runs(limit + 1)
    except AgentKitError as error:
        refuse(error)
    rows = [_row(run) for run in found[:limit]]
    print_rows(Console(), _COLUMNS, rows, numbers=_NUMBERS)
    if len(found) > limit:
        typer.echo("… and older ones; --limit shows more")


def _row(run: RunSummary) -> list[Text]:
    state = run.stop_reason or run.state
    good, bad = state in ("answer", "running"), state in ("died", "error", "damaged")
    usage = run.usage
    tokens = (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
    asked = Text(printable(" ".join(run.question.split())))
    if run.damage:
        asked = Text(printable(f"damaged: {run.damage}"), style="red")
    return [
        Text(printable(run.run_id), style="cyan"),
        Text(moment(run.created, "%m-%d %H:%M"), style="dim"),
        Text(state, style="green" if good else "red" if bad else "yellow"),
        Text(str(run.steps)),
        Text(str(run.calls)),
        Text(str(run.unknown), style="red" if run.unknown else ""),
        *(Text(f"{number:,}") for number in tokens),
        Text(f"{run.seconds:.1f}"),
        asked,
    ]


@runs.command()
def show(
    run: RunName,
    full: Annotated[
        bool, typer.Option("--full", help="Whole arguments, results, reasoning, tracebacks.")
    ] = False,
    journal: JournalPlace = None,
) -> None:
    """Tell a run step by step: tokens, times, calls, results, repairs; what failed comes first.

    Exit codes: 0 shown, 1 the journal cannot be read, 2 no such run.
    """
    recording = opened(run, journal)
    tell(parts_of(recording.events), Console(), damage=recording.damage, full=full)


@runs.command()
def view(run: RunName, output: Output = None, journal: JournalPlace = None) -> None:
    """Write a run as one HTML file that needs no network: time, tokens, messages, calls.

    It is RUN.html in this directory, unless --output says otherwise.

    Exit codes: 0 written, 1 the journal cannot be read, 2 no such run, or it cannot be written.
    """
    recording = opened(run, journal)
    page = page_of(parts_of(recording.events), recording.damage)
    _write(output or _beside(recording, ".html"), page.encode())


@runs.command()
def export(run: RunName, output: Output = None, journal: JournalPlace = None) -> None:
    """Write a run as a file to hand on: a JSON line for each event, without registered secrets.

    It is RUN.jsonl in this directory, unless --output says otherwise. All commands that look at a
    run take such a file in place of its id, and so does `agentkit.runtime.assert_replays`.

    Exit codes: 0 written, 1 the journal cannot be read, 2 no such run, or it cannot be written.
    """
    recording = opened(run, journal)
    for damage in recording.damage:
        typer.echo(f"agentkit: {damage}", err=True)
    values = Values()
    lines = [line_of(timed.event, timed.time, values) for timed in recording.events]
    _write(output or _beside(recording, ".jsonl"), b"".join(lines))


@runs.command()
def delete(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="Ids, or paths of files.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="All runs to which nothing was added for so long, such as 30d, 12h or 45m. Those "
            "at work and those that wait for a worker stay.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    journal: JournalPlace = None,
) -> None:
    """Delete runs for good: from the journal, and their files.

    Exit codes: 0 deleted, 1 one is at work or not decided on, 2 no such run.
    """
    library = Library(journal=journal)
    try:
        age = None if older_than is None else _seconds(older_than)
        if not (names or age):
            raise UsageError("name the runs to delete, or say --older-than 30d")
        if not yes:
            what = [*(names or []), *([f"all runs older than {older_than}"] if age else [])]
            typer.confirm(f"Delete {', '.join(what)} for good?", abort=True, err=True)
        for name in names or []:
            for place in library.delete(name):
                typer.echo(f"deleted {name} from {place}")
        if age:
            typer.echo(f"deleted {pluralize(library.delete_older(age), 'run')}")
    except AgentKitError as error:
        refuse(error)


_UNITS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0}


def _seconds(age: str) -> float:
    """An age such as `30d`."""
    number, unit = age[:-1], age[-1:]
    if unit not in _UNITS or not number.isdecimal() or not int(number):
        raise UsageError(f"--older-than {age}: write a number and m, h or d, such as 30d")
    return int(number) * _UNITS[unit]


runs.command("resume")(resume)


# --- runs for workers ----------------------------------------------------------------------------


@runs.command()
def submit(
    question: Annotated[str, typer.Argument(help="What the user says.")],
    agent: Annotated[
        str,
        typer.Option(
            "--agent", "-a", metavar="FILE.py:NAME", help="The Agent, as workers offer it."
        ),
    ],
    tenant: Annotated[str, typer.Option(help="On whose behalf; tenants share fairly.")] = "",
    priority: Annotated[int, typer.Option(help="A lower number goes first.")] = 0,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Names the run; a second one is refused.")
    ] = None,
    journal: JournalPlace = None,
) -> None:
    """Leave a run to a worker (agentkit worker) that offers the agent; print the run's id.

    Exit codes: 0 it is in the journal, 1 the journal cannot be used, 2 wrong usage.
    """
    try:
        found = find_agent(agent, lambda: ScriptedModel([]), Path())
        with shared(journal) as queue:
            submitted = partial(
                found.submit,
                question,
                queue=queue,
                name=name_of(agent),
                tenant=tenant,
                priority=priority,
                run_id=run_id,
            )
            typer.echo(anyio.run(submitted))
    except AgentKitError as error:
        refuse(error)


@runs.command()
def cancel(run: RunName, journal: JournalPlace = None) -> None:
    """End a submitted run: at once if it waits, else as soon as its worker hears of it.

    Exit codes: 0 it ends, 1 the journal cannot be used, 2 it is no submitted run, or has ended.
    """
    with _queue(journal) as queue:
        if not anyio.run(queue.cancel, run):
            refuse(UsageError(f"{run} was not submitted, or needs no worker any more"))


@runs.command()
def retry(run: RunName, journal: JournalPlace = None) -> None:
    """Leave a submitted run to the workers again that failed, was cancelled or ended at a limit.

    Exit codes: 0 it waits, 1 the journal cannot be used, 2 it is no such run, or waits already.
    """
    with _queue(journal) as queue:
        if not anyio.run(queue.retry, run):
            refuse(UsageError(f"{run} was not submitted, or waits for a worker already"))


@runs.command("follow")
def follow_run(run: RunName, journal: JournalPlace = None) -> None:
    """Show a run step by step as it happens, wherever it is at work, until it ends.

    Exit codes: 0 it has ended, 1 the journal cannot be used, 2 no such run.
    """
    printer = Printer(Console(), Console(stderr=True))

    async def main() -> None:
        with open_journal(journal) as kept:
            async for timed in follow(kept, run):
                printer(timed.event)
                if isinstance(timed.event, StepFinished):  # no record has the pieces of a text
                    said = text_of(timed.event.message.content or "")
                    typer.echo(printable(said) if said else "", nl=bool(said))

    try:
        anyio.run(main)
    except AgentKitError as error:
        refuse(error)


@contextmanager
def _queue(journal: str | None) -> Generator[PostgresJournal]:
    try:
        with shared(journal) as queue:
            yield queue
    except AgentKitError as error:
        refuse(error)


@runs.command()
def replay(
    run: RunName,
    agent: Annotated[
        str,
        typer.Option(
            "--agent",
            "-a",
            metavar="FILE.py:NAME",
            help="An Agent, or a function that returns one, of nothing, a model, or a model and a "
            "project; also module:name. NAME is `agent` by default.",
        ),
    ],
    project: Annotated[Path, typer.Option(help="The directory that the agent works on.")] = Path(),
    journal: JournalPlace = None,
) -> None:
    """Run an agent's own code again offline, its model and tools served from the record of a run.

    Nothing is called and nothing is run: prompt, tools, settings, policy, repairs and limits are
    those of the agent today. The first difference is shown with its step.

    Exit codes: 0 identical, 1 a difference or no journal that can be read, 2 no such run or agent.
    """
    console = Console()
    try:
        recording = Library(journal=journal).open(run).whole()
        events = [timed.event for timed in recording.events]
        found = find_agent(agent, lambda: ScriptedModel([]), project)
        report = anyio.run(replay_run, found, events)
    except AgentKitError as error:
        refuse(error)
    for line in str(report).splitlines():
        colours = {"+": "green", "-": "red", "@": "cyan"} if report.divergence is not None else {}
        console.print(Text(printable(line), style=colours.get(line[:1], "")), soft_wrap=True)
    raise typer.Exit(0 if report.identical else 1)


def opened(run: str, journal: str | None) -> Recording:
    """Opens a run of which something can be read; otherwise ends the command."""
    try:
        recording = Library(journal=journal).open(run)
        if not recording.events:
            lost = "; ".join(str(damage) for damage in recording.damage)
            raise TraceError(f"nothing can be read of the run {recording.run_id}: {lost}")
    except AgentKitError as error:
        refuse(error)
    return recording


def _beside(recording: Recording, ending: str) -> Path:
    """A file in this directory, named after the run."""
    return Path(run_file_name(recording.run_id).removesuffix(".jsonl") + ending)


def _write(target: Path, content: bytes) -> None:
    """Writes a file and prints its name."""
    try:
        write_private(target, content)
    except OSError as error:
        refuse(UsageError(f"{target} cannot be written: {error.strerror}"))
    typer.echo(target)


def refuse(error: AgentKitError) -> NoReturn:
    """Prints an error and ends the command."""
    typer.echo(f"agentkit: {error}", err=True)
    raise typer.Exit(2 if isinstance(error, UsageError | TraceError) else 1) from None


# --- a run in the terminal -----------------------------------------------------------------------


_LINES, _CUT_AT = 3, 160
"""Lines of a text that are shown, and columns of each, without `--full`."""

_MARKS = ("! ", "? ", "→ ", "← ", "↻ ", "⚒ ", "… ")


def tell(
    parts: Sequence[Part], console: Console, *, damage: Sequence[Damage] = (), full: bool
) -> None:
    """Prints a run: a heading, damage of its record, what failed, then every step.

    Args:
        parts: The parts of the run.
        console: Where to print.
        damage: The damage of its record.
        full: Whether to print whole texts, not only their beginnings.
    """
    story = _Story(console, full=full)
    story.head(parts)
    story.damage(damage)
    story.failures(parts)
    for part in parts:
        if part is not parts[0]:
            story.line("── the run goes on ──", "bold")
        for step in part.steps:
            story.step(step)
    story.end(parts[-1])


class _Story:
    def __init__(self, console: Console, *, full: bool) -> None:
        self._console = console
        self._full = full

    def line(self, text: str, style: str = "", indent: int = 0) -> None:
        begins = indent + (2 if text[:2] in _MARKS else 0)
        print_hanging(self._console, Text(" " * indent + printable(text), style=style), begins)

    def text(self, text: str, style: str, indent: int) -> None:
        """Prints a text, or its beginning without `--full`."""
        lines = text.splitlines() or [""]
        shown = lines if self._full else [line[:_CUT_AT] for line in lines[:_LINES]]
        for line in shown:
            self.line(line, style, indent)
        if len(shown) < len(lines):
            self.line(f"… {pluralize(len(lines) - len(shown), 'more line')}", "dim", indent)

    # --- the run ---------------------------------------------------------------------------------

    def head(self, parts: Sequence[Part]) -> None:
        first = parts[0]
        when = moment(first.began)
        seconds = sum(part.ended - part.began for part in parts)
        self.line(first.started.run_id, "bold cyan")
        self.line(f"{when}   {seconds:.2f} s   {_model(parts)}")
        if versions := first.started.versions:
            self.line("   ".join(f"{name} {each}" for name, each in versions.items()), "dim")
        usage = sum((part.usage for part in parts), Usage())
        steps = pluralize(sum(len(part.steps) for part in parts), "step")
        self.line(f"{steps}   {_tokens(usage)}")
        asked = [m for m in first.started.messages if isinstance(m, UserMessage)][-1:]
        for message in asked:
            self.text(f"? {text_of(message.content)}", "bold", 0)

    def damage(self, damage: Sequence[Damage]) -> None:
        for each in damage:
            self.line(f"! {each}", "bold red" if each.lost else "yellow")

    def failures(self, parts: Sequence[Part]) -> None:
        found = [each for part in parts for step in part.steps for each in _failures(step)]
        if found:
            self.line("")
            self.line(f"{len(found)} went wrong:", "bold red")
        for step, what in found:
            self.line(f"step {step}: {what}", "red", 2)

    def end(self, part: Part) -> None:
        self.line("")
        result = part.result
        if result is None:
            self.line("the record ends here: the run was killed, or is still at work", "yellow")
            return
        good = result.stop_reason == "answer"
        self.line(f"end: {result.stop_reason} {result.explanation}", "green" if good else "red")
        output = result.said
        text = output if isinstance(output, str) else _value(output)
        if text:
            self.text(text, "", 2)

    # --- a step ----------------------------------------------------------------------------------

    def step(self, step: Step) -> None:
        self.line("")
        seconds = sum(asked.called.seconds for asked in step.asked)
        first = step.asked[0].called.first_token if step.asked else None
        times = f"{seconds:.2f} s" + (f" (first token {first:.2f} s)" if first is not None else "")
        tokens = f"   {_tokens(step.usage)}" if step.asked else ""
        self.line(f"step {step.number}   {times}{tokens}", "bold")
        for restart in step.restarts:
            self.line(f"↻ {restart.reason}", "yellow", 2)
        for compacted in step.compacted:
            tokens = f"{compacted.before:,} → {compacted.after:,} tokens"
            self.line(f"context compacted, {tokens}: {compacted.reason}", "yellow", 2)
            if compacted.cleared:
                self.line(f"results sent as stubs: {', '.join(compacted.cleared)}", "yellow", 4)
            if compacted.dropped:
                self.line(f"{pluralize(compacted.dropped, 'message')} left out", "yellow", 4)
            if (summary := compacted.summary) is not None:
                took = f"a summary of them, {_tokens(summary.cost)}"
                why = f": {summary.problem}" if summary.problem else ""
                self.line(took + why, "yellow", 4)
                if summary.text:
                    self.text(summary.text, "dim", 6)
        if self._full:
            self.wire(step)
        self.reply(step)
        for ran in step.ran.values():
            self.call(ran)

    def reply(self, step: Step) -> None:
        """Prints the model's reply, complete or interrupted."""
        for cut in step.interrupted:
            self.interrupted(cut)
        if step.finished is None:
            if not step.interrupted:
                self.line("no reply", "red", 2)
            return
        message = step.finished.message
        if isinstance(message, AssistantMessage) and message.reasoning:
            self.text(message.reasoning, "dim italic", 2)
        if message.content:
            self.text(text_of(message.content), "", 2)

    def wire(self, step: Step) -> None:
        """Prints the requests and replies unchanged."""
        for number, sent in enumerate(step.sent):
            self.line(
                f"sent: {sent.same + len(sent.messages)} messages, new of the request:", "", 2
            )
            new = {"messages": sent.messages, **sent.fields}
            new |= {"(gone)": sent.gone} if sent.gone else {}
            self.text(_value(new), "dim", 4)
            if number < len(step.received):
                self.line("received:", "", 2)
                self.text(_value(step.received[number].reply), "dim", 4)

    def interrupted(self, cut: ReplyInterrupted) -> None:
        """Prints a reply that was interrupted."""
        self.line(f"interrupted after {cut.seconds:.2f} s: {cut.why}; it had said:", "red", 2)
        if cut.reasoning:
            self.text(cut.reasoning, "dim italic", 4)
        if cut.text:
            self.text(cut.text, "", 4)
        for name, arguments in cut.calls:
            self.text(f"→ {name}({arguments}  (never run)", "cyan", 4)

    def call(self, ran: ToolRun) -> None:
        for repair in ran.repairs:
            self.line(f"⚒ repaired ({repair.rung}): {repair.was}", "yellow", 2)
        arguments = ", ".join(f"{k}={_value(v)}" for k, v in ran.call.arguments.items())
        self.text(f"→ {ran.call.name}({arguments})", "cyan", 2)
        if ran.asked is not None:
            decision = ran.decided.decision if ran.decided is not None else "nobody decided"
            reason = f": {ran.decided.reason}" if ran.decided and ran.decided.reason else ""
            target = f" on {ran.asked.target}" if ran.asked.target else ""
            self.line(f"a person was asked{target}: {decision}{reason}", "yellow", 4)
        for text in ran.progress if self._full else ran.progress[-1:]:
            self.text(text, "dim", 4)
        if ran.end is None:
            if not ran.waits:
                begun = ": it had begun, and may have taken effect" if ran.started else ""
                self.line(f"no result{begun}", "red", 4)
            return
        result, spent = ran.end.result, ran.end.spent
        notes = [result.kind, f"{result.seconds:.3f} s" if ran.started else "not run"]
        notes += [f"{result.attempts} attempts"] if result.attempts > 1 else []
        if spent is not None:
            notes.append(f"sub-agents: {pluralize(spent.steps, 'step')}, {_tokens(spent.usage)}")
        style = "red" if result.is_error else "green"
        self.line(f"← {', '.join(notes)}", style, 4)
        self.text(text_of(result.content), "red" if result.is_error else "dim", 6)
        if result.traceback:
            self.text(result.traceback if self._full else _place(result.traceback), "red", 6)


def _place(traceback: str) -> str:
    """The place where a tool raised, in one line."""
    places = [row.strip() for row in traceback.splitlines() if row.startswith("  File ")]
    return f"{places[-1]} (--full shows the traceback)" if places else ""


def _failures(step: Step) -> Iterator[tuple[int, str]]:
    for restart in step.restarts:
        yield step.number, restart.reason
    for cut in step.interrupted:
        yield step.number, f"the reply was interrupted: {cut.why[:_CUT_AT]}"
    for ran in step.ran.values():
        if ran.end is None and ran.failed:
            yield step.number, f"{ran.call.name} has no result"
        elif ran.end is not None and ran.failed:
            first = next(iter(text_of(ran.end.result.content).splitlines()), "")
            yield step.number, f"{ran.call.name} ({ran.end.result.kind}): {first[:_CUT_AT]}"


def _model(parts: Sequence[Part]) -> str:
    names = [asked.called.model for part in parts for step in part.steps for asked in step.asked]
    return names[0] if names else parts[0].started.model


def _tokens(usage: Usage) -> str:
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    reasoning = f" ({usage.reasoning_tokens:,} of reasoning)" if usage.reasoning_tokens else ""
    return f"in {usage.input_tokens:,}{cached}   out {usage.output_tokens:,}{reasoning}"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
