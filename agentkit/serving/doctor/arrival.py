"""The probe of what reaches the model: a conversation that holds all that agents send.

Gateways cut what they find too long, mask what looks like personal data, mend what they take for
bad typing, and drop, merge or reorder messages and tools, all without an error. Where the server
returns the tokens of the prompt, each part of the conversation is looked for in their text; where
it does not, prompts are counted.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.render import Generation, TemplateVariant, render
from agentkit.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from agentkit.serving.doctor.subject import (
    CITY,
    PROXY,
    REPORT,
    Finding,
    Subject,
    failed,
    passed,
    warned,
)

NOT_COUNTED: Final = "replies come without usage, so nobody can tell"

_ODD: Final = (
    "THIS as it is: a < b && c, \"q\" 'r' `s` \\n \\\\, two  blanks,\ta tab,\r\na line, "
    "<b>bold</b> &amp; e\u0301 é ﬁ 日本 \U0001f600 jane.doe@example.com +1 415 555 0100"
)
"""What gateways like to change: case, white space, quotes, tags, Unicode forms, personal data."""

_TURNS: Final = 16  # questions and answers before the last one
_TOOLS: Final = 20
_TO_THE_LEFT: Final = 12  # characters before a part that tell whose words it is: `turn>system\n`

_WORDS: Final = 150  # words of a text that must arrive, where prompts are only counted
_LEAST: Final = _WORDS // 2  # tokens that such a text has at least


async def arrival(subject: Subject) -> Finding:
    """Whether texts, reasoning, tool results and tools reach the model, and in their order."""
    tools = (REPORT,) if subject.tools is not False else ()
    letter = await _letter(subject, with_tools=bool(tools))
    asked = await subject.ask(letter.messages, tools=letter.tools, max_tokens=1)
    prompt = await subject.text_of(asked.reply.prompt_token_ids)
    if prompt is not None:
        lost = letter.lost_in(prompt)
    else:
        if not (base := await _counted(subject, _short(), tools)):
            return warned(NOT_COUNTED)
        lost = await _fewer(subject, base, tools)
        expected = await _expected(subject, letter)
        if not lost and expected not in (None, asked.response.usage.input_tokens):
            lost = ["some messages or tools"]
    if lost:
        return failed(
            f"{', '.join(lost)} do not reach the model whole: agents forget what they have read",
            f"{PROXY}: no rewriting of `messages` and `tools`, no `truncate_prompt_tokens`",
        )
    shuffled = await _shuffled(subject) if tools else []
    if 0 < len(shuffled) < _TOOLS:
        return failed(
            f"of {_TOOLS} tools {len(shuffled)} reach the model ({', '.join(shuffled)})",
            f"{PROXY}: all of `tools`, under their names",
        )
    if shuffled:
        return failed(
            f"tools reach the model in another order ({', '.join(shuffled)}): the prefix of each "
            "prompt is another one, and none of it comes from the cache",
            f"{PROXY}: `tools` in the order in which they are sent",
        )
    return passed("texts, reasoning, results and tools reach the model as they are sent")


# --- by the text of the prompt -------------------------------------------------------------------


@dataclass
class _Letter:
    """A conversation, and its parts: what each is → the texts that must stand in the prompt.

    Attributes:
        messages: The conversation.
        tools: Its tools.
        rendered: The prompt as we render it; None where the template is another one.
        parts: What must arrive.
    """

    messages: Sequence[Message] = ()
    tools: Sequence[ToolDefinition] = ()
    rendered: str | None = None
    parts: dict[str, list[str]] = field(default_factory=dict)

    def part(self, what: str, text: str) -> str:
        """The text, which is kept as a part."""
        self.parts.setdefault(what, []).append(text)
        return text

    def lost_in(self, prompt: str) -> list[str]:
        """The parts that do not stand in a prompt as they were sent, or as another's words."""
        lost = [
            what
            for what, texts in self.parts.items()
            if not all(self._stands_in(prompt, text) for text in texts)
        ]
        if lost or self.rendered is None:
            return lost
        messages = [texts for what, texts in self.parts.items() if "descriptions" not in what]
        texts = sorted(chain(*messages), key=self.rendered.index)
        arrived = [prompt.index(text) for text in texts]
        return [] if arrived == sorted(arrived) else ["messages in their order"]

    def _stands_in(self, prompt: str, text: str) -> bool:
        if text not in prompt or self.rendered is None or text not in self.rendered:
            return text in prompt
        return _left_of(text, prompt) == _left_of(text, self.rendered)


def _left_of(text: str, prompt: str) -> str:
    return prompt[: prompt.index(text)][-_TO_THE_LEFT:]


