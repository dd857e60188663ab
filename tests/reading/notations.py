"""Whole replies that are a call in a wrong notation, or nothing: the model is asked once more."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from agentkit import Agent, RunResult, VLLMModel
from tests.reading.damage import Meant, whole
from tests.reading.playing import recording
from tests.reading.schemas import TOOLS, JsonObject
from tests.reading.server import URL, Server, Wrote
from tests.reading.tokens import CLOSE, OPEN, PAD, RESPONSE, TURN_END, spelled

_CALLED: Final = tuple(
    TOOLS[name]
    for name in ("send_mail", "move_event", "add", "lights", "refund", "web_search", "tag_issue")
)


def _native(call: Meant) -> str:
    """In Gemma's own syntax, its tokens spelled out."""
    return spelled(whole(call).written)


def _body(call: Meant) -> str:
    return _native(call).removeprefix("<|tool_call>").removesuffix("<tool_call|>")


def _object(call: Meant, name: str = "arguments") -> str:
    return json.dumps({"name": call.name, name: call.arguments}, ensure_ascii=False)


def _openai(call: Meant) -> str:
    inner = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return json.dumps({"id": "call_0", "type": "function", "function": inner})


def _python(call: Meant) -> str:
    return f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"


def _qwen(call: Meant) -> str:
    inner = "".join(
        f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in call.arguments.items()
    )
    return f"<tool_call>\n<function={call.name}>\n{inner}</function>\n</tool_call>"


def _invoke(call: Meant) -> str:
    inner = "".join(
        f'<parameter name="{key}">{value}</parameter>' for key, value in call.arguments.items()
    )
    return f'<function_calls><invoke name="{call.name}">{inner}</invoke></function_calls>'


NOTATIONS: Final[dict[str, Callable[[Meant], str]]] = {
    "bare": _body,
    "bare, its quotes real tokens": lambda c: whole(c).written.strip(OPEN + CLOSE),
    "bare, without call:": lambda c: _body(c).removeprefix("call:"),
    "bare, with parentheses": lambda c: f"call:{_python(c)}",
    "spelled in ordinary tokens": _native,
    "unclosed, spelled": lambda c: _native(c).removesuffix("}<tool_call|>"),
    "unclosed": lambda c: whole(c).written.removesuffix("}" + CLOSE),
    "closing token for an opening one": lambda c: f"<tool_call|>{_body(c)}<tool_call|>",
    "JSON": _object,
    "JSON, parameters": lambda c: _object(c, "parameters"),
    "JSON, as OpenAI has it": _openai,
    "JSON list": lambda c: f"[{_object(c)}]",
    "fenced JSON": lambda c: f"```json\n{_object(c)}\n```",
    "fenced tool_code": lambda c: f"```tool_code\n{_python(c)}\n```",
    "fenced print": lambda c: f"```tool_code\nprint(default_api.{_python(c)})\n```",
    "fenced native": lambda c: f"```\n{_native(c)}\n```",
    "hermes": lambda c: f"<tool_call>\n{_object(c)}\n</tool_call>",
    "pythonic list": lambda c: f"[{_python(c)}]",
    "pythonic": _python,
    "ReAct": lambda c: f"Action: {c.name}\nAction Input: {json.dumps(c.arguments)}",
    "ReAct, with a thought": lambda c: (
        f"Thought: I should do it.\nAction: {c.name}\nAction Input: {json.dumps(c.arguments)}"
    ),
    "XML of Qwen": _qwen,
    "XML, invoke": _invoke,
    "Mistral": lambda c: f"[TOOL_CALLS][{_object(c)}]",
    "Llama": lambda c: f"<|python_tag|>{_object(c, 'parameters')}",
}
"""A call → the whole of a reply. Private characters stand for control tokens."""

OPENED: Final = ("unclosed",)
"""Their opening token is real: that such a call was not run may also be told as its result."""

