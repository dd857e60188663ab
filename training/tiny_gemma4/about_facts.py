"""Questions about the project itself: license, version, dependencies, what it is about.

Where a project says these differs, so each has a way around: a file that has another name, a file
without the line, a project without the file. The answer is always a line that a tool printed.
"""

from __future__ import annotations

from training.tiny_gemma4 import project
from training.tiny_gemma4.about_code import begins, occurs
from training.tiny_gemma4.dialogue import Exchange, Step, Topic, step
from training.tiny_gemma4.draw import Draw
from training.tiny_gemma4.kinds import kind
from training.tiny_gemma4.project import NOTHING, Matches

_PYPROJECT = "pyproject.toml"
_MISSING = f'There is no file "{_PYPROJECT}" in the project.'
_LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "MPL-2.0", "ISC", "GPL-3.0-or-later", "0BSD")
_TITLES = (
    "MIT License", "The MIT License (MIT)", "Apache License", "BSD 3-Clause License",
    "Mozilla Public License Version 2.0", "ISC License", "GNU GENERAL PUBLIC LICENSE",
    "BSD 2-Clause License", "The Unlicense", "European Union Public Licence",
)  # fmt: skip
_CLASSIFIERS = (
    "License :: OSI Approved :: MIT License",
    "License :: OSI Approved :: BSD License",
    "License :: OSI Approved :: Apache Software License",
    "License :: OSI Approved :: ISC License (ISCL)",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
)


# --- pyproject.toml -----------------------------------------------------------------------------


def _version(draw: Draw) -> str:
    return ".".join(str(draw.between(0, 30)) for _ in range(draw.pick([2, 3, 3, 3])))


def _requirement(draw: Draw) -> str:
    bound = draw.pick([f">={_version(draw)}", f"=={_version(draw)}", "", f"~={_version(draw)}"])
    return f'"{draw.word()}{bound}"'


def _dependencies(draw: Draw) -> list[str]:
    wanted = [_requirement(draw) for _ in range(draw.between(0, 5))]
    if len(wanted) < 3 and draw.chance(0.6):
        return [f"dependencies = [{', '.join(wanted)}]"]
    return ["dependencies = [", *(f"    {each}," for each in wanted), "]"]


def _commands(draw: Draw) -> list[str]:
    lines = ["", "[project.scripts]"]
    for _ in range(draw.between(1, 2)):
        name = draw.word()
        lines.append(f'{name} = "{name}.{draw.word()}:{draw.word()}"')
    return lines


def metadata(draw: Draw, *, without: tuple[str, ...] = ()) -> list[str]:
    """The lines of a `pyproject.toml` that lacks some keys."""
    email = f"{draw.word()}@{draw.word()}.org"
    person = f"{draw.person()} {draw.syllables().capitalize()}"
    rows: dict[str, list[str]] = {
        "description": [f'description = "{" ".join(draw.pieces(3, 6)).capitalize()}"'],
        "readme": [f'readme = "README.{draw.pick(["md", "rst"])}"'],
        "license": [f"license = {draw.pick([f'{chr(34)}{draw.pick(_LICENSES)}{chr(34)}'])}"],
        "python": [f'requires-python = ">={draw.pick([2, 3, 3, 3])}.{draw.between(6, 14)}"'],
        "author": [
            f"{draw.pick(['authors', 'authors', 'maintainers'])} = "
            f'[{{ name = "{person}", email = "{email}" }}]'
        ],
        "dependencies": _dependencies(draw),
        "classifiers": _classifiers(draw),
    }
    kept = [key for key in rows if key not in without and draw.chance(0.8)]
    draw.rng.shuffle(kept)
    lines = ["[project]", f'name = "{draw.word()}"']
    if "version" not in without:
        lines.append(f'version = "{_version(draw)}"')
    else:
        lines.append('dynamic = ["version"]')
    for key in kept:
        lines += rows[key]
    if "commands" not in without:
        lines += _commands(draw)
    build = ["[build-system]", f"requires = [{_requirement(draw)}]"]
    build.append(f'build-backend = "{draw.word()}.{draw.pick(["build", "api", "buildapi"])}"')
    lines = [*build, "", *lines] if draw.chance(0.5) else [*lines, "", *build]
    for _ in range(draw.weighted({0: 3, 1: 1, 3: 0.7})):
        lines += ["", f"[tool.{draw.word()}]"]
        lines += [_setting(draw) for _ in range(draw.between(1, 4))]
    return lines


def _classifiers(draw: Draw) -> list[str]:
    """`"Topic :: Text Processing",` and the like."""
    words = [
        " :: ".join(w.capitalize() for w in draw.pieces(2, 4)) for _ in range(draw.between(1, 9))
    ]
    return ["classifiers = [", *(f'    "{each}",' for each in words), "]"]


