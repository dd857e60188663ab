"""Events as lines of JSON, and back."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from agentkit.events.run import Event, RunFinished, RunResult
from agentkit.messages import JsonObject


def dump_event(event: Event) -> bytes:
    """The event as one line of JSON, without its line break; `event` names its kind.

    The messages of `RunFinished` are left out: the events before it hold them. Values that JSON
    does not know, in an answer of the user's own type say, become their text.
    """
    if not isinstance(event, RunFinished):
        return dump_named(event)
    result = event.result
    of_it = {name: getattr(result, name) for name in _OF_A_RESULT}
    return as_json({"event": type(event).__name__, "output": result.said, **of_it})


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
        said = {"said": body.pop("output")} if "output" in body else {}
        return RunFinished(validated(RunResult[Any], {**said, **body, "messages": ()}))
    if kind not in _KINDS:
        raise ValueError(f"not an event of a run: {str(value)[:80]!r}")
    event: Event = validated(_KINDS[kind], body)
    return event


def validated(kind: Any, body: JsonObject) -> Any:
    """The value of a kind whose fields were written as JSON.

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


_OF_A_RESULT = ("stop_reason", "usage", "steps", "run_id", "explanation", "context")
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Event)}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Built at the first use: it costs more than importing this module."""
    return TypeAdapter(kind)
