"""Tools that nobody has seen, without end: a verb, a thing, up to four parameters.

A tool is put together with the question that asks for it: each parameter brings its schema, its
value and the words by which a person says it. Held-out tools are made of words that training never
sees.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.tiny_gemma4.draw import Draw, joined, words
from training.tiny_gemma4.skills import Schema, Skill, boolean, integer, number, strings, text

_ACTIONS = words(
    "cancel archive approve reject rename lock unlock pause resume start stop remove publish "
    "print share move copy scan verify update refresh install upgrade deploy enable disable "
    "assign mark rent order reserve repair clean invite follow block merge split join export "
    "upload add create delete send open close book buy sell set reset ship pack record save log "
    "register schedule plan charge measure paint water feed train draw build hire sign check"
)
_LOOKUPS = words("get lookup check fetch show find query read tell give describe inspect")
_PROPERTIES = words(
    "price size owner status age color weight height version license branch score rank balance "
    "author date title genre length width temperature humidity speed level count label address "
    "email country language currency salary budget deadline priority rating stock state name"
)
_FRAMES = (
    "What is the {p} of {s}?", "what's the {p} of {s}", "{p} of {s}?", "Get the {p} of {s}.",
    "Show me the {p} of {s}", "{verb} the {p} of {s}", "I need the {p} of {s}.",
    "Which {p} has {s}?", "Tell me the {p} of {s}",
)  # fmt: skip
_SUBJECTS = words(
    "user server city product invoice ticket book song movie package commit issue account team "
    "project device sensor planet river recipe plant animal car train flight hotel room student "
    "order task job message event note page table meeting parcel door lamp garden machine report"
)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One parameter.

    Attributes:
        name: Its name.
        schema: Its schema.
        make: Draws a value.
        said: Ways to say it; `{v}` is the value.
    """

    name: str
    schema: Schema
    make: Callable[[Draw], Any]
    said: tuple[str, ...]


def _about(draw: Draw, name: str) -> str:
    plain = name.replace("_", " ")
    return draw.pick(
        [f"The {plain}.", f"{plain.capitalize()}.", f"Which {plain}.", plain, f"A {plain}."]
    )


def _name(draw: Draw) -> str:
    return draw.pick([draw.word, draw.identifier, draw.person, draw.piece])()


def _counted(draw: Draw) -> _Parameter:
    name = draw.pick(words("days hours copies people seats minutes guests items pages times weeks"))
    schema = integer(draw.pick([f"How many {name}.", f"Number of {name}.", f"The {name}."]))
    said = ("for {v} " + name, "{v} " + name, "with {v} " + name, name + ": {v}")
    return _Parameter(name, schema, lambda d: d.between(1, 99), said)


def _amount(draw: Draw) -> _Parameter:
    name = draw.pick(words("price amount weight height limit rate width temperature volume budget"))
    said = (name + " {v}", "with a " + name + " of {v}", "at a " + name + " of {v}", name + ": {v}")

    def make(d: Draw) -> float | int:
        return d.pick([d.between(1, 999), d.between(1, 99) + 0.5, d.between(1, 9999) / 4])

    return _Parameter(name, number(_about(draw, name)), make, said)


def _person(draw: Draw) -> _Parameter:
    name = draw.pick(words("to recipient owner user customer assignee person guest friend author"))
    said = ("to {v}", "for {v}", name + " {v}", name + ": {v}") if name != "to" else ("to {v}",)
    return _Parameter(name, text(_about(draw, name)), Draw.person, said)


def _place(draw: Draw) -> _Parameter:
    name = draw.pick(words("city location place destination town where"))
    return _Parameter(
        name, text(_about(draw, name)), Draw.city, ("in {v}", "at {v}", "in the city of {v}")
    )


def _choice(draw: Draw) -> _Parameter:
    name = draw.pick(words("color size priority level mode format status kind language unit type"))
    options = draw.distinct(draw.piece, draw.between(2, 5))
    said = ("with " + name + " {v}", name + " {v}", "in {v}", "as {v}", name + ": {v}")
    return _Parameter(name, text(_about(draw, name), options), lambda d: d.pick(options), said)


def _flag(draw: Draw) -> _Parameter:
    name = draw.pick(
        words("urgent private remind silent gift express public draft secure recursive")
    )
    schema = boolean(
        draw.pick([f"Whether it is {name}.", f"{name.capitalize()}.", f"True if {name}."])
    )
    value = draw.chance(0.5)
    said = ("and make it " + name, name) if value else ("but not " + name, "not " + name)
    return _Parameter(name, schema, lambda _: value, said)


def _moment(draw: Draw) -> _Parameter:
    name = draw.pick(words("date day when time start deadline"))
    days = words("monday tuesday wednesday thursday friday saturday sunday tomorrow today")

    def make(d: Draw) -> str:
        clock = f"{d.between(0, 23):02}:{d.between(0, 59):02}"
        date = f"{d.between(2020, 2035)}-{d.between(1, 12):02}-{d.between(1, 28):02}"
        return d.pick([d.pick(days), clock, date])

    return _Parameter(
        name, text(_about(draw, name)), make, ("on {v}", "at {v}", name + " {v}", "for {v}")
    )


def _several(draw: Draw) -> _Parameter:
    name = draw.pick(words("tags items names labels colors people parts files topics"))
    said = ("with " + name + " {v}", "with {v}", name + ": {v}", "with the " + name + " {v}")
    return _Parameter(
        name, strings(_about(draw, name)), lambda d: d.distinct(d.piece, d.between(1, 3)), said
    )


