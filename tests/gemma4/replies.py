"""Random replies of a model: whole ones, cut ones, broken ones, and a tokenizer for them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from agentkit.events import ReasoningDelta, TextDelta
from agentkit.gemma4.calls import ParsedCall
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.parse import ParsedReply, Parser, ParserEvent
from agentkit.gemma4.render import render_call
from agentkit.gemma4.tokens import CALL_OPEN, CONTROL_LITERALS, IDS, QUOTE

SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "write": {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "code": {"type": "string"},
            "n": {"type": "integer"},
            "ratio": {"type": "number"},
            "flag": {"type": "boolean"},
            "refs": {"type": "array", "items": {"type": "string"}},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "maybe": {"type": ["string", "null"]},
            "node": {"$ref": "#/$defs/Node"},
            "free": {"type": "object"},
        },
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {"size": {"type": "integer"}, "next": {"$ref": "#/$defs/Node"}},
            }
        },
    },
    "f": {"type": "object", "properties": {}},
}

SPELLED_QUOTE: Final = "\ue000"
"""Stands for the quote's characters in ordinary tokens, until they are put in."""

_WORDS = ("", "a", "Oslo", "x = 1", '"', "'", "{", "}", "[", "]", ",", ":", "k:v,", "\n", "\\", "é")
_TEXT = (*_WORDS, "😀", " ", "null", "5", "call:f{}", "thought\n", *CONTROL_LITERALS)


def random_text(source: random.Random, *, quotes: bool = False) -> str:
    """Text of a string value: anything but the quote token, unless spelled-out quotes may be."""
    text = "".join(source.choices(_TEXT, k=source.randint(0, 5)))
    return text.replace(QUOTE, SPELLED_QUOTE if quotes else "")


def random_value(source: random.Random, depth: int = 0, *, quotes: bool = False) -> Any:
    kind = source.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return source.choice((None, True, False))
    if kind == 1:
        return source.choice((0, -1, 7, 10**18, -(10**25)))
    if kind == 2:
        return source.choice((0.5, -2.0, 1e-9, 1e22, -0.0, source.random()))
    if kind < 6:
        return random_text(source, quotes=quotes)
    size = source.randint(0, 3)
    if kind == 6:
        return [random_value(source, depth + 1, quotes=quotes) for _ in range(size)]
    return random_arguments(source, depth + 1, quotes=quotes)


def random_arguments(
    source: random.Random, depth: int = 0, *, quotes: bool = False
) -> dict[str, Any]:
    names = source.sample(("a", "B", "path", "n_1", "x-y", "dotted.name", "type", "ключ"), k=3)
    return {
        name: random_value(source, depth, quotes=quotes) for name in names[: source.randint(0, 3)]
    }


def random_call(source: random.Random, *, quotes: bool = False) -> tuple[str, dict[str, Any]]:
    return source.choice(("f", "get_weather", "ns.tool", "a-b")), random_arguments(
        source, quotes=quotes
    )


# --- tokens ------------------------------------------------------------------------------------

_LITERAL = re.compile("|".join(map(re.escape, sorted(IDS, key=len, reverse=True))))
_BY_ID: Final = {number: literal for literal, number in IDS.items()}


def tokenize(text: str, source: random.Random) -> list[tuple[int, str]]:
    """Control literals as single tokens, the rest in pieces of one to four characters."""
    tokens: list[tuple[int, str]] = []
    at = 0
    for found in _LITERAL.finditer(text):
        tokens += _ordinary(text[at : found.start()], source)
        tokens.append((IDS[found[0]], found[0]))
        at = found.end()
    return tokens + _ordinary(text[at:], source)


def _ordinary(text: str, source: random.Random) -> list[tuple[int, str]]:
    pieces: list[tuple[int, str]] = []
    while text:
        size = source.randint(1, 4)
        pieces.append((1000 + size, text[:size].replace(SPELLED_QUOTE, QUOTE)))
        text = text[size:]
    return pieces


def call_tokens(
    name: str, arguments: Mapping[str, Any], source: random.Random
) -> list[tuple[int, str]]:
    """A call as tokens in which literals inside strings are ordinary ones.

    Strings are rendered with every `<` shifted away, so that only the call's own literals match.
    """
    shifted = json.loads(json.dumps(arguments).replace("<", "\ue001"))
    return [
        (number, piece if number in _BY_ID else piece.replace("\ue001", "<"))
        for number, piece in tokenize(render_call(name, shifted), source)
    ]


# --- feeding -----------------------------------------------------------------------------------


def pieces_of(text: str, cuts: Iterable[int]) -> Iterator[str]:
    start = 0
    for cut in sorted(cuts):
        yield text[start:cut]
        start = cut
    yield text[start:]


def fed(parser: Parser, pieces: Iterable[str]) -> tuple[list[ParserEvent], ParsedReply]:
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events, parser.finish()


