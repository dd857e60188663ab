"""Any JSON Schema → the subset that every one of Gemma 4's official templates prints.

In: a tool with its schema. Out: the declaration that is sent, what became of each keyword, and the
way back from the names that the model is shown. Four passes, each below the one that needs it: the
schema is read into nodes (`read`), names that the template loses get an alias (`aliases_of`), each
union is folded into one node (`fold`), and the nodes are written down (`_Writer`), as sentences
(`prose`) where a declaration has no place for them.

The template prints descriptions, single types, enums of strings, `nullable`, named members, what
is required, and the items of an array one level deep; it drops or garbles the rest (read from the
templates of April and of 2026-07-09). So references are inlined, optional types become
`nullable`, unions of objects become one object, and what has no place moves into the description
as a sentence. Names that the April template leaves out are aliased, and so are names that would
break the native syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final, Literal, TypeAlias

from agentkit.messages import JsonObject, ToolDefinition
from agentkit.schema.nodes import (
    ANY,
    NULL_TYPE,
    Fact,
    Node,
    Union,
    conjunction,
    limits,
    same,
    walk,
)
from agentkit.schema.prose import MAX_SENTENCE, Phrase, SchemaProse, humanised
from agentkit.schema.read import RECURSION_DEPTH, read
from agentkit.schema.shape import Shape

SHOWN_DEPTH: Final = 1
"""How often a recursive definition is shown inside itself; deeper ones are described in words."""

Fate: TypeAlias = Literal["shown", "words", "hidden"]
"""Where a keyword went: into the declaration, into a description, or out of the model's sight."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of one keyword of the source.

    Attributes:
        path: JSON pointer of the schema object that holds it.
        keyword: The keyword.
        fate: Whether it is shown, said in words, or hidden from the model.
        text: The sentence that says it, when it is said in words.
        limits: Whether it limits the value; a default or an example does not.
    """

    path: str
    keyword: str
    fate: Fate
    text: str = ""
    limits: bool = True


@dataclass(frozen=True, slots=True)
class LoweredTool:
    """A tool as the model is shown it, and the way back.

    Attributes:
        definition: The tool as it was given; its schema stays the one to validate against.
        declaration: What to send: every node typed and described, nothing the template drops.
        aliases: Member names → the names shown for them, where these differ.
        losses: What became of each keyword, ordered by place.
        root: The schema taken apart; the grammar is made from it.
    """

    definition: ToolDefinition
    declaration: ToolDefinition
    aliases: Mapping[str, str]
    losses: tuple[Loss, ...]
    root: Node

    @property
    def hidden(self) -> tuple[Loss, ...]:
        """The limits that the model is not shown."""
        return tuple(loss for loss in self.losses if loss.fate == "hidden" and loss.limits)

    @property
    def shape(self) -> Shape:
        """What calls are read by: the full schema, under its names and those that are shown."""
        return Shape.of(self.definition.parameters).with_aliases(self.aliases)

    def restore(self, arguments: JsonObject) -> JsonObject:
        """Arguments as the model wrote them → with the names of the original schema."""
        return self._renamed(arguments, {alias: name for name, alias in self.aliases.items()})

    def rename(self, arguments: JsonObject) -> JsonObject:
        """Arguments with the original names → as the model would have written them."""
        return self._renamed(arguments, self.aliases)

    def _renamed(self, arguments: JsonObject, names: Mapping[str, str]) -> JsonObject:
        if not names:
            return arguments
        changed: JsonObject = renamed(arguments, (self.root,), names, frozenset(self.aliases))
        return changed


def lower(definition: ToolDefinition, *, depth: int = RECURSION_DEPTH) -> LoweredTool:
    """Lowers a tool to what Gemma 4's templates print faithfully.

    Args:
        definition: The tool with its full JSON Schema. Not changed.
        depth: How often a recursive definition is followed inside itself, for the grammar; the
            declaration shows `SHOWN_DEPTH` of them.
    """
    root = read(definition.parameters, depth=depth)
    aliases = aliases_of(root)
    writer = _Writer(aliases)
    folded, phrases = fold(root, writer.prose)
    parameters = writer.parameters(folded)
    text = definition.description.strip() or root.text("description")
    text = text or f"{humanised(definition.name)}."
    whole = writer.described(root, text, extra=phrases)
    declaration = ToolDefinition(definition.name, whole, parameters)
    return LoweredTool(definition, declaration, aliases, writer.losses(root), root)


# --- the declaration -----------------------------------------------------------------------------


class _Writer:
    """Writes the declaration of one tool and remembers where each fact went."""

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self.prose = SchemaProse(aliases)
        self._fates: dict[tuple[str, str], tuple[Fate, str]] = {}

    def parameters(self, folded: Node) -> JsonObject:
        """The schema of the arguments object, whose unions are folded."""
        self._show(folded, "type", "required")
        self._show_closed(folded)
        return {"type": "object", **self._object(folded, ())}

    def losses(self, root: Node) -> tuple[Loss, ...]:
        """Every fact of the schema with its fate."""
        losses: dict[tuple[str, str], Loss] = {}
        for node in walk(root):
            for fact in node.facts:
                place = (fact.path, fact.keyword)
                # What can never be given is not declared, and that says it all.
                fate, text = self._fates.get(place, ("shown" if node.never else "hidden", ""))
                losses[place] = Loss(*place, fate, text, limits(fact))
        return tuple(losses[place] for place in sorted(losses))

    def described(self, node: Node, text: str, *, extra: Iterable[Phrase] = ()) -> str:
        """A description, and behind it what the declaration has no place for."""
        shown = _shown_choices(node)
        phrases = [*extra, *self.prose.sentences(replace(node, unions=()), choices_shown=shown)]
        sentences: list[str] = []
        for phrase in phrases:
            if not 0 < len(phrase.text) <= MAX_SENTENCE:
                continue
            for fact in phrase.facts:
                self._fates.setdefault((fact.path, fact.keyword), ("words", phrase.text))
            if phrase.sentence() not in text:
                sentences.append(phrase.sentence())
        if not sentences:
            return text
        return " ".join((text if text[-1] in ".!?:)" else f"{text}.", *sentences))

    def _show(self, node: Node, *keywords: str) -> None:
        for fact in node.facts:
            if fact.keyword in keywords:
                self._fates[fact.path, fact.keyword] = ("shown", "")

    def _show_closed(self, node: Node) -> None:
        """Counts it as shown that nothing else is allowed: nothing else is listed."""
        if node.extra is not None and node.extra.never:
            self._show(node, "additionalProperties")
        for fact in node.all("unevaluatedProperties"):
            if isinstance(fact.value, Node) and fact.value.never:
                self._show(node, "unevaluatedProperties")

    def _object(self, node: Node, open_: tuple[str, ...]) -> JsonObject:
        """Members and what is required of an object."""
        members = node.members()
        properties = {
            self.prose.name(name): self._declared(name, child, open_)
            for name, child in members.items()
        }
        required = [self.prose.name(name) for name in members if name in node.required]
        return {"properties": properties, **({"required": required} if required else {})}

    def _declared(
        self, name: str, node: Node, open_: tuple[str, ...], *, inside: bool = False
    ) -> JsonObject:
        """One node; `inside` an array's items the template prints no array's items again."""
        folded, phrases = fold(node, self.prose)
        deep = bool(node.definition) and open_.count(node.definition) > SHOWN_DEPTH
        if deep or node.cut:
            what = node.origin or "value"
            text = f"another {what}, of the same form"
            if node.cut == "size":
                text = f"a {what}, whose form is too large to be shown"
            phrases = (Phrase(text),)
            folded = replace(folded, properties={}, required=frozenset(), items=None, facts=())
        inner = (*open_, node.definition) if node.definition else open_
        kind = main_kind(folded)
        self._show(folded, "description", "title")
        text = folded.text("description") or _generic(name, folded, inside)
        out: JsonObject = {"type": kind}
        if folded.types == NULL_TYPE:
            phrases = (Phrase("always null", folded.all("type")),)
        elif not folded.kinds and not phrases:
            phrases = (Phrase("any JSON value"),)
        elif len(folded.kinds) > 1 and not phrases:
            bare = replace(folded, facts=folded.all("type"), types=folded.types - {"null"})
            phrases = (self.prose.noun(bare),)
        elif kind == "array" and inside and folded.items is not None:
            phrases = (*phrases, self.prose.kind(folded, "array"))
            self._show(folded, "type")
        else:
            self._show(folded, "type")
        out["description"] = self.described(folded, text, extra=phrases)
        out.update(self._details(name, folded, kind, inner, inside=inside))
        return out

    def _details(
        self, name: str, node: Node, kind: str, open_: tuple[str, ...], *, inside: bool
    ) -> JsonObject:
        out: JsonObject = {}
        if _shown_choices(node):
            out["enum"] = [value for value in node.choices or () if value is not None]
            self._show(node, "enum", "const", "anyOf", "oneOf")
        if kind == "array" and not inside and node.items is not None and not node.items.never:
            out["items"] = self._declared(name, node.items, open_, inside=True)
        if node.nullable:
            out["nullable"] = True
            self._show(node, "anyOf", "oneOf", "nullable")
        if kind == "object":
            self._show(node, "required")
            self._show_closed(node)
            out.update(self._object(node, open_))
        return out


def _generic(name: str, node: Node, inside: bool) -> str:
    """A description for a node that has none: true, and made from what is known."""
    title = node.text("title")
    if inside:
        return f"One item of {name}."
    if " " in title and humanised(title).lower() != humanised(name).lower():
        return f"{title}."
    return f"{humanised(name)}."


def _shown_choices(node: Node) -> bool:
    """Whether the choices are ones the template prints: texts, perhaps null."""
    values = [value for value in node.choices or () if value is not None]
    return bool(values) and all(isinstance(value, str) for value in values)


# --- unions folded -------------------------------------------------------------------------------

_PRECEDENCE: Final = ("object", "array", "string", "number", "integer", "boolean")


def main_kind(node: Node) -> str:
    """The one type the declaration gives: the one that holds the others' information."""
    return next((kind for kind in _PRECEDENCE if kind in node.kinds), "string")


