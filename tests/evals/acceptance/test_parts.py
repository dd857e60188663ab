"""Parts of an acceptance out of what was seen: the floor, what has no verdict, what is late."""

from __future__ import annotations

from dataclasses import replace

import pytest
from agentkit_evals.acceptance.conversations import Conversation, conversations_part
from agentkit_evals.acceptance.parts import bfcl_part, doctor_part, grammar_part
from agentkit_evals.acceptance.record import Outcome
from agentkit_evals.report import Rate, Report
from agentkit_evals.stats import score

from agentkit.events import PromptTokens
from agentkit.messages import Usage
from agentkit.serving.doctor import Diagnosis, Finding


def prompt(tokens: int, cached: int, *, foreseen: int = 0, exact: bool = True) -> PromptTokens:
    return PromptTokens(1, foreseen or tokens, exact, tokens, cached)


def conversation(*prompts: PromptTokens, failure: str = "") -> Conversation:
    return Conversation(1, [prompts[:1], prompts[1:2], prompts[2:]], failure)


GOOD = conversation(prompt(100, 0), prompt(200, 96), prompt(300, 192))

JUDGED = [
    (GOOD, "passed", "3 of 3 prompts counted to the token, 96% of what was sent before"),
    (conversation(*[prompt(9, 0)] * 3), "warned", "nothing is said to have come from the prefix"),
    (conversation(prompt(100, 0), prompt(200, 16)), "warned", "was read again"),
    (conversation(prompt(100, 0, foreseen=99)), "failed", "counts prompts otherwise"),
    (conversation(prompt(0, 0, foreseen=99)), "failed", "does not say how many tokens"),
    (conversation(prompt(9, 8, exact=False)), "warned", "prompts are estimated"),
    (replace(GOOD, failure="ModelTimeoutError: late"), "failed", "ModelTimeoutError: late"),
    (Conversation(1), "warned", "0 of 1 conversations were done in time"),
]


@pytest.mark.parametrize(("played", "outcome", "told"), JUDGED)
def test_conversations_are_judged_by_counts_and_cache(
    played: Conversation, outcome: Outcome, told: str
) -> None:
    found = conversations_part([played], 1, 2.0)
    assert (found.outcome, told in found.says) == (outcome, True), found.says


def reported(passed: int, *, floor: int = 0, missing: int = 0, away: int = 0) -> Report:
    """The report of ten cases."""
    graded = 10 - missing - away
    shares = [1.0] * passed + [0.0] * (graded - passed)
    lost = {"server:ModelTimeoutError": away} if away else {}
    return Report(
        suite="bfcl:multi_turn_base",
        model="gemma-4",
        cases=10,
        trials=1,
        graded=graded,
        missing=missing,
        infrastructure=lost,
        infrastructure_words={kind: f"{kind}: no reply" for kind in lost},
        passed=passed,
        score=score(shares, graded) if graded else None,
        score_at_worst=passed / 10,
        pass_hat=(),
        pass_at=(),
        floor=Rate(floor, 10),
        errors={},
        calls=30,
        invalid_calls=Rate(1, 30),
        invalid_share=None,
        overcalls=Rate(0, 3),
        repairs=0,
        retries=0,
        steps=4.0,
        usage=Usage(1000, 100),
    )


SCORED = [
    (reported(7, floor=1), "passed", "70% of 10 cases passed; an agent that does nothing pass"),
    (reported(1, floor=1), "warned", "that is no better than doing nothing"),
    (reported(3, missing=4), "warned", "4 not played in time"),
    (reported(3, away=2), "failed", "2 cases without a verdict: server:ModelTimeoutError: no"),
    (reported(0, away=10), "failed", "none of 0 cases passed"),
]


@pytest.mark.parametrize(("found", "outcome", "told"), SCORED)
def test_a_score_is_judged_by_the_floor_and_by_what_has_no_verdict(
    found: Report, outcome: Outcome, told: str
) -> None:
    part = bfcl_part(found, [], 2.0, demonstration=False)
    assert (part.outcome, told in part.says) == (outcome, True), part.says
    assert ("--minutes" in part.remedy) is bool(found.missing)


def test_the_score_of_the_demonstration_model_is_nothing_against_its_server() -> None:
    part = bfcl_part(reported(0), [], 2.0, demonstration=True)
    assert (part.outcome, part.figures["score"], part.figures["floor"]) == ("passed", 0.0, 0.0)


def test_what_the_grammar_costs_is_what_the_doctor_measured() -> None:
    figures = {"ms a token with the grammar": 12.5, "ms a token without": 12.0}
    measured = Finding("pass", "12.5 ms a token", "", "grammar cost", figures)
    unmeasured = Finding("pass", "not asked", "", "grammar cost")
    found = [
        grammar_part(Diagnosis("http://x", findings=findings))
        for findings in ((measured,), (unmeasured,), ())
    ]
    assert [part.outcome for part in found] == ["passed", "not run", "not run"]
    assert found[0].figures == figures


def test_an_examination_that_is_cut_short_has_failed() -> None:
    diagnosis = Diagnosis("http://x", findings=(Finding("pass", "it answers", "", "reachable"),))
    assert doctor_part(diagnosis, "", 1.0).outcome == "passed"
    late = doctor_part(diagnosis, "not done after 9 seconds", 9.0)
    assert (late.outcome, late.says) == ("failed", "not done after 9 seconds; 1 of 1 probe pass")
    assert "--minutes" in late.remedy
