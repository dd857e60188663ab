"""Public test doubles for agents: no server, no network, no patching."""

from agentkit.testing.faults import FAULTS, Delivery, Fault, FaultServer, Served, damaged
from agentkit.testing.scripted import (
    NetworkBlockedError,
    Reply,
    ScriptedModel,
    block_network,
    call,
    calls,
    cut,
    say,
)

__all__ = [
    "FAULTS",
    "Delivery",
    "Fault",
    "FaultServer",
    "NetworkBlockedError",
    "Reply",
    "ScriptedModel",
    "Served",
    "block_network",
    "call",
    "calls",
    "cut",
    "damaged",
    "say",
]
