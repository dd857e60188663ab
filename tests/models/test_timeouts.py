from __future__ import annotations

import pytest

from agentkit.models import Timeouts


@pytest.mark.parametrize("clock", ["connect", "first_event", "idle", "total", "retry"])
def test_a_clock_that_cannot_run_is_refused_where_it_is_made(clock: str) -> None:
    with pytest.raises(ValueError, match=f"^{clock} is -1; give seconds"):
        Timeouts(**{clock: -1})


def test_no_second_attempt_is_a_choice_and_no_time_at_all_is_none() -> None:
    assert Timeouts(retry=0).retry == 0
    with pytest.raises(ValueError, match="total is 0; give seconds above 0"):
        Timeouts(total=0)
