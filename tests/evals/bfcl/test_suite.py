from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from agentkit_evals.bfcl import CATEGORIES, BfclSuite, bfcl_suite
from agentkit_evals.core import Case, EvalError, Trial, TrialResult
from agentkit_evals.replay import GoldServer, book_of
from agentkit_evals.store import Store
from agentkit_evals.subject import Reference, Subject
from agentkit_evals.trial import run_trial

from agentkit.messages import UserMessage
from agentkit.testing import Reply, call, calls, say
from tests.evals.helpers import ran, scripted

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    # As the runners do: trio starts the calls of one reply in any order, and order matters here.
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.usefixtures("bfcl_installed"),
]

FEW = ("multi_turn_base_0", "multi_turn_base_110")
"""Files and trading; the soak plays all 200."""

CASE = "multi_turn_base_0"


async def test_gold_calls_over_the_wire_pass_and_anything_less_fails(tmp_path: Path) -> None:
    """A server plays the reference: our wire, parser, schemas and loop are in between."""
    suite = BfclSuite()
    cases = await suite.cases()
    await suite.aclose()
    listened = await ran(Store(tmp_path / "floor"), "bfcl", "empty", only=FEW)
    variants: tuple[tuple[Reference, bool, bool], ...] = (
        ("gold", False, True),
        ("gold", True, True),
        ("gold-without-last-call", False, False),
        ("empty", False, False),
    )
    for kind, together, passes in variants:
        with GoldServer(book_of(cases, listened, kind), together) as server:
            store = Store(tmp_path / f"{kind}-{together}")
            results = await ran(store, "bfcl", server.url, only=FEW)
        assert [result.status for result in results] == ["graded"] * len(FEW)
        assert [result.passed for result in results] == [passes] * len(FEW)
        assert not any(record.invalid for result in results for record in result.transcript.calls)
        assert passes or all("multi_turn:" in str(r.grade and r.grade.error) for r in results)


async def test_gold_of_more_calls_than_a_turn_has_steps_is_one_reply() -> None:
    suite = bfcl_suite("multi_turn_long_context")
    (case,) = [each for each in await suite.cases() if each.id == "multi_turn_long_context_38"]
    async with Subject(model="gold").opened() as make:
        result = await run_trial(suite, Trial(case, 0, 1), make, "here")
    await suite.aclose()
    assert len(result.transcript.calls) == 35
    assert result.passed


async def played(suite: BfclSuite, *script: Reply, case: str = CASE) -> TrialResult:
    return await run_trial(suite, Trial(Case(case), 0, 1), scripted(*script), "here")


GOLD = (
    call("cd", folder="document"),
    call("mkdir", dir_name="temp"),
    call("mv", source="final_report.pdf", destination="temp"),
    say("Moved."),
    call("cd", folder="temp"),
    call("grep", file_name="final_report.pdf", pattern="budget analysis"),
    say("Found."),
    call("sort", file_name="final_report.pdf"),
    say("Sorted."),
    calls(
        ("cd", {"folder": ".."}),
        ("mv", {"source": "previous_report.pdf", "destination": "temp"}),
        ("cd", {"folder": "temp"}),
        ("diff", {"file_name1": "final_report.pdf", "file_name2": "previous_report.pdf"}),
    ),
    say("Compared."),
)


async def test_trials_in_one_process_do_not_know_of_each_other() -> None:
    # Upstream keeps its worlds in a module's globals; a bad trial before a good one failed both.
    suite = BfclSuite()
    bad = [call("rm", file_name="document"), call("mkdir", dir_name="document")]
    spoilt = [*bad, *[say("Done.")] * 4]
    verdicts = [(await played(suite, *script)).passed for script in (spoilt, GOLD) * 3]
    await suite.aclose()
    assert verdicts == [False, True] * 3


HOSTILE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("__import__('os').system", {"command": "id"}),
    ("exit", {}),
    ("cd", {"folder": "')+__import__('os').getcwd()+('"}),
    ("cd", {"folder=1)+exit(": 1}),
    ("cd", {"class": "x"}),
    ("echo", {"content": "x" * 1_000_000, "file_name": "../../etc/passwd"}),
    ("_load_scenario", {"scenario": {}}),
)


