"""What is known of each Gemma 4 model, and which chat template a server gives it.

A profile only fills in what is not known otherwise: what the server reports (`max_model_len`, its
template) and what the user sets win over it.

Sources: windows, modalities and the costs of media are those of Google's Gemma 4 model card and
of the processors in transformers 5.19; the window of the 12B is its `config.json`, half of what
the card allows. The points of compaction are a judgement from the card's long-context figures
(MRCR v2, 8 needles, 128K: 31B 66.4, 26B-A4B 44.1, E4B 25.4, E2B 19.1): a window that the model
finds little in is not worth filling. Thinking is on for tool loops because the card's agentic
figures are those with thinking, and without it the 26B-A4B ends tool loops with empty replies.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from agentkit.gemma4.render import Generation, TemplateVariant, render
from agentkit.media import image_size, sound_length
from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    ImagePart,
    Message,
    ModelRequest,
    ModelSettings,
    Part,
    SystemMessage,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)

Modality: TypeAlias = Literal["text", "image", "audio", "video"]

_AUDIO_MS_PER_TOKEN: Final = 40
_WRAPPING: Final = 2
"""Each piece of media stands between an opening and a closing token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One model. Change a copy with `dataclasses.replace`.

    Attributes:
        name: The model's short name.
        context_window: Tokens, prompt and reply together.
        compaction_point: Tokens of prompt from which on older steps are worth summarising.
        thinking_with_tools: Whether to think where tools are on offer and nobody decided.
        recall: Whether to offer the tools that read what a prompt leaves out, where nobody decided.
        modalities: What the model takes beside text.
        template: Which of the two canonical templates its checkpoint carries.
        image_tokens: Most tokens of one image at the server's default budget (70, 140, 280, 560
            or 1120; vLLM's `--mm-processor-kwargs '{"max_soft_tokens": …}'`), wrapping included.
        audio_seconds: Longest recording that the model takes in one part.
        audio_raw: Whether sound goes to the model as it is, not as frames of a spectrum: it is
            counted otherwise.
        video_frame_tokens: Tokens of one frame with its time stamp, as vLLM counts them.
        video_frames: Frames that are sampled of one video.
    """

    name: str
    context_window: int
    compaction_point: int
    thinking_with_tools: bool = True
    recall: bool = True
    modalities: tuple[Modality, ...] = ("text", "image")
    template: TemplateVariant = "large"
    image_tokens: int = 280 + _WRAPPING
    audio_seconds: float = 30.0
    audio_raw: bool = False
    video_frame_tokens: int = 70 + 8
    video_frames: int = 32

    def takes(self, modality: Modality) -> bool:
        """Whether the model understands this kind of input."""
        return modality in self.modalities

    def refused(self, messages: Iterable[Message]) -> str | None:
        """The sentence that says what of the messages the model cannot take; None if it can."""
        for message in messages:
            for part in message.content if isinstance(message.content, tuple) else ():
                if not self.takes(part.type):
                    able = [p.name for p in PROFILES.values() if part.type in p.modalities]
                    return (
                        f"takes {', '.join(self.modalities)}, but a message holds {part.type}; "
                        f"models that take it: {', '.join(able)}"
                    )
        return None

    def audio_tokens(self, seconds: float) -> int:
        """Tokens of a recording, wrapping included."""
        heard = min(seconds, self.audio_seconds)
        return math.ceil(heard * 1000 / _AUDIO_MS_PER_TOKEN) + _WRAPPING

    def part_tokens(self, part: Part) -> int | None:
        """Tokens of an image or a sound, wrapping included, as vLLM counts them; None where its
        size is not known, as behind a URL, or where a server changes its sample rate first.
        """
        if isinstance(part, ImagePart) and (size := image_size(part)) is not None:
            return image_soft_tokens(*size, most=self.image_tokens - _WRAPPING) + _WRAPPING
        if isinstance(part, AudioPart) and (length := sound_length(part)) is not None:
            samples, rate = length
            if rate != SAMPLE_RATE:
                return None
            if self.audio_raw:
                return math.ceil(samples * 1000 / SAMPLE_RATE / _AUDIO_MS_PER_TOKEN) + _WRAPPING
            return sound_soft_tokens(samples) + _WRAPPING
        return None

    @property
    def video_tokens(self) -> int:
        """Tokens of one video."""
        return self.video_frames * self.video_frame_tokens

    def served(self, max_model_len: int | None) -> Profile:
        """The profile within the window that the server gives the model (`max_model_len`).

        A smaller window brings the point of compaction down with it, to leave room for a reply.
        """
        if max_model_len is None or max_model_len == self.context_window:
            return self
        return replace(
            self,
            context_window=max_model_len,
            compaction_point=min(self.compaction_point, max_model_len * 3 // 4),
        )


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile(
            name="E2B",
            context_window=131_072,
            compaction_point=14_000,
            modalities=("text", "image", "audio", "video"),
            template="small",
        ),
        Profile(
            name="E4B",
            context_window=131_072,
            compaction_point=24_000,
            modalities=("text", "image", "audio", "video"),
            template="small",
        ),
        Profile(
            name="12B",
            context_window=131_072,
            compaction_point=40_000,
            modalities=("text", "image", "audio"),
            audio_raw=True,
        ),
        Profile(
            name="26B-A4B",
            context_window=262_144,
            compaction_point=56_000,
            modalities=("text", "image", "video"),
        ),
        Profile(
            name="31B",
            context_window=262_144,
            compaction_point=80_000,
            modalities=("text", "image", "video"),
        ),
        # The bundled demonstration checkpoint (training/tiny_gemma4): two million parameters.
        Profile(
            name="tiny",
            context_window=8_192,
            compaction_point=6_144,
            thinking_with_tools=False,
            # Three more tools cost it answers: 88 of 100 held-out dialogues right, not 91.
            recall=False,
            modalities=("text",),
        ),
    )
}
"""Short name → profile."""

GENERIC: Final = Profile(name="gemma-4", context_window=131_072, compaction_point=24_000)
"""Some Gemma 4, such as a fine-tune under a name of its own: what holds for all of them."""

_SIZE = re.compile(r"(?<![a-z0-9])(e2b|e4b|12b|26b|31b|tiny)(?![a-z0-9])")
_FULL_NAMES: Final = {"26b": "26B-A4B", "tiny": "tiny"}
_OTHER_GENERATION = re.compile(r"gemma[-_ ]?[123](?![0-9b])|gemma-?3n")
_FOURTH = re.compile(r"gemma[-_ ]?4(?![0-9]*b)")
_SISTER = re.compile(r"[a-z0-9](?<!diffusion)gemma|gemma[-_ ]?\d+[bm](?![a-z0-9])")
"""MedGemma, CodeGemma, T5Gemma; the first Gemma is known by its size alone, `gemma-7b`."""

_LAYERS: Final = {35: "E2B", 42: "E4B", 30: "26B-A4B", 60: "31B"}
"""`num_hidden_layers` of the text model."""


def profile_for(model_name: str, config: Mapping[str, Any] | None = None) -> Profile:
    """The profile of a served model.

    Args:
        model_name: A Hugging Face id, a quantised re-upload's, a local path, or the served name.
            A name that says nothing, such as a LoRA adapter's, gets `GENERIC`.
        config: The checkpoint's `config.json`, which is surer than a name.
    """
    by_config = _by_config(config) if config else None
    profile = by_config or _by_name(model_name) or GENERIC
    window = text_config(config).get("max_position_embeddings") if config else None
    return profile.served(window if isinstance(window, int) else None)


_OTHERS: Final = re.compile(
    r"(?<![a-z])(?:qwen|qwq|llama|mistral|mixtral|ministral|devstral|magistral|phi|deepseek|gpt|glm|"
    r"granite|nemotron|command-r|kimi|olmo|smollm|falcon|minimax|hunyuan|"
    r"internlm|ernie|starcoder|codellama|vicuna|apertus|jamba|exaone|lfm)"
    r"(?:-?\d|[-_./:]|$)"
)
"""Families whose names say that a model is no Gemma."""


def is_gemma4(names: Iterable[str]) -> bool | None:
    """Whether a model is a Gemma 4, by its names, the first that tells; None if none does.

    Args:
        names: The served name, and what its weights were loaded as.
    """
    for name in map(str.lower, names):
        if "gemma" in name:
            if _OTHER_GENERATION.search(name):
                return False
            if _FOURTH.search(name):
                return True
            size = _SIZE.search(name)
            if _SISTER.search(name) and (size is None or size[1] == "12b"):
                return False
            if size:
                return True
        elif _OTHERS.search(name):
            return False
    return None


@lru_cache(maxsize=64)  # asked on every step, and the same each time
def _by_name(model_name: str) -> Profile | None:
    name = model_name.lower()
    if "gemma" not in name or is_gemma4([name]) is False:
        return None
    found = _SIZE.search(name)
    return PROFILES[_FULL_NAMES.get(found[1], found[1].upper())] if found else None


def _by_config(config: Mapping[str, Any]) -> Profile | None:
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind.startswith("gemma4"):
        return None
    if kind.startswith("gemma4_unified"):
        return PROFILES["12B"]
    layers = text_config(config).get("num_hidden_layers")
    name = _LAYERS.get(layers) if isinstance(layers, int) else None
    return PROFILES[name] if name else None


def text_config(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The part of a checkpoint's `config.json` that is about the text model."""
    text = (config or {}).get("text_config")
    return text if isinstance(text, Mapping) else config or {}


