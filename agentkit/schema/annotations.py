"""What the source of a function says of it: its annotations as real types, and its docstring.

Annotations that are strings (`from __future__ import annotations`, forward references) are
evaluated where the function was written: its module, its closure, and, for a function inside a
function, the scopes around it while they are still running. Nothing else is searched, so a name
never means something the reader of the code would not see.

A docstring in Google, NumPy or Sphinx style is read line by line, all three in one pass, because
people mix and break them. No line is lost: each goes to a parameter or stays in the description,
but for the sections about results and errors, which a model learns from the results themselves.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
import typing
import weakref
from collections import abc
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Union, get_args, get_origin

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
        elif (inner := wrapped_in(found)) is not None and not hasattr(found, "__signature__"):
            found = inner
        elif isinstance(found, type):
            constructor: object = vars(found).get("__init__")
            return constructor if isinstance(constructor, types.FunctionType) else found
        elif isinstance(found, types.FunctionType) or not hasattr(type(found), "__call__"):  # noqa: B004 - the method's presence on the type is the point
            return found
        elif isinstance(type(found).__call__, types.FunctionType):
            found = type(found).__call__
        else:
            return found


def wrapped_in(function: Any) -> Any:
    """What a callable wraps, as `functools.wraps` records it; None for what only seems to have the
    attribute since it seems to have every one, as a proxy's methods do.
    """
    static = inspect.getattr_static(function, "__wrapped__", None)
    return None if static is None else function.__wrapped__


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
        if frame.f_globals is module and qualname.startswith(f"{scope}."):
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


# --- docstrings ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Documentation:
    """A docstring, taken apart.

    Attributes:
        description: Everything that is not about a parameter, a result or an error.
        parameters: Descriptions by parameter name.
    """

    description: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def documentation_of(definition: Any, function: Any, names: Collection[str] = ()) -> Documentation:
    """Reads a callable's docstring.

    Args:
        definition: The `def` behind it.
        function: The callable; a callable object is documented by its class.
        names: Names of its parameters, which tell an entry from a sentence in a broken section.
    """
    text = inspect.getdoc(definition) or ""
    if text == object.__init__.__doc__:  # inherited by an `__init__` without words of its own
        text = ""
    if definition is not function and not inspect.isroutine(function):
        kind = function if isinstance(function, type) else type(function)
        if kind.__module__ != "functools":
            text = _own_doc(kind) or text
    return _Reader(text, frozenset(names)).read()


def _own_doc(kind: type[Any]) -> str:
    text = kind.__doc__ or ""
    made_up = text.startswith(f"{kind.__name__}(")  # what @dataclass writes by itself
    return "" if made_up else inspect.cleandoc(text)


_ABOUT_PARAMETERS: Final = (
    r"Args|Arguments|Params|Parameters|Other Parameters|Keyword Args|Keyword Arguments"
)
_ABOUT_RESULTS: Final = r"Returns?|Yields?|Raises?|Receives|Warns|Attributes"
_PARAMETERS: Final = re.compile(rf"(?:{_ABOUT_PARAMETERS})", re.IGNORECASE)
_TITLE: Final = re.compile(
    rf"\W*({_ABOUT_PARAMETERS}|{_ABOUT_RESULTS})(?:\W*:\W*|(?<=\*)\*+|)$", re.IGNORECASE
)
"""`Args:`, also as `**Args:**` or `## Args`."""
_UNDERLINE: Final = re.compile(r"\s*(-{3,}|={3,})\s*$")
_FIELD: Final = re.compile(
    r"\s*[:@](param|parameter|arg|argument|key|keyword|type|returns?|rtype|raises?|yields?)\b"
    r"([^:]*):(?!\w)(.*)$"
)
"""`:param int n: words`, `@param n: words`."""
_NAME: Final = r"[`*\\\"']*(\w+)[`\"']?\*{0,2}"
_TYPE: Final = r"(?:\((?:[^()]|\([^()]*\))*\)|\{[^{}]*\}|\[[^\[\]]*\]|<[^<>]*>)"
"""In whichever brackets."""
_ENTRY: Final = re.compile(
    rf"\s*(?:(?:[-*•+]|\d+[.)])\s+)?({_NAME}(?:\s*,\s*{_NAME})*)"
    rf"\s*{_TYPE}?\s*(?::|\s--?\s|\s[–—]\s)\s*(.*)$"  # noqa: RUF001 - dashes as people write them
)
"""`n (int): words`, with or without a bullet, quotes or stars."""
_NUMPY_ENTRY: Final = re.compile(rf"({_NAME}(?:\s*,\s*{_NAME})*)\s*(:.*)?$")


class _Reader:
    """Reads one docstring."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._lines = text.splitlines()
        self._names = names
        self._kept: list[str] = []
        self._words: dict[str, list[str]] = {}
        self._behind: dict[str, str] = {}
        """What stands behind `a:` of NumPy style: its type, or all the words that there are."""
        self._current: list[str] | None = None
        """The words of the entry that is being read."""
        self._section = ""
        """`google`, `numpy`, or the same with a `-` before it where it is about results."""
        self._indent = 0
        """Indentation of the section's title, or of a field."""
        self._base: int | None = None
        """Indentation of the entries of a section; None before the first."""

    def read(self) -> Documentation:
        """The docstring, taken apart."""
        skip = False
        for at, line in enumerate(self._lines):
            after = self._lines[at + 1] if at + 1 < len(self._lines) else ""
            if skip:
                skip = False
            elif line.strip() and _UNDERLINE.match(after) and not _UNDERLINE.match(line):
                skip = True
                self._begin_numpy(line)
            elif not self._is_title(line):
                self._take(line)
        description = re.sub(r"\n{3,}", "\n\n", "\n".join(self._kept)).strip()
        parameters = {
            name: " ".join((" ".join(words).strip() or self._behind.get(name, "")).split())
            for name, words in self._words.items()
        }
        return Documentation(description, parameters)

    def _begin_numpy(self, line: str) -> None:
        known = _TITLE.match(line)
        self._begin("numpy", line, known[1] if known else "")
        if known is None:
            self._kept += [f"{line.strip()}:"]

    def _is_title(self, line: str) -> bool:
        found = _TITLE.match(line)
        if found is None or not (line.rstrip().endswith((":", "*")) or line.lstrip()[:1] == "#"):
            return False
        if (
            self._section == "google"
            and found[1] in self._names
            and _indent_of(line) > self._indent
        ):
            return False  # `*args:` and its words below
        self._begin("google", line, found[1])
        return True

    def _begin(self, style: str, line: str, title: str) -> None:
        about = "" if _PARAMETERS.fullmatch(title) else "-"
        self._section = f"{about}{style}" if title else ""
        self._indent, self._base, self._current = _indent_of(line), None, None

    def _take(self, line: str) -> None:
        """Takes a line that is no title."""
        if (found := _FIELD.match(line)) and (found[2].strip() or not _is_parameter(found[1])):
            self._field(line, *found.groups())
        elif not line.strip():
            if self._current is None and not self._section:
                self._kept.append("")
        elif self._section == "field":
            self._continue_field(line)
        elif self._section in ("google", "numpy"):
            self._entry(line)
        elif self._section == "-numpy" or (
            self._section == "-google" and _indent_of(line) > self._indent
        ):
            return
        else:
            self._section = ""
            self._keep(line)

    def _keep(self, line: str) -> None:
        if self._current is not None or (self._kept and self._section):
            self._kept.append("")
        self._current = None
        self._kept.append(line.rstrip())

    def _field(self, line: str, kind: str, between: str, words: str) -> None:
        self._section, self._indent = "field", _indent_of(line)
        self._current = None
        if _is_parameter(kind):
            name = between.split()[-1].strip("`*\\")
            self._current = self._words.setdefault(name, [])
            self._current.append(words)

    def _continue_field(self, line: str) -> None:
        if _indent_of(line) <= self._indent:
            self._section = ""
            self._kept.append("")
            self._keep(line)
        elif self._current is not None:
            self._current.append(line)

    def _entry(self, line: str) -> None:
        """A line of a section about parameters."""
        indent = _indent_of(line)
        if self._base is not None and indent > self._base and self._current is not None:
            self._current.append(line)
            return
        names, words = self._named(line)
        if names and all(self._is_name(name, indent) for name in names):
            self._base = indent if self._base is None else min(indent, self._base)
            self._current = []
            for name in names:
                self._words[name] = self._current
            self._current.append(words)
        elif indent > self._indent and self._current is not None:
            self._current.append(line)
        else:
            self._keep(line)
            self._section = "" if indent <= self._indent else self._section

    def _named(self, line: str) -> tuple[list[str], str]:
        """The parameters that a line names, and what it says of them."""
        google = self._section == "google"
        found = _ENTRY.match(line) if google else _NUMPY_ENTRY.match(line.strip())
        names = re.findall(r"\w+", found[1]) if found else []
        if found and google:
            lone = len(names) == 1 or self._names.issuperset(names)
            return names if lone else [], found[found.re.groups]
        if found and " :" not in line:
            self._behind.update(dict.fromkeys(names, (found[found.re.groups] or "")[1:]))
        typed = " : " in line or not self._names
        return (names, "") if typed or self._names.issuperset(names) else ([], "")

    def _is_name(self, name: str, indent: int) -> bool:
        """Whether an entry may be called so: a parameter, or whatever stands in its place."""
        return name in self._names or indent > self._indent or self._section == "numpy"


def _is_parameter(kind: str) -> bool:
    """Whether a field is about a parameter."""
    return kind.startswith(("param", "arg", "key"))


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())
