"""What the suites of BFCL's categories share: the package, and the child processes that hold it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from agentkit import Context
from agentkit.messages import JsonObject
from agentkit_evals.bfcl.install import VERSION, installed_folder
from agentkit_evals.core import EvalError, GoldCall
from agentkit_evals.isolated import Child, ChildPool

STEPS: Final = 21
"""Model calls of a turn: upstream gives a turn up after its 21st step with calls."""

ONLY_THESE_TOOLS: Final = Context(recall=False)
"""A model is offered upstream's functions and nothing else."""

LIMITS: Final = ("steps", "tool_calls", "tokens", "seconds", "cost")
"""The stop reasons of a turn that was given up."""


class BfclCategory:
    """A category whose cases are held by child processes, which share a scratch folder.

    Args:
        category: Upstream's name of the category.
        script: The program of the child processes: a file beside this one.
    """

    def __init__(self, category: str, script: str) -> None:
        self._category = category
        self._script = Path(__file__).with_name(script)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._pool = ChildPool(self._start)
        self._listed: JsonObject | None = None

    @property
    def name(self) -> str:
        """`bfcl:` and the category."""
        return f"bfcl:{self._category}"

    async def about(self) -> dict[str, str]:
        """The package's version and the hash of the category's files."""
        return {"bfcl-eval": VERSION, **(await self._list())["about"]}

    async def aclose(self) -> None:
        """Ends the child processes."""
        self._pool.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    async def _list(self) -> JsonObject:
        """The answer to `cases`, asked for once.

        Raises:
            EvalError: The package is not installed.
        """
        if self._listed is None:
            async with self._pool.child() as child:
                self._listed = await child.ask({"do": "cases"})
        return self._listed

    def _arguments(self) -> list[str]:
        """Further arguments of the script."""
        return []

    def _start(self) -> Child:
        folder = installed_folder()
        if folder is None:
            raise EvalError(
                f"bfcl-eval {VERSION} is not installed: agentkit eval suites install bfcl"
            )
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="agentkit-bfcl-")
        scratch = self._scratch.name
        arguments = [str(self._script), str(folder), self._category, scratch, *self._arguments()]
        return Child([sys.executable, "-I", "-S", *arguments], scratch)


def gold_calls(turns: list[list[list[Any]]]) -> tuple[tuple[GoldCall, ...], ...]:
    """The gold calls of a case, from the answer of a child process."""
    return tuple(tuple((name, arguments) for name, arguments in turn) for turn in turns)
