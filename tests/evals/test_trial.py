from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agentkit_evals.core import (
    Case,
    Grade,
    Suite,
    Transcript,
    Trial,
    TrialLimits,
    TrialResult,
    Turn,
)
from agentkit_evals.project import Project, project_suite
from agentkit_evals.subject import AgentMaker
from agentkit_evals.tasks import Task, TaskSuite
from agentkit_evals.trial import run_trial

from agentkit import (
    Agent,
    Context,
    ContextWindowError,
    Limits,
    ModelStatusError,
    ModelTimeoutError,
    ServerNotReadyError,
    Toolset,
    tool,
)
from agentkit.testing import ScriptedModel, call, calls, say
from tests.evals.helpers import scripted

pytestmark = pytest.mark.anyio


async def played(
    maker: AgentMaker, case: str = "change_vat", suite: Suite | None = None
) -> TrialResult:
    return await run_trial(suite or project_suite(), Trial(Case(case), 0, 1), maker, "here")


def change(old: str = "vat = 0.07") -> dict[str, str]:
    return {"path": "shop/settings.toml", "old": old, "new": "vat = 0.19"}


async def test_the_state_decides_not_the_words() -> None:
    talker = await played(scripted(say("I have set the vat to 0.19. All done!")))
    assert not talker.passed
    silent = await played(scripted(call("replace_text", **change()), say("No.")))
    assert silent.passed
    assert silent.status == talker.status == "graded"


async def test_every_call_is_in_the_record_in_the_order_of_the_model() -> None:
    result = await played(
        scripted(
            calls(("read_file", {"path": "README.md"}), ("nothing", {}), ("read_file", {})),
            call("replace_everything", **change()),
            call("replace_text", **change()),
            say("Done."),
        )
    )
    (turn,) = result.transcript.turns
    kinds = [(record.name, record.kind, record.invalid) for record in turn.calls]
    assert kinds == [
        ("read_file", "ok", False),
        ("nothing", "unknown_tool", True),
        ("read_file", "invalid_arguments", True),
        ("replace_everything", "unknown_tool", True),
        ("replace_text", "ok", False),
    ]
    assert turn.steps == result.transcript.steps == 4
    assert result.transcript.usage.input_tokens == 40


async def test_a_mended_call_counts_as_invalid_and_as_repaired() -> None:
    result = await played(scripted(call("Replace_Text", **change()), say("Done.")))
    (turn,) = result.transcript.turns
    assert result.passed
    assert turn.repairs == 1
    assert [(each.name, each.invalid) for each in turn.calls] == [("replace_text", True)]


async def test_a_call_that_python_takes_for_equal_to_what_was_wanted_is_invalid() -> None:
    @tool
    def switch(on: bool) -> str:
        """Switch it."""
        return str(on)

    script = [call("switch", on=on) for on in (True, 1, 1.0)]
    model = ScriptedModel([*script, say("Done.")])

    def make(_trial: Trial, _number: int, _turn: Turn) -> Agent[Any, Any]:
        return Agent(model, tools=[switch], observers=())

    (turn,) = (await played(make)).transcript.turns
    assert [each.invalid for each in turn.calls] == [False, True, True]


