"""The statistics of trials: what a score is worth, and whether two differ.

scipy does the mathematics. pass^k and pass@k are written out here: pass^k is the chance that k
tries all succeed (tau-bench, arXiv 2406.12045), pass@k that one of k does (arXiv 2107.03374), each
in its unbiased form over the trials that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Final

from agentkit.mistakes import install
from agentkit_evals.core import EvalError

__all__ = [
    "Interval",
    "McNemar",
    "bootstrap",
    "mcnemar",
    "pass_at_k",
    "pass_hat_k",
    "wilson",
]

CONFIDENCE: Final = 0.95
_RESAMPLES: Final = 9_999
_SEED: Final = 20_260_323
"""Of the bootstrap: the same results give the same interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float


def pass_hat_k(trials: int, passed: int, k: int) -> float:
    """The chance that k tries all succeed: C(passed, k) / C(trials, k).

    Raises:
        ValueError: k is not between 1 and the number of trials.
    """
    _check(trials, passed, k)
    return comb(passed, k) / comb(trials, k)


def pass_at_k(trials: int, passed: int, k: int) -> float:
    """The chance that at least one of k tries succeeds: 1 - C(failed, k) / C(trials, k).

    Raises:
        ValueError: k is not between 1 and the number of trials.
    """
    _check(trials, passed, k)
    return 1 - comb(trials - passed, k) / comb(trials, k)


def _check(trials: int, passed: int, k: int) -> None:
    if not 0 <= passed <= trials or not 1 <= k <= trials:
        raise ValueError(f"there is no {k} of {trials} trials, {passed} of them passed")


def wilson(passed: int, n: int) -> Interval:
    """The share of passes among n independent trials, with Wilson's score interval.

    Raises:
        ValueError: n is 0.
        EvalError: scipy is missing.
    """
    found = _scipy().binomtest(passed, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(passed / n, float(found.low), float(found.high))


def bootstrap(values: Sequence[float]) -> Interval:
    """The mean of one value a case, with a percentile bootstrap interval over cases.

    Cases are what is resampled, each with all its trials: the trials of a case are not independent
    of each other. Of two runs give the differences, case by case, and it is the paired bootstrap.

    Raises:
        ValueError: There are no values.
        EvalError: scipy is missing.
    """
    if not values:
        raise ValueError("there is nothing to resample")
    mean = sum(values) / len(values)
    if len(set(values)) == 1:  # every resample is the same; the bootstrap can say nothing
        return Interval(mean, mean, mean)
    found = (
        _scipy()
        .bootstrap(
            (values,),
            _mean,
            n_resamples=_RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=_SEED,
            vectorized=True,
        )
        .confidence_interval
    )
    return Interval(mean, float(found.low), float(found.high))


def _mean(values: Any, axis: int) -> Any:
    return values.mean(axis=axis)


@dataclass(frozen=True, slots=True)
class McNemar:
    """The exact test of two runs over the same trials.

    Attributes:
        gained: Trials that only the second passed.
        lost: Trials that only the first passed.
        p: How likely a difference at least as lopsided is if neither is better.
    """

    gained: int
    lost: int
    p: float


def mcnemar(gained: int, lost: int) -> McNemar:
    """McNemar's exact test: of the trials that differ, each is as likely to go either way.

    Raises:
        EvalError: scipy is missing.
    """
    if gained + lost == 0:
        return McNemar(0, 0, 1.0)
    return McNemar(gained, lost, float(_scipy().binomtest(gained, gained + lost, 0.5).pvalue))


def _scipy() -> Any:
    try:
        from scipy import stats  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise EvalError(
            f"statistics need the extra `evals` ({error.name} is missing): {install('evals')}"
        ) from None
    return stats
