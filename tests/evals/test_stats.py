from __future__ import annotations

from fractions import Fraction
from itertools import combinations, product
from statistics import mean

import numpy
import pytest
from agentkit_evals.stats import (
    detectable,
    difference,
    holm,
    paired,
    pass_at_k,
    pass_hat_k,
    ratio,
    score,
    sign_flip,
    student,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from soak import intervals


@st.composite
def verdicts(draw: st.DrawFn) -> tuple[list[bool], int]:
    found = draw(st.lists(st.booleans(), min_size=1, max_size=8))
    return found, draw(st.integers(1, len(found)))


def test_the_table_by_hand_of_four_trials_with_three_passes() -> None:
    assert [pass_hat_k(4, 3, k) for k in (1, 2, 3, 4)] == [0.75, 0.5, 0.25, 0.0]
    assert [pass_at_k(4, 3, k) for k in (1, 2, 3, 4)] == [0.75, 1.0, 1.0, 1.0]


@given(verdicts())
def test_both_are_what_counting_every_choice_of_k_trials_gives(
    case: tuple[list[bool], int],
) -> None:
    found, k = case
    chosen = list(combinations(found, k))
    assert pass_hat_k(len(found), sum(found), k) == pytest.approx(mean(map(all, chosen)))
    assert pass_at_k(len(found), sum(found), k) == pytest.approx(mean(map(any, chosen)))


@pytest.mark.parametrize(("trials", "passed", "k"), [(3, 4, 1), (3, 1, 0), (3, 1, 4), (0, 0, 1)])
def test_more_tries_than_there_are_is_refused(trials: int, passed: int, k: int) -> None:
    for estimate in (pass_hat_k, pass_at_k):
        with pytest.raises(ValueError, match="there is no"):
            estimate(trials, passed, k)


def test_with_one_trial_a_case_the_interval_is_clopper_and_pearsons() -> None:
    for passed, cases in ((0, 5), (3, 10), (180, 200)):
        found = score([1.0] * passed + [0.0] * (cases - passed), cases)
        exact = stats.binomtest(passed, cases).proportion_ci(0.95, method="exact")
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_trials_that_always_agree_are_worth_no_more_than_their_cases() -> None:
    once = score([1.0, 0.0] * 20, 40)
    often = score([1.0, 0.0] * 20, 320)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.06)


def test_trials_that_have_nothing_in_common_narrow_the_interval() -> None:
    alike = score([0.5] * 50, 400)
    exact = stats.binomtest(200, 400).proportion_ci(0.95, method="exact")
    assert (alike.low, alike.high) == pytest.approx((exact.low, exact.high), abs=0.003)


def test_one_case_says_little_of_others() -> None:
    found = score([0.75], 4)
    assert found.value == 0.75
    assert found.low < 0.05
    assert found.high > 0.99
    assert (difference([1.0]).low, difference([1.0]).high) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="no case"):
        score([], 0)
    with pytest.raises(ValueError, match="no case"):
        difference([])


def test_differences_that_are_all_alike_still_have_a_width() -> None:
    assert difference([0.0] * 50).low == pytest.approx(-0.0287, abs=1e-3)
    found = difference([0.5, -0.5] * 200)
    assert (found.low, found.high) == pytest.approx((-0.049, 0.049), abs=1e-3)


def test_students_test_and_interval_agree() -> None:
    few = [0.5, 0.25, 0.75, 0.0, 0.5]
    # As if half a case more were there, a quarter of it at either end.
    error = numpy.sqrt((numpy.var(few) * 5 + 0.25 * (0.6**2 + 1.4**2)) / 5 / 4)
    assert student(few) == pytest.approx(2 * stats.t.sf(0.4 / error, 4))
    for values in (few, [0.1] * 30, [1.0, 1.0, -1.0], [-0.125] * 6 + [0.0] * 30, [1.0] * 5):
        found = difference(values)
        assert (student(values) < 0.05) == (not found.low <= 0 <= found.high)
    assert student([1.0]) == student([]) == student([0.0] * 9) == 1


def test_further_trials_of_one_run_alone_make_no_winner() -> None:
    """Of a hundred cases that pass in 98 %, one trial of each often has no failure at all."""
    even, every = [Fraction(0)] * 100, [Fraction(-1, 8)] * 16 + [Fraction(0)] * 84
    assert student([float(much) for much in every]) < 0.05
    assert sign_flip(every) < 0.05
    assert paired(even, every) == 1
    surely = [Fraction(1)] * 9 + [Fraction(0)]
    assert paired(surely, surely) == sign_flip(surely) < 0.05
    assert paired(surely, [Fraction(1)] * 5 + [Fraction(-1, 2)] * 5) > 0.05


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_the_chance_is_that_of_counting_every_sign(steps: list[int]) -> None:
    sums = [
        sum(sign * step for sign, step in zip(signs, steps, strict=True))
        for signs in product((-1, 1), repeat=len(steps))
    ]
    as_great = sum(abs(each) >= abs(sum(steps)) for each in sums)
    assert sign_flip([Fraction(step, 4) for step in steps]) == pytest.approx(as_great / len(sums))


def test_with_one_trial_a_case_it_is_mcnemars_test() -> None:
    # 2 · (C(10,0) + C(10,1)) / 2**10
    nine = [Fraction(1)] * 9 + [Fraction(-1)]
    assert sign_flip(nine) == pytest.approx(22 / 1024)
    assert sign_flip([Fraction(0)] * 30 + [-each for each in nine]) == pytest.approx(22 / 1024)
    assert sign_flip([Fraction(0)] * 3) == sign_flip([]) == 1


def test_uneven_numbers_of_trials_are_counted_on_a_fine_grid() -> None:
    values = [Fraction(1, 11), Fraction(2, 13), Fraction(-1, 17)] * 5
    exact = stats.permutation_test(
        ([float(value) for value in values],),
        numpy.mean,
        permutation_type="samples",
        n_resamples=2**15,
        vectorized=True,
    )
    assert sign_flip(values) == pytest.approx(exact.pvalue, abs=0.01)


def test_several_comparisons_share_the_level() -> None:
    # By hand: 0.01·4, then 0.03·3, then 0.04·2 which is raised to the one before, then 0.5.
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_more_cases_show_smaller_differences() -> None:
    # (1.96 + 0.84) · sqrt(0.2 / n)
    assert [detectable(n) for n in (50, 200, 800)] == pytest.approx([0.177, 0.089, 0.044], abs=1e-3)
    assert detectable(1) == 1.0


def test_the_small_form_of_the_proof_of_intervals() -> None:
    for number in (0, 100, len(list(intervals.points()))):
        intervals.batch(number, 100)


def test_a_share_of_calls_with_one_call_a_case_is_clopper_and_pearsons() -> None:
    whole = stats.binomtest(3, 40).proportion_ci(method="exact")
    found = ratio([(int(n < 3), 1) for n in range(40)])
    assert found.value == 3 / 40
    # That cases may differ more than these show is added.
    assert found.low == pytest.approx(whole.low, abs=0.01)
    assert found.high == pytest.approx(whole.high, abs=0.02)


def test_calls_of_one_case_that_go_wrong_together_are_worth_one_case() -> None:
    apart = ratio([(1, 10)] * 20)
    together = ratio([(10, 10), (10, 10)] + [(0, 10)] * 18)
    assert apart.value == together.value == 0.1
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert ratio([(0, 5), (0, 0)]).low == 0
    with pytest.raises(ValueError, match="nothing to judge"):
        ratio([(0, 0)])
