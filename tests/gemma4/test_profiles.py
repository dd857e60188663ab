from __future__ import annotations

from dataclasses import replace

import pytest

from agentkit.gemma4.profiles import GENERIC, PROBE, PROFILES, fingerprint, profile_for
from agentkit.messages import AudioPart, ImagePart, TextPart, ToolMessage, UserMessage
from tests.gemma4.official import needs_templates, official


@pytest.mark.parametrize(
    ("model_name", "expected"),
    [
        ("google/gemma-4-E2B-it", "E2B"),
        ("google/gemma-4-E4B-it", "E4B"),
        ("google/gemma-4-12B-it", "12B"),
        ("google/gemma-4-26B-A4B-it", "26B-A4B"),
        ("google/gemma-4-31B-it", "31B"),
        ("google/gemma-4-31B-it-qat-w4a16-ct", "31B"),
        ("RedHatAI/gemma-4-26B-A4B-it-FP8-Dynamic", "26B-A4B"),
        ("unsloth/gemma-4-E4B-it-GGUF", "E4B"),
        ("/models/gemma4_31b/snapshots/0a1b", "31B"),
        ("tiny-gemma4", "tiny"),
        ("support-bot-lora", "gemma-4"),
        ("google/gemma-3-12b-it", "gemma-4"),
        ("somebody/other-31B", "gemma-4"),
        ("", "gemma-4"),
    ],
)
def test_a_profile_is_found_by_name(model_name: str, expected: str) -> None:
    assert profile_for(model_name).name == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "gemma4", "text_config": {"num_hidden_layers": 35}}, "E2B"),
        ({"model_type": "gemma4", "text_config": {"num_hidden_layers": 60}}, "31B"),
        ({"model_type": "gemma4_text", "num_hidden_layers": 30}, "26B-A4B"),
        ({"model_type": "gemma4_unified", "text_config": {}}, "12B"),
        ({"model_type": "gemma4", "text_config": {"num_hidden_layers": 4}}, "gemma-4"),
        ({"model_type": "llama", "num_hidden_layers": 60}, "gemma-4"),
    ],
)
def test_a_config_tells_more_than_a_name(config: dict[str, object], expected: str) -> None:
    assert profile_for("my-adapter", config).name == expected


def test_the_configs_window_counts_and_a_name_helps_a_config_that_says_nothing() -> None:
    config = {"model_type": "gemma4", "text_config": {"max_position_embeddings": 8192}}
    profile = profile_for("gemma-4-31B-it", config)
    assert (profile.name, profile.context_window) == ("31B", 8192)


def test_a_smaller_served_window_brings_compaction_down() -> None:
    profile = PROFILES["31B"].served(32_768)
    assert (profile.context_window, profile.compaction_point) == (32_768, 24_576)
    assert PROFILES["31B"].served(None) == PROFILES["31B"]


def test_each_profile_is_consistent_and_can_be_changed() -> None:
    for profile in (*PROFILES.values(), GENERIC):
        assert 0 < profile.compaction_point < profile.context_window
        assert profile.takes("text")
        assert replace(profile, context_window=10).context_window == 10


def test_media_cost_what_the_processors_make_of_them() -> None:
    profile = PROFILES["E2B"]
    assert profile.image_tokens == 282
    assert profile.audio_tokens(30) == profile.audio_tokens(90) == 752
    assert profile.audio_tokens(0.05) == 4
    assert profile.video_tokens == 2496


def test_a_message_that_the_model_cannot_take_is_named_with_models_that_can() -> None:
    spoken = [UserMessage("hi"), UserMessage((TextPart("What is said?"), AudioPart("UklG")))]
    refusal = PROFILES["31B"].refused(spoken)
    assert refusal == (
        "takes text, image, video, but a message holds audio; models that take it: E2B, E4B, 12B"
    )
    assert PROFILES["E4B"].refused(spoken) is None
    seen = ToolMessage("call_0", "chart", (ImagePart("data:,"),))
    assert "holds image" in str(PROFILES["tiny"].refused([seen]))


# --- the fingerprint of a template -------------------------------------------------------------


@needs_templates
@pytest.mark.parametrize(
    ("name", "generation"),
    [("large", "canonical"), ("small", "canonical-small"), ("april", "april")],
)
def test_each_official_template_is_recognised(name: str, generation: str) -> None:
    tools = [tool.declaration for tool in PROBE.tools]
    assert fingerprint(official(name, PROBE.messages, tools)) == generation


def test_any_other_prompt_is_unknown() -> None:
    assert fingerprint("<bos><start_of_turn>user\nping<end_of_turn>") == "unknown"
