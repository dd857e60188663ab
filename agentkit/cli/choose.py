"""What a command works with: the model that `--model` names, and installed toolsets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from agentkit.errors import AgentKitError
from agentkit.messages import ModelSettings
from agentkit.models import Model, VLLMModel
from agentkit.policy import Preset
from agentkit.toolset import Tool


class UsageError(AgentKitError):
    """The command was used wrongly; its text says how to mend it."""


def choose_model(model: str | None, name: str | None, allow: Preset = "read-only") -> Model:
    """The model of `--model`.

    Args:
        model: A server's address, or `tiny` for the bundled demonstration model; default:
            `AGENTKIT_BASE_URL`.
        name: The served name.
        allow: What it is to do; the demonstration model only reads.

    Raises:
        UsageError: No model is given: there is no silent default; or it cannot do that.
    """
    if not model and not os.environ.get("AGENTKIT_BASE_URL"):
        raise UsageError(
            "no model given. Name your vLLM server, --model http://localhost:8000/v1, "
            "or set AGENTKIT_BASE_URL; --model tiny is the bundled demonstration model"
        )
    if model == "tiny" and allow != "read-only":
        raise UsageError(f"--model tiny only reads; --allow {allow} needs a Gemma 4 that you serve")
    if model == "tiny":
        return _tiny()
    address = model or os.environ["AGENTKIT_BASE_URL"]
    if not address.startswith(("http://", "https://")):
        said = f"--model {address}" if model else f"AGENTKIT_BASE_URL={address}"
        raise UsageError(f"{said}: not an address; it should look like http://localhost:8000/v1")
    return VLLMModel(model, name)


def _tiny() -> Model:
    try:
        from agentkit.models.embedded import EmbeddedModel  # noqa: PLC0415 - an optional extra
    except ImportError as error:  # its own text names what is missing, and the extra
        raise UsageError(f"--model tiny: {error}") from None
    return EmbeddedModel(
        settings=ModelSettings(temperature=0.0)
    )  # a demonstration is the same twice


def project_tools(directory: Path, allow: Preset = "read-only") -> list[Tool[..., Any]]:
    """The installed tools over a directory (entry point group `agentkit.toolsets`).

    Args:
        directory: The project.
        allow: `read-only` takes the tools that only read (entry point `project`), otherwise all
            (entry point `workspace`).

    Raises:
        UsageError: The directory is missing, or no such tools are installed.
        AgentKitError: There is no sandbox for the tools that need one.
    """
    name = "project" if allow == "read-only" else "workspace"
    found = entry_points(group="agentkit.toolsets", name=name)
    if not found:
        raise UsageError("no project tools are installed; install agentkit with its tools")
    make: Callable[[Path], Iterable[Tool[..., Any]]] = next(iter(found)).load()
    try:
        return list(make(directory))
    except NotADirectoryError as error:
        raise UsageError(f"--project: {error}") from None


def start_notices(directory: Path, allow: Preset) -> list[str]:
    """What a person is told before the tools of `project_tools` work, one line each.

    Args:
        directory: The project.
        allow: With `read-only` there is nothing to tell.
    """
    if allow == "read-only":
        return []
    found = entry_points(group="agentkit.notices", name="workspace")
    return [line for entry in found for line in entry.load()(directory)]
