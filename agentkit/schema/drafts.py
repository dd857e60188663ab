"""JSON Schemas of others, whatever draft they were written for, as draft 2020-12 without names.

In: a schema of draft 3 to 2020-12, or of OpenAPI 3.0 or 3.1. Out: the same in the words of 2020-12,
every reference a pointer from the root, and a list of what of it can never be checked. Whatever
reads schemas afterwards (the declaration, the grammar, the validator) knows that one form alone.

The draft is the one that `$schema` names; without it, each keyword tells by its form:

| older form | becomes |
|---|---|
| `exclusiveMinimum: true` (draft 4, OpenAPI 3.0) | `exclusiveMinimum` with `minimum`'s number |
| a list as `items`, `additionalItems` (to 2019-09) | `prefixItems`, `items` |
| `required: true` in a property (draft 3) | its name in the `required` around it |
| `nullable: true` (OpenAPI 3.0) | null among the types, the choices or the branches |
| `dependencies` (to draft 7) | `dependentRequired`, `dependentSchemas` |
| `divisibleBy`, `extends`, `disallow`, schemas as types (draft 3) | their successors |
| limits beside `$ref` (to draft 7, by `$schema` alone) | nothing: those drafts do not read them |
| `id`, `$id`, `$anchor`, `$dynamicRef`, `$recursiveRef`, `components` | pointers |
| null for a keyword, a list as description | the keyword left out, its lines joined |
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from urllib.parse import quote, urljoin

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT4, DRAFT202012, Schema, specification_with

from agentkit.messages import JsonObject
from agentkit.schema.nodes import OWN_KEYWORDS, linear_pattern
from agentkit.schema.prose import short

MAX_DEPTH: Final = 60
"""Levels of schemas inside schemas; far more than any schema that we have seen a server publish."""
MAX_PLACES: Final = 10_000
"""Schemas in one schema."""

_NO_FORMATS: Final = FormatChecker(())
_MOST_WORDS: Final = 300  # characters of what a validator says, which quotes the schema

_ONE: Final = frozenset(
    {
        *("not", "if", "then", "else", "contains", "propertyNames", "contentSchema"),
        *("additionalProperties", "unevaluatedItems", "unevaluatedProperties"),
    }
)
_LISTED: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED: Final = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
)
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMING: Final = frozenset(
    {
        *("$schema", "$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary"),
        *("components", "nullable", "additionalItems"),
    }
)
"""Keywords that are gone from the modern form, or read together with others."""
_VALUES: Final = frozenset({"const", "default", "example", "examples"})
"""Keywords whose null is a value."""
_ABOUT: Final = ("title", "description", "default", "examples", "deprecated", "$comment")
"""Keywords that say something to people and limit nothing."""
_TEXTS: Final = ("title", "$comment", "format")
_IN_PLACE: Final = ("$ref", "not", "if", "then", "else", "allOf", "anyOf", "oneOf")
"""Keywords whose schemas see the same value as their own schema does: a circle of them never ends.
`dependentSchemas` is one too, and a map."""


_TYPES: Final[Mapping[str, str]] = {
    **{
        name: name for name in ("array", "boolean", "integer", "null", "number", "object", "string")
    },
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("str", "text"), "string"),
    "bool": "boolean",
    "list": "array",
    "dict": "object",
    "none": "null",
}
"""Names of types as schemas have them → JSON Schema's. Google's APIs write them in capitals."""


class UnusableSchemaError(ValueError):
    """Nothing can be checked against a schema; the message says why, as in `its schema is …`."""


@dataclass(frozen=True, slots=True)
class Modern:
    """A schema as draft 2020-12.

    Attributes:
        schema: A copy, with references to places in itself only.
        checkable: The same without what can never be checked, nor what would turn on that: `not`
            of it, the one of `oneOf` that it is, what follows `if`.
        unchecked: What the schema asks for and can never be checked, each in a few words.
        names: The members that it names, anywhere that sees the whole object; empty where it says
            which others may be given, or describes none.
    """

    schema: JsonObject
    checkable: JsonObject
    unchecked: tuple[str, ...]
    names: tuple[str, ...]


def modern(schema: object) -> Modern:
    """Reads the schema of an arguments object by its draft.

    A reference that leaves the document takes any value: following it would make us fetch what a
    stranger names.

    Args:
        schema: Decoded JSON. Not changed.

    Raises:
        UnusableSchemaError: It is no schema of an object, even so.
    """
    if not isinstance(schema, dict) or not _takes_an_object(schema.get("type")):
        raise UnusableSchemaError("its schema does not describe an object")
    reader = _Reader(schema)
    made = reader.read()
    try:
        # Without formats: a pattern of another dialect than Python's is no mistake.
        Draft202012Validator.check_schema(made, format_checker=_NO_FORMATS)
    except SchemaError as error:
        why = f"its schema is not valid JSON Schema ({error.message[:_MOST_WORDS]})"
        raise UnusableSchemaError(why) from None
    unknown = reader.unknown
    unchecked = (*_hard_patterns(made, unknown), *reader.unchecked, *_endless(made, unknown))
    checkable = _checkable(made, unknown) if unknown else made
    return Modern(made, checkable, unchecked, _names(made))


def _takes_an_object(types: object) -> bool:
    """Whether an object is among the types that a schema names; all are where it names none."""
    listed = types if isinstance(types, list) else [types or "object"]
    return any(isinstance(each, str) and _TYPES.get(each.lower()) == "object" for each in listed)


def subschemas(schema: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """Every schema inside a modern schema, itself first, with its JSON pointer."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        path, place = waiting.pop()
        if isinstance(place, dict):
            yield path, place
            waiting += reversed([(f"{path}/{key}", inner) for key, inner in _inside(place)])


