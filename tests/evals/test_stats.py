from __future__ import annotations

from itertools import combinations
from statistics import mean

import pytest
from agentkit_evals.stats import bootstrap, mcnemar, pass_at_k, pass_hat_k, wilson
from hypothesis import given
from hypothesis import strategies as st


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


def test_wilsons_interval_is_the_one_of_the_textbook() -> None:
    # By Wilson's formula with z = 1.959964: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    z, n, p = 1.959963984540054, 10, 0.8
    centre, spread = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    found = wilson(8, 10)
    assert found.value == 0.8
    assert found.low == pytest.approx((centre - spread) / (1 + z * z / n))
    assert found.high == pytest.approx((centre + spread) / (1 + z * z / n))


@pytest.mark.parametrize("n", [1, 20, 200])
def test_no_passes_and_all_passes_still_have_a_width(n: int) -> None:
    assert wilson(0, n).low == pytest.approx(0)
    assert 0 < wilson(0, n).high < 1
    assert wilson(n, n).high == pytest.approx(1)
    assert 0 < wilson(n, n).low < 1


def test_the_bootstrap_is_near_the_normal_interval_where_that_holds() -> None:
    values = [float(n % 2) for n in range(400)]
    found = bootstrap(values)
    half = 1.96 * (0.25 / 400) ** 0.5
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - half, abs=0.01)
    assert found.high == pytest.approx(0.5 + half, abs=0.01)


def test_the_bootstrap_gives_the_same_for_the_same_and_nothing_for_nothing() -> None:
    values = [0.0, 0.25, 1.0, 0.5]
    assert bootstrap(values) == bootstrap(values)
    alike = bootstrap([0.5, 0.5])
    assert (alike.low, alike.high) == (0.5, 0.5)
    with pytest.raises(ValueError, match="nothing to resample"):
        bootstrap([])


def test_mcnemar_is_the_binomial_of_the_trials_that_differ() -> None:
    # 2 · (C(10,0) + C(10,1)) / 2**10
    assert mcnemar(9, 1).p == pytest.approx(22 / 1024)
    assert mcnemar(1, 9).p == pytest.approx(22 / 1024)
    assert mcnemar(5, 5).p == pytest.approx(1)
    assert mcnemar(0, 0).p == 1
