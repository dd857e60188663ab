"""Ready-made toolsets for a project directory."""

from agentkit_tools.files import ProjectFiles
from agentkit_tools.project import project_reader
from agentkit_tools.sandbox import Bounds, SandboxError
from agentkit_tools.search import Search
from agentkit_tools.shell import Shell
from agentkit_tools.workspace import project_workspace

__all__ = [
    "Bounds",
    "ProjectFiles",
    "SandboxError",
    "Search",
    "Shell",
    "project_reader",
    "project_workspace",
]