def _setting(draw: Draw) -> str:
    """A line of a tool's section; some look like the project's own keys."""
    likeness = (
        f'{draw.pick(["minversion", "python_version", "target-version"])} = "{_version(draw)}"'
    )
    return draw.pick(
        [f"{draw.word()} = {draw.between(1, 99)}", f'{draw.word()} = "{draw.word()}"', likeness]
    )


def _build_only(draw: Draw) -> list[str]:
    """A `pyproject.toml` that says nothing of the project itself."""
    return [
        "[build-system]",
        f"requires = [{_requirement(draw)}]",
        'build-backend = "setuptools.build_meta"',
    ]


def says(path: str, line: str) -> str:
    """The answer that quotes a line of a file."""
    return f"{path} says: {line.strip()}"


def _read(lines: list[str], path: str = _PYPROJECT) -> Step:
    return step("read_file", project.reading(lines), path=path)


def _no_pyproject(draw: Draw) -> Step:
    hint = f' Did you mean "{draw.word()}/{_PYPROJECT}"?' if draw.chance(0.1) else ""
    return step(
        "read_file", f'Error: no file "{_PYPROJECT}" in the project.{hint}', path=_PYPROJECT
    )


def _searched(draw: Draw, text: str, line: str, nothing: float = 0.15) -> tuple[Step, Matches]:
    """A search that finds such lines."""
    missing = draw.chance(nothing)
    found = NOTHING if missing else project.matches(draw, lambda: line, draw.pick([1, 1, 1, 2, 3]))
    return step("search_text", found.text, text=text), found


def _quoted(draw: Draw, question: str, key: str, start: str, text: str, line: str) -> Exchange:
    """A key of `pyproject.toml`; where it has none, a search for another spelling of it."""
    has = draw.chance(0.65)
    if has:
        lines = metadata(draw)
        quoted = next((each for each in lines if each.startswith(start)), None)
        if quoted is not None:
            return Exchange(question, (_read(lines),), says(_PYPROJECT, quoted))
    without = _build_only(draw) if draw.chance(0.4) else metadata(draw, without=(key,))
    first = _no_pyproject(draw) if draw.chance(0.5) else _read(without)
    second, found = _searched(draw, text, line)
    answer = found.line if found.count else occurs(text, found)
    return Exchange(question, (first, second), answer, Topic("search", text, found.path))


@kind(3)
def version(draw: Draw, _: Topic) -> Exchange:
    """`What version is this?`."""
    question = draw.ask("version", project=draw.word())
    text = "__version__ = "
    line = f'{text}{draw.pick(["chr", "str"])[:0]}"{_version(draw)}"'
    if draw.chance(0.3):
        line = line.replace('"', "'")
    return _quoted(draw, question, "version", "version = ", text, line)


@kind(2)
def python(draw: Draw, _: Topic) -> Exchange:
    """`Which Python version does it need?`."""
    asked = f"3.{draw.between(6, 14)}"
    question = draw.ask("python", pyversion=asked)
    text = "python_requires"
    bound = draw.pick([">={}", ">= {}", "'>={}',", '">={}",']).format(asked)
    line = f"{text}{draw.pick(['=', ' = '])}{bound}"
    return _quoted(draw, question, "python", "requires-python = ", text, line)


@kind(2)
def dependencies(draw: Draw, _: Topic) -> Exchange:
    """`What does it depend on?`."""
    question = draw.ask("dependencies")
    if draw.chance(0.12):
        return Exchange(question, (_no_pyproject(draw),), _MISSING)
    lines = metadata(draw, without=("dependencies",) if draw.chance(0.2) else ())
    at = next((at for at, line in enumerate(lines) if line.startswith("dependencies = ")), None)
    if at is None:
        return Exchange(question, (_read(lines),), f"{_PYPROJECT} names no dependencies.")
    end = at if lines[at].endswith("]") else lines.index("]", at)
    quoted = " ".join(line.strip() for line in lines[at : end + 1])
    return Exchange(question, (_read(lines),), says(_PYPROJECT, quoted))


@kind(2)
def commands(draw: Draw, _: Topic) -> Exchange:
    """`What commands does it have?`."""
    question = draw.ask("commands")
    if draw.chance(0.12):
        return Exchange(question, (_no_pyproject(draw),), _MISSING)
    if draw.chance(0.3):
        lines = metadata(draw, without=("commands",))
        return Exchange(question, (_read(lines),), f"{_PYPROJECT} names no commands.")
    lines = metadata(draw)
    return Exchange(
        question, (_read(lines),), says(_PYPROJECT, lines[lines.index("[project.scripts]") + 1])
    )


@kind(1.5)
def author(draw: Draw, _: Topic) -> Exchange:
    """`Who wrote this?`."""
    question = draw.ask("author")
    if draw.chance(0.12):
        return Exchange(question, (_no_pyproject(draw),), _MISSING)
    lines = metadata(draw, without=("author",) if draw.chance(0.2) else ())
    starts = ("authors = ", "maintainers = ")
    quoted = next((each for each in lines if each.startswith(starts)), None)
    if quoted is None:
        return Exchange(question, (_read(lines),), f"{_PYPROJECT} names no author.")
    return Exchange(question, (_read(lines),), says(_PYPROJECT, quoted))


