"""The chat, line by line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agentkit import Agent, tool
from agentkit.cli.app import app
from agentkit.cli.chat import Chat, Status, conversation_lines
from agentkit.cli.editor import Lines
from agentkit.cli.terminal import Person, Printer
from agentkit.errors import ModelConnectionError
from agentkit.journal import SQLiteJournal, StoredJournal
from agentkit.messages import (
    AssistantMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
    mended_history,
    text_of,
)
from agentkit.policy import Policy, preset
from agentkit.testing import ScriptedModel, call, say
from agentkit.trace import said_in

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    """The chat's own backend: prompt-toolkit works on asyncio."""
    return "asyncio"


@tool(labels={"writes"})
def note(text: str) -> str:
    """Writes a note."""
    return f"noted {text}"


class Typed(Lines):
    """Types these lines, then ends the input."""

    def __init__(self, lines: Iterable[str]) -> None:
        super().__init__()
        self._lines = iter(lines)
        self.prompts: list[str] = []

    async def ask(self, prompt: str) -> str:
        self.prompts.append(prompt)
        try:
            return next(self._lines)
        except StopIteration:
            raise EOFError from None


class Talk:
    """A chat, the person who types its lines and decides, and what stands on the screen."""

    def __init__(self, lines: Iterable[str], journal: StoredJournal | None = None) -> None:
        self.out = io.StringIO()
        printer = Printer(Console(file=self.out, width=200), Console(file=self.out, width=200))
        self.lines = Typed(lines)
        self.chat = Chat(printer, journal, Status())
        self.person = Person(self.lines.ask, printer)

    async def run(self, agent: Agent[Any, Any]) -> str:
        await self.chat.run(agent, self.lines)
        return self.out.getvalue()


async def test_a_conversation_remembers_what_was_said_and_is_kept(tmp_path: Path) -> None:
    model = ScriptedModel([say("Hello."), say("You said hi.")])
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        talk = Talk(["hi", "", "what did I say?"], journal)
        shown = await talk.run(Agent(model, observers=()))
        assert await said_in(journal, talk.chat.name) == talk.chat.messages
    assert [text_of(m.content) for m in model.requests[1].messages] == [
        "hi",
        "Hello.",
        "what did I say?",
    ]
    assert "You said hi." in shown


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("y", "noted milk"),
        ("n not now", "a person said no: not now"),
        ('e {"text": "tea"}', "noted tea"),
    ],
)
async def test_a_call_that_writes_is_approved_denied_or_edited(typed: str, seen: str) -> None:
    model = ScriptedModel([call("note", text="milk"), say("ok")])
    talk = Talk(["do it", "what?", typed])
    agent = Agent(
        model, tools=[note], policy=Policy.ask("writes"), approve=talk.person.decide, observers=()
    )
    await talk.run(agent)
    assert seen in text_of(model.requests[1].messages[-1].content)


async def test_a_server_that_fails_is_told_once_and_the_chat_goes_on() -> None:
    model = ScriptedModel([ModelConnectionError("the server is gone"), say("Here again.")])
    talk = Talk(["hi", "still there?"])
    shown = await talk.run(Agent(model, observers=()))
    assert shown.count("the server is gone") == 1
    assert "Here again." in shown


def test_a_conversation_that_is_not_there_is_named_with_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path / "runs"))
    done = CliRunner().invoke(app, ["chat", "-m", "http://127.0.0.1:1", "--resume", "nope"])
    assert done.exit_code == 2
    assert "--resume nope: there is none; agentkit conversations list shows" in done.stderr
    both = CliRunner().invoke(app, ["chat", "--resume", "last", "--fork", "r"])
    assert (both.exit_code, "give one" in both.stderr) == (2, True)
    forked = CliRunner().invoke(app, ["chat", "-m", "http://127.0.0.1:1", "--fork", "r"])
    assert (forked.exit_code, "there is no such run" in forked.stderr) == (2, True)


def test_with_its_input_closed_the_chat_ends_at_once(tmp_path: Path) -> None:
    code = "import os, sys; os.close(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", code, "-m", "agentkit", "chat", "-m", "http://127.0.0.1:1"],
        env={**os.environ, "AGENTKIT_RUNS": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


async def test_a_conversation_that_cannot_be_kept_goes_on_and_says_so(tmp_path: Path) -> None:
    model = ScriptedModel([say("1"), say("2")])
    journal = SQLiteJournal(tmp_path / "runs.db")
    journal.close()
    talk = Talk(["a", "b", "c"], journal)
    shown = await talk.run(Agent(model, observers=()))
    assert shown.count("not kept from here on: ") == 1
    assert [text_of(each.content or "") for each in talk.chat.messages] == ["b", "1", "c", "2"]


async def test_a_conversation_is_gone_on_with_and_forked_by_name(tmp_path: Path) -> None:
    model = ScriptedModel([say("Hello."), say("Again."), say("Elsewhere.")])
    agent = Agent(model, observers=())
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        first = Talk(["hi"], journal)
        await first.run(agent)
        (run_id,) = await journal.turns(first.chat.name)
        for resume, fork in (("last", None), (None, run_id)):
            later = Talk(["and now?"], journal)
            await later.chat.take_up(resume, fork)
            assert [text_of(m.content or "") for m in later.chat.messages] == ["hi", "Hello."]
            await later.run(agent)
        assert len(await journal.turns(first.chat.name)) == 2
        assert len(await journal.conversations()) == 2


async def test_history_tells_of_a_stopped_answer_in_the_words_of_the_chat() -> None:
    messages = mended_history(
        [
            UserMessage("Note it."),
            AssistantMessage(None, (ToolCall("1", "note", {"text": "tea"}),)),
            ToolMessage("1", "note", "noted tea"),
            UserMessage("And now?"),
        ]
    )
    rows = [text for text, _ in conversation_lines(messages)]
    assert rows == ["> Note it.", "→ note", "no answer: it was stopped here", "> And now?"]


async def test_new_forgets_and_help_tells() -> None:
    model = ScriptedModel([say("1"), say("2")])
    talk = Talk(["a", "/new", "/help", "b", "/exit", "never asked"])
    shown = await talk.run(Agent(model, observers=()))
    assert len(model.requests[1].messages) == 1
    assert "/thinking" in shown


async def test_what_a_person_permits_holds_for_the_rest_of_the_conversation() -> None:
    noted = [call("note", text="milk"), say("ok"), call("note", text="tea"), say("ok")]
    model = ScriptedModel([*noted, call("note", text="rice"), say("ok")])
    talk = Talk(["do it", "a *", "again", "/new", "once more", "n no more"])
    agent = Agent(model, tools=[note], policy="ask", approve=talk.person.decide, observers=())
    talk.chat.policy, talk.chat.grants = preset("ask"), talk.person.grants
    await talk.run(agent)
    results = [text_of(r.messages[-1].content) for r in model.requests[1::2]]
    assert [result.split(":")[0] for result in results] == [
        "noted milk",
        "noted tea",
        "Error",
    ]
