"""What produces tokens: the `Model` protocol and its kinds."""

from agentkit.models.base import CountsPrompts, Model, WindowedModel
from agentkit.models.transport import Connection, Timeouts
from agentkit.models.vllm import VLLMModel

__all__ = ["Connection", "CountsPrompts", "Model", "Timeouts", "VLLMModel", "WindowedModel"]
