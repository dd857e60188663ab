"""What a server can hold calls to is found out by asking it, and used: the ladder of control."""

from __future__ import annotations

import json
import re
from typing import Any

import anyio
import httpx2
import pytest

from agentkit import Limits, ModelSettings, VLLMModel, tool
from agentkit.agent import Agent
from agentkit.events import ModelCalled
from agentkit.messages import Control, ToolChoice
from agentkit.models.calls import is_probe
from tests.models.ladder import RUNGS, LadderServer

pytestmark = pytest.mark.anyio

FORCED = ModelSettings(tool_choice=ToolChoice("required"))


@tool(effect="pure")
async def look(name: str) -> str:
    """Looks."""
    return name


@tool(effect="pure")
async def wait() -> str:
    """Waits."""
    return "waited"


def asked(server: LadderServer) -> list[dict[str, object]]:
    """What it was asked beside the probes."""
    return [body for body in server.bodies if not is_probe(body)]


@pytest.mark.parametrize("rung", RUNGS)
async def test_each_rung_is_found_and_named_by_the_events(rung: Control) -> None:
    server = LadderServer(rung)
    told: list[object] = []
    agent = Agent(server.model(), tools=[look], observers=[lambda _run, event: told.append(event)])
    await agent.run("a")
    await agent.run("b")
    called = [event for event in told if isinstance(event, ModelCalled)]
    assert [event.response.control for event in called] == [rung, rung]
    assert [event.constrains for event in called] == [rung in ("grammar", "tool_choice")] * 2
    assert len(server.bodies) - len(asked(server)) == {"grammar": 1}.get(rung, 3)


@pytest.mark.parametrize("rung", RUNGS[:3])
@pytest.mark.parametrize("name", [None, "look"])
async def test_a_forced_call_is_made_on_every_rung_that_can_force(
    rung: Control, name: str | None
) -> None:
    server = LadderServer(rung, arguments={"name": "hall"})
    agent = Agent(server.model(), tools=[look], observers=())
    result = await agent.run(
        "Chat.", settings=ModelSettings(tool_choice=ToolChoice("required", name=name))
    )
    [call] = result.messages[1].tool_calls  # type: ignore[union-attr]  # the first reply
    assert (call.name, call.arguments) == ("look", {"name": "hall"})
    assert result.messages[2].content == "hall"


@pytest.mark.parametrize("rung", RUNGS)
async def test_a_call_forced_among_some_tools_can_only_be_of_one_of_them(rung: Control) -> None:
    server = LadderServer(rung, arguments={"name": "hall"}, obeys_words=rung == "free")
    agent = Agent(server.model(), tools=[look, wait], planning="auto", observers=())
    await agent.run("Chat.", settings=FORCED, limits=Limits(steps=1))
    body: Any = asked(server)[0]
    among = {"look", "wait"}  # and not the plan, nor what reads earlier results
    offered = {tool["function"]["name"] for tool in body.get("tools", ())}
    match rung:
        case "grammar":
            tag = json.loads(body["structured_outputs"]["structural_tag"])
            grammar = tag["format"]["content"]["content"]["grammar"]
            assert set(re.findall(r"\b(\w+)\{", grammar)) == among < offered
        case "tool_choice":
            assert (body["tool_choice"], offered) == ("required", among)
        case "json_schema":
            forms = body["response_format"]["json_schema"]["schema"]["anyOf"]
            assert {form["properties"]["name"]["enum"][0] for form in forms} == among
        case "free":
            assert "Call the tool look or wait now" in json.dumps(body["messages"])


@pytest.mark.parametrize("rung", RUNGS)
async def test_a_typed_answer_is_given_on_every_rung(rung: Control) -> None:
    server = LadderServer(rung, arguments={"answer": 7}, obeys_words=rung == "free")
    agent = Agent(server.model(), output_type=int, observers=())
    result = await agent.run("How many?")
    assert (result.stop_reason, result.output) == ("answer", 7)


async def test_where_nothing_can_be_forced_the_model_is_asked_in_words() -> None:
    server = LadderServer("free", obeys_words=True)
    result = await Agent(server.model(), tools=[wait], observers=()).run("Chat.", settings=FORCED)
    assert result.messages[1].tool_calls  # type: ignore[union-attr]  # the first reply


async def test_a_forced_call_that_never_comes_is_asked_for_without_a_thought_and_then_ends() -> (
    None
):
    server = LadderServer("free")
    settings = ModelSettings(tool_choice=ToolChoice("required"), thinking=True)
    result = await Agent(server.model(), tools=[wait], observers=()).run("Chat.", settings=settings)
    assert result.stop_reason == "no_call"
    assert "a call was required" in result.explanation
    thinking = [body["chat_template_kwargs"] for body in asked(server)]
    assert thinking == [{"enable_thinking": True}, {"enable_thinking": False}]


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("choice", [{"name": "nap"}, {"among": ("nap", "doze")}])
async def test_a_forced_call_of_a_tool_that_there_is_not_is_refused_before_any_request(
    rung: Control, choice: dict[str, Any]
) -> None:
    server = LadderServer(rung)
    agent = Agent(server.model(), tools=[look, wait], observers=())
    settings = ModelSettings(tool_choice=ToolChoice("required", **choice))
    with pytest.raises(ValueError, match=r"tool_choice requires a call of nap.*look, wait"):
        await agent.run("Chat.", settings=settings)
    with pytest.raises(ValueError, match="there are no tools"):
        await Agent(server.model(), observers=()).run("Chat.", settings=FORCED)
    assert server.bodies == []


