"""Questions for `find_definition` and `search_text`: where is it, who mentions it."""

from __future__ import annotations

from collections.abc import Callable

from training.tiny_gemma4 import project
from training.tiny_gemma4.dialogue import Exchange, Step, Topic, step
from training.tiny_gemma4.draw import Draw
from training.tiny_gemma4.kinds import kind
from training.tiny_gemma4.project import NOTHING, Matches

_NOUNS = {
    "class": ("class", "class", "class", "type", "exception", "enum", "interface", "struct"),
    "constant": ("constant", "constant", "variable", "setting"),
    "function": ("function", "function", "function", "method", "variable", "decorator", "helper"),
}


def noun_of(draw: Draw, name: str) -> str:
    """What people call a name of this style."""
    bare = name.strip("_")
    style = "constant" if bare.isupper() else "class" if bare[:1].isupper() else "function"
    return draw.pick(_NOUNS[style])


# --- definitions --------------------------------------------------------------------------------


def defined(name: str, found: Matches) -> str:
    """The answer to where something is defined."""
    if found.count == 0:
        return f"`{name}` is not defined in this project."
    if found.count == 1:
        return f"`{name}` is defined in {found.first}."
    return f"`{name}` is defined in {found.count} places, first in {found.first}."


def _definition(draw: Draw, kind: str, nothing: float = 0.1) -> Exchange:
    name = draw.identifier()
    found = NOTHING if draw.chance(nothing) else project.definitions(draw, name)
    question = draw.ask(kind, name=draw.named(name), noun=noun_of(draw, name))
    done = step("find_definition", found.text, name=name)
    return Exchange(question, (done,), defined(name, found), Topic("definition", name, found.path))


@kind(8)
def where(draw: Draw, _: Topic) -> Exchange:
    """`Where is parse defined?`."""
    return _definition(draw, "where")


@kind(8)
def where_noun(draw: Draw, _: Topic) -> Exchange:
    """`Where is the Connection class?`."""
    return _definition(draw, "where noun")


@kind(2)
def is_there(draw: Draw, _: Topic) -> Exchange:
    """`Is there a class called Parser?`."""
    return _definition(draw, "is there", 0.5)


@kind(2)
def where_two(draw: Draw, _: Topic) -> Exchange:
    """Two calls at once."""
    names = draw.distinct(draw.identifier, 2)
    found = [
        NOTHING if draw.chance(0.1) else project.matches(draw, _line(draw, name), 1)
        for name in names
    ]
    calls = tuple(("find_definition", {"name": name}) for name in names)
    answer = " ".join(map(defined, names, found))
    question = draw.ask("where two", name=names[0], other=names[1])
    return Exchange(question, (Step(calls, tuple(each.text for each in found)),), answer)


def _line(draw: Draw, name: str) -> Callable[[], str]:
    return lambda: project.definition_line(draw, name)


@kind(4, after=("definition",))
def and_name(draw: Draw, _: Topic) -> Exchange:
    """`And MRUCache?` after a definition."""
    return _definition(draw, "and name")


@kind(2)
def where_then_read(draw: Draw, _: Topic) -> Exchange:
    """A definition, then the file it is in."""
    name = draw.identifier()
    found = project.matches(draw, _line(draw, name), 1)
    lines = project.file_lines(draw)
    steps = (
        step("find_definition", found.text, name=name),
        step("read_file", project.reading(lines), path=found.path),
    )
    answer = f"{defined(name, found)} {begins(found.path, lines)}"
    question = draw.ask("where then read", name=draw.named(name))
    return Exchange(
        question, steps, answer, Topic("file", found.path, found.path, (), tuple(lines))
    )


def begins(path: str, lines: list[str]) -> str:
    """The answer to how a file begins."""
    return f"{path} begins: {next(line for line in lines if line.strip()).strip()}"


@kind(4, after=("definition", "search", "file"))
def open_it(draw: Draw, topic: Topic) -> Exchange | None:
    """`Open it` after something was found in a file."""
    if not topic.path or topic.what == "file":
        return None
    lines = project.file_lines(draw)
    done = step("read_file", project.reading(lines), path=topic.path)
    found = Topic("file", topic.path, topic.path, (), tuple(lines))
    return Exchange(draw.ask("open it"), (done,), begins(topic.path, lines), found)


# --- texts --------------------------------------------------------------------------------------


