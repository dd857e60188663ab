from __future__ import annotations

from agentkit.gemma4.tokens import CONTROL_LITERALS, IDS, STOP_IDS


def test_the_stop_ids_are_those_of_the_checkpoints_generation_config() -> None:
    assert sorted(STOP_IDS) == [1, 50, 106]


def test_ids_and_literals_are_each_unique() -> None:
    assert len(set(IDS.values())) == len(IDS)
    assert len(set(CONTROL_LITERALS)) == len(CONTROL_LITERALS)
