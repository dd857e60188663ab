"""Names that Gemma can be shown, for those it cannot, and the way back.

The template of April leaves out parameters with certain names; other names would break the native
syntax, where keys stand bare.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agentkit.schema.nodes import Node, walk

_RESERVED: Final = frozenset({"type", "description", "properties", "required", "nullable"})
"""Parameter names that the April template silently leaves out."""
_UNSAFE: Final = re.compile(r"[^\w$@.\-]")


def aliases_of(root: Node) -> dict[str, str]:
    """One alias per unsafe name, unlike every other name of the tool."""
    names = {name for node in walk(root) for name in (*node.properties, *node.required)}
    aliases: dict[str, str] = {}
    for name in sorted(names):
        if name in _RESERVED or _UNSAFE.search(name) or not name:
            plain = _UNSAFE.sub("_", name).strip("_") or "field"
            alias = f"{plain}_" if plain in _RESERVED else plain
            taken = names | set(aliases.values())
            numbered = (f"{plain}_{number}" for number in range(2, len(taken) + 3))
            free = (text for text in (alias, *numbered) if text not in taken)
            aliases[name] = next(free)
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


_NAMED: Final = frozenset({"properties", "$defs", "definitions", "patternProperties"})
_VALUES: Final = frozenset({"enum", "const", "default", "examples", "example"})


def with_both_names(schema: Any, names: Mapping[str, str]) -> Any:
    """A schema that also takes its declared members under other names; values keep theirs.

    A member that has two names is required under neither: which one is there is not known.
    """
    if isinstance(schema, list):
        return [with_both_names(item, names) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _VALUES:
            out[keyword] = value
        elif keyword == "required" and isinstance(value, list):
            out[keyword] = [name for name in value if name not in names]
        elif keyword in _NAMED and isinstance(value, Mapping):
            members = {name: with_both_names(member, names) for name, member in value.items()}
            if keyword == "properties":
                members |= {names[name]: members[name] for name in value if name in names}
            out[keyword] = members
        else:
            out[keyword] = with_both_names(value, names)
    return out