def only_call(reply: ParsedReply) -> ParsedCall:
    assert len(reply.calls) == 1, reply
    assert (reply.text, reply.reasoning, reply.truncated) == ("", "", None), reply
    return reply.calls[0]


def same(left: object, right: object) -> bool:
    """Equal, and equal in type: 1 is not 1.0 and not true."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


# --- fuzz --------------------------------------------------------------------------------------

_FRAGMENTS = (
    *CONTROL_LITERALS,
    *(QUOTE, "<|tool_call>call:write{", "}<tool_call|>", "<|channel>thought\n", "<tool_call|>") * 4,
    *("path:", "code:", "n:", "refs:[", "node:{size:", "free:{a:", ",", ":", "=", "}", "]") * 3,
    *("{", "[", "(", ")", '"', "'", "\\", "\n", " ", "a", "5", "1.0", "-", "1e999", "null", "true"),
    *("call:write{", "call:f{", "call:", "thought\n", '{"name":"f","arguments":{', "\ufdd0", "é"),
    *("<", "<|", "<|tool", "|>", "9" * 50, "text ", "\ud7ff", "\U0010ffff", "\0"),
)


def random_reply(source: random.Random) -> str:
    """Something a model might write, then damaged; or a heap of fragments."""
    if source.random() < 0.5:
        return "".join(source.choices(_FRAGMENTS, k=source.randint(0, 24)))
    reply = ""
    if source.random() < 0.3:
        reply += f"<|channel>thought\n{random_text(source)}\n<channel|>"
    for _ in range(source.randint(0, 3)):
        reply += random_text(source) + render_call("write", _typed_arguments(source))
    for _ in range(source.randint(0, 3)):
        reply = _damaged(reply, source)
    return reply


def _typed_arguments(source: random.Random) -> dict[str, Any]:
    names = source.sample(sorted(SCHEMAS["write"]["properties"]), k=source.randint(0, 4))
    return {name: random_value(source, 2) for name in names}


def _damaged(text: str, source: random.Random) -> str:
    at, to = sorted((source.randint(0, len(text)), source.randint(0, len(text))))
    how = source.randrange(4)
    if how == 0:
        return text[:at]
    if how == 1:
        return text[:at] + text[min(to, at + 8) :]
    if how == 2:
        return text[:at] + source.choice(_FRAGMENTS) + text[at:]
    return text[:at] + text[at:to] * 2 + text[to:]


def check_any_input(text: str, source: random.Random) -> None:
    """What must hold of every input: a typed result, the same however it was cut."""
    new = partial(Parser, SCHEMAS, in_reasoning=source.random() < 0.2)
    cuts = [source.randint(0, len(text)) for _ in range(source.randint(0, 4))]
    events, reply = fed(new(), pieces_of(text, cuts))
    _, whole = fed(new(), [text])
    assert reply == whole, (text, cuts, new)
    _check_result(text, events, reply)
    parser = new()
    tokens = tokenize(text, source)
    parser.feed_tokens([number for number, _ in tokens], [piece for _, piece in tokens])
    _check_result(text, [], parser.finish())


def _check_result(text: str, events: list[ParserEvent], reply: ParsedReply) -> None:
    shown = "".join(event.text for event in events if isinstance(event, TextDelta))
    thought = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    assert reply.text.startswith(shown)
    assert reply.reasoning.startswith(thought)
    for call in reply.calls:
        json.dumps(call.arguments)
        assert call.raw.startswith(CALL_OPEN), (text, call)
    assert (reply.cut_call is None) or reply.truncated is not None


_TOKENS: Final = re.compile(r'<\|"\|>.*?<\|"\|>|[{}\[\],]|[^{}\[\],]+', re.DOTALL)


def repeats_a_key(call: str) -> bool:
    """Whether an object in a native call has one key twice, which no grammar can rule out."""
    objects: list[set[str] | None] = []
    for token in _TOKENS.findall(call):
        if token in "{[":
            objects.append(set() if token == "{" else None)
        elif token in "}]":
            objects.pop()
        elif ":" in token and objects and (keys := objects[-1]) is not None:
            key = token.partition(":")[0].strip()
            if key in keys:
                return True
            keys.add(key)
    return False


def unescaped(escape: Escape, value: Any) -> Any:
    """A JSON value with every string in it, keys too, as it was before it was escaped."""
    if isinstance(value, str):
        return escape.unescape(value)
    if isinstance(value, list):
        return [unescaped(escape, item) for item in value]
    if isinstance(value, dict):
        return {escape.unescape(key): unescaped(escape, item) for key, item in value.items()}
    return value


def extends(before: str, after: str) -> bool:
    """Whether a prompt only adds to an earlier one, so that the server's prefix cache holds.

    The cue at the end of `before` is left out: it makes way for what the model wrote.
    """
    cue = "<|channel>thought\n"
    kept = before.removesuffix(f"{cue}<channel|>").removesuffix(cue)
    return after.startswith(kept)