async def test_hostile_text_stays_text_and_the_child_lives() -> None:
    suite = BfclSuite()
    script = [calls((name, arguments)) for name, arguments in HOSTILE]
    result = await played(suite, *script, *[say("Done.")] * 4)
    assert result.status == "graded"
    assert not result.passed
    kinds = [record.kind for record in result.transcript.calls]
    assert kinds == ["unknown_tool", "unknown_tool", "ok", "ok", "ok", "ok", "unknown_tool"]
    assert (await played(suite, *GOLD)).passed
    await suite.aclose()


async def test_wrong_types_reach_the_world_which_answers_and_are_counted() -> None:
    suite = BfclSuite()
    script = [call("tail", file_name=7, lines="many"), *[say("Done.")] * 4]
    result = await played(suite, *script)
    await suite.aclose()
    (record,) = result.transcript.calls
    assert record.kind == "ok"
    assert record.invalid
    assert "error" in str(result.transcript.messages[2].content).lower()


async def test_a_turn_without_end_ends_the_conversation() -> None:
    suite = BfclSuite()
    script = [call("cd", folder=f"nowhere {n}") for n in range(30)]
    result = await played(suite, *script)
    await suite.aclose()
    assert result.grade is not None
    assert result.grade.error == "multi_turn:force_terminated"
    assert [turn.steps for turn in result.transcript.turns] == [21]


async def test_what_is_held_back_is_offered_when_upstream_offers_it() -> None:
    suite = BfclSuite("miss_func")
    gold = {case.id: case.gold for case in await suite.cases()}
    (idle,) = [n for n, turn in enumerate(gold["multi_turn_miss_func_0"] or ()) if not turn]
    script = [say("I can not.")] * len(gold["multi_turn_miss_func_0"] or ())
    result = await played(suite, *script, case="multi_turn_miss_func_0")
    await suite.aclose()
    said = [m.content for m in result.transcript.messages if isinstance(m, UserMessage)]
    assert str(said[idle + 1]).startswith("I have updated some more functions")
    assert result.grade is not None
    assert (result.grade.idle_turns, result.grade.overcalled) == (1, 0)


async def test_the_other_categories_are_a_matter_of_a_name(tmp_path: Path) -> None:
    for category in CATEGORIES[1:]:
        gold = await ran(Store(tmp_path / category), f"bfcl:{category}", limit=2)
        assert [result.passed for result in gold] == [True] * 2


GIVEN_BEFORE = "multi_turn_miss_func_49"
"""Upstream's gold has a call in it to a function that is offered only two turns later."""


async def test_what_is_called_before_it_is_offered_is_graded_as_upstream_does(
    tmp_path: Path,
) -> None:
    target = "bfcl:multi_turn_miss_func"
    suite = BfclSuite("miss_func")
    cases = [case for case in await suite.cases() if case.id == GIVEN_BEFORE]
    await suite.aclose()
    listened = await ran(Store(tmp_path / "floor"), target, "empty", only=[GIVEN_BEFORE])
    with GoldServer(book_of(cases, listened)) as server:
        (result,) = await ran(Store(tmp_path / "gold"), target, server.url, only=[GIVEN_BEFORE])
    assert result.passed
    assert [call.name for call in result.transcript.calls if call.kind == "unknown_tool"] == [
        "tail"
    ]


async def test_gold_that_upstream_wrote_wrongly_is_none_and_names_of_a_model_are_never_python() -> (
    None
):
    suite = BfclSuite("composite")
    assert len([case.id for case in await suite.cases() if case.gold is None]) == 16
    hostile = [call("__import__", name="os"), call("exit"), call("print", end="")]
    script = [*hostile, call("view_messages_received"), *[say("Done.")] * 6]
    result = await played(suite, *script, case="multi_turn_composite_101")
    await suite.aclose()
    assert result.grade is not None
    assert not result.passed
    details = result.grade.details
    assert isinstance(details, dict)
    assert details["executed"] == [
        [*["no_such_function()"] * 3, "view_messages_received()"],  # that one is in the gold
        *[[]] * 5,
    ]


async def test_every_run_says_what_its_cases_are_made_of() -> None:
    suite = BfclSuite()
    about, cases = await suite.about(), await suite.cases()
    await suite.aclose()
    assert len(cases) == 200
    assert about["bfcl-eval"] == "2026.3.23"
    assert len(about["data_sha256"]) == 64


async def test_a_category_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(EvalError, match="multi_turn_miss_param"):
        BfclSuite("simple_python")
