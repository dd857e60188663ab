"""JSON Schema → nodes: references inlined, drafts and OpenAPI spellings made one.

Understood are draft 4 to 2020-12 and what OpenAPI 3.0 writes (`nullable`, boolean
`exclusiveMinimum`). A schema that says something malformed is read as far as it makes sense:
checking it is the validator's work.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, Schema, specification_with

from agentkit.schema.nodes import (
    ANY,
    ANY_TYPE,
    JSON_TYPES,
    NEVER,
    NULL_TYPE,
    OWN_KEYWORDS,
    Fact,
    Node,
    Union,
    conjunction,
    kind_of,
    widened,
)

RECURSION_DEPTH: Final = 4
"""How often a recursive definition is inlined inside itself before it is cut."""
MAX_NODES: Final = 4_000
"""Nodes of one schema after which references are no longer followed: a guard against schemas
that fan out without end (a Kubernetes object has millions). A definition counts again at each
reference to it, because whoever walks the nodes comes there again."""
MAX_LEVELS: Final = 100
"""Schemas inside one another after which references are no longer followed: each level takes some
frames of Python's stack, which holds a thousand, and a model writes no arguments that deep."""

Resolver: TypeAlias = Any  # referencing's resolver; its class is private to that library

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_SCHEMA_VALUED: Final = (
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_STRUCTURE: Final = frozenset(
    {
        *_REFERENCES,
        *_SCHEMA_VALUED,
        *("$defs", "definitions", "$schema", "$id", "id", "$anchor", "$dynamicAnchor"),
        *("$comment", "$vocabulary", "$recursiveAnchor", "components"),
        *("properties", "patternProperties", "additionalProperties", "items", "prefixItems"),
        *("additionalItems", "allOf", "anyOf", "oneOf", "dependentSchemas", "dependencies"),
    }
)
"""Keywords with a reading of their own, and those that only name or hold things."""


def read(
    schema: object,
    *,
    depth: int = RECURSION_DEPTH,
    most: int = MAX_NODES,
    within: object = None,
) -> Node:
    """Reads a JSON Schema into nodes.

    Args:
        schema: The decoded schema. Not changed.
        depth: How often a recursive definition is followed inside itself; less often where the
            schema would have too many nodes.
        most: Nodes after which no reference is followed.
        within: The whole schema that references point into, where `schema` is a part of it.

    Returns:
        The root node. Nodes may be shared: the tree is a graph without cycles. One that was cut has
        its definition: reading a reference to that goes on where it was cut.
    """
    reader = _Reader(schema if within is None else within, depth, most)
    root = reader.read(schema)
    if depth and reader.is_recursive and reader.is_full:
        # Cut at the same depth everywhere, not in full where it is read first.
        return read(schema, depth=depth - 1, most=most, within=within)
    return root


class _Reader:
    def __init__(self, whole: object, depth: int, most: int) -> None:
        self._whole = whole
        self._depth = depth
        self._most = most
        self._pointers: dict[int, str] = {}
        self._open: Counter[int] = Counter()
        self._touched: set[int] = set()
        self._known: dict[tuple[int, int], tuple[Node, int]] = {}  # with its number of nodes
        self._nodes = 0
        self._levels = 0
        self.is_recursive = False
        self._name_places(whole, "")

    def read(self, schema: object) -> Node:
        if not isinstance(self._whole, Mapping):
            return self._node(schema, "", None)
        uri = self._whole.get("$schema")
        spec = specification_with(uri if isinstance(uri, str) else "", default=DRAFT202012)
        resource: Resource[Schema] = spec.create_resource(self._whole)
        base = resource.id() or ""
        registry: Registry[Schema] = Registry()
        resolver = registry.with_resource(base, resource).resolver(base)
        return self._follow(schema, self._pointers.get(id(schema), ""), resolver, "")

    @property
    def is_full(self) -> bool:
        """Whether there are so many nodes that references are no longer followed."""
        return self._nodes > self._most

    def _name_places(self, value: object, path: str) -> None:
        """Remembers the pointer of every object, to name the place a reference led to."""
        if isinstance(value, Mapping):
            self._pointers.setdefault(id(value), path)
            for key, child in value.items():
                self._name_places(child, f"{path}/{_escaped(str(key))}")
        elif isinstance(value, list):
            for index, child in enumerate(value):
                self._name_places(child, f"{path}/{index}")

    # --- references ------------------------------------------------------------------------------

    def _reference(self, target: object, path: str, resolver: Resolver) -> Node:
        passed: set[int] = set()
        while True:
            try:
                found = resolver.lookup(target)
            except (Unresolvable, AttributeError, ValueError, TypeError):
                return Node(facts=(Fact(path, "$ref", target),), origin=str(target))
            only = isinstance(found.contents, Mapping) and set(found.contents) == {"$ref"}
            if not only or id(found.contents) in passed:
                break
            # A definition that only refers to another takes no level, however many there are.
            passed.add(id(found.contents))
            target, resolver = found.contents["$ref"], found.resolver
        name = unquote(str(target).rsplit("/", 1)[-1].rsplit("#", 1)[-1])
        place = self._pointers.get(id(found.contents), unquote(str(target).rsplit("#", 1)[-1]))
        return self._follow(found.contents, place, found.resolver, name)

    def _follow(self, schema: Any, path: str, resolver: Resolver, name: str) -> Node:
        """Reads a definition, unless it is open too often or there is too much already."""
        key, level = id(schema), self._open[id(schema)]
        cut: Literal["", "recursive", "size"] = ""
        if level > self._depth:
            cut = "recursive"
        elif self.is_full or self._levels > MAX_LEVELS:
            cut = "size"
        if level:
            self.is_recursive = True
            self._touched.add(key)
        if cut:
            return Node(origin=_title(schema) or name, definition=f"#{path}", cut=cut)
        if (key, level) in self._known:
            node, size = self._known[key, level]
            self._nodes += size
            return node
        before = self._nodes
        outside, self._touched = self._touched, set()
        self._open[key] += 1
        node = self._node(schema, path, resolver)
        self._open[key] -= 1
        node = replace(node, origin=node.origin or name, definition=f"#{path}")
        if self._touched <= {key}:
            self._known[key, level] = (node, self._nodes - before)
        self._touched = outside | (self._touched - ({key} if level == 0 else set()))
        return node

    # --- one schema ------------------------------------------------------------------------------

    def _node(self, schema: object, path: str, resolver: Resolver) -> Node:
        self._nodes += 1
        if schema is False:
            return NEVER
        if not isinstance(schema, Mapping) or not schema:
            return ANY
        if isinstance(schema.get("$id"), str):
            resolver = resolver.in_subresource(DRAFT202012.create_resource(schema))
        self._levels += 1
        # A reference alone says nothing of its own: it is the node that it leads to.
        parts = [] if set(schema) == {"$ref"} else [self._own(schema, path, resolver)]
        parts += [
            self._reference(schema[keyword], path, resolver)
            for keyword in _REFERENCES
            if isinstance(schema.get(keyword), str)
        ]
        parts += self._each(schema, "allOf", path, resolver)
        parts += self._dependencies(schema, path, resolver)
        parts += self._unions(schema, path, resolver)
        self._levels -= 1
        return _settled(conjunction(parts))

    def _own(self, schema: Mapping[str, Any], path: str, resolver: Resolver) -> Node:
        def inner(value: object, key: str) -> Node:
            return self._node(value, f"{path}/{key}", resolver)

        facts = [
            Fact(path, keyword, value)
            for keyword, value in schema.items()
            if keyword not in _STRUCTURE and not _is_strange(keyword) and not _is_no_number(value)
        ]
        facts += [
            Fact(path, keyword, inner(schema[keyword], keyword))
            for keyword in _SCHEMA_VALUED
            if keyword in schema and keyword not in ("if", "then", "else")
        ]
        facts += self._condition(schema, path, resolver)
        facts += [
            Fact(path, keyword, schema[keyword])
            for keyword in ("additionalProperties", "patternProperties", "prefixItems", "items")
            if keyword in schema and (keyword != "items" or isinstance(schema["items"], list))
        ]
        prefix, items = self._items(schema, path, resolver)
        patterns = self._named(schema, "patternProperties", path, resolver)
        extra = schema.get("additionalProperties")
        return Node(
            types=_stated_types(schema),
            choices=_stated_choices(schema),
            facts=tuple(facts),
            properties=self._named(schema, "properties", path, resolver),
            required=frozenset(_names(schema.get("required"))),
            items=items,
            prefix=prefix,
            extra=None if extra is None else inner(extra, "additionalProperties"),
            patterns=tuple(sorted(patterns.items(), key=itemgetter(0))),
            origin=_title(schema),
        )

    def _condition(self, schema: Mapping[str, Any], path: str, resolver: Resolver) -> list[Fact]:
        if "if" not in schema:
            return []
        nodes = (
            self._node(schema.get(keyword, True), f"{path}/{keyword}", resolver)
            for keyword in ("if", "then", "else")
        )
        return [Fact(path, "if", tuple(nodes))]

    def _named(
        self, schema: Mapping[str, Any], keyword: str, path: str, resolver: Resolver
    ) -> dict[str, Node]:
        named = schema.get(keyword)
        if not isinstance(named, Mapping):
            return {}
        return {
            str(name): self._node(value, f"{path}/{keyword}/{_escaped(str(name))}", resolver)
            for name, value in named.items()
        }

    def _each(
        self, schema: Mapping[str, Any], keyword: str, path: str, resolver: Resolver
    ) -> list[Node]:
        listed = schema.get(keyword)
        if not isinstance(listed, list):
            return []
        return [
            self._node(value, f"{path}/{keyword}/{index}", resolver)
            for index, value in enumerate(listed)
        ]

    def _items(
        self, schema: Mapping[str, Any], path: str, resolver: Resolver
    ) -> tuple[tuple[Node, ...], Node | None]:
        """Tuple positions and the rest, as 2020-12 and as earlier drafts write them."""
        old = isinstance(schema.get("items"), list)
        prefix = self._each(schema, "items" if old else "prefixItems", path, resolver)
        rest = "additionalItems" if old else "items"
        if rest not in schema:
            return tuple(prefix), None
        return tuple(prefix), self._node(schema[rest], f"{path}/{rest}", resolver)

    def _dependencies(self, schema: Mapping[str, Any], path: str, resolver: Resolver) -> list[Node]:
        """`dependentSchemas`, and draft 7's `dependencies` as the two keywords it became."""
        facts: list[Fact] = []
        for keyword in ("dependentSchemas", "dependencies"):
            nodes = self._named(schema, keyword, path, resolver)
            given = schema.get(keyword)
            items = given.items() if isinstance(given, Mapping) else ()
            lists = {name: value for name, value in items if isinstance(value, list)}
            facts += [Fact(path, "dependentRequired", lists)] if lists else []
            facts += [
                Fact(f"{path}/{keyword}/{_escaped(name)}", "dependentSchemas", (name, node))
                for name, node in sorted(nodes.items(), key=itemgetter(0))
                if name not in lists
            ]
        return [Node(facts=tuple(facts))] if facts else []

    def _unions(self, schema: Mapping[str, Any], path: str, resolver: Resolver) -> list[Node]:
        return [
            _union(Fact(path, keyword, None), self._each(schema, keyword, path, resolver))
            for keyword in ("anyOf", "oneOf")
            if schema.get(keyword)
        ]


def _union(fact: Fact, branches: list[Node]) -> Node:
    """A union as a node: null folded in, a single branch dissolved, plain enums joined."""
    cuts = [branch for branch in branches if branch.cut]
    real = [branch for branch in branches if branch.types != NULL_TYPE and not branch.never]
    null = any(branch.types == NULL_TYPE for branch in branches)
    mentions = tuple(
        held for branch in branches if branch.types == NULL_TYPE for held in branch.facts
    )
    if any(branch is ANY for branch in real):
        return ANY
    if len(real) == 1 and not real[0].kinds and not real[0].cut:
        return real[0]
    if not real:
        return Node(types=frozenset({"null"}) if null else frozenset(), facts=(fact, *mentions))
    if null and real[0].cut:  # what it is, and so whether null is part of it, is not known here
        return Node(facts=(fact, *mentions), unions=(Union(fact, (*real, Node(types=NULL_TYPE))),))
    if null:
        real[0] = widened(real[0])
    if len(real) == 1:
        return replace(real[0], facts=(*real[0].facts, fact, *mentions)) if null else real[0]
    if all(branch.choices is not None and not branch.unions for branch in real) and not cuts:
        return _joined(real, (fact, *mentions))
    return Node(facts=(fact, *mentions), unions=(Union(fact, tuple(real)),))


def _joined(branches: list[Node], facts: tuple[Fact, ...]) -> Node:
    """One list of choices from branches that each are one."""
    values = [value for branch in branches for value in branch.choices or ()]
    inner = tuple(
        fact
        for branch in branches
        for fact in branch.facts
        if fact.keyword not in ("title", "description")
    )
    return Node(
        types=frozenset().union(*(branch.types for branch in branches)),
        choices=tuple(values),
        facts=facts + inner,
    )


def _settled(node: Node) -> Node:
    """Members that match a pattern obey it too; choices of a wrong type are dropped."""
    if node.patterns and node.properties:
        node = replace(
            node,
            properties={
                name: conjunction((child, replace(node, properties={}, extra=ANY).member(name)))
                for name, child in node.properties.items()
            },
        )
    if node.choices is None or node.types == ANY_TYPE:
        return node
    fitting = tuple(value for value in node.choices if _has_type(value, node.types))
    return replace(node, choices=fitting)


def _has_type(value: Any, types: frozenset[str]) -> bool:
    kind = kind_of(value)
    if kind == "integer":
        return not types.isdisjoint(("number", "integer"))
    return kind in types or (kind == "number" and "integer" in types and value.is_integer())


def _stated_types(schema: Mapping[str, Any]) -> frozenset[str]:
    stated = schema.get("type")
    listed = [stated] if isinstance(stated, str) else stated
    if not isinstance(listed, list):
        return ANY_TYPE
    known = {name for name in listed if isinstance(name, str) and name in JSON_TYPES}
    if not known:
        return ANY_TYPE
    if "number" in known:
        known.discard("integer")
    return frozenset(known | {"null"} if schema.get("nullable") is True else known)


def _stated_choices(schema: Mapping[str, Any]) -> tuple[Any, ...] | None:
    listed = schema.get("enum")
    choices = tuple(listed) if isinstance(listed, list) and listed else None
    if choices is not None and schema.get("nullable") is True and None not in choices:
        choices = (*choices, None)
    if "const" not in schema:
        return choices
    return (schema["const"],)


def _is_strange(keyword: str) -> bool:
    """Whether a keyword is somebody's own, and not ours."""
    return keyword.startswith("x-") and not keyword.startswith(OWN_KEYWORDS)


def _is_no_number(value: object) -> bool:
    """Whether a value is NaN or infinite, which JSON does not have: as a limit it says nothing."""
    return isinstance(value, float) and not math.isfinite(value)


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _title(schema: object) -> str:
    title = schema.get("title") if isinstance(schema, Mapping) else None
    return title if isinstance(title, str) else ""


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
