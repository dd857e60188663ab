"""Tokens of images and sounds against what vLLM's own functions return.

`tests/golden/media_tokens.json` holds their results for `vllm/model_executor/models/gemma4_mm.py`
of vLLM 0.32: of images width, height, and soft tokens at budgets of 280, 70 and 1120; of sounds
samples and soft tokens; and images that Pillow 13 has written. Where that file is on this machine,
the functions themselves are run from it.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import math
import random
import struct
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentkit.context import ContextWindow
from agentkit.gemma4.profiles import MOST_SOUND, PROFILES, image_soft_tokens, sound_soft_tokens
from agentkit.media import image_size, sound_length
from agentkit.messages import AudioPart, ImagePart, ModelRequest, Part, TextPart, Usage, UserMessage
from tests.context.driving import driven, form_of, prompt_text, tokens

KNOWN = json.loads((Path(__file__).parents[1] / "golden" / "media_tokens.json").read_text())
SOURCES = sorted(
    Path("~/.cache/agentkit").expanduser().glob("vllm-*/lib/*/site-packages/vllm/model_executor")
)


def test_an_image_takes_as_many_tokens_as_in_vllm() -> None:
    for width, height, *counts in KNOWN["images"]:
        ours = [image_soft_tokens(width, height, most) for most in (280, 70, 1120)]
        assert ours == counts, (width, height)


def test_a_sound_takes_as_many_tokens_as_in_vllm() -> None:
    assert [sound_soft_tokens(samples) for samples, _ in KNOWN["sounds"]] == [
        count for _, count in KNOWN["sounds"]
    ]


@pytest.mark.skipif(not SOURCES, reason="no vLLM is installed here")
def test_so_it_is_for_any_size_with_the_functions_themselves() -> None:
    vision = SimpleNamespace(patch_size=16, pooling_kernel_size=3, default_output_length=280)
    info = SimpleNamespace(get_hf_config=lambda: SimpleNamespace(vision_config=vision))
    image, sound = (functions_of(SOURCES[-1] / "models" / "gemma4_mm.py")[name] for name in NAMES)
    rng = random.Random(7)
    for _ in range(3_000):
        width, height = (int(2 ** rng.uniform(0, 13)) for _ in range(2))
        most = rng.choice([70, 140, 280, 560, 1120])
        assert image_soft_tokens(width, height, most) == image(info, width, height, most)
        samples = rng.randint(1, 600_000)
        assert sound_soft_tokens(samples) == sound(samples, 16_000, MOST_SOUND)


NAMES = ("_compute_num_soft_tokens", "_compute_audio_num_tokens")


def functions_of(file: Path) -> dict[str, Callable[..., int]]:
    """The two functions, without the module around them, which needs a GPU's libraries."""
    found: dict[str, Any] = {"math": math}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name in NAMES:
            node.decorator_list = []
            exec(compile(ast.Module([node], []), str(file), "exec"), found)
    return found


def image(width: int, height: int) -> ImagePart:
    """The head of a PNG file of that size; the rest is not needed to count it."""
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return ImagePart(f"data:image/png;base64,{base64.b64encode(head).decode()}")


def sound(samples: int, rate: int = 16_000, channels: int = 1) -> AudioPart:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\0\0" * samples * channels)
    return AudioPart(base64.b64encode(made.getvalue()).decode(), "wav")


def test_the_size_of_an_image_is_read_from_its_head() -> None:
    for kind, width, height, content in KNOWN["files"]:
        part = ImagePart(f"data:image/{kind};base64,{content}")
        assert image_size(part) == (width, height), kind
        assert image_size(ImagePart(f"data:image/{kind};base64,{content[:8]}")) is None


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<IiiHH", 40, 300, 200, 1, 24),
        struct.pack("<IiiHH", 40, 300, -200, 1, 24),  # its rows stand from the top down
        struct.pack("<IHHHH", 12, 300, 200, 1, 24),
    ],
)
def test_a_bitmap_has_its_size_in_each_of_its_headers(header: bytes) -> None:
    file = b"BM" + struct.pack("<IHHI", 200_000, 0, 0, 54) + header
    part = ImagePart(f"data:image/bmp;base64,{base64.b64encode(file).decode()}")
    assert image_size(part) == (300, 200)
    assert PROFILES["E2B"].part_tokens(part) == PROFILES["E2B"].part_tokens(image(300, 200))


@pytest.mark.parametrize(
    "url", ["https://example.org/a.png", "data:image/png;base64,!!!!", "data:,"]
)
def test_what_does_not_tell_its_size_has_none(url: str) -> None:
    assert image_size(ImagePart(url)) is None


def test_the_length_of_a_sound_is_read_from_its_head() -> None:
    assert sound_length(sound(16_001)) == (16_001, 16_000)
    assert sound_length(sound(999, 8_000, channels=2)) == (999, 8_000)
    long = sound(600_000)
    assert sound_length(long) == (600_000, 16_000)
    assert sound_length(AudioPart(long.data[: len(long.data) // 2], "wav")) is None
    assert sound_length(AudioPart("SUQzBAAAAAAAAA==", "mp3")) is None


# --- in a prompt ---------------------------------------------------------------------------------


def fitted(*parts: Part, counted: int | None = None) -> tuple[int, bool, int, bool]:
    """Tokens of a prompt with these parts, and whether they are exact; and once more, after the
    server has counted that prompt.
    """
    window, form = ContextWindow(), form_of()
    request = ModelRequest((UserMessage(parts),))
    first = driven(window.fit(request, form))
    window.observe(Usage(input_tokens=counted if counted is not None else first.tokens))
    second = driven(window.fit(request, form))
    return first.tokens, first.exact, second.tokens, second.exact


def test_a_prompt_with_media_of_known_size_is_counted() -> None:
    parts = (TextPart("Look."), image(640, 480), sound(16_000))
    found, exact, _, still = fitted(*parts)
    assert exact
    assert still
    placeholders = 2  # each of them is one token, in whose place the others come
    text = tokens(prompt_text([UserMessage(parts)], form_of()))
    assert found == text - placeholders + (266 + 2) + (25 + 2)


def test_of_an_unknown_size_it_is_an_estimate_on_the_safe_side() -> None:
    known, _, _, _ = fitted(TextPart("Look."), image(640, 480))
    most, exact, _, _ = fitted(TextPart("Look."), ImagePart("https://example.org/a.png"))
    assert not exact
    assert most >= known
    for part in (sound(16_000, rate=44_100), AudioPart("SUQzBAAAAAAAAA==", "mp3")):
        assert not fitted(TextPart("Listen."), part)[1]


def test_a_server_with_another_budget_makes_them_estimates_and_the_text_stays_counted() -> None:
    first, _, again, exact = fitted(TextPart("Look."), image(640, 480), counted=1_100)
    assert first < 310
    assert not exact
    assert again == 1_100, "what the server counted last is what stands"


def test_the_sound_of_the_12b_goes_to_it_as_it_is() -> None:
    assert PROFILES["12B"].part_tokens(sound(16_001)) == 26 + 2
    assert PROFILES["E2B"].part_tokens(sound(16_001)) == 25 + 2
