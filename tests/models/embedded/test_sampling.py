from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.models.embedded.decoder import Sampler, Sampling

LOGITS = np.array([0.0, 3.0, 1.0, 2.0], np.float32)


def draws(sampling: Sampling, seed: int, count: int = 200) -> list[int]:
    sampler = Sampler(sampling, seed)
    return [sampler.next(LOGITS) for _ in range(count)]


def test_temperature_zero_takes_the_likeliest() -> None:
    assert set(draws(Sampling(temperature=0), 1)) == {1}


def test_the_same_seed_draws_the_same_tokens() -> None:
    assert draws(Sampling(), 5) == draws(Sampling(), 5)
    assert draws(Sampling(), 5) != draws(Sampling(), 6)


@pytest.mark.parametrize(
    ("sampling", "possible"),
    [
        (Sampling(), {0, 1, 2, 3}),
        (Sampling(top_k=2), {1, 3}),
        (Sampling(top_p=0.5), {1}),
        (Sampling(top_p=0.7), {1, 3}),
        (Sampling(temperature=0.1, top_p=0.999), {1}),
        (Sampling(top_k=3, top_p=1.0), {1, 2, 3}),
    ],
)
def test_only_tokens_of_the_top_are_drawn(sampling: Sampling, possible: set[int]) -> None:
    assert set(draws(sampling, 3, 3000)) == possible


def test_tokens_are_drawn_about_as_often_as_they_are_likely() -> None:
    drawn = draws(Sampling(), 8, 20_000)
    weights = np.exp(LOGITS) / np.exp(LOGITS).sum()
    shares = [drawn.count(token) / len(drawn) for token in range(4)]
    assert np.abs(np.array(shares) - weights).max() < 0.02


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=20),
    st.floats(0, 5),
    st.integers(-1, 25),
    st.floats(0.01, 1),
    st.integers(0, 2**32),
)
def test_a_forbidden_token_is_never_drawn_and_the_logits_stay_as_they_were(
    logits: list[float], temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    given_ = np.array(logits, np.float32)
    before = given_.copy()
    sampler = Sampler(Sampling(temperature, top_k, top_p), seed)
    assert 1 <= sampler.next(given_, forbidden=0) < len(logits)
    assert (given_ == before).all()
