"""Agents that answer a single-turn case almost right, in one reply."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from agentkit_evals.core import Case, GoldCall, Trial, Turn
from agentkit_evals.subject import AgentMaker

from agentkit import Agent
from agentkit.testing import ScriptedModel, calls, say

Change: TypeAlias = Callable[[list[GoldCall], random.Random], list[GoldCall]]


def _as_it_is(made: list[GoldCall], _: random.Random) -> list[GoldCall]:
    return made


def _backwards(made: list[GoldCall], _: random.Random) -> list[GoldCall]:
    return made[::-1]


def _one_more(made: list[GoldCall], chance: random.Random) -> list[GoldCall]:
    return [*made, chance.choice(made)] if made else made


def _one_less(made: list[GoldCall], _: random.Random) -> list[GoldCall]:
    return made[:-1]


def _extra_argument(made: list[GoldCall], _: random.Random) -> list[GoldCall]:
    return [(name, {**arguments, "bogus": "x"}) for name, arguments in made]


def _other_text(made: list[GoldCall], _: random.Random) -> list[GoldCall]:
    return [
        (name, {k: f"{v} or so" if isinstance(v, str) else v for k, v in arguments.items()})
        for name, arguments in made
    ]


def _argument_left(made: list[GoldCall], _: random.Random) -> list[GoldCall]:
    return [(name, dict(list(arguments.items())[1:])) for name, arguments in made]


def _unknown(made: list[GoldCall], _: random.Random) -> list[GoldCall]:
    return [*made[:-1], ("zzz_no_such_function_at_all", {"x": 1})]


SPOILT: Final[tuple[Change, ...]] = (
    _as_it_is,
    _backwards,
    _one_more,
    _one_less,
    _extra_argument,
    _other_text,
    _argument_left,
    _unknown,
)


def spoilt(case: Case, kind: int, seed: int) -> AgentMaker:
    """The gold calls of a case, changed; of one without, no call or one of its tools."""
    gold = list(case.gold[0]) if case.gold else []
    made = SPOILT[kind](gold, random.Random(seed))

    def make(_trial: Trial, _number: int, turn: Turn) -> Agent[Any, Any]:
        wanted = made
        if not gold and kind % 2 and turn.tools.definitions:
            wanted = [(turn.tools.definitions[0].name, {})]
        model = ScriptedModel([calls(*wanted) if wanted else say("No.")])
        return Agent(model, instructions=turn.instructions, toolsets=[turn.tools], observers=())

    return make
