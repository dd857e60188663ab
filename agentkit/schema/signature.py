"""A Python callable as the arguments object that a model fills.

In: any callable. Out: its JSON Schema (draft 2020-12, everything pydantic knows of the types), a
check of a model's arguments against it, and the way to hand the checked values to the callable.

Each parameter has a validator of its own. That keeps any parameter name possible (`json`, `self_`,
`model_config`), lets types that many tools share be built once, and lets a wrong argument be mended
or reported without touching the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias, Unpack, cast, get_args, get_origin

import typing_extensions
from pydantic import PydanticUserError, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, SchemaError, to_jsonable_python

from agentkit.errors import ToolDefinitionError
from agentkit.messages import JsonObject
from agentkit.schema.annotations import (
    Documentation,
    definition_of,
    documentation_of,
    evaluate,
    namespace_of,
    place_of,
    typeddict_fields,
)
from agentkit.schema.feedback import MOST_PROBLEMS, Problem, problems_of, unknown_key
from agentkit.schema.jsontype import (
    DefinitionError,
    InvalidValueError,
    JsonType,
    in_fixed_order,
    json_type,
)
from agentkit.schema.ladder import is_nothing
from agentkit.schema.prose import wanted
from agentkit.schema.shape import ANYTHING

Passing: TypeAlias = Literal["positional", "keyword", "each", "rest"]
"""How a value reaches the callable: by position, by name, as `*args`, as `**kwargs`."""

_PASSING: Mapping[Any, Passing] = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "keyword",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_POSITIONAL: "each",
    inspect.Parameter.VAR_KEYWORD: "rest",
}
MISSING: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the callable.

    Attributes:
        name: Its name in Python.
        key: Its name in the arguments object; another one where a `Field(alias=…)` says so.
        passing: How it is handed over.
        type: Reads its values.
        default: Its default; `MISSING` where it has none.
        nullable: null is a value of its type, not merely another word for the default.
        description: What the annotation or the docstring says of it.
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


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model may pass to a callable, and how.

    Attributes:
        parameters: Those that the model fills, by key, in order.
        slots: All of them as the callable declares them: name and way of passing.
        rest: `**kwargs: T`, if there is one.
        schema: JSON Schema of the arguments object.
        documentation: What the docstring says.
    """

    parameters: Mapping[str, Parameter]
    slots: tuple[Parameter, ...]
    rest: Parameter | None
    schema: JsonObject
    documentation: Documentation

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The values in their declared types, by parameter name, or all that is wrong.

        Args:
            arguments: What the model wrote, decoded.
        """
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        for key, parameter in self.parameters.items():
            if key not in arguments:
                if parameter.required:
                    want = wanted(parameter.type.shape)
                    problems.append(Problem(key, None, f"is missing, want {want or 'a value'}"))
            else:
                self._read(parameter, arguments[key], values, problems)
        for key in arguments:
            if key in self.parameters:
                continue
            if len(problems) >= MOST_PROBLEMS:
                break
            if self.rest is None or key in values:
                problems.append(Problem(key, None, unknown_key(key, tuple(self.parameters))))
            else:
                self._read(replace(self.rest, name=key, key=key), arguments[key], values, problems)
        return problems or values

    def _read(
        self, parameter: Parameter, value: object, into: dict[str, Any], problems: list[Problem]
    ) -> None:
        try:
            into[parameter.name] = parameter.type.read(value)
        except InvalidValueError as error:
            if parameter.required or not is_nothing(value):  # else it is not given: its default
                problems.extend(problems_of(parameter.key, error))

    def call_arguments(
        self, values: Mapping[str, Any], injected: object
    ) -> tuple[list[Any], dict[str, Any]]:
        """The positional and the keyword arguments of the Python call.

        Args:
            values: What `check` gave back.
            injected: Values for the parameters that are not the model's.
        """
        positional: list[Any] = []
        keyword = dict(values)
        for slot in self.slots:
            if slot.injected:
                keyword[slot.name] = injected
            if slot.passing == "each":
                positional.extend(keyword.pop(slot.name, ()))
            elif slot.passing == "positional":
                positional.append(keyword.pop(slot.name) if slot.name in keyword else slot.fallback)
            elif isinstance(slot.default, FieldInfo) and slot.name not in keyword:
                keyword[slot.name] = slot.fallback
        return positional, keyword


def signature_of(
    function: Callable[..., Any],
    *,
    injected: tuple[type[Any], ...] = (),
    skip_first: bool = False,
    strict: bool = True,
) -> Signature:
    """Reads a callable's signature.

    Args:
        function: The callable.
        injected: Parameters annotated with one of these are not the model's to fill.
        skip_first: The first parameter is a receiver (`self`) that is bound later.
        strict: A parameter without annotation is an error; otherwise it takes any JSON.

    Raises:
        ToolDefinitionError: A model cannot call this; says where, which parameter and what to do.
    """
    return _Reader(function, injected, strict).read(skip_first=skip_first)


class _Reader:
    """Builds one `Signature`; exists so that every error can name the function."""

    def __init__(
        self, function: Callable[..., Any], injected: tuple[type[Any], ...], strict: bool
    ) -> None:
        self._function = function
        self._injected = injected
        self._strict = strict
        self._namespace = namespace_of(function)
        self._documentation = documentation_of(
            definition_of(function), function, _names_of(function)
        )

    def read(self, *, skip_first: bool) -> Signature:
        declared = self._declared()[1 if skip_first else 0 :]
        hints = self._hints(declared)
        slots: list[Parameter] = []
        for parameter in declared:
            slots.extend(self._slots(parameter, hints.get(parameter.name, MISSING)))
        slots = _positions(slots, declared)
        filled = {s.key: s for s in slots if s.passing != "rest" and not s.injected}
        self._refuse_twins(slots)
        rest = next((s for s in slots if s.passing == "rest"), None)
        schema = object_schema(filled, rest)
        return Signature(filled, tuple(slots), rest, schema, self._documentation)

    def fail(self, parameter: str, problem: str, remedy: str) -> ToolDefinitionError:
        return ToolDefinitionError(
            f"{place_of(self._function)}: parameter {parameter!r} {problem}; {remedy}"
        )

    def _refuse_twins(self, slots: list[Parameter]) -> None:
        seen: dict[str, str] = {}
        for slot in slots:
            if slot.injected or slot.passing == "rest":
                continue
            if (other := seen.setdefault(slot.key, slot.name)) != slot.name:
                raise self.fail(
                    slot.name,
                    f"and parameter {other!r} are both called {slot.key!r} by the model",
                    "change the alias of one",
                )

    def _declared(self) -> list[inspect.Parameter]:
        try:
            declared = list(inspect.signature(self._function).parameters.values())
        except (ValueError, TypeError) as error:
            raise ToolDefinitionError(
                f"{place_of(self._function)}: has no signature that Python can tell ({error}); "
                "wrap it in a function with annotations"
            ) from None
        bound = _bound_by_partial(self._function)
        return [p for p in declared if p.name not in bound]

    def _hints(self, declared: list[inspect.Parameter]) -> dict[str, Any]:
        written = {p.name: p.annotation for p in declared if p.annotation is not MISSING}
        try:
            return evaluate(written, self._namespace)
        except Exception:  # noqa: BLE001 - whatever it is, find whose annotation it is
            return {name: self._hint(name, hint) for name, hint in written.items()}

    def _hint(self, name: str, written: Any) -> Any:
        try:
            return evaluate({name: written}, self._namespace)[name]
        except Exception as error:  # noqa: BLE001 - evaluating user code can raise anything
            raise self.fail(
                name,
                f"has the annotation {written!r}, which cannot be resolved ({error})",
                "define or import that name at module level, not under TYPE_CHECKING",
            ) from None

    def _slots(self, parameter: inspect.Parameter, hint: Any) -> Iterator[Parameter]:
        """One slot; more for `**options: Unpack[SomeTypedDict]`."""
        if parameter.kind is parameter.VAR_KEYWORD and get_origin(hint) in _UNPACK:
            for name, (field, required) in self._fields(parameter.name, get_args(hint)[0]).items():
                default = MISSING if required else PydanticUndefined
                yield self._slot(name, parameter.KEYWORD_ONLY, default, field)
        else:
            annotation = self._annotation(parameter, hint)
            yield self._slot(parameter.name, parameter.kind, parameter.default, annotation)

    def _fields(self, name: str, unpacked: Any) -> dict[str, tuple[Any, bool]]:
        try:
            return typeddict_fields(unpacked, self._namespace[1])
        except Exception as error:  # noqa: BLE001 - evaluating user code can raise anything
            raise self.fail(
                name,
                f"unpacks {_spelled(unpacked)}, whose fields cannot be told ({error})",
                "unpack a TypedDict that names only what is defined before the tool",
            ) from None

    def _annotation(self, parameter: inspect.Parameter, hint: Any) -> Any:
        if hint is not MISSING:
            return list[hint] if parameter.kind is parameter.VAR_POSITIONAL else hint
        if parameter.kind is parameter.VAR_POSITIONAL:
            name = parameter.name
            raise self.fail(name, "takes anything", f"give it a type, as in `*{name}: str`")
        if self._strict:
            raise self.fail(
                parameter.name,
                "has no annotation, so a model cannot know what to pass",
                f"annotate it, as in `{parameter.name}: str`, or use @tool(strict=False) "
                "to take any JSON value",
            )
        return Any

    def _slot(self, name: str, kind: Any, default: Any, annotation: Any) -> Parameter:
        if _names_one_of(annotation, self._injected):
            return Parameter(name, name, _PASSING[kind], _ANYTHING, injected=True)
        annotation, field = _with_field(annotation, default)
        read = self._json_type(name, annotation)
        if field is not None and (default is MISSING or default is field):
            default = MISSING if field.is_required() else field
        return Parameter(
            name=name,
            key=_alias(field) or name,
            passing=_PASSING[kind],
            type=read,
            default=[] if kind is inspect.Parameter.VAR_POSITIONAL else default,
            nullable=read.accepts(None),
            description=_described(annotation, field)
            or self._documentation.parameters.get(name, ""),
        )

    def _json_type(self, name: str, annotation: Any) -> JsonType:
        try:
            return json_type(annotation, self._namespace[1])
        except NameError as error:
            raise self.fail(
                name,
                f"has a type with an annotation that cannot be resolved ({error})",
                "define that name before the tool, at module level",
            ) from None
        except Exception as error:  # noqa: BLE001 - building a type runs its author's code
            what, remedy = _reason_and_remedy(error)
            raise self.fail(
                name,
                f"has the type {_spelled(annotation)}, which no JSON value can be read as ({what})",
                remedy,
            ) from None


_UNPACK: tuple[Any, ...] = (Unpack, typing_extensions.Unpack)
_ANYTHING = JsonType(TypeAdapter(Any), {}, ANYTHING, closed=True)


def _names_of(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (ValueError, TypeError):
        return ()  # an error that `_declared` tells


def _positions(slots: list[Parameter], declared: list[inspect.Parameter]) -> list[Parameter]:
    """Ahead of `*args`, Python takes every plain parameter by position."""
    if not any(p.kind is p.VAR_POSITIONAL for p in declared):
        return slots
    plain = {p.name for p in declared if p.kind is p.POSITIONAL_OR_KEYWORD}
    return [replace(s, passing="positional") if s.name in plain else s for s in slots]


def _bound_by_partial(function: Any) -> set[str]:
    """Names that `functools.partial` has filled by keyword: the programmer's, not the model's."""
    bound: set[str] = set()
    while isinstance(function, partial):
        bound |= function.keywords.keys()
        function = function.func
    return bound


def _names_one_of(annotation: Any, wanted: tuple[type[Any], ...]) -> bool:
    if annotation in wanted or get_origin(annotation) in wanted:
        return True
    return any(_names_one_of(a, wanted) for a in get_args(annotation) if a is not type(None))


def _with_field(annotation: Any, default: Any) -> tuple[Any, FieldInfo | None]:
    """The annotation with what a pydantic `Field` in it or as its default says."""
    metadata: tuple[Any, ...] = getattr(annotation, "__metadata__", ())
    if isinstance(default, FieldInfo):
        metadata = (*metadata, default)
    fields = [m for m in metadata if isinstance(m, FieldInfo)]
    if not fields:
        return annotation, None
    bare = getattr(annotation, "__origin__", annotation) if metadata else annotation
    return Annotated[(bare, *map(_without_names, metadata))], fields[-1]


def _without_names(metadata: Any) -> Any:
    """A `Field` less what concerns the parameter and not its type, which pydantic warns of."""
    if not isinstance(metadata, FieldInfo):
        return metadata
    field = copy(metadata)
    field.alias = field.validation_alias = field.serialization_alias = None
    field.default, field.default_factory = PydanticUndefined, None
    return field


def _alias(field: FieldInfo | None) -> str | None:
    if field is None:
        return None
    alias = cast("object", field.validation_alias or field.alias)
    return alias if isinstance(alias, str) else None


def _described(annotation: Any, field: FieldInfo | None) -> str:
    """`Annotated[T, "words"]`, `Annotated[T, Doc("words")]` or `Field(description=…)`."""
    if field is not None and field.description:
        return field.description
    metadata: tuple[Any, ...] = getattr(annotation, "__metadata__", ())
    for extra in reversed(metadata):
        words = extra if isinstance(extra, str) else getattr(extra, "documentation", None)
        if isinstance(words, str):
            return words
    return ""


def _reason_and_remedy(error: Exception) -> tuple[str, str]:
    """What is wrong with a type, and what to do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].split(". ")[0].rstrip(".") if lines else type(error).__name__
    if isinstance(error, DefinitionError):
        return first, error.remedy
    if isinstance(error, SchemaError):  # a limit: the last line says why
        remedy = "mend the limit; a pattern has neither look-around nor references back there"
        return lines[-1].removeprefix("error: ").removeprefix("ValueError: "), remedy
    if isinstance(error, ImportError):
        return first, "install that, or use a plain str"
    if isinstance(error, PydanticUserError) and error.code == "typed-dict-version":
        what = "it holds a TypedDict of `typing`, which pydantic reads from Python 3.12 on"
        return what, "import TypedDict from typing_extensions"
    remedy = "use a type that JSON can carry (str, list, dataclass, TypedDict, pydantic model)"
    return first, f"{remedy}, or bind the parameter with functools.partial"


def _spelled(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


# --- the schema of the arguments object ---------------------------------------------------------


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
        return in_fixed_order(default, to_jsonable_python(default))
    except ValueError:
        return MISSING


def object_schema(parameters: Mapping[str, Parameter], rest: Parameter | None) -> JsonObject:
    """The schema of the arguments object, which is closed unless there is a `**kwargs`."""
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
