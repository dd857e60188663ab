from __future__ import annotations

from pathlib import Path

import pytest
from agentkit_evals.replay import GoldServer, book_of
from agentkit_evals.store import Store
from agentkit_evals.suites import load_suite

from tests.evals.helpers import ran

pytestmark = pytest.mark.anyio

FLOORS = {"schema": 0, "faults": 0, "context": 0, "tiny": 2}


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", FLOORS)
async def test_gold_solves_each_task_and_nothing_less_does(name: str, tmp_path: Path) -> None:
    cases = len(await load_suite(name).cases())
    for model, passed in (
        ("gold", cases),
        ("empty", FLOORS[name]),
        ("gold-without-last-call", FLOORS[name]),
    ):
        results = await ran(Store(tmp_path / model), name, model)
        wrong = [(r.case, r.grade, r.failure) for r in results if r.passed != (model == "gold")]
        assert sum(result.passed for result in results) == passed, wrong
        assert {result.status for result in results} == {"graded"}


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_kind_of_parameter_comes_over_the_wire_as_it_was_meant(tmp_path: Path) -> None:
    cases = await load_suite("schema").cases()
    idle = await ran(Store(tmp_path / "idle"), "schema", "empty")
    with GoldServer(book_of(cases, idle)) as server:
        results = await ran(Store(tmp_path / "run"), "schema", server.url)
    assert [(r.case, r.grade, r.failure) for r in results if not r.passed] == []
    invalid = {r.case for r in results for call in r.transcript.calls if call.invalid}
    assert invalid == set()


async def test_a_long_book_outgrows_what_is_sent(tmp_path: Path) -> None:
    """The longest conversations hold more than a hundred thousand tokens of pages."""
    suite = load_suite("context")
    (result,) = await ran(Store(tmp_path / "run"), "context", "gold", only=("all_pages_long",))
    assert sum(len(str(m.content)) for m in result.transcript.messages) > 500_000
    assert {tag for case in await suite.cases() for tag in case.tags} == {
        "said",
        "page",
        "all",
        "short",
        "middle",
        "long",
    }
