"""BFCL's own runner as the judge of what our suites said of the same transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agentkit_evals.bfcl import install
from agentkit_evals.core import TrialResult

from tests.evals.bfcl.upstream import upstream_verdicts


def equal_verdicts(category: str, results: Sequence[TrialResult]) -> Counter[str]:
    """How many verdicts were held against upstream's.

    Raises:
        AssertionError: One is another than upstream's, or there is none.
    """
    played = [(result.case, result.transcript.messages) for result in results]
    theirs = upstream_verdicts(install(lambda _: None), category, played)
    for result, verdict in zip(results, theirs, strict=True):
        assert result.grade is not None, result.failure
        ours = (result.grade.passed, result.grade.error)
        assert ours == verdict, f"{result.case}: {ours} is not upstream's {verdict}"
    passes = sum(passed for passed, _ in theirs)
    return Counter({"verdicts equal to upstream's": len(theirs), "of them passes": passes})
