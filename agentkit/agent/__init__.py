"""The agent: an immutable description of a worker, and the loop that runs it."""

from agentkit.agent.agent import Agent, Instructions, Observer
from agentkit.agent.approvals import Approver
from agentkit.agent.many import BatchProgress
from agentkit.agent.state import Cancellation

__all__ = ["Agent", "Approver", "BatchProgress", "Cancellation", "Instructions", "Observer"]
