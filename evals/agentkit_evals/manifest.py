"""The manifest of a run: everything that its results depend on, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

from pydantic import TypeAdapter

import agentkit
from agentkit_evals.core import Case, EvalError, Suite, Trial, TrialLimits
from agentkit_evals.sources import library_hash
from agentkit_evals.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class RunManifest:
    """Describes a run, beside its results; a run is resumed only with an equal manifest.

    Attributes:
        suite: The name by which `load_suite` finds the suite.
        about: Versions and hashes of the suite's parts.
        subject: The subject under test.
        cases: The cases, in the suite's order.
        trials: The trials of each case.
        seed: The seed from which all sampling seeds are made.
        limits: Limits of each trial.
        tags: The tags of each case that has some.
        agentkit: The library's version.
        made_of: Hashes of the sources of the library and of the agent.
    """

    suite: str
    about: Mapping[str, str]
    subject: Subject
    cases: tuple[str, ...]
    trials: int = 1
    seed: int = 0
    limits: TrialLimits = field(default_factory=TrialLimits)
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    agentkit: str = agentkit.__version__
    made_of: Mapping[str, str] = field(default_factory=dict)

    def changes(self, new: RunManifest) -> list[str]:
        """The differences of another manifest, in words; empty if it is the same run.

        More trials of each case, and further cases, extend the same run.
        """
        hashes = {**self.about, **self.made_of}, {**new.about, **new.made_of}
        found = [_NAMES.get(key, key) for key in _differing_keys(*hashes)]
        for prefix, mine, theirs in (
            ("", _shown_values(self), _shown_values(new)),
            ("the setting ", asdict(self.subject.settings), asdict(new.subject.settings)),
            ("the limit of ", asdict(self.limits), asdict(new.limits)),
        ):
            found += [
                f"{prefix}{key} ({mine.get(key)} became {theirs.get(key)})"
                for key in _differing_keys(mine, theirs)
            ]
        if self.trials > new.trials:
            found.append(f"the trials ({self.trials} became {new.trials})")
        if missing := set(self.cases).difference(new.cases):
            found.append(f"the cases ({len(missing)} are left out)")
        return found

    def dump(self) -> bytes:
        """The manifest as JSON text (UTF-8)."""
        return _adapter().dump_json(self, indent=2) + b"\n"

    @staticmethod
    def load(text: bytes) -> RunManifest:
        """The manifest that `dump` wrote.

        Raises:
            pydantic.ValidationError: The text is no manifest.
        """
        return _adapter().validate_json(text)


def _shown_values(manifest: RunManifest) -> dict[str, object]:
    """The parts of a manifest that are shown with their values."""
    subject = manifest.subject
    return {
        "the suite": manifest.suite,
        "the model": subject.model,
        "the served model": subject.model_name,
        "the agent": subject.agent,
        "what is switched off": ", ".join(subject.off) or None,
        "seed": manifest.seed,
        "agentkit": manifest.agentkit,
    }


def _differing_keys(mine: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """The keys under which two mappings differ."""
    return [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]


_NAMES: Final = {
    "tasks_sha256": "the texts or limits of the tasks",
    "users_sha256": "who plays the users",
    "checks_sha256": "the checks",
    "worlds_sha256": "the worlds",
    "tools_sha256": "the tools",
    "files_sha256": "the suite's files",
    "data_sha256": "the suite's data",
    "library_sha256": "agentkit's own source",
    "agent_sha256": "the agent's source",
    "agent_made_sha256": "the agent",
}
"""Hash in a manifest → what it is of, in words for a person."""


@cache
def _adapter() -> TypeAdapter[RunManifest]:
    return TypeAdapter(RunManifest)


async def planned(
    suite: Suite,
    target: str,
    subject: Subject,
    *,
    limit: int | None = None,
    only: Sequence[str] = (),
    trials: int = 1,
    seed: int = 0,
    limits: TrialLimits | None = None,
    tags: Sequence[str] = (),
    shuffle: int | None = None,
) -> RunManifest:
    """The manifest of a run.

    Args:
        suite: The suite of the cases.
        target: The name by which `load_suite` found it.
        subject: The subject under test.
        limit: Only so many cases, the first ones.
        only: Only these cases; a pattern such as `*_1?`, where no case has it as its id, names all
            that match.
        trials: The trials of each case.
        seed: The seed of all sampling.
        limits: Limits of each trial.
        tags: Only cases with one of these tags.
        shuffle: A seed that orders the cases at random, so that `limit` draws from all of them. The
            same seed gives the same order, and a higher limit adds cases to a lower one's.

    Raises:
        EvalError: There is no such case or tag, or none is left; the agent cannot be found.
    """
    cases = _chosen(await suite.cases(), suite.name, only, tags)
    if shuffle is not None:
        cases.sort(key=lambda case: _seed(shuffle, case.id, 0))
    cases = cases[:limit]
    if not cases or trials < 1:
        raise EvalError(f"nothing to do: {len(cases)} cases of {suite.name}, {trials} trials each")
    return RunManifest(
        suite=target,
        about=await suite.about(),
        subject=subject,
        cases=tuple(case.id for case in cases),
        trials=trials,
        seed=seed,
        limits=limits or TrialLimits(),
        tags={case.id: case.tags for case in cases if case.tags},
        made_of={"library_sha256": library_hash()} | subject.sources(),
    )


def _chosen(
    cases: Sequence[Case], suite: str, only: Sequence[str], tags: Sequence[str]
) -> list[Case]:
    """The cases that a user asks for, in the suite's order."""
    ids = {case.id for case in cases}
    # The id of a case names that case alone, also where it reads as a pattern (`list[0]`).
    named = {
        name: [name] if name in ids else [id_ for id_ in ids if fnmatchcase(id_, name)]
        for name in only
    }
    if unknown := [name for name, found in named.items() if not found]:
        raise EvalError(f"{suite} has no case {', '.join(unknown)}")
    known = {tag for case in cases for tag in case.tags}
    if strange := sorted(set(tags) - known):
        there = f"there are {', '.join(sorted(known))}" if known else "its cases have none"
        raise EvalError(f"{suite} has no tag {', '.join(strange)}; {there}")
    wanted = {id_ for found in named.values() for id_ in found} if only else ids
    return [
        case
        for case in cases
        if case.id in wanted and (not tags or not set(tags).isdisjoint(case.tags))
    ]


def trials_of(manifest: RunManifest, cases: Sequence[Case]) -> list[Trial]:
    """All trials, in order: every case once, then every case again.

    A run that is stopped early has then tried as many cases as it could.
    """
    by_id = {case.id: case for case in cases}
    return [
        Trial(by_id[name], number, _seed(manifest.seed, name, number))
        for number in range(manifest.trials)
        for name in manifest.cases
    ]


def _seed(seed: int, case: str, number: int) -> int:
    """A seed of 31 bits that depends on the trial alone, and not on when or where it is played."""
    digest = hashlib.sha256(f"{seed}\0{case}\0{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
