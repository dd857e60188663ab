"""Runs of a suite as one HTML file that needs no network.

```
Store… ─► Seen ─► scores with intervals ─► comparisons ─► cases, filtered ─► a trial's own page
```
Each trial's page is the one that `agentkit runs view` makes of its run file. It is kept compressed
in the file and opened in a frame of its own that can run nothing but that page's script.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from agentkit.trace import TraceError, parts_of, read_file
from agentkit.trace.page import document, page_of, page_script, page_style
from agentkit.trace.page.html import Html, el, join
from agentkit.wording import pluralize
from agentkit_evals.compare import Comparison, comparisons
from agentkit_evals.core import EvalError, TrialResult
from agentkit_evals.page.cases import Trials, case_section
from agentkit_evals.page.charts import change_chart, score_chart
from agentkit_evals.report import Report, rows_of
from agentkit_evals.seen import Seen
from agentkit_evals.store import Store

__all__ = ["MOST_PAGES", "Viewed", "view_of"]

MOST_PAGES = 400
"""The trials that can be opened in one file: with more it would have tens of megabytes."""


@dataclass(frozen=True, slots=True)
class Viewed:
    """The page of some runs.

    Attributes:
        html: The text of the file.
        trials: The number of trials that were played.
        pages: The number of trials that can be opened.
    """

    html: str
    trials: int
    pages: int


def view_of(first: Store, *others: Store, most_pages: int = MOST_PAGES) -> Viewed:
    """The page of one run or several.

    Args:
        first: The run with which the others are compared.
        others: Runs of the same suite.
        most_pages: The most trials that can be opened; flips and failures come first.

    Raises:
        EvalError: There is no such run, they are of different suites or data, or scipy is missing.
    """
    runs = [Seen.of(store) for store in (first, *others)]
    if len({run.manifest.suite for run in runs}) > 1:
        names = ", ".join(f"{run.name} of {run.manifest.suite}" for run in runs)
        raise EvalError(f"these are runs of different suites: {names}")
    compared = list(comparisons(first, others).values())
    trials = Trials(runs)
    pages = _pages(trials, runs, most_pages)
    body = [*_body(runs, compared, trials, pages), *(_data(name, page) for name, page in pages)]
    title = f"{' · '.join(run.name for run in runs)} · {runs[0].manifest.suite}"
    html = document(
        title,
        body,
        styles=[page_style(), _resource("report.css")],
        scripts=[_resource("report.js")],
        allowed=[page_style(), page_script()],
    )
    return Viewed(html, sum(len(run.results) for run in runs), len(pages))


def _body(
    runs: Sequence[Seen],
    compared: Sequence[Comparison],
    trials: Trials,
    pages: Sequence[tuple[str, bytes]],
) -> Iterator[Html]:
    suite = runs[0].manifest.suite
    played = sum(len(run.results) for run in runs)
    yield el(
        "header",
        el("h1", suite),
        el("p", f"{pluralize(len(runs), 'run')} · {pluralize(played, 'trial')}", cls="soft"),
    )
    yield el("h2", "Scores", id="scores")
    yield score_chart(runs)
    if compared:
        yield el("h2", f"Against {runs[0].name}", id="changes")
        yield change_chart(compared)
        for one in compared:
            yield _flips(one, trials)
    yield el("h2", "Numbers", id="numbers")
    yield el("div", *(_numbers(run.name, run.report) for run in runs), cls="sheets")
    yield el("h2", "Cases", id="cases-title")
    openable = {name for name, _ in pages}
    yield case_section(runs, trials, openable)
    if len(pages) < played:
        words = f"{len(pages):,} of {pluralize(played, 'trial')} can be opened here"
        yield el("p", words, cls="soft")
    yield _dialog()


def _numbers(name: str, found: Report) -> Html:
    rows = [el("tr", el("th", what, scope="row"), el("td", text)) for what, text in rows_of(found)]
    title = el("summary", el("b", name), " ", el("span", found.model, cls="soft"))
    return el("details", title, el("table", el("tbody", *rows), cls="numbers"), open=True)


def _flips(one: Comparison, trials: Trials) -> Html:
    """Links to the cases that the second run passed more often, and less often."""
    lists = [
        el("p", f"{word} {len(cases)}: ", *_links(cases, trials), cls=f"flips {cls}")
        for word, cases, cls in (("gained", one.gained, "good"), ("lost", one.lost, "bad"))
        if cases
    ]
    return join(lists)


def _links(cases: Sequence[str], trials: Trials) -> Iterator[Html]:
    for case in cases:
        yield join([el("a", case, href=f"#{trials.anchor(case)}"), " "])


def _dialog() -> Html:
    bar = el("header", el("b", "", id="which"), el("button", "Close", type="button"))
    frame = el("iframe", sandbox="allow-scripts", title="The trial's run")
    return el("dialog", bar, frame, id="trial")


# --- trials' pages -----------------------------------------------------------------------------


def _pages(trials: Trials, runs: Sequence[Seen], most: int) -> list[tuple[str, bytes]]:
    """The name and the compressed page of trials, those most worth a look first."""
    found: list[tuple[str, bytes]] = []
    played = [(number, result) for number, run in enumerate(runs) for result in run]
    for number, result in sorted(played, key=lambda each: (trials.rank(each[1]), each[0])):
        if len(found) == most:
            break
        page = _page(runs[number].store, result)
        if page is not None:
            found.append((trials.name(number, result), gzip.compress(page.encode(), 6, mtime=0)))
    return found


def _page(store: Store, result: TrialResult) -> str | None:
    try:
        recording = read_file(store.record(*result.key))
    except TraceError:
        return None
    parts = parts_of(recording.events)
    return page_of(parts, recording.damage) if parts else None


def _data(name: str, page: bytes) -> Html:
    content = Html(base64.b64encode(page).decode())
    return el("script", content, type="application/gzip", id=f"data-{name}")


def _resource(name: str) -> str:
    return (files(__name__) / name).read_text("utf-8")
