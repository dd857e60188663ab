"""The tools of an order desk, and what Gemma sees of them.

    agentkit tools show examples/order_desk.py
    agentkit tools lint examples/
    python examples/order_desk.py http://localhost:8000/v1 "Order 17 came broken, I want a refund."

The types below say more than Gemma's chat template can print: bounds, a pattern, a union told apart
by its kind. `tools show` prints what became of each.
"""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from agentkit import Agent, VLLMModel, tool

OrderId = Annotated[int, Field(ge=1, description="Number of the order.")]


class ToCard(BaseModel):
    """Money back to the card that paid."""

    kind: Literal["card"]
    last_digits: Annotated[str, Field(pattern=r"^\d{4}$")]


class AsVoucher(BaseModel):
    """A voucher by e-mail."""

    kind: Literal["voucher"]
    email: str


@tool(effect="pure")
def find_order(order_id: OrderId) -> str:
    """What is known about an order."""
    return f"Order {order_id}: one teapot, 24.90 EUR, delivered three days ago."


@tool(effect="idempotent")
def refund(
    order_id: OrderId,
    reason: Literal["damaged", "late", "wrong item"],
    pay: Annotated[ToCard | AsVoucher, Field(discriminator="kind")],
    percent: Annotated[int, Field(ge=1, le=100)] = 100,
) -> str:
    """Refund an order.

    Args:
        order_id: Number of the order.
        reason: What went wrong.
        pay: How to pay.
        percent: Share of the price to pay back.
    """
    return f"Refunded {percent} % of order {order_id} ({reason}) by {pay.kind}."


def main(url: str, question: str) -> None:
    """Asks one question."""
    agent = Agent(VLLMModel(url), tools=[find_order, refund])
    print(agent.run_sync(question).output)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
