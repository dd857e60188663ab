"""A suite of one's own: what the agent is to do, and what tells whether it did.

    agentkit eval run examples/own_suite.py:suite --model http://localhost:8000/v1 --name monday
    agentkit eval report monday

Each trial has a shop of its own. What counts is what became of it, not what the model said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentkit_evals import Task, TaskSuite


class Shop:
    """What a trial is played in."""

    def __init__(self) -> None:
        self.left = {"lamp": 3, "rug": 0}
        self.ordered: dict[str, int] = {}

    def stock(self, item: str) -> int:
        """How many of an item are left.

        Args:
            item: lamp or rug.
        """
        return self.left[item]

    def order(self, item: str, count: int) -> str:
        """Order more of an item.

        Args:
            item: lamp or rug.
            count: How many.
        """
        self.ordered[item] = self.ordered.get(item, 0) + count
        return "ordered"


def ordered(**wanted: int) -> Callable[[Shop], str | None]:
    """A check: exactly this was ordered; else the name of what went wrong."""

    def check(shop: Shop) -> str | None:
        return None if shop.ordered == wanted else f"order:{shop.ordered}"

    return check


def task(id: str, said: str, gold: tuple[Any, ...], **wanted: int) -> Task[Shop]:  # noqa: A002 - its name
    """One case of the shop; `gold` are the calls that would be right."""
    return Task(
        id=id,
        turns=(said,),
        world=Shop,
        tools=lambda shop: [shop.stock, shop.order],
        check=ordered(**wanted),
        gold=(gold,),
    )


suite = TaskSuite(
    "shop",
    [
        task(
            "what is missing",
            "Order two of whatever is sold out.",
            (
                ("stock", {"item": "lamp"}),
                ("stock", {"item": "rug"}),
                ("order", {"item": "rug", "count": 2}),
            ),
            rug=2,
        ),
        task("nothing", "Are there lamps left? Order nothing.", (("stock", {"item": "lamp"}),)),
    ],
)
