"""What produces tokens: the `Model` protocol and its kinds."""

from agentkit.models.base import CountsPrompts, Model
from agentkit.models.timeouts import Timeouts
from agentkit.models.transport import Connection
from agentkit.models.vllm import VLLMModel
from agentkit.models.windowed import WindowedModel

__all__ = ["Connection", "CountsPrompts", "Model", "Timeouts", "VLLMModel", "WindowedModel"]
