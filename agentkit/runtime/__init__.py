"""Code that runs agents and tools from outside the loop."""

from agentkit.runtime.replay import ReplayReport, assert_replays, replay

__all__ = ["ReplayReport", "assert_replays", "replay"]
