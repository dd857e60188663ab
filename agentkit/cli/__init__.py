"""The `agentkit` command."""

from __future__ import annotations

import sys
from contextlib import suppress

from agentkit.mistakes import install

__all__ = ["main"]

try:
    from agentkit.cli.app import app
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("typer", "rich", "click", "prompt_toolkit"):
        raise
    app = None  # type: ignore[assignment]  # the extra `cli` is not installed; `main` says so


def main() -> None:
    """Entry point of the `agentkit` command."""
    if app is None:
        sys.exit(f"agentkit: the command line needs the extra `cli`: {install('cli')}")
    try:
        app()
    except OSError as error:  # a full disk below standard output, a folder that takes no files
        at = f"{error.filename}: " if error.filename else ""
        with suppress(OSError, ValueError):
            sys.stdout.close()  # what is left in it would fail once more, when Python ends
        sys.exit(f"agentkit: {at}{error.strerror or error}")
