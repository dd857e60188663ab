"""The right vLLM command for a model, worked out from its name: pure, nothing is started.

Sources: the flags are vLLM 0.32's (`vllm serve --help`); sizes of the weights in bfloat16 and the
modalities are those of Google's model card and of vLLM's recipes for Gemma 4
(vllm-project/recipes, Google/Gemma4.md).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agentkit.gemma4.profiles import GENERIC, Profile, profile_for
from agentkit.messages import JsonObject
from agentkit.serving.vllm import REQUIRED_FLAGS, SERVER_ENVIRONMENT

__all__ = ["TINY_NAME", "ServePlan", "Wish", "plan"]

TINY_NAME: Final = "tiny-gemma4"
"""The name under which the demonstration checkpoint is served."""

_MEDIA: Final[Mapping[str, int]] = {"image": 4, "audio": 1, "video": 1}
"""Most pieces of one prompt: each reserves memory for its embeddings when vLLM starts."""

_ROOM: Final = 8192
"""Windows are rounded up to so many tokens, and a reply has at least as many."""

_WEIGHTS_GB: Final[Mapping[str, int]] = {
    "E2B": 10,
    "E4B": 16,
    "12B": 24,
    "26B-A4B": 52,
    "31B": 62,
}
"""Gigabytes of the weights in bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user says of the server that they want; None leaves it to the plan.

    Attributes:
        served_name: The name clients ask for.
        host: Address to bind.
        port: TCP port to listen on.
        window: Tokens of prompt and reply together.
        gpus: GPUs that share the model (tensor parallelism).
        chat_template: A template file instead of the checkpoint's own.
        cpu: Serve on the CPU.
        extra: Further flags of vLLM, as they are; they come last and win.
    """

    served_name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    window: int | None = None
    gpus: int = 1
    chat_template: Path | None = None
    cpu: bool = False
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServePlan:
    """A server to be started.

    Attributes:
        command: Its command line, the program included.
        environment: Variables over those of this process.
        url: Its root, as this machine reaches it.
        name: The served name.
        notes: What the user should know, a sentence each.
        unverified: What in it was never run by agentkit's own tests.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str
    name: str
    notes: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()

    def shown(self) -> str:
        """The command for a shell, a flag on each line."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        lines = [" ".join([*words, *map(shlex.quote, self.command[:1])])]
        for word in self.command[1:]:
            if word.startswith("--"):
                lines.append(f"    {word}")
            else:
                lines[-1] += f" {shlex.quote(word)}"
        return " \\\n".join(lines)


@dataclass
class _Draft:
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)


def plan(model: str, wish: Wish, program: Sequence[str] = ("vllm", "serve")) -> ServePlan:
    """The command that serves a model the way agents need it.

    Args:
        model: A Hugging Face id, or the folder of a checkpoint.
        wish: What the user says.
        program: How vLLM is started; the model follows.
    """
    folder = Path(model).is_dir()
    config = _config(Path(model)) if folder else None
    profile = profile_for(model, config)
    if profile_for(model) is GENERIC and wish.served_name:
        profile = profile_for(wish.served_name, config)
    name = wish.served_name or (Path(model).name if folder else model)
    draft = _Draft()
    _window(draft, profile, wish)
    if config is None or "vision_config" in config:
        _media(draft, profile)
    _weights(draft, model, profile, wish)
    _template(draft, model, wish)
    command = (
        *program,
        model,
        *("--served-model-name", name),
        *("--host", wish.host, "--port", str(wish.port)),
        *REQUIRED_FLAGS,
        "--enable-prefix-caching",
        "--enable-tokenizer-info-endpoint",
        *draft.flags,
        *wish.extra,
    )
    return ServePlan(
        command,
        _environment(wish, folder=folder),
        f"http://{_reached(wish.host)}:{wish.port}",
        name,
        tuple(draft.notes),
        tuple(draft.unverified),
    )


def _config(folder: Path) -> JsonObject | None:
    try:
        value = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _window(draft: _Draft, profile: Profile, wish: Wish) -> None:
    """As long as the model makes good use of it, and room for a reply: more only costs memory."""
    useful = -(-(profile.compaction_point + _ROOM) // _ROOM) * _ROOM
    window = wish.window or min(profile.context_window, useful)
    draft.flags += ["--max-model-len", str(window)]
    if profile is GENERIC:
        draft.notes.append("the name does not say which Gemma 4 this is: the window is a guess")
    if window > profile.context_window:
        draft.notes.append(
            f"{profile.name} was made for {profile.context_window:,} tokens, not {window:,}"
        )


def _media(draft: _Draft, profile: Profile) -> None:
    limits = {kind: most for kind, most in _MEDIA.items() if kind in profile.modalities}
    if limits:
        draft.flags += ["--limit-mm-per-prompt", json.dumps(limits, separators=(",", ":"))]
        draft.notes.append("text only? --language-model-only saves the memory of the vision part")


_FORMATS: Final = (
    # What a re-upload's name says; vLLM reads the rest from the checkpoint's own config.
    (r"w4a16|int4|awq|gptq|nvfp4|mxfp4", 4, ()),
    (r"w8a8|w8a16|int8|fp8", 8, ()),
    (r"bnb|bitsandbytes", 4, ("--quantization", "bitsandbytes")),
    (r"gguf", 4, ()),
)


def _weights(draft: _Draft, model: str, profile: Profile, wish: Wish) -> None:
    if wish.cpu:
        # Eager: compiling takes longer than a demonstration. Room for several whole prompts: vLLM
        # 0.32 on the CPU dies of a request with a seed whose prompt is read in parts
        # (`Generator.set_offset` exists on GPUs only).
        draft.flags += ["--enforce-eager", "--max-num-batched-tokens", str(4 * _ROOM)]
        if profile.name == "tiny":
            draft.flags += ["--dtype", "float32"]  # no slower at its size, and exact
        return
    bits = 16
    for pattern, found, flags in _FORMATS:
        if re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", model.lower()):
            bits = found
            draft.flags += flags
            draft.unverified.append(f"the quantised format in the name ({found} bits a weight)")
            break
    draft.flags += ["--gpu-memory-utilization", "0.90"]
    if wish.gpus > 1:
        draft.flags += ["--tensor-parallel-size", str(wish.gpus)]
        draft.unverified.append(f"sharing the model between {wish.gpus} GPUs")
    draft.unverified.append(f"{profile.name} on a GPU (tests serve a tiny Gemma 4 on the CPU)")
    if size := _WEIGHTS_GB.get(profile.name):
        share = size * bits // 16 // wish.gpus
        draft.notes.append(f"about {share} GB of weights on each GPU, and the KV cache beside them")


def _template(draft: _Draft, model: str, wish: Wish) -> None:
    if wish.chat_template is not None:
        draft.flags += ["--chat-template", str(wish.chat_template)]
    elif not model.startswith("google/") and not Path(model).is_dir():
        draft.notes.append(
            "re-uploads often carry an old chat template (vllm#39885): the doctor tells, and "
            "--chat-template FILE with the newest of google/gemma-4-*-it mends it"
        )


def _environment(wish: Wish, *, folder: bool) -> dict[str, str]:
    variables = dict(SERVER_ENVIRONMENT)
    if not folder:
        del variables["HF_HUB_OFFLINE"]  # the weights may have to be fetched
    if wish.cpu:
        variables["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB
    return variables


def _reached(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
