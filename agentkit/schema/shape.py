"""What a JSON Schema says about the type of each value: a view, enough to read values by it.

Not a validator. It follows local `$ref`, `anyOf`, `oneOf` and `allOf`, and answers which types a
value may have and what its children may be; anything it does not understand allows everything.
Native calls are read by it (`agentkit.gemma4`), and arguments are brought to their types by it
(`agentkit.schema.ladder`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, cast

from agentkit.schema.nodes import kind_of, same

T = TypeVar("T")

Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """The alternatives that a value may be.

    Attributes:
        types: JSON type names; None allows every type.
        nodes: The schemas behind it, references resolved and unions spread out.
        root: The whole schema, where references point into.
    """

    types: frozenset[str] | None = None
    nodes: tuple[Schema, ...] = ()
    root: Schema = field(default_factory=dict)
    _memory: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, schema: object, root: Schema | None = None) -> Shape:
        """The view of one schema; of None, true or a list, the view that allows everything."""
        if not isinstance(schema, Mapping):
            return ANYTHING
        base = schema if root is None else root
        return cls(_types(schema, base, ()), tuple(_nodes(schema, base, ())), base)

    def allows(self, kind: str) -> bool:
        """Whether a value of this JSON type may stand here; a number may be an integer."""
        if self.types is None or kind in self.types:
            return True
        return kind == "integer" and "number" in self.types

    @property
    def names(self) -> frozenset[str]:
        """Names of the declared properties."""
        return self._known(
            "names",
            lambda: frozenset(
                name for node in self.nodes for name in _mapping(node.get("properties")) if name
            ),
        )

    @property
    def takes_others(self) -> bool:
        """Whether members that are not declared may be given."""
        return not self.names or any(
            node.get("additionalProperties") or "patternProperties" in node for node in self.nodes
        )

    @property
    def required(self) -> frozenset[str]:
        """Names of the members that must be given."""
        return self._known("required", lambda: frozenset(self._required()))

    def _required(self) -> Iterator[str]:
        for node in self._own:
            if isinstance(node.get("required"), list):
                yield from (name for name in node["required"] if isinstance(name, str))

    @property
    def branches(self) -> tuple[Shape, ...]:
        """The alternatives of a union; itself alone where it is none."""
        return self._known("branches", self._branches)

    def _branches(self) -> tuple[Shape, ...]:
        for node in self._own:
            for keyword in ("anyOf", "oneOf"):
                if isinstance(node.get(keyword), list) and node[keyword]:
                    return tuple(Shape.of(branch, self.root) for branch in node[keyword])
        return (self,)

    def said(self, keyword: str) -> Any:
        """What the schema itself says under a keyword, not one of its alternatives; or None."""
        return next((node[keyword] for node in self._own if keyword in node), None)

    @property
    def _own(self) -> tuple[Schema, ...]:
        """What binds every alternative: the schema, what its reference leads to, all of `allOf`."""
        return self._known(
            "own", lambda: tuple(_binding(self.nodes[0], self.root, ())) if self.nodes else ()
        )

    @property
    def values(self) -> tuple[Any, ...] | None:
        """The values of the first `enum` or `const` that binds every alternative."""
        found = (tuple(listed) for node in self._own if (listed := _enumerated(node)))
        return self._known("values", lambda: next(found, None))

    @property
    def limited(self) -> bool:
        """Whether only certain values may stand here."""
        return self.values is not None

    def property(self, name: str) -> Shape:
        """What the value under this key may be."""
        if not self.nodes:
            return ANYTHING
        key = ("property", name if name in self.names else None)
        return self._known(key, lambda: self._property(name))

    def _property(self, name: str) -> Shape:
        declared = [
            properties[name]
            for node in self.nodes
            if name in (properties := _mapping(node.get("properties")))
        ]
        if not declared:
            if any("patternProperties" in node for node in self.nodes):
                return ANYTHING
            declared = [
                n["additionalProperties"] for n in self.nodes if "additionalProperties" in n
            ]
        return self._any_of(declared)

    def item(self, index: int) -> Shape:
        """What this element of an array may be."""
        if not self.nodes:
            return ANYTHING
        longest = max(len(_listed(node.get("prefixItems"))) for node in self.nodes)
        index = min(index, longest)
        return self._known(("item", index), lambda: self._item(index))

    def _item(self, index: int) -> Shape:
        found: list[object] = []
        for node in self.nodes:
            prefix = _listed(node.get("prefixItems"))
            if index < len(prefix):
                found.append(prefix[index])
            elif "items" in node:
                found.append(node["items"])
        return self._any_of(found)

    def _known(self, key: object, find: Callable[[], T]) -> T:
        """What was found under a key before, or is found now: every value is read by the same
        schema, and most lists hold values of one kind.
        """
        if key not in self._memory:
            self._memory[key] = find()
        return cast("T", self._memory[key])

    def _any_of(self, schemas: list[object]) -> Shape:
        if not schemas:
            return ANYTHING
        if len(schemas) == 1:
            return Shape.of(schemas[0], self.root)
        return Shape.of({"anyOf": schemas}, self.root)

    def lists(self, value: object) -> bool:
        """Whether an `enum` or `const` names exactly this value."""
        return any(value in _enumerated(node) for node in self.nodes)

    def misfit(self, value: object) -> int:
        """In how many places a value departs from the schema: 0 where this view sees nothing."""
        if self is ANYTHING:
            return 0
        if not self.allows(kind_of(value)) or not self.has(value):
            return 1
        if isinstance(value, list):
            return sum(self.item(at).misfit(item) for at, item in enumerate(value))
        if not isinstance(value, dict):
            return 0
        names, closed = self.names, not self.takes_others
        unknown = sum(1 for key in value if closed and key not in names)
        children = sum(self.property(key).misfit(item) for key, item in value.items())
        return unknown + children + self._missing(value)

    def has(self, value: object) -> bool:
        """Whether an `enum` or `const` that binds every alternative has the value: 1 is 1.0 there,
        and not true.
        """
        lists = [listed for node in self._own if (listed := _enumerated(node))]
        return all(any(same(value) == same(each) for each in listed) for listed in lists) or (
            value is None and any(node.get("nullable") is True for node in self._own)
        )

    def confuses(self, value: object) -> bool:
        """Whether Python calls a value equal to a listed one that it is not: 1 and true."""
        listed = [each for node in self._own for each in _enumerated(node)]
        return value in listed and not self.has(value)

    def _missing(self, value: Mapping[str, Any]) -> int:
        required = [
            node["required"] for node in self.nodes if isinstance(node.get("required"), list)
        ]
        if not required:
            return 0
        return min(sum(1 for name in names if name not in value) for names in required)


ANYTHING: Final = Shape()
"""Allows every value and knows of no properties."""


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _enumerated(schema: Schema) -> list[Any]:
    listed = _listed(schema.get("enum"))
    return [*listed, schema["const"]] if "const" in schema else listed


def _branches(schema: Schema, *keywords: str) -> Iterator[Schema]:
    for keyword in keywords:
        branches = schema.get(keyword)
        if isinstance(branches, list):
            yield from (branch for branch in branches if isinstance(branch, Mapping))


def _target(schema: Schema, root: Schema, seen: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
    """What a local `$ref` points at; an empty schema when nowhere or round in a circle."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return {}, seen
    if reference in seen or not reference.startswith("#"):
        return {}, seen
    node: Any = root
    for step in filter(None, reference[1:].split("/")):
        key = step.replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, Mapping) else None
    return _mapping(node), (*seen, reference)


