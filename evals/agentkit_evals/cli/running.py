"""`agentkit eval run`, `retry`, `ablate`, `rescore`: what plays or grades trials."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from agentkit import ModelSettings
from agentkit.wording import pluralize
from agentkit_evals.ablation import ablated, ablation_json, ablation_table
from agentkit_evals.cli.shared import (
    AsJson,
    Folder,
    Priced,
    RunName,
    end,
    say,
    show,
    show_report,
    spread,
    store_of,
)
from agentkit_evals.core import TrialLimits
from agentkit_evals.manifest import RunManifest, planned
from agentkit_evals.parts import ABLATIONS, Ablation
from agentkit_evals.ray_runner import run_on_ray
from agentkit_evals.report import report
from agentkit_evals.rescore import rescore
from agentkit_evals.runner import Progress, Which, run_local
from agentkit_evals.stats import detectable
from agentkit_evals.store import Store
from agentkit_evals.subject import REFERENCES, Subject
from agentkit_evals.suites import SUITES, load_suite

_EVERY = 10.0
"""Seconds between lines of progress where no terminal is."""

# --- options -----------------------------------------------------------------------------------

Thinking: TypeAlias = Annotated[
    bool | None, typer.Option("--thinking/--no-thinking", help="Let the model think first.")
]
MostLost: TypeAlias = Annotated[
    float, typer.Option(min=0, max=1, help="Share of trials that may be without a verdict.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunOptions:
    """The options of what to play, of `run` and `ablate`."""

    suite: Annotated[
        str,
        typer.Argument(help="project, schema, bfcl:multi_turn_base, file.py:suite; see `suites`."),
    ]
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help=f"A vLLM server's address, tiny, or a reference: {', '.join(REFERENCES)}. "
            "Default: AGENTKIT_BASE_URL.",
        ),
    ] = None
    model_name: Annotated[str | None, typer.Option(help="Served name.")] = None
    name: Annotated[str | None, typer.Option(help="Of the run; the same name goes on with it.")] = (
        None
    )
    agent: Annotated[
        str | None,
        typer.Option(
            help="module:function, or file.py:function, of (model, turn, settings) that makes your "
            "agent."
        ),
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first cases.")] = None
    case: Annotated[
        list[str] | None,
        typer.Option(help="Only this case, or those that a pattern like 'base_1*' fits."),
    ] = None
    tag: Annotated[
        list[str] | None, typer.Option(help="Only cases with this tag, or another given.")
    ] = None
    shuffle: Annotated[
        int | None,
        typer.Option(
            metavar="SEED", help="Cases in an order of chance, so that --limit draws from all."
        ),
    ] = None
    trials: Annotated[int, typer.Option("--trials", "-k", min=1, help="Tries at each case.")] = 1
    seed: Annotated[int, typer.Option(help="Of all sampling.")] = 0
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is greedy.")] = None
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of a reply.")] = None
    trial_seconds: Annotated[float | None, typer.Option(min=0, help="That a trial may take.")] = (
        None
    )
    trial_tokens: Annotated[
        int | None, typer.Option(min=0, help="That the model may write in a trial.")
    ] = None
    trial_memory: Annotated[
        int | None,
        typer.Option(
            min=16,
            metavar="MB",
            help="That a trial may take; each is then played in a process of its own.",
        ),
    ] = None
    folder: Folder = None
    as_json: AsJson = False

    async def planned(self, thinking: bool | None) -> RunManifest:
        """The manifest of the run.

        Raises:
            EvalError: The suite, the agent, or a case or tag is not there.
            ModelError: The model cannot be reached.
        """
        megabytes = self.trial_memory
        subject = Subject(
            model=self.model or os.environ.get("AGENTKIT_BASE_URL") or "",
            model_name=self.model_name,
            settings=ModelSettings(
                temperature=self.temperature, max_tokens=self.max_tokens, thinking=thinking
            ),
            agent=self.agent,
        )
        async with aclosing(load_suite(self.suite)) as suite:
            comes_along = self.suite.partition(":")[0] in SUITES  # `bfcl` is its first category
            return await planned(
                suite,
                suite.name if comes_along else self.suite,
                await subject.pinned(),
                limit=self.limit,
                only=self.case or (),
                tags=self.tag or (),
                shuffle=self.shuffle,
                trials=self.trials,
                seed=self.seed,
                limits=TrialLimits(
                    seconds=self.trial_seconds,
                    tokens=self.trial_tokens,
                    memory=None if megabytes is None else megabytes * 1_000_000,
                ),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Players:
    """The options of how to play, of `run`, `retry` and `ablate`."""

    runner: Annotated[Literal["local", "ray"], typer.Option(help="Here, or on Ray actors.")] = (
        "local"
    )
    workers: Annotated[int, typer.Option(min=1, help="Ray actors.")] = 2
    concurrency: Annotated[int, typer.Option(min=1, help="Trials at a time (of each actor).")] = 8

    async def run(self, manifest: RunManifest, store: Store) -> None:
        """Plays a run and its floor."""
        store.begin(manifest)
        cases = len(manifest.cases)
        say(
            f"{store.folder.name}: {pluralize(cases, 'case')}; in a comparison, a difference below "
            f"{100 * detectable(cases):.0f} points is often missed"
        )
        idle = replace(
            manifest,
            subject=Subject(model="empty"),
            trials=1,
            limits=TrialLimits(
                memory=manifest.limits.memory
            ),  # it keeps a check that crashes apart
            made_of={"library_sha256": manifest.made_of["library_sha256"]},
        )
        await run_local(idle, store.floor(), concurrency=self.concurrency)
        await self.play(manifest, store, manifest.suite, "unfinished")

    async def play(self, manifest: RunManifest, store: Store, title: str, which: Which) -> None:
        """Plays the trials of a run that are left."""
        with _Watched(title) as watched:
            if self.runner == "ray":
                await run_on_ray(
                    manifest,
                    store,
                    workers=self.workers,
                    concurrency=self.concurrency,
                    which=which,
                    watcher=watched.show,
                )
            else:
                await run_local(
                    manifest,
                    store,
                    concurrency=self.concurrency,
                    which=which,
                    watcher=watched.show,
                )


# --- commands ----------------------------------------------------------------------------------


@spread
def run_suite(
    options: _RunOptions,
    players: _Players,
    priced: Priced,
    thinking: Thinking = None,
    most_lost: MostLost = 0.05,
) -> None:
    """Run a suite, or go on with a run, and report.

    An agent that does nothing plays the same cases first: its score is the floor. Progress goes to
    standard error. Every result is on the disk before the next begins: stop and go on as you like.
    With more --trials or cases, only those that are new are played.

    Exit codes: 0 reported, 1 more trials than --most-lost without a verdict, or the server failed,
    2 used wrongly, 130 stopped by Ctrl-C.
    """
    store = store_of(options.folder, options.name or _named(options.suite))

    async def main() -> int:
        await players.run(await options.planned(thinking), store)
        found = report(store, priced.prices)
        show_report(found, options.as_json)
        say(f"kept in {store.folder}")
        return 1 if found.infrastructure_share > most_lost else 0

    end(main)


@spread
def retry_run(
    run: RunName,
    players: _Players,
    most_lost: MostLost = 0.05,
    folder: Folder = None,
    as_json_: AsJson = False,
) -> None:
    """Play the trials of a run again that have no verdict, since server, suite or harness failed.

    Nothing else is played, and the run is what it was: what was changed since is named, and ends
    the command.

    Exit codes: as for run.
    """
    store = store_of(folder, run)

    async def main() -> int:
        manifest = await _as_now(store.manifest())
        store.begin(manifest)
        await players.play(manifest, store, run, "lost")
        found = report(store)
        show_report(found, as_json_)
        return 1 if found.infrastructure_share > most_lost else 0

    end(main)


@spread
def ablate_suite(
    options: _RunOptions,
    players: _Players,
    off: Annotated[
        list[str] | None,
        typer.Option(
            "--off",
            help=f"Switched off in a run: {', '.join(ABLATIONS)}. May be repeated; default: all.",
        ),
    ] = None,
) -> None:
    """Measure what parts of agentkit are worth: one run with all on, one more with each one off.

    Each is compared with all on, over the same cases and seeds, with Holm's correction over all of
    them: scores, and calls that were invalid. Where reasoning is ablated, the model reasons in all
    other runs. The runs are called NAME-all-on and NAME-PART-off; the same name goes on with them.

    Exit codes: 0 compared, 1 the server failed, 2 used wrongly, 130 stopped by Ctrl-C.
    """
    parts = _parts(off or ABLATIONS)
    base = options.name or f"{_named(options.suite)}-ablation"
    all_on = store_of(options.folder, f"{base}-all-on")
    others = [store_of(options.folder, f"{base}-{part}-off") for part in parts]

    async def main() -> int:
        whole = await options.planned(True if "reasoning" in parts else None)
        runs = [(all_on, whole)]
        for store, part in zip(others, parts, strict=True):
            less = await replace(whole.subject, off=(part,)).pinned()
            runs.append((store, replace(whole, subject=less)))
        for store, manifest in runs:
            await players.run(manifest, store)
        found = ablated(all_on, dict(zip(parts, others, strict=True)))
        show(ablation_json(found) if options.as_json else ablation_table(found))
        return 0

    end(main)


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
    old, new = store_of(folder, run), store_of(folder, name or f"{run}-rescored")

    async def main() -> int:
        left_out = await rescore(old, new)
        if old.floor().exists:
            await rescore(old.floor(), new.floor())
        if left_out:
            say(f"{pluralize(left_out, 'trial')} had no end to be graded, and are left out")
        show_report(report(new), as_json_)
        say(f"kept in {new.folder}")
        return 0

    end(main)


# --- helpers -----------------------------------------------------------------------------------


def _parts(names: Sequence[str]) -> list[Ablation]:
    if unknown := [name for name in names if name not in ABLATIONS]:
        known = ", ".join(ABLATIONS)
        raise typer.BadParameter(f"{', '.join(unknown)} cannot be switched off; {known} can")
    return [part for part in ABLATIONS if part in names]


def _named(suite: str) -> str:
    plain = suite.rpartition("/")[2].replace(":", "-")  # lamp.py-suite of folder/lamp.py:suite
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"


async def _as_now(kept: RunManifest) -> RunManifest:
    """The manifest of the same run with its suite and its subject as they are now."""
    async with aclosing(load_suite(kept.suite)) as suite:
        now = await planned(
            suite,
            kept.suite,
            await kept.subject.pinned(),
            only=kept.cases,
            trials=kept.trials,
            seed=kept.seed,
            limits=kept.limits,
        )
    return replace(now, cases=kept.cases)


class _Watched:
    """Shows progress, with rate and time left: a bar on a terminal, else a line now and then."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._said = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
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
            say(f"{self._title}: {progress.done} of {progress.total}, {words}")


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
