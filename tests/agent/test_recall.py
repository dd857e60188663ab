"""What a prompt leaves out is read again, to the character, by whoever follows its words."""

from __future__ import annotations

import random
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, get_args

import anyio
import pytest

from agentkit import Agent, Context, Limits, tool
from agentkit.agent.recall import recall_tools
from agentkit.agent.run import WholeResults
from agentkit.events import RunResult, ToolFinished, ToolStarted
from agentkit.executors import LocalExecutor, ProcessExecutor
from agentkit.journal import SQLiteJournal
from agentkit.messages import ImagePart, ModelRequest, ToolCall, ToolMessage, text_of
from agentkit.policy import Policy, Preset, preset
from agentkit.testing import ScriptedModel, call, calls, say
from agentkit.testing.scripted import Reply
from agentkit.toolset import LABELS, Tool, ValidatedCall
from agentkit.toolset.results import MAX_IN_HISTORY
from tests.agent.following import PAGE, Follower, Windowed
from tests.mortal import Killed, Mortal
from tests.ticking import ticking

PIECES = ["alpha ", "beta\n", "42", "ü", "日本", "\n\n", "[…", "😀", "{a: 1}", "  ", "error: no\n"]


def some_text(rng: random.Random, characters: int) -> str:
    text = ""
    while len(text) < characters:
        text += rng.choice(PIECES) * rng.choice([1, 1, 1, 7])
    return text[:characters]


def results(result: RunResult[Any]) -> list[str]:
    return [text_of(m.content) for m in result.messages if isinstance(m, ToolMessage)]


def reading(texts: list[str]) -> Tool[..., Any]:
    @tool(effect="pure", labels=set())
    def read(number: int) -> str:
        """Reads."""
        return texts[number]

    return read


@pytest.mark.parametrize("window", [2_000, 4_096, 32_768])
@pytest.mark.parametrize("counted", [True, False])
def test_who_follows_the_words_has_every_text_to_the_character(window: int, counted: bool) -> None:
    rng = random.Random(window)
    texts = [some_text(rng, size) for size in (50, 3_000, min(window * 3, 20_000))]
    follower, shown = Follower(), list[str]()

    def reply(request: ModelRequest) -> Reply:
        newest = request.messages[-1]
        if isinstance(newest, ToolMessage) and newest.name == "read":
            shown.append(text_of(newest.content))
        if (again := follower.next_call(request)) is not None:
            return again
        return call("read", number=len(shown)) if len(shown) < len(texts) else say("Done.")

    agent = Agent(
        Windowed(reply, window, counted=counted),
        tools=[reading(texts)],
        context=Context(compact_at=window),
        limits=Limits(steps=1_000),
    )
    made = agent.run_sync("Read all.")
    assert made.stop_reason == "answer", made.explanation
    places = [at for at, m in enumerate(made.messages, 1) if getattr(m, "name", "") == "read"]
    for place, text, whole in zip(places, shown, texts, strict=True):
        assert follower.text(place, text) == whole


@pytest.mark.parametrize(
    ("window", "at_once"), [(2_000, 1), (2_000, 4), (8_192, 8), (32_768, 8), (262_144, 8)]
)
def test_a_page_is_never_cut_and_has_room_beside_the_others_of_its_reply(
    window: int, at_once: int
) -> None:
    text = some_text(random.Random(at_once), 60_000)
    step = len(text) // 60

    def reply(request: ModelRequest) -> Reply:
        newest = [m for m in request.messages[-at_once:] if isinstance(m, ToolMessage)]
        steps = len(model.requests) - 1
        for page in newest:
            whole = page.name == "read" or page.is_error
            assert whole or PAGE.fullmatch(text_of(page.content)), page.content
        if steps == 0:
            return call("read", number=0)
        if steps > 6:
            return say("Done.")
        starts = [(steps * at_once + n) * step for n in range(at_once)]
        return calls(*(("read_result", {"result": 3, "start": start}) for start in starts))

    model = Windowed(reply, window)
    agent = Agent(model, tools=[reading([text])], context=Context(compact_at=window))
    made = agent.run_sync("Read all.")
    assert made.stop_reason == "answer", made.explanation
    assert made.context.compactions or window > 8_192
    for page in map(PAGE.fullmatch, results(made)[1:]):
        assert page
        assert page[5] == text[int(page[2]) : int(page[3])]
        assert int(page[3]) - int(page[2]) >= 10


def test_more_pages_than_there_is_room_for_are_asked_for_one_by_one() -> None:
    def reply(request: ModelRequest) -> Reply:
        if request.messages[-1].role == "user":
            return call("read", number=0)
        if len(request.messages) > 3:
            return say("Done.")
        return calls(*(("read_result", {"result": 3, "start": n}) for n in range(12)))

    agent = Agent(Windowed(reply, 2_000), tools=[reading(["word " * 2_000])])
    pages = results(agent.run_sync("Go."))[1:]
    assert pages
    for page in pages:
        assert page.startswith("Error: there is no room for so much at once: make these calls one")