async def test_a_call_of_a_tool_that_the_agent_itself_has_is_as_valid_as_any_other() -> None:
    @tool
    def book() -> str:
        """Read the book."""
        return "a line of the book\n" * 5_000

    @tool
    def note(text: str) -> str:
        """Take a note."""
        return text

    model = ScriptedModel(
        [
            call("book"),
            call("read_result", result=2, start=0),
            call("note", text="short"),
            call("note", words="short"),
            say("Done."),
        ]
    )

    def make(_trial: Trial, _number: int, turn: Turn) -> Agent[Any, Any]:
        context = Context(compact_at=4_000)  # the book is cut, and the agent offers `read_result`
        return Agent(model, toolsets=[turn.tools], tools=[note], context=context, observers=())

    task = Task(
        id="a", turns=("Read.",), world=object, tools=lambda _: [book], check=lambda _: True
    )
    result = await played(make, "a", TaskSuite("books", [task]))
    assert [(each.name, each.invalid) for each in result.transcript.calls] == [
        ("book", False),
        ("read_result", False),
        ("note", False),
        ("note", True),
    ]


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ModelTimeoutError("late"), "server:ModelTimeoutError: late"),
        (ModelStatusError("no", status_code=503), "server:ModelStatusError: no"),
        (RuntimeError("a bug"), "harness:RuntimeError: a bug"),
    ],
)
async def test_what_is_not_the_agents_fault_is_no_verdict(error: Exception, failure: str) -> None:
    result = await played(scripted(call("read_file", path="README.md"), error))
    assert (result.status, result.grade, result.failure) == ("infrastructure", None, failure)
    assert not result.passed


async def test_an_outgrown_window_is_the_agents_failure() -> None:
    refused = [ContextWindowError("8192 tokens")] * 9  # however often the agent makes it smaller
    result = await played(scripted(*refused))
    assert result.status == "graded"
    assert not result.passed
    assert result.failure == "agent:context_window: 8192 tokens"


async def test_a_server_that_cannot_be_used_ends_the_run() -> None:
    with pytest.raises(ServerNotReadyError):
        await played(scripted(ServerNotReadyError("start it")))


async def test_a_grader_that_fails_is_no_verdict_either() -> None:
    def broken(_: Project) -> str | None:
        raise KeyError("gone")

    task = Task(id="t", turns=("Go.",), world=Project, tools=Project.tools, check=broken)
    result = await played(scripted(say("Done.")), "t", TaskSuite("s", [task]))
    assert result.status == "infrastructure"
    assert result.failure == "suite:SuiteError: the check of t raised KeyError('gone')"


async def test_an_agent_that_reaches_its_limit_fails_by_that_name() -> None:
    task = Task(
        id="t",
        turns=("Go.",),
        world=Project,
        tools=Project.tools,
        check=lambda project: None if project.answers else "answer:none",
        steps=2,
    )
    script = [call("list_files"), call("read_file", path="README.md"), say("never said")]
    result = await played(scripted(*script), "t", TaskSuite("s", [task]))
    assert result.grade is not None
    assert result.grade.error == "agent:steps"


async def test_the_tokens_of_a_trial_end_it_and_what_it_left_is_graded() -> None:
    script = [call("replace_text", **change()), *(call("list_files") for _ in range(9))]
    result = await run_trial(
        project_suite(),
        Trial(Case("change_vat"), 0, 1),
        scripted(*script, say("Done.")),
        "here",
        limits=TrialLimits(tokens=25),
    )
    assert result.passed
    (turn,) = result.transcript.turns
    assert turn.stop_reason == "tokens"
    assert 25 <= turn.usage.output_tokens < 40


async def test_a_turn_that_reaches_its_own_limit_of_time_does_not_end_the_trial() -> None:
    class Session:
        async def next_turn(self, transcript: Transcript) -> Turn | None:
            number = len(transcript.turns)
            if number == 2:
                return None
            limits = Limits(seconds=0) if number == 0 else Limits()
            return Turn(text="Go.", tools=Toolset([]), limits=limits)

        async def grade(self, transcript: Transcript) -> Grade:
            return Grade(passed=transcript.over)

    class OneCase(TaskSuite):
        @asynccontextmanager
        async def open(self, trial: Trial) -> AsyncGenerator[Session]:  # noqa: ARG002 - of any
            yield Session()

    result = await played(scripted(say("Done.")), "any", OneCase("s", []))
    assert [turn.stop_reason for turn in result.transcript.turns] == ["seconds", "answer"]
    assert result.passed


async def test_times_of_the_model_are_kept_and_are_not_compared() -> None:
    result = await played(scripted(call("replace_text", **change()), say("Done.")))
    assert len(result.timing.first_tokens) == 2
    assert 0 <= result.timing.first_tokens[0] <= result.seconds
