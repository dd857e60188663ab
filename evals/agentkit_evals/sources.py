"""What code a verdict depends on, as hashes that tell what was changed.

A function counts with its source text and with the values that it was made with (defaults, bound
arguments, what it closes over), a class with its source, an object with that of its class and with
what it holds. Beside them the files count in which they are, since what they call stands there too.
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
    return _sha256(_told(thing) for thing in things)


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


def _told(thing: Any) -> str:
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
    else:
        values += getattr(thing, "__dict__", {}).values() if type(thing) is plain else ()
    source = _source(getattr(plain, "__code__", plain))
    if source is None:  # of C, or typed into a console
        source = getattr(plain, "__qualname__", type(plain).__qualname__)
    words = (_words(value) for value in values)
    return source + "".join(f"\0{each}" for each in words if not _ADDRESS.search(each))


def _words(value: object) -> str:
    """What a value says of itself; its type where it cannot, for that is code of the suite."""
    try:
        return repr(value)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever it raises
        return type(value).__qualname__


@functools.lru_cache(maxsize=4096)
def _source(code: Any) -> str | None:
    """The source of a class or function; kept, since a thousand tasks may share it."""
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
"""The address in a `repr` that has nothing else to say; each process has another one."""
