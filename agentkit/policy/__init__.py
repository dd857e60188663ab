"""What a run may do, and when it has gone astray: limits, approvals, the progress guard.

Pure decisions over plain data. Nothing here calls a model, runs a tool or waits.
"""

from agentkit.messages import history_problems, mended_history
from agentkit.policy.guard import (
    Budget,
    Limits,
    Prices,
    ProgressGuard,
    bounded_thoughts,
    noted,
    reminded,
    second_try,
    unusable,
)
from agentkit.policy.rules import (
    PRESETS,
    READS,
    Approval,
    Approve,
    Authority,
    Decision,
    Deny,
    Edit,
    Grant,
    PausedRun,
    Policy,
    Preset,
    Rule,
    Ruling,
    Verdict,
    approval_id,
    preset,
)

__all__ = [
    "PRESETS",
    "READS",
    "Approval",
    "Approve",
    "Authority",
    "Budget",
    "Decision",
    "Deny",
    "Edit",
    "Grant",
    "Limits",
    "PausedRun",
    "Policy",
    "Preset",
    "Prices",
    "ProgressGuard",
    "Rule",
    "Ruling",
    "Verdict",
    "approval_id",
    "bounded_thoughts",
    "history_problems",
    "mended_history",
    "noted",
    "preset",
    "reminded",
    "second_try",
    "unusable",
]
