"""What a node of a schema says, in the form a grammar needs: bounds, branches, what is carried."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any, Final

from agentkit.schema.nodes import Node, conjunction, same

_MAX_BRANCHES: Final = 64
"""Most combinations of union branches spelled out for one place."""
_ENUMERABLE: Final = 400
"""Most multiples spelled out one by one."""


def _numbers(node: Node, keyword: str) -> list[float]:
    values = (fact.value for fact in node.all(keyword))
    return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def strictest(
    node: Node, inclusive: str, exclusive: str, pick: Callable[[list[float]], float]
) -> tuple[float | None, bool]:
    """A bound and whether it is left out itself; draft 4 writes that as a flag beside it."""
    flagged = any(fact.value is True for fact in node.all(exclusive))
    closed, opened = _numbers(node, inclusive), _numbers(node, exclusive)
    if flagged:
        closed, opened = [], closed
    if not closed and not opened:
        return None, False
    bound = pick([*closed, *opened])
    return bound, bound in opened


def whole_bounds(node: Node) -> tuple[int | None, int | None]:
    """The least and the greatest integer a node allows."""
    low, above = strictest(node, "minimum", "exclusiveMinimum", max)
    high, below = strictest(node, "maximum", "exclusiveMaximum", min)
    least = None if low is None else math.floor(low) + 1 if above else math.ceil(low)
    most = None if high is None else math.ceil(high) - 1 if below else math.floor(high)
    return least, most


def multiples(low: int | None, high: int | None, steps: list[Any]) -> list[int] | None:
    """The multiples between two bounds, if they are few and whole."""
    whole = [
        int(s) for s in steps if isinstance(s, int | float) and float(s).is_integer() and s > 0
    ]
    if not steps or len(whole) != len(steps) or low is None or high is None:
        return None
    step = math.lcm(*whole)
    first = -(-low // step) * step
    if (high - first) // step > _ENUMERABLE:
        return None
    return list(range(first, high + 1, step))


def lengths(node: Node, least: str, most: str) -> tuple[int, int | None]:
    """The bounds that two counting keywords set; None where nothing ends the count."""
    lows, highs = _numbers(node, least), _numbers(node, most)
    return int(max(lows, default=0)), int(min(highs)) if highs else None


# --- unions ---------------------------------------------------------------------------------------


def variants(node: Node) -> list[Node]:
    """The union-free nodes that together say what a node says, one per choice of branches."""
    if not node.unions:
        return [node]
    base = replace(node, unions=())
    combinations = product(*(union.branches for union in node.unions))
    found: list[Node] = []
    for branches in combinations:
        if len(found) >= _MAX_BRANCHES:
            break
        found += variants(conjunction((base, *branches)))
    return found


def disjoint(branches: tuple[Node, ...]) -> bool:
    """Whether no value fits two of the branches, as far as can be seen at once."""
    pairs = ((a, b) for index, a in enumerate(branches) for b in branches[index + 1 :])
    return all(_apart(one, two) for one, two in pairs)


def _apart(one: Node, two: Node) -> bool:
    kinds = [{"number" if k == "integer" else k for k in node.kinds} for node in (one, two)]
    if kinds[0] and kinds[1] and not kinds[0] & kinds[1]:
        return not (one.nullable and two.nullable)
    if one.choices is not None and two.choices is not None:
        return not {same(v) for v in one.choices} & {same(v) for v in two.choices}
    shared = one.required & two.required & one.properties.keys() & two.properties.keys()
    return any(
        one.properties[name].choices is not None
        and two.properties[name].choices is not None
        and _apart(one.properties[name], two.properties[name])
        for name in shared
    )


# --- what a construct carries --------------------------------------------------------------------


def array_carried(node: Node, high: int | None) -> Iterator[str]:
    """The keywords that the grammar of an array enforces."""
    yield from ("minItems", "maxItems", "prefixItems", "items")
    if node.items is None and node.prefix:
        yield "unevaluatedItems"
    if high is not None and high <= 1:
        yield "uniqueItems"


def named_carried(node: Node, low: int, high: int | None, *, free: bool) -> Iterator[str]:
    """The keywords that the grammar of an object with named members enforces."""
    yield from ("required", "additionalProperties")
    if low <= len(node.required):
        yield "minProperties"
    if not free:
        yield from ("unevaluatedProperties", "patternProperties")
        if high is None or len(node.members()) <= high:
            yield "maxProperties"
