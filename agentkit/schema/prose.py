"""What a schema asks of a value, in short English: the one table of words, and sentences of them.

In: a keyword and its value, or a node of a schema. Out: a few words such as `at least 3` and
`a date like 2026-07-31`, by which feedback says what was wanted, whichever validator found that
out; and sentences, in which a declaration says beforehand what Gemma's template has no place for.
Nothing here decides what is declared: `lower` does.

The words are for a model of two billion parameters: one fact a sentence, ordinary words, the
numbers as digits. A sentence knows which facts of the source it states, so that a loss report can
list what was stated and what was not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from pydantic_core import to_json

from agentkit.exact import text_of_inexact
from agentkit.schema.nodes import NUMERIC_FORMATS, Fact, Node, walk
from agentkit.schema.shape import Shape
from agentkit.wording import listed, pluralize

FORMATS: Final[Mapping[str, str]] = {
    "date": "a date like 2026-07-31",
    "date-time": "a date and time like 2026-07-31T14:30:00Z",
    "time": "a time like 14:30:00",
    "duration": "a duration like PT1H30M",
    "email": "an e-mail address",
    "uri": "a URL",
    "url": "a URL",
    "uuid": "a UUID",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "hostname": "a host name",
    "byte": "text in base64",
    "binary": "the content itself, as text",
    "regex": "a regular expression",
    "json-pointer": "a JSON pointer",
}
"""What is said of a text, by the value of the keyword `format`."""

_TYPES: Final[Mapping[str, str]] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}

_LIMITS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "pattern": "text that matches {}",
    "uniqueItems": "items that differ",
    "contains": "an item of another kind as well",
    "propertyNames": "other keys",
    "dependentRequired": "what has to go with it",
    "not": "anything else",
}
"""What is said of a keyword; {} is its value."""

_SHOWN: Final = 40
"""Most characters of a value."""


def limit(keyword: str, value: object) -> str:
    """What a keyword asks for: `at least 3`, `a date like 2026-07-31`, `"a" or "b"`."""
    if keyword == "type":
        kinds = value if isinstance(value, list) else [value]
        return " or ".join(filter(None, (_TYPES.get(str(kind), "") for kind in kinds)))
    if keyword == "format":
        return FORMATS.get(str(value), f"format: {value}")
    if keyword in ("enum", "const"):
        values = value if keyword == "enum" and isinstance(value, list) else [value]
        return either([short(each) for each in values])
    said = value if isinstance(value, str) else json.dumps(value, default=str)
    words = _LIMITS.get(keyword, f"what {keyword} allows").format(said)
    return re.sub(r"\b1 (character|item|key)s\b", r"1 \1", words)


def wanted(shape: Shape) -> str:
    """What may stand in a place, as a short noun phrase; empty for anything."""
    if (values := shape.values) is not None:
        return limit("enum", list(values))
    if len(shape.branches) > 1:
        phrases = dict.fromkeys(map(wanted, shape.branches))
        return "" if "" in phrases else " or ".join(phrases)
    if (form := shape.keyword("format")) in FORMATS:
        return limit("format", form)
    return limit("type", sorted(shape.types or ()))


def short(value: object) -> str:
    """A value as short JSON."""
    try:
        text = to_json(value, inf_nan_mode="constants", fallback=str).decode()
    except ValueError:  # half of a surrogate pair, or nested too deeply
        text = text_of_inexact(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def either(choices: Sequence[str]) -> str:
    """`a or b`, `a, b or c`; those that fit, where they are many."""
    if sum(map(len, choices)) > 3 * _SHOWN:
        kept = list(_within(choices, 2 * _SHOWN))
        return f"{', '.join(kept)} or {len(choices) - len(kept)} more"
    return listed(choices, "or")


def _within(choices: Iterable[str], room: int) -> Iterable[str]:
    for choice in choices:
        room -= len(choice)
        if room <= 0:
            return
        yield choice


# --- sentences of a declaration ------------------------------------------------------------------

MAX_SENTENCE: Final = 400
"""Longest sentence in characters; a longer one costs the reader more than it tells."""
_DEEPEST: Final = 3
_ABOUT_TEXT: Final = ("minLength", "maxLength")
_ABOUT_LIST: Final = ("minItems", "maxItems")
_ABOUT_KEYS: Final = ("minProperties", "maxProperties")
_SPELLS_JSON: Final = frozenset(
    {"type", "anyOf", "oneOf", "additionalProperties", "title", "description", "default"}
)
"""Keywords that a schema for "any JSON value" may use and limit nothing by."""


class SchemaProse:
    """Says nodes in words, with the names that the model is shown.

    Args:
        names: Member names → the names shown for them, where these differ.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def name(self, name: str) -> str:
        """The name the model is shown."""
        return self._names.get(name, name)

    # --- sentences beside a declaration ----------------------------------------------------------

    def sentences(self, node: Node, *, choices_shown: bool) -> Iterator[Phrase]:
        """What a node's declaration cannot hold, the default last."""
        if node.choices is not None and not choices_shown:
            yield choices(node, "one of ")
        number = number_range(node)
        if number.text:
            whole = "integer" if list(node.kinds) == ["integer"] else "number"
            full = number.text[0].isdigit() or number.text[0] == "-"
            yield Phrase(f"{whole} {number.text}", number.facts) if full else number
        yield from self._fragments(node)
        yield from (self.union(node, index) for index in range(len(node.unions)))
        yield from hints(node)

    def _fragments(self, node: Node) -> Iterator[Phrase]:
        """Everything about a node but its number range, each as a piece in lower case."""
        yield multiple(node)
        yield counted(node, _ABOUT_TEXT, "character", "not empty")
        yield from texts(node)
        yield self._tuple(node)
        yield counted(node, _ABOUT_LIST, "item")
        yield from self._lists(node)
        yield from self._keys(node)
        yield counted(node, _ABOUT_KEYS, "key")
        yield from self._conditions(node)

    def _tuple(self, node: Node) -> Phrase:
        if not node.prefix:
            return Phrase("")
        nouns = [self.noun(child, 1) for child in node.prefix]
        numbered = [Phrase(f"{at}. {noun.text}", noun.facts) for at, noun in enumerate(nouns, 1)]
        inside = joined(numbered, ", ")
        own = node.all("prefixItems") + node.all("items")
        closed = node.items is not None and node.items.never
        text = f"{'exactly ' if closed else ''}these items in order: {inside.text}"
        if node.items is None or closed:
            return Phrase(text, inside.facts + own)
        rest = self.noun(node.items, 1)
        return Phrase(f"{text}, then each {rest.text}", inside.facts + own + rest.facts)

    def _lists(self, node: Node) -> Iterator[Phrase]:
        unique = node.all("uniqueItems")
        if any(fact.value is True for fact in unique):
            yield Phrase("no duplicates", unique)
        least = [fact for fact in node.all("minContains") if isinstance(fact.value, int)]
        most = [fact for fact in node.all("maxContains") if isinstance(fact.value, int)]
        for fact in node.all("contains"):
            if isinstance(fact.value, Node):
                inner = self.noun(fact.value, 1)
                count = f"at least {least[0].value}" if least else "at least 1"
                count += f" and at most {most[0].value}" if most else ""
                word = "item" if count == "at least 1" else "items"
                text = f"{count} {word} must be {inner.text}"
                yield Phrase(text, (fact, *least, *most, *inner.facts))
        for fact in node.all("unevaluatedItems"):
            if isinstance(fact.value, Node) and fact.value.never:
                yield Phrase("no further items", (fact,))

    def _keys(self, node: Node) -> Iterator[Phrase]:
        for fact in node.all("propertyNames"):
            if isinstance(fact.value, Node):
                inner = self.noun(fact.value, 1)
                yield Phrase(f"each key: {inner.text}", (fact, *inner.facts))
        facts = node.all("patternProperties")
        for pattern, child in node.patterns:
            inner = self.noun(child, 1)
            yield Phrase(f"keys matching {pattern}: {inner.text}", (*facts, *inner.facts))
        yield self._extra(node)

    def _extra(self, node: Node) -> Phrase:
        """Free members; a closed object says nothing, its members are all there is."""
        extra, facts = node.extra, node.all("additionalProperties")
        if extra is None or extra.never:
            return Phrase("")
        inner = self.noun(extra, 1)
        keys = "other keys allowed" if node.properties or node.patterns else "any keys"
        if not extra.kinds:
            return Phrase(keys, facts + inner.facts)
        return Phrase(f"{keys}, each value: {inner.text}", facts + inner.facts)

    def _conditions(self, node: Node) -> Iterator[Phrase]:
        for fact in node.all("not"):
            if isinstance(fact.value, Node) and not fact.value.all("$ref"):  # what leads nowhere
                inner = self._clause(fact.value)
                yield Phrase(f"never {inner.text}", (fact, *inner.facts))
        for fact in node.all("if"):
            yield self._if(fact)
        for fact in node.all("dependentRequired"):
            if isinstance(fact.value, Mapping):
                pairs = [
                    Phrase(f"with {self.name(name)} also give {listed(map(self.name, others))}")
                    for name, needed in sorted(fact.value.items(), key=itemgetter(0))
                    if (others := sorted(needed, key=str))
                ]
                yield Phrase(joined(pairs, "; ").text, (fact,))
        for fact in node.all("dependentSchemas"):
            name, child = fact.value
            inner = self._clause(child)
            yield Phrase(f"with {self.name(name)}: {inner.text}", (fact, *inner.facts))

    def _if(self, fact: Fact) -> Phrase:
        test, then, other = fact.value
        condition = self._clause(test)
        parts = [Phrase(f"if {condition.text}", (fact, *condition.facts))]
        for word, child in (("then", then), ("otherwise", other)):
            inner = self._clause(child)
            parts.append(Phrase(f"{word} {inner.text}" if inner.text else "", inner.facts))
        return joined(parts, ", ")

    def _clause(self, node: Node) -> Phrase:
        """A node as a condition on the value: `kind is "cat" and lives is given`."""
        if list(node.kinds) != ["object"]:
            return self.noun(node, 1)
        parts: list[Phrase] = []
        for name, child in node.properties.items():
            inner = self.noun(child, 1)
            parts.append(Phrase(f"{self.name(name)} is {inner.text or 'anything'}", inner.facts))
        given = sorted(node.required - node.properties.keys())
        if given:
            verb = "is" if len(given) == 1 else "are"
            parts.append(Phrase(f"{listed(map(self.name, given))} {verb} given"))
        parts += [fragment for fragment in self._fragments(node) if fragment.text]
        parts += [self.union(node, index) for index in range(len(node.unions))]
        whole = joined(parts, " and ")
        return Phrase(whole.text, whole.facts + _structure(node))

    # --- unions ----------------------------------------------------------------------------------

    def union(self, node: Node, index: int, *, declared: Node | None = None) -> Phrase:
        """The branches of a union in one sentence.

        Args:
            node: The node that has the union.
            index: Which of its unions.
            declared: A branch whose structure the declaration shows, so that it is only named.
        """
        union = node.unions[index]
        if all(branch.kinds <= {"object"} for branch in union.branches):
            return self._forms(union.fact, union.branches)
        if anything := _anything(node):
            return anything
        either = self._either(union.branches, declared, 1)
        if len(either.text) > MAX_SENTENCE:
            either = self._either(union.branches, declared, _DEEPEST + 1)
        return Phrase(f"either {either.text}", (union.fact, *either.facts))

    def _either(self, branches: tuple[Node, ...], declared: Node | None, depth: int) -> Phrase:
        nouns = (
            Phrase(f"this {'/'.join(sorted(branch.kinds))}")
            if branch is declared
            else self.noun(branch, depth)
            for branch in branches
        )
        return joined(nouns, ", ", ", or ")

    def _forms(self, fact: Fact, branches: tuple[Node, ...]) -> Phrase:
        """Branches that are objects: which members belong together."""
        tag = _discriminator(branches)
        forms = [self._form(branch, tag) for branch in branches]
        whole = joined(forms, "; ") if tag else joined(forms, ", ", ", or ")
        text = whole.text if tag else f"give either {whole.text}"
        return Phrase(text, (fact, *whole.facts))

    def _form(self, branch: Node, tag: str) -> Phrase:
        names = [name for name in branch.members() if name != tag]
        needs = listed(self.name(name) for name in names if name in branch.required)
        may = listed(self.name(name) for name in names if name not in branch.required)
        parts = [f"needs {needs}" if tag else needs] if needs else []
        parts += [f"may have {may}"] if may else []
        text = ", ".join(parts) or ("nothing else" if tag else "nothing more")
        inner = joined([f for f in self._fragments(branch) if f.text], ", ")
        text += f" ({inner.text})" if inner.text else ""
        facts = (*inner.facts, *_structure(branch))
        if not tag:
            return Phrase(text, facts)
        value = choices(branch.properties[tag], "")
        return Phrase(f"with {self.name(tag)} {value.text}: {text}", facts)

    # --- a node inside a sentence ----------------------------------------------------------------

    def noun(self, node: Node, depth: int = 0) -> Phrase:
        """A node as a noun: `integer 1 to 7`, `array of string`, `"a" or "b"`."""
        if node.cut:
            what = node.origin or "value"
            return Phrase(f"a {what}" if node.cut == "size" else f"another {what} of the same form")
        if node.never:
            return Phrase("nothing")
        if node.choices is not None:
            return choices(node, "")
        if node.unions:
            return self._noun_union(node, depth)
        kinds = sorted(node.kinds)
        base = joined([self.kind(node, kind, depth) for kind in kinds], ", ", " or ")
        number = number_range(node)
        text = base.text or ("any value" if not node.nullable else "null")
        if number.text and kinds in (["integer"], ["number"]):
            text, base = f"{text} {number.text}", Phrase("", base.facts + number.facts)
        if depth > _DEEPEST and not {"array", "object"}.isdisjoint(kinds):
            return Phrase(text, base.facts)
        fragments = joined([f for f in self._fragments(node) if f.text], ", ")
        if node.nullable and text != "null":
            text += " or null"
        if fragments.text:
            text += f" ({fragments.text})"
        stating = ("type", "anyOf", "oneOf", "nullable") if node.nullable else ("type",)
        own = tuple(fact for fact in node.facts if fact.keyword in stating)
        return Phrase(text, base.facts + fragments.facts + own)

    def _noun_union(self, node: Node, depth: int) -> Phrase:
        union = node.unions[0]
        nouns = joined([self.noun(branch, depth + 1) for branch in union.branches], ", ", " or ")
        inner = joined([f for f in self._fragments(node) if f.text], ", ")
        text = f"{nouns.text} ({inner.text})" if inner.text else nouns.text
        return Phrase(text, (union.fact, *nouns.facts, *inner.facts, *node.all("type")))

    def kind(self, node: Node, kind: str, depth: int = 0) -> Phrase:
        """One type of a node, with what is inside it."""
        if depth > _DEEPEST:
            return Phrase(kind)
        if kind == "array" and node.items is not None and not node.items.never and not node.prefix:
            inner = self.noun(node.items, depth + 1)
            return Phrase(f"array of {inner.text}", inner.facts)
        if kind == "object" and node.members():
            parts = []
            for name, child in node.members().items():
                inner = self.noun(child, depth + 1)
                mark = "" if name in node.required else "?"
                parts.append(Phrase(f"{self.name(name)}{mark}: {inner.text}", inner.facts))
            inside = joined(parts, ", ")
            closed = node.all("required") + node.all("additionalProperties")
            return Phrase(f"object {{{inside.text}}}", inside.facts + closed)
        return Phrase(kind)


