"""Public test doubles for agents: no server, no network, no patching."""

from agentkit.testing.scripted import Reply, ScriptedModel, call, calls, cut, say

__all__ = ["Reply", "ScriptedModel", "call", "calls", "cut", "say"]
