"""What a docstring says of a function and its parameters: Google, NumPy or Sphinx style.

It is read line by line, all three styles in one pass, because people mix and break them. No line is
lost: each goes to a parameter or stays in the description, but for the sections about results and
errors, which a model learns from the results themselves.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Documentation:
    """A docstring, taken apart.

    Attributes:
        description: Everything that is not about a parameter, a result or an error.
        parameters: Descriptions by parameter name.
    """

    description: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def documentation_of(definition: Any, function: Any, names: Collection[str] = ()) -> Documentation:
    """Reads a callable's docstring.

    Args:
        definition: The `def` behind it.
        function: The callable; a callable object is documented by its class.
        names: Names of its parameters, which tell an entry from a sentence in a broken section.
    """
    text = inspect.getdoc(definition) or ""
    if definition is not function and not inspect.isroutine(function):
        kind = function if isinstance(function, type) else type(function)
        if kind.__module__ != "functools":
            text = _own_doc(kind) or text
    return _Reader(text, frozenset(names)).read()


def _own_doc(kind: type[Any]) -> str:
    text = kind.__doc__ or ""
    made_up = text.startswith(f"{kind.__name__}(")  # what @dataclass writes by itself
    return "" if made_up else inspect.cleandoc(text)


_ABOUT_PARAMETERS: Final = (
    r"Args|Arguments|Params|Parameters|Other Parameters|Keyword Args|Keyword Arguments"
)
_ABOUT_RESULTS: Final = r"Returns?|Yields?|Raises?|Receives|Warns|Attributes"
_PARAMETERS: Final = re.compile(rf"(?:{_ABOUT_PARAMETERS})", re.IGNORECASE)
_TITLE: Final = re.compile(
    rf"\W*({_ABOUT_PARAMETERS}|{_ABOUT_RESULTS})(?:\W*:\W*|(?<=\*)\*+|)$", re.IGNORECASE
)
"""`Args:`, also as `**Args:**` or `## Args`."""
_UNDERLINE: Final = re.compile(r"\s*(-{3,}|={3,})\s*$")
_FIELD: Final = re.compile(
    r"\s*[:@](param|parameter|arg|argument|key|keyword|type|returns?|rtype|raises?|yields?)\b"
    r"([^:]*):(?!\w)(.*)$"
)
"""`:param int n: words`, `@param n: words`."""
_NAME: Final = r"[`*\\\"']*(\w+)[`\"']?\*{0,2}"
_TYPE: Final = r"(?:\((?:[^()]|\([^()]*\))*\)|\{[^{}]*\}|\[[^\[\]]*\]|<[^<>]*>)"
"""In whichever brackets."""
_ENTRY: Final = re.compile(
    rf"\s*(?:(?:[-*•+]|\d+[.)])\s+)?({_NAME}(?:\s*,\s*{_NAME})*)"
    rf"\s*{_TYPE}?\s*(?::|\s--?\s|\s[–—]\s)\s*(.*)$"  # noqa: RUF001 - dashes as people write them
)
"""`n (int): words`, with or without a bullet, quotes or stars."""
_NUMPY_ENTRY: Final = re.compile(rf"({_NAME}(?:\s*,\s*{_NAME})*)\s*(:.*)?$")


class _Reader:
    """Reads one docstring."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._lines = text.splitlines()
        self._names = names
        self._kept: list[str] = []
        self._words: dict[str, list[str]] = {}
        self._behind: dict[str, str] = {}
        """What stands behind `a:` of NumPy style: its type, or all the words that there are."""
        self._current: list[str] | None = None
        """Where words of the entry that is being read go."""
        self._section = ""
        """`google`, `numpy`, or the same with a `-` before it where it is about results."""
        self._indent = 0
        """Indentation of the section's title, or of a field."""
        self._base: int | None = None
        """Indentation of the entries of a section; None before the first."""

    def read(self) -> Documentation:
        """The docstring, taken apart."""
        skip = False
        for at, line in enumerate(self._lines):
            after = self._lines[at + 1] if at + 1 < len(self._lines) else ""
            if skip:
                skip = False
            elif line.strip() and _UNDERLINE.match(after) and not _UNDERLINE.match(line):
                skip = True
                self._begin_numpy(line)
            elif not self._is_title(line):
                self._take(line)
        description = re.sub(r"\n{3,}", "\n\n", "\n".join(self._kept)).strip()
        parameters = {
            name: " ".join((" ".join(words).strip() or self._behind.get(name, "")).split())
            for name, words in self._words.items()
        }
        return Documentation(description, parameters)

    def _begin_numpy(self, line: str) -> None:
        known = _TITLE.match(line)
        self._begin("numpy", line, known[1] if known else "")
        if known is None:
            self._kept += [f"{line.strip()}:"]

    def _is_title(self, line: str) -> bool:
        found = _TITLE.match(line)
        if found is None or not (line.rstrip().endswith((":", "*")) or line.lstrip()[:1] == "#"):
            return False
        if (
            self._section == "google"
            and found[1] in self._names
            and _indent_of(line) > self._indent
        ):
            return False  # `*args:` and its words below
        self._begin("google", line, found[1])
        return True

    def _begin(self, style: str, line: str, title: str) -> None:
        about = "" if _PARAMETERS.fullmatch(title) else "-"
        self._section = f"{about}{style}" if title else ""
        self._indent, self._base, self._current = _indent_of(line), None, None

    def _take(self, line: str) -> None:
        """A line that is no title."""
        if (found := _FIELD.match(line)) and (found[2].strip() or not _is_parameter(found[1])):
            self._field(line, *found.groups())
        elif not line.strip():
            if self._current is None and not self._section:
                self._kept.append("")
        elif self._section == "field":
            self._continue_field(line)
        elif self._section in ("google", "numpy"):
            self._entry(line)
        elif self._section == "-numpy" or (
            self._section == "-google" and _indent_of(line) > self._indent
        ):
            return
        else:
            self._section = ""
            self._keep(line)

    def _keep(self, line: str) -> None:
        if self._current is not None or (self._kept and self._section):
            self._kept.append("")
        self._current = None
        self._kept.append(line.rstrip())

    def _field(self, line: str, kind: str, between: str, words: str) -> None:
        self._section, self._indent = "field", _indent_of(line)
        self._current = None
        if _is_parameter(kind):
            name = between.split()[-1].strip("`*\\")
            self._current = self._words.setdefault(name, [])
            self._current.append(words)

    def _continue_field(self, line: str) -> None:
        if _indent_of(line) <= self._indent:
            self._section = ""
            self._kept.append("")
            self._keep(line)
        elif self._current is not None:
            self._current.append(line)

    def _entry(self, line: str) -> None:
        """A line of a section about parameters."""
        indent = _indent_of(line)
        if self._base is not None and indent > self._base and self._current is not None:
            self._current.append(line)
            return
        names, words = self._named(line)
        if names and all(self._is_name(name, indent) for name in names):
            self._base = indent if self._base is None else min(indent, self._base)
            self._current = []
            for name in names:
                self._words[name] = self._current
            self._current.append(words)
        elif indent > self._indent and self._current is not None:
            self._current.append(line)
        else:
            self._keep(line)
            self._section = "" if indent <= self._indent else self._section

    def _named(self, line: str) -> tuple[list[str], str]:
        """The parameters that a line names, and what it says of them."""
        google = self._section == "google"
        found = _ENTRY.match(line) if google else _NUMPY_ENTRY.match(line.strip())
        names = re.findall(r"\w+", found[1]) if found else []
        if found and google:
            lone = len(names) == 1 or self._names.issuperset(names)
            return names if lone else [], found[found.re.groups]
        if found and " :" not in line:
            self._behind.update(dict.fromkeys(names, (found[found.re.groups] or "")[1:]))
        typed = " : " in line or not self._names
        return (names, "") if typed or self._names.issuperset(names) else ([], "")

    def _is_name(self, name: str, indent: int) -> bool:
        """Whether an entry may be called so: a parameter, or whatever stands in its place."""
        return name in self._names or indent > self._indent or self._section == "numpy"


def _is_parameter(kind: str) -> bool:
    """Whether a field is about a parameter."""
    return kind.startswith(("param", "arg", "key"))


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())