# --- files with a usual name --------------------------------------------------------------------


def _found(draw: Draw, path: str, others: tuple[str, ...], lines: list[str]) -> tuple[Step, ...]:
    """The steps to a file that may have another name."""
    if draw.chance(0.55):
        return (_read(lines, path),)
    other = draw.pick(others)
    hint = f'Error: no file "{path}" in the project. Did you mean "{other}"?'
    return step("read_file", hint, path=path), _read(lines, other)


def _path_of(steps: tuple[Step, ...]) -> str:
    return str(steps[-1].calls[0][1]["path"])


@kind(4)
def license_(draw: Draw, _: Topic) -> Exchange:
    """`What is the license?`: the file says it, or a classifier."""
    question = draw.ask("license")
    others = ("LICENSE.txt", "LICENSE.md", "LICENSE.rst", "LICENCE", "COPYING", "LICENSES")
    holder = f"{draw.person()} {draw.syllables().capitalize()}"
    owned = f"Copyright {draw.pick(['(c) ', '(C) ', ''])}{draw.between(1990, 2030)} {holder}"
    rest = ["", *(" ".join(draw.pieces(4, 9)).capitalize() for _ in range(draw.between(1, 6)))]
    if draw.chance(0.08):
        error = 'Error: no file "LICENSE" in the project.'
        first: tuple[Step, ...] = (step("read_file", error, path="LICENSE"),)
    elif draw.chance(0.6):
        title = draw.pick(_TITLES)
        lines = [
            *([""] if draw.chance(0.15) else []),
            " " * draw.pick([0, 0, 24]) + title,
            "",
            owned,
        ]
        steps = _found(draw, "LICENSE", others, lines + rest)
        return Exchange(question, steps, begins(_path_of(steps), lines))
    else:
        first = _found(draw, "LICENSE", others, [owned, *rest])
    second, found = _searched(draw, "License ::", f'"{draw.pick(_CLASSIFIERS)}",', 0.1)
    answer = found.line if found.count else occurs("License ::", found)
    return Exchange(question, (*first, second), answer)


@kind(4)
def about(draw: Draw, _: Topic) -> Exchange:
    """`What is this project about?`: the title of the README and its first sentence."""
    title = " ".join(word.capitalize() for word in draw.pieces(1, 3))
    sentence = " ".join(draw.pieces(4, 12)).capitalize() + "."
    if draw.chance(0.2):
        sentence = f"`{title}` is {sentence.lower()}"
    noise = [
        f"[![{draw.word()}](https://{draw.word()}.io/{draw.word()}.svg)]",
        f".. image:: {draw.word()}",
    ]
    lines = [title, "=" * len(title)] if draw.chance(0.3) else [f"# {title}"]
    lines += ["", *([draw.pick(noise), ""] if draw.chance(0.35) else []), sentence]
    lines += [" ".join(draw.pieces(3, 8)) for _ in range(draw.between(0, 4))]
    steps = _found(
        draw, "README.md", ("README.rst", "README", "README.txt", "docs/README.md"), lines
    )
    answer = f"{_path_of(steps)} says: {lines[0]}\n{sentence}"
    return Exchange(draw.ask("about"), steps, answer, _file(steps, lines))


def _file(steps: tuple[Step, ...], lines: list[str]) -> Topic:
    return Topic("file", _path_of(steps), _path_of(steps), (), tuple(lines))


@kind(1.5)
def install(draw: Draw, _: Topic) -> Exchange:
    """`How do I install it?`."""
    command = f"{draw.pick(['', '$ ', '    ', '`'])}pip install {draw.word()}"
    done, found = _searched(draw, "pip install", command.strip(), 0.12)
    answer = found.line if found.count else occurs("pip install", found)
    return Exchange(
        draw.ask("install"), (done,), answer, Topic("search", "pip install", found.path)
    )


@kind(1.5)
def changes(draw: Draw, _: Topic) -> Exchange:
    """`What is new?`."""
    entry = f"{draw.pick(['', 'v', 'Version ', '## '])}{_version(draw)}"
    lines = [draw.pick([entry, "# Changelog", "Changes"]), "", f"- {' '.join(draw.pieces(3, 8))}"]
    steps = _found(draw, "CHANGELOG.md", ("CHANGELOG.rst", "CHANGES.rst", "CHANGES.md"), lines)
    if draw.chance(0.1):
        steps = (
            step("read_file", 'Error: no file "CHANGELOG.md" in the project.', path="CHANGELOG.md"),
        )
        return Exchange(
            draw.ask("changes"), steps, 'There is no file "CHANGELOG.md" in the project.'
        )
    return Exchange(draw.ask("changes"), steps, begins(_path_of(steps), lines), _file(steps, lines))
