"""Conversations of several steps: whether each prompt is counted as the server counts it, and how
much of it came from the prefix cache.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import anyio

from agentkit import AgentKitError, tool
from agentkit.events import PromptTokens
from agentkit.messages import Message
from agentkit.wording import pluralize
from agentkit_evals.acceptance.bench import Bench
from agentkit_evals.acceptance.models import CountedFirst
from agentkit_evals.acceptance.record import Outcome, Part, Row, worst

_AT_A_TIME: Final = 4

_QUESTIONS: Final = (
    "Where is Agent defined?",
    "And where is Toolset defined?",
    "Where is Context defined?",
)

_INSTRUCTIONS: Final = """\
Conversation {salt}. You help people to find their way in the source of a library.
Look things up with the tools; do not guess. Name the file and the line, and nothing else.
A question that is not about the source is answered in one sentence, without a tool.
Where a name is defined in several places, name the one that is public."""
"""The salt comes first, so that no other conversation, now or earlier, has the same prefix."""


@tool(effect="pure")
async def find_definition(name: str) -> str:
    """Finds where something is defined.

    Args:
        name: What to find.
    """
    lines = "\n".join(f"    # line {number} of the text around it" for number in range(20))
    return f"{name} is defined in {name.lower()[:40]}.py, line {len(name)}:\n{lines}"


@dataclass(slots=True)
class Conversation:
    """One conversation, as far as it got.

    Attributes:
        number: Its number, from 1.
        turns: The prompts of each question.
        failure: What ended it early; empty if nothing did.
    """

    number: int
    turns: list[tuple[PromptTokens, ...]] = field(default_factory=list)
    failure: str = ""

    @property
    def prompts(self) -> list[PromptTokens]:
        """All prompts in order."""
        return [prompt for turn in self.turns for prompt in turn]

    @property
    def counted(self) -> list[PromptTokens]:
        """The prompts that were counted before they were sent, and by the server."""
        return [prompt for prompt in self.prompts if prompt.exact and prompt.counted]

    @property
    def wrong(self) -> list[PromptTokens]:
        """The counted prompts for which the server reports another number."""
        return [prompt for prompt in self.counted if prompt.foreseen != prompt.counted]

    @property
    def known_before(self) -> int:
        """Tokens that the server had read before, since a prompt begins with the one before it."""
        return sum(min(a.counted, b.counted) for a, b in pairwise(self.prompts))


async def converse(
    bench: Bench, conversations: int, seconds: float, tell: Callable[[str], object]
) -> list[Conversation]:
    """Plays conversations, a few at a time.

    Args:
        bench: The server.
        conversations: How many.
        seconds: How long all of them may take; those that are not done by then are cut short.
        tell: Called with a line for each that has ended.
    """
    played: list[Conversation] = []
    todo = iter(range(1, conversations + 1))

    async def work() -> None:
        for number in todo:
            conversation = Conversation(number)
            played.append(conversation)
            try:
                await _play(bench, conversation)
            except AgentKitError as error:
                conversation.failure = f"{type(error).__name__}: {error}"
            tell(f"conversation {number}: {pluralize(len(conversation.prompts), 'prompt')}")

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for _ in range(min(_AT_A_TIME, conversations)):
                group.start_soon(work)
    with anyio.move_on_after(5, shield=True):
        await bench.aclose()
    return sorted(played, key=lambda each: each.number)


async def _play(bench: Bench, conversation: Conversation) -> None:
    agent = bench.agent(
        model=CountedFirst(bench.model()),
        tools=[find_definition],
        instructions=_INSTRUCTIONS.format(salt=secrets.token_hex(8)),
    )
    history: Sequence[Message] = ()
    for question in _QUESTIONS:
        result = await agent.run(question, history=history)
        history = result.messages
        conversation.turns.append(result.context.prompts)


def conversations_part(played: Sequence[Conversation], wanted: int, seconds: float) -> Part:
    """What the conversations came to.

    Args:
        played: As far as they came.
        wanted: How many there should be.
        seconds: How long they took.
    """
    prompts = [prompt for each in played for prompt in each.prompts]
    counted = [prompt for each in played for prompt in each.counted]
    wrong = [prompt for each in played for prompt in each.wrong]
    cached = sum(prompt.cached for prompt in prompts)
    whole = sum(prompt.counted for prompt in prompts)
    before = sum(each.known_before for each in played)
    outcomes = list(_judged(played, wanted, again=cached / before if before else 0.0))
    says = (
        f"{len(counted) - len(wrong)} of {pluralize(len(prompts), 'prompt')} counted to the token"
    )
    if before:
        says += f", {cached / before:.0%} of what was sent before came from the cache"
    return Part(
        name="conversations",
        title="exact counts and the prefix cache",
        outcome=worst(each for each, _ in outcomes),
        says="; ".join([says, *(said for _, said in outcomes)]),
        remedy=_REMEDY if any(said == _NOT_CACHED for _, said in outcomes) else "",
        seconds=seconds,
        figures={
            "conversations": len(played),
            "prompts": len(prompts),
            "counted exactly": len(counted) - len(wrong),
            "counted otherwise by the server": len(wrong),
            "tokens of all prompts": whole,
            "share from the cache": round(cached / whole, 3) if whole else None,
            "share of what was sent before": round(cached / before, 3) if before else None,
        },
        tables={"Conversations": [_row(each) for each in played]},
    )


def _judged(
    played: Sequence[Conversation], wanted: int, *, again: float
) -> Iterator[tuple[Outcome, str]]:
    """Yields what is wrong with the server or its settings."""
    prompts = [prompt for each in played for prompt in each.prompts]
    done = [each for each in played if len(each.turns) == len(_QUESTIONS)]
    if failures := [each for each in played if each.failure]:
        yield "failed", f"{pluralize(len(failures), 'conversation')} failed: {failures[0].failure}"
    elif len(done) < wanted:
        yield "warned", f"{len(done)} of {wanted} conversations were done in time"
    if any(each.wrong for each in played):
        yield "failed", "the server counts prompts otherwise than agentkit"
    elif prompts and not all(prompt.counted for prompt in prompts):
        yield "failed", "the server does not say how many tokens a prompt has"
    elif not all(prompt.exact for prompt in prompts):
        yield "warned", "prompts are estimated: nobody can be asked for their tokens"
    if prompts and not any(prompt.cached for prompt in prompts):
        yield "warned", _NOT_CACHED
    elif prompts and again < _LEAST_AGAIN:
        yield "warned", "more than half of what was sent before was read again"


_LEAST_AGAIN: Final = 0.5
"""Share: caches keep whole blocks, so that short prompts come in part at best."""

_NOT_CACHED: Final = "nothing is said to have come from the prefix cache"
_REMEDY: Final = "vLLM: --enable-prompt-tokens-details, and no --no-enable-prefix-caching"


def _row(conversation: Conversation) -> Row:
    prompts = conversation.prompts
    cached, before = sum(p.cached for p in prompts), conversation.known_before
    return {
        "conversation": conversation.number,
        "prompts": len(prompts),
        "exact": len(conversation.counted) - len(conversation.wrong),
        "tokens of the last": prompts[-1].counted if prompts else None,
        "sent before": before,
        "from the cache": cached,
        "failure": conversation.failure or None,
    }
