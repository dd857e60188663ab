"""The right vLLM command for a model, worked out from its name: pure, nothing is started.

Sources: the flags are vLLM 0.32's (`vllm serve --help`); sizes of the weights in bfloat16, the
modalities, what each quantised form needs, drafts and batch sizes are those of Google's model card
and of vLLM's recipes for Gemma 4 (vllm-project/recipes, `models/Google/gemma-4-*.yaml`).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agentkit.errors import ServerNotReadyError
from agentkit.gemma4.profiles import GENERIC, Profile, is_gemma4, profile_for
from agentkit.messages import JsonObject
from agentkit.serving.vllm import REQUIRED_FLAGS, SERVER_ENVIRONMENT, TESTED_VLLM

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
        memory: GB of one GPU, where it is known: what cannot fit is refused.
        draft: Whether to decode with the small draft model that Google gives beside each size.
        extra: Further flags of vLLM, as they are; they come last and win.
    """

    served_name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    window: int | None = None
    gpus: int = 1
    chat_template: Path | None = None
    cpu: bool = False
    memory: float | None = None
    draft: bool = False
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServePlan:
    """A server to be started.

    Attributes:
        command: Its command line, the program included.
        environment: Variables over those of this process.
        url: Its root, as this machine reaches it.
        name: The served name.
        model: What is served: an id or a folder.
        gpus: GPUs that share it.
        notes: What the user should know, a sentence each.
        unverified: What in it was never run by agentkit's own tests.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str
    name: str
    model: str
    gpus: int = 1
    notes: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()

    def compose(self) -> str:
        """The same server as a service of a compose file, with vLLM's own image."""
        arguments = self.command[self.command.index(self.model) :]
        keys = {"HF_HOME": "/models", "VLLM_API_KEY": "${AGENTKIT_API_KEY:-}"}
        variables = {**self.environment, **keys}
        lines = [
            "services:",
            "  vllm:",
            f"    image: vllm/vllm-openai:v{TESTED_VLLM}",
            "    ipc: host",
            "    ports:",
            f'      - "{self.url.rpartition(":")[2]}:{self.url.rpartition(":")[2]}"',
            "    volumes:",
            "      - ~/.cache/huggingface:/models",
            "    environment:",
            *(f"      {name}: {json.dumps(value)}" for name, value in variables.items()),
            "    command:",
            *(f"      - {json.dumps(word)}" for word in _in_container(arguments)),
            "    deploy:",
            "      resources:",
            "        reservations:",
            "          devices:",
            "            - driver: nvidia",
            f"              count: {self.gpus}",
            "              capabilities: [gpu]",
        ]
        return "\n".join(lines)

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


def _in_container(arguments: Sequence[str]) -> list[str]:
    """The arguments as they are inside a container, whose port is published."""
    words = list(arguments)
    words[words.index("--host") + 1] = "0.0.0.0"  # noqa: S104 - of the container
    return words


def plan(
    model: str,
    wish: Wish,
    program: Sequence[str] = ("vllm", "serve"),
    *,
    environ: Mapping[str, str] | None = None,
    known: Collection[str] | None = None,
) -> ServePlan:
    """The command that serves a model the way agents need it.

    Args:
        model: A Hugging Face id, or the folder of a checkpoint.
        wish: What the user says.
        program: How vLLM is started; the model follows.
        environ: The user's own variables, which are never overridden.
        known: Flags that the installed vLLM has; None where that is not known.

    Raises:
        ServerNotReadyError: It cannot work: no Gemma 4, no model to talk to, not so many GPUs, or
            not enough memory. The message says what would.
    """
    folder = Path(model).is_dir()
    config = _config(Path(model)) if folder else None
    profile = profile_for(model, config)
    if profile_for(model) is GENERIC and wish.served_name:
        profile = profile_for(wish.served_name, config)
    name = wish.served_name or (Path(model).name if folder else model)
    _refuse(model, profile, config, wish)
    draft = _Draft()
    _window(draft, profile, wish)
    if config is None or "vision_config" in config:
        _media(draft, profile, wish)
    _speculation(draft, profile, wish)
    _weights(draft, model, profile, wish)
    _template(draft, model, wish)
    flags = ["--enable-prefix-caching", "--enable-tokenizer-info-endpoint", *draft.flags]
    command = (
        *program,
        model,
        *("--served-model-name", name),
        *("--host", wish.host, "--port", str(wish.port)),
        *REQUIRED_FLAGS,
        *_that_exist(flags, known, draft),
        *wish.extra,
    )
    return ServePlan(
        command,
        _environment(wish, folder=folder, environ=environ or {}),
        f"http://{_reached(wish.host)}:{wish.port}",
        name,
        model,
        wish.gpus,
        tuple(draft.notes),
        tuple(draft.unverified),
    )