NOTHING: Final[dict[str, str]] = {
    "nothing": "",
    "white space": " \n\t",
    "padding": PAD * 5,
    "zero width": "\u200b\u200d\ufeff",
    "soft hyphens": "\u00ad\u00ad",
    "word joiners": "\u2060",
    "a response token first": RESPONSE,
}
"""Replies that hold no answer, whatever they hold."""

Second: TypeAlias = Literal["call", "prose", "same"]
"""What the model does when it is asked again: a real call, an answer, or the same once more."""

PROSE: Final = "I will not do that."


@dataclass(frozen=True)
class Asked:
    """What came of a reply in a wrong notation."""

    notation: str
    text: str
    second: Second
    meant: Meant
    ran: tuple[Meant, ...]
    result: RunResult[str]
    requests: tuple[JsonObject, ...]
    is_call: bool

    @property
    def problems(self) -> list[str]:
        """What is wrong with it."""
        found: list[str] = []
        expected = [self.meant.key] if self.second == "call" else []
        if [call.key for call in self.ran] != expected:
            found.append(f"ran {[call.key for call in self.ran]}")
        if self.notation in OPENED:
            shown = self.result.stop_reason == "answer" and self.result.output == spelled(self.text)
            return [*found, "given out as the answer"] if shown else found
        asked = 3 if self.second == "call" else 2
        if len(self.requests) != asked:
            found.append(f"{len(self.requests)} requests instead of {asked}")
        elif self.requests[1].get("tool_choice") not in (None, "auto"):
            found.append("forced")
        return found + self._end()

    def _end(self) -> list[str]:
        result = self.result
        if self.second == "same":
            if result.stop_reason == "answer":
                return [f"given out as the answer: {result.output!r}"]
            carried = _without_closings(f"{result.output}\n{result.explanation}")
            if self.is_call and _without_closings(spelled(self.text)).strip() not in carried:
                return [f"the stop {result.stop_reason} does not carry the text"]
            return []
        expected = "Done." if self.second == "call" else PROSE
        if (result.stop_reason, result.output) != ("answer", expected):
            return [f"ended with {result.stop_reason}: {result.output!r}"]
        return []


def _without_closings(text: str) -> str:
    """A server that reads a whole reply drops the closing tokens that close nothing."""
    return text.replace("<tool_call|>", "")


class NotationBench:
    """One server and an agent: replies in wrong notations, in one event loop.

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
        self._script: list[Wrote] = []
        self._server = Server(self._write, source=self.source, ids=ids, grammar=grammar)
        model = VLLMModel(URL, http_client=self._server.client(), stream=stream)
        self._agent: Agent[Any, str] = Agent(
            model, toolsets=[recording(_CALLED, self._ran)], observers=()
        )

    @property
    def notations(self) -> list[str]:
        """Those that are wrong here: without ids a whole reply in full native form is a call, and
        a call of which no token can be told from text is no other than its spelling.
        """
        real = ("bare, its quotes real tokens", "unclosed", "spelled in ordinary tokens")
        return [name for name in NOTATIONS if self._ids or name not in real]

    async def play(self, notation: str, second: Second) -> Asked:
        """One run whose model begins in a wrong notation, or with nothing."""
        tool = self.source.choice(_CALLED)
        meant = Meant(tool.name, tool.plain_arguments(self.source))
        is_call = notation in NOTATIONS
        text = NOTATIONS[notation](meant) if is_call else NOTHING[notation]
        parses = self._ids and self.source.random() < 0.5
        ending = "" if text.endswith(RESPONSE) else TURN_END
        first = Wrote(text + ending, parses=parses, by_ids=self.source.random() < 0.5)
        again = {"call": whole(meant).written + RESPONSE, "prose": PROSE + TURN_END}
        then = Wrote(again[second]) if second in again else first
        self._script = [first, then]
        self._ran.clear()
        self._server.requests.clear()
        result: RunResult[Any] = await self._agent.run("Do it.")
        requests = tuple(self._server.requests)
        return Asked(notation, text, second, meant, tuple(self._ran), result, requests, is_call)

    def _write(self, _: JsonObject) -> Wrote:
        return self._script.pop(0) if self._script else Wrote("Done." + TURN_END)