def test_lines_are_found_in_one_result_and_in_everything_that_was_said() -> None:
    texts = ["\n".join(f"page {n}, line {k}" for k in range(40)) for n in range(3)]
    script = [
        call("read", number=0),
        call("read", number=1),
        call("search_result", result=2, words="LINE 17"),
        call("recall", words="line 39"),
        call("recall", words="elephant"),
        call("read_result", result=6),
        call("read_result", result=10, start=2),
        call("search_result", result=99, words="x"),
        call("read_result", result=2, start=10_000),
        say("Done."),
    ]
    made = Agent(ScriptedModel(script), tools=[reading(texts)]).run_sync("Go.")
    found, everywhere, nothing, list_again, page_of_user, none, beyond = results(made)[2:]
    assert found == "[Nothing holds any of these words.]", "the message of that number is a call"
    assert "[2 lines with these words:]" in everywhere
    assert everywhere.index("page 1, line 39") < everywhere.index("page 0, line 39")
    assert "[Result 5 of read, line 40, start 598:]" in everywhere
    assert nothing == "[Nothing holds any of these words.]"
    assert "make that call again" not in list_again
    assert page_of_user.startswith("Error")
    assert "the numbers go from 1 to" in none
    assert "start is 10000" in beyond


def test_what_has_come_since_is_found_by_the_same_words() -> None:
    script = [
        call("read", number=0),
        call("recall", words="page"),
        call("read", number=1),
        call("recall", words="page"),
        say("Done."),
    ]
    made = Agent(ScriptedModel(script), tools=[reading(["page one", "page two"])]).run_sync("Go.")
    _, before, _, after = results(made)
    assert "page one" in before
    assert after.index("page two") < after.index("page one")


def test_a_result_that_the_history_cannot_hold_is_there_to_the_last_character() -> None:
    whole = some_text(random.Random(3), MAX_IN_HISTORY + 300_000)
    starts = [0, 700_000, MAX_IN_HISTORY - 10, MAX_IN_HISTORY + 299_990]
    script = [call("read", number=0)]
    script += [call("read_result", result=3, start=start) for start in starts]
    made = Agent(ScriptedModel([*script, say("Done.")]), tools=[reading([whole])]).run_sync("Go.")
    history, *pages = results(made)
    assert len(history) <= MAX_IN_HISTORY
    for start, page in zip(starts, map(PAGE.fullmatch, pages), strict=True):
        assert page
        assert page[5] == whole[start : start + len(page[5])] != ""


def test_what_memory_cannot_hold_goes_to_a_file_and_comes_back() -> None:
    texts = {n: some_text(random.Random(n), 500) for n in range(5)}
    with closing(WholeResults(in_memory=1_000)) as kept:
        for number, text in texts.items():
            kept.keep(number, text, text[:100])
        kept.keep(9, "all", "all")
        assert {number: kept.get(number) for number in texts} == texts
        assert kept.get(9) is None


@pytest.mark.parametrize("executor", [LocalExecutor, ProcessExecutor])
def test_they_run_in_this_process_whatever_runs_the_others(executor: Any) -> None:
    script = [call("absolute", number=-3), call("read_result", result=3), say("Done.")]
    with ExitStack() as stack:
        made = executor()
        if isinstance(made, ProcessExecutor):
            stack.enter_context(made)
        result = Agent(ScriptedModel(script), tools=[absolute], executor=made).run_sync("Go.")
    assert results(result) == [
        "3",
        "[Result 3 of absolute, characters 0 to 1 of 1:]\n3\n[It ends here.]",
    ]


@tool(effect="pure", labels=set())
def absolute(number: int) -> int:
    """Without its sign."""
    return abs(number)


def offered(agent: Agent[Any, Any]) -> list[str]:
    agent.run_sync("Go.")
    (request,) = agent.model.requests  # type: ignore[attr-defined]  # a ScriptedModel
    return [definition.name for definition in request.tools]


def test_they_are_offered_with_tools_of_the_users_and_not_otherwise() -> None:
    ours = ["read_result", "search_result", "recall"]
    assert offered(Agent(ScriptedModel([say("Hi.")]), tools=[absolute])) == ["absolute", *ours]
    assert offered(Agent(ScriptedModel([say("Hi.")]))) == []
    planned = ["absolute", "plan", *ours]
    agent = Agent(ScriptedModel([say("Hi.")]), tools=[absolute], planning="auto")
    assert offered(agent) == planned
    assert offered(Agent(ScriptedModel([say("Hi.")]), planning="auto")) == ["plan"]
    answering = Agent(ScriptedModel([call("final_answer", answer=3)]), output_type=int)
    assert offered(answering) == ["final_answer"]


