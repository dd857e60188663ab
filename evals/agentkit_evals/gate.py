"""A gate for CI: whether a run passes a bar, fails it, or has too few cases to decide.

A gate that fails by chance is soon switched off by its users, and one that passes by chance is
worth nothing. So it passes if the bar is met with 95 % confidence, and fails if it is missed with
as much. Otherwise it is undecided, and says how many cases would decide it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

from agentkit.wording import pluralize, printable
from agentkit_evals.compare import Comparison, compare
from agentkit_evals.core import EvalError
from agentkit_evals.report import Report, report
from agentkit_evals.store import Store

Outcome: TypeAlias = Literal["passed", "failed", "undecided"]

CODES: Final[dict[Outcome, int]] = {"passed": 0, "failed": 1, "undecided": 3}
"""Exit codes; 2 is that of wrong usage."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One condition for a run.

    Attributes:
        name: The condition.
        outcome: Whether the run meets it.
        words: Why, with the numbers.
    """

    name: str
    outcome: Outcome
    words: str


@dataclass(frozen=True, slots=True)
class Gate:
    """All bars of a run."""

    run: str
    bars: tuple[Bar, ...]

    @property
    def outcome(self) -> Outcome:
        """Failed if a bar is missed, passed if all are met."""
        outcomes = {bar.outcome for bar in self.bars}
        if "failed" in outcomes:
            return "failed"
        return "undecided" if "undecided" in outcomes else "passed"


def judged(
    store: Store,
    *,
    against: Store | None = None,
    margin: float = 0.05,
    at_least: float | None = None,
    most_lost: float = 0.05,
) -> Gate:
    """Checks a run against bars.

    Args:
        store: The run.
        against: A run that it must not fall behind by more than the margin.
        margin: From 0 to 1, as scores are.
        at_least: The least pass^1.
        most_lost: Share of trials that may be without a verdict.

    Raises:
        EvalError: No bar is given, there is no such run, or the two cannot be compared.
    """
    if against is None and at_least is None:
        raise EvalError("a gate needs a bar: --against BASE, --at-least X, or both")
    found = report(store)
    bars = list(_whole(store, found, most_lost))
    if against is not None:
        bars += _whole(against, report(against), most_lost)
    if at_least is not None:
        bars.append(_at_least(found, at_least))
    if against is not None:
        bars.append(_against(store, against, margin))
    return Gate(store.folder.name, tuple(bars))


def _whole(store: Store, found: Report, most_lost: float) -> Iterator[Bar]:
    """Bars for missing verdicts: what is missing may be what the run would have failed."""
    if found.missing:
        words = f"{pluralize(found.missing, 'trial')} of {store.folder.name} not played yet"
        yield Bar("finished", "undecided", words)
    if found.infrastructure_share > most_lost:
        run, share = store.folder.name, 100 * found.infrastructure_share
        words = (
            f"{share:.1f} % of the trials of {run} have no verdict, at most {100 * most_lost:g} % "
            f"may; agentkit eval retry {run}"
        )
        yield Bar("verdicts", "undecided", words)


def _at_least(found: Report, bar: float) -> Bar:
    name = f"pass^1 at least {100 * bar:g} %"
    if found.score is None:
        return Bar(name, "undecided", "no trial has a verdict")
    score = found.score
    words = score.percent()
    if score.low >= bar:
        return Bar(name, "passed", words)
    if score.high < bar:
        return Bar(name, "failed", words)
    more = "; more cases or trials make the interval narrower"
    return Bar(name, "undecided", f"{words}: the bar is within what chance does{more}")


def _against(store: Store, base: Store, margin: float) -> Bar:
    name = f"not behind {base.folder.name} by more than {100 * margin:g} points"
    (found,) = compare(base, store)
    gap = found.difference
    words = f"{gap.points()} over {pluralize(found.cases, 'case')}, p = {found.p:.3g}"
    if gap.low >= -margin:
        return Bar(name, "passed", words)
    if found.winner == "first" and gap.high < -margin:
        return Bar(name, "failed", words + _worse_in(found))
    if found.winner == "first":
        short = ": it is worse, but so few cases cannot tell whether by more than the margin"
        return Bar(name, "undecided", words + short + _worse_in(found))
    return Bar(
        name,
        "undecided",
        f"{words}: neither that it is worse nor that it is not can be told from so few cases; "
        f"{_cases_for(found, max(margin, _FINEST)):,} cases would mostly do",
    )


def _worse_in(found: Comparison) -> str:
    """The first cases that the base passed more often."""
    rest = len(found.lost) - _NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return f"; worse in {', '.join(found.lost[:_NAMED])}{more}"


_NAMED: Final = 10
"""Most cases that are named."""

_FINEST: Final = 0.005
"""No number of cases can show that a margin of 0 is kept, so this margin is assumed instead."""


def _cases_for(found: Comparison, margin: float) -> int:
    """The cases with which an equally good run is shown to be within the margin in four of five
    tries, if further cases differ as much as these.
    """
    half = (found.difference.high - found.difference.low) / 2
    # 1.96 standard errors make the interval, and 0.84 more are four chances of five.
    return math.ceil(found.cases * (2.8 / 1.96 * half / margin) ** 2)


# --- output ------------------------------------------------------------------------------------


def gate_json(found: Gate) -> str:
    """The gate as JSON text, with its outcome."""
    body = {**asdict(found), "outcome": found.outcome}
    return json.dumps(body, indent=2, ensure_ascii=False)


def gate_words(found: Gate) -> str:
    """A line for each bar, and one for the outcome."""
    lines = [f"{bar.outcome:9}  {bar.name}: {bar.words}" for bar in found.bars]
    return printable("\n".join([*lines, f"{found.run}: {_SHOWN[found.outcome]}"]))


_SHOWN: Final[dict[Outcome, str]] = {
    "passed": "passed",
    "failed": "failed",
    "undecided": "cannot be told",
}
