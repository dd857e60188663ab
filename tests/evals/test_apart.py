from __future__ import annotations

import os
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from agentkit_evals.core import TrialLimits, TrialResult
from agentkit_evals.manifest import planned
from agentkit_evals.runner import run_local
from agentkit_evals.store import Store
from agentkit_evals.subject import Subject
from agentkit_evals.suites import load_suite

from agentkit import ServerNotReadyError
from agentkit.messages import ToolMessage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),  # the processes have their own
]

GREEDY = '''
import ctypes
import os

from agentkit_evals import Task, TaskSuite


def work(kind: str) -> str:
    """Work.

    Args:
        kind: Of work.
    """
    match kind:
        case "modest":
            return str(len(bytearray(1_000_000)))
        case "greedy":
            return str(len(bytearray(400_000_000)))
        case "exit":
            os._exit(7)
        case "crash":
            return str(ctypes.string_at(0))
    return ""


def check(world, transcript):
    if transcript.calls[0].arguments["kind"] == "modest":
        return None
    bytearray(400_000_000)


suite = TaskSuite(
    "greedy",
    [
        Task(
            id=kind,
            turns=("Work.",),
            world=list,
            tools=lambda _world: [work],
            check=check,
            gold=((("work", {"kind": kind}),),),
        )
        for kind in ("modest", "greedy", "exit", "crash")
    ],
)
'''


async def played(tmp_path: Path, limits: TrialLimits) -> dict[str, TrialResult]:
    file = tmp_path / "greedy.py"
    file.write_text(GREEDY)
    target = f"{file}:suite"
    manifest = await planned(load_suite(target), target, Subject(model="gold"), limits=limits)
    store = Store(tmp_path / "run")
    await run_local(manifest, store, concurrency=2)
    return {result.case: result for result in store.results().values()}


UNREADY = """
from agentkit import Agent, ServerNotReadyError
from agentkit.testing import ScriptedModel


def agent(model, turn, settings):
    return Agent(ScriptedModel([ServerNotReadyError("no chat template")]), observers=())
"""


async def test_a_server_that_cannot_be_used_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "unready.py").write_text(UNREADY)
    subject = Subject(model="http://127.0.0.1:9", agent=f"{tmp_path}/unready.py:agent")
    limits = TrialLimits(memory=100_000_000)
    manifest = await planned(load_suite("tiny"), "tiny", subject, limits=limits)
    with pytest.raises(ServerNotReadyError, match="no chat template"):
        await run_local(manifest, Store(tmp_path / "run"), concurrency=2)


WAITING = '''
import os
import time

from agentkit_evals import Task, TaskSuite


def work() -> str:
    """Work for long."""
    with open({began!r}, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)
    return ""


suite = TaskSuite(
    "waiting",
    [
        Task(
            id="wait",
            turns=("Work.",),
            world=list,
            tools=lambda _world: [work],
            check=lambda _world: None,
            gold=((("work", {{}}),),),
        )
    ],
)
'''


async def test_a_trial_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    began = tmp_path / "began"
    os.mkfifo(began)
    file = tmp_path / "waiting.py"
    file.write_text(WAITING.format(began=str(began)))
    target = f"{file}:suite"
    limits = TrialLimits(memory=100_000_000)
    manifest = await planned(load_suite(target), target, Subject(model="gold"), limits=limits)
    process = 0
    async with anyio.create_task_group() as group:
        group.start_soon(run_local, manifest, Store(tmp_path / "run"))
        process = int(await anyio.to_thread.run_sync(began.read_text))
        group.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_what_takes_too_much_exits_or_crashes_costs_its_trial_alone(tmp_path: Path) -> None:
    found = await played(tmp_path, TrialLimits(memory=100_000_000))
    assert found["modest"].passed
    greedy = found["greedy"]
    assert greedy.failure == "suite:SuiteError: the check of greedy raised MemoryError()"
    (told,) = [m for m in greedy.transcript.messages if isinstance(m, ToolMessage)]
    assert "MemoryError" in str(told.content)
    lost = "suite:ProcessLost: the trial's process ended with code"
    assert found["exit"].failure == f"{lost} 7 before the trial did"
    assert found["crash"].failure == f"{lost} -11 before the trial did"
    assert {found[each].status for each in ("exit", "crash", "greedy")} == {"infrastructure"}