async def test_a_probe_that_fails_fails_for_all_who_waited_for_it() -> None:
    server = LadderServer("grammar")
    busy = [httpx2.Response(503, json={"error": {"message": "busy"}})]

    async def answers(request: httpx2.Request) -> httpx2.Response:
        if busy and is_probe(json.loads(request.content or "{}")):
            await anyio.wait_all_tasks_blocked()  # by then the others wait for this answer
            server.bodies.append(json.loads(request.content))
            return busy.pop()
        return server(request)

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answers))
    model = VLLMModel("http://server/v1", http_client=client, stream=False)
    await Agent(model, observers=()).run("Chat.")  # all else is known from here on
    agent = Agent(model, tools=[look], observers=())
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(agent.run, "Chat.")
    assert len(server.bodies) - len(asked(server)) == 1
    await agent.run("Chat.")
    assert len(server.bodies) - len(asked(server)) == 2


async def test_a_free_choice_brings_no_tool_choice_along() -> None:
    server = LadderServer("tool_choice")
    await Agent(server.model(), tools=[wait], observers=()).run("Chat.")
    [body] = asked(server)
    assert "tool_choice" not in body
    assert "structured_outputs" not in body


async def test_fields_that_a_server_refuses_are_found_out_once_and_left_out() -> None:
    refused = ["return_token_ids", "stop_token_ids", "structured_outputs", "tool_choice"]
    server = LadderServer("free", refuses=refused)
    model = server.model()
    for _ in range(3):
        result = await Agent(model, tools=[wait], observers=()).run("Chat.")
        assert result.stop_reason == "answer"
    assert [set(refused) & body.keys() for body in server.bodies[-3:]] == [set()] * 3
    assert len(asked(server)) == 3, "the probe has found it out"


async def test_fields_are_found_out_without_tools_too() -> None:
    server = LadderServer("free", refuses=["return_token_ids", "stop_token_ids"])
    model = server.model()
    for _ in range(2):
        assert (await Agent(model, observers=()).run("Chat.")).stop_reason == "answer"
    assert len(server.bodies) == 3, "one was refused"


@pytest.mark.parametrize(
    "name", ["Qwen3-32B", "meta-llama/Llama-3.3-70B-Instruct", "google/gemma-3-27b-it"]
)
async def test_nothing_of_gemma_4_is_sent_to_another_model(name: str) -> None:
    server = LadderServer("tool_choice", model=name, arguments={"name": "x"})
    model = server.model()
    await Agent(model, tools=[look], observers=()).run("Chat.", settings=FORCED)
    await Agent(model, tools=[look], observers=()).run(
        "Chat.", settings=ModelSettings(tool_choice=ToolChoice("none"))
    )
    ours = {"stop_token_ids", "logit_bias", "structured_outputs", "chat_template_kwargs"}
    assert [ours & body.keys() - {"chat_template_kwargs"} for body in asked(server)] == [
        set()
    ] * len(asked(server))


async def test_a_name_that_tells_nothing_is_no_reason_to_cut_replies() -> None:
    server = LadderServer("free", model="our-agent")
    await Agent(server.model(), observers=()).run("Chat.")
    assert "stop_token_ids" not in server.bodies[-1]


async def test_a_server_that_obeys_gemmas_grammar_has_a_gemma() -> None:
    server = LadderServer("grammar", model="our-agent")
    await Agent(server.model(), tools=[wait], observers=()).run("Chat.")
    assert server.bodies[-1]["stop_token_ids"] == [1, 50, 106]


async def test_first_runs_at_once_share_the_probes() -> None:
    server = LadderServer("json_schema")
    model = server.model()

    async def run() -> None:
        await Agent(model, tools=[wait], observers=()).run("Chat.")

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(run)
    assert len(server.bodies) - len(asked(server)) == 3


async def test_a_model_that_likes_to_call_is_not_taken_for_one_that_is_made_to() -> None:
    class Eager(LadderServer):
        def _text(self, text: str) -> dict[str, object]:
            offered = self.bodies[-1].get("tools") or ()
            return self._call(offered[-1]["function"]["name"]) if offered else super()._text(text)

    model = Eager("free").model()
    with anyio.move_on_after(5):
        await Agent(model, tools=[wait], observers=(), limits=Limits(steps=1)).run("Chat.")
    assert not model.constrains


async def test_a_probe_that_is_answered_with_json_without_end_finds_nothing() -> None:
    class Deep(LadderServer):
        def _text(self, text: str) -> dict[str, object]:
            return super()._text("[" * 5_000 + text)

    model = Deep("free").model()
    with anyio.move_on_after(5):
        await Agent(model, tools=[wait], observers=(), limits=Limits(steps=1)).run("Chat.")
    assert not model.constrains


async def test_without_tools_nothing_is_probed() -> None:
    server = LadderServer("grammar")
    await Agent(server.model(), observers=()).run("a")
    assert len(server.bodies) == 1
    assert "structured_outputs" not in server.bodies[0]
