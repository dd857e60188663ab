"""Unions folded into one node, because a declaration has one type per place."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from agentkit.schema.nodes import ANY, Fact, Node, Union, conjunction, limits, same
from agentkit.schema.phrases import Phrase
from agentkit.schema.words import Speaker

_PRECEDENCE: Final = ("object", "array", "string", "number", "integer", "boolean")


def main_kind(node: Node) -> str:
    """The one type the declaration gives: the one that holds the others' information."""
    return next((kind for kind in _PRECEDENCE if kind in node.kinds), "string")


def folded(node: Node, speaker: Speaker) -> tuple[Node, tuple[Phrase, ...]]:
    """A node without unions, and the sentences that say what the branches were."""
    phrases: list[Phrase] = []
    whole = replace(node, unions=())
    main = main_kind(node)
    for index, union in enumerate(node.unions):
        fitting = [branch for branch in union.branches if main in branch.kinds or not branch.kinds]
        sole = fitting[0] if len(fitting) == 1 and main in ("object", "array") else None
        phrases.append(speaker.union(node, index, declared=sole))
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


def _plainly(node: Node) -> object:
    """Equal for two nodes without inner structure that say the same."""
    if any((node.properties, node.items, node.prefix, node.unions, node.patterns, node.extra)):
        return id(node)
    said = sorted(f"{f.keyword}{f.value}" for f in node.facts if limits(f))
    return (node.types, tuple(said))


def _either(nodes: list[Node], name: str) -> Node:
    """A node for a place that several branches describe."""
    distinct = list({id(node): node for node in nodes}.values())
    if len(distinct) == 1 or len({_plainly(node) for node in distinct}) == 1:
        return replace(distinct[0], facts=tuple(fact for node in distinct for fact in node.facts))
    text = next((node.text("description") for node in distinct if node.text("description")), "")
    about = (Fact(f"#{name}", "description", text),) if text else ()
    if all(node.choices is not None for node in distinct):
        values = tuple({same(v): v for node in distinct for v in node.choices or ()}.values())
        facts = tuple(fact for node in distinct for fact in node.facts)
        return Node(types=ANY.types, choices=values, facts=about + facts)
    return Node(facts=about, unions=(Union(Fact("#", "anyOf", None), tuple(distinct)),))