def _wording(draw: Draw) -> _Parameter:
    name = draw.pick(words("text title message subject note reason comment body label content"))
    said = ('"{v}"', 'saying "{v}"', "with " + name + ' "{v}"', name + ': "{v}"', 'called "{v}"')
    return _Parameter(name, text(_about(draw, name)), lambda d: " ".join(d.pieces(1, 4)), said)


_MORE = (_counted, _amount, _person, _place, _choice, _flag, _moment, _several, _wording)


def _target(draw: Draw, subject: str) -> _Parameter:
    """What it is done to: a name or a number."""
    numeric = draw.chance(0.4)
    key = draw.pick(
        [subject, "id", f"{subject}_id", "number" if numeric else "name", f"{subject}_name"]
    )
    said = tuple(
        f"{lead}{{v}}"
        for lead in (f"{subject} ", f"the {subject} ", f"{subject} number " if numeric else "")
    )
    if numeric:
        return _Parameter(key, integer(_about(draw, key)), lambda d: d.between(1, 99999), said)
    return _Parameter(key, text(_about(draw, key)), _name, said)


def _say(value: Any) -> str:
    if isinstance(value, list):
        return joined(str(each) for each in value)
    return str(value)


def made_up_skill(draw: Draw) -> Skill:
    """`get_price(product)`, `archive_ticket(ticket, days)`, `book_room(people, date, urgent)`."""
    subject = draw.pick(_SUBJECTS) if draw.chance(0.5) and not draw.held_out else draw.piece()
    lookup = draw.chance(0.45)
    parameters = {each.name: each for each in [_target(draw, subject)]}
    for _ in range(draw.weighted({0: 3, 1: 2.5, 2: 1.2, 3: 0.5})):
        more = draw.pick(_MORE)(draw)
        parameters.setdefault(more.name, more)
    if not lookup and len(parameters) > 1 and draw.chance(0.3):
        del parameters[next(iter(parameters))]  # `book a room for 3 people`
    return (_lookup if lookup else _action)(draw, subject, list(parameters.values()))


def _optional(draw: Draw, parameters: list[_Parameter]) -> list[_Parameter]:
    """A parameter that is declared and not used."""
    more = draw.pick(_MORE)(draw)
    known = {each.name for each in parameters}
    return [more] if draw.chance(0.25) and more.name not in known else []


def _skill(
    draw: Draw,
    name: str,
    descriptions: tuple[str, ...],
    parameters: list[_Parameter],
    phrasings: tuple[str, ...],
    reply: Callable[[Draw, dict[str, Any]], str],
) -> Skill:
    unused = _optional(draw, parameters)
    declared = [*parameters, *unused]
    draw.rng.shuffle(declared)
    return Skill(
        name,
        descriptions,
        {each.name: each.schema for each in declared},
        phrasings,
        lambda d: {each.name: each.make(d) for each in parameters},
        reply,
        frozenset(each.name for each in unused),
    )


def _clauses(draw: Draw, parameters: list[_Parameter]) -> str:
    """How a person says the parameters, in some order."""
    said = [draw.pick(each.said).replace("{v}", f"{{{each.name}}}") for each in parameters]
    draw.rng.shuffle(said)
    return " ".join(said)


def _action(draw: Draw, subject: str, parameters: list[_Parameter]) -> Skill:
    verb = draw.pick(_ACTIONS) if draw.chance(0.8) and not draw.held_out else draw.piece()
    first, rest = parameters[0], parameters[1:]
    named = "{v}" in first.said[0] and subject in first.said[0]
    start = "" if named else draw.pick([f"a {subject} ", f"the {subject} ", f"{subject} "])
    phrasings = tuple(
        f"{lead}{verb} {start}{draw.pick(first.said).replace('{v}', f'{{{first.name}}}')} "
        f"{_clauses(draw, rest)}".strip()
        + end
        for lead in ("", "", "please ", "can you ", "I want to ", "")
        for end in ("", ".")
    )
    done = draw.pick(["done", "ok", "yes", "finished", f"{verb}: done", "It is done.", "success"])

    def reply(d: Draw, args: dict[str, Any]) -> str:
        shown = _say(next(iter(args.values())))
        fields = {"status": d.pick(["ok", "done", "open"]), "id": d.between(1, 9999)}
        return d.pick([done, f"{subject} {shown}: {done}", json.dumps(fields), done])

    return _skill(
        draw,
        draw.pick(
            [f"{verb}_{subject}", f"{subject}_{verb}", f"{verb}{subject.capitalize()}", verb]
        ),
        (
            f"{verb.capitalize()} a {subject}.",
            f"Use this to {verb} a {subject}.",
            f"{verb} {subject}s",
        ),
        parameters,
        phrasings,
        reply,
    )


def _lookup(draw: Draw, subject: str, parameters: list[_Parameter]) -> Skill:
    verb = draw.pick(_LOOKUPS)
    what = draw.pick(_PROPERTIES) if draw.chance(0.6) and not draw.held_out else draw.piece()
    asked = [frame.replace("{p}", what).replace("{verb}", verb) for frame in _FRAMES]
    phrasings = tuple(frame.replace("{s}", _clauses(draw, parameters)) for frame in asked)

    def reply(d: Draw, _: dict[str, Any]) -> str:
        value = d.pick([str(d.between(1, 9999)), d.syllables(), d.piece()])
        return d.pick(
            [value, json.dumps({what: value}), f"{what}: {value}", f"The {what} is {value}."]
        )

    return _skill(
        draw,
        draw.pick(
            [f"{verb}_{what}", f"{verb}_{subject}_{what}", f"{subject}_{what}", f"{verb}_{subject}"]
        ),
        (
            f"{verb.capitalize()} the {what} of a {subject}.",
            f"The {what} of a {subject}.",
            f"{subject} {what}",
        ),
        parameters,
        phrasings,
        reply,
    )
