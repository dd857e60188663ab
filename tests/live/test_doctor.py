"""The doctor before a real vLLM: nothing said of the good one, every planted fault named."""

from __future__ import annotations

import anyio
import pytest

from agentkit.serving.doctor import Diagnosis, examine
from tests.live.client import KEY, URL, WINDOW, live
from tests.live.planted import planted_before
from tests.serving.doctor.planted import PLANTED, Planted

pytestmark = live


def examined(url: str) -> Diagnosis:
    async def main() -> Diagnosis:
        return await examine(url, api_key=KEY)

    return anyio.run(main)


def test_the_good_server_passes_every_probe() -> None:
    diagnosis = examined(URL)
    rest = {found.probe: found.says for found in diagnosis.findings if found.verdict != "pass"}
    if WINDOW > 8192:  # random weights behind a large vocabulary, on a machine that is busy with it
        assert rest.pop("window") == "32,768 tokens are more than the 8,192 of tiny"
        rest.pop("grammar cost", "")
        assert rest.pop("several calls", "could not").startswith("could not be told")
    assert rest == {}
    assert diagnosis.exit_code == 0


# The others before a real vLLM: `make soak PART=doctor`. One that buffers is not among these: on a
# machine that is too busy to tell, the doctor only warns.
@pytest.mark.parametrize("planted", PLANTED[:7], ids=lambda planted: planted.name)
def test_a_planted_fault_is_found_and_nothing_else_is_blamed(planted: Planted) -> None:
    with planted_before(URL, planted) as url:
        diagnosis = examined(url)
    failed = [found for found in diagnosis.findings if found.verdict == "fail"]
    assert {found.probe for found in failed} == planted.found_by, failed
    assert any(planted.told in f"{found.says} {found.remedy}" for found in failed), failed
