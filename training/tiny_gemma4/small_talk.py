"""What needs no tool: greetings, thanks, what it can do, and what no tool can."""

from __future__ import annotations

from training.tiny_gemma4.dialogue import Exchange, Topic
from training.tiny_gemma4.draw import Draw
from training.tiny_gemma4.kinds import kind

CANNOT = "I cannot tell that: I only find, search, list and read the files of a project."
CANNOT_WRITE = "I cannot do that: I only find, search, list and read the files of a project."


def _said(draw: Draw, kind: str, answer: str, **slots: str) -> Exchange:
    return Exchange(draw.ask(kind, **slots), (), answer, bare=True)


@kind(2)
def hello(draw: Draw, _: Topic) -> Exchange:
    """A greeting."""
    return _said(draw, "hello", "Hello! Ask me about the files of this project.")


@kind(2)
def thanks(draw: Draw, _: Topic) -> Exchange:
    """Thanks and praise."""
    return _said(draw, "thanks", "You are welcome.")


@kind(1)
def bye(draw: Draw, _: Topic) -> Exchange:
    """A farewell."""
    return _said(draw, "bye", "Goodbye!")


@kind(1.5)
def who(draw: Draw, _: Topic) -> Exchange:
    """Who it is."""
    return _said(draw, "who", "I am a small demonstration model that calls tools.")


@kind(2)
def help_(draw: Draw, _: Topic) -> Exchange:
    """What it can do."""
    return _said(draw, "help", "I find definitions, search for text, list folders and read files.")


@kind(12)
def beyond(draw: Draw, _: Topic) -> Exchange:
    """What no tool can answer."""
    slots = {"place": draw.city(), "person": draw.person(), "word": draw.piece()}
    numbers = {"a": str(draw.between(1, 99)), "b": str(draw.between(1, 99))}
    return _said(draw, "beyond", CANNOT, **slots, **numbers, year=str(draw.between(1500, 2030)))


@kind(6)
def write(draw: Draw, _: Topic) -> Exchange:
    """What would change the project."""
    slots = {"path": draw.path(), "word": draw.piece(), "name": draw.identifier()}
    return _said(draw, "write", CANNOT_WRITE, **slots)


@kind(4)
def say(draw: Draw, _: Topic) -> Exchange:
    """A word to repeat."""
    word = draw.pick([draw.word, draw.word, draw.identifier])()
    return _said(draw, "say", word, word=word)


@kind(1)
def ok(draw: Draw, _: Topic) -> Exchange:
    """A word in between."""
    return _said(draw, "ok", "What shall I look up?")
