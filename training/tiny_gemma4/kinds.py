"""The table of kinds of question: each is a function that draws one, and how often it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from training.tiny_gemma4.dialogue import Exchange, Topic
from training.tiny_gemma4.draw import Draw

Make = Callable[[Draw, Topic], Exchange | None]
"""From what was talked about before; None where nothing of it can be asked."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One row.

    Attributes:
        make: Draws a question with its steps and answer.
        weight: How often, beside the others.
        after: What must have been talked about right before; nothing: anything.
    """

    make: Make
    weight: float
    after: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {}
START = Topic("nothing")


def kind(weight: float, *, after: tuple[str, ...] = ()) -> Callable[[Make], Make]:
    """Enters a function into the table; `where_noun` is the kind `where noun`."""

    def entered(make: Make) -> Make:
        KINDS[make.__name__.replace("_", " ").strip()] = Kind(make, weight, after)
        return make

    return entered


def drawn(draw: Draw, topic: Topic, *, follow: float = 0.45) -> Exchange:
    """A question of some kind; where it can, one that refers to what was asked before it."""
    while True:
        fitting = {name: row.weight for name, row in KINDS.items() if topic.what in row.after}
        if not fitting or not draw.chance(follow):
            fitting = {name: row.weight for name, row in KINDS.items() if not row.after}
        name = draw.weighted(fitting)
        made = KINDS[name].make(draw, topic)
        if made is not None:
            return replace(made, kind=name)
