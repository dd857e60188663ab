"""The real vLLM that the live tests and the soak parts talk to."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shlex
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentkit.serving.plan import TINY_NAME, ServeOptions, api_program, plan
from agentkit.serving.process import (
    RunningServer,
    cache_folder,
    free_port,
    progress_line,
    running_server,
    vllm_environment,
)
from tests.live.checkpoint import REPO, random_checkpoint, real_size

MODEL = TINY_NAME
WINDOW, REAL_SIZE_WINDOW = 8192, 32_768
"""Tokens that a server takes: of the small checkpoints, and of the real-size one."""

TINY = REPO / "agentkit" / "models" / "tiny"


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A running vLLM.

    Attributes:
        url: Its root, without `/v1`.
        api_key: The key it asks for; made for this start, so no test can hold it by accident.
        process: The server's process.
    """

    url: str
    api_key: str
    process: RunningServer


def checkpoint_folder(name: str) -> Path:
    """The folder of a checkpoint: `tiny`, `random`, `real-size`, or a path. The two in the middle
    have random weights, of `random:SEED`; the last of them has a real Gemma's vocabulary.
    """
    if name == "tiny":
        return TINY
    kind, _, seed = name.partition(":")
    folder = cache_folder() / "checkpoints"
    if kind == "random":
        return random_checkpoint(folder, int(seed or 0))
    if kind == "real-size":
        return random_checkpoint(folder, int(seed or 0), real_size())
    return Path(name)


def window_of(name: str) -> int:
    """Tokens of the window that a checkpoint is served with."""
    return REAL_SIZE_WINDOW if name.startswith("real-size") else WINDOW


def requests_in(log: Path, start: int) -> Counter[str]:
    """How often each path was asked for, by a server's own log from a byte of it on."""
    text = log.read_bytes()[start:].decode("utf-8", "replace")
    return Counter(re.findall(r'"(?:GET|POST) (\S+) HTTP', text))


@contextlib.contextmanager
def live_server(
    checkpoint: Path,
    *,
    window: int = WINDOW,
    flags: Sequence[str] = (),
    without: str = "",
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Generator[LiveServer]:
    """A vLLM that serves `checkpoint` for the length of a `with` block.

    Args:
        checkpoint: Folder of the checkpoint.
        window: Tokens of a prompt and its reply; it may be longer than the checkpoint was made for.
        flags: Further flags of the server.
        without: Words of the right command that are left out, to start a server wrongly.
        environment: Further variables of the server.
        log: Where its output goes; by default a file in the cache folder.
    """
    python = vllm_environment(progress_line("installing vLLM (once)"))
    port = free_port()
    key = secrets.token_urlsafe(16)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    if window > config.get("max_position_embeddings", window):
        flags = (*flags, "--hf-overrides", json.dumps({"max_position_embeddings": window}))
    served = plan(
        str(checkpoint),
        ServeOptions(
            served_name=MODEL,
            port=port,
            window=window,
            cpu=True,
            # float32: the same numbers as the embedded model, and no slower at this size.
            extra=("--dtype", "float32", *flags),
        ),
        api_program(python),
    )
    command = shlex.split(shlex.join(served.command).replace(without, ""))
    variables = {
        **served.environment,
        "VLLM_API_KEY": key,  # not a flag: those show in the process list
        **(environment or {}),
    }
    with running_server(
        command,
        url=served.url,
        log=log or cache_folder() / "logs" / f"vllm-{time.strftime('%Y%m%d-%H%M%S')}-{port}.log",
        environment=variables,
        progress=progress_line("starting vLLM"),
    ) as process:
        yield LiveServer(process.url, key, process)
