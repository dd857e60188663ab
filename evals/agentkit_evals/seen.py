"""A run with all that is read of it once, for whatever shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agentkit_evals.core import TrialResult
from agentkit_evals.manifest import RunManifest
from agentkit_evals.report import Report, report, score_of
from agentkit_evals.stats import Interval
from agentkit_evals.store import Store


@dataclass(frozen=True, slots=True)
class Seen:
    """One run.

    Attributes:
        store: Where it is.
        manifest: What it is.
        report: What it came to.
        results: The result of each trial, sorted by case and number.
    """

    store: Store
    manifest: RunManifest
    report: Report
    results: Mapping[tuple[str, int], TrialResult]

    @staticmethod
    def of(store: Store) -> Seen:
        """Reads a run.

        Raises:
            EvalError: There is none, or scipy is missing.
        """
        return Seen(store, store.manifest(), report(store), dict(sorted(store.results().items())))

    @property
    def name(self) -> str:
        """The run's."""
        return self.store.folder.name

    def __iter__(self) -> Iterator[TrialResult]:
        """All results, by case and number."""
        return iter(self.results.values())

    def by_tag(self) -> dict[str, Interval]:
        """pass^1 over the cases of each tag."""
        found: dict[str, Interval] = {}
        for tag in sorted({tag for tags in self.manifest.tags.values() for tag in tags}):
            cases = {case for case, tags in self.manifest.tags.items() if tag in tags}
            graded = [each for each in self if each.case in cases and each.status == "graded"]
            if (score := score_of(graded)) is not None:
                found[tag] = score
        return found
