"""Measuring agents on suites of tasks.

The command is `agentkit eval`; a suite of your own is one file with `Task`s (see `docs/evals.md`).
"""

from agentkit_evals.compare import Comparison, compare
from agentkit_evals.core import (
    CallRecord,
    Case,
    EvalError,
    Grade,
    Session,
    Suite,
    SuiteError,
    Transcript,
    Trial,
    TrialResult,
    Turn,
    TurnRecord,
)
from agentkit_evals.manifest import RunManifest, planned
from agentkit_evals.report import Report, report
from agentkit_evals.rescore import rescore
from agentkit_evals.runner import run_local
from agentkit_evals.store import Store
from agentkit_evals.subject import Subject
from agentkit_evals.suites import load_suite
from agentkit_evals.tasks import Task, TaskSuite

__all__ = [
    "CallRecord",
    "Case",
    "Comparison",
    "EvalError",
    "Grade",
    "Report",
    "RunManifest",
    "Session",
    "Store",
    "Subject",
    "Suite",
    "SuiteError",
    "Task",
    "TaskSuite",
    "Transcript",
    "Trial",
    "TrialResult",
    "Turn",
    "TurnRecord",
    "compare",
    "load_suite",
    "planned",
    "report",
    "rescore",
    "run_local",
]
