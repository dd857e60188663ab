"""Everything that works over a project directory, in one list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentkit import Tool
from agentkit_tools.files import ProjectFiles
from agentkit_tools.paths import Root
from agentkit_tools.search import Search
from agentkit_tools.shell import Shell


def project_workspace(root: str | Path) -> list[Tool[..., Any]]:
    """Tools that read, search and change a directory and run commands over it.

    Args:
        root: The directory; nothing outside it can be changed.

    Raises:
        NotADirectoryError: There is no such directory.
        SandboxError: Commands cannot be run in a sandbox here.
    """
    opened = Root(root)
    shell = Shell(opened)
    shell.check()
    return [*ProjectFiles(opened), *Search(opened), *shell]
