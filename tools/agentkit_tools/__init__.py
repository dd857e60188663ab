"""Ready-made toolsets for a project directory."""

from agentkit_tools.project import project_reader

__all__ = ["project_reader"]
