"""The suite `tiny`: one step each, for CI with the demonstration checkpoint (`--model tiny`).

The tasks are like those that the demonstration checkpoint was trained on: a call of one of three
small tools, with arguments from the question, or a greeting, which needs no tool. A real model
solves all of them; if it does not, something between the model and the tool is broken.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from agentkit import Tool, tool
from agentkit.messages import JsonObject
from agentkit_evals.tasks import Task, TaskSuite


class _House:
    """The world of all tasks; `done` lists the calls."""

    def __init__(self) -> None:
        self.done: list[tuple[str, JsonObject]] = []

    def tools(self) -> list[Tool[..., Any]]:
        return [tool(self.set_timer), tool(self.add), tool(self.lookup_order)]

    def set_timer(self, minutes: int) -> str:
        """Set a timer.

        Args:
            minutes: Length in minutes.
        """
        self.done.append(("set_timer", {"minutes": minutes}))
        return "ok"

    def add(self, a: int, b: int) -> str:
        """Add two numbers.

        Args:
            a: First number.
            b: Second number.
        """
        self.done.append(("add", {"a": a, "b": b}))
        return str(a + b)

    def lookup_order(self, order_id: int) -> str:
        """Look up an order by its number.

        Args:
            order_id: Number of the order.
        """
        self.done.append(("lookup_order", {"order_id": order_id}))
        return json.dumps({"id": order_id, "items": 3, "state": "shipped"})


def tiny_suite() -> TaskSuite:
    """The suite."""
    return TaskSuite("tiny", [_task(*each) for each in _TASKS])


def _task(name: str, words: str, *calls: tuple[str, JsonObject]) -> Task[_House]:
    return Task(
        id=name,
        turns=(words,),
        world=_House,
        tools=_House.tools,
        check=_did(calls),
        gold=(calls,),
        steps=6,
        tags=(calls[0][0] if calls else "idle",),
    )


def _did(calls: tuple[tuple[str, JsonObject], ...]) -> Callable[[_House], str | None]:
    def check(house: _House) -> str | None:
        if house.done == list(calls):
            return None
        if not house.done:
            return "call:none"
        return "call:uncalled_for" if not calls else "call:wrong"

    return check


_TASKS: Final[tuple[tuple[Any, ...], ...]] = (
    ("timer", "Set a timer for 25 minutes.", ("set_timer", {"minutes": 25})),
    ("timer_wake", "Wake me in 90 minutes", ("set_timer", {"minutes": 90})),
    ("sum", "What is 17 plus 25?", ("add", {"a": 17, "b": 25})),
    ("sum_add", "Add 304 and 12.", ("add", {"a": 304, "b": 12})),
    ("order", "Where is order 8123?", ("lookup_order", {"order_id": 8123})),
    ("order_state", "What is the state of order 42?", ("lookup_order", {"order_id": 42})),
    ("hello", "Hello"),
    ("thanks", "Thank you"),
)
