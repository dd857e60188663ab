"""The four tools of the project assistant: declarations, what they print, what is answered."""

from __future__ import annotations

import re
from typing import Any

from training.tiny_gemma4.draw import Draw, joined

Declaration = dict[str, Any]

PROJECT_SYSTEM = (
    "You answer questions about the files of a project. "
    "Look things up with the tools before you answer."
)
_EXACT: dict[str, tuple[str, str, str]] = {
    "find_definition": (
        "Find where a function, class or constant is defined.",
        "name",
        "Exact name, without parentheses.",
    ),
    "search_text": (
        "Search the project's files for a piece of text.",
        "text",
        "The exact text to look for.",
    ),
    "list_files": (
        "List the files of a folder.",
        "folder",
        'Folder inside the project; "." is the top.',
    ),
    "read_file": (
        "Read a text file of the project.",
        "path",
        "Path of the file inside the project.",
    ),
}
_OTHER: dict[str, tuple[list[str], list[str]]] = {
    "find_definition": (
        [
            "Finds the definition of a name.",
            "Where a class, function or constant is defined.",
            "Look up the place where something is defined.",
        ],
        ["The name to find.", "Name of the function, class or constant.", "Exact name."],
    ),
    "search_text": (
        ["Search all files for a text.", "Finds lines with a text.", "Text search in the project."],
        ["Text to find.", "What to search for.", "The text."],
    ),
    "list_files": (
        ["Lists a folder.", "The files and folders inside a folder.", "Show what a folder holds."],
        ["The folder.", "Path of the folder.", "Folder to list."],
    ),
    "read_file": (
        ["Reads a file.", "The text of a file, with line numbers.", "Show a text file."],
        ["The file.", "Path of the file.", "Path of a text file."],
    ),
}
PROJECT_TOOLS = tuple(_EXACT)


def declaration(draw: Draw, name: str, *, exact: bool) -> Declaration:
    """One of the four, in the demonstration's own words or in others."""
    description, parameter, about = _EXACT[name]
    if not exact:
        description, about = draw.pick(_OTHER[name][0]), draw.pick(_OTHER[name][1])
    if name == "list_files" and draw.chance(0.7):
        about += ' Default: ".".'
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {parameter: {"type": "string", "description": about}},
    }
    if name != "list_files" or (not exact and draw.chance(0.3)):
        parameters["required"] = [parameter]
    return {"name": name, "description": description, "parameters": parameters}


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
    return draw.weighted({0: 1.2, 1: 5, 2: 1.5, 3: 1, 4: 0.6, 5: 0.4, 8: 0.4, 10: 0.3, -1: 0.5})


def _matches(draw: Draw, line: Any) -> tuple[str, int, str]:
    """The printed matches, how many, and the first place."""
    count = _count(draw)
    if count == 0:
        return "0 results", 0, ""
    shown = 10 if count < 0 else count
    count = draw.between(11, 300) if count < 0 else count
    places = [_place(draw) for _ in range(shown)]
    if shown > 1 and draw.chance(0.4):
        path = places[0].rsplit(":", 1)[0]
        numbers = sorted(draw.rng.sample(range(1, 900), shown))
        places = [f"{path}:{number}" for number in numbers]
    head = "1 result" if count == 1 else f"{count} results"
    if count > shown:
        head += f", first {shown} shown"
    return "\n".join([head, *(f"{place}: {line()}" for place in places)]), count, places[0]


def _said(place: str) -> str:
    path, number = place.rsplit(":", 1)
    return f"{path}, line {number}"


def find_definition(draw: Draw, name: str) -> tuple[str, str]:
    """The tool's text and the answer."""
    printed, count, place = _matches(draw, lambda: definition_line(draw, name))
    if count == 0:
        return printed, f"`{name}` is not defined in this project."
    if count == 1:
        return printed, f"`{name}` is defined in {_said(place)}."
    return printed, f"`{name}` is defined in {count} places; the first is {_said(place)}."


