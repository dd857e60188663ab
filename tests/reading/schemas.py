"""Tools whose arguments can be drawn: what was meant is known before anything is written."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeAlias

from jsonschema import Draft202012Validator

JsonObject: TypeAlias = dict[str, Any]

_TOOLS: Final = """
send_mail to=s subject=s body=t urgency?=low|normal|high cc?=[s]
send to=s body=t
read_file path=p offset?=i limit?=i
write_file path=p content=c
edit_file path=p old=c new=c count?=i
delete_file! path=p
list_files path=p pattern?=s hidden?=b
move! source=p target=p overwrite?=b
grep pattern=s path?=p ignore_case?=b context?=i
shell command=c timeout?=f
run_python code=c args?=[s]
sql query=c parameters?=[any]
web_search query=t limit?=i region?=us|eu|asia
fetch url=u timeout?=f headers?=free
post_form! url=u fields=free
weather city=s unit?=celsius|fahrenheit days?=i
geocode address=t country?=s*
route start={lat=f,lon=f} end={lat=f,lon=f} mode=car|bike|foot
find_place query=t near?={lat=f,lon=f}* radius?=i
book_table! restaurant=s people=i when=d note?=t*
book_flight origin=s destination=s day=d passengers?=[{name=s,age=i}] cabin?=economy|business
cancel_booking! reference=s reason?=t
create_event title=s start=d end=d attendees?=[s] online?=b
move_event! id=i start=d
list_events day=d calendar?=s
remind text=t at=d repeat?=never|daily|weekly
set_alarm! hour=i minute=i days?=[mon|tue|wed|thu|fri]
timer seconds=f label?=s
add a=i b=i
divide! a=f b=f
solve equation=s variable?=s
sort_numbers numbers=[f] descending?=b
statistics values=[f] weights?=[f]
convert amount=f source=s target=s
stock symbol=s fields?=[price|volume|change]
transfer! amount=f iban=s note?=t
refund order=i amount?=f* reason=t
order_item! item=s quantity=i colour?=s* gift?=b
track_parcel number=any
customer id=any detail?=b
update_customer+ id=i name?=s address?={street=s,city=s,zip=s}
tag_issue number=i labels=[s] close?=b
open_issue title=s body=t labels?=[s] assignee?=s*
review_pr! number=i verdict=approve|comment|reject comments?=[{path=p,line=i,text=t}]
commit message=t files=[p] amend?=b
branch! name=s from?=s
translate text=t target=s formal?=b
summarize text=t words?=i
rewrite text=t tone=plain|formal|friendly keep?=[s]
extract text=t fields=[s]
classify text=t labels=[s] multi?=b
draw prompt=t size?={width=i,height=i} seed?=i*
plot series=[{label=s,points=[f]}] title?=s logarithmic?=b
render_page! template=s values=free
store_memory+ key=s value=any
recall_memory key=s limit?=i
notify channel=s text=t silent?=b
play song=s artist?=s* volume?=f
lights! room=s on=b brightness?=i
thermostat room=s degrees=f mode?=heat|cool|off
camera id=s action=on|off|record seconds?=i*
scale_service! name=s replicas=i labels?=free
rollout name=s image=s strategy?={kind=rolling|recreate,surge=i}
query_metrics expression=s start=d step?=f
describe_type type=s description?=t properties?=[s]
update_settings+ required=b nullable?=s* type?=light|dark
matrix rows=[[f]] transpose?=b
filter_rows table=s where=[{column=s,operator=eq|lt|gt,value=any}] limit?=i
"""
"""One tool a line. `!` says `additionalProperties: false`, `+` says true. Types: s short text,
t prose, p path, c code, u address, d date, i integer, f number, b boolean, any text or integer,
free an object without a schema, a|b an enum, [x] a list, {k=x} an object, x* nullable, k? optional.
"""

SPELLED: Final = ('<|"|>', "<tool_call|>", "<|tool_call>", "<turn|>", "<|channel>thought\n")
"""Text of a value that looks like control tokens; only the ids tell that it is none."""


@dataclass(frozen=True)
class Node:
    """A type: its JSON Schema, and how to draw a value of it."""

    schema: JsonObject
    draw: Callable[[random.Random], Any]


@dataclass(frozen=True, eq=False)
class SchemaTool:
    """A tool known by its schema.

    Attributes:
        closed: No argument may be given that is not declared.
    """

    name: str
    schema: JsonObject
    members: dict[str, Node] = field(repr=False)
    closed: bool

    @property
    def required(self) -> list[str]:
        return list(self.schema["required"])

    def arguments(self, source: random.Random) -> JsonObject:
        """Arguments that a model may mean: in the order of the schema, or in another."""
        chosen = [name for name in self.members if name in self.required or source.random() < 0.6]
        if source.random() < 0.3:
            source.shuffle(chosen)
        return {name: self.members[name].draw(source) for name in chosen}

    def plain_arguments(self, source: random.Random) -> JsonObject:
        """Arguments in which nothing is spelled like a control token."""
        while True:
            arguments = self.arguments(source)
            text = json.dumps(arguments, ensure_ascii=False)
            if not any(
                literal.split("thought")[0] in text.replace('\\"', '"') for literal in SPELLED
            ):
                return arguments

    def fits(self, arguments: JsonObject) -> bool:
        """Whether arguments fit, as another implementation of JSON Schema has it."""
        known = not self.closed or set(arguments) <= set(self.members)
        return known and _validator(self).is_valid(arguments)


@cache
def _validator(tool: SchemaTool) -> Draft202012Validator:
    return Draft202012Validator(tool.schema)


# --- values ------------------------------------------------------------------------------------

_WORDS: Final = re.findall(
    r"\S+",
    "Oslo light blue paint the invoice of March meeting room weekly report cafe Zürich naïve 東京 "
    "привет مرحبا 😀 quick brown fox urgent please check number total and or not for with",
)
_PHRASES: Final = (
    "Hello, Ann: how are you?",
    'She said "no", then left.',
    "it's the user's file",
    "a, b, and c",
    "first line\nsecond line\n\n- item: one\n- item: two",
    "C:\\temp\\new",
    '{"a": 1, "b": [2, 3]}',
    "see [1], [2] and {3}",
    "x = {'k': [1, 2]}",
    "price: 5, amount: 7",
    "a\tb",
    "100%",
    "null",
    "5",
    "true",
    "",
    "call:add{a:1,b:2}",
    "(see below)",
)
_CODE: Final = (
    "print('hi')",
    'print("hi, there")',
    "def f(a, b):\n    return {a: b}\n",
    "for (i = 0; i < n; i++) { x[i] = 0; }",
    "SELECT name, age FROM users WHERE id = 5 AND city = 'Oslo'",
    "ls -la | grep '.py' && echo \"done\"",
    "a = {'k': [1, 2], \"z\": None}\nif a: pass",
    "#include <stdio.h>\nint main() { return 0; }",
    "echo hello",
    '{"name": "f", "arguments": {}}',
)


def _words(source: random.Random, least: int, most: int) -> str:
    return " ".join(source.choices(_WORDS, k=source.randint(least, most)))


def _short(source: random.Random) -> str:
    return source.choice(_PHRASES) if source.random() < 0.1 else _words(source, 1, 3)


def _prose(source: random.Random) -> str:
    parts = [_words(source, 1, 7) for _ in range(source.randint(1, 2))]
    if source.random() < 0.4:
        parts.insert(source.randrange(3), source.choice(_PHRASES))
    if source.random() < 0.05:
        parts.append(source.choice(SPELLED))
    return source.choice((" ", ", ", "\n", ". ")).join(parts)


def _code(source: random.Random) -> str:
    text = source.choice(_CODE)
    if source.random() < 0.08:
        text += source.choice(SPELLED)
    return text


def _path(source: random.Random) -> str:
    parts = source.choices(("src", "docs", "a b", "main.py", "x,y.md", "..", "Zürich"), k=2)
    return source.choice(("", "/", "./")) + "/".join(parts)


def _url(source: random.Random) -> str:
    query = source.choice(("", "?q=a,b&n=5", "#part", "?x={1}"))
    return f"https://example.org/{source.choice(_WORDS)}{query}"


def _date(source: random.Random) -> str:
    day = f"2026-{source.randint(1, 12):02}-{source.randint(1, 28):02}"
    return day if source.random() < 0.5 else f"{day}T{source.randint(0, 23):02}:30"


def _integer(source: random.Random) -> int:
    return source.choice((0, 1, 3, 7, 42, -5, 2026, source.randrange(10**6)))


def _number(source: random.Random) -> float | int:
    return source.choice((0.5, -2.25, 3, 10.5, 59.91, 1e-3, round(source.uniform(-90, 90), 4)))


def _free(source: random.Random) -> JsonObject:
    names = source.sample(
        ("user", "city", "n", "x-token", "accept", "page"), k=source.randint(0, 3)
    )
    return {name: source.choice((_short, _integer, _boolean))(source) for name in names}


def _boolean(source: random.Random) -> bool:
    return source.random() < 0.5


def _either(source: random.Random) -> str | int:
    return _integer(source) if source.random() < 0.5 else _words(source, 1, 2)


_TEXT: Final = {"type": "string"}
_PLAIN: Final[dict[str, Node]] = {
    "s": Node(_TEXT, _short),
    "t": Node(_TEXT, _prose),
    "p": Node(_TEXT, _path),
    "c": Node(_TEXT, _code),
    "u": Node(_TEXT, _url),
    "d": Node(_TEXT, _date),
    "i": Node({"type": "integer"}, _integer),
    "f": Node({"type": "number"}, _number),
    "b": Node({"type": "boolean"}, _boolean),
    "any": Node({"anyOf": [_TEXT, {"type": "integer"}]}, _either),
    "free": Node({"type": "object", "additionalProperties": True}, _free),
}


# --- the table ---------------------------------------------------------------------------------


def _node(text: str) -> Node:
    if text.endswith("*"):
        return _nullable(_node(text[:-1]))
    if text.startswith("["):
        item = _node(text[1:-1])
        return Node(
            {"type": "array", "items": item.schema},
            lambda source: [item.draw(source) for _ in range(source.choice((0, 1, 2, 2, 3)))],
        )
    if text.startswith("{"):
        members = dict(_members(text[1:-1].replace(",", " ")))
        inner = {name: node for name, (node, _) in members.items()}
        return Node(
            _object(members),
            lambda source: {name: node.draw(source) for name, node in inner.items()},
        )
    if "|" in text:
        names = text.split("|")
        return Node({"type": "string", "enum": names}, lambda source: source.choice(names))
    return _PLAIN[text]


def _nullable(node: Node) -> Node:
    kind = node.schema["type"]
    return Node(
        node.schema | {"type": [kind, "null"]},
        lambda source: None if source.random() < 0.4 else node.draw(source),
    )


def _members(text: str) -> Iterator[tuple[str, tuple[Node, bool]]]:
    for found in re.finditer(r"(\w+)(\??)=((?:\{[^}]*\}|\[[^ ]*\]|[^ ])+)", text):
        yield found[1], (_node(found[3]), not found[2])


def _object(members: dict[str, tuple[Node, bool]]) -> JsonObject:
    return {
        "type": "object",
        "properties": {name: node.schema for name, (node, _) in members.items()},
        "required": [name for name, (_, required) in members.items() if required],
    }


def tool_of(line: str) -> SchemaTool:
    """The tool that a line of the table tells of."""
    head, _, rest = line.partition(" ")
    name = head.rstrip("!+")
    members = dict(_members(rest))
    schema = _object(members)
    if head != name:
        schema["additionalProperties"] = head.endswith("+")
    nodes = {key: node for key, (node, _) in members.items()}
    return SchemaTool(name, schema, nodes, closed=not head.endswith("+"))


TOOLS: Final = {tool.name: tool for tool in map(tool_of, _TOOLS.strip().splitlines())}
