"""The chat in a terminal: forty keystrokes of a person, and what stands on the screen after each.

One conversation, played at two widths, without colours, in ASCII, and in a terminal that only
prints; there the steps that need keys of a line editor are left out.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.screen import ALT_ENTER, CTRL_C, CTRL_D, CTRL_U, TAB, UP, Terminal
from tests.servers import (
    Exchange,
    Script,
    Server,
    asks,
    call_chunks,
    chunk,
    fails,
    says,
    serving,
    stalls,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONG = " ".join(f"word{number}" for number in range(120))


def edits(old: str, new: str) -> dict[str, Any]:
    return {"path": "shop.py", "edits": [{"old": old, "new": new}]}


def held(gate: threading.Event, *chunks: dict[str, Any]) -> Script:
    """Begins to answer, and goes on when the test says so."""

    def script(exchange: Exchange) -> None:
        exchange.begin()
        exchange.event(chunk({"content": "Let me see. "}))
        gate.wait(60)
        for piece in chunks:
            exchange.event(piece)
        exchange.end()

    return script


class Play:
    """One conversation: the terminal, the server, and how many steps were played."""

    def __init__(self, terminal: Terminal, server: Server, project: Path, keys: bool) -> None:
        self.terminal, self.server, self.project, self.keys = terminal, server, project, keys
        self.steps = 0

    def replies(self, *scripts: Script) -> None:
        """What the server does next; the last answer stays."""
        self.server.script[:] = [*scripts, says("(nothing was expected)")]

    def line(self, typed: str, *expected: str) -> str:
        self.terminal.type(typed)
        return self.sees(*expected)

    def sees(self, *expected: str) -> str:
        """Waits until what is new on the screen holds all of these; one step of the script."""
        self.steps += 1
        return self.terminal.until_new(*expected)

    @property
    def prompt(self) -> Sequence[str]:
        """What comes behind an answer: without a status line, only it tells when one is over."""
        return () if self.keys else ("of 32,768 tokens (0 %) >",)

    @property
    def said(self) -> str:
        """The newest thing that the person said, as the server got it."""
        messages = self.server.requests[-1].body["messages"]
        return str([m["content"] for m in messages if m["role"] == "user"][-1])


def commands(play: Play) -> None:
    play.sees("agentkit 0", "google/gemma-4-26B-A4B-it", "ask", "Ask something")
    play.line("/help", "/tools", "Alt-Enter", "leave")
    play.line("/tools", "run_command (", "read_file (")
    play.line("/context", "0 of 32,768 tokens")
    play.line("/rules", "nothing beyond the policy")
    play.line("/foo", "/foo: there is no such command")
    play.line("/thinking perhaps", "there is no such command")


def answers(play: Play) -> None:
    play.replies(says("Hello there.\nHow are you?"))
    play.line("", ">")
    play.line("hi", "Hello there.", "How are you?", "11 of 32,768 tokens")
    play.line("/context", "11 of 32,768 tokens")
    play.replies(says(LONG))
    play.line("say much", "word0 ", "word119")
    play.replies(says("red \x1b[2J\x1b[31m done"))
    play.line("be hostile", "red ", " done")
    assert "word119" in play.terminal.all, "a model cannot clear the screen"
    play.replies(says("中文 🎉 end"))
    play.line("be wide", " end")
    play.replies(fails(400, {"error": {"message": "it has no wish to", "code": 400}}))
    play.line("fail", "it has no wish to")
    play.replies(says("Here again."))
    play.line("/thinking on", ">")
    play.line("and now?", "Here again.", *play.prompt)
    assert play.server.requests[-1].body["chat_template_kwargs"]["enable_thinking"] is True


def lines_of_text(play: Play) -> None:
    play.replies(says("Two lines."))
    play.terminal.type("one\\")
    play.line("two", "Two lines.", *play.prompt)
    assert play.said == "one\ntwo"
    if play.keys:
        play.replies(says("Three lines."))
        play.terminal.press("three" + ALT_ENTER + "four" + ALT_ENTER)
        play.line("five", "Three lines.")
        assert play.said == "three\nfour\nfive"
        play.replies(says("Two more."))
        play.terminal.press("eight\x1b\n")  # a terminal that is not raw has made it of Alt-Enter
        play.line("nine", "Two more.")
        assert play.said == "eight\nnine"
        play.replies(says("Pasted."))
        play.terminal.press("\x1b[200~six\nseven\x1b[201~")
        play.sees("seven")
        play.line("", "Pasted.")
        assert play.said == "six\nseven"
        play.terminal.press("/he" + TAB)
        play.sees("/help")
        play.line("", "/tools")
        play.replies(says("As before."))
        play.terminal.press(UP + UP + CTRL_U)  # a line that is recalled can be thrown away
        play.line("something", "As before.")
    play.replies(says("It is not lost."))
    play.terminal.until_gone("Ctrl-C stops")
    play.terminal.press("half a")
    play.sees("half a")
    play.terminal.press(CTRL_C)
    play.sees("Ctrl-D on an empty line leaves")
    play.line(" thought", "It is not lost.")
    assert play.said == "half a thought"


def interrupted(play: Play) -> None:
    play.replies(stalls(chunk({"content": "Half an answer"})), says("To what was typed ahead."))
    play.line("go on", "Half an answer")
    play.line("and then?", "and then?")
    play.terminal.press(CTRL_C)
    play.sees("no answer: the run was cancelled", "To what was typed ahead.")
    assert play.said == "and then?"
    before = play.server.requests[-1].body["messages"][-2]
    assert (before["role"], before["content"]) == ("assistant", "Half an answer")
    if play.keys:
        play.replies(stalls(chunk({"content": "Another half"})), says("To the draft."))
        play.line("once more", "Another half")
        play.terminal.press("a dra")
        play.sees("> a dra")
        play.terminal.press(CTRL_C)
        play.sees("no answer", "> a dra")
        play.line("ft", "To the draft.")
        assert play.said == "a draft"


def decisions(play: Play) -> None:
    shop = play.project / "shop.py"
    play.replies(asks("edit_file", **edits("PRICE = 3", "PRICE = 4")), says("Left as it is."))
    play.line("raise it", "? edit_file", "-PRICE = 3", "+PRICE = 4", "[y]es")
    play.line("what?", "Type y for this call")
    play.line("n not today", "Left as it is.")
    assert shop.read_text() == "PRICE = 3\n"
    told = play.server.requests[-1].body["messages"][-1]["content"]
    assert "a person said no: not today" in told

    play.replies(asks("edit_file", **edits("PRICE = 3", "PRICE = 4")), says("Raised once."))
    play.line("raise it", "[y]es")
    play.line("y", "Raised once.")
    assert shop.read_text() == "PRICE = 4\n"

    gate = threading.Event()
    play.replies(
        held(gate, *call_chunks(("edit_file", edits("PRICE = 4", "PRICE = 5")))),
        asks("edit_file", **edits("PRICE = 5", "PRICE = 6")),
        says("Raised twice."),
        says("Thank you."),
    )
    play.line("raise it twice", "Let me see.")
    play.line("yes, thank you", "thank you")
    gate.set()
    play.sees("? edit_file", "+PRICE = 5", "[y]es")
    assert shop.read_text() == "PRICE = 4\n", "what is typed ahead decides on nothing"
    play.line("r", "in this run", "Raised twice.", "Thank you.")
    assert shop.read_text() == "PRICE = 6\n"
    assert play.said.strip() == "yes, thank you"

    play.replies(asks("edit_file", **edits("PRICE = 6", "PRICE = 7")), says("For good."))
    play.line("again", "+PRICE = 7", "[y]es")
    play.line("a docs/*", "does not fit this call")
    play.line("a *.py", "until you begin anew", "For good.")
    play.replies(asks("edit_file", **edits("PRICE = 7", "PRICE = 8")), says("Unasked."))
    play.line("and again", "Unasked.")
    play.line("/rules", "edit_file on *.py")
    play.line("/new", "a new conversation")
    play.replies(asks("write_file", path="new.txt", content="tea"), says("Written."))
    play.line("write", "? write_file", "+tea", "[y]es")
    play.line('e {"path": "new.txt", "content": "milk"}', "Written.")
    assert (play.project / "new.txt").read_text() == "milk"
    play.replies(asks("write_file", path="new.txt", content="no"))
    play.line("write again", "-milk", "+no", "[y]es")
    play.terminal.press(CTRL_C)
    play.sees("no answer: the run was cancelled")
    assert (play.project / "new.txt").read_text() == "milk"


def the_end(play: Play, saved: Path) -> None:
    play.line(f"/save {saved}", "saved to")
    assert json.loads(saved.read_text())
    play.line("/history", "> write", "Written.")
    play.terminal.type("/exit")
    assert play.terminal.until_it_ends() == 0


SURROUNDINGS = {
    "60 columns": (60, {}),
    "120 columns": (120, {}),
    "no colour": (120, {"NO_COLOR": "1"}),
    "ASCII": (100, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "dumb": (100, {"TERM": "dumb"}),
}


def environment(tmp_path: Path, variables: dict[str, str]) -> dict[str, str]:
    """Of a terminal that nobody has set up, but for these variables."""
    inherited = ("AGENTKIT_", "LC_", "LANG")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(inherited)},
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "AGENTKIT_RUNS": str(tmp_path / "runs"),
        "AGENTKIT_CONFIG": os.devnull,
        **variables,
    }


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_forty_things_that_a_person_types(surroundings: str, tmp_path: Path) -> None:
    columns, variables = SURROUNDINGS[surroundings]
    project = tmp_path / "p"
    project.mkdir()
    (project / "shop.py").write_text("PRICE = 3\n")
    env = environment(tmp_path, variables)
    with serving(says("?")) as server:
        arguments = ["chat", "-p", str(project), "-m", server.url, "--allow"]
        with Terminal([*arguments, "ask"], env, columns) as terminal:
            play = Play(terminal, server, project, keys=surroundings != "dumb")
            for part in (commands, answers, lines_of_text, interrupted, decisions):
                part(play)
            the_end(play, tmp_path / "saved.json")
            assert play.steps >= (40 if play.keys else 34)
            raw = terminal.raw
        with Terminal([*arguments, "read-only", "--resume", "last"], env, columns) as terminal:
            # Keys are read from when the status line stands.
            ready = ["32,768 tokens |"] if play.keys else []
            terminal.until("> write", "Written.", "Ask something", *ready)
            terminal.press(CTRL_D)
            assert terminal.until_it_ends() == 0
    assert b"Traceback" not in raw
    if surroundings == "ASCII":
        assert raw.isascii()
    if surroundings in ("no colour", "dumb"):
        coloured = [code for code in colours(raw) if 30 <= code <= 49 or code >= 90]
        assert coloured == []
    if surroundings == "dumb":
        assert b"\x1b" not in raw


def colours(raw: bytes) -> Iterator[int]:
    """The numbers in what sets colours and styles."""
    for piece in raw.split(b"\x1b[")[1:]:
        head, ends, _ = piece.partition(b"m")
        if ends and head.replace(b";", b"").isdigit():
            yield from map(int, head.split(b";"))


OWN = '''
from dataclasses import dataclass

from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, call, say


@dataclass
class Order:
    item: str
    count: int


@tool(labels={"writes"})
def note(text: str) -> str:
    """Writes a note."""
    return f"noted {text}"


def counted(request):
    said = [message.content for message in request.messages if message.role == "user"]
    return call("final_answer", answer={"item": "caf\u00e9 " + said[-1], "count": len(said)})


def breaks(request):
    raise KeyError("shelf")


order = {"item": "rug", "count": 2}
script = [
    call("note", text="tea"), call("final_answer", answer=order),
    call("note", text="milk"), call("final_answer", answer=order),
    counted, breaks, counted,
]
agent = Agent(ScriptedModel(script), tools=[note], policy="ask", output_type=Order)
'''


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_an_agent_of_ones_own_is_talked_with_and_survives_a_fault_of_its_code(
    surroundings: str, tmp_path: Path
) -> None:
    columns, variables = SURROUNDINGS[surroundings]
    own = tmp_path / "own.py"
    own.write_text(OWN)
    project = tmp_path / "p"
    project.mkdir()
    arguments = ["chat", "-p", str(project), "--agent", str(own)]
    with Terminal(arguments, environment(tmp_path, variables), columns) as terminal:

        def line(typed: str, *expected: str) -> None:
            terminal.type(typed)
            terminal.until_new(*expected)

        terminal.until_new("scripted", "own.py", "its own policy", "Ask something")
        line("/tools", "note (writes): Writes a note.", "final_answer")
        line("order", "? note", "tea", "[y]es")
        line("y", "noted tea", '"item": "rug"', '"count": 2')
        line("again", "milk", "[y]es")
        line("n not now", "a person said no: not now", '"item": "rug"')
        line("third", '"count": 3')
        line("fourth", "KeyError: 'shelf'", "own.py, line 26", "the traceback is in")
        line("fifth", '"count": 5')
        line("/history", "> order", "> fourth", "> fifth")
        terminal.type("/exit")
        assert terminal.until_it_ends() == 0
        raw = terminal.raw
    assert b"Traceback" not in raw
    if surroundings == "ASCII":
        assert raw.isascii()
    if surroundings == "dumb":
        assert b"\x1b" not in raw
    assert "in breaks" in (tmp_path / "agentkit.log").read_text()