def _binding(schema: Schema, root: Schema, seen: tuple[str, ...]) -> Iterator[Schema]:
    yield schema
    target, further = _target(schema, root, seen)
    if target:
        yield from _binding(target, root, further)
    for branch in _branches(schema, "allOf"):
        yield from _binding(branch, root, seen)


def _nodes(schema: Schema, root: Schema, seen: tuple[str, ...]) -> Iterator[Schema]:
    yield schema
    target, further = _target(schema, root, seen)
    if target:
        yield from _nodes(target, root, further)
    for branch in _branches(schema, "anyOf", "oneOf", "allOf"):
        yield from _nodes(branch, root, seen)


def _types(schema: Schema, root: Schema, seen: tuple[str, ...]) -> frozenset[str] | None:
    kinds = _own_types(schema, root, seen)
    return kinds | {"null"} if kinds is not None and schema.get("nullable") is True else kinds


def _own_types(schema: Schema, root: Schema, seen: tuple[str, ...]) -> frozenset[str] | None:
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset([declared])
    if isinstance(declared, list):
        return frozenset(kind for kind in declared if isinstance(kind, str))
    if values := _enumerated(schema):
        return frozenset(map(kind_of, values))
    target, further = _target(schema, root, seen)
    if target:
        return _types(target, root, further)
    if united := [_types(b, root, seen) for b in _branches(schema, "anyOf", "oneOf")]:
        return _union(united)
    merged = [_types(branch, root, seen) for branch in _branches(schema, "allOf")]
    return _intersection(merged) if merged else _implied(schema)


def _implied(schema: Schema) -> frozenset[str] | None:
    if "properties" in schema:
        return frozenset(["object"])
    return frozenset(["array"]) if "items" in schema else None


def _union(types: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    result: frozenset[str] = frozenset()
    for kinds in types:
        if kinds is None:
            return None
        result |= kinds
    return result


def _intersection(types: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    result: frozenset[str] | None = None
    for kinds in types:
        if kinds is not None:
            result = kinds if result is None else result & kinds
    return result
