"""The cases of runs as a table with filters, in which each trial is a mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from agentkit.trace.page.html import Html, el, join
from agentkit.wording import pluralize
from agentkit_evals.core import TrialResult
from agentkit_evals.report import error_of
from agentkit_evals.seen import Seen

_MARKS = {"passed": "●", "failed": "○", "lost": "?"}


class Trials:
    """All trials of some runs by case, and the names that they have in the page.

    Args:
        runs: The runs in the order of the columns.
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
                self._by_case[result.case][number].append(result)
        self._kinds = {case: self._kinds_of(case) for case in self.cases}

    def of(self, case: str) -> list[list[TrialResult]]:
        """The trials of a case, by run."""
        return self._by_case[case]

    def anchor(self, case: str) -> str:
        """The id of the row of a case."""
        return f"c{self._number[case]}"

    def name(self, run: int, result: TrialResult) -> str:
        """The name of a trial in the page."""
        return f"t{run}-{self._number[result.case]}-{result.trial}"

    def kinds(self, case: str) -> Set[str]:
        """The outcomes of a case's trials; `mixed` if trials of one run differ, and `flipped` if
        the runs passed it differently often.
        """
        return self._kinds[case]

    def rank(self, result: TrialResult) -> tuple[bool, bool, int, int]:
        """A sort key by which the trials that are most worth a look come first: those of flipped
        cases, then failures.
        """
        same = "flipped" not in self._kinds[result.case]
        return same, same and result.passed, self._number[result.case], result.trial

    def _kinds_of(self, case: str) -> Set[str]:
        found = {outcome(result) for results in self._by_case[case] for result in results}
        shares: set[float] = set()
        for results in self._by_case[case]:
            verdicts = [result.passed for result in results if result.status == "graded"]
            if len(set(verdicts)) > 1:
                found.add("mixed")
            if verdicts:
                shares.add(sum(verdicts) / len(verdicts))
        if len(shares) > 1:
            found.add("flipped")
        return found


def outcome(result: TrialResult) -> str:
    """`passed`, `failed`, or `lost` if there is no verdict."""
    if result.status != "graded":
        return "lost"
    return "passed" if result.passed else "failed"


def case_section(runs: Sequence[Seen], trials: Trials, openable: Set[str]) -> Html:
    """The filters and the table.

    Args:
        runs: The runs in the order of the columns.
        trials: The trials of these runs.
        openable: The names of the trials whose page is in the file.
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
    count = el("output", pluralize(len(trials.cases), "case"), cls="soft")
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
