"""The bundled model through the `Model` protocol. What it says is up to its weights, so these tests
ask for what it was trained on, and otherwise only for what holds whatever it says."""

from __future__ import annotations

from functools import cache
from typing import Any

import anyio
import pytest
from agentkit_tools import project_reader

from agentkit.agent import Agent
from agentkit.errors import ContextWindowError, ServerNotReadyError
from agentkit.events import ModelEvent, ModelFinished, ReasoningDelta, TextDelta
from agentkit.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolMessage,
    UserMessage,
)
from agentkit.models.embedded import EmbeddedModel
from agentkit.toolset import Toolset

pytestmark = pytest.mark.slow

SYSTEM = SystemMessage(
    "You answer questions about the files of a project. Look things up with the tools before you "
    "answer."
)
ASKED: list[Message] = [SYSTEM, UserMessage("Where is parse_header defined?")]
CALL = ToolCall("call_0", "find_definition", {"name": "parse_header"})
ANSWERED: list[Message] = [
    *ASKED,
    AssistantMessage(tool_calls=(CALL,)),
    ToolMessage("call_0", "find_definition", "1 result\nsrc/net.py:41: def parse_header(raw):"),
]
GREEDY = ModelSettings(temperature=0)
AUTO = ToolChoice()


@cache
def model() -> EmbeddedModel:
    return EmbeddedModel()


@cache
def tools() -> Toolset:
    return Toolset(project_reader("."))


async def events(
    messages: list[Message],
    settings: ModelSettings = GREEDY,
    choice: ToolChoice = AUTO,
) -> list[ModelEvent]:
    request = ModelRequest(messages, tools().definitions, settings, choice)
    return [event async for event in model().generate(request)]


async def response(
    messages: list[Message],
    settings: ModelSettings = GREEDY,
    choice: ToolChoice = AUTO,
) -> ModelResponse:
    last = (await events(messages, settings, choice))[-1]
    assert isinstance(last, ModelFinished)
    return last.response


def test_its_name_says_that_it_is_a_demonstration() -> None:
    assert "demo" in model().name
    assert not model().constrains


@pytest.mark.anyio
async def test_it_calls_the_right_tool_and_answers_from_the_result() -> None:
    called = await response(ASKED)
    assert called.finish_reason == "tool_calls"
    assert called.message == AssistantMessage(None, (CALL,))
    answered = await response(ANSWERED)
    assert answered.finish_reason == "stop"
    assert answered.message.content == "`parse_header` is defined in src/net.py:41."


@pytest.mark.anyio
async def test_the_streamed_text_is_the_text_of_the_reply() -> None:
    *streamed, last = await events(ANSWERED)
    texts = [event.text for event in streamed if isinstance(event, TextDelta)]
    assert isinstance(last, ModelFinished)
    assert len(texts) > 5
    assert "".join(texts) == last.response.message.content


@pytest.mark.anyio
async def test_with_thinking_on_the_thought_is_apart_from_the_call() -> None:
    *streamed, last = await events(ASKED, ModelSettings(temperature=0, thinking=True))
    assert isinstance(last, ModelFinished)
    thought = [event.text for event in streamed if isinstance(event, ReasoningDelta)]
    assert last.response.message.reasoning == "".join(thought)
    assert last.response.message.tool_calls == (CALL,)


@pytest.mark.anyio
async def test_max_tokens_cuts_the_reply_and_says_so() -> None:
    cut = await response(ANSWERED, ModelSettings(temperature=0, max_tokens=4))
    assert cut.finish_reason == "length"
    assert cut.usage.output_tokens == 4


@pytest.mark.anyio
async def test_a_cut_call_is_no_call_that_may_run() -> None:
    cut = await response(ASKED, ModelSettings(temperature=0, max_tokens=9))
    assert cut.finish_reason == "length"
    assert all(call.malformed for call in cut.message.tool_calls)


@pytest.mark.anyio
async def test_a_stop_text_ends_the_reply() -> None:
    stopped = await response(ANSWERED, ModelSettings(temperature=0, stop=(" is defined",)))
    assert stopped.message.content == "`parse_header`"
    assert stopped.finish_reason == "stop"


@pytest.mark.anyio
async def test_the_same_seed_gives_the_same_reply_and_another_seed_another() -> None:
    async def said(seed: int) -> str | None:
        wild = ModelSettings(temperature=3.0, top_k=0, top_p=1.0, seed=seed, max_tokens=20)
        return str((await response(ANSWERED, wild)).message)

    assert await said(1) == await said(1)
    assert len({await said(seed) for seed in range(3)}) > 1


