"""Hashes of the code that a verdict depends on, by which a change of it is noticed.

The hash of a function covers its source text and the values that it was made with: defaults, bound
arguments, the variables of its closure, the object of a method, and the texts and collections of
its module that it names, such as what was read from a file. That of a class covers its source, that
of an object the source of its class and its attributes. The files in which they are have a hash
too, with those of the same project that these import, since the code that they call is there.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Final, TypeVar

import agentkit

_Parsed = TypeVar("_Parsed")

_TRIES: Final = 5
"""Of what makes a syntax tree."""


def sources_hash(things: Iterable[Callable[..., Any]]) -> str:
    """SHA-256 of functions and classes, in their order."""
    return _sha256(_description(thing) for thing in things)


def files_hash(things: Iterable[Callable[..., Any]]) -> str:
    """SHA-256 of the files in which functions and classes are, and of the files of the same project
    that these import, in the order of their paths.
    """
    starts = {file for thing in things if (file := _file(_plain(thing))) is not None}
    files, todo = set(starts), list(starts)
    while todo:
        new = set(_imported_by(todo.pop())) - files
        files |= new
        todo += new
    return _sha256(f"{file.name}\0{_text(file)}" for file in sorted(files))


@functools.cache
def library_hash() -> str:
    """SHA-256 of the source of agentkit itself, as it is imported here."""
    folder = Path(agentkit.__file__).parent
    return _sha256(
        f"{file.relative_to(folder)}\0{_text(file)}" for file in sorted(folder.rglob("*.py"))
    )


def _description(thing: Any) -> str:
    """The source of what can be called, and the values that it was made with."""
    values: list[Any] = []
    while isinstance(thing, functools.partial):
        values += [thing.args, sorted(thing.keywords.items())]
        thing = thing.func
    plain = _plain(thing)
    values += [getattr(plain, "__defaults__", None), getattr(plain, "__kwdefaults__", None)]
    if inspect.isfunction(plain):
        named = inspect.getclosurevars(plain)
        values += named.nonlocals.values()
        values += [each for each in named.globals.values() if isinstance(each, _DATA)]
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        values += [getattr(thing, each.name) for each in dataclasses.fields(thing)]
    elif type(thing) is plain:
        values += getattr(thing, "__dict__", {}).values()
    source = _source(getattr(plain, "__code__", plain))
    if source is None:  # of C, or typed into a console
        source = getattr(plain, "__qualname__", type(plain).__qualname__)
    texts = [text for text in map(_text_of, values) if not _ADDRESS.search(text)]
    if inspect.ismethod(thing):
        texts.append(_description(thing.__self__))
    return "\0".join([source, *texts])


def _text_of(value: object) -> str:
    """The `repr` of a value, in which a set lists its members in the same order in each process;
    the name of its type if its `repr`, which is code of the suite, fails.
    """
    try:
        return _sorted_repr(value)
    except (Exception, SystemExit):  # noqa: BLE001 - the suite's code may raise anything
        return type(value).__qualname__


def _sorted_repr(value: Any) -> str:
    kind = type(value)
    if kind in (set, frozenset) and value:
        members = "{" + ", ".join(sorted(map(_sorted_repr, value))) + "}"
        return members if kind is set else f"frozenset({members})"
    if kind is dict:
        items = (f"{_sorted_repr(key)}: {_sorted_repr(each)}" for key, each in value.items())
        return "{" + ", ".join(items) + "}"
    if kind is list:
        return "[" + ", ".join(map(_sorted_repr, value)) + "]"
    if kind is tuple:
        return "(" + ", ".join(map(_sorted_repr, value)) + ("," if len(value) == 1 else "") + ")"
    if dataclasses.is_dataclass(kind):
        shown = [each.name for each in dataclasses.fields(value) if each.repr]
        fields = ", ".join(f"{name}={_sorted_repr(getattr(value, name))}" for name in shown)
        return f"{kind.__qualname__}({fields})"
    return repr(value)


@functools.lru_cache(maxsize=4096)
def _source(code: Any) -> str | None:
    """The source of a class or function. Cached, since a thousand tasks may share it."""
    try:
        return tried_again(inspect.getsource, code)
    except (OSError, TypeError):
        return None


def _plain(thing: Any) -> Any:
    """The function or class behind what can be called."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    thing = inspect.unwrap(getattr(thing, "__func__", thing))
    known = inspect.isroutine(thing) or inspect.isclass(thing)
    return thing if known else type(thing)


def _file(plain: Any) -> Path | None:
    try:
        found = inspect.getsourcefile(plain)
    except TypeError:
        return None
    return Path(found) if found and Path(found).is_file() else None


def _imported_by(file: Path) -> Iterator[Path]:
    """The files of a project that one of them imports, also inside functions."""
    modules = list(sys.modules.values())
    loaded = [each for each in modules if getattr(each, "__file__", 0) == str(file)]
    package = next((module.__package__ for module in loaded), "")
    try:
        tree = tried_again(ast.parse, _text(file))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            with suppress(ImportError):
                base = importlib.util.resolve_name(base, package)
                names = [base, *(f"{base}.{each.name}" for each in node.names)]
        for name in names:
            if (found := _of_the_project(name)) is not None:
                yield found


def tried_again(parse: Callable[[Any], _Parsed], what: Any) -> _Parsed:
    """What reads source, again where another reader in this process came between.

    On Python 3.11 (seen on 3.11.7) two that make a syntax tree at once, in two threads or in the
    finalizer of an object, take each other's depth of recursion for their own and raise
    `SystemError`: https://github.com/python/cpython/issues/106905. To read the source of a class
    makes one too.
    """
    for _ in range(_TRIES - 1):
        with suppress(SystemError):
            return parse(what)
    return parse(what)


def _of_the_project(name: str) -> Path | None:
    """The file of a module that is neither installed nor a part of agentkit.

    To find `a.b` is to import `a`, so where `a` is installed `a.b` is not looked for.
    """
    package = name.partition(".")[0]
    if package in ("agentkit", "agentkit_evals") or _is_installed(_spec_of(package)):
        return None
    spec = _spec_of(name)
    if spec is None or not spec.has_location or _is_installed(spec):
        return None
    file = Path(str(spec.origin))
    return file if file.suffix == ".py" else None


def _spec_of(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (Exception, SystemExit):  # noqa: BLE001 - a package may raise anything
        return None


def _is_installed(spec: ModuleSpec | None) -> bool:
    """Whether a module comes from an installed package or with Python."""
    if spec is None:
        return False
    folders = spec.submodule_search_locations or ()  # of a package without a file
    places = [Path(str(spec.origin))] if spec.has_location else list(map(Path, folders))
    return not places or any(
        not _INSTALLED.isdisjoint(place.parts) or any(map(place.is_relative_to, _LIBRARIES))
        for place in places
    )


_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_LIBRARIES: Final = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")]
_DATA: Final = (str, bytes, tuple, list, dict, set, frozenset)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _sha256(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
"""An address in a default `repr`, which differs between processes."""
