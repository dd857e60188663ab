"""Synthetic dialogues in Gemma 4's native format: who asks what, which calls, which answer.

`dialogue` draws one from the table of kinds, `siblings` several that have the same system text and
tools. A sample of a dialogue is cut where a model call would happen: exactly what the server would
have sent and what the model should write, with Google's canonical template (2026-07-09, the one of
the large models) as vLLM 0.32 feeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentkit.gemma4.render import render
from agentkit.messages import Message, SystemMessage, UserMessage
from training.tiny_gemma4 import about_code, about_facts, about_files, other_tools, small_talk
from training.tiny_gemma4.dialogue import (
    Dialogue,
    Exchange,
    Sample,
    completion,
    messages_of,
    prompt,
)
from training.tiny_gemma4.draw import Draw, mentions_heldout
from training.tiny_gemma4.kinds import KINDS, START, drawn
from training.tiny_gemma4.made_up import made_up_skill
from training.tiny_gemma4.other_tools import used_again
from training.tiny_gemma4.project import PROJECT_SYSTEM, PROJECT_TOOLS, declaration
from training.tiny_gemma4.skills import SKILLS, Skill

FAMILIES = (about_code, about_facts, about_files, other_tools, small_talk)
"""The modules that fill the table of kinds."""

SYSTEMS = (
    "You are a helpful assistant.",
    "Use the tools.",
    "Answer in one sentence.",
    "You are an agent. Call a tool when it helps.",
    "You help programmers to find their way in a project.",
    "Be brief.",
    "You answer questions. Look things up before you answer.",
    "Use a tool for every question that needs one, and answer from its result.",
)
_MOST_SKILLS = 3


def _system(draw: Draw) -> str | None:
    if draw.chance(0.6):
        return PROJECT_SYSTEM
    if draw.chance(0.3):
        return None
    if draw.chance(0.2):
        return " ".join(draw.pieces(3, 9)).capitalize() + "."
    return draw.pick(SYSTEMS)


def _arguments(exchanges: Sequence[Exchange]) -> dict[str, set[str]]:
    """The arguments that each tool is given."""
    used: dict[str, set[str]] = {}
    for exchange in exchanges:
        for step in exchange.steps:
            for name, arguments in step.calls:
                used.setdefault(name, set()).update(arguments)
    return used


def _declarations(draw: Draw, exchanges: Sequence[Exchange]) -> tuple[dict[str, Any], ...]:
    """The tools on offer: those needed and others, in any order; mostly all of the project's."""
    skills = {skill.name: skill for exchange in exchanges for skill in exchange.skills}
    needed = {name for exchange in exchanges for name in exchange.needs if name in PROJECT_TOOLS}
    bare = any(exchange.bare for exchange in exchanges)
    whole = draw.chance(0.75 if needed or bare else 0.15)
    if whole:
        needed = set(PROJECT_TOOLS)
    exact = draw.chance(0.75)
    used = _arguments(exchanges)
    tools = [
        declaration(draw, name, exact=exact, used=frozenset(used.get(name, ())))
        for name in PROJECT_TOOLS
        if name in needed
    ]
    more = draw.weighted({0: 5, 1: 2, 2: 1}) if whole else draw.weighted({0: 2, 1: 2, 2: 2, 3: 1})
    for _ in range(more):
        skill = made_up_skill(draw) if bare or draw.chance(0.6) else draw.pick(SKILLS)
        skills.setdefault(skill.name, skill)
    tools += [skill.declaration(draw) for skill in skills.values()]
    if not (whole and exact and not skills):  # as the demonstration has them
        draw.rng.shuffle(tools)
    return tuple(tools)


@dataclass(frozen=True, slots=True)
class Frame:
    """What dialogues can share: all that stands before the first question."""

    system: str | None
    tools: tuple[dict[str, Any], ...]
    thinking: bool

    def around(self, exchanges: Sequence[Exchange]) -> Dialogue:
        """The dialogue of some exchanges."""
        messages: list[Message] = [] if self.system is None else [SystemMessage(self.system)]
        for exchange in exchanges:
            messages += messages_of(exchange, len(messages), thinking=self.thinking)
        return Dialogue(exchanges[-1].kind, self.tools, tuple(messages), self.thinking)


