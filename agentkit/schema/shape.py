"""What a JSON Schema says about the type of each value: a view, enough to read values by it.

Not a validator. It looks at the nodes that `read` makes, follows a recursive definition as far as a
value goes, and answers which types a value may have and what its children may be; anything it does
not understand allows everything. Native calls are read by it (`agentkit.gemma4`), and arguments are
brought to their types by it (`agentkit.schema.ladder`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import quote

from agentkit.schema.nodes import (
    ANY_TYPE,
    NULL_TYPE,
    Fact,
    Node,
    Union,
    conjunction,
    kind_of,
    same,
    walk,
)
from agentkit.schema.read import read

T = TypeVar("T")

Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Whole:
    """What the shapes of one schema share.

    Attributes:
        schema: The whole schema, into which references point.
        opened: Definitions at which a node was cut → what stands there.
        shapes: The nodes that have a shape, by identity, with it.
        originals: Other names of members → those that the schema has.
    """

    schema: Schema = field(default_factory=dict)
    opened: dict[str, Node] = field(default_factory=dict)
    shapes: dict[int, tuple[Node, Shape]] = field(default_factory=dict)
    originals: Mapping[str, str] = field(default_factory=dict)

    def open(self, node: Node) -> Node:
        """A node; one that was cut at a reference with what stands there.

        A definition that is only a reference to itself stays as it is.
        """
        if not node.cut or not node.definition:
            return node
        if node.definition not in self.opened:
            reference = {"$ref": quote(node.definition, safe="#/~")}
            found = _read(reference, self.schema)
            self.opened[node.definition] = replace(found, cut="")
        found = self.opened[node.definition]
        alone = not node.facts and not node.unions
        return found if alone else conjunction((replace(node, cut=""), found))

    def shape(self, node: Node) -> Shape:
        """The view of a node, the same one each time."""
        known = self.shapes.get(id(node))
        if known is None:
            whole = self.open(node)
            made = Shape(_types(whole, self, set()), tuple(_spread(whole, self, set())), self)
            known = self.shapes[id(node)] = (node, made)
        return known[1]


@dataclass(frozen=True, slots=True)
class Shape:
    """The alternatives that a value may be.

    Attributes:
        types: JSON type names; None allows every type.
        nodes: The node of the place, and behind it those of its unions, spread out.
    """

    types: frozenset[str] | None = None
    nodes: tuple[Node, ...] = ()
    _whole: _Whole = field(default_factory=_Whole, compare=False, repr=False)
    _memory: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, schema: object, root: Schema | None = None) -> Shape:
        """The view of one schema; of None, true or a list, the view that allows everything.

        Args:
            schema: The schema, or its view. It must not change afterwards: its view is kept.
            root: The whole schema that references point into, where `schema` is a part of it.
        """
        if isinstance(schema, Shape):
            return schema
        if not isinstance(schema, Mapping):
            return ANYTHING
        if root is not None:
            return _Whole(root).shape(_read(schema, root))
        known = _views.get(id(schema))
        if known is None:
            if len(_views) >= _KEPT:
                _views.clear()
            known = _views[id(schema)] = _Whole(schema).shape(_read(schema, schema))
        return known

    def with_aliases(self, aliases: Mapping[str, str]) -> Shape:
        """The same view for values whose members may have other names as well: a model may write
        the names that it is shown, or those that the tool has. A member that has two names is
        required under neither: which one is there is not known.

        Args:
            aliases: The names of members → the other ones, which no member has.
        """
        if not self.nodes or not aliases:
            return self
        originals = {alias: name for name, alias in aliases.items()}
        whole = _Whole(self._whole.schema, self._whole.opened, originals=originals)
        return whole.shape(self.nodes[0])

    def allows(self, kind: str) -> bool:
        """Whether a value of this JSON type may stand here; a number may be an integer."""
        if self.types is None or kind in self.types:
            return True
        return kind == "integer" and "number" in self.types

    @property
    def names(self) -> frozenset[str]:
        """Names of the declared properties."""
        return self._known(
            "names", lambda: self._spelled(name for node in self.nodes for name in node.properties)
        )

    def _spelled(self, names: Iterable[str]) -> frozenset[str]:
        """The names, and the second name of each member that has two."""
        found = frozenset(names)
        others = self._whole.originals.items()
        return found.union(other for other, name in others if name in found)

    @property
    def takes_others(self) -> bool:
        """Whether members that are not declared may be given."""
        return not self.names or any(
            node.patterns or (node.extra is not None and not node.extra.never)
            for node in self.nodes
        )

    @property
    def names_within(self) -> tuple[frozenset[str], bool]:
        """The names of all members that are declared here and below, however deep; and whether a
        member of any other name may be given in one of those places.
        """
        return self._known("names within", self._names_within)

    def _names_within(self) -> tuple[frozenset[str], bool]:
        names: set[str] = set()
        takes_others = False
        looked_at = 0
        waiting, known = list(self.nodes), set[str]()
        for top in waiting:  # grows by the definitions at which a node was cut, each of them once
            if top.cut and looked_at > _AT_ONCE:
                takes_others = True  # a part that is not looked at may have any names
                continue
            for node in walk(self._whole.open(top)):
                looked_at += 1
                names.update(filter(None, node.properties))
                takes_others |= (node.extra is not None and not node.extra.never) or (
                    "object" in node.types and node.types != ANY_TYPE and not node.properties
                )
                if node.cut and node.definition not in known:
                    known.add(node.definition)
                    waiting.append(node)
        return self._spelled(names), takes_others

    @property
    def required(self) -> frozenset[str]:
        """Names of the members that must be given."""
        required = self.nodes[0].required if self.nodes else frozenset[str]()
        return required.difference(self._whole.originals.values())

    @property
    def branches(self) -> tuple[Shape, ...]:
        """The alternatives of a union, null the last of them; itself alone where it is none."""
        return self._known("branches", self._branches)

    def _branches(self) -> tuple[Shape, ...]:
        whole = self.nodes[0] if self.nodes else None
        if whole is None or whole.choices is not None:
            return (self,)
        if whole.unions:
            found = [self._whole.open(branch) for branch in whole.unions[0].branches]
        elif self.types is not None and self.types > NULL_TYPE:
            found = [whole]
        else:
            return (self,)
        nullable = any("null" in branch.types and branch.types != ANY_TYPE for branch in found)
        plain = [_without_null(branch) for branch in found]
        every = [*plain, _NULL] if nullable else plain
        return tuple(self._whole.shape(branch) for branch in every)

    def keyword(self, keyword: str) -> Any:
        """The value of a keyword of the schema itself, not of its alternatives; None without it."""
        facts = self.nodes[0].facts if self.nodes else ()
        return next((fact.value for fact in facts if fact.keyword == keyword), None)

    @property
    def values(self) -> tuple[Any, ...] | None:
        """The values that are listed for every alternative; None where none are."""
        return self.nodes[0].choices if self.nodes else None

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
        name = self._whole.originals.get(name, name)
        declared = [node.properties[name] for node in self.nodes if name in node.properties]
        if not declared:
            if any(node.patterns for node in self.nodes):
                return ANYTHING
            declared = [node.extra for node in self.nodes if node.extra is not None]
        return self._any_of(declared)

    def item(self, index: int) -> Shape:
        """What this element of an array may be."""
        if not self.nodes:
            return ANYTHING
        index = min(index, max(len(node.prefix) for node in self.nodes))
        return self._known(("item", index), lambda: self._item(index))

    def _item(self, index: int) -> Shape:
        found = [
            node.prefix[index] if index < len(node.prefix) else node.items for node in self.nodes
        ]
        return self._any_of([item for item in found if item is not None])

    def _known(self, key: object, find: Callable[[], T]) -> T:
        """The result of `find`, which is called once for each key: every value is read by the same
        schema, and most lists hold values of one kind.
        """
        if key not in self._memory:
            self._memory[key] = find()
        return cast("T", self._memory[key])

    def _any_of(self, nodes: Sequence[Node]) -> Shape:
        if not nodes or all(node.never for node in nodes):
            return ANYTHING
        if len(nodes) == 1:
            return self._whole.shape(nodes[0])
        united = Union(Fact("", "anyOf", None), tuple(nodes))
        return self._whole.shape(Node(unions=(united,)))

    def lists(self, value: object) -> bool:
        """Whether an `enum` or `const` names exactly this value."""
        return any(value in (node.choices or ()) for node in self.nodes)

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
        """Whether a value is one of those that are listed, or none are: 1 is 1.0 there, and not
        true.
        """
        return self.values is None or same(value) in self._known(
            "keys", lambda: frozenset(map(same, self.values or ()))
        )

    def confuses(self, value: object) -> bool:
        """Whether Python calls a value equal to a listed one that it is not: 1 and true."""
        return value in (self.values or ()) and not self.has(value)

    def _missing(self, value: Mapping[str, Any]) -> int:
        two_names = self._whole.originals.values()
        needed = [node.required.difference(two_names) for node in self.nodes if node.required]
        return min((sum(1 for name in names if name not in value) for names in needed), default=0)


ANYTHING: Final = Shape()
"""Allows every value and knows of no properties."""

_AT_ONCE: Final = 400
"""Nodes after which a reference is left to be opened when a value comes there."""
_KEPT: Final = 1_000
"""Views that are kept: more than the tools of any agent."""
_views: dict[int, Shape] = {}
"""The views by the identity of their schema. A view holds its schema, so that the identity is not
used again."""


_NULL: Final = Node(types=NULL_TYPE)


def _read(schema: object, whole: Schema) -> Node:
    return read(schema, depth=0, most=_AT_ONCE, within=whole)


def _spread(node: Node, whole: _Whole, seen: set[str]) -> Iterator[Node]:
    """A node and the branches of its unions, and theirs; each definition is opened once."""
    yield node
    for branch in _alternatives(node, whole, seen):
        yield from _spread(branch, whole, seen)


def _alternatives(node: Node, whole: _Whole, seen: set[str]) -> Iterator[Node]:
    """The branches of a node's unions, without a definition that was seen: one may be a union of
    itself.
    """
    for union in node.unions:
        for branch in union.branches:
            if not branch.cut:
                yield branch
            elif branch.definition not in seen:
                seen.add(branch.definition)
                yield whole.open(branch)


def _without_null(node: Node) -> Node:
    if node.types == ANY_TYPE or node.choices is not None:
        return node
    return replace(node, types=node.types - NULL_TYPE)


def _types(node: Node, whole: _Whole, seen: set[str]) -> frozenset[str] | None:
    """The JSON types that a node allows; None where the schema does not limit them."""
    if node.types != ANY_TYPE:
        return node.types
    if node.choices is not None:
        return frozenset(map(kind_of, node.choices))
    if node.unions:
        return _united(_types(branch, whole, seen) for branch in _alternatives(node, whole, seen))
    if node.properties:
        return frozenset(["object"])
    return frozenset(["array"]) if node.items is not None else None


def _united(types: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    result: frozenset[str] = frozenset()
    for kinds in types:
        if kinds is None:
            return None
        result |= kinds
    return result or None
