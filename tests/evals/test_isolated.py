from __future__ import annotations

import os
import resource
import signal
import sys
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from agentkit_evals.core import SuiteError
from agentkit_evals.isolated import Child, ChildPool

pytestmark = pytest.mark.anyio

ECHO = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked == {"do": "die"}:
        os._exit(9)
    if asked == {"do": "hang"}:
        sys.stdin.read()
    if asked == {"do": "chatter"}:
        print("no json", flush=True)
        continue
    print(json.dumps({"pid": os.getpid(), "environment": dict(os.environ), **asked}), flush=True)
"""


def child() -> Child:
    return Child([sys.executable, "-I", "-S", "-c", ECHO], os.getcwd())


async def test_a_child_answers_and_sees_nothing_of_our_environment() -> None:
    asked = child()
    os.environ["AGENTKIT_API_KEY"] = "secret"
    try:
        first = await asked.ask({"n": 1})
        second = await asked.ask({"long": "x" * 3_000_000})
    finally:
        del os.environ["AGENTKIT_API_KEY"]
        asked.close()
    assert first["n"] == 1
    assert len(second["long"]) == 3_000_000
    assert "secret" not in str(first["environment"])


async def test_a_child_answers_where_more_than_1024_files_are_open() -> None:
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 1_200:
        pytest.skip("this process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, 1_200), most))
    opened = [os.dup(0) for _ in range(1_030)]
    try:
        asked = child()
        assert (await asked.ask({"n": 1}))["n"] == 1
        asked.close()
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))


@pytest.mark.parametrize("question", [{"n": 1}, {"long": "x" * 3_000_000}])
async def test_a_child_that_does_not_even_read_is_given_up(question: dict[str, Any]) -> None:
    deaf = Child(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"],
        os.getcwd(),
        patience=0.2,
    )
    with pytest.raises(SuiteError, match=r"was lost: no answer within 0\.2 seconds"):
        await deaf.ask(question)
    deaf.close()
    assert not deaf.alive


@pytest.mark.parametrize("do", ["die", "chatter"])
async def test_a_child_that_fails_is_replaced(do: str) -> None:
    pool = ChildPool(child)
    async with pool.child() as first:
        before = (await first.ask({}))["pid"]
    async with pool.child() as again:
        assert (await again.ask({}))["pid"] == before
    with pytest.raises(SuiteError, match="was lost"):
        async with pool.child() as failing:
            await failing.ask({"do": do})
    async with pool.child() as fresh:
        assert (await fresh.ask({}))["pid"] != before
    pool.close()


async def test_a_child_that_died_while_it_was_idle_is_replaced() -> None:
    pool = ChildPool(child)
    async with pool.child() as first:
        pid = (await first.ask({}))["pid"]
    os.kill(pid, signal.SIGKILL)
    while first.alive:
        await anyio.lowlevel.checkpoint()
    async with pool.child() as fresh:
        assert (await fresh.ask({}))["pid"] != pid
    pool.close()


async def test_an_error_of_the_child_is_told(anyio_backend_name: str) -> None:
    del anyio_backend_name
    asked = child()
    with pytest.raises(SuiteError, match="the suite's process says: no"):
        await asked.ask({"error": "no"})
    asked.close()


async def test_leaving_a_question_ends_the_child() -> None:
    pool = ChildPool(child)
    hanging: list[Child] = []
    with anyio.move_on_after(0.3):
        async with pool.child() as asked:
            hanging.append(asked)
            await asked.ask({"do": "hang"})
    assert not hanging[0].alive
    pool.close()
