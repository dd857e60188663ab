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
from agentkit.cli.chat import Chat, Status
from agentkit.cli.editor import Lines
from agentkit.cli.person import Person
from agentkit.cli.terminal import Printer
from agentkit.errors import ModelConnectionError
from agentkit.messages import load_messages, text_of
from agentkit.policy import Policy, preset
from agentkit.testing import ScriptedModel, call, say

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

    def __init__(self, lines: Iterable[str], file: Path) -> None:
        self.out = io.StringIO()
        printer = Printer(Console(file=self.out, width=200), Console(file=self.out, width=200))
        self.lines = Typed(lines)
        self.chat = Chat(printer, file, Status())
        self.person = Person(self.lines.ask, printer)

    async def run(self, agent: Agent[Any, Any]) -> str:
        await self.chat.run(agent, self.lines)
        return self.out.getvalue()


async def test_a_conversation_remembers_what_was_said_and_is_saved(tmp_path: Path) -> None:
    model = ScriptedModel([say("Hello."), say("You said hi.")])
    talk = Talk(["hi", "", "what did I say?"], tmp_path / "c.json")
    shown = await talk.run(Agent(model, observers=()))
    assert [text_of(m.content) for m in model.requests[1].messages] == [
        "hi",
        "Hello.",
        "what did I say?",
    ]
    assert "You said hi." in shown
    assert load_messages((tmp_path / "c.json").read_bytes()) == talk.chat.messages


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("y", "noted milk"),
        ("n not now", "a person said no: not now"),
        ('e {"text": "tea"}', "noted tea"),
    ],
)
async def test_a_call_that_writes_is_approved_denied_or_edited(
    tmp_path: Path, typed: str, seen: str
) -> None:
    model = ScriptedModel([call("note", text="milk"), say("ok")])
    talk = Talk(["do it", "what?", typed], tmp_path / "c.json")
    agent = Agent(
        model, tools=[note], policy=Policy.ask("writes"), approve=talk.person.decide, observers=()
    )
    await talk.run(agent)
    assert seen in text_of(model.requests[1].messages[-1].content)


async def test_a_server_that_fails_is_told_once_and_the_chat_goes_on(tmp_path: Path) -> None:
    model = ScriptedModel([ModelConnectionError("the server is gone"), say("Here again.")])
    talk = Talk(["hi", "still there?"], tmp_path / "c.json")
    shown = await talk.run(Agent(model, observers=()))
    assert shown.count("the server is gone") == 1
    assert "Here again." in shown


def test_a_conversation_that_is_not_there_is_named_with_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path / "runs"))
    done = CliRunner().invoke(app, ["chat", "-m", "http://127.0.0.1:1", "--resume", "nope"])
    assert done.exit_code == 2
    assert "--resume nope: No such file" in done.stderr
    assert str(tmp_path / "chats") in done.stderr


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


async def test_a_conversation_that_cannot_be_saved_goes_on_and_says_so(tmp_path: Path) -> None:
    model = ScriptedModel([say("1"), say("2")])
    talk = Talk(["a", "b"], tmp_path / "nowhere" / "c.json")
    shown = await talk.run(Agent(model, observers=()))
    assert shown.count("not saved: ") == 2
    assert len(talk.chat.messages) == 4


async def test_new_forgets_and_help_tells(tmp_path: Path) -> None:
    model = ScriptedModel([say("1"), say("2")])
    talk = Talk(["a", "/new", "/help", "b", "/exit", "never asked"], tmp_path / "c.json")
    shown = await talk.run(Agent(model, observers=()))
    assert len(model.requests[1].messages) == 1
    assert "/thinking" in shown


async def test_what_a_person_permits_holds_for_the_rest_of_the_conversation(tmp_path: Path) -> None:
    noted = [call("note", text="milk"), say("ok"), call("note", text="tea"), say("ok")]
    model = ScriptedModel([*noted, call("note", text="rice"), say("ok")])
    talk = Talk(["do it", "a *", "again", "/new", "once more", "n no more"], tmp_path / "c.json")
    agent = Agent(model, tools=[note], policy="ask", approve=talk.person.decide, observers=())
    talk.chat.policy, talk.chat.grants = preset("ask"), talk.person.grants
    await talk.run(agent)
    results = [text_of(r.messages[-1].content) for r in model.requests[1::2]]
    assert [result.split(":")[0] for result in results] == [
        "noted milk",
        "noted tea",
        "Error",
    ]
