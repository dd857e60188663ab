"""Tools beside the project's four: they teach types, enums, arrays, objects and choosing.

A skill is a tool, how people ask for it, and what it returns. What is answered is what it returned:
a text as it is, the fields of an object one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from training.tiny_gemma4.draw import DAYS, Draw

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
        reply: From the arguments to the tool's text.
        optional: Parameters that are not required.
    """

    name: str
    descriptions: tuple[str, ...]
    properties: Mapping[str, Schema]
    phrasings: tuple[str, ...]
    arguments: Callable[[Draw], Arguments]
    reply: Callable[[Draw, Arguments], str]
    optional: frozenset[str] = field(default_factory=frozenset)

    def declaration(self, draw: Draw) -> dict[str, Any]:
        """The lowered tool, in one of its wordings."""
        required = [name for name in self.properties if name not in self.optional]
        parameters: Schema = {"type": "object", "properties": dict(self.properties)}
        if required:
            parameters["required"] = required
        description = draw.pick(self.descriptions)
        return {"name": self.name, "description": description, "parameters": parameters}


def answer_of(result: str) -> str:
    """What is said of a tool's text: itself, or the fields of an object."""
    if result.startswith("Error: "):
        return result.removeprefix("Error: ")
    if result.startswith("{"):
        return ", ".join(f"{key}: {value}" for key, value in json.loads(result).items())
    return result


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
LANGUAGES = ["french", "german", "spanish", "italian", "dutch", "polish"]


def _amount(draw: Draw) -> float | int:
    return draw.pick([draw.between(1, 999), draw.between(1, 9999) / 4, draw.between(1, 99) + 0.5])


def _weather(draw: Draw, _: Arguments) -> str:
    degrees, sky = draw.between(-9, 39), draw.pick(SKIES)
    if draw.chance(0.5):
        return json.dumps({"degrees": degrees, "sky": sky})
    return f"{degrees} degrees, {sky}"


def _convert(draw: Draw, args: Arguments) -> str:
    return f"{draw.between(1, 99999) / 100:.2f} {args['target']}"


def _order(draw: Draw, args: Arguments) -> str:
    state, items = draw.pick(STATES), draw.between(1, 30)
    return json.dumps({"id": args["order_id"], "items": items, "state": state})


def _event(draw: Draw, args: Arguments) -> str:
    return draw.pick([f"created event {draw.between(10, 9999)}", f"It is on {args['day']}."])


def _contact(draw: Draw, args: Arguments) -> str:
    phone = "".join(draw.letters(1, 1, "0123456789") for _ in range(7))
    return draw.pick([phone, f"{args['name']}: {phone}", json.dumps({"phone": phone})])


def _address(draw: Draw, args: Arguments) -> str:
    where = args["address"]
    return draw.pick(["saved", f"The parcel goes to {where['street']}, {where['city']}."])


def _total(_: Draw, args: Arguments) -> str:
    return str(args["a"] + args["b"])


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
        lambda d, a: d.pick(["ok", f"The timer rings in {a['minutes']} minutes."]),
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
        lambda d, a: d.pick(["sent", "delivered", "ok", f"The message to {a['to']} was sent."]),
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
        lambda d, a: d.pick(["done", f"The light in the {a['room']} is on."]),
    ),
    Skill(
        "switch_light",
        ("Switch the light of a room.", "Turns a lamp on or off."),
        {"on": boolean("True for on."), "room": text("Which room.", ROOMS)},
        ("Turn off the light in the {room}.", "Light off in the {room}", "Make the {room} dark."),
        lambda d: {"room": d.pick(ROOMS), "on": False},
        lambda d, a: d.pick(["done", f"The light in the {a['room']} is off."]),
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
        lambda d, _: " ".join(d.syllables() for _ in range(d.between(1, 3))),
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
        lambda d, a: d.pick(["ok", f"Note {a['note']} has {len(a['tags'])} tags."]),
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
        lambda d, a: d.pick(["ok", f"The volume is at {a['percent']} percent."]),
    ),
    Skill(
        "run_tests",
        ("Run the tests.", "Runs a test file."),
        {"path": text("Test file.")},
        ("Run the tests in {path}.", "Run {path}", "Do the tests of {path} pass?", "Test {path}"),
        lambda d: {"path": d.path()},
        lambda d, _: f"{d.between(1, 400)} passed in {d.between(1, 90)} s",
    ),
    Skill(
        "delete_file",
        ("Delete a file.", "Removes a file for good."),
        {"path": text("Path of the file.")},
        ("Delete {path}.", "Remove the file {path}", "Throw {path} away.", "rm {path}"),
        lambda d: {"path": d.path()},
        lambda d, a: d.pick(["deleted", f"{a['path']} was deleted."]),
    ),
    Skill(
        "write_note",
        ("Write a note.", "Saves a text as a note."),
        {"text": text("Text of the note.")},
        ('Note: "{text}"', 'Write down "{text}".', 'Remember "{text}"', 'Make a note "{text}".'),
        lambda d: {"text": " ".join(d.word() for _ in range(d.between(1, 5)))},
        lambda d, _: f"It is saved as note {d.between(1, 999)}.",
    ),
    Skill(
        "get_time",
        ("The time in a city.", "What time it is somewhere."),
        {"city": text("City.")},
        ("What time is it in {city}?", "Time in {city}?", "How late is it in {city}?"),
        lambda d: {"city": d.city()},
        lambda d, _: f"{d.between(0, 23):02}:{d.between(0, 59):02}",
    ),
)
