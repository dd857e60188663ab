"""What a function's annotations mean, as real types.

Strings (`from __future__ import annotations`, forward references) are evaluated where the function
was written: its module, its closure, and, for a function inside a function, the scopes around it
while they are still running. Nothing else is searched, so a name never means something the reader
of the code would not see.
"""

from __future__ import annotations

import functools
import sys
import types
import typing
import weakref
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import typing_extensions
from pydantic import AfterValidator


def definition_of(function: Callable[..., Any] | classmethod[Any, ..., Any]) -> Any:
    """The `def` behind a callable: behind partials, methods, `wraps` and callable objects."""
    found: Any = function
    while True:
        if isinstance(found, functools.partial):
            found = found.func
        elif isinstance(found, types.MethodType | staticmethod | classmethod):
            found = found.__func__
        elif hasattr(found, "__wrapped__") and not hasattr(found, "__signature__"):
            found = found.__wrapped__
        elif isinstance(found, type):
            constructor: object = vars(found).get("__init__")
            return constructor if isinstance(constructor, types.FunctionType) else found
        elif isinstance(found, types.FunctionType) or not hasattr(type(found), "__call__"):  # noqa: B004 - the method's presence on the type is the point
            return found
        elif isinstance(type(found).__call__, types.FunctionType):
            found = type(found).__call__
        else:
            return found


def place_of(function: Callable[..., Any] | classmethod[Any, ..., Any]) -> str:
    """Where a callable is written: `shop.refund (shop.py:12)`."""
    definition = definition_of(function)
    name = getattr(definition, "__qualname__", None) or type(function).__qualname__
    code = getattr(definition, "__code__", None)
    if code is None:
        return f"{name} ({getattr(definition, '__module__', None) or 'no source'})"
    return f"{name} ({code.co_filename}:{code.co_firstlineno})"