def _inside(schema: JsonObject) -> Iterator[tuple[str, Any]]:
    for key, value in schema.items():
        if key in _ONE or key == "items":
            yield key, value
        elif key in _LISTED and isinstance(value, list):
            yield from ((f"{key}/{index}", inner) for index, inner in enumerate(value))
        elif key in _NAMED and isinstance(value, dict):
            yield from ((f"{key}/{_step(name)}", inner) for name, inner in value.items())


def _step(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


class _Reader:
    """Reads one schema; remembers where each of its parts went, since references name parts."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        uri = schema.get("$schema")
        self._uri = uri if isinstance(uri, str) else ""
        self._base = ""  # what references are relative to in the part that is read
        # Up to draft 7, what stands beside a reference is not read.
        self._lonely = any(f"draft-0{number}" in self._uri for number in (3, 4, 6, 7))
        self._places: dict[int, str] = {}
        self._references: deque[tuple[JsonObject, str, str]] = deque()
        self._resolvers: list[Any] = []
        self.unchecked: list[str] = []
        self.unknown: dict[int, JsonObject] = {}

    def read(self) -> JsonObject:
        made: JsonObject = self._read(self._schema, "", 0)
        moved: dict[str, Any] = {}
        names = _FreeNames(made.get("$defs", {}))
        while self._references:  # what one leads to can hold others
            holder, full, target = self._references.popleft()
            # Some references of a part that has its own name still mean places in the whole.
            found = self._resolved(full)
            if found is None and full != target:
                found = self._resolved(target)
            if not isinstance(found, dict):
                del holder["$ref"]
                if found is None:
                    where = "nowhere" if target.startswith("#") else "out of the schema"
                    self.unchecked.append(f"the reference {short(target)}, which leads {where}")
                    self.unknown[id(holder)] = holder
                elif found is False:  # `true` and `false` have no place that could be named
                    holder.setdefault("allOf", []).append(False)
                continue
            if id(found) not in self._places:
                name = names.take(target)
                moved[name] = {}  # taken, while what is in it is read
                self._base = full.partition("#")[0]
                moved[name] = self._read(found, f"/$defs/{_step(name)}", 1)
            holder["$ref"] = "#" + quote(self._places[id(found)], safe="/~$")
        if moved:
            made["$defs"] = {**made.get("$defs", {}), **moved}
        return made

    def _resolved(self, target: str) -> JsonObject | bool | None:
        """The schema in this document that a reference leads to; None if there is none.

        Nothing is fetched: a stranger names what a reference leads to.
        """
        if not self._resolvers:
            specs = [specification_with(self._uri, default=DRAFT202012), DRAFT4]
            for spec in specs:  # the second for an `id` in a schema that names no draft
                resource: Any = spec.create_resource(self._schema)
                registry: Registry[Schema] = Registry()
                base = resource.id() or ""
                self._resolvers.append(registry.with_resource(base, resource).resolver(base))
        for resolver in self._resolvers:
            try:
                found = resolver.lookup(target).contents
            except (Unresolvable, AttributeError, KeyError, TypeError, ValueError):
                continue
            if isinstance(found, dict | bool):
                return found
        return None

    # --- one schema ------------------------------------------------------------------------------

    def _read(self, schema: Any, path: str, depth: int) -> Any:
        if schema is None:
            return {}
        if not isinstance(schema, dict):
            return schema
        if depth > MAX_DEPTH:
            raise UnusableSchemaError(f"its schema is nested more than {MAX_DEPTH} deep")
        if len(self._places) >= MAX_PLACES:
            raise UnusableSchemaError(f"its schema has more than {MAX_PLACES:,} parts")
        self._places.setdefault(id(schema), path)
        given = {k: v for k, v in schema.items() if v is not None or k in _VALUES}
        if self._lonely and isinstance(given.get("$ref"), str):
            kept = {"$ref", "nullable", "definitions", "$defs", *_ABOUT}
            given = {key: value for key, value in given.items() if key in kept}
        wrapped = given.get("nullable") is True and bool(
            {*_REFERENCES, "allOf", "anyOf", "oneOf", "const"} & given.keys()
        )
        around, self._base = self._base, self._base_in(given, path)
        out = self._keywords(given, f"{path}/anyOf/0" if wrapped else path, depth + 1)
        self._base = around
        if given.get("nullable") is True:
            return _nullable(out, wrapped=wrapped)
        return out

    def _base_in(self, given: JsonObject, path: str) -> str:
        """What references are relative to in a schema: a part with a name of its own is a document
        (JSON Schema Core 2020-12, 8.2.1). The whole document's own name is known to the resolvers.
        """
        old = any(f"draft-0{number}" in self._uri for number in (3, 4))
        name = given.get("id" if old else "$id")
        named = path and isinstance(name, str) and not name.startswith("#")
        return _joined(self._base, str(name)) if named else self._base

    def _keywords(self, given: JsonObject, path: str, depth: int) -> JsonObject:
        out: JsonObject = {}
        for key, value in given.items():
            if key in _NAMING or key in _REFERENCES or (key == "id" and isinstance(value, str)):
                continue
            if key in _ONE:
                out[key] = self._read(value, f"{path}/{key}", depth)
            elif key in _LISTED and isinstance(value, list):
                if value:
                    out[key] = self._each(value, f"{path}/{key}", depth)
            elif key in _NAMED and isinstance(value, dict):
                out[key] = self._named(value, f"{path}/{key}", depth)
            elif key == "items":
                self._items(given, out, path, depth)
            elif key == "dependencies" and isinstance(value, dict):
                self._dependencies(value, out, path, depth)
            else:
                self._plain(key, value, out)
        self._draft3(given, out, path, depth)
        _exclusive(out)
        _required(given, out)
        self._refer(given, out)
        return out

    def _each(self, values: list[Any], path: str, depth: int) -> list[Any]:
        return [self._read(value, f"{path}/{i}", depth) for i, value in enumerate(values)]

    def _named(self, values: JsonObject, path: str, depth: int) -> JsonObject:
        return {
            name: self._read(value, f"{path}/{_step(name)}", depth)
            for name, value in values.items()
        }

    def _items(self, given: JsonObject, out: JsonObject, path: str, depth: int) -> None:
        items = given["items"]
        if not isinstance(items, list):
            out["items"] = self._read(items, f"{path}/items", depth)
            return
        if items and "prefixItems" not in given:
            out["prefixItems"] = self._each(items, f"{path}/prefixItems", depth)
        if "additionalItems" in given:
            out["items"] = self._read(given["additionalItems"], f"{path}/items", depth)

    def _dependencies(self, given: JsonObject, out: JsonObject, path: str, depth: int) -> None:
        for name, needed in given.items():
            if isinstance(needed, str | list):
                names = [needed] if isinstance(needed, str) else list(needed)
                out.setdefault("dependentRequired", {})[name] = names
            else:
                place = f"{path}/dependentSchemas/{_step(name)}"
                out.setdefault("dependentSchemas", {})[name] = self._read(needed, place, depth)

    def _plain(self, key: str, value: Any, out: JsonObject) -> None:
        """Keywords without schemas in them."""
        if key == "description":
            out[key] = _as_text(value)
        elif key.startswith(OWN_KEYWORDS) or (key in _TEXTS and not isinstance(value, str)):
            pass
        elif key == "examples" and not isinstance(value, list):
            out[key] = [deepcopy(value)]
        elif key == "enum" and value == []:
            self.unchecked.append("a list of no choices")
        elif key not in _VALUES and isinstance(value, float) and not math.isfinite(value):
            self.unchecked.append(f"the {key} {short(value)}")
        elif key == "type" and isinstance(value, str | list):
            self._type(value, out)
        else:
            out[key] = deepcopy(value)

    def _type(self, given: str | list[Any], out: JsonObject) -> None:
        """The type in the words of the draft: people write `STRING` and `int` too."""
        listed = given if isinstance(given, list) else [given]
        if not all(isinstance(each, str) for each in listed):
            out["type"] = deepcopy(given)
            return
        known = [_TYPES.get(each.lower()) for each in listed]
        if "any" in listed or None in known:
            strange = [each for each, read in zip(listed, known, strict=True) if read is None]
            self.unchecked += [f"the type {short(each)}" for each in strange if each != "any"]
        else:
            out["type"] = known if isinstance(given, list) else known[0]

    def _draft3(self, given: JsonObject, out: JsonObject, path: str, depth: int) -> None:
        if (divisor := out.pop("divisibleBy", None)) is not None:
            out.setdefault("multipleOf", divisor)
        types = given.get("type")
        if isinstance(types, list) and any(isinstance(each, dict) for each in types):
            del out["type"]
            branches = [each if isinstance(each, dict) else {"type": each} for each in types]
            branches = [{} if branch == {"type": "any"} else branch for branch in branches]
            out["anyOf"] = self._each(branches, f"{path}/anyOf", depth)
        if isinstance(given.get("extends"), dict | list):
            whole = given["extends"]
            del out["extends"]
            listed = whole if isinstance(whole, list) else [whole]
            out["allOf"] = self._each(listed, f"{path}/allOf", depth)
        if isinstance(given.get("disallow"), str | list):
            out["not"] = {"type": out.pop("disallow")}

    def _refer(self, given: JsonObject, out: JsonObject) -> None:
        targets = [given[key] for key in _REFERENCES if key in given]
        for number, target in enumerate(targets):
            if not isinstance(target, str):
                out["$ref"] = target  # no schema: the check of the whole says so
                return
            holder = out
            if number:
                holder = {}
                out.setdefault("allOf", []).append(holder)
            holder["$ref"] = target
            self._references.append((holder, _joined(self._base, target), target))


def _joined(base: str, reference: str) -> str:
    """A reference from a base (RFC 3986, 5.2), which may be a name without a path (`urn:`)."""
    if reference.startswith("#"):
        return base.partition("#")[0] + reference
    return urljoin(base, reference)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return json.dumps(value, ensure_ascii=False)


def _exclusive(out: JsonObject) -> None:
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(out.get(exclusive), bool) and out.pop(exclusive) and limit in out:
            out[exclusive] = out.pop(limit)


def _required(given: JsonObject, out: JsonObject) -> None:
    """The names that are required: listed, or marked one by one."""
    required = given.get("required")
    if isinstance(required, bool):
        del out["required"]
        required = []
    properties = given.get("properties")
    if not isinstance(required, list | None) or not isinstance(properties, dict | None):
        return
    marked = [
        name
        for name, value in (properties or {}).items()
        if isinstance(value, dict) and value.get("required") is True
    ]
    names = [*(required or []), *marked]
    if names and all(isinstance(name, str) for name in names):
        out["required"] = list(dict.fromkeys(names))


def _nullable(out: JsonObject, *, wrapped: bool) -> JsonObject:
    if wrapped:
        about: JsonObject = {key: out.pop(key) for key in _ABOUT if key in out}
        return {**about, "anyOf": [out, {"type": "null"}]}
    if "type" in out:
        stated = out["type"] if isinstance(out["type"], list) else [out["type"]]
        out["type"] = [*stated, *([] if "null" in stated else ["null"])]
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    return out


class _FreeNames:
    """Names for definitions, each given once.

    Args:
        taken: Names that there are already.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._numbers: dict[str, Iterator[int]] = {}

    def take(self, target: str) -> str:
        """A name for what a reference leads to."""
        last = target.rstrip("/").rsplit("/", 1)[-1].rsplit("#", 1)[-1] or "part"
        name = last
        while name in self._taken:
            name = f"{last}_{next(self._numbers.setdefault(last, count(2)))}"
        self._taken.add(name)
        return name


# --- what cannot be checked ----------------------------------------------------------------------


def _by_pointer(schema: JsonObject) -> dict[str, JsonObject]:
    """Every part of a schema under the reference that leads to it."""
    return {"#" + quote(path, safe="/~$"): place for path, place in subschemas(schema)}


def _endless(schema: JsonObject, unknown: dict[int, JsonObject]) -> Iterator[str]:
    """Takes out the references that lead back to themselves with nothing in between."""
    by_pointer = _by_pointer(schema)
    done: set[int] = set()
    for start in list(by_pointer.values()):
        open_: list[tuple[JsonObject, Iterator[tuple[JsonObject, JsonObject]]]] = []
        if id(start) not in done:
            open_.append((start, _same_value(start, by_pointer)))
        above = {id(start)}
        while open_:
            place, inner = open_[-1]
            step = next(inner, None)
            if step is None:
                above.discard(id(place))
                done.add(id(place))
                open_.pop()
                continue
            holder, target = step
            if id(target) in above:
                if "$ref" in holder:
                    unknown[id(holder)] = holder
                    yield f"the reference {short(holder.pop('$ref'))}, which leads back to itself"
            elif id(target) not in done:
                above.add(id(target))
                open_.append((target, _same_value(target, by_pointer)))


def _names(schema: JsonObject) -> tuple[str, ...]:
    """See `Modern.names`."""
    by_pointer = _by_pointer(schema)
    names: dict[str, None] = {}
    declares = False
    waiting, seen = [schema], {id(schema)}
    for place in waiting:  # grows by the schemas of the same object
        if place.keys() & {"additionalProperties", "patternProperties", "unevaluatedProperties"}:
            return ()
        needed, dependent = place.get("dependentRequired", {}), place.get("dependentSchemas", {})
        declares = declares or bool(place.get("properties"))
        for named in (place.get("properties", ()), place.get("required", ()), needed, dependent):
            names.update(dict.fromkeys(named))
        for named in needed.values():
            names.update(dict.fromkeys(named))
        for _, inner in _same_value(place, by_pointer):
            if inner is not place.get("not") and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
    return tuple(names) if declares else ()


def _same_value(
    place: JsonObject, by_pointer: Mapping[str, JsonObject]
) -> Iterator[tuple[JsonObject, JsonObject]]:
    """The schemas that see the same value as `place` does, each with the one that names it."""
    held: list[Any] = []
    for key in _IN_PLACE:
        value = place.get(key)
        if key == "$ref":
            held += [by_pointer.get(value)] if isinstance(value, str) else []
        elif isinstance(value, list):
            held += value
        else:
            held.append(value)
    dependent = place.get("dependentSchemas")
    held += dependent.values() if isinstance(dependent, dict) else []
    yield from ((place, each) for each in held if isinstance(each, dict))


def _hard_patterns(schema: JsonObject, unknown: dict[int, JsonObject]) -> Iterator[str]:
    for _, place in subschemas(schema):
        named = place.get("patternProperties")
        for pattern in (place.get("pattern"), *(named if isinstance(named, dict) else ())):
            if isinstance(pattern, str) and linear_pattern(pattern) is None:
                unknown[id(place)] = place
                yield f"the pattern {short(pattern)}"


def _checkable(schema: JsonObject, unknown: Mapping[int, JsonObject]) -> JsonObject:
    """The schema without what turns on the parts that cannot be checked.

    Such a part takes any value, which is right where it stands for itself, and wrong where the
    opposite of it counts.
    """
    by_pointer = _by_pointer(schema)
    around: dict[int, list[JsonObject]] = {}
    for place in by_pointer.values():
        for _, inner in _inside(place):
            around.setdefault(id(inner), []).append(place)
        target = by_pointer.get(place.get("$ref", ""))
        around.setdefault(id(target), []).append(place)
    soft: set[int] = set()
    waiting = list(unknown.values())
    while waiting:
        place = waiting.pop()
        if id(place) not in soft:
            soft.add(id(place))
            waiting += around.get(id(place), [])
    made: JsonObject = _without(schema, soft)
    return made


def _without(place: Any, soft: Set[int]) -> Any:
    if isinstance(place, list):
        return [_without(each, soft) for each in place]
    if not isinstance(place, dict):
        return place
    out: JsonObject = dict(place)
    if id(place.get("not")) in soft:
        del out["not"]
    if id(place.get("if")) in soft:
        out = {key: value for key, value in out.items() if key not in ("if", "then", "else")}
    if id(place.get("contains")) in soft:
        out.pop("maxContains", None)
    if any(id(branch) in soft for branch in place.get("oneOf", ())):
        out.setdefault("allOf", [])
        out["allOf"] = [*out["allOf"], {"anyOf": out.pop("oneOf")}]
    for key, value in out.items():
        if key in _ONE or key == "items" or key in _LISTED:
            out[key] = _without(value, soft)
        elif key in _NAMED and isinstance(value, dict):
            out[key] = {name: _without(inner, soft) for name, inner in value.items()}
    return out
