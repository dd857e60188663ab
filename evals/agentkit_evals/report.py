"""The numbers of a run: computed once, and printed as a table or as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean

from rich.table import Table
from rich.text import Text

from agentkit.messages import JsonObject, Usage
from agentkit.policy import Prices
from agentkit.wording import pluralize, printable
from agentkit_evals.core import TrialResult, by_case
from agentkit_evals.manifest import RunManifest
from agentkit_evals.stats import Interval, pass_at_k, pass_hat_k, ratio, score
from agentkit_evals.store import Store


@dataclass(frozen=True, slots=True)
class Rate:
    """A count and the number of things that were counted."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """The count as a fraction; None if nothing was counted."""
        return self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class OverCases:
    """A mean over the cases that have enough verdicts."""

    value: float
    cases: int


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean, the median and the 95th percentile of some numbers."""

    mean: float
    p50: float
    p95: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread | None:
        """Computes them; None without values."""
        if not values:
            return None
        ranked = sorted(values)
        at = [ranked[math.ceil(share * len(ranked)) - 1] for share in (0.5, 0.95)]
        return Spread(mean(ranked), *at)


@dataclass(frozen=True, slots=True)
class Times:
    """How long graded trials took; these numbers differ between equal runs.

    Attributes:
        first_token: Seconds of each model call until its reply began.
        model: Seconds of all model calls of a trial.
        trial: Seconds of a trial.
    """

    first_token: Spread | None
    model: Spread | None
    trial: Spread | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The numbers of a run. None means that there is nothing to compute it from.

    Attributes:
        suite: The name of the suite.
        model: The subject.
        cases: The number of cases.
        trials: The planned trials of each case.
        graded: Trials with a verdict.
        missing: Trials that were not played yet.
        infrastructure: Trials without a verdict, by what failed; no other number counts them.
        infrastructure_words: The text of one failure of each of these kinds.
        passed: Trials that passed.
        score: pass^1: the mean over cases of the share of passed trials, with its interval.
        score_at_worst: The same mean if every trial without a verdict had failed.
        pass_hat: pass^k for k = 1, 2, …, over the cases with so many verdicts; fewer cases are
            another set of cases, and their number may lie above that of a lower k.
        pass_at: pass@k likewise.
        floor: The result of an agent that does nothing, on the same cases.
        errors: Trials that did not pass, by the suite's or the agent's name for what went wrong.
        calls: Tool calls.
        invalid_calls: Calls that named no tool or did not fit its schema.
        invalid_share: The share of invalid calls with its interval.
        overcalls: Turns with calls among those that wanted none.
        repairs: Calls that agentkit repaired.
        retries: Model calls made again.
        steps: Model calls a trial, on average.
        usage: Tokens of all graded trials.
        times: How long it took.
        cost: The cost of all graded trials at the given prices.
    """

    suite: str
    model: str
    cases: int
    trials: int
    graded: int
    missing: int
    infrastructure: Mapping[str, int]
    infrastructure_words: Mapping[str, str]
    passed: int
    score: Interval | None
    score_at_worst: float | None
    pass_hat: Sequence[OverCases]
    pass_at: Sequence[OverCases]
    floor: Rate | None
    errors: Mapping[str, int]
    calls: int
    invalid_calls: Rate
    invalid_share: Interval | None
    overcalls: Rate
    repairs: int
    retries: int
    steps: float | None
    usage: Usage
    times: Times | None = None
    cost: float | None = None

    @property
    def infrastructure_share(self) -> float:
        """Trials without a verdict among those that were played."""
        lost = sum(self.infrastructure.values())
        return lost / (lost + self.graded) if lost else 0.0


def report(store: Store, prices: Prices | None = None) -> Report:
    """The numbers of a run, finished or not.

    Args:
        store: The run.
        prices: What tokens cost.

    Raises:
        EvalError: There is no run, or scipy is missing.
    """
    return report_of(store.manifest(), list(store.results().values()), floor_of(store), prices)


def report_of(
    manifest: RunManifest,
    results: Sequence[TrialResult],
    floor: Rate | None,
    prices: Prices | None = None,
) -> Report:
    """The numbers of a run from what its store holds.

    Args:
        manifest: The run.
        results: The result of each trial.
        floor: What an agent that does nothing reaches on the same cases.
        prices: What tokens cost.

    Raises:
        EvalError: scipy is missing.
    """
    graded = [result for result in results if result.status == "graded"]
    lost = [result for result in results if result.status != "graded"]
    cases = by_case(graded)
    invalid = _invalid(graded)
    grades = [result.grade for result in graded if result.grade is not None]
    turns = [turn for result in graded for turn in result.transcript.turns]
    planned = len(manifest.cases) * manifest.trials
    passed = sum(result.passed for result in graded)
    usage = sum((result.transcript.usage for result in graded), Usage())
    return Report(
        suite=manifest.suite,
        model=manifest.subject.label,
        cases=len(manifest.cases),
        trials=manifest.trials,
        graded=len(graded),
        missing=planned - len(results),
        infrastructure=_counted(_kind(result.failure) for result in lost),
        infrastructure_words=_words(result.failure for result in lost),
        passed=passed,
        score=score_of(graded),
        score_at_worst=mean(map(_passed, by_case(results).values())) if results else None,
        pass_hat=_over_cases(pass_hat_k, cases.values(), manifest.trials),
        pass_at=_over_cases(pass_at_k, cases.values(), manifest.trials),
        floor=floor,
        errors=_counted(error_of(result) for result in graded if not result.passed),
        calls=invalid.of,
        invalid_calls=invalid,
        invalid_share=(
            ratio([(each.count, each.of) for each in map(_invalid, cases.values())])
            if invalid.of
            else None
        ),
        overcalls=Rate(
            sum(grade.overcalled for grade in grades), sum(grade.idle_turns for grade in grades)
        ),
        repairs=sum(turn.repairs for turn in turns),
        retries=sum(turn.retries for turn in turns),
        steps=mean(result.transcript.steps for result in graded) if graded else None,
        usage=usage,
        times=Times(
            Spread.of([each for result in graded for each in result.timing.first_tokens]),
            Spread.of([result.timing.model for result in graded]),
            Spread.of([result.seconds for result in graded]),
        ),
        cost=None if prices is None else prices.of(usage),
    )


def score_of(graded: Sequence[TrialResult]) -> Interval | None:
    """pass^1 of trials that all have a verdict; None without trials."""
    shares = [_passed(trials) for trials in by_case(graded).values()]
    return score(shares, len(graded)) if shares else None


def _passed(trials: Iterable[TrialResult]) -> float:
    """The share of trials that passed; a trial without a verdict did not."""
    return mean(result.passed for result in trials)


def _invalid(trials: Iterable[TrialResult]) -> Rate:
    calls = [call for result in trials for call in result.transcript.calls]
    return Rate(sum(call.invalid for call in calls), len(calls))


def _over_cases(
    estimate: Callable[[int, int, int], float], cases: Iterable[Sequence[TrialResult]], most: int
) -> list[OverCases]:
    verdicts = [[result.passed for result in trials] for trials in cases]
    found: list[OverCases] = []
    for k in range(1, most + 1):
        enough = [each for each in verdicts if len(each) >= k]
        if enough:
            value = mean(estimate(len(each), sum(each), k) for each in enough)
            found.append(OverCases(value, len(enough)))
    return found


def floor_of(store: Store) -> Rate | None:
    """What an agent that does nothing reaches on the cases of a run; None if it did not play."""
    floor = store.floor()
    if not floor.exists:
        return None
    graded = [result for result in floor.results().values() if result.status == "graded"]
    return Rate(sum(result.passed for result in graded), len(graded))


def _counted(names: Iterable[str]) -> dict[str, int]:
    """How often each name occurs: the most frequent first, equally frequent ones by name."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def error_of(result: TrialResult) -> str:
    """The name for what went wrong in a trial that did not pass."""
    if result.grade is None:
        return _kind(result.failure)
    return result.grade.error or "failed"


