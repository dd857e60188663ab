from __future__ import annotations

from pathlib import Path

import pytest
from agentkit_evals.bfcl import BfclSingleSuite, bfcl_suite
from agentkit_evals.core import EvalError, Transcript, Trial
from agentkit_evals.replay import GoldServer, book_of
from agentkit_evals.store import Store
from agentkit_evals.trial import run_trial

from agentkit.messages import AssistantMessage
from tests.evals.bfcl.spoilt import SPOILT, spoilt
from tests.evals.bfcl.upstream import upstream_verdicts
from tests.evals.helpers import ran

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.usefixtures("bfcl_installed"),
]


async def test_gold_calls_over_the_wire_pass_and_none_do_not(tmp_path: Path) -> None:
    target, few = "bfcl:parallel_multiple", ("parallel_multiple_1", "parallel_multiple_12")
    suite = bfcl_suite("parallel_multiple")
    cases = await suite.cases()
    await suite.aclose()
    listened = await ran(Store(tmp_path / "floor"), target, "empty", only=few)
    assert [result.passed for result in listened] == [False, False]
    with GoldServer(book_of(cases, listened)) as server:
        results = await ran(Store(tmp_path / "run"), target, server.url, only=few)
    assert [(r.grade and r.grade.error, r.failure) for r in results] == [(None, None)] * 2
    assert [result.transcript.steps for result in results] == [1, 1]
    in_process = await ran(Store(tmp_path / "gold"), target, "gold", only=few)
    assert all(result.passed for result in in_process)


async def test_a_case_may_begin_in_the_middle_of_a_conversation() -> None:
    suite = BfclSingleSuite("live_irrelevance")
    found = []
    for case in await suite.cases():
        async with suite.open(Trial(case, 0, 1)) as session:
            turn = await session.next_turn(Transcript())
            assert turn is not None
            if turn.history:
                found.append(turn)
        if found:
            break
    await suite.aclose()
    assert isinstance(found[0].history[-1], AssistantMessage)


@pytest.mark.parametrize(
    ("category", "case"),
    [("simple_python", 1), ("live_multiple", 3), ("simple_java", 6), ("irrelevance", 0)],
)
async def test_upstreams_own_runner_gives_the_same_verdicts(
    bfcl_installed: Path, category: str, case: int
) -> None:
    suite = BfclSingleSuite(category)
    chosen = (await suite.cases())[case]
    played, ours = [], []
    for kind in range(len(SPOILT)):
        result = await run_trial(suite, Trial(chosen, 0, 1), spoilt(chosen, kind, 1), "here")
        assert result.grade is not None, result.failure
        played.append((chosen.id, result.transcript.messages))
        ours.append((result.grade.passed, result.grade.error))
    await suite.aclose()
    assert upstream_verdicts(bfcl_installed, category, played) == ours
    assert {passed for passed, _ in ours} == {True, False}


async def test_a_category_that_is_not_there_is_named() -> None:
    with pytest.raises(EvalError, match="no category 'simple' here; there are multi_turn_base"):
        bfcl_suite("simple")
    with pytest.raises(EvalError, match="there are simple_python"):
        BfclSingleSuite("multi_turn_base")
