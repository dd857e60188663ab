"""What people type first who come from elsewhere is refused at once, with what to write instead."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import math
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

import agentkit
from agentkit import (
    Agent,
    Context,
    Limits,
    LocalExecutor,
    ModelSettings,
    Policy,
    ProcessExecutor,
    RoutingExecutor,
    SQLiteJournal,
    ToolChoice,
    ToolDefinitionError,
    Toolset,
    VLLMModel,
    tool,
)
from agentkit.errors import install
from agentkit.mcp import McpToolset
from agentkit.messages import UserMessage
from agentkit.models import Timeouts
from agentkit.policy import Deny
from agentkit.testing import ScriptedModel, say
from agentkit.toolset import dynamic


def find(text: str) -> str:
    """Finds."""
    return text


def agent(**options: Any) -> Any:
    return Agent(ScriptedModel([say("ok")]), observers=(), **options)


def run(content: Any, **options: Any) -> Any:
    return agent().run_sync(content, **options)


other: Any = SimpleNamespace(
    Agent=Agent,
    Limits=Limits,
    LocalExecutor=LocalExecutor,
    McpToolset=McpToolset,
    Deny=Deny,
    find=find,
    ProcessExecutor=ProcessExecutor,
    SQLiteJournal=SQLiteJournal,
    ModelSettings=ModelSettings,
    ScriptedModel=ScriptedModel,
    Timeouts=Timeouts,
    ToolChoice=ToolChoice,
    Toolset=Toolset,
    VLLMModel=VLLMModel,
    tool=tool,
)
"""The library as it is called by those who know another one: no type checker stops them."""

MISTAKES: list[tuple[Callable[[], object], str]] = [
    (
        lambda: other.Agent("http://localhost:8000"),
        'give a model: VLLMModel("http://localhost:8000")',
    ),
    (lambda: other.Agent("openai:gemma-4"), "model is 'openai:gemma-4'; give a model: VLLMModel("),
    (lambda: other.Agent(VLLMModel), "give a model, such as VLLMModel("),
    (lambda: other.Agent([find]), "give a model, such as VLLMModel("),
    (lambda: agent(policy="sometimes"), "there is no preset 'sometimes'; there are"),
    (lambda: agent(policy=["ask"]), "give a Policy, such as"),
    (lambda: agent().as_tool("my worker", "Works."), "an agent as a tool: 'my worker' is no name"),
    (lambda: asyncio.run(agent().run_many(5)), "inputs is 5; give a list, with one for each run"),
    (
        lambda: asyncio.run(agent().run_many(["x"], deps_each=lambda n: n)),
        "give a list, with one for each run",
    ),
    (lambda: agent(approve=True), "approve is True; give a function of an Approval"),
    (lambda: agent(approve=lambda: True), "it is called with (approval)"),
    (lambda: agent(ask=lambda: "Yes."), "it is called with (question)"),
    (lambda: agent(instructions=lambda: "Be brief."), "it is called with (context)"),
    (
        lambda: other.Agent(ScriptedModel([say("ok")]), observers=[print, find]),
        "it is called with (run_id, event)",
    ),
    (lambda: run("x", journal="runs.db"), 'give a journal, such as SQLiteJournal("runs.db")'),
    (lambda: run("x", journal=Path("runs.db")), "give a journal, such as SQLiteJournal"),
    (lambda: other.ScriptedModel("Hello."), "give a list of replies, such as [say(…)]"),
    (lambda: other.ScriptedModel(say("Hello.")), "give a list of replies"),
    (lambda: other.ScriptedModel(["Hello."]), "script[0] is 'Hello.'; give say(…), call(…)"),
    (lambda: other.tool(timeout="5")(find), "timeout is '5'; give a number"),
    (lambda: other.tool(effect="pure", retries="2")(find), "retries is '2'; give a number"),
    (lambda: agent(ask="me"), "ask is 'me'; give a function"),
    (lambda: agent(tools=[Toolset([find])]), "a set of tools goes into toolsets=[…]"),
    (lambda: agent(tools=find), "give a list of functions: tools=[…]"),
    (lambda: agent(tools="find"), "give a list of functions"),
    (lambda: agent(tools=["find"]), "tools[0] is the text 'find'; give a function"),
    (lambda: agent(tools=[find, agent()]), "tools[1] is a Agent"),
    (lambda: agent(tools=[{"type": "function"}]), "give the function itself"),
    (lambda: agent(toolsets=[find]), "give it in tools=[…]"),
    (lambda: agent(toolsets=Toolset([find])), "give a list: toolsets=[…]"),
    (lambda: agent(output_type=[int, str]), "write a union: output_type=A | B"),
    (lambda: agent(output_type="int"), "give a type"),
    (lambda: agent(output_type=json), "give a type"),
    (lambda: agent(output_type=None), "leave it out for an answer in words"),
    (lambda: agent(instructions=lambda _context: 5).run_sync("x"), "instructions= returned 5; ret"),
    (lambda: agent(limits=5), "limits is 5; give Limits(steps=…)"),
    (lambda: agent().override(model="tiny"), "model is 'tiny'; give a model: VLLMModel("),
    (lambda: agent().override(context={"window": 3}), "give Context(…)"),
    (lambda: agent(settings={"temperature": 0}), "give ModelSettings(temperature=…)"),
    (lambda: agent(context=8192), "give Context(…)"),
    (lambda: agent(instructions=["Be brief."]), "instructions is ['Be brief.']; give a text"),
    (lambda: agent(executor="process"), "give an executor"),
    (lambda: agent(deps_type=int), "pass deps= to run"),
    (lambda: agent(system_prompt="x"), "Agent has no argument system_prompt=; write instructions="),
    (lambda: agent(result_type=int), "write output_type="),
    (lambda: agent(max_turns=3), "write limits=Limits(steps=…)"),
    (lambda: agent(temperature=0), "write settings=ModelSettings(temperature=…)"),
    (lambda: agent(mcp_servers=[]), "write toolsets=[McpToolset(…)]"),
    (lambda: agent(handoffs=[]), "as_tool"),
    (lambda: agent(instruction="x"), "write instructions="),
    (lambda: agent(toolz=[]), "did you mean tools=?"),
    (lambda: run(["x"]), "give one text; for several inputs there is run_many"),
    (lambda: run({"role": "user"}), "give a text"),
    (lambda: run([UserMessage("x")]), "history=result.messages"),
    (lambda: run(None), "say something"),
    (lambda: run(5), "input is 5; give a text"),
    (lambda: run("x", message_history=[]), "history=result.messages"),
    (lambda: run("x", history=[{"role": "user", "content": "x"}]), "history[0] is"),
    (lambda: run("x", max_turns=3), "Agent.run_sync has no argument max_turns=; write limits="),
    (lambda: run("x", stream=True), "iterate over agent.stream(…)"),
    (lambda: run("x", dependencies=1), "write deps="),
    (
        lambda: agent().stream("x", max_turns=3),
        "Agent.stream has no argument max_turns=; write lim",
    ),
    (lambda: agent().as_tool("a", "b", limit=3), "Agent.as_tool has no argument limit=; did you"),
    (lambda: other.tool(tiemout=3), "@tool has no argument tiemout=; did you mean timeout=?"),
    (lambda: anyio.run(agent().run_many, "x"), "inputs is one text"),
    (lambda: other.Limits(max_steps=3), "Limits has no argument max_steps=; write steps="),
    (lambda: other.Limits(request_limit=3), "write steps="),
    (lambda: other.ModelSettings(max_new_tokens=3), "write max_tokens="),
    (lambda: other.VLLMModel(api_base="http://x"), "write base_url="),
    (
        lambda: other.McpToolset("npx -y x"),
        'give a URL, or the command as a list: ["npx", "-y", "x"]',
    ),
    (lambda: other.McpToolset({"command": "uvx", "args": ["y"]}), '["uvx", "y"]'),
    (lambda: other.McpToolset(command="npx"), 'write McpToolset(["program", "argument"])'),
    (lambda: other.tool("search"), "give a name by name=…"),
    (lambda: other.tool(requires_approval=True), 'write approval="always"'),
    (lambda: other.tool(description=5)(find), "description is 5; give a text"),
    (lambda: other.tool(name=5)(find), "name is 5; give a text"),
    (lambda: other.Toolset("find"), "give a list of functions"),
    (lambda: Toolset([find]).__add__(other.find), "is no set of tools; write Toolset([…])"),
    (lambda: other.Toolset([Toolset([find])]), "a set of tools"),
    (lambda: run("x", limits=3), "limits is 3; give Limits(steps=…)"),
    (lambda: run("x", settings={}), "settings is {}; give ModelSettings(temperature=…)"),
    (lambda: run("x", cancellation=5), "cancellation is 5; give a Cancellation()"),
    (lambda: run("x", run_id=5), "run_id is 5; give a text"),
    (
        lambda: anyio.run(partial(agent().resume, "r", limits=3)),
        "limits is 3; give Limits(steps=…)",
    ),
    (lambda: anyio.run(agent().resume, 5), "run is 5; give result.paused, or the name"),
    (lambda: other.ToolChoice(among="find"), "among is 'find'; give a tuple of names"),
    (lambda: other.ToolChoice("required", "a", among=("b",)), "name is 'a', which is not in among"),
    (lambda: other.Limits(steps="5"), "steps is '5'; give a number"),
    (lambda: other.Limits(seconds=True), "seconds is True; give a number"),
    (lambda: other.Limits(prices=3), "give Prices(input=…, output=…)"),
    (lambda: other.ModelSettings(temperature="hot"), "temperature is 'hot'; give a number"),
    (lambda: other.ModelSettings(temperature=-1), "temperature is -1; give 0 or more"),
    (lambda: other.ModelSettings(top_p=2), "top_p is 2; give a share above 0, up to 1"),
    (lambda: other.ModelSettings(max_tokens=0), "max_tokens is 0; give 1 or more"),
    (lambda: other.ModelSettings(stop="x"), "stop is 'x'; give a tuple of texts"),
    (lambda: other.ModelSettings(thinking="high"), "give True or False"),
    (lambda: other.ModelSettings(tool_choice="required"), 'give ToolChoice("required")'),
    (lambda: other.ToolChoice("required", name=find), "give a tool's name"),
    (lambda: other.Deny(5), "reason is 5; give a text"),
    (lambda: other.Timeouts(total="5"), "total is '5'; give seconds"),
    (lambda: other.ToolChoice("any"), "mode is 'any'; give 'auto', 'none' or 'required'"),
    (lambda: other.ToolChoice(max_calls=0), "max_calls is 0; give 1 or more"),
    (lambda: other.LocalExecutor(0), "threads is 0; give a whole number of 1 or more"),
    (lambda: other.ProcessExecutor("x"), "workers is 'x'; give a whole number of 1 or more"),
    (lambda: other.ProcessExecutor(True), "workers is True; give a whole number of 1 or more"),
    (lambda: other.SQLiteJournal("x", lease="9"), "lease is '9'; give seconds above 0"),
    (lambda: other.SQLiteJournal("x", lease=math.nan), "lease is nan; give seconds above 0"),
    (lambda: other.VLLMModel("http://x", max_response_bytes=0), "max_response_bytes is 0; give"),
    (lambda: other.VLLMModel(5), "base_url is 5; give an address"),
    (lambda: other.VLLMModel("http://x", timeouts=5), "give Timeouts(total=…)"),
    (lambda: other.VLLMModel("http://x", stream="no"), "stream is 'no'; give True or False"),
    (lambda: other.VLLMModel("http://x", settings={}), "give ModelSettings(temperature=…)"),
    (lambda: other.VLLMModel("http://x", headers={"x-key": b"9"}), "x-key is of type bytes; give"),
    (lambda: other.VLLMModel("http://x", api_key=b"k"), "api_key is of type bytes; give a text"),
    (lambda: other.VLLMModel("http://x", verify="ca.pem"), "ssl.create_default_context"),
]


@pytest.mark.parametrize(("make", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_a_mistake_is_refused_where_it_is_made_with_the_remedy(
    make: Callable[[], object], words: str
) -> None:
    with pytest.raises((TypeError, ValueError, ToolDefinitionError)) as caught:
        make()
    assert words in str(caught.value)
    assert "AttributeError" not in repr(caught.value)


ATTRIBUTES = {
    "invoke": "write agent.run_sync(…)",
    "arun": "write agent.run(…)",
    "run_stream": "iterate over agent.stream(…)",
    "add_tool": "write Agent(…, tools=[…])",
    "history": "history=result.messages",
    "batch": "write agent.run_many([…])",
    "resume_sync": "await agent.resume(…), or write asyncio.run(…) around it",
    "stream_sync": "iterate over agent.stream(…) with async for",
}
RESULTS = {
    "final_output": "write result.output",
    "data": "write result.output",
    "all_messages": "write result.messages",
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_what_others_call_a_method_of_an_agent_is_told_with_its_name_here(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(agent(), name)
    assert ATTRIBUTES[name] in str(caught.value)


async def later(*_: object) -> Any:
    """Of which nobody would see that it was never awaited."""


class _Later:
    async def __call__(self, *_: object) -> Any: ...


NEVER_AWAITED: dict[str, Callable[[Any], object]] = {
    "observers[0]": lambda later: other.Agent(ScriptedModel([]), observers=[later]),
    "lock": lambda later: other.tool(lock=later)(find),
    "approval": lambda later: other.tool(approval=later)(find),
    "tool's target": lambda later: other.tool(target=later)(find),
    "keep": lambda later: Toolset([find]).filtered(later),
    "keep of a dynamic set": lambda later: dynamic(lambda _context: [find]).filtered(later),
    "pinned": lambda later: Context(pinned=later),
    "rule": RoutingExecutor,
    "policy's target": lambda later: Policy(target=later),
    "deps": lambda later: agent().as_tool("ask", "Asks.", deps=later),
    "on_progress": lambda later: asyncio.run(agent().run_many(["x"], on_progress=later)),
}


@pytest.mark.parametrize("called", [later, _Later(), partial(later, 1)])
@pytest.mark.parametrize("name", NEVER_AWAITED)
def test_an_async_function_where_nobody_would_await_it_is_refused(name: str, called: Any) -> None:
    with pytest.raises((TypeError, ToolDefinitionError), match="not") as caught:
        NEVER_AWAITED[name](called)
    assert "nothing waits for it" in str(caught.value)
    assert name.split("'s ")[-1].split(" of ")[0] in str(caught.value)


@pytest.mark.parametrize("name", RESULTS)
def test_what_others_call_a_part_of_a_result_is_told_with_its_name_here(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(run("x"), name)
    assert RESULTS[name] in str(caught.value)


def test_agents_and_results_can_be_copied_and_asked_for_what_they_do_not_have() -> None:
    result = run("x")
    assert copy.deepcopy(result) == result
    assert pickle.loads(pickle.dumps(result)) == result
    assert not hasattr(copy.copy(agent()), "nothing_of_the_kind")


def test_an_address_may_be_that_of_the_very_request() -> None:
    assert "'http://x'" in repr(VLLMModel("http://x/v1/chat/completions"))


def test_what_is_explained_keeps_its_signature() -> None:
    assert "instructions" in inspect.signature(Agent).parameters
    assert list(inspect.signature(Limits).parameters)[:2] == ["steps", "tool_calls"]
    assert inspect.iscoroutinefunction(Agent.run)
    options = ["deps", "settings", "limits", "cancellation", "journal", "history"]
    options += ["run_id", "conversation"]
    for started in (Agent.run, Agent.stream, Agent.run_sync):
        assert list(inspect.signature(started).parameters) == ["self", "input", *options]


def test_the_remedy_for_a_missing_extra_is_a_command_that_works_here() -> None:
    root = Path(agentkit.__file__).parents[1]
    assert install("mcp") == f"pip install -e '{root}[mcp]'"


def test_the_remedy_for_a_missing_extra_of_a_wheel_names_the_wheel(tmp_path: Path) -> None:
    about = tmp_path / "agentkit_gemma-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: agentkit-gemma\nVersion: 0.1.0\n")
    package = tmp_path / "agentkit"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("errors.py", "redaction.py"):
        shutil.copy(Path(agentkit.__file__).with_name(name), package)
    ask = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom agentkit.errors import install"
    script = f"{ask}\nprint(install('mcp'))"

    def told() -> str:
        done = subprocess.run(
            [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert told() == "pip install 'agentkit-gemma[mcp]'"
    wheel = {"url": "file:///downloads/agentkit_gemma-0.1.0-py3-none-any.whl", "archive_info": {}}
    (about / "direct_url.json").write_text(json.dumps(wheel))
    assert told() == f"pip install 'agentkit-gemma[mcp] @ {wheel['url']}'"
