"""Twenty streams as a real vLLM 0.32.0 sent them, and what becomes of a run when one is cut.

They were recorded from a tiny Gemma 4 checkpoint under a grammar that spelled the replies out:
texts, thoughts, calls of every shape, and three replies that `max_tokens` cut.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import anyio
import httpx2

from agentkit import Agent, Timeouts, VLLMModel
from agentkit.events import Event, RunResult, StepRestarted
from agentkit.models.calls import is_probe
from agentkit.testing import Delivery, FaultServer, say
from agentkit.toolset import Tool, tool

End: TypeAlias = Literal["complete", "reset", "close", "stall", "pings"]
ENDS: Final[tuple[End, ...]] = ("complete", "reset", "close", "stall", "pings")
AFTER: Final = "asked again"
"""What the model says when it is asked again."""

_CLOCKS: Final = Timeouts(first_event=5, idle=5, total=60, retry=30)
_FOLDER: Final = Path(__file__).parent / "streams"


@dataclass(frozen=True)
class Recorded:
    """One recorded stream.

    Attributes:
        name: Of its file.
        body: Its bytes.
        finished_at: So many bytes hold the event with the finish reason.
        finish: That finish reason.
        text: What the whole reply says.
        calls: The calls of the whole reply, as the tools below book them.
    """

    name: str
    body: bytes
    finished_at: int
    finish: str
    text: str
    calls: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether the whole reply is a step forward: not cut, and not empty."""
        return self.finish != "length" and bool(self.text or self.calls)


@cache
def recorded() -> tuple[Recorded, ...]:
    """All twenty."""
    return tuple(_read(path) for path in sorted(_FOLDER.glob("*.sse")))


def _read(path: Path) -> Recorded:
    body = path.read_bytes()
    text, finish, finished_at, at = "", "", 0, 0
    calls: dict[int, list[str]] = {}
    for event in body.split(b"\n\n"):
        at += len(event) + 2
        if not event.startswith(b"data: {"):
            continue
        for choice in json.loads(event[6:])["choices"]:
            text += choice["delta"].get("content") or ""
            for piece in choice["delta"].get("tool_calls") or ():
                made = calls.setdefault(piece["index"], ["", ""])
                made[0] += piece["function"].get("name") or ""
                made[1] += piece["function"].get("arguments") or ""
            if choice["finish_reason"]:
                finish, finished_at = choice["finish_reason"], at
    booked = tuple(_booked(name, json.loads(arguments)) for name, arguments in calls.values())
    return Recorded(path.stem, body, finished_at, finish, text, booked)


def _booked(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}{json.dumps(arguments, sort_keys=True)}"


def tools(ran: list[str]) -> list[Tool[..., Any]]:
    """The tools that the recorded replies call; none of them may run twice."""

    @tool
    async def add(a: int, b: int) -> int:
        ran.append(_booked("add", {"a": a, "b": b}))
        return a + b

    @tool
    async def search_text(pattern: str) -> str:
        ran.append(_booked("search_text", {"pattern": pattern}))
        return "nothing"

    @tool
    async def now() -> str:
        ran.append(_booked("now", {}))
        return "12:34"

    @tool
    async def order(item: str, tags: list[str], to: dict[str, str]) -> str:
        ran.append(_booked("order", {"item": item, "tags": tags, "to": to}))
        return "ordered"

    return [add, search_text, now, order]


# --- one injection -----------------------------------------------------------------------------


@dataclass
class Injection:
    """A run whose first reply was cut.

    Attributes:
        stream: The reply.
        at: How many of its bytes came.
        end: What came then.
        seconds: How long the run took.
        ran: What its tools booked.
        requests: How often the model was asked.
        restarted: How often what had been shown was taken back.
        result: Of the run.
    """

    stream: Recorded
    at: int
    end: End
    seconds: float = 0.0
    ran: list[str] = field(default_factory=list)
    requests: int = 0
    restarted: int = 0
    result: RunResult[Any] | None = None

    def watch(self, _run_id: str, event: Event) -> None:
        """Observes the run."""
        self.restarted += isinstance(event, StepRestarted)

    def problems(self, deadline: float) -> list[str]:
        """What must never happen: a silent ending, a tool from a partial call, a late end."""
        stream, output = self.stream, self.result.output if self.result else None
        # A stream that ends cleanly may lack the blank line after its last event.
        needed = stream.finished_at - (len(b"\n\n") if self.end == "complete" else 0)
        whole = self.at >= needed and stream.is_usable
        ran_all = sorted(self.ran) == sorted(stream.calls)  # calls of one reply run side by side
        found = []
        if self.ran and not (whole and ran_all):
            found.append(f"ran {self.ran} of a reply that was cut")
        if output != AFTER and not (whole and output == stream.text):
            found.append(f"ended with {output!r}")
        if not whole and (self.requests < 2 or self.restarted < 1):
            found.append(f"asked {self.requests} times, took {self.restarted} back")
        if whole and self.end == "complete" and (self.restarted or not ran_all):
            found.append(f"a finished reply counted for nothing: ran {self.ran}")
        if self.seconds > deadline:
            found.append(f"took {self.seconds:.1f} s")
        return [f"{stream.name} at {self.at}, {self.end}: {problem}" for problem in found]


