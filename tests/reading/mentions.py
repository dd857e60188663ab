"""Answers that mention calls of offered tools: in prose, in code, in tables, in other languages.

A mention is spelled in ordinary tokens. Whatever it looks like, it is text.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from agentkit import Agent, VLLMModel
from tests.reading.damage import Meant, whole
from tests.reading.playing import offered_names, recording, tool_results
from tests.reading.schemas import TOOLS, JsonObject, SchemaTool
from tests.reading.server import URL, Server, Wrote
from tests.reading.tokens import RESPONSE, THOUGHT_CLOSE, THOUGHT_OPEN, TURN_END, spelled

MENTIONED: Final = tuple(
    TOOLS[name]
    for name in (
        *("send_mail", "delete_file", "shell", "lights", "refund", "move_event", "add"),
        *("notify", "web_search", "transfer", "update_settings", "branch", "write_file"),
    )
)
"""The tools whose calls are mentioned; they are all offered."""


@dataclass(frozen=True)
class Mention:
    """An answer.

    Attributes:
        way: How the call is mentioned.
        text: The whole answer.
        alone: The answer is nothing but the call in a wrong form, so that the model may be asked
            what it meant; the text is no answer to hold anybody to.
    """

    way: str
    text: str
    alone: bool = False


# --- the call, as it is mentioned --------------------------------------------------------------


def _bare(call: Meant) -> str:
    return _full(call).removeprefix("<|tool_call>").removesuffix("<tool_call|>")


def _full(call: Meant) -> str:
    return spelled(whole(call).written)


def _python(call: Meant) -> str:
    return f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"


def _object(call: Meant) -> dict[str, Any]:
    return {"name": call.name, "arguments": call.arguments}


def _json(call: Meant) -> str:
    return json.dumps(_object(call), ensure_ascii=False)


def _hermes(call: Meant) -> str:
    return f"<tool_call>\n{_json(call)}\n</tool_call>"


def _xml(call: Meant) -> str:
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in call.arguments.items())
    return f"<function={call.name}>{inner}</function>"


def _react(call: Meant) -> str:
    return f"Action: {call.name}\nAction Input: {json.dumps(call.arguments)}"


def _empty(call: Meant) -> str:
    return f"call:{call.name}{{}}"


NOTATIONS: Final[tuple[Callable[[Meant], str], ...]] = (
    _bare,
    _bare,
    _full,
    _full,
    _empty,
    _python,
    _json,
    _hermes,
    _xml,
    _react,
)


def _line(text: str) -> str:
    return " ".join(text.split())


# --- the ways ----------------------------------------------------------------------------------

WAYS: Final[dict[str, Callable[[str], str]]] = {
    "prose": lambda c: f"I could use {_line(c)} for that, but I will not.",
    "prose with a colon": lambda c: f"The way to do it is this:\n{c}\nTell me if I should.",
    "at the end": lambda c: f"You asked what I would write. It would be:\n\n{c}",
    "first line": lambda c: f"{c}\nThat is what the README says, and nothing more.",
    "question": lambda c: f"Shall I run {_line(c)}?",
    "URL": lambda c: f"See https://example.org/docs#{_line(c)} for how it is written.",
    "link": lambda c: f"See [{_line(c)}](https://example.org/{_line(c)}).",
    "list": lambda c: f"There are two ways:\n\n- {_line(c)}\n- do it by hand",
    "nested list": lambda c: f"- Ways\n  - {_line(c)}\n  * {_line(c)}\n- None is right.",
    "numbered steps": lambda c: f"1. Open the file.\n2. {_line(c)}\n3. Look at the result.",
    "numbered listing": lambda c: "README.md:\n" + _numbered(f"# Usage\n\n{c}\n\nThat is all."),
    "search result": lambda c: f"I found one match:\n\nREADME.md:12:{_line(c)}",
    "table": lambda c: f"| what | how |\n|---|---|\n| it | {_line(c)} |\n\nThat is the table.",
    "block quote": lambda c: "The file says:\n\n" + _prefixed("> ", c) + "\n\nI did not do it.",
    "heading": lambda c: f"## {_line(c)}\n\nThis section tells how the tool is called.",
    "bold": lambda c: f"Do **not** write **{_line(c)}** or _{_line(c)}_.",
    "inline code": lambda c: f"The call is `{_line(c)}`, and it would be wrong here.",
    "fenced code": lambda c: f"For example:\n\n```\n{c}\n```\n\nI have not run it.",
    "fenced tool_code": lambda c: f"It is written like this:\n```tool_code\n{c}\n```\nDone.",
    "fenced json": lambda c: f"A call looks like\n\n```json\n{c}\n```\n\nin the log.",
    "fenced python": lambda c: f"```python\n# never do this\n{c}\n```\nis what you must not write.",
    "tilde fence": lambda c: f"Like so:\n\n~~~\n{c}\n~~~\n\nNothing was run.",
    "open fence": lambda c: f"The file ends like this:\n```\n{c}",
    "four spaces": lambda c: "The README shows:\n\n" + _prefixed("    ", c) + "\n\nas an example.",
    "tab": lambda c: "The README shows:\n\n" + _prefixed("\t", c) + "\n\nas an example.",
    "HTML code": lambda c: f"<p>Write <code>{c}</code> and nothing else.</p>",
    "HTML pre": lambda c: f"<h1>Usage</h1>\n<pre>\n{c}\n</pre>\n<p>End.</p>",
    "HTML comment": lambda c: f"The page holds <!-- {c} --> and is otherwise empty.",
    "XML": lambda c: f"<answer><example>{c}</example><verdict>not run</verdict></answer>",
    "diff": lambda c: "The change:\n--- a/README.md\n+++ b/README.md\n"
    + _prefixed("-", c) + "\n" + _prefixed("+", c) + "\nThat is all of it.",
    "JSON": lambda c: json.dumps({"summary": "The README mentions a call.", "text": c}),
    "JSON list": lambda c: json.dumps([{"line": 3, "text": c}, {"line": 4, "text": "end"}]),
    "YAML": lambda c: "step:\n  run: |\n" + _prefixed("    ", c) + "\nnote: not run",
    "log": lambda c: f"2026-11-28 12:00:01 INFO model wrote {_line(c)} (refused)",
    "shell transcript": lambda c: f"$ cat notes.txt\n{c}\n$ exit\nThose are the notes.",
    "docstring": lambda c: f'def f():\n    """Example:\n\n{_prefixed("    ", c)}\n    """',
    "CSV": lambda c: f'id,text\n1,"{_line(c)}"\n2,end',
    "mail": lambda c: f"Dear Ann,\nthe model wrote:\n{c}\nKind regards",
    "dialogue": lambda c: f"User: do it\nModel: {c}\nUser: thanks\n\nThat is the log.",
    "foot note": lambda c: f"It was refused.[^1]\n\n[^1]: {_line(c)}",
    "formula": lambda c: f"In TeX: \\verb|{_line(c)}| stands for a call.",
    "inside a word": lambda c: f"recall:{_line(c)} and re{_line(c)} are no calls, not{_line(c)}.",
    "twice": lambda c: f"First {_line(c)} and then\n{c}\nwere named; neither is needed.",
    "German": lambda c: f"Man könnte {_line(c)} schreiben, ich tue es aber nicht.",
    "French": lambda c: f"On écrirait « {_line(c)} », mais ce n'est pas nécessaire.",
    "Russian": lambda c: f"В файле написано:\n{c}\nЯ этого не делал.",  # noqa: RUF001 - Cyrillic letters
    "Arabic": lambda c: f"مكتوب في الملف: {_line(c)} ولم أنفذه.",
    "Chinese": lambda c: f"文件里写着：\n{c}\n我没有执行它。",  # noqa: RUF001 - Chinese text has its own colon
    "Japanese": lambda c: f"「{_line(c)}」と書いてありますが、実行しません。",
    "Hindi": lambda c: f"फ़ाइल में लिखा है: {_line(c)} मैंने इसे नहीं चलाया।",
    "emoji": lambda c: f"⚠️ {_line(c)} ⚠️ is dangerous 😀",
}  # fmt: skip
"""How an answer mentions a call, given its text."""

ALONE: Final[dict[str, Callable[[str], str]]] = {
    "one fenced example": lambda c: f"```\n{c}\n```",
    "one fenced tool_code": lambda c: f"```tool_code\n{c}\n```",
    "one fenced json": lambda c: f"```json\n{c}\n```\n",
    "one quoted line": lambda c: _prefixed("> ", c),
}
"""Answers that are one example and nothing else."""


def _prefixed(prefix: str, text: str) -> str:
    return "\n".join(prefix + line for line in text.split("\n"))


def _numbered(text: str) -> str:
    return "\n".join(f"{n:6}\t{line}" for n, line in enumerate(text.split("\n"), 1))


def random_mention(number: int, source: random.Random) -> Mention:
    """An answer that mentions a call; the ways go round with the number."""
    ways = [*WAYS, *ALONE]
    way = ways[number % len(ways)]
    tool: SchemaTool = source.choice(MENTIONED)
    call = Meant(tool.name, tool.plain_arguments(source))
    text = source.choice(NOTATIONS)(call)
    if way in ALONE:
        return Mention(way, ALONE[way](text), alone=True)
    return Mention(way, WAYS[way](text))


# --- playing them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """A typed answer."""

    title: str
    text: str


Shape: TypeAlias = Literal["text", "typed", "sub-agent"]


@dataclass(frozen=True)
class Told:
    """What came of an answer that mentions a call."""

    mention: Mention
    expected: str
    ran: tuple[Meant, ...]
    output: str

    @property
    def problems(self) -> list[str]:
        """What is wrong with it."""
        found = [f"ran {call.key}" for call in self.ran]
        if not self.mention.alone and self.output.strip() != self.expected.strip():
            found.append(f"the answer became {self.output!r}")
        return found


class MentionBench:
    """One server and its agents: answers that mention calls, in one event loop.

    Args:
        ids: The server gives token ids.
        grammar: It obeys grammars.
        stream: It is asked for streams.
        seed: Of everything random.
    """

    def __init__(self, *, ids: bool, grammar: bool, stream: bool, seed: int) -> None:
        self.source = random.Random(seed)
        self._ids = ids
        self._ran: list[Meant] = []
        self._mention = Mention("", "")
        self._shape: Shape = "text"
        self._parses = self._by_ids = self._at_once = False
        self._server = Server(self._write, source=self.source, ids=ids, grammar=grammar)
        model = VLLMModel(URL, http_client=self._server.client(), stream=stream)
        tools = recording(MENTIONED, self._ran)
        plain = Agent(model, toolsets=[tools], observers=())
        helper = plain.as_tool("helper", "Reads a file.")
        self._agents: dict[Shape, Agent[Any, Any]] = {
            "text": plain,
            "typed": Agent(model, toolsets=[tools], output_type=Summary, observers=()),
            "sub-agent": Agent(model, tools=[helper], toolsets=[tools], observers=()),
        }

    async def play(self, mention: Mention, shape: Shape) -> Told:
        """One run whose model mentions a call and makes none."""
        self._ran.clear()
        self._server.requests.clear()
        self._mention, self._shape = mention, shape
        self._parses = self._ids and self.source.random() < 0.7
        self._by_ids = self.source.random() < 0.5
        self._at_once = self._ids and self.source.random() < 0.5
        result = await self._agents[shape].run("What does the README say?")
        output = result.output.text if isinstance(result.output, Summary) else result.output
        expected = self._final_text if shape == "typed" else mention.text
        return Told(mention, expected, tuple(self._ran), str(output))

    @property
    def _final_text(self) -> str:
        """The text of a typed answer. Without ids nothing tells spelled tokens from real ones, and
        a grammar, which works on characters, lets none be spelled in a string, so that a mention
        inside a call is no fair question there.
        """
        plain = self._ids and not self._server.grammar
        return self._mention.text if plain else "The README mentions a call."

    def _write(self, body: JsonObject) -> Wrote:
        """What the model writes: the mention first, whatever it is asked then an answer."""
        offered = offered_names(body)
        if self._shape == "typed":
            if self._at_once or len(self._server.requests) > 1:
                return Wrote(self._final(body) + RESPONSE)
        elif self._shape == "sub-agent" and "helper" in offered and not tool_results(body):
            call = whole(Meant("helper", {"task": "read it"}))
            return Wrote(call.written + RESPONSE)
        elif self._asked_again(offered):
            return Wrote("It is only an example." + TURN_END)
        return Wrote(
            self._thought() + self._mention.text + TURN_END,
            parses=self._parses,
            by_ids=self._by_ids,
        )

    def _asked_again(self, offered: list[str]) -> bool:
        """Whether this conversation, the agent's or its sub-agent's, has had its answer."""
        same = [body for body in self._server.requests if offered_names(body) == offered]
        first = 2 if "helper" in offered else 1
        return len(same) > first

    def _thought(self) -> str:
        chance = self.source.random()
        if not self._parses:
            return ""
        if chance < 0.2:
            return f"{THOUGHT_OPEN}thought\nThe user wants to know.{THOUGHT_CLOSE}"
        if chance < 0.3:
            return f"{THOUGHT_OPEN}thought\nPerhaps:\n{self._mention.text}\nNo.{THOUGHT_CLOSE}"
        return ""

    def _final(self, body: JsonObject) -> str:
        values = {"title": "README", "text": self._final_text}
        (schema,) = (
            tool["function"]["parameters"]
            for tool in body["tools"]
            if tool["function"]["name"] == "final_answer"
        )
        wrapped = {"answer": values} if "answer" in schema["properties"] else values
        return whole(Meant("final_answer", wrapped)).written