def test_one_setting_leaves_them_out_and_so_does_a_tool_of_the_name() -> None:
    off = Agent(ScriptedModel([say("Hi.")]), tools=[absolute], context=Context(recall=False))
    assert offered(off) == ["absolute"]

    @tool
    def read_result(result: int) -> str:
        """Reads a result of the laboratory."""
        return str(result)

    @tool(name="Recall")
    def recall(product: str) -> str:
        """Calls a product back."""
        return product

    taken = Agent(ScriptedModel([say("Hi.")]), tools=[read_result, recall])
    assert offered(taken) == ["Recall", "read_result", "search_result"]


def test_without_them_a_preview_says_what_else_can_be_done() -> None:
    text = some_text(random.Random(0), 60_000)
    seen: list[str] = []

    def reply(request: ModelRequest) -> Reply:
        if request.messages[-1].role == "tool":
            seen.append(text_of(request.messages[-1].content))
            return say("Done.")
        return call("read", number=0)

    agent = Agent(Windowed(reply, 8_192), tools=[reading([text])], context=Context(recall=False))
    agent.run_sync("Go.")
    assert "Call read again with number set to what is missing." in seen[0]
    assert "read_result" not in seen[0]


@pytest.mark.parametrize("name", get_args(Preset))
def test_no_policy_of_ours_stands_in_their_way(name: Preset) -> None:
    for policy in (preset(name), *(Policy.ask(label) for label in LABELS), Policy.deny(*LABELS)):
        for own in recall_tools():
            arguments = {"result": 1, "words": "x"}
            given = {
                k: v for k, v in arguments.items() if k in own.definition.parameters["properties"]
            }
            checked = own.validate(ToolCall("c", own.name, given))
            assert isinstance(checked, ValidatedCall)
            assert policy.verdict(checked, LABELS) == "allow"


def test_an_image_is_shown_again_with_its_result() -> None:
    image = ImagePart(PIXEL)

    @tool(effect="pure")
    def look() -> list[Any]:
        """Looks."""
        return ["a red dot", image]

    script = [call("look"), call("read_result", result=3), say("Done.")]
    made = Agent(ScriptedModel(script), tools=[look]).run_sync("Go.")
    shown = [m.content for m in made.messages if isinstance(m, ToolMessage)][-1]
    assert isinstance(shown, tuple)
    assert shown[1] == image
    assert PAGE.fullmatch(text_of(shown))


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAE"
    "hQGAhKmMIQAAAABJRU5ErkJggg=="
)


@pytest.mark.anyio
async def test_a_search_through_megabytes_never_holds_up_the_event_loop() -> None:
    text = some_text(random.Random(5), 900_000)
    script = [call("read", number=0), call("read", number=1), call("recall", words="Alpha ö 42")]
    agent = Agent(ScriptedModel([*script, say("Done.")]), tools=[reading([text, text + "!"])])
    held_up, found = list[float](), ""
    async with ticking() as delays:
        async for event in agent.stream("Go."):
            if isinstance(event, ToolStarted):
                delays.longest_own = 0.0
            elif isinstance(event, ToolFinished):
                held_up.append(delays.longest_own)
                found = text_of(event.result.content)
    assert "with 2 of these words; the first" in found
    assert held_up[-1] < 0.1


def test_a_run_that_died_is_given_back_what_it_recalled(tmp_path: Path) -> None:
    text = some_text(random.Random(8), 4_000)
    dies = [True]

    @tool(effect="idempotent")
    def work() -> str:
        """Works."""
        if dies.pop():
            raise Killed
        return "worked"

    script = [
        call("read", number=0),
        call("read_result", result=3, start=100),
        calls(("work", {}), ("recall", {"words": "alpha"})),
        call("read_result", result=3, start=200),
        say("Done."),
    ]
    tools = [reading([text]), work]
    journal = SQLiteJournal(tmp_path / "runs.db")

    async def main() -> list[RunResult[Any]]:
        first = ScriptedModel(script)
        with pytest.raises(Killed):
            await Agent(first, tools=tools, executor=Mortal()).run(
                "Go.", journal=journal, run_id="r"
            )
        dies[:] = [False, False]
        rest = ScriptedModel(script[len(first.requests) :])
        resumed = await Agent(rest, tools=tools).resume("r", journal=journal)
        return [resumed, await Agent(ScriptedModel(script), tools=tools).run("Go.")]

    resumed, whole = anyio.run(main)
    journal.close()
    assert resumed.messages == whole.messages


class _Named(ScriptedModel):
    @property
    def name(self) -> str:
        return "tiny-gemma4-demo"


@pytest.mark.parametrize(("context", "offered"), [(None, False), (Context(recall=True), True)])
def test_the_demonstration_model_has_them_only_where_they_are_asked_for(
    context: Context | None, offered: bool
) -> None:
    model = _Named([say("Done.")])
    Agent(model, tools=[reading(["a"])], context=context).run_sync("Read.")
    assert ("recall" in [tool.name for tool in model.requests[0].tools]) is offered