class Bench:
    """An agent whose first reply is cut, again and again, in one event loop.

    No socket is used and no time passes but the event loop's own. Model, tools and agent are built
    once, since building them costs more than a run.
    """

    def __init__(self) -> None:
        self._injection: Injection | None = None
        self._ran: list[str] = []
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        model = VLLMModel("http://gemma.invalid/v1", http_client=client, timeouts=_CLOCKS)
        self._agent = Agent(model, tools=tools(self._ran), observers=[self._watch])

    async def inject(self, stream: Recorded, at: int, end: End) -> list[str]:
        """Plays one injection; returns what is wrong with what came of it."""
        injection = self._injection = Injection(stream, at, end)
        self._ran.clear()
        started = anyio.current_time()
        injection.result = await self._agent.run("go")
        injection.seconds = anyio.current_time() - started
        injection.ran = self._ran
        return injection.problems(_CLOCKS.total)

    def _watch(self, run_id: str, event: Event) -> None:
        assert self._injection is not None
        self._injection.watch(run_id, event)

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        """The cut stream for the first chat request, a sound reply for later ones."""
        injection = self._injection
        assert injection is not None
        if request.url.path.endswith("/models"):
            return httpx2.Response(200, json={"data": [{"id": "gemma-4", "max_model_len": 32768}]})
        if not request.url.path.endswith("/chat/completions"):
            return httpx2.Response(404)
        if is_probe(json.loads(request.content)):
            return httpx2.Response(400, json={"error": "it holds no reply to anything"})
        injection.requests += 1
        first = injection.requests == 1
        return httpx2.Response(200, stream=_Cut(injection) if first else _Sound())


async def inject_on_socket(stream: Recorded, at: int, end: End) -> list[str]:
    """The same over real HTTP, in real time."""
    patience = 0.5 if end in ("stall", "pings") else 5  # a busy machine is slow, not silent
    clocks = Timeouts(first_event=patience, idle=patience, total=20, retry=10)
    injection = Injection(stream, at, end)
    delivery = Delivery((stream.body,)).cut(at, end)
    async with FaultServer([delivery], then=say(AFTER)) as server:
        async with VLLMModel(server.url, timeouts=clocks) as model:
            agent = Agent(model, tools=tools(injection.ran), observers=[injection.watch])
            started = time.monotonic()
            injection.result = await agent.run("go")
            injection.seconds = time.monotonic() - started
        injection.requests = len(server.requests)
    return injection.problems(clocks.total)


class _Sound(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        choice = {"index": 0, "delta": {"content": AFTER}, "finish_reason": "stop"}
        yield b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\ndata: [DONE]\n\n"


class _Cut(httpx2.AsyncByteStream):
    def __init__(self, injection: Injection) -> None:
        self._injection = injection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._injection.stream.body[: self._injection.at]
        match self._injection.end:
            case "complete":
                return
            case "reset":
                raise httpx2.ReadError("connection reset by peer")
            case "close":
                raise httpx2.RemoteProtocolError("peer closed connection")
            case "stall":
                await anyio.sleep_forever()
            case "pings":
                while True:
                    yield b"\n\n: ping\n\n"
                    await anyio.sleep(1)


def sampled(stream: Recorded, count: int) -> Sequence[int]:
    """Places in a stream: spread evenly, and around the end of the finishing event."""
    even = {len(stream.body) * n // count for n in range(count)}
    edge = {stream.finished_at + offset for offset in (-2, -1, 0, 1)}
    return sorted(even | edge)
