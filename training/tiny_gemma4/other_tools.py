"""Questions for other tools than the project's: everyday ones and made-up ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from training.tiny_gemma4.dialogue import Exchange, Step, Topic, step
from training.tiny_gemma4.draw import Draw, joined
from training.tiny_gemma4.kinds import kind
from training.tiny_gemma4.made_up import made_up_skill
from training.tiny_gemma4.skills import SKILLS, Arguments, Skill, answer_of


def flat(args: dict[str, Any]) -> dict[str, str]:
    """The arguments as a question names them."""
    found: dict[str, str] = {}
    for key, value in args.items():
        if isinstance(value, dict):
            found |= flat(value)
        else:
            found[key] = joined(value) if isinstance(value, list) else str(value)
    return found


def used(draw: Draw, skill: Skill, question: str | None = None) -> Exchange:
    """A question for one tool."""
    args = skill.arguments(draw)
    asked = question or draw.pick(skill.phrasings).format(**flat(args))
    if question is None and draw.chance(0.3):
        asked = asked[0].lower() + asked[1:].rstrip("?.")
    return _exchange(draw, skill, args, asked)


def _exchange(draw: Draw, skill: Skill, args: Arguments, asked: str) -> Exchange:
    result = skill.reply(draw, args)
    if draw.chance(0.04):
        result = f"Error: {' '.join(draw.pieces(2, 5))}."
    done = step(skill.name, result, **args)
    topic = Topic("skill", skill=skill)
    return Exchange(asked, (done,), answer_of(result), topic, (skill,))


@kind(14)
def everyday(draw: Draw, _: Topic) -> Exchange:
    """One of the table's tools."""
    return used(draw, draw.pick(SKILLS))


@kind(14)
def made_up(draw: Draw, _: Topic) -> Exchange:
    """A tool that nobody has seen."""
    return used(draw, made_up_skill(draw))


@kind(3, after=("skill",))
def and_another(draw: Draw, topic: Topic) -> Exchange | None:
    """`And Rome?`: the same tool again."""
    skill = topic.skill
    assert skill is not None
    if len(skill.properties) != 1 or skill.optional:
        return None
    args = skill.arguments(draw)
    (value,) = args.values()
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    lead = draw.pick(["And ", "and ", "What about ", "and for ", "Now ", "how about ", "also "])
    return _exchange(draw, skill, args, f"{lead}{value}{draw.pick(['?', '', '.'])}")


@kind(3)
def two_tools(draw: Draw, _: Topic) -> Exchange | None:
    """Two of them at once."""
    one, two = (draw.pick(SKILLS) if draw.chance(0.4) else made_up_skill(draw) for _ in "12")
    return None if one.name == two.name else _both(draw, used(draw, one), used(draw, two))


def _both(draw: Draw, one: Exchange, two: Exchange) -> Exchange:
    first = one.question + ("" if one.question[-1] in ".?!" else draw.pick([".", ",", ""]))
    joint = draw.pick([" And: ", " Also: ", " Then: ", " and ", " and also "])
    calls = one.steps[0].calls + two.steps[0].calls
    results = one.steps[0].results + two.steps[0].results
    return Exchange(
        f"{first}{joint}{two.question}",
        (Step(calls, results),),
        f"{one.answer}\n{two.answer}",
        None,
        one.skills + two.skills,
    )


def used_again(draw: Draw, skills: list[Skill]) -> Exchange:
    """A question for one or two of the tools that there are already."""
    if len(skills) > 1 and draw.chance(0.12):
        one, two = draw.rng.sample(skills, 2)
        return replace(_both(draw, used(draw, one), used(draw, two)), kind="two tools")
    return replace(used(draw, draw.pick(skills)), kind="made up")
