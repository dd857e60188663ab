"""What a server can hold calls to is found out by asking it, and used: the ladder of control."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any, Literal

import anyio
import httpx2
import pytest

from agentkit import Limits, ModelSettings, VLLMModel, tool
from agentkit.agent import Agent
from agentkit.errors import ModelStatusError, ServerNotReadyError
from agentkit.events import ModelCalled, StepRestarted, TextDelta
from agentkit.messages import Control, ModelRequest, ToolChoice, UserMessage
from agentkit.models.calls import is_probe
from tests.models.ladder import RUNGS, LadderServer
from tests.servers import chunk
from tests.virtual import event, run_virtual

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
    probes = {"grammar": 1, "tool_choice": 4, "json_schema": 3, "free": 3}
    assert len(server.bodies) - len(asked(server)) == probes[rung]


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


def first_of(*found: tuple[str, bool]) -> str | None:
    return next((f"{name}: Extra inputs are not permitted" for name, sent in found if sent), None)


def strict(body: dict[str, Any]) -> str | None:
    """Takes only what OpenAI's own schema has, in the body and deeper."""
    functions = [tool["function"] for tool in body.get("tools") or ()]
    return first_of(
        ("tools.0.function.strict", any("strict" in each for each in functions)),
        ("messages.1.reasoning", any("reasoning" in each for each in body["messages"])),
        ("return_token_ids", "return_token_ids" in body),
        ("tool_choice.none", body.get("tool_choice") == "none"),
    )


class Thinking(LadderServer):
    """Thinks before it calls, and calls once."""

    def _reply(self, body: dict[str, Any]) -> dict[str, Any]:
        if any(message["role"] == "tool" for message in body["messages"]):
            return self._text("Seen.")
        reply = super()._reply(body)
        reply["choices"][0]["message"]["reasoning"] = "I look first."
        return reply


@pytest.mark.parametrize("status", [200, 400, 422, 500])
@pytest.mark.parametrize("mode", ["auto", "none", "required"])
def test_what_is_refused_inside_tools_and_messages_is_left_out_too(
    status: int, mode: Literal["auto", "none", "required"]
) -> None:
    arguments = {"name": "hall"}
    server = Thinking("tool_choice", refusal=strict, status=status, arguments=arguments)
    model = server.model()
    settings = ModelSettings(tool_choice=ToolChoice(mode))
    agent = Agent(model, tools=[look], observers=())
    for _ in range(2):
        result = run_virtual(partial(agent.run, "Chat.", settings=settings))
        assert result.stop_reason == "answer"
        assert len(result.messages) == (4 if mode == "required" else 2)
    assert model.constrains, "a forced call stays one"
    assert [strict(body) for body in server.bodies[-2:]] == [None, None]


async def test_a_value_that_is_refused_is_no_field_that_is_unknown() -> None:
    def refusal(body: dict[str, Any]) -> str | None:
        return f"max_tokens > 4096 is not supported, got {body['max_tokens']}"

    server = LadderServer("free", refusal=refusal)
    with pytest.raises(ModelStatusError, match="got 9000"):
        await (
            server.model()
            .generate(ModelRequest([UserMessage("Chat.")], settings=ModelSettings(max_tokens=9000)))
            .__anext__()
        )
    assert len(server.bodies) == 1


@pytest.mark.parametrize("choice", ["required", {"type": "function"}])
async def test_a_server_that_takes_one_form_of_tool_choice_is_not_asked_for_the_other(
    choice: object,
) -> None:
    def refusal(body: dict[str, Any]) -> str | None:
        asked_for = body.get("tool_choice")
        refused = asked_for == choice or type(asked_for) is type(choice) is dict
        return "tool_choice is not supported in this form" if refused else None

    server = LadderServer("tool_choice", refusal=refusal, obeys_words=True, arguments={"name": "x"})
    agent = Agent(server.model(), tools=[look, wait], observers=())
    result = await agent.run("Chat.", settings=FORCED, limits=Limits(steps=1))
    assert result.messages[1].tool_calls  # type: ignore[union-attr]  # the first reply


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.Response(500, json={"error": {"message": "InternalServerError: Connection error."}}),
        httpx2.Response(520, text="<html>the origin is away</html>"),
        httpx2.Response(200, text="<html>starting</html>"),
        httpx2.Response(200, text='{"choices":[{"me'),
    ],
    ids=["500", "520", "a page", "cut"],
)
async def test_a_probe_that_fails_once_does_not_lower_the_rung(failure: httpx2.Response) -> None:
    server = LadderServer("grammar")
    failures = [failure]

    def answers(request: httpx2.Request) -> httpx2.Response:
        probes = is_probe(json.loads(request.content or "{}"))
        return failures.pop() if probes and failures else server(request)

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answers))
    model = VLLMModel("http://server/v1", http_client=client, stream=False)
    await Agent(model, tools=[wait], observers=()).run("Chat.")
    assert model.constrains