def occurs(text: str, found: Matches, folder: str = "") -> str:
    """The answer to where a text occurs."""
    where = f" in {folder}" if folder else ""
    if found.count == 0:
        return f'"{text}" does not occur in {folder or "this project"}.'
    if found.count == 1:
        return f'"{text}" occurs once{where}: {found.first}'
    return f'"{text}" occurs {found.count} times{where}, first in {found.first}.'


def _search(draw: Draw, kind: str, text: str, asked: str | None = None, **slots: str) -> Exchange:
    found = NOTHING if draw.chance(0.12) else project.occurrences(draw, text)
    question = draw.ask(kind, text=asked or text, **slots)
    done = step("search_text", found.text, text=text)
    return Exchange(question, (done,), occurs(text, found), Topic("search", text, found.path))


@kind(6)
def text(draw: Draw, _: Topic) -> Exchange:
    """A quoted text."""
    return _search(draw, "text", draw.text().strip() or draw.piece())


@kind(8)
def word(draw: Draw, _: Topic) -> Exchange:
    """`Who mentions chunked?`."""
    wanted = draw.term()
    return _search(draw, "word", wanted, draw.named(wanted))


@kind(1)
def importing(draw: Draw, _: Topic) -> Exchange:
    """Who imports a module."""
    name = draw.pick([draw.piece, draw.identifier])()
    return _search(draw, "importing", f"import {name}", name)


@kind(1)
def todo(draw: Draw, _: Topic) -> Exchange:
    """What is left to do."""
    mark = draw.pick(["TO" + "DO", "TO" + "DO", "FIX" + "ME", "XX" + "X", "HACK"])
    asked = draw.pick([mark, mark.lower()])
    found = NOTHING if draw.chance(0.3) else project.occurrences(draw, mark)
    done = step("search_text", found.text, text=mark)
    return Exchange(
        draw.ask("todo", todo=asked), (done,), occurs(mark, found), Topic("search", mark)
    )


@kind(3, after=("definition",))
def used_after(draw: Draw, topic: Topic) -> Exchange:
    """`Where is it used?` after a definition."""
    found = NOTHING if draw.chance(0.1) else project.occurrences(draw, topic.name)
    done = step("search_text", found.text, text=topic.name)
    answer = occurs(topic.name, found)
    return Exchange(
        draw.ask("used after"), (done,), answer, Topic("search", topic.name, found.path)
    )


@kind(3, after=("search",))
def and_word(draw: Draw, _: Topic) -> Exchange:
    """`And timeout?` after a search."""
    wanted = draw.term()
    return _search(draw, "and name", wanted, draw.named(wanted), name=wanted, noun="word")


def in_folder(draw: Draw, text: str, folder: str, question: str) -> Exchange:
    """A search beneath a folder."""
    found = NOTHING if draw.chance(0.15) else project.occurrences(draw, text, folder)
    done = step("search_text", found.text, folder=folder, text=text)
    topic = Topic("search", text, found.path)
    return Exchange(question, (done,), occurs(text, found, folder), topic)


@kind(3)
def text_in(draw: Draw, _: Topic) -> Exchange:
    """`Where in docs is timeout used?`."""
    wanted, folder = draw.term(), draw.folder()
    question = draw.ask("text in", text=draw.named(wanted), folder=folder)
    return in_folder(draw, wanted, folder, question)


@kind(3, after=("search",))
def and_in(draw: Draw, topic: Topic) -> Exchange:
    """`And in docs?` after a search."""
    folder = draw.folder()
    return in_folder(draw, topic.name, folder, draw.ask("and in", folder=folder))


@kind(3)
def tests_for(draw: Draw, _: Topic) -> Exchange:
    """`Are there tests for Signer?`."""
    name = draw.identifier()
    question = draw.ask("tests for", text=draw.named(name), noun=noun_of(draw, name))
    if draw.chance(0.85):
        return in_folder(draw, name, "tests", question)
    hint = draw.pick(["test", "src/tests", "testing", f"{draw.piece()}/tests"])
    error = 'Error: no folder "tests" in the project.'
    arguments = {"folder": "tests", "text": name}
    if draw.chance(0.3):
        missing = 'There is no folder "tests" in the project.'
        return Exchange(question, (step("search_text", error, **arguments),), missing)
    made = in_folder(draw, name, hint, question)
    first = step("search_text", f'{error} Did you mean "{hint}"?', **arguments)
    return Exchange(question, (first, *made.steps), made.answer, made.topic)