def defined_once(draw: Draw, name: str, path: str) -> tuple[str, str]:
    """One definition, in a given file."""
    place = f"{path}:{_line_number(draw)}"
    printed = f"1 result\n{place}: {definition_line(draw, name)}"
    return printed, f"`{name}` is defined in {_said(place)}."


def search_text(draw: Draw, text: str) -> tuple[str, str]:
    """The tool's text and the answer."""
    printed, count, place = _matches(draw, lambda: _lines_with(draw, text))
    if count == 0:
        return printed, f'"{text}" does not occur in this project.'
    if count == 1:
        return printed, f'"{text}" occurs once, in {_said(place)}.'
    return printed, f'"{text}" occurs {count} times; the first is in {_said(place)}.'


def _entry(draw: Draw) -> str:
    if draw.chance(0.25):
        return draw.folder().split("/")[0] + "/"
    return draw.path().rsplit("/", 1)[-1]


def entries(draw: Draw, low: int = 1) -> list[str]:
    """What a folder holds, folders ending in a slash."""
    count = draw.weighted({0: 0.6, 1: 1.2, 2: 1.5, 3: 2, 4: 2, 6: 2, 9: 1.5, 14: 1, 40: 0.25})
    count = max(low, count + (draw.between(0, 2) if 4 < count < 40 else 0))
    found: dict[str, None] = {}
    for _ in range(count * 2):
        found.setdefault(_entry(draw))
    return sorted(list(found)[:count])


def list_files(draw: Draw, folder: str, listed: list[str] | None = None) -> tuple[str, str]:
    """The tool's text and the answer."""
    found = entries(draw, 0) if listed is None else listed
    subject = "The project" if folder == "." else f"The folder {folder}"
    if not found:
        return "0 entries", f"{subject} is empty."
    count = draw.between(41, 400) if len(found) == 40 and draw.chance(0.8) else len(found)
    head = "1 entry" if count == 1 else f"{count} entries"
    if count > len(found):
        head += f", first {len(found)} shown"
    names = joined(found) if len(found) <= 3 else ", ".join([*found[:3], "..."])
    entry = "entry" if count == 1 else "entries"
    return "\n".join([head, *found]), f"{subject} holds {count} {entry}: {names}"


def file_lines(draw: Draw) -> list[str]:
    """The lines of a made-up file: the first one is never empty."""
    count = draw.weighted({1: 1, 2: 1, 4: 2, 7: 2, 12: 2, 20: 1, 40: 0.3, 60: 0.2})
    first = draw.weighted({"code": 4, "title": 3, "doc": 2, "import": 2})
    start = {
        "code": draw.line(),
        "title": f"# {' '.join(w.capitalize() for w in draw.pieces(1, 4))}",
        "doc": f'"""{" ".join(draw.pieces(2, 6)).capitalize()}."""',
        "import": f"{draw.pick(['import', 'package', 'use', 'from'])} {draw.identifier()}",
    }[first]
    return [start.strip()] + ["" if draw.chance(0.12) else draw.line() for _ in range(count - 1)]


def read_file(draw: Draw, lines: list[str]) -> tuple[str, int]:
    """The tool's text and how many lines the file really has."""
    shown = [f"{at:>4}| {line}" for at, line in enumerate(lines, 1)]
    if len(lines) == 60:
        total = draw.between(61, 2500)
        return "\n".join([*shown, f"(60 of {total} lines shown)"]), total
    return "\n".join(shown), len(lines)


def wrong_path(draw: Draw, path: str) -> str:
    """A slip in a path."""
    folder, _, name = path.rpartition("/")
    options = [re.sub(r"(.)(\.|$)", r"\1s\2", path, count=1), name if folder else f"src/{name}"]
    options += [f"{folder}s/{name}" if folder else f"{name}x", path[:-1]]
    return draw.pick(
        [option for option in options if option and option != path and option[-1] not in "/."]
    )
