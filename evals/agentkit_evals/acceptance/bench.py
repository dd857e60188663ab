"""Plays one scenario of an agent on one server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import anyio

from agentkit import Agent, Limits, Model, ModelSettings, VLLMModel
from agentkit.errors import first_error
from agentkit.models import Timeouts
from agentkit.serving.doctor import Diagnosis

Verdict: TypeAlias = Literal["right", "absent", "wrong"]
"""`absent` is what a server cannot do, if it says so."""

SHORT: Final = ModelSettings(max_tokens=160, temperature=0.0, thinking=False)
"""Settings of a step whose text does not matter."""

_STEPS: Final = Limits(steps=3)
_CLOCKS: Final = Timeouts(first_event=120, idle=60, total=200, retry=5)
_SMALL: Final = 8_192
"""Tokens of the window of a server that does not say how long its window is."""


class WrongError(Exception):
    """A scenario did not end as it should; the message says what was seen."""


class AbsentError(Exception):
    """The server cannot do what the scenario needs; the message says how it refused."""


@dataclass
class Bench:
    """One server, and how models of it are made.

    Attributes:
        make_model: Makes a new model from a served name.
        name: The served name.
        window: Tokens of prompt and reply together.
        window_told: Whether the server says the window; otherwise it is a guess.
        holds: Whether the server can force a call; otherwise a required call may not come.
        vllm: Whether it takes fields of requests that only vLLM knows.
    """

    make_model: Callable[[str], Model]
    name: str
    window: int = _SMALL
    window_told: bool = True
    holds: bool = True
    vllm: bool = False
    _opened: list[Model] = field(default_factory=list)

    @staticmethod
    def on_server(
        url: str, found: Diagnosis, *, api_key: str | None = None, stream: bool = True
    ) -> Bench:
        """The server at an address.

        Args:
            url: With or without `/v1`.
            found: The doctor's diagnosis.
            api_key: Sent as a bearer token; default: `AGENTKIT_API_KEY`.
            stream: Whether replies come in pieces.
        """

        def make(name: str) -> Model:
            return VLLMModel(url, name, api_key=api_key, stream=stream, timeouts=_CLOCKS)

        holds, vllm = found.control != "free", found.server == "vLLM"
        return Bench(
            make,
            found.model,
            window=found.window or _SMALL,
            window_told=found.window is not None,
            holds=holds,
            vllm=vllm,
        )

    def model(self, name: str | None = None) -> Model:
        """A new model, which is closed when the scenario has ended."""
        self._opened.append(self.make_model(name or self.name))
        return self._opened[-1]

    def agent(self, **options: Any) -> Agent[Any, Any]:
        """An agent with few and short steps, without a run file; `options` replace its options."""
        given: dict[str, Any] = {"settings": SHORT, "limits": _STEPS, "observers": (), **options}
        return Agent(given.pop("model", None) or self.model(), **given)

    async def aclose(self) -> None:
        """Closes the models that were made."""
        while self._opened:
            await self._opened.pop().aclose()


Scenario: TypeAlias = Callable[[Bench], Awaitable[None]]
"""Returns if all went well, and raises `WrongError` or `AbsentError` otherwise. Its name and the
first line of its docstring are shown."""


@dataclass(frozen=True, slots=True)
class Played:
    """The result of one scenario.

    Attributes:
        name: The scenario's name, in words.
        asks: What it checks, in a sentence.
        verdict: The verdict.
        says: Why it is not right; empty if it is.
        seconds: How long it took.
    """

    name: str
    asks: str
    verdict: Verdict
    says: str
    seconds: float


async def play(scenario: Scenario, bench: Bench, *, seconds: float) -> Played:
    """Plays a scenario; an exception becomes a verdict.

    Args:
        scenario: The scenario.
        bench: The server.
        seconds: How long it may take.
    """
    started = time.monotonic()
    verdict: Verdict = "right"
    says = ""
    with anyio.move_on_after(seconds) as scope:
        try:
            await scenario(bench)
        except AbsentError as error:
            verdict, says = "absent", str(error)
        except WrongError as error:
            verdict, says = "wrong", str(error)
        except Exception as error:  # noqa: BLE001 - one scenario must not end the others
            first = first_error(error)
            verdict, says = "wrong", f"{type(first).__name__}: {first}"
    if scope.cancelled_caught:
        verdict, says = "wrong", f"not done after {seconds:.0f} seconds"
    with anyio.move_on_after(_CLOSING, shield=True):
        await bench.aclose()
    name = scenario.__name__.replace("_", " ")
    asks = (scenario.__doc__ or "").partition("\n")[0]
    return Played(name, asks, verdict, says[:_MOST_SAID], round(time.monotonic() - started, 2))


_MOST_SAID: Final = 400
"""Characters of the text about one scenario."""

_CLOSING: Final = 5.0
"""Seconds for closing connections, whatever the server does."""
