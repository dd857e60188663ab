from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from agentkit_evals.core import EvalError, TrialLimits, TrialResult
from agentkit_evals.manifest import planned
from agentkit_evals.rescore import rescore
from agentkit_evals.runner import run_local
from agentkit_evals.store import Store
from agentkit_evals.subject import Subject
from agentkit_evals.suites import load_suite
from agentkit_evals.tasks import Task, TaskSuite

from agentkit import ModelSettings
from agentkit.testing import FaultServer

pytestmark = pytest.mark.anyio

SUITE = '''
from agentkit_evals import Task, TaskSuite

WANTED = 2


class Counter:
    def __init__(self):
        self.n = 0

    def add(self, n: int) -> str:
        """Add to the counter.

        Args:
            n: How much.
        """
        self.n += n
        return f"It is {self.n}."


def check(counter):
    return None if counter.n == WANTED else f"counter:{counter.n}"


suite = TaskSuite(
    "count",
    [
        Task(
            id="two",
            turns=("Add one.", "Add one more."),
            world=Counter,
            tools=lambda counter: [counter.add],
            check=check,
            gold=((("add", {"n": 1}),), (("add", {"n": 1}),)),
        )
    ],
)
'''
AGENT = """
from agentkit import Agent


def make(model, turn, settings):
    return Agent(model, toolsets=[turn.tools], settings=settings)
"""


def suite_file(folder: Path, number: int, text: str = SUITE) -> str:
    """A suite in a file of the same name in a folder of its own, as if the file was changed."""
    made = folder / str(number)
    made.mkdir()
    (made / "count.py").write_text(text)
    return f"{made / 'count.py'}:suite"


async def ran(store: Store, target: str, model: str = "gold") -> None:
    suite = load_suite(target)
    await run_local(await planned(suite, target, Subject(model=model)), store)


def moved(store: Store, target: str) -> None:
    """As if the suite had always been there, and was changed."""
    file = store.folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"suite": target}))


