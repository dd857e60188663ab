"""A run that is read from its store once, for the page and the exports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agentkit_evals.core import TrialResult
from agentkit_evals.manifest import RunManifest
from agentkit_evals.report import Report, floor_of, report_of, score_of
from agentkit_evals.stats import Interval
from agentkit_evals.store import Store


@dataclass(frozen=True, slots=True)
class Seen:
    """One run.

    Attributes:
        store: The store of the run.
        manifest: The manifest of the run.
        report: The numbers of the run.
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
        manifest, results = store.manifest(), dict(sorted(store.results().items()))
        found = report_of(manifest, list(results.values()), floor_of(store))
        return Seen(store, manifest, found, results)

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.store.folder.name

    def __iter__(self) -> Iterator[TrialResult]:
        """All results, by case and number."""
        return iter(self.results.values())

    def by_tag(self) -> dict[str, Interval]:
        """pass^1 over the cases of each tag."""
        graded: defaultdict[str, list[TrialResult]] = defaultdict(list)
        for result in self:
            if result.status == "graded":
                for tag in set(self.manifest.tags.get(result.case, ())):
                    graded[tag].append(result)
        scores = {tag: score_of(results) for tag, results in sorted(graded.items())}
        return {tag: score for tag, score in scores.items() if score is not None}
