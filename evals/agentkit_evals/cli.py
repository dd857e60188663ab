"""`agentkit eval`: run suites, report, compare.

Exit codes: 0 done, 1 too much of the run has no verdict, 2 used wrongly, 130 stopped by Ctrl-C
(what was done is kept: the same command goes on).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import anyio
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from agentkit import AgentKitError, ModelSettings
from agentkit.schema.phrases import many
from agentkit_evals.bfcl import CATEGORIES, VERSION, install, installed_folder
from agentkit_evals.compare import compare, comparison_json, comparison_table
from agentkit_evals.core import EvalError
from agentkit_evals.manifest import RunManifest, planned
from agentkit_evals.ray_runner import run_on_ray
from agentkit_evals.report import as_json, as_table, report
from agentkit_evals.rescore import rescore
from agentkit_evals.runner import Progress, run_local
from agentkit_evals.stats import detectable
from agentkit_evals.store import Store
from agentkit_evals.subject import REFERENCES, Subject
from agentkit_evals.suites import SUITES, load_suite

__all__ = ["app"]

app = typer.Typer(
    name="eval",
    help="Measure agents on suites of tasks, with numbers that can be believed.",
    no_args_is_help=True,
)
suites = typer.Typer(help="What can be run.", invoke_without_command=True)
app.add_typer(suites, name="suites")

Folder: TypeAlias = Annotated[
    Path | None,
    typer.Option("--folder", help="Where runs are kept. Default: AGENTKIT_EVALS, or ./eval-runs."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
RunName: TypeAlias = Annotated[str, typer.Argument(metavar="RUN", help="Its name; see `list`.")]

_EVERY = 10.0
"""Seconds between lines of progress where no terminal is."""


@app.command("run")
def run(
    suite: Annotated[
        str,
        typer.Argument(help="project, bfcl:multi_turn_base, file.py:suite; see `suites`."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help=f"A vLLM server's address, tiny, or a reference: {', '.join(REFERENCES)}. "
            "Default: AGENTKIT_BASE_URL.",
        ),
    ] = None,
    model_name: Annotated[str | None, typer.Option(help="Served name.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the run; the same name goes on with it.")
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            help="module:function, or file.py:function, of (model, turn, settings) that makes "
            "your agent."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first cases.")] = None,
    case: Annotated[list[str] | None, typer.Option(help="Only this case; may be repeated.")] = None,
    trials: Annotated[int, typer.Option("--trials", "-k", min=1, help="Tries at each case.")] = 1,
    seed: Annotated[int, typer.Option(help="Of all sampling.")] = 0,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is greedy.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of a reply.")] = None,
    thinking: Annotated[
        bool | None, typer.Option("--thinking/--no-thinking", help="Let the model think first.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--trial-seconds", min=0, help="That a trial may take; no limit by default."),
    ] = None,
    runner: Annotated[
        Literal["local", "ray"], typer.Option(help="Here, or on Ray actors.")
    ] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Ray actors.")] = 2,
    concurrency: Annotated[int, typer.Option(min=1, help="Trials at a time (of each actor).")] = 8,
    most_lost: Annotated[
        float, typer.Option(min=0, max=1, help="Share of trials that may be without a verdict.")
    ] = 0.05,
    folder: Folder = None,
    as_json_: AsJson = False,
) -> None:
    """Run a suite, or go on with a run, and report.

    An agent that does nothing plays the same cases first: its score is the floor. Progress goes to
    standard error. Every result is on the disk before the next begins: stop and go on as you like.

    Exit codes: 0 reported, 1 more trials than --most-lost without a verdict, or the server failed,
    2 used wrongly, 130 stopped by Ctrl-C.
    """
    settings = ModelSettings(temperature=temperature, max_tokens=max_tokens, thinking=thinking)
    model = model or os.environ.get("AGENTKIT_BASE_URL") or ""
    subject = Subject(model=model, model_name=model_name, settings=settings, agent=agent)
    plain = suite.rpartition("/")[2].replace(":", "-")  # lamp.py-suite of folder/lamp.py:suite
    store = _store(folder, name or f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}")
    scope = _Scope(limit, tuple(case or ()), trials, seed, seconds)
    hands = _Hands(runner, workers, concurrency)

    async def main() -> int:
        await _run(suite, subject, store, scope, hands)
        found = report(store)
        _show(as_json(found) if as_json_ else as_table(found))
        _say(f"kept in {store.folder}")
        return 1 if found.infrastructure_share > most_lost else 0

    _end(main)


@app.command("report")
def show_report(run: RunName, folder: Folder = None, as_json_: AsJson = False) -> None:
    """Report on a run, finished or not.

    Exit codes: 0 reported, 2 there is no such run.
    """

    async def main() -> int:
        found = report(_store(folder, run))
        _show(as_json(found) if as_json_ else as_table(found))
        return 0

    _end(main)


@app.command("rescore")
def rescore_run(
    run: RunName,
    name: Annotated[
        str | None, typer.Option(help="Of the run with the new verdicts. Default: RUN-rescored.")
    ] = None,
    folder: Folder = None,
    as_json_: AsJson = False,
) -> None:
    """Grade the trials of a run again, without a model: after a check was changed.

    Exit codes: 0 reported, 2 there is no such run.
    """
    old, new = _store(folder, run), _store(folder, name or f"{run}-rescored")

    async def main() -> int:
        left_out = await rescore(old, new)
        if old.floor().exists:
            await rescore(old.floor(), new.floor())
        if left_out:
            _say(f"{many(left_out, 'trial')} had no end to be graded, and are left out")
        found = report(new)
        _show(as_json(found) if as_json_ else as_table(found))
        _say(f"kept in {new.folder}")
        return 0

    _end(main)


@app.command("compare")
def show_comparison(
    first: RunName,
    others: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Each is held against the first.")
    ],
    folder: Folder = None,
    as_json_: AsJson = False,
) -> None:
    """Compare runs of a suite with the first, case by case: is another better?

    Exit codes: 0 compared, 2 they cannot be compared.
    """

    async def main() -> int:
        found = compare(_store(folder, first), *(_store(folder, other) for other in others))
        _show(comparison_json(found) if as_json_ else comparison_table(found))
        return 0

    _end(main)


@app.command("list")
def list_runs(folder: Folder = None) -> None:
    """List the runs that are kept; one that cannot be read is said beside them.

    Exit code 0.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "suite", "model", "trials", "passed"):
        table.add_column(heading, no_wrap=heading == "run")
    for path in sorted(_folder(folder).glob("*/manifest.json")):
        store = Store(path.parent)
        try:
            manifest, results = store.manifest(), store.results().values()
        except EvalError as error:
            _say(f"agentkit eval: {error}")
            continue
        planned_trials = len(manifest.cases) * manifest.trials
        table.add_row(
            path.parent.name,
            manifest.suite,
            manifest.subject.model_name or manifest.subject.model,
            f"{len(results)} of {planned_trials}",
            str(sum(result.passed for result in results)),
        )
    Console().print(table)


