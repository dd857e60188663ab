from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from dataclasses import replace

import httpx2
import pytest

from tests.live.client import KEY, URL, live, model
from tests.live.constrained import (
    Case,
    ask,
    auto_cases,
    check,
    closing_tokens,
    forced_cases,
    spelled_cases,
    tokenizer_of,
    unbounded_cases,
)
from tests.live.server import checkpoint_folder

pytestmark = live


@pytest.fixture(scope="module")
def client() -> Generator[httpx2.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=URL, headers=headers, trust_env=False, timeout=200.0) as opened:
        yield opened


def checked(client: httpx2.Client, cases: list[Case]) -> Counter[str]:
    name, checkpoint = model(), os.environ["AGENTKIT_LIVE_CHECKPOINT"]
    tokenizer = tokenizer_of(checkpoint_folder(checkpoint))
    closing = () if checkpoint == "tiny" else closing_tokens(tokenizer)
    counts: Counter[str] = Counter()
    for case in (replace(case, closing=closing) for case in cases):
        counts += check(case, ask(client, case.body(name)), tokenizer)
    return counts


def test_forced_calls_are_valid_in_every_combination_of_modes(client: httpx2.Client) -> None:
    cases = forced_cases(11)
    assert checked(client, cases)["calls"] >= len(cases)


def test_a_call_begun_in_strict_auto_is_valid(client: httpx2.Client) -> None:
    assert checked(client, [*auto_cases(1), *auto_cases(2)])["calls"] > 0


def test_a_call_begun_in_ordinary_tokens_is_valid(client: httpx2.Client) -> None:
    assert checked(client, spelled_cases(1))["calls"] == 2


def test_strings_without_a_bound_end_where_the_model_ends_them(client: httpx2.Client) -> None:
    assert checked(client, unbounded_cases(1))["calls"] == 2
