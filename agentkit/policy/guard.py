"""The progress guard: notices a model that goes in circles, and leads it out by degrees.

It counts how often the same call brought the same result, whatever came between, so repeats and
cycles (A-B-A-B) are one case, and polling something that changes is none. The ladder: show the
earlier result again → warn inside the result → ask for a change of settings → end the run.
A bare refusal makes small models invent data (artokun/comfyui-mcp#2430), so a result always
comes first; and it never speaks as the user, which would void the server's prefix cache.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from agentkit.messages import ResultKind, ToolCall, ToolResult
from agentkit.toolset import Effect

_WARN_AT = 3
_CHANGE_AT = 4
_STOP_AT = 6
"""Occurrences of one call with one result. Three can be carelessness; six never lead anywhere."""

_ERRORS_WARN_AT = 3
_ERRORS_STOP_AT = 8
"""Errors of one kind from one tool, in a row. They are let go on for longer than repeats: a model
that tries other arguments each time may yet find the right ones."""


@dataclass(slots=True)
class _Seen:
    """What a call brought when it was last made.

    Attributes:
        result: Its result.
        digest: A digest of what the model read of it.
        times: How often it came in a row.
        epoch: The epoch of the world in which it came.
    """

    result: ToolResult
    digest: bytes
    times: int
    epoch: int


class ProgressGuard:
    """Watches the calls of one run.

    Attributes:
        change: Whether the next request should be made with other settings.
        stop: Why the run should end; None while it should not.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._errors: tuple[str, ResultKind] | None = None
        self._error_times = 0
        self._epoch = 0  # counts the calls that may have changed the world
        self.change = False
        self.stop: str | None = None

    def known(self, call: ToolCall, effect: Effect) -> ToolResult | None:
        """The earlier result of a call that can only bring the same one again."""
        if effect != "pure":
            return None
        seen = self._seen.get(_key(call))
        if seen is None or seen.epoch != self._epoch or seen.result.is_error:
            return None
        return replace(seen.result, call_id=call.id, seconds=0.0, attempts=0)

    def watch(self, call: ToolCall, result: ToolResult, effect: Effect | None) -> ToolResult:
        """Books a result; returns it, with a warning in it where one is due."""
        if effect not in ("pure", None) and result.attempts:
            self._epoch += 1
        told = (self._repeated(call, result), self._failed(call, result))
        notes = [note for note in told if note is not None]
        if not notes or not isinstance(result.content, str):
            return result
        return replace(result, content="\n\n".join([result.content, *notes]))

    def _repeated(self, call: ToolCall, result: ToolResult) -> str | None:
        digest = hashlib.sha256(repr((result.content, result.kind)).encode()).digest()
        key = _key(call)
        seen = self._seen.get(key)
        if seen is None or seen.digest != digest:
            self._seen[key] = _Seen(result, digest, 1, self._epoch)
            self.change = False  # something new came of it: the way out is found
            return None
        seen.times += 1
        seen.epoch = self._epoch
        if seen.times >= _CHANGE_AT:
            self.change = True
        if seen.times >= _STOP_AT:
            self.stop = f"{call.name} was called {seen.times} times with the same result"
        if seen.times >= _WARN_AT:
            return (
                f"Warning: this is call number {seen.times} of {call.name} with these arguments, "
                "and the result is always the same. Use it, or do something else."
            )
        return f"(You have made this call before; its result is the same as then: {call.name}.)"

    def _failed(self, call: ToolCall, result: ToolResult) -> str | None:
        failure = (call.name, result.kind) if result.is_error else None
        self._error_times = self._error_times + 1 if failure == self._errors else 1
        self._errors = failure
        if failure is None:
            return None
        if self._error_times >= _ERRORS_STOP_AT:
            self.stop = f"{call.name} failed {self._error_times} times in a row ({result.kind})"
        if self._error_times >= _ERRORS_WARN_AT:
            return (
                f"Warning: {call.name} has failed {self._error_times} times in a row. "
                "Try another way, or answer with what you have."
            )
        return None


def _key(call: ToolCall) -> str:
    arguments = json.dumps(call.arguments, sort_keys=True, default=str)
    return f"{call.name}\0{arguments}\0{call.malformed or ''}"
