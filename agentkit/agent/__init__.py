"""The agent: an immutable description of a worker, and the loop that runs it."""

from agentkit.agent.agent import Agent, Instructions, Observer
from agentkit.agent.state import Approver, Cancellation

__all__ = ["Agent", "Approver", "Cancellation", "Instructions", "Observer"]
