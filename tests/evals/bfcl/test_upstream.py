from __future__ import annotations

from pathlib import Path

import pytest
from agentkit_evals.bfcl import BfclSuite
from agentkit_evals.core import Trial
from agentkit_evals.trial import run_trial

from tests.evals.bfcl.mutated import MUTATIONS, mutated
from tests.evals.bfcl.upstream import upstream_verdicts

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_upstreams_own_runner_gives_the_same_verdicts(bfcl_installed: Path) -> None:
    suite = BfclSuite()
    played, ours = [], []
    for case in (await suite.cases())[3:4]:
        for kind in range(len(MUTATIONS)):
            maker = mutated(case, kind, seed=1)
            result = await run_trial(suite, Trial(case, 0, 1), maker, "here")
            assert result.grade is not None
            played.append((case.id, result.transcript.messages))
            ours.append((result.grade.passed, result.grade.error))
    await suite.aclose()
    assert upstream_verdicts(bfcl_installed, "multi_turn_base", played) == ours
    assert {passed for passed, _ in ours} == {True, False}
