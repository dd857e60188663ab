"""Events as lines of JSON, and back; long texts of a run, each written once.

A result of a tool stands in its own event, and again in the request after it; a reply of the model
stands in its event, and again in the history. If a text was written before, only its digest is
written: `{"$same": DIGEST}`. So a record grows with what was said, not with how often.

In: an event. Out: a line of JSON, shortened by `Values` where a whole record is written; and back.
The marks never change what an event says: an object of the run's own that looks like a mark is
itself marked (`{"$as_is": OBJECT}`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from agentkit.events.run import Event, RunFinished, RunResult
from agentkit.messages import JsonObject


def dump_event(event: Event) -> bytes:
    """The event as one line of JSON, without its line break; `event` names its kind.

    The messages of `RunFinished` are left out: the events before it hold them. A value that JSON
    does not know, such as one in an answer of the user's own type, becomes its text.
    """
    if not isinstance(event, RunFinished):
        return dump_named(event)
    result = event.result
    fields = {name: getattr(result, name) for name in _RESULT_FIELDS}
    return as_json({"event": type(event).__name__, "output": result.said, **fields})


def dump_named(value: object) -> bytes:
    """The fields of a dataclass as a JSON object that begins with the name of its kind."""
    return b'{"event":"%s",%s' % (type(value).__name__.encode(), as_json(value)[1:])


def as_json(value: object) -> bytes:
    """Any part of an event as `dump_event` writes it."""
    try:
        return to_json(value, fallback=str, inf_nan_mode="constants")
    except PydanticSerializationError:
        # Half a surrogate pair, from the undecodable bytes of a file name or an argument.
        plain = to_jsonable_python(value, fallback=str)
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")


def load_event(line: bytes | str) -> Event:
    """The event that `dump_event` wrote; a `RunFinished` comes back without messages.

    Raises:
        ValueError: The line is not such an event; it says which field is wrong.
    """
    return event_of(json.loads(line))


def event_of(value: object) -> Event:
    """The event whose JSON this is; see `load_event`."""
    body: JsonObject = dict(value) if isinstance(value, dict) else {}
    kind = body.pop("event", None)
    if kind == RunFinished.__name__:
        if "output" in body:
            body["said"] = body.pop("output")
        return RunFinished(validated(RunResult[Any], {**body, "messages": ()}))
    if kind not in _KINDS:
        raise ValueError(f"not an event of a run: {str(value)[:80]!r}")
    event: Event = validated(_KINDS[kind], body)
    return event


def validated(kind: Any, body: JsonObject) -> Any:
    """The value of this type whose fields were written as JSON.

    Raises:
        ValueError: A field is missing, unknown or wrong; the first one is named, in one line.
    """
    try:
        return _adapter(kind).validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        where = f"{kind.__name__}.{field}" if field else kind.__name__
        raise ValueError(f"{where}: {first['msg']}") from error


_RESULT_FIELDS = ("stop_reason", "usage", "steps", "run_id", "explanation", "context")
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Event)}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """The adapter of a type, built at its first use: that costs more than importing this module."""
    return TypeAdapter(kind)


# --- long texts once -----------------------------------------------------------------------------


_LEAST = 256
"""Characters. A mark takes some 40."""

_WORTH_IT = 1_000
"""Bytes of a line that is looked through: in a shorter one there is little to gain."""

_SAME, _AS_IS = "$same", "$as_is"
_MARKED = re.compile(rb'"\$(?:same|as_is)"')
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
"""A string of JSON text, quotes included."""

_DIGEST = re.compile(r"[A-Za-z0-9_-]{24}")


class Values:
    """The long texts of a run that one writer has written, or one reader has read.

    Args:
        lenient: Whether a sentence replaces a text that was lost.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self._written: set[str] = set()
        self._read: dict[str, str] = {}

    def pack(self, line: bytes) -> bytes:
        """The line with a mark for each long text that was packed before."""
        if _MARKED.search(line):
            return self._pack_whole(line)
        # No string of the line is longer than its longest stretch without a quote.
        if len(line) < _WORTH_IT or max(map(len, line.replace(b'\\"', b"--").split(b'"'))) < _LEAST:
            return line
        pieces: list[bytes] = []
        begin = 0
        for found in _STRING.finditer(line):
            start, end = found.span()
            is_key = line[end : end + 1] == b":"
            if is_key or end - start < _LEAST:
                continue
            text = from_json(found[0])
            if len(text) < _LEAST:
                continue
            digest = _digest(text)
            if digest in self._written:
                pieces += [line[begin:start], f'{{"{_SAME}":"{digest}"}}'.encode()]
                begin = end
            self._written.add(digest)
        return b"".join([*pieces, line[begin:]]) if pieces else line

    def _pack_whole(self, line: bytes) -> bytes:
        """The same for a line that holds what looks like a mark.

        The standard library's parser reads every depth that can be written; pydantic's does not.
        """
        body = json.loads(line)
        packed = self._pack(body)
        return line if packed is body else as_json(packed)

    def _pack(self, value: Any) -> Any:
        """The value itself, or a copy if something in it had to be marked."""
        if isinstance(value, str):
            if len(value) < _LEAST:
                return value
            digest = _digest(value)
            if digest in self._written:
                return {_SAME: digest}
            self._written.add(digest)
        elif isinstance(value, dict):
            made = {key: self._pack(each) for key, each in value.items()}
            if len(made) == 1 and (_SAME in value or _AS_IS in value):
                return {_AS_IS: made}
            if any(made[key] is not value[key] for key in made):
                return made
        elif isinstance(value, list):
            items = [self._pack(each) for each in value]
            if any(new is not old for new, old in zip(items, value, strict=True)):
                return items
        return value

    def unpack(self, body: JsonObject) -> JsonObject:
        """What was packed, from the JSON of the line.

        Raises:
            ValueError: A mark names a text that is not in what was unpacked before.
        """
        return {key: self._unpack(value) for key, value in body.items()}

    def _unpack(self, value: Any) -> Any:
        if isinstance(value, str):
            if len(value) >= _LEAST:
                self._read[_digest(value)] = value
        elif isinstance(value, dict):
            if len(value) == 1 and _SAME in value:
                return self._text_of(value)
            if len(value) == 1 and _AS_IS in value and isinstance(value[_AS_IS], dict):
                return {key: self._unpack(each) for key, each in value[_AS_IS].items()}
            return {key: self._unpack(each) for key, each in value.items()}
        elif isinstance(value, list):
            return [self._unpack(each) for each in value]
        return value

    def _text_of(self, mark: JsonObject) -> Any:
        digest = mark[_SAME]
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            return mark  # an object of a record from before there were marks
        if digest in self._read:
            return self._read[digest]
        if self._lenient:
            return "(this text stood in an entry that is not here)"
        raise ValueError(f"it says a text again that no entry before it has: {digest!r}")


def _digest(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=18).digest()
    return base64.urlsafe_b64encode(digest).decode()
