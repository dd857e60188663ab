"""Agents that play a case almost right: for verdicts in which passes and failures are mixed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from agentkit_evals.core import Case, Trial, Turn
from agentkit_evals.subject import AgentMaker

from agentkit import Agent
from agentkit.messages import JsonObject
from agentkit.testing import Reply, ScriptedModel, calls, say

Turns = list[list[tuple[str, JsonObject]]]


def _as_it_is(turns: Turns, _: random.Random) -> None:
    del turns


def _drop(turns: Turns, chance: random.Random) -> None:
    turn = chance.choice([turn for turn in turns if turn])
    del turn[chance.randrange(len(turn))]


def _repeat(turns: Turns, chance: random.Random) -> None:
    turn = chance.choice([turn for turn in turns if turn])
    turn.insert(0, turn[chance.randrange(len(turn))])


def _spoil(turns: Turns, chance: random.Random) -> None:
    turn = chance.choice([turn for turn in turns if turn])
    place = chance.randrange(len(turn))
    name, arguments = turn[place]
    other: JsonObject = {key: f"{value} or so" for key, value in arguments.items()}
    turn[place] = (name, other or {"extra": 1})


def _swap(turns: Turns, chance: random.Random) -> None:
    chance.shuffle(turns[-1])


def _look_again(turns: Turns, chance: random.Random) -> None:
    """A call that fails and changes nothing."""
    chance.choice(turns).append(("unit_conversion", {"value": "x"}))
    turns[0] += turns[0][-1:]


def _nothing(turns: Turns, chance: random.Random) -> None:
    chance.choice(turns).clear()


def _not_offered(turns: Turns, chance: random.Random) -> None:
    """Calls to functions that are not there, one of which upstream's worlds have nevertheless."""
    turn = chance.choice([turn for turn in turns if turn])
    turn.insert(chance.randrange(len(turn)), ("view_messages_received", {}))
    turns[0].insert(0, ("tail", {"file_name": "nowhere"}))


MUTATIONS: Final[tuple[Callable[[Turns, random.Random], None], ...]] = (
    _as_it_is,
    _drop,
    _repeat,
    _spoil,
    _swap,
    _look_again,
    _nothing,
    _not_offered,
)


def mutated(case: Case, kind: int, seed: int) -> AgentMaker:
    """An agent that makes the case's gold calls, changed in one way, one call a step.

    Args:
        case: With gold calls.
        kind: Which of `MUTATIONS`.
        seed: Of the choices in it.
    """
    turns: Turns = [[(name, dict(arguments)) for name, arguments in t] for t in case.gold or ()]
    MUTATIONS[kind](turns, random.Random(seed))

    def make(_trial: Trial, number: int, turn: Turn) -> Agent[Any, Any]:
        script: list[Reply] = [calls(call) for call in turns[number]]
        model = ScriptedModel([*script, say("Done.")])
        return Agent(model, toolsets=[turn.tools], observers=())

    return make
