from __future__ import annotations

import pytest

from agentkit.context import Context, PromptForm
from agentkit.context.settings import room_for, under
from agentkit.events import PromptFitted
from agentkit.messages import ModelSettings
from tests.context.driving import form_of


def test_limits_follow_from_the_profile_and_the_served_window() -> None:
    room = room_for(Context(), form_of(window=8192), ModelSettings(), None)
    assert (room.window, room.soft) == (8192, 6144)
    assert room.hard == 8192 - 256
    assert room.result == 6144 // 8


def test_a_long_reply_does_not_take_the_prompts_room() -> None:
    room = room_for(Context(), form_of(window=8192), ModelSettings(max_tokens=6000), None)
    assert room.hard == 8192 - 1024


def test_what_the_user_says_wins_but_not_over_the_window() -> None:
    context = Context(compact_at=64_000, result_tokens=500)
    assert room_for(context, form_of(), ModelSettings(), None).soft == 8192 - 256
    assert room_for(context, form_of(), ModelSettings(), None).result == 500
    assert room_for(Context(compact_at=900), form_of(), ModelSettings(), None).soft == 900


def test_of_an_unknown_model_only_what_the_user_says_is_a_limit() -> None:
    room = room_for(Context(), PromptForm(), ModelSettings(), None)
    assert (room.window, room.soft, room.hard, room.result) == (None, None, None, 8000)
    assert room_for(Context(compact_at=500), PromptForm(), ModelSettings(), None).soft == 500


def test_a_server_that_refused_is_believed() -> None:
    room = room_for(Context(), form_of(), ModelSettings(), 1000)
    assert (room.soft, room.hard) == (1000, 1000)


@pytest.mark.parametrize(
    "context", [Context(), Context(compact_at=900), Context(compact_at=64_000, result_tokens=500)]
)
def test_what_was_known_of_a_prompt_gives_the_limits_of_any_context(context: Context) -> None:
    room = room_for(Context(compact_at=2_000), form_of(), ModelSettings(), 7_000)
    known = PromptFitted(50, 0, False, room.soft, room.result, room.point, room.hard)
    wanted = room_for(context, form_of(), ModelSettings(), 7_000)
    now = under(context, known)
    assert (now.compact_at, now.result_tokens) == (wanted.soft, wanted.result)


@pytest.mark.parametrize("name", ["compact_at", "result_tokens"])
def test_numbers_too_small_to_work_with_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 5; give at least 100"):
        Context(**{name: 5})