async def test_a_changed_check_gives_new_verdicts_on_the_old_transcripts(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    await ran(old, suite_file(tmp_path, 1))
    moved(old, suite_file(tmp_path, 2, SUITE.replace("WANTED = 2", "WANTED = 3")))
    assert await rescore(old, new) == 0
    (before,), (after,) = old.results().values(), new.results().values()
    assert before.passed
    assert after.grade is not None
    assert after.grade.error == "counter:2"
    assert after.transcript == before.transcript
    assert (after.seconds, after.timing) == (before.seconds, before.timing)
    assert old.manifest().changes(new.manifest()) == ["the suite's files"]


async def test_a_tool_that_answers_otherwise_leaves_no_verdict(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    await ran(old, suite_file(tmp_path, 1))
    moved(old, suite_file(tmp_path, 2, SUITE.replace("It is {self.n}", "Now {self.n}")))
    await rescore(old, new)
    (after,) = new.results().values()
    assert after.failure == "suite:SuiteError: the tool add answers otherwise now"


OWN = '''
from itertools import count

from agentkit import Agent, tool
from agentkit.policy import Approve, Deny
from agentkit.testing import ScriptedModel, call, calls, say

numbers = count()


@tool(effect="pure")
def draw() -> str:
    """Draw a number, another one each time."""
    return f"number {next(numbers)}"


@tool(effect="pure")
def fail() -> str:
    """Fail."""
    raise ValueError(next(numbers))


def beside(model, turn, settings):
    one = calls(("draw", {}), ("add", {"n": 1}), ("fail", {}), ("nothing", {}))
    script = ScriptedModel([call("draw"), one, call("final_answer", answer=1)])
    own, world = [draw, fail], [turn.tools]
    return Agent(script, tools=own, toolsets=world, output_type=int, observers=())


def asks(model, turn, settings):
    script = [calls(*(("add", {"n": n}) for n in (5, 1))), say("Done.")]
    return Agent(
        ScriptedModel(script),
        toolsets=[turn.tools],
        policy="ask",
        approve=lambda approval: Approve() if approval.call.arguments["n"] == 1 else Deny("No."),
        observers=(),
    )


def waits(model, turn, settings):
    script = ScriptedModel([call("add", n=5), say("Done.")])
    return Agent(script, toolsets=[turn.tools], policy="ask", observers=())


def renames(model, turn, settings):
    script = ScriptedModel([call("my_add", n=1), say("Done.")])
    return Agent(script, toolsets=[turn.tools.prefixed("my_")], observers=())


def sends(model, turn, settings):
    worker = Agent(ScriptedModel([call("add", n=1), say("Added.")]), toolsets=[turn.tools])
    script = ScriptedModel([call("worker", task="Add."), say("Done.")])
    return Agent(script, tools=[worker.as_tool("worker", "Adds.")], observers=())
'''


@pytest.mark.parametrize(("agent", "left"), [("beside", 2), ("asks", 2), ("waits", 0)])
async def test_what_is_the_agents_own_is_as_it_was_and_the_worlds_calls_are_made_again(
    tmp_path: Path, agent: str, left: int
) -> None:
    after, again = await graded_twice(tmp_path, agent)
    assert after.grade is not None
    assert after.grade == again.grade
    assert after.grade.passed == (left == 2)


@pytest.mark.parametrize("agent", ["renames", "sends"])
async def test_calls_of_the_world_that_are_not_recorded_leave_no_verdict(
    tmp_path: Path, agent: str
) -> None:
    before, after = await graded_twice(tmp_path, agent)
    assert before.passed
    assert after.failure == (
        "suite:SuiteError: the agent called add in a tool of its own or under another name, and "
        "these calls are not recorded"
    )


async def graded_twice(folder: Path, agent: str) -> tuple[TrialResult, TrialResult]:
    """A trial of an agent of one's own, as it was graded and as it is graded again."""
    old, new = Store(folder / "old"), Store(folder / "new")
    target, file = suite_file(folder, 1), folder / "own_agent.py"
    file.write_text(OWN)
    with FaultServer() as server:
        subject = Subject(model=server.url, agent=f"{file}:{agent}")
        await run_local(await planned(load_suite(target), target, subject), old)
    await rescore(old, new)
    (before,), (after,) = old.results().values(), new.results().values()
    return before, after


async def test_a_check_that_failed_is_graded_when_it_is_mended(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    await ran(old, suite_file(tmp_path, 1, SUITE.replace("counter.n == WANTED", "counter.m")))
    assert [result.status for result in old.results().values()] == ["infrastructure"]
    moved(old, suite_file(tmp_path, 2))
    await rescore(old, new)
    assert [result.passed for result in new.results().values()] == [True]


async def test_a_rescore_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    target = suite_file(tmp_path, 1)
    suite = load_suite(target)
    await run_local(await planned(suite, target, Subject(model="gold"), trials=3), old)
    await rescore(old, new)
    (file,) = (new.folder / "trials").iterdir()
    first, _, _ = file.read_bytes().partition(b"\n")
    file.write_bytes(first + b"\n")
    assert len(new.results()) == 1
    await rescore(old, new)
    assert [each.passed for each in new.results().values()] == [True] * 3
    assert len(list(new.lines())) == 3, "what has a verdict is not graded again"


async def test_new_verdicts_are_not_mixed_with_those_of_another_run(tmp_path: Path) -> None:
    old, other = Store(tmp_path / "old"), Store(tmp_path / "other")
    target = suite_file(tmp_path, 1)
    await ran(old, target)
    await ran(other, target)
    (file,) = (other.folder / "trials").iterdir()
    file.write_bytes(file.read_bytes().replace(b"It is 1.", b"It was 1."))
    with pytest.raises(EvalError, match="other holds another run"):
        await rescore(old, other)
    with pytest.raises(EvalError, match="is the run itself"):
        await rescore(old, old)


async def test_a_tool_that_does_not_end_leaves_no_verdict_again(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    target = suite_file(
        tmp_path, 1, SUITE.replace("self.n += n", "__import__('threading').Event().wait()")
    )
    suite, limits = load_suite(target), TrialLimits(seconds=0.5)
    await run_local(await planned(suite, target, Subject(model="gold"), limits=limits), old)
    await rescore(old, new)
    failures = [result.failure for store in (old, new) for result in store.results().values()]
    assert failures == [
        "suite:SuiteError: the tool add had not ended when the time was over",
        "suite:SuiteError: the recorded calls had not ended when the time was over",
    ]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("counter.n == WANTED", "counter.n > WANTED", ["the checks", "the suite's files"]),
        ("WANTED = 2", "WANTED = 3", ["the suite's files"]),
        ("self.n += n", "self.n = n", ["the suite's files", "the worlds"]),
        ("[counter.add]", "[counter.add, counter.add]", ["the suite's files", "the tools"]),
        ("Add one.", "Add 1.", ["the suite's files", "the texts or limits of the tasks"]),
    ],
)
async def test_what_was_changed_is_named(
    tmp_path: Path, old: str, new: str, named: list[str]
) -> None:
    manifests = []
    for number, text in enumerate((SUITE, SUITE.replace(old, new))):
        suite = load_suite(suite_file(tmp_path, number, text))
        manifests.append(await planned(suite, "count.py:suite", Subject(model="gold")))
    assert sorted(manifests[0].changes(manifests[1])) == named


async def test_another_limit_of_steps_is_another_run() -> None:
    def suite(steps: int) -> TaskSuite:
        made: Task[Any] = Task(
            id="a", turns=("Go.",), world=dict, tools=lambda _: [], check=bool, steps=steps
        )
        return TaskSuite("s", [made])

    one, other = [await planned(suite(n), "s", Subject(model="gold")) for n in (5, 6)]
    assert one.changes(other) == ["the texts or limits of the tasks"]


async def test_a_changed_agent_or_setting_is_named_and_old_verdicts_are_not_reused(
    tmp_path: Path,
) -> None:
    target = suite_file(tmp_path, 1)
    suite, store = load_suite(target), Store(tmp_path / "run")
    made = tmp_path / "agent.py"
    made.write_text(AGENT)
    subject = Subject(model="http://127.0.0.1:1", model_name="a", agent=f"{made}:make")
    first = await planned(suite, target, subject)
    store.begin(first)
    made.write_text(AGENT.replace("settings=settings", "settings=settings, instructions='Add.'"))
    with pytest.raises(EvalError, match="a change in the agent's source"):
        store.begin(await planned(suite, target, subject))
    warm = Subject(model="gold", settings=ModelSettings(temperature=1.0))
    cold = await planned(suite, target, Subject(model="gold"))
    assert cold.changes(await planned(suite, target, warm)) == [
        "the setting temperature (None became 1.0)"
    ]


async def test_more_trials_and_cases_are_more_of_the_same_run(tmp_path: Path) -> None:
    target, store = suite_file(tmp_path, 1), Store(tmp_path / "run")
    suite = load_suite(target)
    once = await planned(suite, target, Subject(model="gold"))
    await run_local(once, store)
    thrice = await planned(suite, target, Subject(model="gold"), trials=3)
    await run_local(thrice, store)
    assert sorted(store.results()) == [("two", 0), ("two", 1), ("two", 2)]
    assert len(list(store.lines())) == 3
    with pytest.raises(EvalError, match=r"the trials \(3 became 1\)"):
        store.begin(once)