# --- the template of a server --------------------------------------------------------------------
# Quantised re-uploads of Gemma 4 often carry an older template (vllm-project/vllm#39885), and the
# differences are silent: parameters vanish, None is printed for null. So a server's template is
# recognised by the prompt that it renders for a fixed conversation.

TemplateGeneration: TypeAlias = Literal["canonical", "canonical-small", "april", "unknown"]
"""The template of 2026-07-09 for large or small models, the releases before it, or another."""

PROBE: Final = ModelRequest(
    messages=(
        # Followed by a space where the server passes content as lists of parts, as vLLM does.
        SystemMessage("Probe."),
        UserMessage("ping"),
        AssistantMessage(tool_calls=(ToolCall("probe-1", "probe", {"flag": None}),)),
        ToolMessage("probe-1", "probe", "pong"),
        AssistantMessage("done"),
        UserMessage("again"),
    ),
    tools=(
        ToolDefinition(
            "probe",
            "Checks a template.",
            {
                "type": "object",
                "properties": {
                    # Templates before the canonical one drop a parameter of this name.
                    "type": {"type": "string", "description": "A name of JSON Schema itself."},
                    "flag": {"type": "boolean", "description": "A null.", "nullable": True},
                },
                "required": ["type"],
            },
        ),
    ),
    settings=ModelSettings(thinking=False),
)
"""Send it as it is, not lowered and without sampling, and read the prompt back.

With vLLM: `return_prompt_text` of a chat request, or `/tokenize` and then `/detokenize`.
"""


def fingerprint(prompt: str) -> TemplateGeneration:
    """Which template generation turned `PROBE` into this prompt text."""
    if prompt == _expected("large"):
        return "canonical"
    if prompt == _expected("small"):
        return "canonical-small"
    drops_reserved_names = "A name of JSON Schema itself." not in prompt
    if drops_reserved_names and "call:probe{flag:None}" in prompt:
        return "april"
    return "unknown"


def _expected(variant: TemplateVariant) -> str:
    declarations = [tool.declaration for tool in PROBE.tools]
    return render(PROBE.messages, declarations, Generation(variant=variant))


# --- tokens of images and sounds -----------------------------------------------------------------
# As vLLM 0.32 counts them. It puts soft tokens in the place of a placeholder, one for each patch of
# the image that is left after it was scaled to its budget, or for 40 ms of sound, and wraps them in
# two tokens. The arithmetic is that of `_compute_num_soft_tokens` and `_compute_audio_num_tokens`
# in `vllm/model_executor/models/gemma4_mm.py`; `tests/golden/media_tokens.json` holds what those
# return.

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
