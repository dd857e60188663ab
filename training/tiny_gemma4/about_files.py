"""Questions for `list_files` and `read_file`, and paths that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from training.tiny_gemma4 import project
from training.tiny_gemma4.about_code import begins, in_folder
from training.tiny_gemma4.dialogue import Exchange, Step, Topic, step
from training.tiny_gemma4.draw import Draw, words
from training.tiny_gemma4.kinds import kind
from training.tiny_gemma4.project import Listing

LANGUAGES = {
    "python": ".py", "Python": ".py", "py": ".py", ".py": ".py", "javascript": ".js", "js": ".js",
    "typescript": ".ts", ".ts": ".ts", "go": ".go", "rust": ".rs", "c": ".c", "java": ".java",
    "ruby": ".rb", "markdown": ".md", "Markdown": ".md", ".md": ".md", "text": ".txt",
    "txt": ".txt", "json": ".json", "yaml": ".yaml", "YAML": ".yml", "toml": ".toml",
    "TOML": ".toml", "html": ".html", "css": ".css", "shell": ".sh", "rst": ".rst", ".rst": ".rst",
}  # fmt: skip
_NTH = words("first second third fourth fifth last")
_NTH_DE = words("erste zweite dritte vierte fünfte letzte")


# --- folders ------------------------------------------------------------------------------------


def _subject(folder: str) -> str:
    return "The project" if folder == "." else folder


def _holds(folder: str, listed: Listing) -> str:
    """The answer to whatever a listing tells: how many there are, of what kind, which."""
    if not listed.names:
        return f"{_subject(folder)} is empty."
    return f"{_subject(folder)} holds {listed.head}: {project.some(listed.names)}"


def _listing(draw: Draw, question: str, folder: str) -> Exchange:
    names = [] if draw.chance(0.04) else project.entries(draw)
    listed = project.listing(draw, names)
    done = step("list_files", listed.text, folder=folder)
    topic = Topic("folder", folder, "", tuple(names))
    return Exchange(question, (done,), _holds(folder, listed), topic)


def _shown(draw: Draw, folder: str) -> str:
    return folder + ("/" if draw.chance(0.08) else "")


@kind(6)
def list_(draw: Draw, _: Topic) -> Exchange:
    """`What is in docs?`."""
    folder = draw.folder()
    return _listing(draw, draw.ask("list", folder=_shown(draw, folder)), folder)


@kind(4)
def list_here(draw: Draw, _: Topic) -> Exchange:
    """`What files are here?`."""
    return _listing(draw, draw.ask("list here"), ".")


@kind(2)
def folders(draw: Draw, _: Topic) -> Exchange:
    """`Which folders are there?`."""
    return _listing(draw, draw.ask("folders"), ".")


@kind(1)
def folders_in(draw: Draw, _: Topic) -> Exchange:
    """`Which folders are in src?`."""
    folder = draw.folder()
    return _listing(draw, draw.ask("folders in", folder=folder), folder)


@kind(3)
def count(draw: Draw, _: Topic) -> Exchange:
    """`How many files are in docs?`."""
    folder = draw.folder()
    return _listing(draw, draw.ask("count", folder=_shown(draw, folder)), folder)


@kind(1)
def count_here(draw: Draw, _: Topic) -> Exchange:
    """`How many files are there?`."""
    return _listing(draw, draw.ask("count here"), ".")


def _kind_of_file(draw: Draw) -> tuple[str, str]:
    name = draw.pick(list(LANGUAGES))
    return name, LANGUAGES[name]


def _with_kind(draw: Draw, question: Callable[[str], str], folder: str) -> Exchange:
    """The kind asked for is mostly one that is there."""
    names = project.entries(draw)
    here = {suffix for name in names if (suffix := project.suffix_of(name))}
    known = [name for name, suffix in LANGUAGES.items() if suffix in here]
    name = draw.pick(known) if known and draw.chance(0.8) else _kind_of_file(draw)[0]
    listed = project.listing(draw, names)
    done = step("list_files", listed.text, folder=folder)
    topic = Topic("folder", folder, "", tuple(names))
    return Exchange(question(name), (done,), _holds(folder, listed), topic)


@kind(4)
def count_kind(draw: Draw, _: Topic) -> Exchange:
    """`How many python files are in src?`."""
    folder = draw.folder()
    return _with_kind(draw, lambda k: draw.ask("count kind", kind=k, folder=folder), folder)


@kind(2)
def count_kind_here(draw: Draw, _: Topic) -> Exchange:
    """`How many python files are there?`."""
    return _with_kind(draw, lambda k: draw.ask("count kind here", kind=k), ".")


@kind(1)
def is_file(draw: Draw, _: Topic) -> Exchange:
    """`Is there a Dockerfile?`."""
    names = project.entries(draw, 2)
    there = draw.chance(0.5)
    file = draw.pick(names).rstrip("/") if there else draw.file_name()
    there = file in names or f"{file}/" in names
    listed = project.listing(draw, names)
    answer = f"Yes, {file} is there." if there else f"No, {file} is not there."
    done = step("list_files", listed.text, folder=".")
    return Exchange(
        draw.ask("is file", file=file), (done,), answer, Topic("folder", ".", "", tuple(names))
    )


@kind(1.5)
def list_two(draw: Draw, _: Topic) -> Exchange:
    """Two folders at once."""
    both = draw.distinct(draw.folder, 2)
    listed = [project.listing(draw, project.entries(draw)[:6]) for _ in both]
    question = draw.ask("list two", folder=both[0], other=both[1])
    calls = tuple(("list_files", {"folder": folder}) for folder in both)
    answer = "\n".join(map(_holds, both, listed))
    return Exchange(question, (Step(calls, tuple(each.text for each in listed)),), answer)


@kind(1)
def which_tests(draw: Draw, _: Topic) -> Exchange:
    """`Which tests are there?`."""
    return _listing(draw, draw.ask("test files"), "tests")


@kind(4, after=("folder",))
def and_folder(draw: Draw, _: Topic) -> Exchange:
    """`And in docs?` after a listing."""
    folder = draw.folder()
    return _listing(draw, draw.ask("and in", folder=_shown(draw, folder)), folder)


# --- files --------------------------------------------------------------------------------------


def _file(path: str, lines: list[str]) -> Topic:
    return Topic("file", path, path, (), tuple(lines))


def line_is(path: str, number: int | str, text: str) -> str:
    """The answer to what stands on a line; the first and the last one have a name."""
    subject = f"Line {number}" if isinstance(number, int) else f"The {number} line"
    return f"{subject} of {path} is{f': {text.strip()}' if text.strip() else ' empty.'}"


def long(path: str, total: int) -> str:
    """The answer to how long a file is."""
    return f"{path} has {total} line{'s' * (total != 1)}."


@kind(4)
def read(draw: Draw, _: Topic) -> Exchange:
    """`Read README.md`."""
    path, lines = draw.path(), project.file_lines(draw)
    done = step("read_file", project.reading(lines), path=path)
    return Exchange(draw.ask("read", path=path), (done,), begins(path, lines), _file(path, lines))


@kind(3)
def first_line(draw: Draw, _: Topic) -> Exchange:
    """`What is the first line of README.md?`."""
    path, lines = draw.path(), project.file_lines(draw)
    done = step("read_file", project.reading(lines), path=path)
    answer = line_is(path, "first", lines[0])
    return Exchange(draw.ask("first line", path=path), (done,), answer, _file(path, lines))


def _last(draw: Draw, path: str, lines: list[str], question: str) -> Exchange:
    total = len(lines) if draw.chance(0.3) else draw.between(len(lines), 900)
    done = step("read_file", project.reading(lines, -1, total), line=-1, path=path)
    return Exchange(question, (done,), line_is(path, "last", lines[-1]), _file(path, lines))


@kind(3)
def last_line(draw: Draw, _: Topic) -> Exchange:
    """`What is the last line of README.md?`."""
    path = draw.path()
    return _last(draw, path, project.file_lines(draw), draw.ask("last line", path=path))


def _numbered(draw: Draw, path: str, number: int, question: str) -> Exchange:
    """The lines from a number on, of a file that is longer than that."""
    after = draw.weighted({1: 3, 2: 2, 4: 2, 8: 1, 20: 0.3, 70: 0.05})
    lines = ["", *(draw.line() for _ in range(after))]
    lines[0] = "" if draw.chance(0.06) else draw.line()
    total = number - 1 + len(lines)
    shown = project.reading([""] * (number - 1) + lines, number, total)
    done = step("read_file", shown, line=number, path=path)
    return Exchange(question, (done,), line_is(path, number, lines[0]), Topic("file", path, path))


def _number(draw: Draw) -> int:
    return draw.between(2, draw.pick([9, 30, 99, 300, 999]))


@kind(5)
def line(draw: Draw, _: Topic) -> Exchange:
    """`What is on line 5 of README.md?`."""
    path, number = draw.path(), _number(draw)
    return _numbered(draw, path, number, draw.ask("line", path=path, n=str(number)))


def _length(draw: Draw, path: str, question: str) -> Exchange:
    total = draw.between(1, draw.pick([9, 99, 999, 5000]))
    done = step("read_file", project.reading([draw.line()], -1, total), line=-1, path=path)
    return Exchange(question, (done,), long(path, total), Topic("file", path, path))


@kind(3)
def count_lines(draw: Draw, _: Topic) -> Exchange:
    """`How long is README.md?`."""
    path = draw.path()
    return _length(draw, path, draw.ask("count lines", path=path))


@kind(3, after=("file",))
def and_line(draw: Draw, topic: Topic) -> Exchange:
    """`And line 7?` after a file."""
    number = _number(draw)
    return _numbered(draw, topic.path, number, draw.ask("and line", n=str(number)))


@kind(2, after=("file",))
def and_last_line(draw: Draw, topic: Topic) -> Exchange:
    """`And the last one?` after a file."""
    lines = list(topic.lines) or [draw.line()]
    return _last(draw, topic.path, lines, draw.ask("and last line"))


@kind(2, after=("file",))
def and_count_lines(draw: Draw, topic: Topic) -> Exchange:
    """`How long is it?` after a file."""
    return _length(draw, topic.path, draw.ask("and count lines"))


@kind(4, after=("folder",))
def read_nth(draw: Draw, topic: Topic) -> Exchange | None:
    """`Read the second one` after a listing."""
    at = draw.between(0, 5)
    if not topic.names or (at < 5 and at >= len(topic.names)):
        return None
    name = topic.names[-1 if at == 5 else at]
    if name.endswith("/"):
        return None
    path = name if topic.name == "." else f"{topic.name}/{name}"
    lines = project.file_lines(draw)
    done = step("read_file", project.reading(lines), path=path)
    question = draw.ask("read nth", nth=_NTH[at], nth_de=_NTH_DE[at])
    return Exchange(question, (done,), begins(path, lines), _file(path, lines))


@kind(2)
def list_then_read(draw: Draw, _: Topic) -> Exchange | None:
    """A folder, then one of its files."""
    folder = draw.folder()
    names, at = project.entries(draw, 2)[:12], draw.pick([0, 0, 1, 2, 5])
    name = names[-1 if at == 5 or at >= len(names) else at]
    if name.endswith("/"):
        return None
    at = 5 if at >= len(names) else at
    path, lines = f"{folder}/{name}", project.file_lines(draw)
    steps = (
        step("list_files", project.listing(draw, names).text, folder=folder),
        step("read_file", project.reading(lines), path=path),
    )
    question = draw.ask("list then read", folder=folder, nth=_NTH[at])
    return Exchange(question, steps, begins(path, lines), _file(path, lines))


@kind(1)
def read_two(draw: Draw, _: Topic) -> Exchange:
    """Two files at once."""
    both = draw.distinct(draw.path, 2)
    lines = [project.file_lines(draw)[:12] for _ in both]
    lines = [each if each[-1].strip() else [*each[:-1], draw.line()] for each in lines]
    calls = tuple(("read_file", {"path": path}) for path in both)
    results = tuple(map(project.reading, lines))
    question = draw.ask("read two", path=both[0], other=both[1])
    return Exchange(question, (Step(calls, results),), "\n".join(map(begins, both, lines)))


# --- wrong paths --------------------------------------------------------------------------------

_MENDED = (list_, count, count_kind, read, first_line, last_line, line, count_lines)


def _path_of(made: Exchange) -> str:
    arguments = made.steps[0].calls[0][1]
    return str(arguments.get("path") or arguments["folder"])


def _mistaken(draw: Draw) -> tuple[Exchange, str, str] | None:
    """A question about a path with a slip in it, the slip, and what the tool says of it."""
    made = draw.pick(_MENDED)(draw, Topic("nothing"))
    assert made is not None
    right = _path_of(made)
    wrong = project.wrong_path(draw, right)
    if made.question.count(right) != 1:
        return None
    ((tool, _),) = made.steps[0].calls
    error = f'Error: no {"file" if tool == "read_file" else "folder"} "{wrong}" in the project.'
    return replace(made, question=made.question.replace(right, wrong)), wrong, error


def _with_path(done: Step, path: str, result: str) -> Step:
    ((tool, arguments),) = done.calls
    key = "path" if "path" in arguments else "folder"
    return Step(((tool, {**arguments, key: path}),), (result,))


@kind(4)
def wrong_then_right(draw: Draw, _: Topic) -> Exchange | None:
    """The tool says what was probably meant; that is tried."""
    found = _mistaken(draw)
    if found is None:
        return None
    made, wrong, error = found
    hint = f'{error} Did you mean "{_path_of(made)}"?'
    return replace(made, steps=(_with_path(made.steps[0], wrong, hint), *made.steps))


@kind(3)
def wrong(draw: Draw, _: Topic) -> Exchange | None:
    """There is no such file or folder, and nothing like it."""
    found = _mistaken(draw)
    if found is None:
        return None
    made, path, error = found
    said = error.removeprefix("Error: no ")
    steps = (_with_path(made.steps[0], path, error),)
    return replace(made, steps=steps, answer=f"There is no {said}", topic=None)


@kind(1)
def outside(draw: Draw, _: Topic) -> Exchange:
    """A path that leads out of the project."""
    path = draw.pick(["../", "/", "../../", "/etc/"]) + draw.path()
    said = f'the path "{path}" is outside the project.'
    done = step("read_file", f"Error: {said}", path=path)
    return Exchange(draw.ask("read", path=path), (done,), f"T{said[1:]}")


@kind(1)
def not_text(draw: Draw, _: Topic) -> Exchange:
    """A picture, or something huge."""
    path = draw.path().rpartition(".")[0] + draw.pick([".png", ".jpg", ".zip", ".pdf", ".bin"])
    said = f'"{path}" is not a text file of at most 1,000,000 bytes.'
    done = step("read_file", f"Error: {said}", path=path)
    return Exchange(draw.ask("read", path=path), (done,), said)


@kind(1)
def beyond_the_end(draw: Draw, _: Topic) -> Exchange:
    """A line that the file does not have."""
    path, number = draw.path(), draw.between(20, 999)
    total = draw.between(1, number - 1)
    said = f'"{path}" has {total} line{"s" * (total != 1)}.'
    done = step("read_file", f"Error: {said}", line=number, path=path)
    return Exchange(draw.ask("line", path=path, n=str(number)), (done,), said)


@kind(1, after=("search",))
def and_in_wrong(draw: Draw, topic: Topic) -> Exchange:
    """`And in dosc?`: the tool knows better."""
    folder = draw.folder()
    wrong = project.wrong_path(draw, folder)
    made = in_folder(draw, topic.name, folder, draw.ask("and in", folder=wrong))
    hint = f'Error: no folder "{wrong}" in the project. Did you mean "{folder}"?'
    return replace(made, steps=(_with_path(made.steps[0], wrong, hint), *made.steps))
