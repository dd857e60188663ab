"""Synthetic dialogues in Gemma 4's native format: who asks what, which calls, which answer.

`dialogue` draws one from the table of kinds; `sample` cuts it where a model call would happen and
renders exactly what the server would have sent and what the model should write, with Google's
canonical template (2026-07-09, the one of the large models) as vLLM 0.32 feeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from training.tiny_gemma4.project import PROJECT_SYSTEM, PROJECT_TOOLS, declaration
from training.tiny_gemma4.skills import SKILLS

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
_MOST_SKILLS = 4


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


def assemble(draw: Draw, exchanges: Sequence[Exchange]) -> Dialogue:
    """The dialogue of some exchanges, its tools and system text drawn."""
    thinking = draw.chance(0.1)
    system = _system(draw)
    messages: list[Message] = [] if system is None else [SystemMessage(system)]
    for exchange in exchanges:
        messages += messages_of(exchange, len(messages), thinking=thinking)
    tools = _declarations(draw, exchanges)
    if all(exchange.bare for exchange in exchanges) and draw.chance(0.1):
        tools = ()
    return Dialogue(exchanges[-1].kind, tools, tuple(messages), thinking)


def _exchanges(draw: Draw, count: int) -> list[Exchange]:
    topic, found = START, list[Exchange]()
    skills: dict[str, Any] = {}
    while len(found) < count:
        made = drawn(draw, topic)
        new = {skill.name: skill for skill in made.skills}
        clash = any(skills.get(name, skill) is not skill for name, skill in new.items())
        if clash or len(skills | new) > _MOST_SKILLS:
            continue
        skills |= new
        found.append(made)
        topic = made.topic or START
    return found


def dialogue(draw: Draw, count: int | None = None) -> Dialogue:
    """One dialogue; in training no name ever is a held-out one.

    Args:
        draw: Where everything comes from.
        count: How many questions it has; by default one or a few.
    """
    count = count or draw.weighted({1: 4, 2: 3, 3: 1})
    while True:
        made = assemble(draw, _exchanges(draw, count))
        if draw.held_out or not mentions_heldout(render(made.messages, made.tools)):
            return made


def sample(draw: Draw, longest: int = 6) -> Sample:
    """A dialogue cut at one of the model calls of its last question.

    Several questions on the same tools: the declarations are most of a prompt, and this way more
    of what the model itself says is learnt from each of them.
    """
    made = dialogue(draw, draw.between(1, longest))
    asked = max(at for at, m in enumerate(made.messages) if isinstance(m, UserMessage))
    at = draw.pick([at for at in made.model_calls() if at > asked][-2:])
    return Sample(prompt(made, at), completion(made, at), made.thinking)


__all__ = ["KINDS", "assemble", "completion", "dialogue", "prompt", "sample"]