def fold(node: Node, prose: SchemaProse) -> tuple[Node, tuple[Phrase, ...]]:
    """A node without unions, and the sentences that say what the branches were."""
    phrases: list[Phrase] = []
    whole = replace(node, unions=())
    main = main_kind(node)
    for index, union in enumerate(node.unions):
        fitting = [branch for branch in union.branches if main in branch.kinds or not branch.kinds]
        sole = fitting[0] if len(fitting) == 1 and main in ("object", "array") else None
        phrases.append(prose.union(node, index, declared=sole))
        whole = conjunction((whole, _one_of(union, main)))
    if node.nullable and whole.types != ANY.types:
        whole = replace(whole, types=whole.types | {"null"})
    return whole, tuple(phrases)


def _one_of(union: Union, main: str) -> Node:
    """The branches as one node that allows what any of them allows.

    Only structure is kept: what else the branches say, the sentence about them says.
    """
    branches = [_folded_branch(branch, main) for branch in union.branches]
    fitting = [branch for branch in branches if main in branch.kinds or not branch.kinds]
    types = frozenset().union(*(branch.types for branch in branches))
    if len(fitting) == 1 and main in ("object", "array"):
        return replace(fitting[0], types=types, choices=None)
    texts = [fact for branch in branches for fact in branch.all("description")]
    needed = [branch.required for branch in fitting] if len(fitting) == len(branches) else []
    return Node(
        types=types,
        properties=_any_property(fitting),
        required=frozenset.intersection(*needed) if needed else frozenset(),
        items=_any_item(fitting),
        facts=(*texts[:1], *(fact for branch in fitting for fact in branch.all("type"))),
    )


