"""A tool that runs shell commands over a project, always in a sandbox."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

import anyio
import anyio.to_thread
from pydantic import Field

from agentkit import ToolError, Toolset, tool
from agentkit.toolset import Label, ToolOutput
from agentkit_tools.commands import Outcome, run
from agentkit_tools.disarm import ASIDE
from agentkit_tools.paths import Root
from agentkit_tools.sandbox import Bounds, Sandbox, SandboxError, python_folders
from agentkit_tools.tryout import check_sandbox

_LONGEST = 100_000  # bytes; Linux passes at most 131,072 as one argument, execve(2)
_READ_ONLY = "Read-only file system"  # what the C library calls EROFS
_LABELS: frozenset[Label] = frozenset({"exec", "writes", "reads_private", "reads_untrusted"})


Environments: TypeAlias = Literal[
    "read-only", "writable, so what commands leave there runs outside the sandbox"
]
"""Whether commands may change virtual environments: the words name the danger."""


class Shell(Toolset):
    """A tool that runs commands in a project's directory, in a bubblewrap sandbox.

    Where no sandbox is possible, every command is refused; `check` finds out beforehand. Files of
    the project that run outside the sandbox are read-only to commands; `read_only` names them.

    Args:
        root: The project: what commands may change.
        sandbox: `required`: there is no other way to run a command.
        bounds: What a command may use.
        visible: Further folders that commands may read; by default the Python that runs this.
        environments: Whether commands may change virtual environments of the project. What they
            put there, you and the agent's next run execute without a sandbox.

    Raises:
        NotADirectoryError: There is no such directory.
    """

    def __init__(
        self,
        root: str | Path | Root,
        *,
        sandbox: Literal["required"] = "required",
        bounds: Bounds | None = None,
        visible: Iterable[Path] | None = None,
        environments: Environments = "read-only",
    ) -> None:
        if sandbox != "required":
            raise ValueError(f"sandbox is {sandbox!r}; commands run in a sandbox or not at all")
        if environments not in get_args(Environments):
            choices = " or ".join(map(repr, get_args(Environments)))
            raise ValueError(f"environments is {environments!r}; it can be {choices}")
        folders = python_folders() if visible is None else tuple(visible)
        self._sandbox = Sandbox(
            Root.of(root), bounds or Bounds(), folders, environments == "read-only"
        )
        runner = _Runner(self._sandbox)
        super().__init__(
            [tool(effect="once", labels=_LABELS, target="command")(runner.run_command)]
        )

    def check(self) -> None:
        """Makes sure that commands can be run here.

        Raises:
            SandboxError: They cannot; the message says the remedy.
        """
        check_sandbox(self._sandbox)

    def read_only(self) -> dict[str, str]:
        """The paths of the project that commands cannot change now → why."""
        return self._sandbox.guarded().named()


class _Runner:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def run_command(
        self, command: str, seconds: Annotated[int, Field(ge=1)] = 120
    ) -> ToolOutput:
        """Run a shell command in the project's directory, without network.

        Args:
            command: The command line.
            seconds: Stop it after so long.
        """
        if not command.strip():
            raise ToolError("the command is empty.")
        if "\0" in command:
            raise ToolError("the command holds a zero byte.")
        if len(command.encode("utf-8", "surrogatepass")) > _LONGEST:
            raise ToolError(
                f"the command is longer than {_LONGEST:,} bytes: write a file and run that."
            )
        most = min(float(seconds), self._sandbox.bounds.seconds)
        try:
            outcome = await _in_thread(self._sandbox, command, most)
        except SandboxError as error:
            raise ToolError(f"{error}. Go on without commands.") from None
        data = {
            "exit_code": outcome.exit_code,
            "seconds": outcome.seconds,
            "stopped": outcome.stopped,
        }
        return ToolOutput("\n".join([_text(outcome), *self._hints(outcome)]), data=data)

    def _hints(self, outcome: Outcome) -> Iterator[str]:
        """Explanations that a model needs for the outcome of its command."""
        if _READ_ONLY in outcome.output:
            closed = ", ".join(self._sandbox.guarded().named())
            yield f"(read-only to commands: {closed})"
        if outcome.set_aside:
            yield (
                f"(set aside, since git would run what is in it: {', '.join(outcome.set_aside)}; "
                f"the names now end with {ASIDE})"
            )


async def _in_thread(sandbox: Sandbox, command: str, seconds: float) -> Outcome:
    """Runs a command in a thread; a cancellation waits until none of its processes is left."""
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    outcomes: list[Outcome | Exception] = []
    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        try:
            outcomes.append(
                await anyio.to_thread.run_sync(run, sandbox, command, seconds, cancelled.is_set)
            )
        except Exception as error:  # noqa: BLE001 - raised below: the task group would wrap it
            outcomes.append(error)
        group.cancel_scope.cancel()
    (outcome,) = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _text(outcome: Outcome) -> str:
    end = f"exit code {outcome.exit_code}"
    if outcome.stopped is not None:
        end = f"stopped: {outcome.stopped}"
    output = _plain(outcome.output).strip("\n")
    return f"{end} ({outcome.seconds:.1f} s)\n{output or '(no output)'}"


_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def _plain(text: str) -> str:
    """The text that a terminal would show: no colours, each line as it was last drawn."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
