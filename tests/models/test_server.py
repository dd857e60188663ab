"""What is asked of a server: each fact once for all runs, and one request a step."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import anyio
import pytest

from agentkit import Agent, Context, RunResult, VLLMModel, tool
from agentkit.errors import ModelConnectionError
from agentkit.messages import ModelRequest, UserMessage
from agentkit.models.embedded import BUNDLED
from agentkit.models.tokens import places, profile_of
from agentkit.wire import ServedModel
from tests.models.test_prompt import TINY, TemplateServer

pytestmark = pytest.mark.anyio

CALL = '<|tool_call>call:look{name:<|"|>a → ü<|"|>}<tool_call|>'


@tool(effect="pure")
async def look(name: str) -> str:
    """Looks."""
    return f"{name}: " + "日本 ü 😀 words " * 36


async def run(model: VLLMModel, context: Context | None = None) -> RunResult[str]:
    agent = Agent(model, tools=[look], observers=(), context=context)
    return await agent.run("Look at it.")


def asked(server: TemplateServer, start: int = 0) -> Counter[str]:
    return Counter(server.asked[start:])


async def test_with_the_servers_own_folder_at_hand_a_step_is_one_request() -> None:
    server = TemplateServer(TINY, root=str(BUNDLED), replies=[CALL, CALL, "done", CALL, "done"])
    model = server.model()
    first = await run(model)
    assert asked(server) == {
        "/v1/models": 1,
        "/tokenize": 2,  # is the tokenizer the server's, and which template has it
        "/v1/chat/completions": 1 + 3,  # the grammar's probe
    }
    start = len(server.asked)
    second = await run(model)
    assert asked(server, start) == {"/v1/chat/completions": 2}
    for result in (first, second):
        assert result.stop_reason == "answer"
        assert all(prompt.exact for prompt in result.context.prompts)
        assert all(prompt.foreseen == prompt.counted for prompt in result.context.prompts)
    [call] = first.messages[1].tool_calls  # type: ignore[union-attr]  # the first reply
    assert call.arguments == {"name": "a → ü"}, "read from the reply's own tokens"


async def test_tools_are_lowered_once_for_all_runs_and_agents_that_have_the_same_ones() -> None:
    model = TemplateServer(TINY, root=str(BUNDLED), replies=[]).model()
    forms = [
        await model.prompt_form(ModelRequest([UserMessage("Look.")], [look.definition]))
        for _ in range(2)
    ]
    assert forms[0] is not None
    assert forms[1] is not None
    assert forms[0].declarations is forms[1].declarations


async def test_a_tokenizer_at_hand_that_is_not_the_servers_is_not_used(tmp_path: Path) -> None:
    other = json.loads((BUNDLED / "tokenizer.json").read_text(encoding="utf-8"))
    other["model"]["merges"] = other["model"]["merges"][:100]
    (tmp_path / "tokenizer.json").write_text(json.dumps(other), encoding="utf-8")
    for given in (None, tmp_path):
        server = TemplateServer(TINY, root=str(tmp_path), replies=["done"])
        form = await server.model(given).prompt_form(ModelRequest([UserMessage("hi")]))
        assert form is not None
        assert form.asks, "the server counts"


async def test_a_server_is_asked_for_counts_only_where_there_may_be_no_room() -> None:
    server = TemplateServer(TINY, replies=[CALL, CALL, CALL, "done"])
    result = await run(server.model())
    assert result.stop_reason == "answer"
    assert asked(server)["/tokenize"] == 1, "the template's probe"
    assert asked(server)["/detokenize"] == 1 + 2, "the probe, the words, and those of bytes"
    assert not any(prompt.exact for prompt in result.context.prompts)


async def test_where_there_may_be_no_room_counts_are_exact() -> None:
    server = TemplateServer(TINY, replies=[*[CALL] * 8, "done"])
    result = await run(server.model(), Context(compact_at=4_000))
    counted = [prompt for prompt in result.context.prompts if prompt.exact]
    assert counted
    assert all(prompt.foreseen == prompt.counted for prompt in counted)
    assert all(prompt.counted <= 4_000 for prompt in result.context.prompts)
    assert result.context.compactions


async def test_a_tokenizer_that_is_given_is_believed_where_the_server_cannot_be_asked() -> None:
    server = TemplateServer(TINY, missing=["/tokenize"], replies=["done"])
    [prompt] = (await run(server.model(BUNDLED))).context.prompts
    assert prompt.exact


async def test_a_path_without_a_tokenizer_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no tokenizer at .*tokenizer\.json"):
        VLLMModel("http://server", tokenizer=tmp_path)


@pytest.mark.parametrize("root", ["somewhere/else", str(BUNDLED)])
async def test_first_runs_at_once_ask_for_each_fact_once(root: str) -> None:
    server = TemplateServer(TINY, root=root, replies=["done"] * 8)
    model = server.model()
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(run, model)
    counts = asked(server)
    assert counts["/v1/chat/completions"] == 1 + 8
    assert (counts["/v1/models"], counts["/version"]) == (1, 0)
    assert counts["/tokenizer_info"] == (0 if root == str(BUNDLED) else 1)


async def test_a_server_that_is_away_is_asked_again() -> None:
    server = TemplateServer(TINY, replies=["done"])
    model = server.model()
    server.away = True
    with pytest.raises(ModelConnectionError):
        await model.served()
    server.away = False
    await run(model)
    assert model.constrains


def test_a_hubs_cache_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--google--gemma-4-E2B-it"
    for snapshot in ("older", "main-one"):
        (model / "snapshots" / snapshot).mkdir(parents=True)
        shutil.copy(BUNDLED / "tokenizer.json", model / "snapshots" / snapshot)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("main-one", encoding="utf-8")
    found = list(places(["google/gemma-4-E2B-it", "/no/such/folder", "../x", "tiny"]))
    assert [file.parent.name for file in found] == ["main-one", "older"]


def test_the_size_of_a_model_is_found_behind_a_name_that_does_not_say_it(tmp_path: Path) -> None:
    def named(name: str, *roots: str) -> str:
        return profile_of(ServedModel(name, 8_192, roots)).name

    assert named("google/gemma-4-E4B-it", "/models/x") == "E4B"
    assert named("assistant", "unsloth/gemma-4-31B-it-FP8") == "31B"
    assert named("my-adapter", str(tmp_path), "google/gemma-4-26B-A4B-it") == "26B-A4B"
    assert named("assistant", str(tmp_path)) == "gemma-4"
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "config.json").write_text("no JSON")
    assert named("other", str(tmp_path)) == "gemma-4"
    config = {"model_type": "gemma4", "text_config": {"num_hidden_layers": 35}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert named("house-model", str(tmp_path)) == "E2B"
