"""The child processes of a BFCL category, started when needed; all share a scratch folder."""

from __future__ import annotations

import sys
import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from agentkit.messages import JsonObject
from agentkit_evals.bfcl.install import VERSION, installed_folder
from agentkit_evals.core import EvalError
from agentkit_evals.isolated import Child, ChildPool

__all__ = ["BfclChildren"]


class BfclChildren:
    """Children that hold a category's cases.

    Args:
        script: What they run: a file beside this one.
        category: As upstream calls it.
    """

    def __init__(self, script: str, category: str) -> None:
        self._script = Path(__file__).with_name(script)
        self._category = category
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._pool = ChildPool(self._start)
        self._listed: JsonObject | None = None

    def child(self) -> AbstractAsyncContextManager[Child]:
        """One of them, for as long as the context is open."""
        return self._pool.child()

    async def listed(self) -> JsonObject:
        """The answer to `cases`, asked for once.

        Raises:
            EvalError: The package is not installed.
        """
        if self._listed is None:
            async with self.child() as child:
                self._listed = await child.ask({"do": "cases"})
        return self._listed

    def close(self) -> None:
        """Ends them."""
        self._pool.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _start(self) -> Child:
        folder = installed_folder()
        if folder is None:
            raise EvalError(
                f"bfcl-eval {VERSION} is not installed: agentkit eval suites install bfcl"
            )
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="agentkit-bfcl-")
        scratch = self._scratch.name
        arguments = [str(self._script), str(folder), self._category, scratch]
        return Child([sys.executable, "-I", "-S", *arguments], scratch)
