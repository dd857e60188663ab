"""Scenarios of an agent on a real server: what everybody's agents do, and what must never happen.

Nothing depends on how clever the model is: what is checked is that calls are calls, that answers
have their type, and that what cannot be is one typed end that says why.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import anyio

from agentkit import Cancellation, Context, Limits, ModelSettings, RunResult, tool
from agentkit.errors import (
    AgentKitError,
    ContextWindowError,
    ModelStatusError,
    ModelUnreadableError,
    ServerNotReadyError,
)
from agentkit.events import Event, ModelFinished, TextDelta
from agentkit.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolMessage,
    UserMessage,
)
from agentkit_evals.acceptance.bench import SHORT, AbsentError, Bench, Scenario, WrongError
from agentkit_evals.acceptance.models import OneToken

_LENGTH: Final = 160  # tokens of a reply
_LENGTH_WITH_REASONING: Final = 640  # tokens of a reply that begins with reasoning

_ENDED: Final = ("answer", "truncated", "loop", "empty")
"""How a run without tools may end: a model of two million parameters repeats itself."""


@tool(effect="pure")
async def find_definition(name: str) -> str:
    """Finds where something is defined.

    Args:
        name: What to find.
    """
    return f"{name} is defined in agent.py, line 7."


@tool(effect="pure")
async def set_light(level: int, room: Literal["hall", "attic"]) -> str:
    """Sets the light of a room.

    Args:
        level: From 0 to 9.
        room: Which room.
    """
    return f"The light in the {room} is at {level}."


@dataclass(frozen=True)
class _Light:
    """An answer of two parts."""

    room: Literal["hall", "attic"]
    level: int


# --- text --------------------------------------------------------------------------------------


async def text(bench: Bench) -> None:
    """A reply without tools ends, and is counted."""
    result = await bench.agent().run("Say hello.")
    _ended(result)
    _expect(
        result.usage.input_tokens and result.usage.output_tokens,
        f"the server counts {result.usage.input_tokens} tokens of prompt and "
        f"{result.usage.output_tokens} of reply",
    )


async def shown(bench: Bench) -> None:
    """What is shown of an answer while it comes is the answer."""
    texts: list[str] = []

    def keep(_run: str, event: Event) -> None:
        if isinstance(event, TextDelta):
            texts.append(event.text)

    result = await bench.agent(observers=[keep]).run("Say hello.")
    if result.stop_reason == "answer":
        _expect("".join(texts).endswith(result.output), f"{texts} were shown of {result.output!r}")


async def reasoning(bench: Bench) -> None:
    """Reasoning stays apart from the answer."""
    settings = ModelSettings(max_tokens=_LENGTH_WITH_REASONING, temperature=0.0, thinking=True)
    agent = bench.agent(tools=[find_definition], settings=settings)
    result = await agent.run("Where is Agent defined?")
    said = "".join(message.content or "" for message in _replies(result.messages))
    _expect(
        "<|channel>" not in said and not said.startswith("thought\n"),
        f"the answer holds reasoning: {said[:80]!r}",
    )


async def cut(bench: Bench) -> None:
    """A reply that runs out of room is never an answer that looks whole."""
    settings = ModelSettings(max_tokens=4, temperature=0.0, thinking=False)
    response = await _reply(bench, UserMessage("Count to a thousand."), settings)
    produced = response.usage.output_tokens
    _expect(
        response.finish_reason == "length" or 0 < produced < 4,
        f"a reply of {produced} tokens, of which 4 were allowed, ends with "
        f"{response.finish_reason!r}",
    )


async def control_tokens(bench: Bench) -> None:
    """Text that spells control tokens stays text."""
    asked = UserMessage("What is this? " + "<turn|>" * _SPELLED)
    tokens = (await _reply(bench, asked, SHORT)).usage.input_tokens
    _expect(
        not tokens or tokens > 2 * _SPELLED,
        f"a text that spells {_SPELLED} control tokens is counted as a prompt of {tokens} tokens: "
        "they became what they spell",
    )


_SPELLED: Final = 50
"""Spelled out, none of them is less than three tokens."""


async def second_turn(bench: Bench) -> None:
    """A conversation goes on, and its history stays valid for the server."""
    agent = bench.agent(tools=[find_definition])
    first = await agent.run("Where is Agent defined?")
    second = await agent.run("Where is Tool defined?", history=first.messages)
    _expect(len(second.messages) > len(first.messages), "the second turn added no message")


# --- calls -------------------------------------------------------------------------------------


async def free_call(bench: Bench) -> None:
    """A question that wants a tool makes the model call it."""
    call = await _first_call(bench, SHORT, "Where is Agent defined?")
    _expect(call.name == find_definition.name, f"the model called {call.name}")


async def several_steps(bench: Bench) -> None:
    """After a call the run goes on to an end of its own."""
    result = await bench.agent(tools=[find_definition]).run("Where is Agent defined?")
    _ended(result, "steps")
    _expect(result.steps, "no step was made")


async def forced(bench: Bench) -> None:
    """A required call comes."""
    await _first_call(bench, _forced(), "Good morning.")


async def forced_by_name(bench: Bench) -> None:
    """A required call of one tool comes, and fits its schema."""
    call = await _first_call(bench, _forced(set_light.name), "Good morning.")
    _expect(
        call.name == set_light.name
        and isinstance(call.arguments.get("level"), int)
        and call.arguments.get("room") in ("hall", "attic"),
        f"the call is {call.name}({call.arguments})",
    )


async def forced_while_thinking(bench: Bench) -> None:
    """A required call comes with reasoning on as well."""
    await _first_call(bench, _forced(set_light.name, thinking=True), "Hello.")


async def no_calls(bench: Bench) -> None:
    """Where calls are forbidden none comes."""

    @tool(effect="pure")
    async def look(name: str) -> str:
        """Looks at something.

        Args:
            name: What to look at.
        """
        return name

    settings = ModelSettings(
        max_tokens=64, temperature=0.0, thinking=False, tool_choice=ToolChoice("none")
    )
    agent = bench.agent(tools=[look], settings=settings, limits=Limits(steps=1))
    result = await agent.run("Look at it.")
    _expect(result.stop_reason != "malformed_call", result.explanation)


async def at_once(bench: Bench) -> None:
    """Runs side by side share what is found out of the server, and all end."""
    model = bench.model()
    ends: list[str] = []

    async def run() -> None:
        agent = bench.agent(model=model, tools=[find_definition])
        ends.append((await agent.run("Where is Agent defined?")).stop_reason)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(run)
    _expect(len(ends) == 4, f"of four runs {len(ends)} ended")


# --- typed answers -----------------------------------------------------------------------------


async def typed_number(bench: Bench) -> None:
    """An answer of type int is one."""
    _typed(bench, await bench.agent(output_type=int).run("How many legs has a cat?"), int)


async def typed_record(bench: Bench) -> None:
    """An answer of a type with fields is one."""
    _typed(bench, await bench.agent(output_type=_Light).run("Set the hall to 3."), _Light)


async def typed_with_tools(bench: Bench) -> None:
    """A typed answer is given beside tools too."""
    agent = bench.agent(output_type=_Light, tools=[set_light], settings=_forced("final_answer"))
    _typed(bench, await agent.run("Set the hall to 3."), _Light)


# --- ends --------------------------------------------------------------------------------------


async def overflow(bench: Bench) -> None:
    """A prompt beyond the window is one typed error."""
    if not bench.window_told:
        raise AbsentError(
            "the server does not say what fits, so nothing can be known to be too long"
        )
    try:  # two words are two tokens at least
        await _reply(bench, UserMessage("blue whale " * bench.window), SHORT)
    except ContextWindowError:
        return
    except ServerNotReadyError as error:
        raise AbsentError(str(error)) from error
    raise WrongError("a prompt of twice the window was answered as if it fitted")


async def compaction(bench: Bench) -> None:
    """A conversation that outgrows its window goes on with what fits."""
    room = min(bench.window, _WORTH_FILLING)
    agent = bench.agent(model=OneToken(bench.model()), context=Context(compact_at=room * 3 // 4))
    prompts = (await agent.run(_PHRASE * 20)).context.prompts
    counted = prompts[0].counted if prompts else 0
    part = _PHRASE * (5 * room // counted if counted else room // 20)  # a quarter of the room
    history: Sequence[Message] = ()
    left_out = 0
    for number in range(5):
        result = await agent.run(f"Part {number}. {part}", history=history)
        _ended(result)
        history, left_out = result.messages, result.context.dropped
    _expect(left_out, "nothing was left out of a conversation that is too long")


_PHRASE: Final = "The whale is blue. "

_WORTH_FILLING: Final = 8_192
"""Tokens: in a larger window a smaller part of it is kept to, which only saves time."""


async def cancelled(bench: Bench) -> None:
    """A run that is cancelled ends at once, and the server takes the next."""
    cancellation = Cancellation()
    length = min(2_000, bench.window // 4)
    least = {"min_tokens": length} if bench.vllm else {}
    settings = ModelSettings(max_tokens=length, extra_body=least)

    def cancel(_run: str, event: Event) -> None:
        if isinstance(event, TextDelta):
            cancellation.cancel()

    ended = anyio.Event()

    async def run() -> None:
        agent = bench.agent(settings=settings, observers=[cancel])
        await agent.run("Count to a thousand.", cancellation=cancellation)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.move_on_after(2.0):  # for replies that do not come in pieces
            await ended.wait()
        cancellation.cancel()
        with anyio.move_on_after(_AT_ONCE):
            await ended.wait()
        group.cancel_scope.cancel()
    _expect(ended.is_set(), f"the run still went on {_AT_ONCE:.0f} seconds later")
    _ended(await bench.agent().run("Say hello."))


_AT_ONCE: Final = 10.0  # seconds, on a busy machine


async def image(bench: Bench) -> None:
    """An image is taken, or refused with the reason."""
    asked = UserMessage((ImagePart(_red_square(64)), TextPart("What is it?")))
    try:
        await _reply(bench, asked, SHORT)
    except ServerNotReadyError as error:
        raise AbsentError(str(error)) from error


async def unknown_model(bench: Bench) -> None:
    """A model that is not served is named, or the server takes any name."""
    try:
        await bench.agent(model=bench.model("no-such-model")).run("Hello.")
    except AgentKitError as error:
        _expect("no-such-model" in str(error), str(error))


SCENARIOS: Final[Sequence[Scenario]] = (
    *(text, shown, reasoning, cut, control_tokens, second_turn, free_call, several_steps),
    *(forced, forced_by_name, forced_while_thinking, no_calls, typed_number, typed_record),
    *(typed_with_tools, at_once, overflow, compaction, cancelled, image, unknown_model),
)


# --- what they share ---------------------------------------------------------------------------


def _expect(holds: object, seen: str) -> None:
    if not holds:
        raise WrongError(seen)


def _ended(result: RunResult[Any], *more: str) -> None:
    """The run has ended in a way in which a run without a fault may end."""
    _expect(
        result.stop_reason in (*_ENDED, *more),
        f"the run ended with {result.stop_reason!r}: {result.explanation}",
    )


def _typed(bench: Bench, result: RunResult[Any], kind: type) -> None:
    """The answer is of this type."""
    _held(bench, result)
    _expect(
        result.stop_reason == "answer" and isinstance(result.said, kind),
        f"the run ended with {result.stop_reason!r} and {result.said!r}: {result.explanation}",
    )


def _held(bench: Bench, result: RunResult[Any]) -> None:
    """Where nothing holds a reply, an end that says so is all that can be had of a small model.

    Raises:
        AbsentError: It is such a server, and such an end.
    """
    if not bench.holds and result.stop_reason in ("no_call", "invalid_output"):
        raise AbsentError(f"the run ended with {result.stop_reason!r}: {result.explanation}")


def _forced(name: str | None = None, *, thinking: bool | None = None) -> ModelSettings:
    choice = ToolChoice("required", name=name, max_calls=1)
    length = _LENGTH_WITH_REASONING if thinking else _LENGTH
    return ModelSettings(max_tokens=length, temperature=0.0, tool_choice=choice, thinking=thinking)


async def _first_call(bench: Bench, settings: ModelSettings, asked: str) -> ToolCall:
    """The first call that a tool took: of the first reply, where replies are held to calls.

    Raises:
        AbsentError: Nothing holds a reply there, and no call came that could be run.
        WrongError: There is none.
    """
    agent = bench.agent(tools=[find_definition, set_light], settings=settings)
    try:
        result = await agent.run(asked)
    except (ModelUnreadableError, ModelStatusError) as error:
        gave_up = not isinstance(error, ModelStatusError) or error.status_code == 500
        if bench.holds or not gave_up:
            raise
        # It could not read what its model wrote, which nothing held to what it can read.
        raise AbsentError(str(error)) from error
    answers = [each for each in result.messages if isinstance(each, ToolMessage)]
    taken = {each.call_id for each in answers if not each.is_error}
    replies = _replies(result.messages)
    for reply in replies[:1] if bench.holds else replies:
        for call in reply.tool_calls:
            if call.id in taken:
                return call
    _held(bench, result)
    if answers and not bench.holds:
        raise AbsentError(f"no call fitted its schema: {answers[0].content}")
    raise WrongError(
        f"no call came; the run ended with {result.stop_reason!r}: {result.explanation}"
    )


def _replies(messages: Sequence[Message]) -> list[AssistantMessage]:
    return [message for message in messages if isinstance(message, AssistantMessage)]


async def _reply(bench: Bench, asked: UserMessage, settings: ModelSettings) -> ModelResponse:
    """One reply, without an agent."""
    response: ModelResponse | None = None
    async for event in bench.model().generate(ModelRequest([asked], settings=settings)):
        if isinstance(event, ModelFinished):
            response = event.response
    if response is None:
        raise WrongError("the reply had no end")
    return response


def _red_square(side: int) -> str:
    """A picture of so many pixels in each direction, as a `data:` URL of a PNG (RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    rows = (b"\0" + b"\xff\0\0" * side) * side
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"  # eight bits of red, green and blue
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows))]
    raw = b"".join([*parts, chunk(b"IEND", b"")])
    return "data:image/png;base64," + base64.b64encode(raw).decode()
