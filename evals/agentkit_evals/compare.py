"""Compares runs over the same cases with the first of them: which is better, if that is certain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from statistics import mean
from typing import Literal, TypeAlias

from rich.table import Table
from rich.text import Text

from agentkit.wording import printable
from agentkit_evals.core import EvalError, TrialResult, by_case
from agentkit_evals.manifest import RunManifest
from agentkit_evals.stats import Interval, detectable, difference, holm, paired
from agentkit_evals.store import Store

_SURE = 0.05
"""A difference counts only if chance alone makes it less often than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run compared with the first one, over the cases that have verdicts in both.

    Attributes:
        suite: The suite of both runs.
        runs: The names of the first and the second run.
        models: The subjects of the first and the second run.
        cases: The number of compared cases.
        left_out: Cases with a verdict in only one run.
        scores: The measure of both runs over these cases; by default pass^1.
        difference: The second score minus the first, with its interval.
        p: The probability of so large a difference if neither is better; see `stats.paired`.
        adjusted: `p`, adjusted for all comparisons that are made at once; see `stats.holm`.
        detectable: The least difference that so many cases would show in four of five runs, if as
            many of them differed.
        gained: Cases that the second run passed more often.
        lost: Cases that the first run passed more often.
        winner: The better run; None if that is not certain.
    """

    suite: str
    runs: tuple[str, str]
    models: tuple[str, str]
    cases: int
    left_out: int
    scores: tuple[float, float]
    difference: Interval
    p: float
    adjusted: float
    detectable: float
    gained: Sequence[str]
    lost: Sequence[str]
    winner: Literal["first", "second"] | None


Measure: TypeAlias = Callable[[Iterable[TrialResult]], Fraction | None]
"""The trials of a case that have a verdict → a number from 0 to 1 to compare, or None."""


def passed_trials(results: Iterable[TrialResult]) -> Fraction | None:
    """The share of trials that passed."""
    verdicts = [result.passed for result in results]
    return Fraction(sum(verdicts), len(verdicts))


def invalid_calls(results: Iterable[TrialResult]) -> Fraction | None:
    """The share of calls that were invalid; None without calls."""
    calls = [call for result in results for call in result.transcript.calls]
    return Fraction(sum(call.invalid for call in calls), len(calls)) if calls else None


def compare(first: Store, *others: Store, measure: Measure = passed_trials) -> list[Comparison]:
    """Compares runs with the first, case by case.

    Args:
        first: The run with which the others are compared.
        others: One or more runs.
        measure: What to compare; more is better.

    Raises:
        EvalError: They are runs of different suites or data, or share no case; scipy is missing.
    """
    found = comparisons(first, others, measure)
    if len(found) < len(others):
        raise EvalError("these runs have no case in common with a verdict in both")
    return list(found.values())


def comparisons(
    first: Store, others: Sequence[Store], measure: Measure = passed_trials
) -> dict[int, Comparison]:
    """As `compare`, by the position of the other run; one that shares no case has no comparison.

    Raises:
        EvalError: They are runs of different suites or data; scipy is missing.
    """
    base = _Measured.of(first, measure)
    found: dict[int, Comparison] = {}
    for position, other in enumerate(others):
        if (one := _compared(base, _Measured.of(other, measure))) is not None:
            found[position] = one
    chances = holm([one.p for one in found.values()])
    return {
        position: replace(one, adjusted=chance, winner=_better(one) if chance < _SURE else None)
        for (position, one), chance in zip(found.items(), chances, strict=True)
    }


def _better(one: Comparison) -> Literal["first", "second"]:
    return "second" if one.difference.value > 0 else "first"


def _unlike(first: RunManifest, second: RunManifest) -> str:
    """Why two runs cannot be compared; empty if they can."""
    if first.suite != second.suite:
        return f"one is of {first.suite}, the other of {second.suite}"
    one, other = dict(first.about), dict(second.about)
    changed = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    if not changed:
        return ""
    return f"between them {first.suite} has changed in {', '.join(changed)}; run the older one anew"


@dataclass(frozen=True, slots=True)
class _Measured:
    """A run with the trials that have a verdict, and the measure of each of their cases."""

    name: str
    manifest: RunManifest
    measure: Measure
    trials: Mapping[str, Sequence[TrialResult]]
    shares: Mapping[str, Fraction]

    @staticmethod
    def of(store: Store, measure: Measure) -> _Measured:
        graded = [result for result in store.results().values() if result.status == "graded"]
        cases = by_case(graded)
        measured = {case: measure(results) for case, results in cases.items()}
        shares = {case: share for case, share in measured.items() if share is not None}
        return _Measured(store.folder.name, store.manifest(), measure, cases, shares)

    def beginning(self, case: str, trials: int) -> Fraction | None:
        """The measure of so many trials of a case, in the order of their numbers."""
        ordered = sorted(self.trials[case], key=lambda result: result.trial)
        return self.measure(ordered[:trials])

    def mean(self, cases: Sequence[str]) -> float:
        return float(mean(self.shares[case] for case in cases))


def _compared(first: _Measured, second: _Measured) -> Comparison | None:
    """The second run compared with the first; None if they share no case."""
    if unlike := _unlike(first.manifest, second.manifest):
        raise EvalError(f"these runs cannot be compared: {unlike}")
    both = sorted(first.shares.keys() & second.shares.keys())
    if not both:
        return None
    differences = {case: second.shares[case] - first.shares[case] for case in both}
    gained = [case for case, much in differences.items() if much > 0]
    lost = [case for case, much in differences.items() if much < 0]
    p = paired(_even_differences(first, second, both), list(differences.values()))
    return Comparison(
        suite=first.manifest.suite,
        runs=(first.name, second.name),
        models=(first.manifest.subject.label, second.manifest.subject.label),
        cases=len(both),
        left_out=len(first.shares.keys() ^ second.shares.keys()),
        scores=(first.mean(both), second.mean(both)),
        difference=difference([float(much) for much in differences.values()]),
        p=p,
        adjusted=p,
        detectable=detectable(len(both), max(len(gained) + len(lost), 1) / len(both)),
        gained=gained,
        lost=lost,
        winner=None,
    )


def _even_differences(first: _Measured, second: _Measured, cases: Iterable[str]) -> list[Fraction]:
    """The difference of each case over as many of its trials as both runs have."""
    found: list[Fraction] = []
    for case in cases:
        trials = min(len(first.trials[case]), len(second.trials[case]))
        one, other = first.beginning(case, trials), second.beginning(case, trials)
        if one is not None and other is not None:
            found.append(other - one)
    return found


# --- output ------------------------------------------------------------------------------------


def comparison_json(found: Sequence[Comparison]) -> str:
    """The comparisons as JSON text: a list with one object for each."""
    return json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False)


def comparison_table(found: Sequence[Comparison]) -> Table:
    """The comparisons as a table for a terminal."""
    title = printable(found[0].suite)
    table = Table(box=None, pad_edge=False, show_header=False, title=title)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for number, one in enumerate(found):
        if number:
            table.add_row("", "")
        for name, text in _rows(one, several=len(found) > 1):
            table.add_row(name, Text(printable(text)))
    return table


def _rows(found: Comparison, *, several: bool) -> Iterable[tuple[str, str]]:
    left_out = f", {found.left_out} left out" if found.left_out else ""
    yield "cases", f"{found.cases} in both{left_out}"
    each = zip(("first", "second"), found.runs, found.models, found.scores, strict=True)
    for which, run, model, score in each:
        yield which, f"{100 * score:.1f} %  {run}  {model}"
    gap = found.difference
    yield (
        "difference",
        f"{100 * gap.value:+.1f} points  [{100 * gap.low:+.1f} to {100 * gap.high:+.1f}]",
    )
    all_of_them = f", {found.adjusted:.3g} among all of these comparisons" if several else ""
    yield "by chance", f"p = {found.p:.3g}{all_of_them}"
    yield "verdict", _verdict(found)
    yield f"gained {len(found.gained)}", " ".join(found.gained)
    yield f"lost {len(found.lost)}", " ".join(found.lost)


def _verdict(found: Comparison) -> str:
    if found.winner is None:
        return (
            "no clear winner: a difference like this one may well be chance; with so many cases "
            f"one below {100 * found.detectable:.0f} points is often missed"
        )
    return f"the {found.winner} is better"
