"""The parts of an acceptance out of what was seen: the doctor's findings, scenarios, BFCL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from agentkit.serving.doctor import Diagnosis, Finding
from agentkit.wording import pluralize
from agentkit_evals.acceptance.bench import Played, Verdict
from agentkit_evals.acceptance.record import MORE_TIME, Cell, Outcome, Part, Row, worst
from agentkit_evals.core import TrialResult
from agentkit_evals.report import Report

TITLES: Final = {
    "doctor": "the doctor's examination",
    "scenarios": "scenarios of an agent",
    "bfcl": "BFCL, several turns",
    "grammar": "what the grammar costs",
    "conversations": "exact counts and the prefix cache",
}
"""What each part is about, in the order in which they are played."""

_COST: Final = "grammar cost"
"""The doctor's probe that measures it."""


def not_run(name: str, says: str, remedy: str = "") -> Part:
    """A part that was left out."""
    return Part(name=name, title=TITLES[name], outcome="not run", says=says, remedy=remedy)


def doctor_part(diagnosis: Diagnosis, late: str, seconds: float) -> Part:
    """What the doctor says of the server.

    Args:
        diagnosis: As far as it came.
        late: Why it is not whole; empty if it is.
        seconds: How long it took.
    """
    outcomes: dict[str, Outcome] = {"pass": "passed", "warn": "warned", "fail": "failed"}
    found = diagnosis.findings
    counts = {verdict: sum(each.verdict == verdict for each in found) for verdict in outcomes}
    bad = [each.probe for each in found if each.verdict == "fail"]
    doubtful = [each.probe for each in found if each.verdict == "warn"]
    says = f"{counts['pass']} of {pluralize(len(found), 'probe')} pass"
    if bad:
        says += f"; fails: {', '.join(bad)}"
    if doubtful:
        says += f"; warns: {', '.join(doubtful)}"
    return Part(
        name="doctor",
        title=TITLES["doctor"],
        outcome="failed" if late else outcomes[diagnosis.verdict],
        says=f"{late}; {says}" if late else says,
        remedy=MORE_TIME if late else "",
        seconds=seconds,
        figures=dict(counts),
        tables={"Probes": [_probe(each) for each in found]},
    )


def _probe(found: Finding) -> Row:
    remedy = found.remedy if found.verdict != "pass" else ""
    return {"probe": found.probe, "verdict": found.verdict, "says": found.says, "remedy": remedy}


def grammar_part(diagnosis: Diagnosis) -> Part:
    """What each token costs more where calls are held to a grammar, as the doctor measured it."""
    found = next((each for each in diagnosis.findings if each.probe == _COST), None)
    if found is None:
        return not_run("grammar", "the examination did not come to it")
    if not found.figures:
        return not_run("grammar", found.says)
    return Part(
        name="grammar",
        title=TITLES["grammar"],
        outcome="passed" if found.verdict == "pass" else "warned",
        says=found.says,
        remedy=found.remedy,
        figures=dict(found.figures),
    )


def scenarios_part(played: Sequence[Played], wanted: int, seconds: float) -> Part:
    """What the scenarios came to.

    Args:
        played: Those that were begun.
        wanted: How many there are.
        seconds: How long they took.
    """
    verdicts: tuple[Verdict, ...] = ("right", "absent", "wrong")
    counts: dict[str, Cell] = {v: sum(each.verdict == v for each in played) for v in verdicts}
    wrong = [each.name for each in played if each.verdict == "wrong"]
    says = f"{counts['right']} of {wanted} right"
    if counts["absent"]:
        says += f", {counts['absent']} absent"
    if wrong:
        says += f", {len(wrong)} wrong: {', '.join(wrong)}"
    if len(played) < wanted:
        says += f"; {wanted - len(played)} not played in time"
    late = len(played) < wanted
    return Part(
        name="scenarios",
        title=TITLES["scenarios"],
        outcome="failed" if wrong else "warned" if late else "passed",
        says=says,
        remedy=MORE_TIME if late else "",
        seconds=seconds,
        figures=counts,
        tables={
            "Scenarios": [
                {
                    "scenario": each.name,
                    "verdict": each.verdict,
                    "asks": each.asks,
                    "says": each.says or None,
                    "seconds": each.seconds,
                }
                for each in played
            ]
        },
    )


_MOST_LOST: Final = 0.05
"""Share of cases that may be without a verdict; as `agentkit eval run --most-lost`."""


def bfcl_part(
    found: Report, results: Sequence[TrialResult], seconds: float, *, demonstration: bool
) -> Part:
    """What the cases of BFCL came to.

    Args:
        found: The run's report.
        results: Results of its trials.
        seconds: How long it took.
        demonstration: Whether its score means nothing, however low.
    """
    floor = found.floor.share if found.floor else None
    value = found.score.value if found.score else None
    outcomes = list(_judged(found, value, None if demonstration else floor))
    scored = f"{_percent(value)} of {pluralize(found.graded, 'case')} passed"
    says = f"{scored}; an agent that does nothing passes {_percent(floor)}"
    return Part(
        name="bfcl",
        title=TITLES["bfcl"],
        outcome=worst(each for each, _ in outcomes),
        says="; ".join([says, *(said for _, said in outcomes)]),
        remedy=MORE_TIME if found.missing else "",
        seconds=seconds,
        figures=_figures(found, value, floor),
        tables={"Cases": [_case(each) for each in results]},
    )


def _judged(
    found: Report, value: float | None, floor: float | None
) -> Iterator[tuple[Outcome, str]]:
    lost = sum(found.infrastructure.values())
    if found.infrastructure_share > _MOST_LOST:
        words = next(iter(found.infrastructure_words.values()), "")
        yield "failed", f"{pluralize(lost, 'case')} without a verdict: {words}"
    if found.missing:
        yield "warned", f"{found.missing} not played in time"
    if value is not None and floor is not None and value <= floor:
        yield "warned", "that is no better than doing nothing"


def _figures(found: Report, value: float | None, floor: float | None) -> dict[str, Cell]:
    interval, first = found.score, found.times.first_token if found.times else None
    return {
        "cases": found.cases,
        "graded": found.graded,
        "passed": found.passed,
        "score": None if value is None else round(value, 3),
        "at least": None if interval is None else round(interval.low, 3),
        "at most": None if interval is None else round(interval.high, 3),
        "floor": None if floor is None else round(floor, 3),
        "calls": found.calls,
        "invalid calls": found.invalid_calls.count,
        "repaired calls": found.repairs,
        "model calls again": found.retries,
        "model calls a case": None if found.steps is None else round(found.steps, 1),
        "tokens in": found.usage.input_tokens,
        "tokens in, cached": found.usage.cached_input_tokens,
        "tokens out": found.usage.output_tokens,
        "seconds to the first token, middle": None if first is None else round(first.p50, 2),
        "seconds to the first token, 19 of 20": None if first is None else round(first.p95, 2),
    }


def _case(result: TrialResult) -> Row:
    verdict = "passed" if result.passed else "not passed"
    error = result.grade.error if result.grade else result.failure
    return {
        "case": result.case,
        "verdict": verdict if result.status == "graded" else "no verdict",
        "error": error or None,
        "model calls": result.transcript.steps,
        "seconds": round(result.seconds, 1),
    }


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.0%}"
