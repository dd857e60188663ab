from __future__ import annotations

import pytest

from agentkit.context import Context, PromptForm
from agentkit.context.window import limits_of, under
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


@pytest.mark.parametrize("name", ["compact_at", "result_tokens"])
def test_numbers_too_small_to_work_with_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 5; give at least 100"):
        Context(**{name: 5})
