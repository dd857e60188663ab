from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentkit.executors import LocalExecutor, ProcessExecutor
from tests.executors.conformance import CASES, Promises

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def warm() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(workers=2) as executor:
        yield executor


@pytest.mark.parametrize("name", CASES)
async def test_local(name: str, tmp_path: Path) -> None:
    promises = Promises(ends_work=False, has_deps=True, survives_tools=False)
    await CASES[name](LocalExecutor(), promises, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
async def test_process(name: str, tmp_path: Path, warm: ProcessExecutor) -> None:
    await CASES[name](warm, Promises(), tmp_path)
