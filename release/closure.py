"""Which packages an installation brings, by the metadata of those that are installed here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needs(name: str, extras: Iterable[str]) -> dict[str, set[str]]:
    """A package and all that it needs, however indirectly: for each the names of what it itself
    needs. Names are canonical.

    Args:
        name: Of a package.
        extras: Those that are asked for. What one of them needs and is not installed is left out.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)
    seen: set[tuple[str, frozenset[str]]] = set()
    wanted = [(str(canonicalize_name(name)), frozenset(extras))]
    while wanted:
        package, asked = wanted.pop()
        if (package, asked) in seen:
            continue
        seen.add((package, asked))
        try:
            requires = distribution(package).requires or []
        except PackageNotFoundError:
            continue
        more = [
            (str(canonicalize_name(needed.name)), frozenset(needed.extras))
            for needed in map(Requirement, requires)
            if needed.marker is None
            or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *asked))
        ]
        found[package].update(each for each, _ in more)
        wanted += more
    return {package: names & set(found) for package, names in found.items()}


def brought(name: str, extras: Iterable[str]) -> set[str]:
    """The names of a package and of all that it needs; the arguments are those of `needs`."""
    return set(needs(name, extras))
