"""A few of the hostile servers; `make soak PART=hostile` asks all of them."""

from __future__ import annotations

import pytest

from tests.models.hostile import NAMES, client, faults_of

QUICK = [
    "one line without end",
    "seven megabytes of empty lists",
    "a bomb in the stream",
    "a refusal without end",
    "compressed in another way",
    "no TLS",
]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hostile_servers_get_typed_errors_and_little_memory() -> None:
    seen = client(QUICK)
    assert [fault for each in seen for fault in faults_of(each)] == []
    assert len(seen) == 2 * len(QUICK)


def test_each_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES)
