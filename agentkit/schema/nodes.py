"""A JSON Schema taken apart: one `Node` per place, references gone, conjunctions merged.

`read` makes a tree of nodes from a schema; what a model is shown (`lower`) and what a decoder may
produce (`agentkit.gemma4.grammar`) are both made from that tree, so that they cannot disagree.
Every keyword stays with the node as a `Fact` that knows where in the source it stood: that is
how a loss report can account for each of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal

ANY_TYPE: Final = frozenset({"object", "array", "string", "number", "boolean", "null"})
"""The types of a schema that names none; an integer is a number."""
JSON_TYPES: Final = ANY_TYPE | {"integer"}
NULL_TYPE: Final = frozenset({"null"})

_ABOUT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
    **dict.fromkeys(("contentEncoding", "contentMediaType"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), "number"),
    "multipleOf": "number",
    **dict.fromkeys(("minItems", "maxItems", "uniqueItems", "contains"), "array"),
    **dict.fromkeys(("minProperties", "maxProperties", "propertyNames"), "object"),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "unevaluatedProperties"), "object"),
}
"""Which type a keyword is about, for schemas that leave `type` out."""
OWN_KEYWORDS: Final = "x-agentkit-"
"""What our own keywords begin with (`agentkit.schema.ladder`); a stranger's schema has none."""
NUMERIC_FORMATS: Final = frozenset({"int32", "int64", "uint32", "uint64", "float", "double"})
"""Formats that only name a machine type."""


_LIMITS: Final = frozenset(
    {
        *("type", "enum", "const", "multipleOf", "minimum", "maximum"),
        *("exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "format"),
        *("contentEncoding", "items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
        *("contains", "minContains", "maxContains", "minProperties", "maxProperties", "required"),
        *("patternProperties", "additionalProperties", "propertyNames", "dependentRequired"),
        *("dependentSchemas", "if", "not", "anyOf", "oneOf", "unevaluatedItems"),
        *("unevaluatedProperties", "$ref"),
    }
)
"""Keywords that limit the value. `$ref` is a fact only where it leads nowhere."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One keyword at one place of the source.

    Attributes:
        path: JSON pointer of the schema object that holds the keyword.
        keyword: The keyword as the source spells it.
        value: Its value; a `Node`, or a tuple of them, for keywords that hold schemas.
    """

    path: str
    keyword: str
    value: Any


@dataclass(frozen=True, slots=True)
class Union:
    """An `anyOf` or `oneOf`: the value fits one of the branches."""

    fact: Fact
    branches: tuple[Node, ...]


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """What one place of a schema says about the value there.

    Attributes:
        types: The JSON types it may have. Empty: nothing fits.
        choices: The values it is limited to (`enum`, `const`), or None.
        facts: Every keyword that speaks about this place, the outermost first.
        properties: Named members.
        required: Names that must be there.
        items: Every item, or those after `prefix`; None when the schema does not limit them.
        prefix: The first items, one by one.
        extra: Members that are not named; None when the schema does not limit them, NEVER when it
            forbids them.
        patterns: Members whose name matches a regular expression.
        unions: Choices between branches. Each union holds together with everything else here.
        origin: Name of the definition it was written as, for people.
        definition: JSON pointer of what a reference led to; recursion is recognised by it.
        cut: Why a reference was not followed: its definition is open too often (`recursive`), or
            the schema is too large or too deep (`size`). Empty where all were.
    """

    types: frozenset[str] = ANY_TYPE
    choices: tuple[Any, ...] | None = None
    facts: tuple[Fact, ...] = ()
    properties: Mapping[str, Node] = field(default_factory=lambda: _NOTHING)
    required: frozenset[str] = frozenset()
    items: Node | None = None
    prefix: tuple[Node, ...] = ()
    extra: Node | None = None
    patterns: tuple[tuple[str, Node], ...] = ()
    unions: tuple[Union, ...] = ()
    origin: str = ""
    definition: str = ""
    cut: Literal["", "recursive", "size"] = ""

    def all(self, keyword: str) -> tuple[Fact, ...]:
        """The facts of one keyword."""
        return tuple(fact for fact in self.facts if fact.keyword == keyword)

    def text(self, keyword: str) -> str:
        """The first text a keyword gives, stripped; empty when there is none."""
        texts = (fact.value for fact in self.all(keyword) if isinstance(fact.value, str))
        return next((text.strip() for text in texts if text.strip()), "")

    @property
    def never(self) -> bool:
        """Whether no value fits."""
        return not self.types or self.choices == ()

    @property
    def nullable(self) -> bool:
        """Whether null is named among what fits; a schema without a type does not name it."""
        if self.choices is not None:
            return None in self.choices and "null" in self.types
        branches = [branch for union in self.unions for branch in union.branches]
        if self.types == ANY_TYPE:
            return any(branch.nullable for branch in branches)
        return "null" in self.types and (
            not branches or any("null" in branch.types for branch in branches)
        )

    @property
    def kinds(self) -> frozenset[str]:
        """The types it has apart from null: stated, or implied by its other keywords."""
        if self.choices is not None:
            return frozenset(map(kind_of, self.choices)) - {"null"}
        if self.types != ANY_TYPE:
            stated = self.types - {"null"}
            implied = self._types_from_keywords() if self.unions else stated
            return (stated & implied) or stated
        return self._types_from_keywords()

    def _types_from_keywords(self) -> frozenset[str]:
        if self.properties or self.required or self.patterns or self.extra is not None:
            return frozenset({"object"})
        if self.items is not None or self.prefix:
            return frozenset({"array"})
        about = {_ABOUT[fact.keyword] for fact in self.facts if fact.keyword in _ABOUT}
        if any(fact.value in NUMERIC_FORMATS for fact in self.all("format")):
            about = {"number"}
        if about:
            return frozenset(about)
        kinds: frozenset[str] = frozenset()
        for union in self.unions:
            kinds = kinds.union(*(branch.kinds for branch in union.branches))
        return kinds

    def member(self, name: str) -> Node:
        """The schema of the member called `name`."""
        if name in self.properties:
            return self.properties[name]
        found = [node for pattern, node in self.patterns if _matches(pattern, name)]
        if not found:
            return ANY if self.extra is None else self.extra
        return conjunction(found)

    def item(self, index: int) -> Node:
        """The schema of the item at `index`."""
        if index < len(self.prefix):
            return self.prefix[index]
        return ANY if self.items is None else self.items

    def members(self) -> dict[str, Node]:
        """Every member that has a name here, also those only named as required; in order.

        The order is the one in which Gemma's template prints them and in which the model was
        trained to write them: sorted without regard to case.
        """
        named = {**self.properties, **{name: self.member(name) for name in self.required}}
        allowed = (name for name in named if not named[name].never)
        return {name: named[name] for name in sorted(allowed, key=lambda n: (n.lower(), n))}


ANY: Final = Node()
NEVER: Final = Node(types=frozenset())


_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "boolean"),
    (str, "string"),
    (int, "integer"),
    (float, "number"),
    (list, "array"),
    (dict, "object"),
)


