"""`agentkit runs resume`: goes on with a run that died, stopped or was stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console

from agentkit.cli.choose import UsageError
from agentkit.cli.options import JournalFile, ModelName, ModelUrl, RunName
from agentkit.cli.project import Assignment, open_journal
from agentkit.cli.run import Watched, perform
from agentkit.cli.show import Printer
from agentkit.events import Event, RunResult, TextDelta
from agentkit.journal import RunOpened, SQLiteJournal
from agentkit.policy import Limits
from agentkit.trace import Library


def resume(
    run: RunName,
    model: ModelUrl = None,
    model_name: ModelName = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Most model calls, instead of the run's own.")
    ] = None,
    journal: JournalFile = None,
) -> None:
    """Go on with a run of `agentkit run` that died, failed or reached a limit.

    It works over the same project with the same options. Nothing that is recorded is asked or run
    again; a tool whose outcome a crash hid is not started again, and the model is told so.

    Exit codes: 0 answered, 1 the server or the journal failed, 2 wrong usage, 3 ended without an
    answer, 130 stopped by Ctrl-C.
    """
    printer = Printer(Console(), Console(stderr=True))
    watched, shown = Watched(journal), _Shown(printer)

    async def work() -> RunResult:
        with open_journal(journal) as kept:
            run_id = Library(journal=kept.path).newest() if run == "last" else run
            assignment = Assignment.from_labels(await _labels(kept, run_id))
            if model or model_name:
                assignment = replace(assignment, model=model, model_name=model_name)
            watched.kept = True
            agent = assignment.agent([*watched.observers, shown], printer)
            limits = Limits(steps=max_steps) if max_steps else None
            result = await agent.resume(run_id, journal=kept, limits=limits)
        if not shown.answered and result.stop_reason == "answer":  # it was recorded already
            printer(TextDelta(str(result.said)))
            printer.end_line()
        await agent.aclose()
        return result

    raise typer.Exit(perform(work, watched, printer))


async def _labels(journal: SQLiteJournal, run_id: str) -> Mapping[str, JsonValue]:
    """What a run was labelled with when it began.

    Raises:
        UsageError: The journal has no such run.
    """
    examined = await journal.examine(run_id)
    if not examined.records and not examined.damage:
        raise UsageError(
            f"the journal {journal.path} has no run {run_id}; agentkit runs list shows what it has"
        )
    entries = (record.entry for record in examined.records)
    return next((entry.labels for entry in entries if isinstance(entry, RunOpened)), {})


class _Shown:
    """Prints events; remembers whether an answer was among them."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self.answered = False

    def __call__(self, run_id: str, event: Event) -> None:  # noqa: ARG002 - an observer's shape
        self.answered = self.answered or isinstance(event, TextDelta)
        self._printer(event)
