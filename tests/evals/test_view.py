from __future__ import annotations

import base64
import gzip
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TypeAlias

import pytest
from agentkit_evals.core import Grade
from agentkit_evals.manifest import RunManifest
from agentkit_evals.page import view_of
from agentkit_evals.report import report
from agentkit_evals.store import Store, Writer
from agentkit_evals.subject import Subject

from agentkit.trace import parts_of, read_file
from agentkit.trace.page import page_of
from tests.evals.helpers import plan, ran
from tests.evals.test_store import line, lost

pytestmark = pytest.mark.anyio

HOSTILE = '</script><img src=x onerror="alert(1)">\u202e'


class Read(HTMLParser):
    """What a browser would make of a page: tags, attributes, texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.ends: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def handle_endtag(self, tag: str) -> None:
        self.ends.append(tag)

    def all(self, tag: str, cls: str = "") -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and cls in (a.get("class") or "")]


Tags: TypeAlias = dict[str, tuple[str, ...]]


def packed(page: str) -> dict[str, str]:
    """The pages of trials that a page holds, by the name of the trial."""
    found = re.findall(r'<script type="application/gzip" id="data-([^"]*)">([^<]*)</script>', page)
    return {name: gzip.decompress(base64.b64decode(data)).decode() for name, data in found}


def run_of(folder: Path, marks: dict[str, str], tags: Tags | None = None) -> Store:
    """Trials of cases: `x` passed, `-` did not, `?` has no verdict."""
    store = Store(folder)
    trials = max(map(len, marks.values()))
    manifest = RunManifest(
        suite="s", about={}, subject=Subject(model="gold"), cases=tuple(marks), trials=trials
    )
    store.begin(replace(manifest, tags=tags or {}))
    writer = Writer(store)
    for case, tries in marks.items():
        for number, mark in enumerate(tries):
            result = line(case, number, passed=mark == "x")
            writer.append(lost(case, number) if mark == "?" else result)
    writer.close()
    return store


async def test_each_trial_opens_as_the_page_of_its_run(store: Store) -> None:
    await ran(store, only=("change_vat", "two_wishes"))
    found = view_of(store)
    pages = packed(found.html)
    assert (found.trials, found.pages) == (2, 2)
    recording = read_file(store.record("two_wishes", 0))
    parts = parts_of(recording.events)
    assert len(parts) == 2  # a run for each of the user's turns
    assert parts[0].started.run_id == "two_wishes-0"
    assert pages["t0-1-0"] == page_of(parts)
    buttons = Read(found.html).all("button", "mark")
    assert [(b["data-page"], "disabled" in b) for b in buttons] == [
        ("t0-0-0", False),
        ("t0-1-0", False),
    ]


async def test_the_numbers_are_those_of_the_report(store: Store) -> None:
    await ran(store, model="gold-without-last-call")
    await ran(store.floor(), model="empty")
    text = Read(view_of(store).html).text
    score = report(store).score
    assert score is not None
    assert f"{100 * score.value:.1f} % [{100 * score.low:.1f} to {100 * score.high:.1f}]" in text
    assert "1 of 9 cases pass when nothing is done" in text
    assert "files:wrong_content" in text


def test_flips_between_runs_are_marked_linked_and_come_first(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", {"one": "xx", "two": "xx", "three": "x-", "four": "??"})
    second = run_of(tmp_path / "b", {"one": "xx", "two": "--", "three": "x-", "four": "xx"})
    page = Read(view_of(first, second).html)
    rows = {row["id"]: row for row in page.all("tr") if row.get("id")}
    outcomes = {name: (row["data-outcome"] or "").split("\n") for name, row in rows.items()}
    assert outcomes == {
        "c0": ["passed"],
        "c1": ["failed", "flipped", "passed"],
        "c2": ["failed", "mixed", "passed"],
        "c3": ["lost", "passed"],
    }
    assert "lost 1: two" in page.text
    assert {"href": "#c1"} in page.all("a")
    marks = [b["aria-label"] for b in page.all("button", "mark")]
    assert "a, four, trial 1: lost: server:ModelTimeoutError: late" in marks


def test_tags_have_scores_and_filters_of_their_own(tmp_path: Path) -> None:
    store = run_of(
        tmp_path / "a", {"one": "x", "two": "-"}, tags={"one": ("quick", "easy"), "two": ("quick",)}
    )
    page = Read(view_of(store).html)
    assert [o["value"] for o in page.all("option") if o.get("value")] == [
        "failed",
        "passed",
        "easy",
        "quick",
        "failed",
    ]
    assert [row["data-tag"] for row in page.all("tr") if row.get("id")] == ["quick\neasy", "quick"]
    assert "easy a a: 100.0 % [2.5 to 100.0]" in page.text


def test_whatever_cases_and_errors_are_called_is_text(tmp_path: Path) -> None:
    store = run_of(tmp_path / "a", {HOSTILE: "x"}, tags={HOSTILE: (HOSTILE,)})
    writer = Writer(store)
    writer.append(replace(line(HOSTILE, 1), grade=Grade(passed=False, error=HOSTILE)))
    writer.close()
    page = Read(view_of(store).html)
    assert not page.all("img")
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    assert "\u202e" not in page.text


def test_no_more_pages_than_asked_for_are_in_the_file(tmp_path: Path) -> None:
    store = run_of(tmp_path / "a", {"one": "xx"})
    found = view_of(store, most_pages=0)
    assert (found.trials, found.pages) == (2, 0)
    page = Read(found.html)
    assert all("disabled" in b for b in page.all("button", "mark"))
    assert "0 of 2 trials can be opened here" in page.text


def test_each_element_of_a_page_is_closed_but_those_that_have_no_end(tmp_path: Path) -> None:
    page = Read(view_of(run_of(tmp_path / "a", {"one": "x-"})).html)
    begun = Counter(tag for tag, _ in page.tags if tag not in ("meta", "input"))
    assert Counter(page.ends) == begun


async def test_a_page_needs_no_network_and_runs_only_its_own_script(store: Store) -> None:
    await ran(store, limit=1)
    html = view_of(store).html
    (policy,) = (a["content"] or "" for a in Read(html).all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not re.search(r"""(src|href)=["'](?!#)""", html)


async def test_a_trial_that_is_played_again_has_the_record_of_the_last_time(store: Store) -> None:
    manifest = await plan(limit=1)
    store.begin(manifest)
    file = store.record(manifest.cases[0], 0)
    file.parent.mkdir()
    file.write_text("left behind\n")
    await ran(store, limit=1)
    assert len(parts_of(read_file(file).events)) == 1