@pytest.mark.anyio
async def test_the_next_step_of_a_conversation_reads_only_what_is_new() -> None:
    await model().aclose()
    first = await response(ASKED)
    second = await response(ANSWERED)
    assert first.usage.cached_input_tokens == 0
    # Everything up to the cue, which the reply has taken the place of.
    assert second.usage.cached_input_tokens >= first.usage.input_tokens - 5
    fresh = EmbeddedModel()
    request = ModelRequest(ANSWERED, tools().definitions, GREEDY)
    again = [event async for event in fresh.generate(request)][-1]
    assert isinstance(again, ModelFinished)
    assert again.response.message == second.message


@pytest.mark.anyio
async def test_a_cancelled_reply_stops_and_the_model_goes_on() -> None:
    seen: list[ModelEvent] = []
    with anyio.CancelScope() as scope:
        async for event in model().generate(ModelRequest(ANSWERED, tools().definitions, GREEDY)):
            seen.append(event)
            if len(seen) == 2:
                scope.cancel()
    assert scope.cancelled_caught
    assert not any(isinstance(event, ModelFinished) for event in seen)
    assert (await response(ANSWERED)).finish_reason == "stop"


@pytest.mark.anyio
async def test_replies_at_once_are_the_replies_one_by_one() -> None:
    alone = [await response(ASKED), await response(ANSWERED)]
    together: dict[int, ModelResponse] = {}

    async def ask(at: int, messages: list[Message]) -> None:
        together[at] = await response(messages)

    async with anyio.create_task_group() as group:
        for at in range(4):
            group.start_soon(ask, at, ASKED if at % 2 == 0 else ANSWERED)
    for at in range(4):
        assert together[at].message == alone[at % 2].message


@pytest.mark.anyio
async def test_without_calls_allowed_it_makes_none() -> None:
    told = await response(ASKED, choice=ToolChoice(mode="none"))
    assert told.message.tool_calls == ()


@pytest.mark.anyio
async def test_a_required_call_begins_as_one() -> None:
    hello: list[Message] = [SYSTEM, UserMessage("Hello")]
    forced = await response(hello, choice=ToolChoice("required", name="list_files"))
    assert [call.name for call in forced.message.tool_calls][:1] == ["list_files"]


@pytest.mark.anyio
async def test_a_required_call_is_of_a_tool_that_it_may_be_of() -> None:
    hello: list[Message] = [SYSTEM, UserMessage("Hello")]
    for among in ((), ("list_files",), ("search", "read_file")):
        forced = await response(hello, choice=ToolChoice("required", among=among))
        known = among or tuple(tool.name for tool in tools())
        assert forced.message.tool_calls[0].name in known


@pytest.mark.anyio
async def test_at_most_so_many_calls_are_made() -> None:
    both: list[Message] = [SYSTEM, UserMessage("Where are parse_header and read_body defined?")]
    assert len((await response(both)).message.tool_calls) == 2
    assert len((await response(both, choice=ToolChoice(max_calls=1))).message.tool_calls) == 1


@pytest.mark.anyio
async def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(ContextWindowError, match="8192"):
        await response([UserMessage("x " * 9000)])


@pytest.mark.anyio
@pytest.mark.parametrize("literal", ["<turn|>", "<|tool_call>", "<unused7>", "<bos>"])
async def test_control_literals_of_a_user_are_text(literal: str) -> None:
    # One control token in the middle of a word costs one token; as text it costs several.
    plain: list[Message] = [SYSTEM, UserMessage("Say ab")]
    forged: list[Message] = [SYSTEM, UserMessage(f"Say a{literal}b")]
    few = ModelSettings(temperature=0, max_tokens=1)
    more = (await response(forged, few)).usage.input_tokens
    assert more > (await response(plain, few)).usage.input_tokens + 2


@pytest.mark.anyio
async def test_an_agent_answers_a_question_about_a_directory(tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("project")
    (folder / "lib").mkdir()
    (folder / "lib" / "greet.py").write_text("import os\n\n\ndef say_hello(name):\n    pass\n")
    agent = Agent(
        model(), instructions=SYSTEM.content, tools=project_reader(folder), settings=GREEDY
    )
    result = await agent.run("Where is say_hello defined?")
    assert result.output == "`say_hello` is defined in lib/greet.py:4."
    assert result.steps == 2


@pytest.mark.anyio
async def test_an_image_is_refused_with_what_the_model_takes() -> None:
    seen = UserMessage((TextPart("What is this?"), ImagePart("data:image/png;base64,AA==")))
    with pytest.raises(ServerNotReadyError, match="takes text, but a message holds image"):
        await response([seen])
