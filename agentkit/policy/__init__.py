"""What a run may do, and when it has gone astray: limits, approvals, the progress guard.

Pure decisions over plain data. Nothing here calls a model, runs a tool or waits.
"""

from agentkit.policy.approval import (
    Approval,
    Approve,
    Decision,
    Deny,
    Edit,
    Grant,
    PausedRun,
    approval_id,
)
from agentkit.policy.guard import ProgressGuard
from agentkit.policy.history import history_problems, mended_history
from agentkit.policy.limits import Budget, Limits, Prices
from agentkit.policy.rules import (
    PRESETS,
    READS,
    Authority,
    Policy,
    Preset,
    Rule,
    Ruling,
    Verdict,
    preset,
)
from agentkit.policy.second_try import (
    bounded_thoughts,
    noted,
    reminded,
    second_try,
    unusable,
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
