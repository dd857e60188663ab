from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from agentkit_evals.bfcl import BfclMemorySuite
from agentkit_evals.core import Case, Trial, Turn
from agentkit_evals.replay import GoldServer, book_of
from agentkit_evals.rescore import rescore
from agentkit_evals.store import Store
from agentkit_evals.subject import AgentMaker, Reference
from agentkit_evals.trial import run_trial

from agentkit import Agent
from agentkit.messages import ToolMessage
from agentkit.testing import ScriptedModel, call, say
from tests.evals.bfcl.recalled import ANSWERS, recalled
from tests.evals.bfcl.upstream import upstream_verdicts
from tests.evals.helpers import ran

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.usefixtures("bfcl_installed"),
]

FEW = ("memory_kv_130-notetaker-0", "memory_kv_133-notetaker-3")
"""Of the scenario with the fewest words; the soak plays all 155."""


async def chosen(suite: BfclMemorySuite, name: str) -> Case:
    return next(case for case in await suite.cases() if case.id == name)


async def test_gold_over_the_wire_knows_what_was_said_and_anything_less_does_not(
    tmp_path: Path,
) -> None:
    suite = BfclMemorySuite()
    cases = await suite.cases()
    await suite.aclose()
    listened = await ran(Store(tmp_path / "floor"), "bfcl:memory_kv", "empty", only=FEW)
    assert [result.passed for result in listened] == [False, False]
    variants: tuple[tuple[Reference, bool], ...] = (
        ("gold", True),
        ("gold-without-last-call", False),
    )
    for kind, passes in variants:
        with GoldServer(book_of(cases, listened, kind)) as server:
            results = await ran(Store(tmp_path / kind), "bfcl:memory_kv", server.url, only=FEW)
        assert [result.failure for result in results] == [None] * len(FEW)
        assert [result.passed for result in results] == [passes] * len(FEW)
    assert await rescore(Store(tmp_path / "gold"), Store(tmp_path / "again")) == 0
    assert Store(tmp_path / "again").canonical() == Store(tmp_path / "gold").canonical()


def keeps(what: str) -> AgentMaker:
    """Keeps something in the first turn of all, and looks for it in the last conversation."""

    def make(trial: Trial, number: int, turn: Turn) -> Agent[Any, Any]:
        script = [say("Noted.")]
        if number == 0:
            script = [call("core_memory_add", key="a_fact", value=what), *script]
        if number == len(trial.case.gold or ()) - 1:
            script = [
                call("core_memory_retrieve", key="a_fact"),
                call("core_memory_key_search", query="fact"),
                say(f"{turn.instructions}"),
            ]
        return Agent(ScriptedModel(script), toolsets=[turn.tools], observers=())

    return make


async def test_what_is_kept_is_there_in_later_conversations_and_in_no_other_trial() -> None:
    suite = BfclMemorySuite()
    case = await chosen(suite, FEW[0])
    for what in ("the red one", "the blue one"):
        result = await run_trial(suite, Trial(case, 0, 1), keeps(what), "here")
        found = [m.content for m in result.transcript.messages if isinstance(m, ToolMessage)]
        assert found[-2] == f'{{"value": "{what}"}}'
        assert str(found[-1]).startswith('{"ranked_results": [[')
        assert f'"a_fact": "{what}"' in result.transcript.turns[-1].output
        begun = [turn.new_conversation for turn in result.transcript.turns]
        assert begun.count(True) == 6  # five are had before the question
        assert begun[-1]
    await suite.aclose()


async def test_upstreams_own_runner_gives_the_same_verdicts(bfcl_installed: Path) -> None:
    suite = BfclMemorySuite()
    case = await chosen(suite, FEW[1])
    played, ours = [], []
    for kind in range(len(ANSWERS)):
        result = await run_trial(suite, Trial(case, 0, 1), recalled(case, kind), "here")
        assert result.grade is not None, result.failure
        played.append((case.id, result.transcript.messages))
        ours.append((result.grade.passed, result.grade.error))
    await suite.aclose()
    assert upstream_verdicts(bfcl_installed, "memory_kv", played) == ours
    assert {error for _, error in ours} == {
        None,
        "agentic:answer_not_found",
        "agentic:no_last_message",
    }
