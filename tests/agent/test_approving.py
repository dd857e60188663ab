"""Random lives of runs whose calls need a person; and that the ledger would notice."""

from __future__ import annotations

import anyio
import pytest

from agentkit.messages import ToolCall
from agentkit.policy import Approval, Approve, Deny, Edit
from tests.agent.approving import Ledger, Life, interleaving

LIVES = 40


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_payment_has_a_decision_of_its_own_and_every_yes_leads_to_one(backend: str) -> None:
    async def main() -> int:
        return sum([(await interleaving(seed))["payments"] for seed in range(LIVES)])

    assert anyio.run(main, backend=backend) > LIVES


def life() -> Life:
    ledger = Ledger()
    for number, name in enumerate(["a", "b"]):
        ledger.shown(Approval(name, ToolCall(f"call_{number}", "pay", {"number": 5})))
    return Life(ledger, set(), set())


def test_the_ledger_notices_a_payment_without_a_decision_of_its_own() -> None:
    for decision, number in ((Deny(), 5), (Approve(), 6), (Edit({"number": 7}), 5)):
        run = life()
        run.give("a", decision)
        run.pay("call_0", number)
        with pytest.raises(AssertionError, match="without a decision of its own"):
            run.ended(broken=True)
    run = life()
    run.give("a", Approve())
    run.pay("call_0", 5)
    run.ended(broken=False)
    run.pay("call_0", 5)
    with pytest.raises(AssertionError, match="without a decision of its own"):
        run.ended(broken=False)


def test_the_ledger_notices_a_yes_that_led_to_nothing_and_an_id_of_two_calls() -> None:
    run = life()
    run.give("a", Approve())
    with pytest.raises(AssertionError, match="has led to no payment"):
        run.ended(broken=False)
    with pytest.raises(AssertionError, match="an id of two calls"):
        run.ledger.shown(Approval("a", ToolCall("call_1", "pay", {"number": 5})))
