"""One parameter of a callable, and the JSON Schema of all of them together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from agentkit.messages import JsonObject
from agentkit.schema.jsontype import JsonType

Passing: TypeAlias = Literal["positional", "keyword", "each", "rest"]
"""How a value reaches the callable: by position, by name, as `*args`, as `**kwargs`."""

MISSING: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the callable.

    Attributes:
        name: In Python.
        key: In the arguments object; differs from `name` where a `Field(alias=…)` says so.
        passing: How it is handed over.
        type: Reads its values.
        default: Where it has one; `MISSING` otherwise.
        nullable: null is a value of its type, not merely another word for the default.
        description: From the annotation or the docstring.
        injected: It is not the model's to fill.
    """

    name: str
    key: str
    passing: Passing
    type: JsonType
    default: Any = MISSING
    nullable: bool = True
    description: str = ""
    injected: bool = False

    @property
    def required(self) -> bool:
        """Whether the model must give it."""
        return self.default is MISSING

    @property
    def fallback(self) -> Any:
        """A fresh default."""
        if isinstance(self.default, FieldInfo):
            return self.default.get_default(call_default_factory=True)
        return self.default

    def schema(self) -> JsonObject:
        """Its entry in `properties`."""
        schema = {k: v for k, v in self.type.schema.items() if k != "$defs"}
        if self.description:
            schema["description"] = self.description
        if not self.required and (shown := _json_default(self)) is not MISSING:
            schema["default"] = shown
        return schema


def _json_default(parameter: Parameter) -> Any:
    """The default as JSON, or `MISSING` where it cannot be shown."""
    default = parameter.default
    if default is PydanticUndefined:
        return MISSING
    if isinstance(default, FieldInfo):
        default = default.default
        if default is PydanticUndefined:
            return MISSING
    if default is None or type(default) in (str, int, bool):
        return default
    try:
        shown = to_jsonable_python(default)
        # The order of a set differs between processes, and with it the prompt's first tokens.
        return sorted(shown, key=repr) if isinstance(default, set | frozenset) else shown
    except ValueError:
        return MISSING


def object_schema(parameters: Mapping[str, Parameter], rest: Parameter | None) -> JsonObject:
    """The schema of the arguments object: closed, unless there is a `**kwargs`."""
    every = [*parameters.values(), *([rest] if rest else [])]
    shared = [p for p in every if "$defs" in p.type.schema]
    definitions: dict[str, Any] = {}
    for parameter in shared:
        for name, nested in parameter.type.schema["$defs"].items():
            if definitions.setdefault(name, nested) != nested:
                return object_schema(*_disambiguated(parameters, rest))
    schema: JsonObject = {
        "type": "object",
        "properties": {key: parameter.schema() for key, parameter in parameters.items()},
        "additionalProperties": rest.schema() if rest else False,
    }
    if required := [key for key, parameter in parameters.items() if parameter.required]:
        schema["required"] = required
    if definitions:
        schema["$defs"] = definitions
    return schema


def _disambiguated(
    parameters: Mapping[str, Parameter], rest: Parameter | None
) -> tuple[dict[str, Parameter], Parameter | None]:
    """The same with one name for each definition, where two nested types share a name."""
    every = {**parameters, **({"": rest} if rest else {})}
    inputs = [(key, cast("Any", "validation"), p.type.adapter) for key, p in every.items()]
    schemas, definitions = TypeAdapter.json_schemas(inputs)
    defs = definitions.get("$defs", {})
    renamed = {
        key: replace(p, type=replace(p.type, schema={**schemas[key, "validation"], "$defs": defs}))
        for key, p in every.items()
    }
    return {key: renamed[key] for key in parameters}, renamed.get("") if rest else None
