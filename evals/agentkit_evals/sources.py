"""Hashes of the code that a verdict depends on, by which a change of it is noticed.

The hash of a function covers its source text and the values that it was made with: defaults, bound
arguments, the variables of its closure, the object of a method. That of a class covers its source,
that of an object the source of its class and its attributes. The files in which they are have a
hash too, since the code that they call is mostly there.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import agentkit


def sources_hash(things: Iterable[Callable[..., Any]]) -> str:
    """SHA-256 of functions and classes, in their order."""
    return _sha256(_description(thing) for thing in things)


def files_hash(things: Iterable[Callable[..., Any]]) -> str:
    """SHA-256 of the files in which functions and classes are, in the order of their paths."""
    files = {file for thing in things if (file := _file(_plain(thing))) is not None}
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
    if inspect.isfunction(plain) and plain.__closure__ is not None:
        values += inspect.getclosurevars(plain).nonlocals.values()
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
        return inspect.getsource(code)
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


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _sha256(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
"""An address in a default `repr`, which differs between processes."""
