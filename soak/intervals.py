"""How often the intervals of scores hold, and how often chance alone makes a winner.

Trials are drawn of cases whose rates are known: 5 to 200 cases with 1 to 8 trials, rates from 0.02
to 0.98, all cases alike or so different that each always passes or never. Bars: every interval of a
score or a share of calls holds in 93 % of its draws, and those of scores in 94 to 98 % on average
over the middle rates; two equal
models make a winner in 6 % at most (two standard errors of the drawing aside), also where one has
more trials of each case; two that are 15 points apart are told apart as often as by scipy's own
permutation test.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy
from agentkit_evals.stats import difference, paired, ratio, score, sign_flip
from scipy import stats

from soak.proof import prove

_CASES = (5, 10, 20, 50, 100, 200)
_TRIALS = (1, 2, 4, 8)
_AGAINST = {1: 8, 2: 8, 4: 1, 8: 1}
"""Trials of a case → those of a second model that has another number of them."""
_RATES = (0.02, 0.1, 0.5, 0.8, 0.98)
_ALIKE = (0.0, 0.3, 0.7, 1.0)
"""Correlation of two trials of one case."""
_CALLS = 3
"""Of a trial, on average."""

_DRAWS = 2000
_LEAST, _MOST_WINNERS = 0.93, 0.06
_MIDDLE = (0.94, 0.98)


@dataclass(frozen=True)
class Point:
    """What is drawn.

    Attributes:
        cases: How many cases a run has.
        trials: How many trials each case has.
        rate: At which cases pass on average.
        alike: Correlation of the trials of a case.
    """

    cases: int
    trials: int
    rate: float
    alike: float

    def draws(self, source: numpy.random.Generator, draws: int, runs: int = 1) -> numpy.ndarray:
        """Passed trials, of shape (runs, draws, cases); all runs have the same cases."""
        rates = self.rates(source, draws)
        return source.binomial(self.trials, rates, (runs, *rates.shape))

    def rates(self, source: numpy.random.Generator, draws: int) -> numpy.ndarray:
        """The rates of cases, in an array of shape (draws, cases)."""
        shape = (draws, self.cases)
        if self.alike == 0:
            return numpy.full(shape, self.rate)
        if self.alike == 1:
            return (source.random(shape) < self.rate).astype(float)
        weight = 1 / self.alike - 1
        return source.beta(self.rate * weight, (1 - self.rate) * weight, shape)


def points() -> Iterator[Point]:
    """All of them."""
    for cases in _CASES:
        for trials in _TRIALS:
            for rate in _RATES:
                for alike in _ALIKE if trials > 1 else _ALIKE[:1]:
                    yield Point(cases, trials, rate, alike)


def batch(number: int, draws: int = _DRAWS) -> dict[str, int]:
    """One point, or in the last batch the models that are 15 points apart.

    Raises:
        AssertionError: A bar is missed.
    """
    all_points = list(points())
    if number == len(all_points):
        return _apart(draws)
    point, source = all_points[number], numpy.random.default_rng(number)
    first, second = point.draws(source, draws, runs=2)
    held = sum(_holds(passed, point) for passed in first)
    equal = [
        _differences(one, other, point.trials) for one, other in zip(first, second, strict=True)
    ]
    winners = sum(sign_flip(each) < 0.05 for each in equal)
    around = sum(_holds_zero(each) for each in equal)
    noise = (0.05 * 0.95 / draws) ** 0.5
    small = 3 * noise if draws < _DRAWS else 0
    assert held >= (_LEAST - small) * draws, f"{point}: {held} of {draws} intervals hold"
    assert around >= (_LEAST - small) * draws, f"{point}: {around} of {draws} differences hold"
    assert winners <= (_MOST_WINNERS + 2 * noise) * draws, f"{point}: {winners} of {draws} winners"
    few = draws // 4
    uneven = _uneven_winners(point, numpy.random.default_rng((number, 1)), few)
    most = (_MOST_WINNERS + 4 * noise) * few  # of a quarter of the draws: twice the noise
    assert uneven <= most, f"{point}: {uneven} of {few} winners with unequal trials"
    shares = sum(_holds_share(point, source) for _ in range(few))
    assert shares >= (_LEAST - 2 * small) * few, f"{point}: {shares} shares hold"
    counts = Counter(points=1, draws=draws, held=held, winners=winners, differences_held=around)
    counts.update(share_draws=few, shares_held=shares, uneven_draws=few, uneven_winners=uneven)
    if point.cases >= 20 and 0.1 <= point.rate <= 0.9:
        counts.update(middle_draws=draws, middle_held=held)
    return dict(counts)


def _uneven_winners(point: Point, source: numpy.random.Generator, draws: int) -> int:
    """How often a winner is found of two equal models with different numbers of trials."""
    few, many = sorted((point.trials, _AGAINST[point.trials]))
    rates = point.rates(source, draws)
    one, begun, rest = (source.binomial(n, rates) for n in (few, few, many - few))
    found = 0
    for first, second, further in zip(one, begun, rest, strict=True):
        even = _differences(first, second, few)
        every = [
            Fraction(int(b) + int(more), many) - Fraction(int(a), few)
            for a, b, more in zip(first, second, further, strict=True)
        ]
        found += paired(even, every) < 0.05
    return found


def _holds(passed: Sequence[int], point: Point) -> bool:
    found = score([int(n) / point.trials for n in passed], point.cases * point.trials)
    return found.low <= point.rate + 1e-12 and point.rate - 1e-12 <= found.high


def _holds_share(point: Point, source: numpy.random.Generator) -> bool:
    """Whether the interval of a share of calls holds, where each case makes another number."""
    calls = source.poisson(_CALLS * point.trials, point.cases)
    (rates,) = point.rates(source, 1)
    some = source.binomial(calls, rates)
    if not calls.any():
        return True
    found = ratio(list(zip(some.tolist(), calls.tolist(), strict=True)))
    return found.low <= point.rate <= found.high


def _differences(one: Sequence[int], other: Sequence[int], trials: int) -> list[Fraction]:
    return [Fraction(int(b) - int(a), trials) for a, b in zip(one, other, strict=True)]


def _holds_zero(differences: Sequence[Fraction]) -> bool:
    found = difference([float(each) for each in differences])
    return found.low <= 0 <= found.high


def _apart(draws: int) -> dict[str, int]:
    """Fifty cases, rates of 60 and 75 %: the same verdict as by scipy's permutation test."""
    source = numpy.random.default_rng(0)
    draws = draws // 4
    found = theirs = 0
    for _ in range(draws):
        one, other = ((source.random(50) < rate).astype(int) for rate in (0.6, 0.75))
        p = sign_flip(_differences(one.tolist(), other.tolist(), 1))
        # Of equal cases the sum does not change, so theirs is exact where few differ, else drawn.
        apart = (other - one)[one != other].astype(float)
        n = len(apart)
        check = stats.permutation_test(
            (apart,),
            numpy.mean,
            permutation_type="samples",
            n_resamples=5_000,
            vectorized=True,
            rng=1,
        ).pvalue
        # Theirs is twice the share of the smaller tail, p / 2, in 5,000 draws.
        noise = (p * (2 - p) / 5_000) ** 0.5
        assert abs(p - check) < 5 * noise + 1e-3, (p, check, n)
        found, theirs = found + (p < 0.05), theirs + bool(check < 0.05)
    assert abs(found - theirs) <= 0.03 * draws + 1, (found, theirs)
    return {"apart": draws, "apart_found": found, "apart_found_by_scipy": theirs}


def missed(counts: Mapping[str, int]) -> list[str]:
    """The bar of the mean, where any of its points was drawn."""
    if "middle_draws" not in counts:
        return []
    share = counts["middle_held"] / counts["middle_draws"]
    low, high = _MIDDLE
    return [] if low <= share <= high else [f"in the middle {share:.3f} of the intervals hold"]


if __name__ == "__main__":
    sys.exit(prove("intervals", len(list(points())) + 1, batch, missed))