def _folded_branch(branch: Node, main: str) -> Node:
    inner = [_one_of(union, main) for union in branch.unions]
    return conjunction((replace(branch, unions=()), *inner))


def _any_property(branches: list[Node]) -> dict[str, Node]:
    names = dict.fromkeys(name for branch in branches for name in branch.properties)
    return {
        name: _either([b.properties[name] for b in branches if name in b.properties], name)
        for name in names
    }


def _any_item(branches: list[Node]) -> Node | None:
    items = [branch.items for branch in branches if branch.items is not None]
    return _either(items, "items") if items else None


def _structural_key(node: Node) -> object:
    """Equal for two nodes that say the same: references to one definition with the same limits
    beside them, or nodes without inner structure.
    """
    if node.definition:
        places = frozenset((fact.path, fact.keyword) for fact in node.facts if limits(fact))
        return (node.definition, node.cut, places)
    if any((node.properties, node.items, node.prefix, node.unions, node.patterns, node.extra)):
        return id(node)
    stated = sorted(f"{fact.keyword}{fact.value}" for fact in node.facts if limits(fact))
    return (node.types, tuple(stated))


def _either(nodes: list[Node], name: str) -> Node:
    """A node for a place that several branches describe."""
    distinct = list({id(node): node for node in nodes}.values())
    if len(distinct) == 1 or len({_structural_key(node) for node in distinct}) == 1:
        return replace(distinct[0], facts=tuple(fact for node in distinct for fact in node.facts))
    text = next((node.text("description") for node in distinct if node.text("description")), "")
    about = (Fact(f"#{name}", "description", text),) if text else ()
    if all(node.choices is not None for node in distinct):
        values = tuple({same(v): v for node in distinct for v in node.choices or ()}.values())
        facts = tuple(fact for node in distinct for fact in node.facts)
        return Node(types=ANY.types, choices=values, facts=about + facts)
    return Node(facts=about, unions=(Union(Fact("#", "anyOf", None), tuple(distinct)),))


