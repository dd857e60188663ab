"""How many tokens an image or a sound takes in a prompt, as vLLM 0.32 counts them.

The server puts soft tokens in the place of a placeholder, one for each patch of the image that is
left after it was scaled to its budget, or for 40 ms of sound, and wraps them in two tokens. The
arithmetic is that of `_compute_num_soft_tokens` and `_compute_audio_num_tokens` in
`vllm/model_executor/models/gemma4_mm.py`; `tests/golden/media_tokens.json` holds what those return.
"""

from __future__ import annotations

import math
from typing import Final

PATCH: Final = 16
"""Pixels of a side of a patch (`patch_size` of the vision tower)."""

POOLED: Final = 3
"""Patches of a side that become one soft token (`pooling_kernel_size`)."""

SAMPLE_RATE: Final = 16_000
"""Samples of sound in a second, to which a server brings every recording."""

MOST_SOUND: Final = 750
"""Soft tokens of a recording at most, which is 30 s (`audio_seq_length`)."""

_FRAME: Final = SAMPLE_RATE * 20 // 1000
_HOP: Final = SAMPLE_RATE * 10 // 1000
"""Samples of a frame of 20 ms, and from one to the next."""

_HALVINGS: Final = 2
"""Layers that each halve the number of frames."""


def image_soft_tokens(width: int, height: int, most: int = 280) -> int:
    """Soft tokens of an image.

    Args:
        width: Its pixels.
        height: Its pixels.
        most: The server's budget (`max_soft_tokens`).
    """
    side = PATCH * POOLED
    scale = math.sqrt(most * POOLED**2 / ((height / PATCH) * (width / PATCH)))
    rows = max(1, math.floor(height * scale / side))
    columns = max(1, math.floor(width * scale / side))
    return min(rows * columns, most)


def sound_soft_tokens(samples: int) -> int:
    """Soft tokens of a recording of E2B and E4B, by its samples at `SAMPLE_RATE`."""
    frames = (samples + _FRAME // 2 - (_FRAME + 1)) // _HOP + 1
    if frames <= 0:
        return 0
    for _ in range(_HALVINGS):
        frames = (frames - 1) // 2 + 1
    return min(frames, MOST_SOUND)
