"""Tests without a model and without network: `ScriptedModel` gives the replies of a script, and
`block_network()` forbids everything but loopback.

An agent under test must never call out by accident. The block works through Python's audit hooks
(PEP 578), below every HTTP library. It does not see native code that opens sockets without Python's
`socket` module, and does not hold for child processes.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeAlias

from anyio.lowlevel import checkpoint

from agentkit.errors import wrong_value
from agentkit.events import ModelEvent, ModelFinished, ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.exact import text_of_inexact, why_inexact
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    ModelRequest,
    ModelResponse,
    ToolCall,
    Usage,
    next_call_number,
    text_of,
)
from agentkit.models import Model


@dataclass(frozen=True, slots=True)
class Reply:
    """One scripted reply."""

    message: AssistantMessage
    finish_reason: FinishReason
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=10, output_tokens=5))


def say(text: str, *, reasoning: str | None = None) -> Reply:
    """A reply that is an answer."""
    return Reply(AssistantMessage(text, reasoning=reasoning), "stop")


def call(name: str, /, **arguments: Any) -> Reply:
    """A reply that calls one tool."""
    return calls((name, arguments))


def calls(*wanted: tuple[str, dict[str, Any]], reasoning: str | None = None) -> Reply:
    """A reply that calls several tools at once."""
    made = tuple(ToolCall("", name, arguments) for name, arguments in wanted)
    return Reply(AssistantMessage(None, made, reasoning), "tool_calls")


def cut(reply: Reply) -> Reply:
    """The same reply, cut by max_tokens."""
    return replace(reply, finish_reason="length")


Step: TypeAlias = Reply | Exception | Callable[[ModelRequest], Reply]


class ScriptedModel:
    """A model that gives the replies of a script in order, and records the requests.

    Args:
        script: For each step a reply, an exception to raise, or a function of the request.

    Attributes:
        requests: The requests, in order.
    """

    def __init__(self, script: Iterable[Step]) -> None:
        if isinstance(script, str | Reply):
            raise wrong_value("script", script, "give a list of replies, such as [say(…)]")
        self._script: Sequence[Step] = list(script)
        for at, step in enumerate(self._script):
            if not (isinstance(step, Reply | Exception) or callable(step)):
                raise wrong_value(
                    f"script[{at}]", step, "give say(…), call(…) or a function of the request"
                )
        self.requests: list[ModelRequest] = []

    @property
    def name(self) -> str:
        return "scripted"

    @property
    def constrains(self) -> bool:
        """Always False: a scripted reply is given whatever the request allows."""
        return False

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Gives the next reply of the script; see `Model.generate`.

        Raises:
            AssertionError: The script has no further reply.
        """
        await checkpoint()
        position = len(self.requests)
        self.requests.append(request)
        assert position < len(self._script), (
            f"the script has no reply for step {position + 1}, behind {_last(request)}"
        )
        step = self._script[position]
        if isinstance(step, Exception):
            raise step
        reply = step(request) if callable(step) else step
        first = next_call_number(request.messages)
        message = replace(
            reply.message,
            tool_calls=tuple(
                replace(c, id=c.id or f"call_{first + n}")
                for n, c in enumerate(reply.message.tool_calls)
            ),
        )
        for number, event in enumerate(_deltas(message)):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await checkpoint()  # as a network would, to let others have their turn
            yield event
        yield ModelFinished(ModelResponse(message, reply.finish_reason, reply.usage))

    async def aclose(self) -> None:
        """Does nothing: there is nothing to close."""


def _last(request: ModelRequest) -> str:
    """What the model was last told: most often that says why it is asked again."""
    if not request.messages:
        return "no message"
    last = request.messages[-1]
    text = text_of(last.content)
    return f"this message ({last.role}): {text[:_SHOWN]}{'…' * (len(text) > _SHOWN)}"


_SHOWN = 300
"""Characters of a message in an error."""


def _deltas(message: AssistantMessage) -> Iterable[ModelEvent]:
    if message.reasoning:
        yield ReasoningDelta(message.reasoning)
    for word in re.findall(r"\S*\s*", message.content or "")[:-1]:
        yield TextDelta(word)
    for index, made in enumerate(message.tool_calls):
        exact = why_inexact(made.arguments) is None
        text = _written(made.arguments) if exact else text_of_inexact(made.arguments)
        for begin in range(0, len(text), _PIECE):
            name = made.name if begin == 0 else ""
            yield ToolCallDelta(index, name, text[begin : begin + _PIECE])


_written = json.JSONEncoder(ensure_ascii=False).encode
_AT_ONCE = 100  # deltas
_PIECE = 16  # characters of arguments that are streamed at a time


if TYPE_CHECKING:
    _: Model = ScriptedModel([])


# --- no network ----------------------------------------------------------------------------------

_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_CONTACTS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOCAL_NAMES = ("", "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


class NetworkBlockedError(OSError):
    """Something tried to leave this machine inside `block_network()`.

    An `OSError`, so that code under test treats it as a network that cannot be reached.
    """


class _Block:
    """Counts the active blocks. An audit hook cannot be removed, so one serves them all."""

    def __init__(self) -> None:
        self.depth = 0
        self.lock = threading.Lock()
        self.installed = False

    def add(self, change: int) -> None:
        with self.lock:
            if not self.installed:
                sys.addaudithook(_hook)
                self.installed = True
            self.depth += change


_block = _Block()


def _hook(event: str, arguments: tuple[Any, ...], block: _Block = _block) -> None:
    # A default argument, not the global: at exit, Python clears modules and still calls hooks.
    if not block.depth or not event.startswith("socket."):
        return
    if event in _LOOKUPS:
        _require_local(arguments[0], event)
    elif event in _CONTACTS:
        address = arguments[1]
        # A path or an abstract name is a Unix socket; None is a socket that is already connected.
        if isinstance(address, tuple) and address:
            _require_local(address[0], event)


def _require_local(host: object, event: str) -> None:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name is None:
        return
    if isinstance(name, str):
        if name.lower() in _LOCAL_NAMES or name.lower().endswith(".localhost"):
            return
        with suppress(ValueError):  # it is no address
            address = ip_address(name.partition("%")[0])
            if address.is_loopback or address.is_unspecified:
                return
    raise NetworkBlockedError(
        f"{event} to {name!r} is blocked: block_network() allows loopback only. "
        "Use a ScriptedModel or a FaultServer instead of a remote server."
    )


@contextmanager
def block_network() -> Generator[None]:
    """Forbids connections, datagrams and name lookups that leave this machine.

    Holds for all threads of the process. Blocks may be nested, and may be used as decorators.

    Raises:
        NetworkBlockedError: In the code that tried, naming the address.
    """
    _block.add(1)
    try:
        yield
    finally:
        _block.add(-1)