def namespace_of(function: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The globals and the enclosing locals that a callable's annotations may name."""
    definition = definition_of(function)
    if isinstance(definition, type):
        return vars(sys.modules[definition.__module__]), {}
    module = getattr(definition, "__globals__", {})
    qualname = getattr(definition, "__qualname__", "")
    scopes = {**_enclosing_classes(module, qualname), **_enclosing_scopes(module, qualname)}
    code = getattr(definition, "__code__", None)
    cells = getattr(definition, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
        try:
            scopes[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for parameter in getattr(definition, "__type_params__", ()):
        scopes[parameter.__name__] = parameter
    return module, scopes


def _enclosing_classes(module: Mapping[str, Any], qualname: str) -> dict[str, Any]:
    """Names of the finished classes of the module that `qualname` is written in."""
    found: dict[str, Any] = {}
    scope: Mapping[str, Any] = module
    for part in qualname.split(".")[:-1]:
        inner = scope.get(part)
        if not isinstance(inner, type):
            break
        scope = vars(inner)
        found |= scope
    return found


def _enclosing_scopes(module: Mapping[str, Any], qualname: str) -> dict[str, Any]:
    """Locals of the running functions and class bodies in which `qualname` is written."""
    found: dict[str, Any] = {}
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] # the documented way to a caller
    while frame is not None:
        scope = frame.f_code.co_qualname
        if frame.f_globals is module and qualname.startswith((f"{scope}.<locals>.", f"{scope}.")):
            found = {**frame.f_locals, **found}  # the innermost scope wins
        frame = frame.f_back  # type: ignore[assignment] # typeshed: None at the outermost frame
    return found


def evaluate(
    annotations: Mapping[str, Any], namespace: tuple[dict[str, Any], dict[str, Any]]
) -> dict[str, Any]:
    """The annotations with every string in them evaluated.

    Raises:
        Exception: Whatever evaluating a string raises; most often `NameError`.
    """
    holder = types.SimpleNamespace(__annotations__=dict(annotations))
    module, scopes = namespace
    return typing.get_type_hints(holder, module, scopes, include_extras=True)


def portable(annotation: Any) -> Any:
    """The annotation in the spelling that pydantic reads on every Python.

    On Python 3.11 pydantic refuses `typing.TypedDict`, which lacks what it must know; the same
    fields as a `typing_extensions.TypedDict` are fine. An `Iterable[T]` becomes a `list[T]`, and an
    `Iterator[T]` or `Generator[T]` goes over a list: pydantic would hand over a lazy iterator whose
    errors appear only while the tool runs. Of the kinds of text in an `AnyStr` it is `str`.
    """
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if sys.version_info < (3, 12) and _is_old_typeddict(origin or annotation):
        return _new_typeddict(annotation)
    if str in getattr(annotation, "__constraints__", ()):
        return str
    if origin in (abc.Iterable, abc.Collection, abc.Reversible) and len(arguments) == 1:
        return types.GenericAlias(list, (portable(arguments[0]),))
    if origin in (abc.Iterator, abc.Generator) and arguments:
        items = types.GenericAlias(list, (portable(arguments[0]),))
        return Annotated[(items, AfterValidator(_one_by_one))]
    if not arguments or origin in (typing.Literal, abc.Callable):
        return annotation
    if origin is Annotated:
        return _same_or(annotation, arguments[:1], lambda new: Annotated[(*new, *arguments[1:])])
    if origin in (Union, types.UnionType):
        return _same_or(annotation, arguments, lambda new: Union[new])  # noqa: UP007 - made at run time
    if isinstance(annotation, types.GenericAlias):
        return _same_or(annotation, arguments, lambda new: types.GenericAlias(origin, new))
    if hasattr(annotation, "copy_with"):
        return _same_or(annotation, arguments, annotation.copy_with)
    return annotation


def _one_by_one(items: list[Any]) -> abc.Generator[Any, None, None]:
    yield from items


def _same_or(annotation: Any, parts: Iterable[Any], build: Callable[[tuple[Any, ...]], Any]) -> Any:
    """The annotation itself, unless a part of it had to change."""
    old = tuple(parts)
    new = tuple(portable(part) for part in old)
    return annotation if all(a is b for a, b in zip(old, new, strict=True)) else build(new)


def typeddict_fields(
    typeddict: Any, scopes: Mapping[str, Any] | None = None
) -> dict[str, tuple[Any, bool]]:
    """The fields of a TypedDict, also of an alias of one or of a generic one with its arguments.

    Args:
        typeddict: What is written in the annotation.
        scopes: What names in it may refer to, beside its own module.

    Returns:
        For each field its type, and whether it is required.

    Raises:
        TypeError: It is no TypedDict.
        NameError: A name in it cannot be resolved.
    """
    while isinstance(typeddict, _ALIASES) or get_origin(typeddict) is Annotated:
        typeddict = getattr(typeddict, "__value__", getattr(typeddict, "__origin__", None))
    kind = get_origin(typeddict) or typeddict
    if not typing_extensions.is_typeddict(kind):
        raise TypeError(f"{kind!r} is no TypedDict")
    given = dict(zip(getattr(kind, "__parameters__", ()), get_args(typeddict), strict=False))
    hints = typing_extensions.get_type_hints(kind, localns=dict(scopes or {}), include_extras=True)
    fields: dict[str, tuple[Any, bool]] = {}
    for name, hint in hints.items():
        required = name in kind.__required_keys__
        # `__required_keys__` does not see a marker that was written as a string.
        while (marker := get_origin(hint)) in _MARKERS:
            if marker in _REQUIRED:
                required = _REQUIRED[marker]
            hint = get_args(hint)[0]
        fields[name] = (_with_arguments(hint, given), required)
    return fields


_ALIASES: tuple[Any, ...] = (
    typing_extensions.TypeAliasType,
    getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType),
)
_REQUIRED: Mapping[Any, bool] = {typing.Required: True, typing.NotRequired: False}
_MARKERS: tuple[Any, ...] = (*_REQUIRED, typing_extensions.ReadOnly)


def _with_arguments(hint: Any, given: Mapping[Any, Any]) -> Any:
    """A type with the arguments of a generic one in the place of its parameters."""
    if hint in given:
        return given[hint]
    parameters = getattr(hint, "__parameters__", ())
    if not any(parameter in given for parameter in parameters) or isinstance(hint, type):
        return hint
    return hint[tuple(given.get(parameter, parameter) for parameter in parameters)]


def _is_old_typeddict(annotation: Any) -> bool:
    return typing.is_typeddict(annotation) and type(annotation).__module__ == "typing"


_new_typeddicts: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""What `_new_typeddict` made."""


def _new_typeddict(old: Any) -> Any:
    """The same fields, in the same order, as a `typing_extensions.TypedDict`."""
    if old in _new_typeddicts:
        return _new_typeddicts[old]
    fields = typeddict_fields(old)
    markers = {True: typing_extensions.Required, False: typing_extensions.NotRequired}
    kind: Any = get_origin(old) or old
    make: Any = typing_extensions.TypedDict
    new = make(kind.__name__, {name: markers[must][Any] for name, (_, must) in fields.items()})
    new.__doc__, new.__module__ = kind.__doc__, kind.__module__
    if hasattr(kind, "__pydantic_config__"):
        new.__pydantic_config__ = kind.__pydantic_config__
    _new_typeddicts[old] = new  # before its fields, which may hold itself
    try:
        for name, (hint, must) in fields.items():
            new.__annotations__[name] = markers[must][portable(hint)]
    except BaseException:
        del _new_typeddicts[old]
        raise
    return new
