"""Limits on values as short phrases: `1 to 7`, `not empty`, `one of 1, 2, 5`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from agentkit.schema.limits import limit
from agentkit.schema.nodes import NUMERIC_FORMATS, Fact, Node

_MAX_DEFAULT: Final = 120
_MAX_CHOICES: Final = 60
_MANY_CHOICES: Final = 6
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A piece of a sentence and the facts it says."""

    text: str
    facts: tuple[Fact, ...] = ()

    def sentence(self) -> str:
        """The piece as a sentence of its own."""
        return f"{self.text[:1].upper()}{self.text[1:]}."


def joined(phrases: Iterable[Phrase], between: str, last: str | None = None) -> Phrase:
    """Several phrases as one, their facts together."""
    parts = [phrase for phrase in phrases if phrase.text]
    texts = list(dict.fromkeys(part.text for part in parts))
    facts = tuple(fact for part in parts for fact in part.facts)
    if last is not None and len(texts) > 1:
        return Phrase(f"{between.join(texts[:-1])}{last}{texts[-1]}", facts)
    return Phrase(between.join(texts), facts)


def humanised(name: str) -> str:
    """A parameter's name as words: `maxResults` and `max_results` are `Max results`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_\-./\[\]\s]+", " ", name).strip()
    return (spaced[:1].upper() + spaced[1:].lower()) if spaced else "Value"


def json_text(value: object) -> str:
    """A value as JSON text."""
    return json.dumps(value, ensure_ascii=False)


def choices(node: Node, before: str) -> Phrase:
    """The values a node is limited to; empty when there are too many to say."""
    values = [value for value in node.choices or () if value is not None or not before]
    facts = node.all("enum") + node.all("const") + node.all("type")
    facts += node.all("anyOf") + node.all("oneOf")
    span = _span(values) if len(values) > _MANY_CHOICES else None
    if span is not None:
        return Phrase(f"an integer from {span[0]} to {span[-1]}", facts)
    if len(values) > _MAX_CHOICES:
        return Phrase("")
    texts = [json_text(value) for value in values]
    if before and len(texts) == 1:
        return Phrase(f"always {texts[0]}", facts)
    return Phrase(before + (", ".join(texts) if before else listed(texts, "or")), facts)


def _span(values: list[Any]) -> range | None:
    """Choices that are consecutive integers, as a range; there is at least one."""
    if not all(type(value) is int for value in values):
        return None
    span = range(min(values), max(values) + 1)
    return span if len(span) == len(set(values)) else None


def listed(texts: Iterable[str], word: str = "and") -> str:
    """`a, b and c`."""
    parts = list(texts)
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def _numbers(facts: Iterable[Fact]) -> list[float]:
    return [
        fact.value
        for fact in facts
        if isinstance(fact.value, int | float) and not isinstance(fact.value, bool)
    ]


def number_range(node: Node) -> Phrase:
    """The range of a number: `1 to 7`, `at least 0`, `more than 0 and at most 1`."""
    low, high, above, below = (_numbers(node.all(keyword)) for keyword in _BOUNDS)
    strict = {fact.keyword for fact in node.facts if fact.value is True}
    if "exclusiveMinimum" in strict:  # draft 4: a flag beside `minimum`
        above, low = low, []
    if "exclusiveMaximum" in strict:
        below, high = high, []
    facts = tuple(fact for keyword in _BOUNDS for fact in node.all(keyword))
    if low and high and not above and not below:
        if max(low) == min(high):
            return Phrase(f"exactly {_plain(max(low))}", facts)
        return Phrase(f"{_plain(max(low))} to {_plain(min(high))}", facts)
    parts = [limit("minimum", _whole(max(low)))] if low else []
    parts += [limit("exclusiveMinimum", _whole(max(above)))] if above else []
    parts += [limit("maximum", _whole(min(high)))] if high else []
    parts += [limit("exclusiveMaximum", _whole(min(below)))] if below else []
    return Phrase(" and ".join(parts), facts)


def _plain(value: float) -> str:
    return json_text(_whole(value))


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def multiple(node: Node) -> Phrase:
    """What a number is a multiple of."""
    facts = node.all("multipleOf")
    values = _numbers(facts)
    return Phrase(limit("multipleOf", listed(map(_plain, values))) if values else "", facts)


def counted(node: Node, keywords: tuple[str, str], noun: str, least_one: str = "") -> Phrase:
    """A count between two bounds: `1 to 5 items`, `not empty`, `exactly 2 characters`."""
    least = [int(value) for value in _numbers(node.all(keywords[0]))]
    most = [int(value) for value in _numbers(node.all(keywords[1]))]
    facts = node.all(keywords[0]) + node.all(keywords[1])
    low, high = max(least, default=0), min(most, default=None)
    if high is None:
        if low <= 1 and least_one:
            return Phrase(least_one if low else "", facts if low else ())
        return Phrase(limit(keywords[0], low) if low else "", facts)
    if low == high:
        return Phrase(f"exactly {many(high, noun)}", facts)
    return Phrase(f"{low} to {many(high, noun)}" if low else limit(keywords[1], high), facts)


def many(count: float, noun: str) -> str:
    """`1 step`, `2 steps`, `0.5 seconds`."""
    number = str(count) if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"


def texts(node: Node) -> Iterator[Phrase]:
    """Format, pattern and encoding of a string."""
    for fact in node.all("format"):
        if isinstance(fact.value, str) and fact.value not in NUMERIC_FORMATS:
            yield Phrase(limit("format", fact.value), (fact,))
    for fact in node.all("pattern"):
        yield Phrase(f"matches the pattern {fact.value}", (fact,))
    for fact in node.all("contentEncoding"):
        yield Phrase(f"encoded in {fact.value}", (fact,))
    for fact in node.all("contentMediaType"):
        yield Phrase(f"content of type {fact.value}", (fact,))


def hints(node: Node) -> Iterator[Phrase]:
    """What helps and limits nothing: deprecation, examples, and the default last."""
    if any(fact.value is True for fact in node.all("deprecated")):
        yield Phrase("deprecated", node.all("deprecated"))
    say: Callable[[Any], str] = json_text
    for fact in node.all("examples") + node.all("example"):
        values = fact.value if fact.keyword == "examples" else [fact.value]
        shown = [say(value) for value in values[:2]] if isinstance(values, list) else []
        if shown and len(", ".join(shown)) <= _MAX_DEFAULT:
            yield Phrase(f"example: {', '.join(shown)}", (fact,))
    for fact in node.all("default")[:1]:
        text = say(fact.value)
        if fact.value is not None and len(text) <= _MAX_DEFAULT:
            yield Phrase(f"default: {text}", (fact,))