@suites.callback()
def list_suites(context: typer.Context) -> None:
    """List the suites that come along, and whether what they need is installed."""
    if context.invoked_subcommand is not None:
        return
    ready = "ready" if installed_folder() else "not installed: agentkit eval suites install bfcl"
    typer.echo(f"{'project':28}  jobs on the files of a sample project; ready")
    for category in CATEGORIES:
        typer.echo(f"{f'bfcl:multi_turn_{category}':28}  bfcl-eval {VERSION}; {ready}")


@suites.command("install")
def install_suite(
    name: Annotated[Literal["bfcl"], typer.Argument(help="Which suite.")] = "bfcl",
) -> None:
    """Install what a suite is made of, without its dependencies, into a folder of its own.

    Exit codes: 0 installed, 2 pip failed.
    """

    async def main() -> int:
        typer.echo(f"{name}: {install(_say)}")
        return 0

    _end(main)


# --- running -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scope:
    """Which trials."""

    limit: int | None
    only: tuple[str, ...]
    trials: int
    seed: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class _Hands:
    """Who plays them."""

    runner: Literal["local", "ray"]
    workers: int
    concurrency: int

    async def play(self, manifest: RunManifest, store: Store, title: str) -> None:
        with _Watched(title) as watched:
            if self.runner == "ray":
                await run_on_ray(
                    manifest,
                    store,
                    workers=self.workers,
                    concurrency=self.concurrency,
                    watcher=watched.show,
                )
            else:
                await run_local(manifest, store, concurrency=self.concurrency, watcher=watched.show)


async def _run(target: str, subject: Subject, store: Store, scope: _Scope, hands: _Hands) -> None:
    suite = load_suite(target)
    if target.partition(":")[0] in SUITES:
        target = suite.name  # `bfcl` is its first category
    try:
        manifest = await planned(
            suite,
            target,
            await subject.pinned(),
            limit=scope.limit,
            only=scope.only,
            trials=scope.trials,
            seed=scope.seed,
            seconds=scope.seconds,
        )
        floor = await planned(
            suite, target, Subject(model="empty"), limit=scope.limit, only=scope.only
        )
    finally:
        await suite.aclose()
    store.begin(manifest)
    cases = len(manifest.cases)
    _say(
        f"{many(cases, 'case')}: in a comparison, a difference below "
        f"{100 * detectable(cases):.0f} points is often missed"
    )
    await run_local(floor, store.floor(), concurrency=hands.concurrency)
    await hands.play(manifest, store, target)


class _Watched:
    """Progress with rate and time left: a bar on a terminal, else a line now and then."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._said = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            console=console,
            disable=not self._live,
        )
        self._title = title
        self._task = self._bar.add_task(title, total=None, words="")

    def __enter__(self) -> _Watched:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        words = _words(progress)
        self._bar.update(self._task, total=progress.total, completed=progress.done, words=words)
        now = time.monotonic()
        if not self._live and now - self._said >= _EVERY:
            self._said = now
            _say(f"{self._title}: {progress.done} of {progress.total}, {words}")


def _words(progress: Progress) -> str:
    words = [f"{progress.passed} passed"]
    if progress.infrastructure:
        words.append(f"{progress.infrastructure} without a verdict")
    if progress.rate:
        words.append(f"{60 * progress.rate:.3g} a minute")
    if progress.seconds_left:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        words.append(f"{minutes}:{seconds:02} left")
    return ", ".join(words)


# --- the command line --------------------------------------------------------------------------


def _folder(given: Path | None) -> Path:
    return given or Path(os.environ.get("AGENTKIT_EVALS") or "eval-runs")


def _store(folder: Path | None, name: str) -> Store:
    if Path(name).name != name or name in ("", ".", ".."):
        raise typer.BadParameter(f"{name!r} is no name of a run")
    return Store(_folder(folder) / name)


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _show(what: str | Table) -> None:
    if isinstance(what, str):
        typer.echo(what)
    else:
        Console().print(what)


def _end(command: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Runs a command; what went wrong becomes a sentence and an exit code."""
    try:
        code = anyio.run(command)
    except EvalError as error:
        _say(f"agentkit eval: {error}")
        code = 2
    except AgentKitError as error:
        _say(f"agentkit eval: {error}")
        code = 1
    except KeyboardInterrupt:
        _say("agentkit eval: stopped; the same command with the same --name goes on")
        code = 130
    raise typer.Exit(code)
