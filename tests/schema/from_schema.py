"""Random values of a JSON Schema, made from the schema alone: the keywords that signatures use."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def values_of(schema: dict[str, Any], root: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Values that fit a schema (draft 2020-12).

    Raises:
        ValueError: The schema has a type that this does not know.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: values_of(root["$defs"][name], root))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    if members := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([values_of(member, root) for member in members])
    match schema.get("type"):
        case "object":
            return _objects(schema, root)
        case "array":
            return _arrays(schema, root)
        case kind:
            return _scalars(kind, schema)


def _scalars(kind: object, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match kind:
        case "string":
            return st.text(
                min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 20)
            )
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "number":
            return st.integers(-1_000, 1_000) | st.floats(allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case _:
            raise ValueError(f"no values for {schema}")


def _objects(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    properties: dict[str, Any] = schema.get("properties", {})
    required = set(schema.get("required", ()))
    named = st.fixed_dictionaries(
        {k: values_of(v, root) for k, v in properties.items() if k in required},
        optional={k: values_of(v, root) for k, v in properties.items() if k not in required},
    )
    extra = schema.get("additionalProperties")
    if not isinstance(extra, dict):
        return named
    others = st.dictionaries(st.text(max_size=5), values_of(extra, root), max_size=3)
    return st.tuples(others, named).map(lambda pair: pair[0] | pair[1])


def _arrays(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "prefixItems" in schema:
        return st.tuples(*(values_of(s, root) for s in schema["prefixItems"])).map(list)
    low, high = schema.get("minItems", 0), schema.get("maxItems", 3)
    return st.lists(values_of(schema["items"], root), min_size=low, max_size=high)