def kind_of(value: object) -> str:
    """The JSON type of a value; a float is a `number`, also where it has no fraction."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def same(value: object) -> str:
    """A key equal for values that JSON Schema calls equal: 1 is 1.0 but not true."""
    return json.dumps(_whole(value), sort_keys=True, ensure_ascii=False)


def _whole(value: Any) -> Any:
    """The value with its floats that have no fraction as whole numbers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def _matches(pattern: str, name: str) -> bool:
    """Whether a member of that name obeys the pattern; what cannot be matched counts as no."""
    compiled = linear_pattern(pattern)
    return compiled is not None and compiled.is_in(name)


def conjunction(nodes: Iterable[Node]) -> Node:
    """The node that says everything the given ones say."""
    parts = list(nodes)
    if len(parts) < 2:
        return parts[0] if parts else ANY
    half = len(parts) // 2  # one by one, what is merged already would be copied each time
    return _both(conjunction(parts[:half]), conjunction(parts[half:]))


def _both(one: Node, two: Node) -> Node:
    if one is ANY or two is ANY:
        return two if one is ANY else one
    if one is two:
        return one
    return Node(
        types=_types(one.types, two.types),
        choices=_choices(one.choices, two.choices),
        facts=tuple({(f.path, f.keyword): f for f in (*one.facts, *two.facts)}.values()),
        properties=_properties(one, two),
        required=one.required | two.required,
        items=_optional(one.items, two.items),
        prefix=_prefix(one, two),
        extra=_optional(one.extra, two.extra),
        patterns=one.patterns + two.patterns,
        unions=tuple({id(union): union for union in (*one.unions, *two.unions)}.values()),
        origin=one.origin or two.origin,
        definition=one.definition or two.definition,
        cut=one.cut or two.cut,
    )


def _types(one: frozenset[str], two: frozenset[str]) -> frozenset[str]:
    both = one & two
    narrow = ("integer" in one and "number" in two) or ("integer" in two and "number" in one)
    return both | {"integer"} if narrow else both


