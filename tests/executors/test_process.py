from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit.errors import ToolDefinitionError
from agentkit.executors import ProcessExecutor
from agentkit.messages import ToolResult
from agentkit.toolset import Tool, tool
from tests.executors.conformance import checked, context, execute
from tests.executors.trees import SHAPES, Shape, living, plants_and_returns, plants_and_waits

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")


@pytest.fixture(scope="module")
def executor() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(workers=2) as made:
        yield made


def run(executor: ProcessExecutor, tool: Tool[..., Any], **arguments: Any) -> ToolResult:
    return anyio.run(lambda: execute(executor, tool, **arguments))


@tool(effect="pure")
def which_process() -> int:
    """Tells its process."""
    return os.getpid()


def test_a_worker_is_kept_warm_for_the_next_call(executor: ProcessExecutor) -> None:
    first, second = (run(executor, which_process).content for _ in range(2))
    assert first == second != str(os.getpid())


@tool
def leaves(code: int) -> None:
    """Ends its process."""
    os._exit(code)


@pytest.mark.parametrize("code", [0, 3, 250])
def test_a_tool_that_ends_its_process_is_told_by_its_own_exit_code(
    executor: ProcessExecutor, code: int
) -> None:
    result = run(executor, leaves, code=code)
    assert result.kind == "unknown"
    assert f"its process ended (exit code {code}) while leaves was running" in str(result.content)


@linux
@pytest.mark.parametrize("shape", SHAPES)
def test_a_timeout_leaves_no_process_behind(
    executor: ProcessExecutor, shape: Shape, tmp_path: Path
) -> None:
    marker = uuid.uuid4().hex
    options = replace(plants_and_waits.options, timeout=0.5)
    hasty: Tool[..., Any] = replace(plants_and_waits, options=options)
    result = run(executor, hasty, marker=marker, shape=shape, ready=str(tmp_path / "ready"))
    assert result.kind == "timeout"
    assert "may still" not in str(result.content)
    assert living(marker) == []


@linux
@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_that_returns_leaves_no_process_behind(
    executor: ProcessExecutor, shape: Shape
) -> None:
    marker = uuid.uuid4().hex
    assert run(executor, plants_and_returns, marker=marker, shape=shape).content == "planted"
    assert living(marker) == []


@linux
def test_a_cancellation_at_any_moment_leaves_no_process_behind(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    marker = uuid.uuid4().hex

    async def cancelled_after(delay: float) -> None:
        with anyio.move_on_after(delay):
            ready = str(tmp_path / "ready")
            await execute(executor, plants_and_waits, marker=marker, shape="session", ready=ready)

    for delay in (0.0, 0.001, 0.01, 0.05, 0.2, 0.6):
        anyio.run(cancelled_after, delay)
        assert living(marker) == []


AGENT = """
import sys, anyio
from pathlib import Path
from agentkit.executors import ProcessExecutor
from tests.executors.conformance import execute
from tests.executors.trees import plants_and_waits
marker, ready = sys.argv[1:]
anyio.run(lambda: execute(
    ProcessExecutor(), plants_and_waits, marker=marker, shape="double_fork", ready=ready))
"""


@linux
def test_nothing_outlives_an_agent_that_is_killed(tmp_path: Path) -> None:
    marker, ready = uuid.uuid4().hex, tmp_path / "ready"
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, marker, str(ready)],
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )

    async def until(holds: Any) -> None:
        with anyio.fail_after(20):
            while not holds():  # noqa: ASYNC110 - other processes are waited for
                await anyio.sleep(0.01)

    anyio.run(until, ready.exists)
    assert living(marker)
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    anyio.run(until, lambda: not living(marker))


def test_a_tool_that_only_this_process_has_is_refused_with_the_remedy(
    executor: ProcessExecutor,
) -> None:
    @tool
    def inner() -> None:
        """Lives in a function."""

    call = checked(inner)
    with pytest.raises(ToolDefinitionError, match=r"define it at the top of a module, or route it"):
        anyio.run(executor.execute, call, context(call))


SCRIPT = """
import sys
import anyio
from agentkit import Agent, tool
from agentkit.executors import ProcessExecutor
from agentkit.testing import ScriptedModel, call, say

@tool(effect="pure")
def double(number: int) -> int:
    "Doubles."
    return 2 * number

if __name__ == "__main__":
    with ProcessExecutor() as executor:
        model = ScriptedModel([call("double", number=21), lambda r: say(r.messages[-1].content)])
        print(Agent(model, tools=[double], executor=executor, observers=()).run_sync("Go.").output)
"""


def test_a_scripts_own_tools_are_found(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("42\n", "")


BROKEN = """
from agentkit import tool
@tool
def fine() -> None:
    "Is fine here."
"""


def test_a_module_that_cannot_be_imported_there_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    module = pytest.importorskip("only_here")
    (tmp_path / "only_here.py").write_text("raise RuntimeError('not in a worker')")
    with (
        ProcessExecutor() as executor,
        pytest.raises(ToolDefinitionError, match=r"fine.*RuntimeError: not in a worker"),
    ):
        run(executor, module.fine)


@linux
def test_a_call_for_which_no_process_can_be_started_has_failed_and_leaves_nothing_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = os.listdir("/proc/self/fd")

    async def main() -> ToolResult:
        free = [os.dup(0) for _ in range(5)]
        for descriptor in free:
            os.close(descriptor)
        # Room for the two pairs of a worker, and for nothing that starts it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], hard))
        try:
            return await execute(ProcessExecutor(), which_process)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    result = anyio.run(main)
    assert result.kind == "error"
    assert "Too many open files" in str(result.content)
    assert sorted(os.listdir("/proc/self/fd")) == sorted(kept)


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="workers is 0"):
        ProcessExecutor(workers=0)
