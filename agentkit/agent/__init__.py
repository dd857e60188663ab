"""The agent: an immutable description of a worker, and the loop that runs it."""

from agentkit.agent.agent import Agent
from agentkit.agent.approvals import Approver
from agentkit.agent.many import BatchProgress
from agentkit.agent.state import Cancellation
from agentkit.agent.surroundings import Instructions, Observer

__all__ = ["Agent", "Approver", "BatchProgress", "Cancellation", "Instructions", "Observer"]