# --- names ---------------------------------------------------------------------------------------

_RESERVED: Final = frozenset({"type", "description", "properties", "required", "nullable"})
"""Parameter names that the April template silently leaves out."""
_UNSAFE: Final = re.compile(r"[^\w$@.\-]")


def aliases_of(root: Node) -> dict[str, str]:
    """One alias per unsafe name, unlike every other name of the tool."""
    names = {name for node in walk(root) for name in (*node.properties, *node.required)}
    taken = set(names)
    numbers: dict[str, Iterator[int]] = {}
    aliases: dict[str, str] = {}
    for name in sorted(names):
        if name in _RESERVED or _UNSAFE.search(name) or not name:
            plain = _UNSAFE.sub("_", name).strip("_") or "field"
            alias = f"{plain}_" if plain in _RESERVED else plain
            while alias in taken:
                alias = f"{plain}_{next(numbers.setdefault(plain, count(2)))}"
            taken.add(alias)
            aliases[name] = alias
    return aliases


def renamed(
    value: Any, nodes: tuple[Node, ...], names: Mapping[str, str], known: frozenset[str]
) -> Any:
    """`value` with the members that the nodes declare renamed."""
    everywhere = tuple(_with_branches(nodes))
    if isinstance(value, list):
        return [
            renamed(item, tuple(node.item(index) for node in everywhere), names, known)
            for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    declared = {
        name for node in everywhere for name in (*node.properties, *node.required) if name in known
    }
    out: dict[str, Any] = {}
    for key, item in value.items():
        name = names.get(key, key)
        new = name if name in declared or key in declared else key
        original = new if new in declared else key
        inner = tuple(node.member(original) for node in everywhere)
        out[new] = renamed(item, inner, names, known)
    return out


def _with_branches(nodes: Iterable[Node]) -> Iterable[Node]:
    for node in nodes:
        yield node
        for union in node.unions:
            yield from _with_branches(union.branches)
        for fact in node.facts:
            held = fact.value if isinstance(fact.value, tuple) else ()
            yield from _with_branches(child for child in held if isinstance(child, Node))
