"""The four tools of the project assistant: declarations, and what they print.

What they print has the form of `agentkit_tools.project`, of which a test takes samples. Each answer
that a kind of question gives is copied from it, word for word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from training.tiny_gemma4.draw import Draw

Declaration = dict[str, Any]

PROJECT_SYSTEM = (
    "You answer questions about the files of a project. "
    "Look things up with the tools before you answer."
)
_STRING, _INTEGER = {"type": "string"}, {"type": "integer"}
_EXACT: dict[str, tuple[str, dict[str, str]]] = {
    "find_definition": (
        "Find where a function, class or constant is defined.",
        {"name": "Exact name, without parentheses."},
    ),
    "search_text": (
        "Search the project's files for a piece of text.",
        {
            "folder": 'Where to look; "." is everywhere. Default: ".".',
            "text": "The exact text to look for.",
        },
    ),
    "list_files": (
        "List the files of a folder.",
        {"folder": 'Folder inside the project; "." is the top. Default: ".".'},
    ),
    "read_file": (
        "Read a text file of the project.",
        {
            "line": "First line to read; -1 is the last one. Default: 1.",
            "path": "Path of the file inside the project.",
        },
    ),
}
_OTHER: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "find_definition": (
        (
            "Finds the definition of a name.",
            "Where a class, function or constant is defined.",
            "Look up the place where something is defined.",
        ),
        {"name": ("The name to find.", "Name of the function or class.", "Exact name.")},
    ),
    "search_text": (
        ("Search all files for a text.", "Finds lines with a text.", "Text search."),
        {
            "folder": ("Folder to search.", "Where to search.", "Only in this folder."),
            "text": ("Text to find.", "What to search for.", "The text."),
        },
    ),
    "list_files": (
        ("Lists a folder.", "The files and folders inside a folder.", "Show what a folder holds."),
        {"folder": ("The folder.", "Path of the folder.", "Folder to list.")},
    ),
    "read_file": (
        ("Reads a file.", "The text of a file, with line numbers.", "Show a text file."),
        {
            "line": ("Line to begin at.", "First line.", "From which line; -1 is the last."),
            "path": ("The file.", "Path of the file.", "Path of a text file."),
        },
    ),
}
_REQUIRED = {"find_definition": "name", "search_text": "text", "read_file": "path"}
PROJECT_TOOLS = tuple(_EXACT)


def declaration(
    draw: Draw, name: str, *, exact: bool, used: frozenset[str] = frozenset()
) -> Declaration:
    """One of the four, in the demonstration's own words or in others.

    In others it may lack what can be left out, but for the arguments that are used.
    """
    description, parameters = _EXACT[name]
    if not exact:
        descriptions, others = _OTHER[name]
        description = draw.pick(descriptions)
        required = {_REQUIRED.get(name, "folder"), *used}
        kept = required if draw.chance(0.4) else set(others)
        parameters = {key: draw.pick(texts) for key, texts in others.items() if key in kept}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            key: {**(_INTEGER if key == "line" else _STRING), "description": text}
            for key, text in parameters.items()
        },
    }
    if name in _REQUIRED:
        schema["required"] = [_REQUIRED[name]]
    return {"name": name, "description": description, "parameters": schema}


# --- what the tools print -----------------------------------------------------------------------

_FUNCTION: tuple[str, ...] = (
    "def {n}({a}):",
    "def {n}(self, {a}):",
    "def {n}() -> {t}:",
    "async def {n}({a}) -> {t}:",
    "function {n}({a}) {{",
    "export function {n}({a}) {{",
    "export async function {n}() {{",
    "func {n}({a} int) error {{",
    "func {n}() {{",
    "pub fn {n}(&self) -> {t} {{",
    "fn {n}({a}: u32) {{",
    "static int {n}(int {a})",
    "void {n}() {{",
)
_CLASS: tuple[str, ...] = (
    "class {n}:",
    "class {n}({t}):",
    "class {n}(Exception):",
    "class {n}(Protocol):",
    "export class {n} {{",
    "export class {n} extends {t} {{",
    "pub struct {n} {{",
    "struct {n} {{",
    "type {n} struct {{",
    "interface {n} {{",
    "pub enum {n} {{",
    "impl {n} {{",
    "public class {n} {{",
)
_CONSTANT: tuple[str, ...] = (
    "{n} = {d}",
    '{n} = "{a}"',
    "{n}: Final = {d}",
    "const {n} = {d};",
    "export const {n} = {d}",
    "#define {n} {d}",
    "pub const {n}: u32 = {d};",
    "var {n} = {a}",
)


def definition_line(draw: Draw, name: str) -> str:
    """A line of code that defines a name."""
    if name[0].isupper() and not name.isupper():
        frames = _CLASS if draw.chance(0.85) else _FUNCTION
    elif name.isupper():
        frames = _CONSTANT
    else:
        frames = _FUNCTION if draw.chance(0.9) else _CONSTANT
    filled = {
        "n": name,
        "a": draw.piece(),
        "t": draw.piece().capitalize(),
        "d": draw.between(0, 999),
    }
    return draw.pick(frames).format(**filled)


def _line_number(draw: Draw) -> int:
    return draw.between(1, draw.pick([9, 99, 99, 500, 2000]))


def _place(draw: Draw) -> str:
    return f"{draw.path()}:{_line_number(draw)}"


def _lines_with(draw: Draw, text: str) -> str:
    before, after = draw.line().strip(), draw.line().strip()
    kind = draw.rng.random()
    if kind < 0.25:
        return f"{before[: draw.between(0, 50)]}{text}{after[: draw.between(0, 50)]}"[:120]
    if kind < 0.5:
        return f"{draw.pick(['# ', '// ', '- ', '', '* '])}{draw.word()} {text} {draw.word()}"[:120]
    if kind < 0.75:
        return f'{draw.piece()} = "{text}"'[:120]
    return text


def _count(draw: Draw) -> int:
    return draw.weighted({1: 5, 2: 1.5, 3: 1, 4: 0.6, 5: 0.4, 8: 0.4, 10: 0.3, -1: 0.5})


@dataclass(frozen=True, slots=True)
class Matches:
    """What a search prints.

    Attributes:
        text: All of it.
        count: How many results there are.
        first: The place of the first, `PATH:LINE`.
        line: The whole first result.
    """

    text: str
    count: int
    first: str = ""
    line: str = ""

    @property
    def path(self) -> str:
        """The file of the first result."""
        return self.first.rpartition(":")[0]


NOTHING = Matches("0 results", 0)


def matches(
    draw: Draw, line: Callable[[], str], count: int | None = None, folder: str = ""
) -> Matches:
    """Results whose lines a function draws, all beneath a folder."""
    count = count or _count(draw)
    shown = 10 if count < 0 or count > 10 else count
    count = draw.between(11, 300) if count < 0 else count
    start = f"{folder}/" if folder else ""
    places = [f"{start}{_place(draw)}" for _ in range(shown)]
    if shown > 1 and draw.chance(0.4):
        path = places[0].rsplit(":", 1)[0]
        numbers = sorted(draw.rng.sample(range(1, 900), shown))
        places = [f"{path}:{number}" for number in numbers]
    head = "1 result" if count == 1 else f"{count} results"
    if count > shown:
        head += f", first {shown} shown"
    lines = [f"{place}: {line()}" for place in places]
    return Matches("\n".join([head, *lines]), count, places[0], lines[0])


def definitions(draw: Draw, name: str) -> Matches:
    """Where something is defined: mostly in one place."""
    count = None if draw.chance(0.4) else 1
    return matches(draw, lambda: definition_line(draw, name), count)


def occurrences(draw: Draw, text: str, folder: str = "") -> Matches:
    """Where a text occurs."""
    return matches(draw, lambda: _lines_with(draw, text), folder=folder)


# --- folders ------------------------------------------------------------------------------------


def _entry(draw: Draw) -> str:
    if draw.chance(0.2):
        return draw.folder().split("/")[0] + "/"
    return draw.path().rsplit("/", 1)[-1]


def entries(draw: Draw, low: int = 1) -> list[str]:
    """What a folder holds, folders ending in a slash; often most files are of one kind."""
    count = draw.weighted({1: 1.2, 2: 1.5, 3: 2, 4: 2, 6: 2, 9: 1.5, 14: 1, 40: 0.15})
    count = max(low, count + (draw.between(0, 2) if 4 < count < 40 else 0))
    suffix = draw.pick([".py", ".py", ".md", ".rs", ".js", ".go", ".rst"])
    same = 0.7 if draw.chance(0.6) else 0.0
    found: dict[str, None] = {}
    while len(found) < count:
        name = _entry(draw)
        if not name.endswith("/") and draw.chance(same):
            name = name.partition(".")[0] + suffix
        if name.strip("./"):
            found.setdefault(name)
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Listing:
    """What `list_files` prints.

    Attributes:
        text: All of it.
        head: `9 entries (1 folder, 7 .py, 1 other)`.
        names: What is shown of the folder.
    """

    text: str
    head: str
    names: tuple[str, ...]


def suffix_of(name: str) -> str:
    """`.py`; nothing where a name has none."""
    return PurePosixPath(name).suffix


def listing(draw: Draw, names: list[str]) -> Listing:
    """The names under their number and kinds; of a long list there may be more than are shown."""
    hidden = draw.between(1, 80) if len(names) >= 40 else 0
    kinds = Counter("/" if name.endswith("/") else suffix_of(name) for name in names)
    for _ in range(hidden):
        kinds[draw.pick(list(kinds))] += 1
    total = len(names) + hidden
    parts = [f"{kinds['/']} folder{'s' * (kinds['/'] > 1)}"] if kinds["/"] else []
    suffixes = Counter({kind: n for kind, n in kinds.items() if kind not in ("/", "")})
    parts += [f"{number} {suffix}" for suffix, number in suffixes.most_common()]
    parts += [f"{kinds['']} other{'s' * (kinds[''] > 1)}"] if kinds[""] else []
    head = "1 entry" if total == 1 else f"{total} entries"
    if names:
        head += f" ({', '.join(parts)})"
    shown = f", first {len(names)} shown" if hidden else ""
    return Listing("\n".join([head + shown, *names]), head, tuple(names))


def some(names: tuple[str, ...], most: int = 6) -> str:
    """The first names: `a, b, c, ...`."""
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


# --- files --------------------------------------------------------------------------------------


def file_lines(draw: Draw) -> list[str]:
    """The lines of a made-up file; the first one is seldom empty, the last one never."""
    count = draw.weighted({1: 0.7, 2: 0.7, 4: 2, 7: 2, 12: 2, 20: 1.5, 40: 0.7, 60: 0.4, 90: 0.3})
    first = draw.weighted({"code": 4, "title": 3, "doc": 2, "import": 2})
    start = {
        "code": draw.line(),
        "title": f"# {' '.join(w.capitalize() for w in draw.pieces(1, 4))}",
        "doc": f'"""{" ".join(draw.pieces(2, 6)).capitalize()}."""',
        "import": f"{draw.pick(['import', 'package', 'use', 'from'])} {draw.identifier()}",
    }[first].strip()
    lines = [start] + ["" if draw.chance(0.12) else draw.line() for _ in range(count - 1)]
    if draw.chance(0.05):
        lines.insert(0, "")
    return [*lines[:-1], lines[-1] or draw.line()]


def reading(lines: list[str], line: int = 1, total: int | None = None) -> str:
    """What `read_file` prints of a file from a line on; -1 is the last one."""
    total = total or len(lines)
    first = line if line > 0 else total + 1 + line
    shown = lines[-1:] if line < 0 else lines[first - 1 : first + 59]
    head = f"{total} line{'s' * (total != 1)}"
    if len(shown) < total:
        head += f", {first} to {first - 1 + len(shown)} shown"
    return "\n".join([head, *(f"{at:>4}| {text}" for at, text in enumerate(shown, first))])


def wrong_path(draw: Draw, path: str) -> str:
    """A slip in a path."""
    folder, _, name = path.rpartition("/")
    options = [re.sub(r"(.)(\.|$)", r"\1s\2", path, count=1), name if folder else f"src/{name}"]
    options += [f"{folder}s/{name}" if folder else f"{name}x", path[:-1]]
    return draw.pick(
        [option for option in options if option and option != path and option[-1] not in "/."]
    )