def _structure(node: Node) -> tuple[Fact, ...]:
    """The facts that naming a node's members says."""
    closed = node.extra is not None and node.extra.never
    return (
        node.all("type")
        + node.all("required")
        + (node.all("additionalProperties") if closed else ())
    )


def _anything(node: Node) -> Phrase | None:
    """A union that spells out JSON itself, or None."""
    if not {"object", "array", "string", "boolean"} <= node.kinds:
        return None
    facts = tuple(fact for inner in walk(node) for fact in inner.facts)
    free = all(fact.keyword in _SPELLS_JSON for fact in facts)
    return Phrase("any JSON value", facts) if free else None


def _discriminator(branches: tuple[Node, ...]) -> str:
    """The member whose fixed value tells the branches apart, or an empty text."""
    first = branches[0]
    for name in first.properties:
        tags = [branch.properties.get(name) for branch in branches]
        fixed = [tag.choices for tag in tags if tag is not None and tag.choices]
        values = [json_text(value) for choices in fixed for value in choices]
        if len(fixed) == len(branches) and len(set(values)) == len(values):
            return name
    return ""


_MAX_DEFAULT: Final = 120
_MAX_CHOICES: Final = 60
_MANY_CHOICES: Final = 6
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


# --- phrases -------------------------------------------------------------------------------------


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
    return value if isinstance(value, int) or not value.is_integer() else int(value)


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
        return Phrase(f"exactly {pluralize(high, noun)}", facts)
    return Phrase(f"{low} to {pluralize(high, noun)}" if low else limit(keywords[1], high), facts)


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
    for fact in node.all("examples") + node.all("example"):
        values = fact.value if fact.keyword == "examples" else [fact.value]
        shown = [json_text(value) for value in values[:2]] if isinstance(values, list) else []
        if shown and len(", ".join(shown)) <= _MAX_DEFAULT:
            yield Phrase(f"example: {', '.join(shown)}", (fact,))
    for fact in node.all("default")[:1]:
        text = json_text(fact.value)
        if fact.value is not None and len(text) <= _MAX_DEFAULT:
            yield Phrase(f"default: {text}", (fact,))