async def _letter(subject: Subject, *, with_tools: bool) -> _Letter:
    canonical = subject.template.startswith("canonical")
    # Other templates quote some texts as JSON, and some servers spell tokens otherwise than sent.
    spelled = await subject.text_of(await subject.tokens(_ODD) or [])
    odd = _ODD if canonical and spelled == _ODD else "as it is"
    window = subject.window or 4096

    def text(words: int = 0) -> str:
        return f"{secrets.token_hex(4)} {odd} {'blue whale ' * (words // 2)}{secrets.token_hex(4)}"

    letter = _Letter()
    long = min(window // 128, 200)  # words
    messages: list[Message] = [SystemMessage(letter.part("instructions", text(long)))]
    for _ in range(_TURNS):
        messages.append(UserMessage(letter.part("earlier messages", secrets.token_hex(4))))
        messages.append(AssistantMessage(letter.part("earlier answers", secrets.token_hex(4))))
    messages.append(UserMessage(letter.part("what the user says", text(long))))
    if with_tools:
        reasoning = None
        if subject.is_gemma and subject.template != "april":
            reasoning = letter.part("reasoning between calls", text(long))
        said = letter.part("arguments of calls", text(long))
        call = ToolCall("call_0", REPORT.name, {"city": said})
        messages.append(AssistantMessage(None, (call,), reasoning))
        result = letter.part("results of tools", text(min(window // 16, 1200)))
        messages.append(ToolMessage(call.id, REPORT.name, result))
        schema = {
            "type": "object",
            "properties": {
                "city": {
                    "type": "string",
                    "description": letter.part("descriptions of parameters", text()),
                }
            },
            "required": ["city"],
        }
        described = letter.part("descriptions of tools", text(long))
        letter.tools = (ToolDefinition(REPORT.name, described, schema),)
    letter.messages = messages
    if canonical:
        dialect = Dialect(letter.tools, Escape())
        variant: TemplateVariant = "small" if subject.template == "canonical-small" else "large"
        sent = [dialect.outgoing(message) for message in messages]
        letter.rendered = render(sent, dialect.declarations, Generation(variant=variant))
    return letter


async def _shuffled(subject: Subject) -> list[str]:
    """The tools in the order in which they arrived; empty if that is the order of the request."""
    names = [f"tool_{(7 * number) % _TOOLS:02}" for number in range(_TOOLS)]
    tools = [replace(REPORT, name=name) for name in names]
    for _ in range(2):
        asked = await subject.ask("Hello.", tools=tools, max_tokens=1)
        prompt = await subject.text_of(asked.reply.prompt_token_ids)
        if not prompt:
            return []
        arrived = sorted((name for name in names if name in prompt), key=prompt.index)
        if arrived != names:
            return arrived or ["none by its name"]
    return []


# --- by the length of the prompt -----------------------------------------------------------------


def _words() -> str:
    """A text that is in no cache."""
    return f"{secrets.token_hex(4)} " + "blue whale " * (_WORDS // 2)


def _short(
    *,
    system: str = "",
    earlier: str = "",
    user: str = "",
    reasoning: str | None = None,
    said: str = "",
    result: str = "",
) -> list[Message]:
    call = ToolCall("call_0", REPORT.name, {"city": f"{CITY} {said}"})
    return [
        SystemMessage(f"Be brief. {system}"),
        UserMessage("Hello."),
        AssistantMessage(f"Hello. {earlier}"),
        UserMessage(f"Go on. {user}"),
        AssistantMessage(None, (call,), reasoning),
        ToolMessage(call.id, REPORT.name, f"Rain. {result}"),
    ]


async def _counted(
    subject: Subject, messages: Sequence[Message], tools: Sequence[ToolDefinition]
) -> int:
    asked = await subject.ask(messages, tools=tools, max_tokens=1)
    return asked.response.usage.input_tokens


async def _fewer(subject: Subject, base: int, tools: Sequence[ToolDefinition]) -> list[str]:
    """The parts that make a prompt no longer when they are longer."""
    longer = {
        "instructions": _short(system=_words()),
        "earlier answers": _short(earlier=_words()),
        "what the user says": _short(user=_words()),
        "arguments of calls": _short(said=_words()),
        "results of tools": _short(result=_words()),
    }
    if subject.is_gemma and subject.template != "april":
        longer["reasoning between calls"] = _short(reasoning=_words())
    lost = [
        what
        for what, messages in longer.items()
        if await _counted(subject, messages, tools) < base + _LEAST
    ]
    if tools:
        described = [replace(REPORT, description=_words())]
        many = [replace(REPORT, name=f"tool_{number}") for number in range(_TOOLS)]
        if await _counted(subject, _short(), described) < base + _LEAST:
            lost.append("descriptions of tools")
        one_more = await _counted(subject, _short(), many[:2]) - base
        if await _counted(subject, _short(), many) < base + one_more * _TOOLS * 3 // 4:
            lost.append("tools")
    return lost


async def _expected(subject: Subject, letter: _Letter) -> int | None:
    """The tokens of a letter's prompt, by `/tokenize`; None if the server does not tell."""
    if letter.rendered is not None:
        ids = await subject.tokens(letter.rendered)
        return None if ids is None else len(ids)
    prompt = await subject.prompt(letter.messages, letter.tools)
    return None if prompt is None else len(prompt.ids)
