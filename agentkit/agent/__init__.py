"""The agent: an immutable description of a worker, and the loop that runs it."""

from agentkit.agent.agent import Agent, Instructions, Observer

__all__ = ["Agent", "Instructions", "Observer"]
