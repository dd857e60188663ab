"""A virtual environment for each client, made once and kept in the cache folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from agentkit.serving.process import Progress, cache_folder, made_once


@dataclass(frozen=True)
class Client:
    """How a client is had and run.

    Attributes:
        command: What its interpreter runs, in the repository; an address, a number of cases and a
            file to write follow.
        requirements: What is installed; nothing for the environment of these proofs.
    """

    command: tuple[str, ...]
    requirements: tuple[str, ...] = ()


CLIENTS: Final = {
    "agentkit": Client(("-m", "soak.readers.with_agentkit", "stream")),
    "agentkit, not streamed": Client(("-m", "soak.readers.with_agentkit", "whole")),
    "pydantic-ai": Client(
        ("-m", "soak.readers.with_pydantic_ai"), ("pydantic-ai-slim[openai]==2.68.0",)
    ),
    "kani": Client(("-m", "soak.readers.with_kani"), ("kani[openai]==1.10.0",)),
}


def client_python(name: str, progress: Progress) -> Path:
    """The interpreter of a client's environment, made if need be."""
    client = CLIENTS[name]
    if not client.requirements:
        return Path(sys.executable)
    return python_with(name, client.requirements, progress)


def python_with(name: str, requirements: tuple[str, ...], progress: Progress) -> Path:
    """The interpreter of an environment of its own with these packages, made if need be.

    Args:
        name: The name of the folder, which the version of the first package follows.
        requirements: The packages, pinned.
        progress: Told what is installed.
    """
    folder = _folder(name, requirements)
    made_once(folder, partial(_make, requirements, progress), progress)
    return folder / "bin" / "python"


def made(name: str, requirements: tuple[str, ...]) -> bool:
    """Whether the environment is there."""
    return (_folder(name, requirements) / "complete.json").exists()


def _folder(name: str, requirements: tuple[str, ...]) -> Path:
    return cache_folder() / f"reader-{name}-{requirements[0].rpartition('==')[2]}"


def _make(requirements: tuple[str, ...], progress: Progress, folder: Path) -> None:
    progress(f"installing {', '.join(requirements)} into {folder}")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    subprocess.run([python, *install], check=True)
