"""The tool that a name certainly means, where a model wrote it in another way.

Models are seen to add spaces, quotes, parentheses and words for "tool" in front (`functions.x`,
`tool:x`, `google:tool:x`), and to write `listFiles` for `list_files`. Any other namespace stays:
`calendar.delete` is not the tool `delete`, and running that would be another deed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_NAMESPACE: Final = re.compile(
    r"(?:google\s*[.:/]\s*)?(?:tools?|functions?|default_api)\s*[.:/]\s*(?=\S)", re.IGNORECASE
)
"""Words that name the set of tools itself. `tool:` and `google:tool:` come from Gemma 4
(NousResearch/hermes-agent#24411), `default_api.` is the module of Gemma's Python-like calls."""

_SEPARATORS: Final = re.compile(r"[-_.:/\s]+")


def resolve_name(name: str, known: Collection[str]) -> str | None:
    """The one known name that was meant; None if no name, or more than one, fits.

    Args:
        name: As the model wrote it.
        known: The names on offer.
    """
    if name in known:
        return name
    bare = name.strip().strip("\"'`").removesuffix("()").strip()
    while True:
        if bare in known:
            return bare
        alike = [each for each in known if _folded(each) == _folded(bare)]
        if alike:
            return alike[0] if len(alike) == 1 else None
        namespace = _NAMESPACE.match(bare)
        if namespace is None:
            return None
        bare = bare[namespace.end() :]


def _folded(name: str) -> str:
    return _SEPARATORS.sub("", name).casefold()
