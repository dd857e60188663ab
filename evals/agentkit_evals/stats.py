"""The statistics of trials: how certain a score is, and whether two scores differ.

In: verdicts by case. Out: intervals that hold 95 % from five cases on, however alike the trials of
a case are, and probabilities that are exact for any number of cases. The units that are drawn and
compared are cases, each with all its trials, since the trials of one case are not independent of
each other.

pass^k is the chance that k tries all succeed (tau-bench, arXiv 2406.12045), pass@k the chance that
at least one of k does (arXiv 2107.03374); both are in their unbiased form. scipy has the special
functions. `make soak PART=intervals` measures how often the intervals hold, and how often chance
alone makes a winner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any, Final

from agentkit.errors import install
from agentkit_evals.core import EvalError

CONFIDENCE: Final = 0.95
_TAIL: Final = (1 - CONFIDENCE) / 2

_UNSEEN: Final = 0.25
"""Imagined cases with the result 0, and as many with 1, that are added when the spread of the cases
is measured: few cases may be alike by chance alone. The number is chosen by the simulation above.
"""

_GRID: Final = 840
"""Differences of shares are counted in units of 1/840 at the finest, which is exact for up to eight
trials a case. Finer differences are rounded, and the test is exact for the rounded ones."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def percent(self) -> str:
        """A share as text: `62.5 % [48.1 to 75.0]`."""
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f} to {100 * self.high:.1f}]"

    def points(self) -> str:
        """A difference of shares as text: `+12.5 points [-3.0 to +28.0]`."""
        return f"{100 * self.value:+.1f} points [{100 * self.low:+.1f} to {100 * self.high:+.1f}]"


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


def score(shares: Sequence[float], trials: int) -> Interval:
    """The mean over cases of the share of passed trials, with its interval.

    The interval is Clopper and Pearson's for an effective number of independent trials, which
    follows from how much the cases differ (Korn and Graubard, Survey Methodology 24, 1998).

    Args:
        shares: The share of passed trials of each case.
        trials: The number of trials of all cases together.

    Raises:
        ValueError: There are no cases.
        EvalError: scipy is missing.
    """
    if not shares:
        raise ValueError("there is no case to judge by")
    mean = math.fsum(shares) / len(shares)
    return _clopper_pearson(mean, _independent(shares, mean, trials))


def ratio(counts: Sequence[tuple[int, int]]) -> Interval:
    """A share of things that are spread unevenly over cases, such as invalid calls among all calls,
    with its interval, which is made as that of `score`.

    Args:
        counts: For each case, the number of things counted, and the number of all.

    Raises:
        ValueError: There is nothing to count.
        EvalError: scipy is missing.
    """
    counts = [(some, all_) for some, all_ in counts if all_]
    total = sum(all_ for _, all_ in counts)
    if not total:
        raise ValueError("there is nothing to judge by")
    share = sum(some for some, _ in counts) / total
    cases = len(counts)
    if cases == 1 or share in (0.0, 1.0):
        return _clopper_pearson(share, cases)  # nothing shows how alike the things of a case are
    spread = math.fsum((some - share * all_) ** 2 for some, all_ in counts)
    spread += _UNSEEN * (total / cases) ** 2 * (share**2 + (1 - share) ** 2)
    effective = min(share * (1 - share) * total**2 * (cases - 1) / (cases * spread), total)
    return _clopper_pearson(share, effective * _student_ratio(total, cases))


def _clopper_pearson(mean: float, effective: float) -> Interval:
    """The exact interval of a share of independent things, whose number need not be whole."""
    beta = _scipy().betaincinv
    passed, failed = mean * effective, effective - mean * effective
    low = beta(passed, failed + 1, _TAIL) if mean > 0 else 0.0
    high = beta(passed + 1, failed, 1 - _TAIL) if mean < 1 else 1.0
    return Interval(mean, float(low), float(high))


def _independent(shares: Sequence[float], mean: float, trials: int) -> float:
    """The number of independent trials that would be as informative as these."""
    cases = len(shares)
    if cases == trials or cases == 1 or mean in (0.0, 1.0):
        return cases  # nothing shows how alike the trials of a case are
    spread = math.fsum((share - mean) ** 2 for share in shares)
    spread += _UNSEEN * (mean**2 + (1 - mean) ** 2)
    effective = min(mean * (1 - mean) * cases * (cases - 1) / spread, trials)
    return effective * _student_ratio(trials, cases)


def _student_ratio(things: int, cases: int) -> float:
    """The factor by which a spread that is known from so few cases reduces the effective number."""
    t = _scipy().stdtrit
    return float((t(things - 1, 1 - _TAIL) / t(cases - 1, 1 - _TAIL)) ** 2)


