"""Which packages an installation brings, by the metadata of those that are installed here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def brought(name: str, extras: Iterable[str]) -> set[str]:
    """The canonical names of a package and of all that it needs, however indirectly.

    Args:
        name: Of a package.
        extras: Those that are asked for. What one of them needs and is not installed is left out.
    """
    seen: set[tuple[str, frozenset[str]]] = set()
    wanted = [(canonicalize_name(name), frozenset(extras))]
    while wanted:
        found = wanted.pop()
        if found in seen:
            continue
        try:
            requires = distribution(found[0]).requires or []
        except PackageNotFoundError:
            continue
        seen.add(found)
        wanted += [
            (canonicalize_name(needed.name), frozenset(needed.extras))
            for needed in map(Requirement, requires)
            if needed.marker is None
            or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *found[1]))
        ]
    return {name for name, _ in seen}
