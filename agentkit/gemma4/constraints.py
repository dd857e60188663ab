"""One tool's schema → EBNF for the arguments of its native call.

What a context-free grammar can hold at a price worth paying is held; everything else stays with
validation. Which of the two it was is recorded for each keyword of the source, so that a loss
report can name it. Sound by construction: a text that the grammar accepts reads back as arguments
that obey every keyword recorded as carried.

Members stand in one order, the one in which the template prints them, sorted without regard to
case: it is the order the model was trained to write, every other order would cost the grammar a
factor of n!, and replayed calls then tokenise exactly as they were generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import combinations, product
from types import MappingProxyType
from typing import Any, Final

from agentkit.gemma4.bounds import (
    can_hold,
    integer,
    lengths,
    multiples,
    number,
    strictest,
    whole_bounds,
)
from agentkit.gemma4.ebnf import (
    COUNTED,
    FORMATS,
    FREE_KEY,
    LONGEST_END,
    LOOSE_FORMATS,
    Filled,
    Rule,
    Rules,
    any_of,
    bound_above,
    free_text,
    in_order,
    listed,
    literal,
    other_than,
    repeated,
    stands_bare,
)
from agentkit.gemma4.patterns import Translation, translate
from agentkit.gemma4.render import render_value
from agentkit.gemma4.tokens import QUOTE
from agentkit.schema.nodes import ANY, NULL_TYPE, Node, Union, conjunction, limits, same

_ANYTHING: Final = "anything"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


_MOST_VARIANTS: Final = 256
"""Most combinations of union branches spelled out for one place; of one union all are."""


class Constraints:
    """Compiles nodes to EBNF and keeps the books on what was carried.

    Args:
        aliases: Member names → the names the model is shown.
        escape: What was done to every text the model is shown; done to keys and enum values too.
    """

    def __init__(self, aliases: Mapping[str, str], escape: Callable[[str], str]) -> None:
        self._aliases = aliases
        self._escape = escape
        self._rules = Rules()
        self._by_kind: Mapping[str, Callable[[Node], str | None]] = {
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": self._boolean,
            "array": self._array,
            "object": self._object,
        }
        self._done: dict[int, tuple[Node, str | None]] = {}
        self._carried: set[tuple[str, str]] = set()
        self._dropped: set[tuple[str, str]] = set()
        self._nearly: dict[tuple[str, str], str] = {}

    @property
    def _text(self) -> str:
        """Any text that ends where a reader sees its end."""
        return free_text(self._rules)

    def arguments(self, root: Node) -> str:
        """The expression for a whole arguments object, without its braces; may be empty.

        A schema that nothing fits gets a grammar of free members: the call is then as good as
        the model makes it, and validation says what is wrong with the schema.
        """
        object_ = replace(root, types=frozenset({"object"}))
        branches = [self._members(variant) for variant in self._united(object_)]
        possible = [members for members in branches if members is not None]
        if possible:
            return any_of(possible)
        self._carried.clear()
        return listed(f'{self._free_key} ":" {self._anything()}', 0, None)

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The rules that the expressions refer to, by name."""
        return self._rules.made

    @property
    def carried(self) -> frozenset[tuple[str, str]]:
        """(JSON pointer, keyword) of every limit that the grammar enforces wherever it stands."""
        return frozenset(self._carried - self._dropped)

    @property
    def nearly(self) -> Mapping[tuple[str, str], str]:
        """(JSON pointer, keyword) of limits that it holds in part → how far, in words."""
        return {key: words for key, words in self._nearly.items() if key in self._dropped}

    def _mark(self, node: Node, *carried: str, nearly: Mapping[str, str] = _NOTHING) -> None:
        """Records the fate of a node's limits: carried are those named, the rest is not.

        A type always is, and so is a union, unless its branches overlap (see `_united`).

        Args:
            node: The place.
            carried: The keywords that the grammar holds exactly.
            nearly: Keywords that it holds in part → how far, in words.
        """
        for fact in node.facts:
            if limits(fact):
                key = (fact.path, fact.keyword)
                kept = fact.keyword in carried or fact.keyword in ("type", "anyOf", "oneOf")
                (self._carried if kept else self._dropped).add(key)
                if not kept and fact.keyword in nearly:
                    self._nearly.setdefault(key, nearly[fact.keyword])

    def _united(self, node: Node) -> list[Node]:
        """The union-free nodes that together say what a node says, one per choice of branches.

        That only one branch fits is not enforced, and neither is a union that would make more of
        them than are spelled out.
        """
        found = [replace(node, unions=())]
        for union in node.unions:
            chosen = self._chosen(found, union)
            if chosen is None:
                self._dropped.add((union.fact.path, union.fact.keyword))
                # Its branches may name members that nothing else does.
                chosen = [
                    replace(one, extra=one.extra or ANY) if "object" in one.kinds else one
                    for one in found
                ]
            found = chosen
        return found

    def _chosen(self, nodes: list[Node], union: Union) -> list[Node] | None:
        """The nodes with each branch of a union; None if these are too many to be spelled out."""
        if union.fact.keyword == "oneOf" and not all(
            _apart(one, two) for one, two in combinations(union.branches, 2)
        ):
            self._dropped.add((union.fact.path, "oneOf"))
        chosen: list[Node] = []
        for node, branch in product(nodes, union.branches):
            both = conjunction((node, branch))
            variants = [replace(both, unions=())]
            for deeper in both.unions:
                more = self._chosen(variants, deeper)
                if more is None:
                    return None
                variants = more
            chosen += variants
            if len(chosen) > max(_MOST_VARIANTS, len(union.branches)):
                return None
        return chosen

    # --- values ----------------------------------------------------------------------------------

    def _value(self, node: Node) -> str | None:
        """The expression for a node; None where no finite value fits."""
        known = self._done.get(id(node))
        if known is None:
            branches = [self._variant(variant) for variant in self._united(node)]
            possible = [branch for branch in branches if branch is not None]
            body = any_of(possible) if possible else None
            if body is not None and len(body) > 40:  # short ones read better where they stand
                body = self._rules.name(body)
            known = self._done[id(node)] = (node, body)
        return known[1]

    def _variant(self, node: Node) -> str | None:
        """The expression for a node that has no unions; None where no finite value fits."""
        if node.never:
            return None
        if node.cut == "size":  # what may stand here is not known
            return self._anything()
        if node.cut:
            return '"null"' if node.types == NULL_TYPE else None
        if node.choices is not None:
            return self._choices(node)
        kinds = [kind for kind in self._by_kind if kind in node.kinds]
        if not kinds and not node.nullable and node.types != NULL_TYPE:
            self._mark(node)
            return self._anything()
        alternatives = [self._by_kind[kind](node) for kind in kinds]
        if node.nullable or node.types == NULL_TYPE:
            if not kinds:
                self._mark(node)
            alternatives.append('"null"')
        possible = [alternative for alternative in alternatives if alternative is not None]
        return any_of(possible) if possible else None

    def _choices(self, node: Node) -> str | None:
        """Values one by one, as the model would write them."""
        excluded = {
            same(value)
            for fact in node.all("not")
            if isinstance(fact.value, Node)
            for value in fact.value.choices or ()
        }
        values = [value for value in node.choices or () if same(value) not in excluded]
        simple = excluded or not node.all("not")
        self._mark(node, "enum", "const", *(("not",) if simple else ()))
        written = (render_value(_escaped_json(value, self._escape)) for value in values)
        return any_of(map(literal, written)) if values else None

    def _anything(self) -> str:
        """A value of any type. The rule refers to itself, so it has a name of its own."""
        scalars = [self._quoted(self._text), number(None, None, above=False, below=False) or ""]
        entry = f'{self._free_key} ":" {_ANYTHING}'
        nested = [f'"[" {listed(_ANYTHING, 0, None)} "]"', f'"{{" {listed(entry, 0, None)} "}}"']
        words = ['"true"', '"false"', '"null"']
        self._rules.define(_ANYTHING, any_of([*scalars, *words, *nested]))
        return _ANYTHING

    @property
    def _free_key(self) -> str:
        return self._rules.name(FREE_KEY)

    # --- scalars ---------------------------------------------------------------------------------

    def _boolean(self, node: Node) -> str | None:
        self._mark(node)
        return '("true" | "false")'

    def _integer(self, node: Node) -> str | None:
        low, high = whole_bounds(node)
        if not can_hold(_exact(low), _exact(high)):
            self._mark(node)
            return integer(None, None)
        steps = [fact.value for fact in node.all("multipleOf")]
        few = multiples(low, high, steps)
        carried = _BOUNDS if few is None else (*_BOUNDS, "multipleOf")
        self._mark(node, *carried)
        if few is None:
            return integer(low, high)
        return any_of(literal(str(value)) for value in few) if few else None

    def _number(self, node: Node) -> str | None:
        low, above = strictest(node, "minimum", "exclusiveMinimum", max)
        high, below = strictest(node, "maximum", "exclusiveMaximum", min)
        if not can_hold(_exact(low), _exact(high), is_open=above or below):
            self._mark(node)
            return number(None, None, above=False, below=False)
        self._mark(node, *_BOUNDS)
        return number(_exact(low), _exact(high), above=above, below=below)

    def _string(self, node: Node) -> str | None:
        low, high = lengths(node, "minLength", "maxLength")
        if high is not None and low > high:
            return None
        shaped = self._shaped(node, low, high)
        return self._sized(node, low, high) if shaped is None else shaped

    def _quoted(self, body: str) -> str:
        return in_order((literal(QUOTE), body, literal(QUOTE)))

    def _shaped(self, node: Node, low: int, high: int | None) -> str | None:
        """A string with a pattern or format that has a grammar."""
        patterns = node.all("pattern")
        if len(patterns) == 1 and isinstance(patterns[0].value, str):
            shape = translate(patterns[0].value, self._rules, low, high)
            if shape is not None:
                return self._patterned(node, shape, low, high)
        formats = [fact.value for fact in node.all("format") if fact.value in FORMATS]
        if formats and not patterns and low == 0 and high is None:
            loose = LOOSE_FORMATS.get(formats[0])
            self._mark(
                node,
                *("minLength", "maxLength", *([] if loose else ["format"])),
                nearly={"format": loose} if loose else _NOTHING,
            )
            return self._rules.name(self._quoted(FORMATS[formats[0]]))
        return None

    def _patterned(self, node: Node, shape: Translation, low: int, high: int | None) -> str:
        short = high is None or (shape.high is not None and shape.high <= high)
        carried = ["pattern"] if shape.exact else []
        carried += ["minLength"] if shape.low >= low else []
        carried += ["maxLength"] if short and shape.exact else []
        nearly = {} if shape.exact else {"pattern": "but for its long counts"}
        self._mark(node, *carried, nearly=nearly)
        quote = literal(QUOTE)
        return self._rules.name(in_order((quote, shape.before(quote))))

    def _sized(self, node: Node, low: int, high: int | None) -> str:
        """A string of any text. Least lengths are counted, the greatest is a bound above it."""
        carried, nearly = [], {}
        if low <= COUNTED:
            carried.append("minLength")
        else:
            nearly["minLength"] = f"up to {COUNTED} characters"
        if high == 0:
            self._mark(node, "minLength", "maxLength")
            return self._quoted("")
        bound = None if high is None else bound_above(high)
        if bound is not None:
            end = ", but for > and | at its end" if low else ""
            nearly["maxLength"] = f"up to {bound} characters{end}"
        self._mark(node, *carried, nearly=nearly)
        if not low:
            return self._quoted(self._text) if bound is None else self._counted(self._text, bound)
        quote = literal(QUOTE)
        opened = in_order((quote, self._text))
        if bound is not None:
            opened = self._rules.name(opened, len(QUOTE) + bound - LONGEST_END)
        return Filled(self._rules, quote, opened, quote).text(min(low, COUNTED))

    def _counted(self, text: str, bound: int) -> str:
        """A string with a bound on its length.

        The rule that counts begins before the quote: xgrammar 0.2 lets one token run past the
        count of a rule that begins inside it, and then refuses that token. It may end anywhere
        behind the quote: where a rule cannot end, xgrammar forgets its count. The text is a rule
        of its own, so that strings of other lengths share what it costs to compile.
        """
        counted = self._rules.name(in_order((literal(QUOTE), text)), len(QUOTE) + bound)
        return in_order((counted, literal(QUOTE)))

    # --- arrays ----------------------------------------------------------------------------------

    def _array(self, node: Node) -> str | None:
        low, high = lengths(node, "minItems", "maxItems")
        carried = ["minItems", "maxItems", "prefixItems", "items"]
        carried += ["unevaluatedItems"] if node.items is None and node.prefix else []
        carried += ["uniqueItems"] if high is not None and high <= 1 else []
        self._mark(node, *carried)
        prefix = [self._value(child) for child in node.prefix][: high if high is not None else None]
        # What stands behind the prefix; None if nothing does.
        if node.items is not None:
            rest = self._value(node.items)
        else:
            rest = None if node.prefix else self._anything()
        if rest is None:
            high = len(prefix) if high is None else min(high, len(prefix))
        for index, place in enumerate(prefix):
            if place is None:  # nothing fits there, so the array ends before it
                prefix, rest, high = prefix[:index], None, index
                break
        if high is not None and low > high:
            return None
        inside = self._sequence([place for place in prefix if place], rest, low, high)
        return in_order(('"["', inside, '"]"'))

    def _sequence(self, prefix: list[str], rest: str | None, low: int, high: int | None) -> str:
        """Items with commas: first the prefix, then the rest, `low` to `high` in all."""
        count = len(prefix)
        tail = ""
        if rest is not None and (high is None or high > count):
            least, most = max(low - count, 0), None if high is None else high - count
            if not prefix:
                return listed(rest, least, most)
            tail = repeated(f'"," {rest}', least, most)
        for index in range(count - 1, -1, -1):
            item = prefix[index] if index == 0 else f'"," {prefix[index]}'
            tail = in_order((item, tail)) if tail else item
            tail = tail if index < low else f"({tail})?"
        return tail

    # --- objects ---------------------------------------------------------------------------------

    def _object(self, node: Node) -> str | None:
        members = self._members(node)
        return None if members is None else in_order(('"{"', members, '"}"'))

    def _members(self, node: Node) -> str | None:
        """The members of an object, without its braces."""
        named = node.members()
        low, high = lengths(node, "minProperties", "maxProperties")
        if any(node.member(name).never for name in node.required):
            return None
        if not named:
            return self._dictionary(node, low, high)
        free = node.extra is not None and not node.extra.never and not node.patterns
        carried = ["required", "additionalProperties"]
        carried += ["minProperties"] if low <= len(node.required) else []
        if not free:
            carried += ["unevaluatedProperties", "patternProperties"]
            carried += ["maxProperties"] if high is None or len(named) <= high else []
        self._mark(node, *carried)
        values = {name: self._value(child) for name, child in named.items()}
        if any(values[name] is None for name in node.required):
            return None
        pairs = [
            (f"{self._key(name)} {value}", name in node.required)
            for name, value in values.items()
            if value is not None
        ]
        return self._chain(pairs, self._further(node) if free else None)

    def _key(self, name: str) -> str:
        return literal(f"{self._escape(self._aliases.get(name, name))}:")

    def _chain(self, pairs: list[tuple[str, bool]], further: str | None) -> str:
        """Members in their order, those that may be missing optional, commas in between.

        One rule per member, for what may follow it, keeps the grammar as long as the schema.
        """
        rest = "" if further is None else f'("," {further})*'
        first = [""] if further is None else ["", f"{further} {rest}"]
        for pair, required in reversed(pairs):
            here = in_order((pair, rest)) if rest else pair
            first = [here] if required else [here, *first]
            step = f'"," {pair}' if required else f'("," {pair})?'
            rest = self._rules.name(in_order((step, rest)))
        some = [alternative for alternative in first if alternative]
        if not some:
            return ""
        return f"({any_of(some)})?" if "" in first else any_of(some)

    def _further(self, node: Node) -> str | None:
        """A member whose key is none of the declared names, original or shown."""
        value = self._value(node.extra or ANY)
        if value is None:
            return None
        names = {*node.members(), *self._aliases}
        shown = {self._escape(self._aliases.get(name, name)) for name in names}
        return f'{self._rules.name(other_than(sorted(names | shown)))} ":" {value}'

    def _dictionary(self, node: Node, low: int, high: int | None) -> str | None:
        """An object without declared members."""
        key, value, carried = self._entries(node)
        carried += ["maxProperties", *(["minProperties"] if low <= 1 else [])]
        self._mark(node, "required", "unevaluatedProperties", *carried)
        if value is None or high == 0:
            return None if low else ""
        return listed(f'{key} ":" {value}', min(low, 1), high)

    def _entries(self, node: Node) -> tuple[str, str | None, list[str]]:
        """Key and value of the entries of a free dict, and what of the source they carry."""
        free = self._free_key
        if node.patterns:
            shape = translate(node.patterns[0][0], self._rules) if len(node.patterns) == 1 else None
            if shape is not None and shape.low and stands_bare(shape.ebnf):
                key, value = self._rules.name(shape.ebnf), self._value(node.patterns[0][1])
                return key, value, ["patternProperties", "additionalProperties"]
            return free, self._value(ANY), []
        names = [fact.value for fact in node.all("propertyNames") if isinstance(fact.value, Node)]
        extra = ANY if node.extra is None else node.extra
        value = None if extra.never else self._value(extra)
        limited = self._limited_key(names[0]) if len(names) == 1 else None
        if limited:
            return self._rules.name(limited), value, ["propertyNames", "additionalProperties"]
        return free, value, ["additionalProperties"]

    def _limited_key(self, names: Node) -> str | None:
        """A key that `propertyNames` limits to a list or a simple pattern."""
        if names.choices:
            self._mark(names, "enum", "const")
            texts = [value for value in names.choices if isinstance(value, str)]
            return any_of(literal(self._escape(text)) for text in texts) if texts else None
        patterns = [fact.value for fact in names.all("pattern") if isinstance(fact.value, str)]
        shape = translate(patterns[0], self._rules) if len(patterns) == 1 else None
        if shape is None or not shape.low or not stands_bare(shape.ebnf):
            return None
        self._mark(names, "pattern")
        return shape.ebnf


# --- unions --------------------------------------------------------------------------------------


def _apart(one: Node, two: Node) -> bool:
    """Whether no value fits both, as far as can be seen at once."""
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


# --- values --------------------------------------------------------------------------------------


def _exact(bound: float | None) -> Decimal | None:
    """A bound as it is written: the double 0.1 is the decimal 0.1."""
    return None if bound is None else Decimal(repr(bound))


def _escaped_json(value: Any, escape: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, list):
        return [_escaped_json(item, escape) for item in value]
    if isinstance(value, dict):
        return {escape(key): _escaped_json(item, escape) for key, item in value.items()}
    return value