def _refuse(model: str, profile: Profile, config: JsonObject | None, wish: Wish) -> None:
    """Raises what could only end in an error of vLLM's, minutes later and in other words."""
    name = model.lower().rpartition("/")[2] or model.lower()
    if is_gemma4([model, wish.served_name or ""]) is False or "diffusiongemma" in name:
        raise ServerNotReadyError(
            f"{model} is no Gemma 4, and the parsers and templates here are Gemma 4's: serve it "
            "with vLLM's own command; agentkit talks to it all the same"
        )
    if name.endswith("-assistant"):
        served = model[: -len("-assistant")]
        raise ServerNotReadyError(
            f"{model} is a draft model, which nobody can talk to: agentkit serve {served} --draft"
        )
    if re.fullmatch(r"gemma-4-(?:e2b|e4b|12b|26b-a4b|31b)", name) and config is None:
        raise ServerNotReadyError(
            f"{model} is a base model: it was taught no turns and no tools; serve {model}-it"
        )
    heads = (config or {}).get("num_attention_heads") or _HEADS.get(profile.name, 0)
    if wish.gpus > 1 and (heads % wish.gpus or wish.gpus & (wish.gpus - 1)):
        fitting = ", ".join(str(n) for n in (1, 2, 4, 8) if not heads % n)
        raise ServerNotReadyError(
            f"{wish.gpus} GPUs cannot share {profile.name}: its {heads} heads are shared evenly by "
            f"{fitting}; more GPUs serve replicas"
        )
    size = _WEIGHTS_GB.get(profile.name)
    if wish.memory and size and not wish.cpu:
        needed = size * _bits(model) / 16 / wish.gpus
        if needed > _FILLED * wish.memory:
            raise ServerNotReadyError(
                f"{model} takes some {needed:.0f} GB on each of {wish.gpus} GPUs, which have "
                f"{wish.memory:.0f} GB: take a quantised form (w4a16, FP8), a smaller size or more "
                "GPUs (--gpus)"
            )


_HEADS: Final[Mapping[str, int]] = {"E2B": 8, "E4B": 8, "12B": 16, "26B-A4B": 16, "31B": 32}
"""Attention heads, which tensor parallelism shares evenly."""

_FILLED: Final = 0.85
"""Of a GPU's memory may be weights: beside them are the KV cache and what computing takes."""


def _bits(model: str) -> int:
    for pattern, bits, _ in _FORMATS:
        if re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", model.lower()):
            return bits
    return 16


def _that_exist(
    flags: Sequence[str], known: Collection[str] | None, draft: _Draft
) -> Iterator[str]:
    """The flags without those that the installed vLLM does not have, and their values."""
    skips = False
    for word in flags:
        if word.startswith("--"):
            skips = known is not None and word not in known
            if skips:
                draft.notes.append(f"the installed vLLM has no {word}, so it is left out")
        if not skips:
            yield word


def _speculation(draft: _Draft, profile: Profile, wish: Wish) -> None:
    if profile.name not in _WEIGHTS_GB or wish.cpu:
        return
    if not wish.draft:
        draft.notes.append(
            "Google gives a draft model for this size: --draft decodes with it, up to some times "
            "faster for few users at a time"
        )
        return
    drafts = {"model": f"google/gemma-4-{profile.name}-it-assistant", "num_speculative_tokens": 4}
    draft.flags += ["--speculative-config", json.dumps(drafts, separators=(",", ":"))]
    draft.unverified.append("decoding with a draft model, and Gemma's grammar together with it")


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


def _media(draft: _Draft, profile: Profile, wish: Wish) -> None:
    if wish.cpu:
        # torchvision is taken out of that environment (it comes as a CUDA build), and librosa and
        # soundfile were never in it.
        draft.flags += ["--language-model-only"]
        draft.notes.append(
            "text only: media on the CPU need torchvision, librosa and soundfile as CPU builds"
        )
        return
    limits = {kind: most for kind, most in _MEDIA.items() if kind in profile.modalities}
    if limits:
        draft.flags += ["--limit-mm-per-prompt", json.dumps(limits, separators=(",", ":"))]
        draft.notes.append("text only? --language-model-only saves the memory of the vision part")


_FORMATS: Final = (
    # What a re-upload's name says; vLLM reads the rest from the checkpoint's own config.
    (r"nvfp4", 4, ("--kv-cache-dtype", "fp8")),
    (r"w4a16|int4|awq|gptq|mxfp4|mobile", 4, ()),
    (r"fp8", 8, ("--kv-cache-dtype", "fp8")),
    (r"w8a8|w8a16|int8", 8, ()),
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
    if "nvfp4" in model.lower():
        draft.notes.append("NVFP4 needs a Blackwell GPU (B200, RTX 50, GB10)")
    draft.flags += ["--gpu-memory-utilization", "0.90", "--async-scheduling"]
    if profile.name == "26B-A4B":
        draft.flags += ["--max-num-batched-tokens", "4096"]
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


def _environment(wish: Wish, *, folder: bool, environ: Mapping[str, str]) -> dict[str, str]:
    """What the server needs and the user has not set."""
    variables = dict(SERVER_ENVIRONMENT)
    if not folder:
        del variables["HF_HUB_OFFLINE"]  # the weights may have to be fetched
    if wish.cpu:
        variables["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB
    return {name: value for name, value in variables.items() if name not in environ}


def _reached(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
