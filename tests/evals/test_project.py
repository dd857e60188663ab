from __future__ import annotations

import pytest
from agentkit_evals.project import FILES, Project, project_suite
from agentkit_evals.store import Store

from agentkit import Toolset
from tests.evals.helpers import ran

pytestmark = pytest.mark.anyio


async def test_the_gold_calls_solve_every_task(store: Store) -> None:
    results = await ran(store)
    assert [(result.case, result.passed) for result in results if not result.passed] == []
    assert len(results) == len(await project_suite().cases())


@pytest.mark.parametrize("model", ["empty", "gold-without-last-call"])
async def test_only_the_task_that_wants_nothing_is_passed_by_doing_less(
    store: Store, model: str
) -> None:
    results = await ran(store, model=model)
    assert [result.case for result in results if result.passed] == ["leave_alone"]


@pytest.mark.parametrize("case", ["change_vat", "delete_one", "move_file", "mend_total"])
def test_touching_another_file_fails_a_task_that_is_otherwise_solved(case: str) -> None:
    (task,) = [task for task in project_suite().tasks if task.id == case]
    project = task.world()
    tools = {tool.name: tool for tool in Toolset(task.tools(project))}
    for turn in task.gold or ():
        for name, arguments in turn:
            tools[name].function(**arguments)
    assert task.check(project) is None
    project.files["README.md"] += "!"
    assert task.check(project) == "files:others_touched"


def test_a_licence_may_end_with_a_line_break_or_without() -> None:
    (task,) = [task for task in project_suite().tasks if task.id == "write_licence"]
    for text, verdict in (
        ("All rights reserved.\n", None),
        ("All rights reserved.", None),
        ("All rights reserved.\n\n", "files:wrong_content"),
    ):
        project = Project()
        project.files["LICENCE.txt"] = text
        assert task.check(project) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (FILES["shop/cart.py"].replace("items[1:]:", "items:  # all"), None),
        (FILES["shop/cart.py"], "code:wrong"),
        ("def total(", "code:no_python"),
    ],
)
def test_mended_code_is_compared_as_code(text: str, verdict: str | None) -> None:
    (task,) = [task for task in project_suite().tasks if task.id == "mend_total"]
    project = Project()
    project.files["shop/cart.py"] = text
    assert task.check(project) == verdict


def test_worlds_share_nothing() -> None:
    one, other = Project(), Project()
    one.delete_file("README.md")
    assert other.files == FILES