def difference(values: Sequence[float]) -> Interval:
    """The mean of the differences of cases, with Student's interval.

    Args:
        values: The difference of each case, between -1 and 1.

    Raises:
        ValueError: There are no values.
        EvalError: scipy is missing.
    """
    if not values:
        raise ValueError("there is no case to judge by")
    cases = len(values)
    mean = math.fsum(values) / cases
    if cases == 1:
        return Interval(mean, -1.0, 1.0)
    half = float(_scipy().stdtrit(cases - 1, 1 - _TAIL)) * _standard_error(values, mean)
    return Interval(mean, max(mean - half, -1.0), min(mean + half, 1.0))


def student(values: Sequence[float]) -> float:
    """The probability of a mean difference at least as large if neither of two is better, as
    Student's test has it: below 5 % where the interval of `difference` does not hold 0.

    It assumes that the mean is normally distributed. For two that hardly ever fail it is not: with
    one trial of each of a hundred cases against eight, and 98 % that pass, this finds a winner
    twice as often as it says.

    Args:
        values: The difference of each case, between -1 and 1.

    Raises:
        EvalError: scipy is missing.
    """
    cases = len(values)
    if cases < 2:
        return 1.0
    mean = math.fsum(values) / cases
    return 2 * float(_scipy().stdtr(cases - 1, -abs(mean) / _standard_error(values, mean)))


def _standard_error(values: Sequence[float], mean: float) -> float:
    """The standard error of the mean of two or more differences."""
    spread = math.fsum((value - mean) ** 2 for value in values)
    spread += _UNSEEN * ((1 - mean) ** 2 + (1 + mean) ** 2)
    return math.sqrt(spread / len(values) / (len(values) - 1))


def sign_flip(values: Sequence[Fraction]) -> float:
    """The probability of a mean difference at least as large if neither of two is better.

    If neither is better, the difference of each case is as likely to have the other sign. All
    combinations of signs are counted: the exact test of Fisher and Pitman for paired samples. With
    one trial a case it is McNemar's exact test. Both of the two need as many trials of each case:
    else a difference is not as likely to have the other sign (see `paired`).

    Args:
        values: The difference of each case.

    Raises:
        EvalError: scipy is missing.
    """
    grid = min(math.lcm(*(value.denominator for value in values)), _GRID) if values else 1
    steps = [abs(round(value * grid)) for value in values]
    reached = abs(sum(round(value * grid) for value in values))
    if reached == 0:
        return 1.0
    # By the sum of the differences; 0 is in the middle.
    chances = _numpy().zeros(2 * sum(steps) + 1)
    chances[sum(steps)] = 1.0
    for step in steps:
        if step:
            up, down = chances.copy(), chances.copy()
            up[step:], up[:step] = chances[:-step], 0
            down[:-step], down[-step:] = chances[step:], 0
            chances = (up + down) / 2
    tail = chances[: sum(steps) - reached + 1].sum()
    return min(1.0, float(2 * tail))


def paired(even: Sequence[Fraction], every: Sequence[Fraction]) -> float:
    """The probability of a mean difference at least as large if neither of two is better, also
    where the two have different numbers of trials of a case.

    What decides is `sign_flip` over as many trials of each case as both have. Where there are more,
    `student` over all of them must agree.

    Args:
        even: The difference of each case, over as many trials as both have.
        every: The same over all trials.

    Raises:
        EvalError: scipy is missing.
    """
    p = sign_flip(even)
    return p if even == every else max(p, student([float(much) for much in every]))


def holm(chances: Sequence[float]) -> list[float]:
    """The probabilities of several comparisons, adjusted for their number (Holm, Scandinavian
    Journal of Statistics 6, 1979): an error in any of them is as rare as in a single one.
    """
    adjusted = [0.0] * len(chances)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[at]))
        adjusted[at] = highest
    return adjusted


def detectable(cases: int, differing: float = 0.2, power: float = 0.8) -> float:
    """The least difference of two scores that is found with a given power.

    Args:
        cases: The number of cases that both play.
        differing: The share of cases on which the two do not agree.
        power: The chance that the difference is found.

    Raises:
        EvalError: scipy is missing.
    """
    normal = _scipy().ndtri
    return min(1.0, float(normal(1 - _TAIL) + normal(power)) * math.sqrt(differing / max(cases, 1)))


def _scipy() -> Any:
    """The special functions of scipy, whose import takes a third of the time of `scipy.stats`."""
    try:
        from scipy import special  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise EvalError(
            f"statistics need the extra `evals` ({error.name} is missing): {install('evals')}"
        ) from None
    return special


def _numpy() -> Any:
    _scipy()  # it brings numpy along
    import numpy  # noqa: PLC0415 - as above

    return numpy
