"""Two runs over the same cases: which is better, or whether that cannot be told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Literal

from rich.table import Table
from rich.text import Text

from agentkit_evals.core import EvalError, TrialResult
from agentkit_evals.stats import Interval, bootstrap, mcnemar
from agentkit_evals.store import Store

__all__ = ["Comparison", "compare", "comparison_json", "comparison_table"]

_SURE = 0.05
"""A difference that chance makes more often than that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The second run against the first, over the cases that both have verdicts on.

    Attributes:
        suite: Of both.
        models: What was tested, first and second.
        cases: How many are compared.
        left_out: Cases with a verdict in one run only.
        scores: pass^1 of each over these cases.
        difference: Second less first, with the paired bootstrap's interval.
        p: Of McNemar's exact test over cases, where each was tried once.
        gained: Cases that only the second passed, or passed more often.
        lost: Cases that only the first passed, or passed more often.
        winner: Who is better, as far as this can be told.
    """

    suite: str
    models: tuple[str, str]
    cases: int
    left_out: int
    scores: tuple[float, float]
    difference: Interval
    p: float | None
    gained: Sequence[str]
    lost: Sequence[str]
    winner: Literal["first", "second"] | None


def compare(first: Store, second: Store) -> Comparison:
    """Compares two runs case by case.

    Raises:
        EvalError: They are runs of different suites or data, or share no case; scipy is missing.
    """
    manifests = first.manifest(), second.manifest()
    if manifests[0].suite != manifests[1].suite or manifests[0].about != manifests[1].about:
        raise EvalError(
            "these runs cannot be compared: "
            f"{manifests[0].suite} {dict(manifests[0].about)} is not "
            f"{manifests[1].suite} {dict(manifests[1].about)}"
        )
    shares = _shares(first), _shares(second)
    both = sorted(shares[0].keys() & shares[1].keys())
    if not both:
        raise EvalError("these runs have no case in common with a verdict in both")
    differences = [shares[1][case] - shares[0][case] for case in both]
    gained = [case for case, much in zip(both, differences, strict=True) if much > 0]
    lost = [case for case, much in zip(both, differences, strict=True) if much < 0]
    difference = bootstrap(differences)
    once = manifests[0].trials == manifests[1].trials == 1
    # Where all differences are alike the bootstrap has nothing to vary; signs can still be counted.
    exact = once or len(set(differences)) == 1
    p = mcnemar(len(gained), len(lost)).p if exact else None
    sure = p < _SURE if p is not None else not difference.low <= 0 <= difference.high
    better: Literal["first", "second"] = "second" if difference.value > 0 else "first"
    return Comparison(
        suite=manifests[0].suite,
        models=(_model(first), _model(second)),
        cases=len(both),
        left_out=len(shares[0].keys() ^ shares[1].keys()),
        scores=(mean(shares[0][case] for case in both), mean(shares[1][case] for case in both)),
        difference=difference,
        p=p,
        gained=gained,
        lost=lost,
        winner=better if sure else None,
    )


def _shares(store: Store) -> dict[str, float]:
    """The share of passed trials of each case that has a verdict."""
    found: dict[str, list[TrialResult]] = {}
    for result in store.results().values():
        if result.status == "graded":
            found.setdefault(result.case, []).append(result)
    return {case: mean(result.passed for result in results) for case, results in found.items()}


def _model(store: Store) -> str:
    subject = store.manifest().subject
    return subject.model_name or subject.model


# --- shown -------------------------------------------------------------------------------------


def comparison_json(found: Comparison) -> str:
    """As JSON text."""
    return json.dumps(asdict(found), indent=2, ensure_ascii=False)


def comparison_table(found: Comparison) -> Table:
    """For a terminal."""
    table = Table(box=None, pad_edge=False, show_header=False, title=found.suite)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for name, text in _rows(found):
        table.add_row(name, Text(text))
    return table


def _rows(found: Comparison) -> Iterable[tuple[str, str]]:
    left_out = f", {found.left_out} left out" if found.left_out else ""
    yield "cases", f"{found.cases} in both{left_out}"
    for which, model, score in zip(("first", "second"), found.models, found.scores, strict=True):
        yield which, f"{100 * score:.1f} %  {model}"
    gap = found.difference
    yield (
        "difference",
        f"{100 * gap.value:+.1f} points  [{100 * gap.low:+.1f} to {100 * gap.high:+.1f}]",
    )
    if found.p is not None:
        yield "McNemar", f"p = {found.p:.3g}"
    yield "verdict", _verdict(found)
    yield f"gained {len(found.gained)}", " ".join(found.gained)
    yield f"lost {len(found.lost)}", " ".join(found.lost)


def _verdict(found: Comparison) -> str:
    if found.winner is None:
        return "no clear winner: a difference like this one may well be chance"
    return f"the {found.winner} is better"
