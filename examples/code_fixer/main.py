"""Make a failing test suite pass: read, edit, run the tests in a sandbox, until they are green.

    python examples/code_fixer/main.py --model http://localhost:8000/v1
    python examples/code_fixer/main.py --model http://localhost:8000/v1 --project . --in-place
    python examples/code_fixer/main.py --model scripted --yes

Works on a copy unless told otherwise. Each edit and each command is asked about; `--yes` says yes.
Whether the tests are green at the end is found out by running them, not by asking the model.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
from agentkit_tools import ProjectFiles, Search, Shell

from agentkit import (
    Agent,
    AgentKitError,
    Limits,
    Model,
    Policy,
    RunFinished,
    TextDelta,
    ToolFinished,
    ToolStarted,
    VLLMModel,
)
from agentkit.messages import ModelRequest, text_of
from agentkit.policy import Approval, Approve, Decision, Deny
from agentkit.testing import ScriptedModel
from agentkit.testing.scripted import Reply, call, say

SAMPLE = Path(__file__).parent / "sample"
TESTS = "python -m unittest"

INSTRUCTIONS = f"""\
You repair a Python project whose tests fail. Run `{TESTS}` first. Read the files that a failure \
names before you change them. Repair the code, never the tests, with edits as small as can be, and \
run the tests again after them. When they all pass, say in two sentences what was wrong."""


def agent(model: Model, project: Path) -> Agent:
    """An agent that may edit a project and run commands over it, each call with a yes."""
    return Agent(
        model,
        instructions=INSTRUCTIONS,
        toolsets=[ProjectFiles(project), Search(project), Shell(project, sandbox="required")],
        limits=Limits(steps=40),
        policy=Policy.ask("writes", "exec"),
    )


async def repair(fixer: Agent) -> None:
    """Prints the run as it happens."""
    async for event in fixer.stream("Make the failing tests pass."):
        match event:
            case TextDelta(text=text):
                print(text, end="", flush=True)
            case ToolStarted(call=call):
                print(f"-> {call.name} {call.arguments}")
            case ToolFinished(result=result):
                print("\n".join(f"   {line}" for line in str(result.content).splitlines()[:12]))
            case RunFinished(result=result):
                print(f"\nended by {result.stop_reason} after step {result.steps}")
                print(f"run: {result.run_id}")
            case _:
                pass
    await fixer.aclose()


async def is_green(project: Path) -> bool:
    """Whether the tests pass, whatever a model says."""
    run = next(iter(Shell(project)))
    result = await run.function(TESTS)
    return bool(result.data["exit_code"] == 0)


def decide(approval: Approval) -> Decision:
    """Asks whoever sits there."""
    shown = f"{approval.call.name} {approval.call.arguments}"
    try:
        return Approve() if input(f"? {shown}\n  run it? [y/n] ") == "y" else Deny()
    except EOFError:
        return Deny("nobody answered")


def main() -> None:
    """Reads the command line; exit code 0 if the tests are green at the end."""
    parser = argparse.ArgumentParser(description="Make a failing test suite pass.")
    parser.add_argument("--model", required=True, help="a vLLM server's address, or: scripted")
    parser.add_argument("--project", type=Path, default=SAMPLE, help="default: the sample")
    parser.add_argument("--in-place", action="store_true", help="not on a copy")
    parser.add_argument("--yes", action="store_true", help="approve every edit and command")
    options = parser.parse_args()
    project: Path = options.project
    if not project.is_dir():
        parser.error(f"there is no directory {project}")
    if not options.in_place:
        project = Path(tempfile.mkdtemp(prefix="code-fixer-")) / "project"
        shutil.copytree(options.project, project)
    scripted = options.model == "scripted"
    print(f"model: {options.model}{', a fixed script and no language model' * scripted}")
    print(f"project: {project}")
    try:
        fixer = agent(script() if scripted else VLLMModel(options.model), project)
        anyio.run(repair, fixer.override(approve=(lambda _: Approve()) if options.yes else decide))
        green = anyio.run(is_green, project)
    except AgentKitError as error:
        sys.exit(f"code_fixer: {error}")
    print(f"the tests are {'green' if green else 'red'}")
    sys.exit(0 if green else 1)


# --- the script --------------------------------------------------------------------------------


def script() -> ScriptedModel:
    """Plays the part of a model for the sample, where there is none; the tools are the real ones.

    It calls what a model would call, and goes on only if the results say what they should.
    """
    return ScriptedModel(
        [
            call("run_command", command=TESTS),
            _after("FAILED (failures=4)", call("read_file", path="ledger/money.py")),
            _after("def shares", call("edit_file", path="ledger/money.py", edits=_MONEY)),
            _after("Edited ledger/money.py", call("run_command", command=TESTS)),
            _after("FAILED (failures=1)", call("search_text", text="def spend")),
            _after("ledger/book.py:12", call("edit_file", path="ledger/book.py", edits=_BOOK)),
            _after("Edited ledger/book.py", call("run_command", command=TESTS)),
            _after("OK", say("Amounts lost their sign, a digit and the odd cents. All pass now.")),
        ]
    )


def _after(expected: str, reply: Reply) -> Callable[[ModelRequest], Reply]:
    """The reply, if the newest result holds what is expected."""

    def step(request: ModelRequest) -> Reply:
        result = text_of(request.messages[-1].content or "")
        if expected not in result:  # a model would find a way; a script has one
            raise AgentKitError(f"the script goes no further: no {expected!r} in: {result}")
        return reply

    return step


_MONEY = [
    {
        "old": "int(cents or 0)",
        "new": 'int(cents.ljust(2, "0"))',
    },
    {
        "old": '    return f"{cents // 100}.{cents % 100:02}"',
        "new": '    sign = "-" if cents < 0 else ""\n'
        '    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"',
    },
    {
        "old": "    share = cents // people\n    return [share] * people",
        "new": "    share, left = divmod(cents, people)\n"
        "    return [share + (n < left) for n in range(people)]",
    },
]
_BOOK = [
    {"old": "            self._add(user, share)", "new": "            self._add(user, -share)"}
]


if __name__ == "__main__":
    main()
