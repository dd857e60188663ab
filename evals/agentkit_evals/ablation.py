"""What parts of agentkit are worth: runs with one part off, compared with the run with all on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from agentkit.wording import printable
from agentkit_evals.compare import (
    Comparison,
    Measure,
    comparisons,
    invalid_calls,
    passed_trials,
)
from agentkit_evals.parts import Ablation
from agentkit_evals.report import Report, report
from agentkit_evals.stats import Interval
from agentkit_evals.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One run of an ablation.

    Attributes:
        off: The part that is switched off; None for the run with all on.
        run: The name of the run.
        score: pass^1; None if no trial has a verdict.
        invalid: The share of invalid calls; None without calls.
        seconds: Seconds of a trial, on average.
        tokens: Tokens that the model writes in a trial, on average.
        lost: Trials without a verdict.
        score_change: The scores compared with those of all on; None for all on itself, and if no
            case has a verdict in both runs.
        invalid_change: The shares of invalid calls compared likewise, over cases with calls in
            both runs.
    """

    off: Ablation | None
    run: str
    score: Interval | None
    invalid: Interval | None
    seconds: float | None
    tokens: float | None
    lost: int
    score_change: Comparison | None = None
    invalid_change: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Ablated:
    """All runs of an ablation, with all on as the first."""

    suite: str
    model: str
    arms: tuple[Arm, ...]


def ablated(all_on: Store, off: Mapping[Ablation, Store]) -> Ablated:
    """Compares each run with all on. The probabilities of each measure are adjusted for the number
    of runs (Holm), so that all of them together hold their level.

    Raises:
        EvalError: A run is missing, or they are of different suites; scipy is missing.
    """
    whole = report(all_on)
    scores = _changes(all_on, off, passed_trials)
    invalid = _changes(all_on, off, invalid_calls)
    arms = [_arm(None, all_on, whole, None, None)]
    arms += [
        _arm(part, store, report(store), scores.get(part), invalid.get(part))
        for part, store in off.items()
    ]
    return Ablated(whole.suite, whole.model, tuple(arms))


def _changes(
    all_on: Store, off: Mapping[Ablation, Store], measure: Measure
) -> dict[Ablation, Comparison]:
    """The comparisons by the part that is off, without runs that share no case with all on."""
    found = comparisons(all_on, list(off.values()), measure)
    return {part: found[position] for position, part in enumerate(off) if position in found}


def _arm(
    off: Ablation | None,
    store: Store,
    found: Report,
    score: Comparison | None,
    invalid: Comparison | None,
) -> Arm:
    times = found.times.trial if found.times is not None else None
    return Arm(
        off=off,
        run=store.folder.name,
        score=found.score,
        invalid=found.invalid_share,
        seconds=None if times is None else times.mean,
        tokens=found.usage.output_tokens / found.graded if found.graded else None,
        lost=sum(found.infrastructure.values()),
        score_change=score,
        invalid_change=invalid,
    )


# --- output ------------------------------------------------------------------------------------


def ablation_json(found: Ablated) -> str:
    """The ablation as JSON text."""
    return json.dumps(asdict(found), indent=2, ensure_ascii=False)


def ablation_table(found: Ablated) -> Table:
    """A table for a terminal, with a line for each run."""
    title = printable(f"{found.suite}  {found.model}")
    table = Table(box=None, pad_edge=False, title=title)
    table.add_column("off", no_wrap=True)
    for heading in _HEADINGS:
        table.add_column(heading)
    for arm in found.arms:
        table.add_row(arm.off or "all on", *_cells(arm))
    return table


_HEADINGS: Sequence[str] = ("pass^1", "change", "invalid calls", "change", "s", "tokens", "lost")


def _cells(arm: Arm) -> Iterable[str]:
    yield "-" if arm.score is None else arm.score.percent()
    yield _change(arm.score_change)
    yield "-" if arm.invalid is None else arm.invalid.percent()
    yield _change(arm.invalid_change)
    yield "-" if arm.seconds is None else f"{arm.seconds:.3g}"
    yield "-" if arm.tokens is None else f"{arm.tokens:,.0f}"
    yield str(arm.lost)


def _change(found: Comparison | None) -> str:
    if found is None:
        return "-"
    word = "" if found.winner is None else " *"
    return f"{100 * found.difference.value:+.1f}, p = {found.adjusted:.2g}{word}"
