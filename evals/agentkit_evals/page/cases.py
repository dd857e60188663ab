"""The cases of runs as a table: a mark for each trial, and what they can be filtered by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from agentkit.trace.page.html import Html, el, join
from agentkit_evals.core import TrialResult
from agentkit_evals.report import error_of
from agentkit_evals.seen import Seen

_MARKS = {"passed": "●", "failed": "○", "lost": "?"}


class Trials:
    """All trials of some runs, by case, with names for the page.

    Args:
        runs: The first is what the others are held against.
    """

    def __init__(self, runs: Sequence[Seen]) -> None:
        cases = [case for run in runs for case in run.manifest.cases]
        self.cases = list(dict.fromkeys(cases))
        self._number = {case: number for number, case in enumerate(self.cases)}
        self._by_case: dict[str, list[list[TrialResult]]] = {
            case: [[] for _ in runs] for case in self.cases
        }
        for number, run in enumerate(runs):
            for result in run:
                if result.case in self._by_case:
                    self._by_case[result.case][number].append(result)
        self._kinds = {case: self._seen_in(case) for case in self.cases}

    def of(self, case: str) -> list[list[TrialResult]]:
        """A case's trials, by run."""
        return self._by_case[case]

    def anchor(self, case: str) -> str:
        """Where the case is in the page."""
        return f"c{self._number[case]}"

    def name(self, run: int, result: TrialResult) -> str:
        """The name of a trial within the page."""
        return f"t{run}-{self._number[result.case]}-{result.trial}"

    def kinds(self, case: str) -> Set[str]:
        """`passed`, `failed` and `lost` as its trials are, `mixed` where trials of a run differ,
        `flipped` where runs do.
        """
        return self._kinds[case]

    def rank(self, result: TrialResult) -> tuple[int, int, int]:
        """The lower, the more it is worth a look."""
        flipped = "flipped" in self._kinds.get(result.case, ())
        number = self._number.get(result.case, 0)
        return 0 if flipped else 2 if result.passed else 1, number, result.trial

    def _seen_in(self, case: str) -> Set[str]:
        found = {outcome(result) for results in self._by_case[case] for result in results}
        shares = set()
        for results in self._by_case[case]:
            verdicts = [result.passed for result in results if result.status == "graded"]
            if len(set(verdicts)) > 1:
                found.add("mixed")
            if verdicts:
                shares.add(sum(verdicts) / len(verdicts))
        return found | ({"flipped"} if len(shares) > 1 else set())


def outcome(result: TrialResult) -> str:
    """`passed`, `failed`, or `lost` without a verdict."""
    if result.status != "graded":
        return "lost"
    return "passed" if result.passed else "failed"


def case_section(runs: Sequence[Seen], trials: Trials, openable: Set[str]) -> Html:
    """The filters and the table.

    Args:
        runs: A column for each, in this order.
        trials: The trials that are listed.
        openable: Names of trials whose page is in the file.
    """
    tags = {case: tags for run in runs for case, tags in run.manifest.tags.items()}
    heads = [el("th", head, scope="col") for head in ("case", *(run.name for run in runs), "why")]
    rows = [_case(case, runs, trials, tags.get(case, ()), openable) for case in trials.cases]
    table = el("table", el("thead", el("tr", *heads)), el("tbody", *rows), id="cases")
    return join([_filters(runs, trials, tags), el("div", table, cls="wide")])


def _filters(runs: Sequence[Seen], trials: Trials, tags: dict[str, tuple[str, ...]]) -> Html:
    kinds = sorted({kind for case in trials.cases for kind in trials.kinds(case)})
    errors = sorted({error_of(result) for run in runs for result in run if not result.passed})
    known = sorted({tag for found in tags.values() for tag in found})
    chosen = (("outcome", kinds), ("tag", known), ("why", errors))
    text = el("input", type="search", name="text", placeholder="case", aria_label="case")
    selects = [_select(name, values) for name, values in chosen if values]
    count = el("output", f"{len(trials.cases)} cases", cls="soft")
    return el("form", text, *selects, count, id="filters")


def _select(name: str, values: Sequence[str]) -> Html:
    options = [el("option", f"any {name}", value="")]
    options += [el("option", value, value=value) for value in values]
    return el("select", *options, name=name, aria_label=name)


def _case(
    case: str,
    runs: Sequence[Seen],
    trials: Trials,
    tags: tuple[str, ...],
    openable: Set[str],
) -> Html:
    cells = [
        el("td", *(_mark(number, runs[number], result, trials, openable) for result in results))
        for number, results in enumerate(trials.of(case))
    ]
    errors = sorted({error_of(r) for results in trials.of(case) for r in results if not r.passed})
    small = [el("small", tag, cls="tag") for tag in tags]
    return el(
        "tr",
        el("th", case, " ", *small, scope="row"),
        *cells,
        el("td", *_lines(errors), cls="why"),
        id=trials.anchor(case),
        data_outcome="\n".join(sorted(trials.kinds(case))),
        data_tag="\n".join(tags),
        data_why="\n".join(errors),
    )


def _lines(errors: Sequence[str]) -> Iterator[Html]:
    for error in errors:
        yield el("div", error)


def _mark(number: int, run: Seen, result: TrialResult, trials: Trials, openable: Set[str]) -> Html:
    kind, name = outcome(result), trials.name(number, result)
    why = "" if result.passed else f": {result.failure or error_of(result)}"
    title = f"{run.name}, {result.case}, trial {result.trial + 1}: {kind}{why}"
    return el(
        "button",
        _MARKS[kind],
        cls=f"mark {kind}",
        type="button",
        title=title,
        aria_label=title,
        data_page=name,
        disabled=name not in openable,
    )
