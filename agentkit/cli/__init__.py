"""The `agentkit` command: its entry point, where every error ends it with one sentence."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

from agentkit.cli.streams import (
    log_to_file,
    mend_size_of_terminal,
    take_any_character,
    unexpected,
)
from agentkit.errors import AgentKitError, first_error, install

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
    take_any_character()
    mend_size_of_terminal()
    log = log_to_file()
    code: object = 1
    try:
        code = app(standalone_mode=False)
    except OSError as error:  # a full disk below standard output, a folder that takes no files
        at = f"{error.filename}: " if error.filename else ""
        if not at and isinstance(error, FileNotFoundError):
            at = "this directory was removed; change to another: "
        with suppress(OSError, ValueError):
            sys.stdout.close()  # its buffer would fail once more when Python exits
        sys.exit(f"agentkit: {at}{error.strerror or error}")
    except KeyboardInterrupt:
        _end("stopped", 130)
    except Exception as error:  # noqa: BLE001 - every error ends in a sentence
        _end(*_message_of(error, log))
    sys.exit(code if isinstance(code, int) else 0)


def _message_of(error: Exception, log: Path | None) -> tuple[str, int]:
    """The sentence about an error, and the exit code."""
    if isinstance(leaf := first_error(error), AgentKitError):
        return str(leaf), 1
    # The classes of typer's errors are its own or click's, by its version.
    if (format_message := getattr(error, "format_message", None)) is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "agentkit"
        message = str(format_message()).rstrip(".").replace("Value error, ", "")
        if not message:  # a group of commands without a command: its help was shown
            return "", 2
        return f"{message}; {command} --help shows what there is", getattr(error, "exit_code", 2)
    if type(error).__name__ == "Abort":
        stopped = isinstance(error.__cause__, KeyboardInterrupt)
        return ("stopped", 130) if stopped else ("nothing was answered, so nothing was done", 1)
    if isinstance(leaf, UnicodeEncodeError) and re.search("[\ud800-\udfff]", "".join(sys.argv)):
        return f"an argument is no text: its bytes are not {sys.getfilesystemencoding()}", 2
    return unexpected(error, log), 1


def _end(message: str, code: int) -> None:
    if message:
        with suppress(OSError, ValueError, AttributeError):  # standard error may be closed
            sys.stderr.write(f"agentkit: {message}\n")
    sys.exit(code)