def _frame(draw: Draw, exchanges: Sequence[Exchange]) -> Frame:
    """A system text and the tools for some exchanges."""
    thinking, system = draw.chance(0.1), _system(draw)
    tools = _declarations(draw, exchanges)
    if all(exchange.bare for exchange in exchanges) and draw.chance(0.1):
        tools = ()
    return Frame(system, tools, thinking)


def assemble(draw: Draw, exchanges: Sequence[Exchange]) -> Dialogue:
    """The dialogue of some exchanges, its tools and system text drawn."""
    return _frame(draw, exchanges).around(exchanges)


class _Thread:
    """Exchanges one after the other, with no more tools than a prompt has room for.

    What no tool can answer is never asked where an everyday tool is: one might do it.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.skills: dict[str, Skill] = {}
        self.everyday = draw.chance(0.5)

    def exchanges(self, count: int) -> list[Exchange]:
        """A dialogue's questions, each of which may refer to the one before it."""
        topic, found = START, list[Exchange]()
        while len(found) < count:
            made = drawn(self.draw, topic)
            if made.skills and not self._fits(made):
                if not self.skills:
                    continue
                made = used_again(self.draw, list(self.skills.values()))
            if made.beyond_all_tools and self.everyday:
                continue
            self.skills |= {skill.name: skill for skill in made.skills}
            found.append(made)
            topic = made.topic or START
        return found

    def _fits(self, made: Exchange) -> bool:
        new = {skill.name: skill for skill in made.skills}
        if any(self.skills.get(name, skill) is not skill for name, skill in new.items()):
            return False
        if not self.everyday and any(skill in SKILLS for skill in made.skills):
            return False
        return len(self.skills | new) <= _MOST_SKILLS


def _clean(draw: Draw, made: Dialogue) -> bool:
    return draw.held_out or not mentions_heldout(render(made.messages, made.tools))


def dialogue(draw: Draw, count: int | None = None) -> Dialogue:
    """One dialogue; in training no name ever is a held-out one.

    Args:
        draw: Where everything comes from.
        count: How many questions it has; by default one or a few.
    """
    count = count or draw.weighted({1: 4, 2: 3, 3: 1})
    while True:
        made = assemble(draw, _Thread(draw).exchanges(count))
        if _clean(draw, made):
            return made


def siblings(draw: Draw, count: int, longest: int = 6) -> list[Sample]:
    """Samples of dialogues that share all that stands before the first question.

    The declarations of the tools are most of a prompt; so they are computed once for all of them.

    Args:
        draw: Where everything comes from.
        count: How many dialogues.
        longest: Questions of one of them at most.
    """
    while True:
        thread = _Thread(draw)
        asked = [thread.exchanges(draw.between(1, longest)) for _ in range(count)]
        frame = _frame(draw, [each for exchanges in asked for each in exchanges])
        made = [frame.around(exchanges) for exchanges in asked]
        if all(_clean(draw, each) for each in made):
            return [_cut(draw, each) for each in made]


def _cut(draw: Draw, made: Dialogue) -> Sample:
    """A dialogue cut at one of the model calls of its last question."""
    asked = max(at for at, m in enumerate(made.messages) if isinstance(m, UserMessage))
    at = draw.pick([at for at in made.model_calls() if at > asked][-2:])
    return Sample(prompt(made, at), completion(made, at), made.thinking)


def sample(draw: Draw, longest: int = 6) -> Sample:
    """A dialogue of up to so many questions, cut."""
    return _cut(draw, dialogue(draw, draw.between(1, longest)))


__all__ = ["KINDS", "assemble", "completion", "dialogue", "prompt", "sample", "siblings"]
