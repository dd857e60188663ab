"""Ready-made toolsets for a project directory."""
