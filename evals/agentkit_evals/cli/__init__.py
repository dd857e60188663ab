"""`agentkit eval`: run suites, report, compare.

Exit codes: 0 done, 1 too much of the run has no verdict, 2 used wrongly, 130 stopped by Ctrl-C
(what was done is kept: the same command goes on).
"""

from __future__ import annotations

from agentkit_evals.cli.looking import (
    compare_runs,
    export_run,
    gate_run,
    list_runs,
    report_run,
    view_runs,
)
from agentkit_evals.cli.running import ablate_suite, rescore_run, retry_run, run_suite
from agentkit_evals.cli.shared import new_app
from agentkit_evals.cli.suites import suites

__all__ = ["app"]

app = new_app("eval", "Measure agents on suites of tasks, with numbers that can be believed.")
app.add_typer(suites, name="suites")

for name, command in (
    ("run", run_suite),
    ("retry", retry_run),
    ("ablate", ablate_suite),
    ("report", report_run),
    ("compare", compare_runs),
    ("gate", gate_run),
    ("rescore", rescore_run),
    ("view", view_runs),
    ("export", export_run),
    ("list", list_runs),
):
    app.command(name)(command)
