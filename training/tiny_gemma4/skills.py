"""Tools beside the project's four: they teach types, enums, arrays, objects and choosing.

A skill is a tool, how people ask for it, and what it answers. `made_up_skill` invents lookup
tools without end, so that a tool is chosen by what its declaration says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from training.tiny_gemma4.draw import Draw, joined
from training.tiny_gemma4.phrasings import words

Schema = dict[str, Any]
Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Skill:
    """One tool.

    Attributes:
        name: The tool's name.
        descriptions: Ways to describe it.
        properties: JSON Schema of each parameter, already lowered.
        phrasings: Ways to ask, with the arguments' names as placeholders.
        arguments: Draws the arguments of one call.
        reply: From the arguments to the tool's text and the final answer.
        optional: Parameters that are not required.
    """

    name: str
    descriptions: tuple[str, ...]
    properties: Mapping[str, Schema]
    phrasings: tuple[str, ...]
    arguments: Callable[[Draw], Arguments]
    reply: Callable[[Draw, Arguments], tuple[str, str]]
    optional: frozenset[str] = field(default_factory=frozenset)

    def declaration(self, draw: Draw) -> dict[str, Any]:
        """The lowered tool, in one of its wordings."""
        required = [name for name in self.properties if name not in self.optional]
        parameters: Schema = {"type": "object", "properties": dict(self.properties)}
        if required:
            parameters["required"] = required
        description = draw.pick(self.descriptions)
        return {"name": self.name, "description": description, "parameters": parameters}


def text(description: str, enum: list[str] | None = None) -> Schema:
    """A string parameter."""
    schema = {"type": "string", "description": description}
    return schema | {"enum": enum} if enum else schema


def integer(description: str) -> Schema:
    """An integer parameter."""
    return {"type": "integer", "description": description}


def number(description: str) -> Schema:
    """A number parameter."""
    return {"type": "number", "description": description}


def boolean(description: str) -> Schema:
    """A boolean parameter."""
    return {"type": "boolean", "description": description}


def strings(description: str) -> Schema:
    """A list of strings."""
    return {"type": "array", "description": description, "items": {"type": "string"}}


SKIES = ["clear", "cloudy", "rainy", "windy", "snowy", "foggy"]
MONEY = ["USD", "EUR", "GBP", "JPY", "CHF", "SEK", "NOK", "PLN", "INR", "BRL"]
STATES = ["open", "paid", "shipped", "closed", "late", "lost", "new", "done"]
ROOMS = ["kitchen", "bedroom", "hall", "garage", "office", "bathroom", "cellar"]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
LANGUAGES = ["french", "german", "spanish", "italian", "dutch", "polish"]


def _amount(draw: Draw) -> float | int:
    return draw.pick([draw.between(1, 999), draw.between(1, 9999) / 4, draw.between(1, 99) + 0.5])


def _weather(draw: Draw, args: Arguments) -> tuple[str, str]:
    degrees, sky = draw.between(-9, 39), draw.pick(SKIES)
    answer = f"It is {degrees} degrees and {sky} in {args['city']}."
    if draw.chance(0.5):
        return json.dumps({"degrees": degrees, "sky": sky}), answer
    return f"{degrees} degrees, {sky}", answer


def _convert(draw: Draw, args: Arguments) -> tuple[str, str]:
    value = f"{draw.between(1, 99999) / 100:.2f}"
    return (
        f"{value} {args['target']}",
        f"{args['amount']} {args['source']} are {value} {args['target']}.",
    )


def _order(draw: Draw, args: Arguments) -> tuple[str, str]:
    state, items = draw.pick(STATES), draw.between(1, 30)
    return (
        json.dumps({"id": args["order_id"], "items": items, "state": state}),
        f"Order {args['order_id']} is {state}.",
    )


def _event(draw: Draw, args: Arguments) -> tuple[str, str]:
    number_ = draw.between(10, 9999)
    return f"created event {number_}", f'Event {number_} "{args["title"]}" is on {args["day"]}.'


def _contact(draw: Draw, args: Arguments) -> tuple[str, str]:
    phone = "".join(draw.letters(1, 1, "0123456789") for _ in range(7))
    return f"name: {args['name']}\nphone: {phone}", f"{args['name']} has the number {phone}."


def _address(_: Draw, args: Arguments) -> tuple[str, str]:
    where = args["address"]
    return "saved", f"The parcel goes to {where['street']}, {where['city']}."


def _total(_: Draw, args: Arguments) -> tuple[str, str]:
    total = args["a"] + args["b"]
    return str(total), f"{args['a']} plus {args['b']} is {total}."


SKILLS: tuple[Skill, ...] = (
    Skill(
        "get_weather",
        ("Get the weather of a city.", "Weather forecast for a city.", "Says how the weather is."),
        {"city": text("Name of the city."), "days": integer("How many days ahead.")},
        (
            "How will the weather be in {city} in {days} days?",
            "What is the weather in {city} {days} days from now?",
            "Weather in {city}, {days} days ahead",
            "Forecast for {city} for {days} days, please.",
        ),
        lambda d: {"city": d.city(), "days": d.between(1, 14)},
        _weather,
    ),
    Skill(
        "current_weather",
        ("The weather of a city right now.", "Current temperature and sky."),
        {"city": text("City.")},
        (
            "How is the weather in {city}?",
            "Is it warm in {city}?",
            "What is the weather in {city} now?",
            "Weather in {city}?",
            "Tell me the weather in {city}",
        ),
        lambda d: {"city": d.city()},
        _weather,
    ),
    Skill(
        "convert_currency",
        ("Convert money from one currency to another.", "Exchange an amount of money."),
        {
            "amount": number("How much."),
            "source": text("Currency code to convert from."),
            "target": text("Currency code to convert to."),
        },
        (
            "How much is {amount} {source} in {target}?",
            "Convert {amount} {source} to {target}.",
            "What are {amount} {source} in {target}?",
            "Change {amount} {source} into {target}",
        ),
        lambda d: (
            dict(zip(("source", "target"), d.rng.sample(MONEY, 2), strict=True))
            | {"amount": _amount(d)}
        ),
        _convert,
    ),
    Skill(
        "set_timer",
        ("Set a timer.", "Start a timer that rings after some minutes."),
        {"minutes": integer("Length in minutes.")},
        (
            "Set a timer for {minutes} minutes.",
            "Wake me in {minutes} minutes",
            "Start a {minutes} minute timer.",
            "Timer: {minutes} minutes",
        ),
        lambda d: {"minutes": d.between(1, 180)},
        lambda _, a: ("ok", f"The timer rings in {a['minutes']} minutes."),
    ),
    Skill(
        "send_message",
        ("Send a message to a person.", "Sends someone a short text."),
        {"text": text("What to say."), "to": text("Who gets it.")},
        (
            'Send {to} the message "{text}".',
            'Tell {to}: "{text}"',
            'Write to {to}: "{text}"',
            'Message {to} "{text}"',
        ),
        lambda d: {"to": d.person(), "text": " ".join(d.word() for _ in range(d.between(1, 5)))},
        lambda d, a: (d.pick(["sent", "delivered", "ok"]), f"The message to {a['to']} was sent."),
    ),
    Skill(
        "add",
        ("Add two numbers.", "The sum of two integers."),
        {"a": integer("First number."), "b": integer("Second number.")},
        ("What is {a} plus {b}?", "Add {a} and {b}.", "{a} + {b}", "Sum of {a} and {b}?"),
        lambda d: {"a": d.between(0, 9999), "b": d.between(0, 9999)},
        _total,
    ),
    Skill(
        "lookup_order",
        ("Look up an order by its number.", "State of a customer's order."),
        {"order_id": integer("Number of the order.")},
        (
            "What is the state of order {order_id}?",
            "Where is order {order_id}?",
            "Look up order {order_id}.",
            "Is order {order_id} shipped?",
        ),
        lambda d: {"order_id": d.between(1, 99999)},
        _order,
    ),
    Skill(
        "create_event",
        ("Put an event into the calendar.", "Create a calendar event."),
        {
            "day": text("Day of the week.", DAYS),
            "remind": boolean("Whether to remind."),
            "title": text("Title of the event."),
        },
        (
            'Plan "{title}" on {day} with a reminder.',
            'Create an event "{title}" for {day} and remind me.',
            'Put "{title}" into my calendar on {day}, remind me too.',
        ),
        lambda d: {"title": " ".join(d.pieces(1, 3)), "day": d.pick(DAYS), "remind": True},
        _event,
    ),
    Skill(
        "create_event",
        ("Put an event into the calendar.", "Create a calendar event."),
        {
            "day": text("Day of the week.", DAYS),
            "remind": boolean("Whether to remind."),
            "title": text("Title of the event."),
        },
        (
            'Plan "{title}" on {day} without a reminder.',
            'Create an event "{title}" for {day}, no reminder.',
            'Put "{title}" into my calendar on {day}, don\'t remind me.',
        ),
        lambda d: {"title": " ".join(d.pieces(1, 3)), "day": d.pick(DAYS), "remind": False},
        _event,
    ),
    Skill(
        "switch_light",
        ("Switch the light of a room.", "Turns a lamp on or off."),
        {"on": boolean("True for on."), "room": text("Which room.", ROOMS)},
        ("Turn on the light in the {room}.", "Light on in the {room}", "Make the {room} bright."),
        lambda d: {"room": d.pick(ROOMS), "on": True},
        lambda _, a: ("done", f"The light in the {a['room']} is on."),
    ),
    Skill(
        "switch_light",
        ("Switch the light of a room.", "Turns a lamp on or off."),
        {"on": boolean("True for on."), "room": text("Which room.", ROOMS)},
        ("Turn off the light in the {room}.", "Light off in the {room}", "Make the {room} dark."),
        lambda d: {"room": d.pick(ROOMS), "on": False},
        lambda _, a: ("done", f"The light in the {a['room']} is off."),
    ),
    Skill(
        "translate",
        ("Translate a text.", "Translates words into another language."),
        {"language": text("Target language.", LANGUAGES), "text": text("What to translate.")},
        (
            'Translate "{text}" into {language}.',
            'What is "{text}" in {language}?',
            'How do I say "{text}" in {language}?',
        ),
        lambda d: {"text": " ".join(d.pieces(1, 3)), "language": d.pick(LANGUAGES)},
        lambda d, _: (out := " ".join(d.syllables() for _ in range(d.between(1, 3))), f'"{out}"'),
    ),
    Skill(
        "find_contact",
        ("Find a person's phone number.", "Look someone up in the address book."),
        {"name": text("Name of the person.")},
        (
            "What is the phone number of {name}?",
            "How can I call {name}?",
            "Phone of {name}?",
            "Give me {name}'s number",
        ),
        lambda d: {"name": d.person()},
        _contact,
    ),
    Skill(
        "add_tags",
        ("Add tags to a note.", "Puts labels on a note."),
        {"note": integer("Number of the note."), "tags": strings("The tags.")},
        (
            "Tag note {note} with {tags}.",
            "Add the tags {tags} to note {note}",
            "Note {note}: tags {tags}",
        ),
        lambda d: {"note": d.between(1, 999), "tags": d.distinct(d.word, d.between(1, 3))},
        lambda _, a: ("ok", f"Note {a['note']} now has the tags {joined(a['tags'])}."),
    ),
    Skill(
        "send_parcel",
        ("Send a parcel to an address.",),
        {
            "address": {
                "type": "object",
                "description": "Where it goes.",
                "properties": {"city": text("City."), "street": text("Street and number.")},
                "required": ["city", "street"],
            }
        },
        (
            "Send a parcel to {street} in {city}.",
            "Ship it to {street}, {city}",
            "A parcel for {street} in {city}, please.",
        ),
        lambda d: {
            "address": {
                "city": d.city(),
                "street": f"{d.syllables().capitalize()} {d.between(1, 200)}",
            }
        },
        _address,
    ),
    Skill(
        "set_volume",
        ("Set the volume.", "How loud the music plays."),
        {"percent": integer("From 0 to 100.")},
        ("Set the volume to {percent}.", "Volume {percent} percent", "Play it at {percent} %"),
        lambda d: {"percent": d.between(0, 100)},
        lambda _, a: ("ok", f"The volume is at {a['percent']} percent."),
    ),
    Skill(
        "run_tests",
        ("Run the tests.", "Runs a test file."),
        {"path": text("Test file.")},
        ("Run the tests in {path}.", "Run {path}", "Do the tests of {path} pass?", "Test {path}"),
        lambda d: {"path": d.path()},
        lambda d, a: (
            f"{(n := d.between(1, 400))} passed in {d.between(1, 90)} s",
            f"{n} tests of {a['path']} passed.",
        ),
    ),
    Skill(
        "delete_file",
        ("Delete a file.", "Removes a file for good."),
        {"path": text("Path of the file.")},
        ("Delete {path}.", "Remove the file {path}", "Throw {path} away.", "rm {path}"),
        lambda d: {"path": d.path()},
        lambda _, a: ("deleted", f"{a['path']} was deleted."),
    ),
    Skill(
        "write_note",
        ("Write a note.", "Saves a text as a note."),
        {"text": text("Text of the note.")},
        ('Note: "{text}"', 'Write down "{text}".', 'Remember "{text}"', 'Make a note "{text}".'),
        lambda d: {"text": " ".join(d.word() for _ in range(d.between(1, 5)))},
        lambda d, _: (f"saved as note {(n := d.between(1, 999))}", f"It is saved as note {n}."),
    ),
    Skill(
        "get_time",
        ("The time in a city.", "What time it is somewhere."),
        {"city": text("City.")},
        ("What time is it in {city}?", "Time in {city}?", "How late is it in {city}?"),
        lambda d: {"city": d.city()},
        lambda d, a: (
            now := f"{d.between(0, 23):02}:{d.between(0, 59):02}",
            f"It is {now} in {a['city']}.",
        ),
    ),
)

_VERBS = {
    "get": ("Get the {p} of {s}.", "What is the {p} of {s}?", "{p} of {s}?"),
    "lookup": ("Look up the {p} of {s}.", "What {p} does {s} have?", "Which {p} has {s}?"),
    "check": ("Check the {p} of {s}.", "How is the {p} of {s}?", "Please check {s}'s {p}."),
    "fetch": ("Fetch the {p} of {s}.", "Give me the {p} of {s}", "I need the {p} of {s}."),
    "show": ("Show me the {p} of {s}.", "Show {s}'s {p}", "Tell me the {p} of {s}."),
}
_PROPERTIES = words(
    "price size owner status age color weight height version license branch score rank balance "
    "author date title genre length width temperature humidity speed level count label address "
    "email country language currency salary budget deadline priority rating stock"
)
_SUBJECTS = words(
    "user server city product invoice ticket book song movie package commit issue account team "
    "project device sensor planet river recipe plant animal car train flight hotel room student"
)


_ACTIONS = words(
    "cancel archive approve reject rename lock unlock pause resume start stop remove publish "
    "print share move copy scan verify update refresh install upgrade deploy enable disable "
    "assign mark rent order reserve repair clean invite follow block merge split join export "
    "upload"
)


def made_up_skill(draw: Draw) -> Skill:
    """A tool that nobody has seen: `get_price(product)`, `archive_ticket(ticket, days)`."""
    return _made_up_action(draw) if draw.chance(0.4) else _made_up_lookup(draw)


def _made_up_action(draw: Draw) -> Skill:
    verb, subject = draw.pick(_ACTIONS), draw.pick(_SUBJECTS)
    if draw.chance(0.2):
        verb = draw.syllables()
    many = draw.pick(["days", "hours", "copies", "people", "seats", "minutes"])
    key = draw.pick([subject, "name", f"{subject}_name", "target"])
    counted = draw.chance(0.4)
    properties = {key: text(f"{draw.pick(['The', 'Which', 'Name of the'])} {subject}.")}
    ends = [""]
    if counted:
        properties[many] = integer(f"{draw.pick(['How many', 'Number of'])} {many}.")
        ends = [f" for {{{many}}} {many}", f", {{{many}}} {many}"]
    starts = (f"{verb} the {subject} {{{key}}}", f"please {verb} {{{key}}}", f"{verb} {{{key}}}")
    make: Callable[[Draw], str] = draw.pick([Draw.word, Draw.identifier, Draw.person])
    done = draw.pick(["done", "ok", "yes", "finished"])
    extra = f" for {{{many}}} {many}" if counted else ""
    answer = f"The {subject} {{{key}}}: {verb}{extra} is done."
    return Skill(
        f"{verb}_{subject}",
        (f"{verb.capitalize()} a {subject}.", f"{verb.capitalize()} one {subject} of ours."),
        properties,
        tuple(f"{start[0].upper()}{start[1:]}{end}." for start in starts for end in ends),
        lambda d: {key: make(d)} | ({many: d.between(1, 60)} if counted else {}),
        lambda _, args: (done, answer.format(**args)),
    )


def _made_up_lookup(draw: Draw) -> Skill:
    verb, what, subject = draw.pick(list(_VERBS)), draw.pick(_PROPERTIES), draw.pick(_SUBJECTS)
    if draw.chance(0.25):
        what = draw.syllables()
    numeric = draw.chance(0.35)
    key = draw.pick([subject, f"{subject}_id" if numeric else f"{subject}_name", "id", "name"])
    if numeric:
        key = draw.pick([f"{subject}_id", "id", "number"])
    make: Callable[[Draw], Any] = draw.pick([Draw.word, Draw.identifier, Draw.person])
    frames = tuple(t.replace("{p}", what).replace("{s}", f"{{{key}}}") for t in _VERBS[verb])
    asked = tuple(
        frame.replace(f"{{{key}}}", f"{lead}{{{key}}}")
        for frame in frames
        for lead in ((f"{subject} ", f"the {subject} ") if numeric else ("", f"{subject} "))
    )

    def reply(d: Draw, args: Arguments) -> tuple[str, str]:
        value = d.pick([str(d.between(1, 9999)), d.syllables(), d.piece()])
        result = d.pick([value, json.dumps({what: value}), f"{what}: {value}"])
        return result, f"The {what} of {args[key]} is {value}."

    return Skill(
        f"{verb}_{what}" if draw.chance(0.5) else f"{verb}_{subject}_{what}",
        (f"{verb.capitalize()} the {what} of a {subject}.", f"The {what} of a {subject}."),
        {key: integer(f"Number of the {subject}.") if numeric else text(f"The {subject}.")},
        asked,
        lambda d: {key: d.between(1, 99999) if numeric else make(d)},
        reply,
    )
