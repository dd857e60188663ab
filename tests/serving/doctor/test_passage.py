from __future__ import annotations

import time

import anyio
import pytest

from agentkit.serving.doctor import examine
from tests.serving.doctor.good import client_of
from tests.serving.doctor.planted import CHAT, Json, Planted


def _stalls(path: str, reply: Json) -> Json:
    """Keeps the whole process from its work, as a machine does that has too much of it."""
    if path == CHAT:
        time.sleep(0.01)
    return reply


@pytest.mark.slow
def test_a_machine_that_is_too_busy_to_read_a_stream_in_time_is_not_taken_for_a_proxy() -> None:
    lengths: list[int] = []

    def asked(_path: str, body: Json) -> Json:
        if body.get("stream") and "min_tokens" in body:
            lengths.append(body["min_tokens"])
        return body

    stalling = Planted(
        "a busy machine", frozenset(), "too busy", request=asked, reply=_stalls, buffers=True
    )

    async def main() -> dict[str, tuple[str, str]]:
        async with client_of(stalling) as client:
            diagnosis = await examine("http://server:8000/v1", http_client=client)
        return {found.probe: (found.verdict, found.says) for found in diagnosis.findings}

    verdict, says = anyio.run(main)["streaming"]
    assert verdict == "warn"
    assert "too busy" in says
    assert lengths[-12:-7] == [48, 96, 192, 384, 384]  # a longer one is read in part, if not all
