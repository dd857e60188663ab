"""Starting a vLLM with the right flags, and stopping all of it."""
