"""Patterns that strangers wrote, matched in time linear in the text, or not at all.

Python's `re` tries every way to match, so `^(a+)+$` against thirty letters takes a minute, and no
timeout can stop it. RE2 (github.com/google/re2) follows all ways at once and has no pattern that
explodes; what it cannot do (look-around, back-references) is not checked, and the tool's server,
which wrote the pattern, has the last word anyway.

RE2 comes with the extras `mcp` and `tools`, where patterns come from outside. It is no dependency
of the core: patterns of a program's own types are matched by pydantic, in Rust, in linear time too.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

try:
    import re2
except ImportError:
    re2 = None

_MEMORY = 1 << 20
"""Bytes that RE2 may take for one pattern, its program and what it learns while it matches."""

_LONGEST = 10_000  # characters of a pattern


class LinearPattern:
    """A pattern that can be looked for.

    Args:
        compiled: By RE2.

    Attributes:
        size: Size of its program: each character of a text costs at most so many steps.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self.size: int = max(compiled.programsize, 1)

    def is_in(self, text: str) -> bool:
        """Whether a text has it anywhere, as JSON Schema's `pattern` means it."""
        return self._compiled.search(text) is not None


@lru_cache(maxsize=64)
def linear_pattern(pattern: str) -> LinearPattern | None:
    """A pattern in the dialect of JSON Schema (ECMA-262); None where it cannot be matched here."""
    if re2 is None or len(pattern) > _LONGEST:
        return None
    options = re2.Options()
    options.max_mem = _MEMORY
    options.never_capture = True
    options.log_errors = False
    try:
        return LinearPattern(re2.compile(_as_re2(pattern), options))
    except (re2.error, UnicodeEncodeError):
        return None


def _as_re2(pattern: str) -> str:
    r"""ECMA-262 writes `\u0041` for what is `\x{0041}` in RE2."""
    return re.sub(
        r"(\\\\)|\\u(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{4}))",
        lambda found: found[1] or rf"\x{{{found[2] or found[3]}}}",
        pattern,
    )