@pytest.mark.parametrize("listed", ["openai/*", "/models/gemma-4-E4B-it-Q4_K_M.gguf", "another"])
async def test_a_model_that_is_not_listed_is_asked_before_it_is_refused(listed: str) -> None:
    server = LadderServer("free", model=listed)
    result = await Agent(server.model("gemma-4-e4b-it"), observers=()).run("Chat.")
    assert result.stop_reason == "answer"
    assert server.bodies[-1]["model"] == "gemma-4-e4b-it"
    unknown = LadderServer(
        "free", model=listed, refusal=lambda body: f"The model `{body['model']}` does not exist."
    )
    with pytest.raises(ServerNotReadyError, match="serves no model 'x'; it serves: "):
        await Agent(unknown.model("x"), observers=()).run("Chat.")


@pytest.mark.parametrize("rung", RUNGS[:3])
@pytest.mark.parametrize("status", [400, 422])
async def test_a_constraint_that_is_refused_for_some_tools_gives_way_for_these_alone(
    rung: Control, status: int
) -> None:
    def refusal(body: dict[str, Any]) -> str | None:
        held = {"structured_outputs", "tool_choice", "response_format"} & body.keys()
        refused = held and not is_probe(body) and "look" in json.dumps(body)
        return "the schema is too deep" if refused else None

    server = LadderServer(
        rung, refusal=refusal, status=status, obeys_words=True, arguments={"name": "hall"}
    )
    model = server.model()
    for _ in range(2):
        agent = Agent(model, tools=[look], observers=())
        result = await agent.run("Chat.", settings=FORCED, limits=Limits(steps=1))
        assert result.messages[1].tool_calls  # type: ignore[union-attr]  # the first reply
    assert len([body for body in server.bodies if refusal(body)]) == 3 - RUNGS.index(rung)
    await Agent(model, tools=[wait], observers=()).run("Chat.", limits=Limits(steps=1))
    assert ("structured_outputs" in server.bodies[-1]) == (rung == "grammar")


async def test_what_was_shown_before_a_constraint_is_refused_is_taken_back() -> None:
    server = LadderServer("json_schema", arguments={"name": "hall"}, obeys_words=True)
    held: list[Any] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content or b"{}")
        if "response_format" not in body or is_probe(body):
            return server(request)
        held.append(body)
        refusal = {"error": {"message": "the schema is too deep", "code": 400}}
        begun = event(chunk({"content": "Let us "})) + event(refusal)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=begun)

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
    told: list[object] = []
    model = VLLMModel("http://server/v1", http_client=client)
    agent = Agent(model, tools=[look], observers=[lambda _run, event: told.append(event)])
    result = await agent.run("Chat.", settings=FORCED, limits=Limits(steps=1))
    assert result.messages[1].tool_calls  # type: ignore[union-attr]  # the first reply
    shown = [each for each in told if isinstance(each, TextDelta | StepRestarted)]
    assert [type(each) for each in shown] == [TextDelta, StepRestarted]
    assert "too deep" in str(shown[1])
    await agent.run("Chat.", settings=FORCED, limits=Limits(steps=1))
    assert len(held) == 1, "it is not held so again"


async def test_a_refusal_that_no_constraint_caused_is_raised_and_lowers_nothing() -> None:
    refuses = True

    def refusal(body: dict[str, Any]) -> str | None:
        return "the model is asleep" if refuses and not is_probe(body) else None

    server = LadderServer("grammar", refusal=refusal)
    model = server.model()
    with pytest.raises(ModelStatusError, match="asleep"):
        await Agent(model, tools=[wait], observers=()).run("Chat.")
    refuses = False
    await Agent(model, tools=[wait], observers=()).run("Chat.")
    assert "structured_outputs" in server.bodies[-1]


@pytest.mark.parametrize("around", ["```json\n{}\n```", "\ufeff{}", "\n {} \n", "```\n{}```\n"])
async def test_json_in_a_fence_or_behind_a_mark_is_the_json_that_was_asked_for(around: str) -> None:
    class Fencing(LadderServer):
        def _text(self, text: str) -> dict[str, Any]:
            return super()._text(around.replace("{}", text) if text.startswith("{") else text)

    server = Fencing("json_schema", arguments={"answer": 7})
    assert (await Agent(server.model(), output_type=int, observers=()).run("How many?")).output == 7


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