def _choices(one: tuple[Any, ...] | None, two: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if one is None or two is None:
        return two if one is None else one
    keys = {same(value) for value in two}
    return tuple(value for value in one if same(value) in keys)


def _optional(one: Node | None, two: Node | None) -> Node | None:
    if one is None or two is None:
        return two if one is None else one
    return _both(one, two)


def _properties(one: Node, two: Node) -> dict[str, Node]:
    names = dict.fromkeys((*one.properties, *two.properties))
    return {name: _both(one.member(name), two.member(name)) for name in names}


def _prefix(one: Node, two: Node) -> tuple[Node, ...]:
    length = max(len(one.prefix), len(two.prefix))
    return tuple(_both(one.item(index), two.item(index)) for index in range(length))


def widened(node: Node) -> Node:
    """The node, null allowed too. Without a stated type, the types its keywords are about hold."""
    if node.unions and node.types == ANY_TYPE:
        unions = tuple(
            replace(union, branches=(widened(union.branches[0]), *union.branches[1:]))
            for union in node.unions
        )
        return replace(node, unions=unions)
    types = node.kinds if node.types == ANY_TYPE else node.types
    choices = node.choices if node.choices is None else (*node.choices, None)
    return replace(node, types=types | {"null"} if types else node.types, choices=choices)


def children(node: Node) -> Iterator[Node]:
    """The nodes directly inside a node, those that keywords hold included."""
    yield from node.properties.values()
    yield from node.prefix
    yield from (child for child in (node.items, node.extra) if child is not None)
    yield from (child for _, child in node.patterns)
    for union in node.unions:
        yield from union.branches
    for fact in node.facts:
        held = fact.value if isinstance(fact.value, tuple) else (fact.value,)
        yield from (child for child in held if isinstance(child, Node))


def walk(node: Node) -> Iterator[Node]:
    """Every node under `node`, itself first, each one once."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting.extend(children(current))


def limits(fact: Fact) -> bool:
    """Whether a fact limits the value: a known keyword with a value that makes sense."""
    value = fact.value
    if fact.keyword == "format":
        return isinstance(value, str) and value not in NUMERIC_FORMATS
    if fact.keyword == "type":
        listed = [value] if isinstance(value, str) else value
        return isinstance(listed, list) and all(name in JSON_TYPES for name in listed)
    if fact.keyword in ("enum", "required"):
        return isinstance(value, list) and bool(value)
    if fact.keyword.startswith(("min", "max", "exclusive", "multiple")):
        return fact.keyword in _LIMITS and isinstance(value, int | float)
    return fact.keyword in _LIMITS


# --- patterns that strangers wrote ---------------------------------------------------------------
# Python's `re` tries every way to match, so `^(a+)+$` against thirty letters takes a minute, and no
# timeout can stop it. RE2 (github.com/google/re2) follows all ways at once and has no pattern that
# explodes; what it cannot do (look-around, back-references) is not checked, and the tool's server,
# which wrote the pattern, has the last word anyway.
#
# RE2 comes with the extras `mcp` and `tools`, where patterns come from outside. It is no dependency
# of the core: patterns of a program's own types are matched by pydantic, in Rust, in linear time
# too.

try:
    import re2
except ImportError:
    re2 = None

_MEMORY = 1 << 20
"""Bytes that RE2 may take for one pattern, its program and what it learns while it matches."""

_LONGEST = 10_000  # characters of a pattern


class LinearPattern:
    """A pattern that can be looked for.

    Args:
        compiled: The pattern as RE2 has compiled it.

    Attributes:
        size: Size of its program: each character of a text costs at most so many steps.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self.size: int = max(compiled.programsize, 1)

    def is_in(self, text: str) -> bool:
        """Whether a text has it anywhere, as JSON Schema's `pattern` means it."""
        return self._compiled.search(text) is not None


@lru_cache(maxsize=64)
def linear_pattern(pattern: str) -> LinearPattern | None:
    """A pattern in the dialect of JSON Schema (ECMA-262); None where it cannot be matched here."""
    if re2 is None or len(pattern) > _LONGEST:
        return None
    options = re2.Options()
    options.max_mem = _MEMORY
    options.never_capture = True
    options.log_errors = False
    try:
        return LinearPattern(re2.compile(_as_re2(pattern), options))
    except (re2.error, UnicodeEncodeError):
        return None


def _as_re2(pattern: str) -> str:
    r"""ECMA-262 writes `\u0041` for what is `\x{0041}` in RE2."""
    return re.sub(
        r"(\\\\)|\\u(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{4}))",
        lambda found: found[1] or rf"\x{{{found[2] or found[3]}}}",
        pattern,
    )
