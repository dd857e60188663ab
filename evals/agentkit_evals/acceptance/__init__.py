"""Whether agents work on a server that somebody runs: `agentkit accept`."""