def _kind(failure: str | None) -> str:
    """`server:ModelTimeoutError` of `server:ModelTimeoutError: no reply within 60 s`."""
    return (failure or "unknown").partition(": ")[0]


def _words(failures: Iterable[str | None]) -> dict[str, str]:
    """The text of one failure of each kind; the same one for the same results in any order."""
    return {_kind(failure): failure for failure in sorted(filter(None, failures), reverse=True)}


# --- output ------------------------------------------------------------------------------------


def as_json(found: Report) -> str:
    """The report as JSON text; equal for equal results, except for `times`."""
    body: JsonObject = asdict(found)
    return json.dumps(body, indent=2, ensure_ascii=False)


def as_table(found: Report) -> Table:
    """The report for a terminal."""
    title = printable(f"{found.suite}  {found.model}")
    table = Table(box=None, pad_edge=False, show_header=False, title=title)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for name, text in rows_of(found):
        table.add_row(name, Text(printable(text)))  # a check may quote what a model wrote
    return table


def rows_of(found: Report) -> Iterable[tuple[str, str]]:
    """Yields the lines of the report: a name and a sentence."""
    missing = f", {found.missing} not played yet" if found.missing else ""
    cases = pluralize(found.cases, "case")
    yield "trials", f"{cases} x {found.trials}: {found.graded} graded{missing}"
    if found.score is not None:
        score = found.score
        passed = f"{found.passed} of {found.graded}"
        yield "pass^1", f"{_percent(score.value)}  [{_range(score)}]  {passed} trials passed"
    if found.floor is not None:
        floor = f"{found.floor.count} of {found.floor.of} cases"
        yield "floor", f"{_percent(found.floor.share)}  {floor} pass when nothing is done"
    for k in range(2, len(found.pass_hat) + 1):
        hat, at = found.pass_hat[k - 1], found.pass_at[k - 1]
        subset = f"   over {hat.cases} of {found.cases} cases" if hat.cases < found.cases else ""
        yield f"k = {k}", f"pass^{k} {_percent(hat.value)}   pass@{k} {_percent(at.value)}{subset}"
    lost = sum(found.infrastructure.values())
    if lost:
        worst = _percent(found.score_at_worst)
        kinds = ", ".join(f"{count} {name}" for name, count in found.infrastructure.items())
        yield "no verdict", f"{pluralize(lost, 'trial')} ({kinds}); with these as failures {worst}"
        for words in found.infrastructure_words.values():
            yield "", words
    invalid = f"  [{_range(found.invalid_share)}]" if found.invalid_share is not None else ""
    yield "calls", f"{found.calls}, invalid {_rate(found.invalid_calls)}{invalid}"
    yield "over-calling", f"{_rate(found.overcalls)} turns that wanted no call"
    repaired, again = pluralize(found.repairs, "call"), pluralize(found.retries, "model call")
    yield "mended", f"{repaired} repaired, {again} made again"
    if found.steps is not None:
        yield "steps", f"{found.steps:.1f} a trial"
    usage, trials = found.usage, max(found.graded, 1)
    yield (
        "tokens",
        f"{usage.input_tokens:,} in ({usage.cached_input_tokens:,} cached), "
        f"{usage.output_tokens:,} out; a trial {usage.input_tokens / trials:,.0f} in, "
        f"{usage.output_tokens / trials:,.0f} out",
    )
    if found.times is not None:
        yield from _times(found.times)
    if found.cost is not None:
        yield "cost", f"{found.cost:,.4g}; a trial {found.cost / trials:,.3g}"
    for name, count in found.errors.items():
        yield "not passed", f"{count:4} {name}"


def _times(found: Times) -> Iterable[tuple[str, str]]:
    for name, spread in (("first token", found.first_token), ("a trial", found.trial)):
        if spread is not None:
            yield (
                name,
                f"p50 {spread.p50:.3g} s, p95 {spread.p95:.3g} s, mean {spread.mean:.3g} s",
            )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _rate(rate: Rate) -> str:
    return f"{rate.count} of {rate.of} ({_percent(rate.share)})"
