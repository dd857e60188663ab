from __future__ import annotations

import re
from typing import Any

import pytest

from agentkit.context import Context, PromptForm
from agentkit.context.limits import fair_share, limits_of, under
from agentkit.events import PromptFitted
from agentkit.messages import ModelSettings
from tests.context.driving import form_of


def test_limits_follow_from_the_profile_and_the_served_window() -> None:
    limits = limits_of(Context(), form_of(window=8192), ModelSettings(), None)
    assert (limits.window, limits.compact_at) == (8192, 6144)
    assert limits.max_prompt == 8192 - 256
    assert limits.result == 6144 // 8


def test_a_long_reply_does_not_take_the_prompts_room() -> None:
    limits = limits_of(Context(), form_of(window=8192), ModelSettings(max_tokens=6000), None)
    assert limits.max_prompt == 8192 - 1024


def test_what_the_user_says_wins_but_not_over_the_window() -> None:
    context = Context(compact_at=64_000, result_tokens=500)
    assert limits_of(context, form_of(), ModelSettings(), None).compact_at == 8192 - 256
    assert limits_of(context, form_of(), ModelSettings(), None).result == 500
    assert limits_of(Context(compact_at=900), form_of(), ModelSettings(), None).compact_at == 900


def test_of_an_unknown_model_only_what_the_user_says_is_a_limit() -> None:
    limits = limits_of(Context(), PromptForm(), ModelSettings(), None)
    assert (limits.window, limits.compact_at, limits.max_prompt, limits.result) == (
        None,
        None,
        None,
        8000,
    )
    assert limits_of(Context(compact_at=500), PromptForm(), ModelSettings(), None).compact_at == 500


def test_a_server_that_refused_is_believed() -> None:
    limits = limits_of(Context(), form_of(), ModelSettings(), 1000)
    assert (limits.compact_at, limits.max_prompt) == (1000, 1000)


@pytest.mark.parametrize(
    "context", [Context(), Context(compact_at=900), Context(compact_at=64_000, result_tokens=500)]
)
def test_what_was_known_of_a_prompt_gives_the_limits_of_any_context(context: Context) -> None:
    limits = limits_of(Context(compact_at=2_000), form_of(), ModelSettings(), 7_000)
    known = PromptFitted(
        50, 0, False, limits.compact_at, limits.result, limits.profile_compact_at, limits.max_prompt
    )
    wanted = limits_of(context, form_of(), ModelSettings(), 7_000)
    now = under(context, known)
    assert (now.compact_at, now.result_tokens) == (wanted.compact_at, wanted.result)


def context_of(**tokens: Any) -> Context:
    return Context(**tokens)


@pytest.mark.parametrize("name", ["compact_at", "result_tokens"])
def test_numbers_too_small_to_work_with_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 5; give at least 100"):
        context_of(**{name: 5})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("compact_at", "1000"),
        ("compact_at", True),
        ("result_tokens", "1000"),
        ("result_tokens", 1e4),
    ],
)
def test_a_limit_that_is_no_number_of_tokens_is_refused(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=re.escape(f"{name} is {value!r}; give a number of tokens")):
        context_of(**{name: value})


@pytest.mark.parametrize("name", ["compact_at", "result_tokens"])
def test_a_hundred_tokens_are_enough_to_work_with(name: str) -> None:
    assert getattr(context_of(**{name: 100}), name) == 100
    with pytest.raises(ValueError, match=f"{name} is 99; give at least 100 tokens"):
        context_of(**{name: 99})


def test_a_compaction_leaves_six_tenths_of_the_limit() -> None:
    assert (
        limits_of(Context(), form_of(window=8192), ModelSettings(), None).after_compaction == 3686
    )
    assert (
        limits_of(Context(compact_at=1_000), form_of(), ModelSettings(), None).after_compaction
        == 600
    )


@pytest.mark.parametrize(
    ("compact_at", "result"), [(400, 100), (800, 100), (808, 101), (1_600, 200), (6_000, 750)]
)
def test_a_result_may_always_have_an_eighth_and_a_hundred_tokens(
    compact_at: int, result: int
) -> None:
    context = Context(compact_at=compact_at)
    assert limits_of(context, form_of(), ModelSettings(), None).result == result


def test_no_result_is_promised_more_than_eight_thousand_tokens() -> None:
    context = Context(compact_at=100_000)
    assert limits_of(context, form_of(window=200_000), ModelSettings(), None).result == 8_000


@pytest.mark.parametrize(
    ("reply", "room"), [(1, 1), (1_023, 1_023), (1_024, 1_024), (1_025, 1_024)]
)
def test_a_reply_is_left_at_most_an_eighth_of_the_window(reply: int, room: int) -> None:
    limits = limits_of(Context(), form_of(window=8192), ModelSettings(max_tokens=reply), None)
    assert limits.max_prompt == 8192 - room


@pytest.mark.parametrize(
    ("sizes", "left", "share"),
    [
        ([], 300, 100),  # none is new: what the next may have, with room for two like it
        ([], 299, 99),
        ([], -5, 0),
        ([10], 300, 100),
        ([10], 31, 10),
        ([10], 30, 10),  # itself and two more
        ([10], 29, 9),
        ([10], 2, 0),
        ([10], -5, 0),
        ([5, 10], 36, 12),
        ([5, 10], 35, 11),
        ([5, 10], 34, 9),  # the short one keeps its five
        ([10, 10], 20, 5),
        ([1, 1, 1_000], 302, 100),
    ],
)
def test_a_new_results_share_to_the_token(sizes: list[int], left: int, share: int) -> None:
    assert fair_share(sizes, left) == share


@pytest.mark.parametrize(("share", "at"), [(0.5, 4_096), (0.25, 2_048), (1.0, 7_936)])
def test_a_share_of_the_window_is_as_good_as_tokens(share: float, at: int) -> None:
    context = Context(compact_at=share)
    limits = limits_of(context, form_of(window=8192), ModelSettings(), None)
    assert limits.compact_at == at
    assert limits.max_prompt == 7_936


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, 14_000.0])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"a share of the window is above 0 and at most 1\.0"):
        Context(compact_at=share)


def test_every_number_says_where_it_comes_from() -> None:
    form, settings = form_of(window=8192), ModelSettings()
    assert limits_of(Context(), form, settings, None).source == "the profile of tiny"
    own = limits_of(Context(compact_at=0.5), form, settings, None)
    assert own.source == "Context(compact_at=0.5)"
    whole = limits_of(Context(compact_at=1.0), form, settings, None)
    assert whole.source == "a window of 8192 tokens, with room for a reply"
    refused = limits_of(Context(), form, settings, 3_000)
    assert refused.source == "the server took a longer prompt for too long"
