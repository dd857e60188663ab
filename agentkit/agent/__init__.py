"""The agent: an immutable description of a worker, and the loop that runs it."""

from agentkit.agent.agent import Agent
from agentkit.agent.approvals import Approver
from agentkit.agent.delegation import BatchProgress
from agentkit.agent.options import Cancellation, Instructions, Observer

__all__ = ["Agent", "Approver", "BatchProgress", "Cancellation", "Instructions", "Observer"]
