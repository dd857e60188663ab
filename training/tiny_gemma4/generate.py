"""Synthetic dialogues in Gemma 4's native format: who asks what, which calls, which answer.

`dialogue` draws one; `sample` cuts it where a model call would happen and renders exactly what the
server would have sent and what the model should write, with Google's canonical template
(2026-07-09, the one of the large models) as vLLM 0.32 feeds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentkit.gemma4.render import Generation, render, render_call
from agentkit.gemma4.tokens import CHANNEL_CLOSE, CHANNEL_OPEN, RESPONSE_OPEN, TURN_CLOSE
from agentkit.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from training.tiny_gemma4 import project
from training.tiny_gemma4.draw import Draw, HeldOutDraw, joined, mentions_heldout
from training.tiny_gemma4.project import PROJECT_SYSTEM, PROJECT_TOOLS
from training.tiny_gemma4.skills import SKILLS, Skill, made_up_skill

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Step:
    """Calls made at once and the text each returned."""

    calls: tuple[Call, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, the steps it takes, the answer.

    Attributes:
        needs: The project's tools it needs.
        skills: Other tools it needs.
    """

    kind: str
    question: str
    steps: tuple[Step, ...]
    answer: str
    needs: tuple[str, ...] = ()
    skills: tuple[Skill, ...] = ()


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation with its tools; the messages end with the final answer."""

    kind: str
    tools: tuple[dict[str, Any], ...]
    messages: tuple[Message, ...]
    thinking: bool

    def model_calls(self) -> list[int]:
        """Where the model speaks: the indexes of the assistant's messages."""
        return [at for at, m in enumerate(self.messages) if isinstance(m, AssistantMessage)]


# --- questions about a project ------------------------------------------------------------------


def _decorate(draw: Draw, question: str) -> str:
    """Small changes that do not alter what is asked."""
    if isinstance(draw, HeldOutDraw):
        return question
    if draw.chance(0.12):
        question = question[0].lower() + question[1:]
    if draw.chance(0.12):
        question = question.rstrip("?.!")
    if draw.chance(0.05):
        question = draw.pick(["Please: ", "Hi, ", "Hey, ", "Quick question: ", "So, "]) + question
    if draw.chance(0.05):
        question += draw.pick([" Thanks.", " Please.", " Thank you!", "\n"])
    return question


def _quoted(draw: Draw, phrasing: str, text: str) -> str:
    style = draw.weighted({'"': 6, "'": 1, "`": 1, "": 1})
    if isinstance(draw, HeldOutDraw) or (style == "" and not text.isalnum()):
        style = '"'
    if style and style in text:
        style = next((mark for mark in "\"'`" if mark not in text), '"')
    return phrasing.replace('"{text}"', f"{style}{text}{style}")


def _named(draw: Draw, name: str) -> str:
    if isinstance(draw, HeldOutDraw):
        return name
    return draw.weighted({name: 10, f"`{name}`": 1.5, f"'{name}'": 0.4, f'"{name}"': 0.4})


def _one_definition(draw: Draw) -> Exchange:
    name = draw.identifier()
    result, answer = project.find_definition(draw, name)
    question = draw.phrase("find_definition").replace("{name}", _named(draw, name))
    step = Step((("find_definition", {"name": name}),), (result,))
    return Exchange("one call", question, (step,), answer, ("find_definition",))


def _one_search(draw: Draw) -> Exchange:
    text = draw.text().strip() or draw.word()
    result, answer = project.search_text(draw, text)
    question = _quoted(draw, draw.phrase("search_text"), text)
    step = Step((("search_text", {"text": text}),), (result,))
    return Exchange("one call", question, (step,), answer, ("search_text",))


def _one_listing(draw: Draw) -> Exchange:
    root = draw.chance(0.15)
    folder = "." if root else draw.folder()
    result, answer = project.list_files(draw, folder)
    shown = folder + ("/" if draw.chance(0.08) and not isinstance(draw, HeldOutDraw) else "")
    question = draw.phrase("list_root" if root else "list_files").replace("{folder}", shown)
    step = Step((("list_files", {"folder": folder}),), (result,))
    return Exchange("one call", question, (step,), answer, ("list_files",))


def _read(draw: Draw, path: str) -> tuple[str, str, str]:
    """A question about a file, what the tool prints, the answer."""
    lines = project.file_lines(draw)
    printed, total = project.read_file(draw, lines)
    intent = draw.weighted({"first_line": 4, "line_count": 1.5, "line_number": 1})
    at = draw.between(1, len(lines))
    if intent == "line_number" and not lines[at - 1].strip():
        intent = "first_line"
    question = draw.phrase(intent).replace("{path}", path).replace("{n}", str(at))
    if intent == "line_count":
        return question, printed, f"{path} has {total} line{'s' if total > 1 else ''}."
    if intent == "line_number":
        return question, printed, f"Line {at} of {path} is: {lines[at - 1].strip()}"
    return question, printed, f"The first line of {path} is: {lines[0]}"


def _one_reading(draw: Draw) -> Exchange:
    path = draw.path()
    question, printed, answer = _read(draw, path)
    step = Step((("read_file", {"path": path}),), (printed,))
    return Exchange("one call", question, (step,), answer, ("read_file",))


def _two_definitions(draw: Draw) -> Exchange:
    first, second = draw.distinct(draw.identifier, 2)
    results = [project.find_definition(draw, name) for name in (first, second)]
    question = draw.phrase("two_definitions").replace("{name}", first).replace("{other}", second)
    calls = tuple(("find_definition", {"name": name}) for name in (first, second))
    step = Step(calls, tuple(result for result, _ in results))
    answer = " ".join(answer for _, answer in results)
    return Exchange("two calls at once", question, (step,), answer, ("find_definition",))


def _two_folders(draw: Draw) -> Exchange:
    first, second = draw.distinct(draw.folder, 2)
    results = [project.list_files(draw, folder) for folder in (first, second)]
    question = draw.phrase("two_folders").replace("{name}", first).replace("{other}", second)
    calls = tuple(("list_files", {"folder": folder}) for folder in (first, second))
    step = Step(calls, tuple(result for result, _ in results))
    answer = "; ".join(answer for _, answer in results)
    return Exchange("two calls at once", question, (step,), answer, ("list_files",))


def _definition_then_read(draw: Draw) -> Exchange:
    name, path = draw.identifier(), draw.path()
    found, answer = project.defined_once(draw, name, path)
    lines = project.file_lines(draw)
    printed, _ = project.read_file(draw, lines)
    steps = (
        Step((("find_definition", {"name": name}),), (found,)),
        Step((("read_file", {"path": path}),), (printed,)),
    )
    question = draw.phrase("definition_then_read").replace("{name}", _named(draw, name))
    answer = f"{answer} The first line of {path} is: {lines[0]}"
    needs = ("find_definition", "read_file")
    return Exchange("two calls in a row", question, steps, answer, needs)


def _list_then_read(draw: Draw) -> Exchange:
    folder = draw.folder()
    names = project.entries(draw, 1)
    first = next((name for name in names if not name.endswith("/")), None)
    if first is None:
        first = draw.path().rsplit("/", 1)[-1]
        names = [*names, first]
    listed, _ = project.list_files(draw, folder, names)
    lines = project.file_lines(draw)
    printed, _ = project.read_file(draw, lines)
    path = f"{folder}/{first}"
    steps = (
        Step((("list_files", {"folder": folder}),), (listed,)),
        Step((("read_file", {"path": path}),), (printed,)),
    )
    question = draw.phrase("list_then_read").replace("{folder}", folder)
    answer = f"The first line of {path} is: {lines[0]}"
    return Exchange("two calls in a row", question, steps, answer, ("list_files", "read_file"))


def _wrong_then_right(draw: Draw) -> Exchange:
    if draw.chance(0.65):
        right = draw.path()
        wrong = project.wrong_path(draw, right)
        question, printed, answer = _read(draw, right)
        question, tool, key, what = question.replace(right, wrong), "read_file", "path", "file"
    else:
        right = draw.folder()
        wrong = project.wrong_path(draw, right)
        printed, answer = project.list_files(draw, right)
        question = draw.phrase("list_files").replace("{folder}", wrong)
        tool, key, what = "list_files", "folder", "folder"
    error = f'Error: no {what} "{wrong}" in the project.'
    if draw.chance(0.2):
        steps: tuple[Step, ...] = (Step(((tool, {key: wrong}),), (error,)),)
        missing = f'There is no {what} "{wrong}" in the project.'
        return Exchange("error result", question, steps, missing, (tool,))
    steps = (
        Step(((tool, {key: wrong}),), (f'{error} Did you mean "{right}"?',)),
        Step(((tool, {key: right}),), (printed,)),
    )
    return Exchange("error, second try", question, steps, answer, (tool,))


def _outside(draw: Draw) -> Exchange:
    path = draw.pick(["../", "/", "../../", "/etc/"]) + draw.path()
    question = draw.phrase("first_line").replace("{path}", path)
    error = f'Error: the path "{path}" is outside the project.'
    step = Step((("read_file", {"path": path}),), (error,))
    answer = f'The path "{path}" is outside the project.'
    return Exchange("error result", question, (step,), answer, ("read_file",))


# --- other questions ----------------------------------------------------------------------------


def _flat(args: dict[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in args.items():
        if isinstance(value, dict):
            flat |= _flat(value)
        else:
            flat[key] = joined(value) if isinstance(value, list) else str(value)
    return flat


def _skill(draw: Draw) -> Exchange:
    skill = draw.pick(SKILLS) if draw.chance(0.5) else made_up_skill(draw)
    args = skill.arguments(draw)
    question = draw.pick(skill.phrasings).format(**_flat(args))
    result, answer = skill.reply(draw, args)
    step = Step(((skill.name, args),), (result,))
    return Exchange("one call, other tools", question, (step,), answer, skills=(skill,))


def _two_skills(draw: Draw) -> Exchange:
    one, two = _skill(draw), _skill(draw)
    step = Step(
        one.steps[0].calls + two.steps[0].calls, one.steps[0].results + two.steps[0].results
    )
    first = one.question + ("" if one.question[-1] in ".?!" else ".")
    question = f"{first} {draw.pick(['And: ', 'Also: ', 'Then: ', 'Next: '])}{two.question}"
    answer = f"{one.answer} {two.answer}"
    skills = one.skills + two.skills
    return Exchange("two calls at once", question, (step,), answer, skills=skills)


_FACTS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Portugal": "Lisbon",
    "sky": "Blue.",
    "snow": "White.",
    "lemon": "Yellow.",
    "grass": "Green.",
    "week": "Seven.",
    "legs": "Four.",
    "year": "Twelve.",
    "hot": "Cold.",
    "opposite of big": "Small.",
    "wet": "Yes.",
    "bark": "No.",
}


def _plain_answer(question: str) -> str:
    """What is answered without a tool."""
    lower = question.lower()
    for word, answer in _FACTS.items():
        if word.lower() in lower:
            return answer
    words = set(re.findall(r"[a-z]+", lower))
    if words & {"thanks", "thank", "done", "perfect", "super", "cool", "great", "nice"}:
        return "You are welcome."
    if words & {"bye", "goodbye", "farewell", "later", "see"} and len(words) < 4:
        return "Goodbye."
    if "who are" in lower or "what are you" in lower or words & {"name", "model"}:
        return "I am a small demonstration model that calls tools."
    if "can you" in lower or "help" in words or "ask" in words:
        return "Ask me something that my tools can look up."
    if words & {"hello", "hi", "hey", "good", "welcome", "greetings"} or "how are" in lower:
        return "Hello! How can I help?"
    return "I can only use my tools and tell what they say."


def _no_tool(draw: Draw) -> Exchange:
    phrasing = draw.phrase("none")
    if "{word}" in phrasing:
        word = draw.pick([draw.word, draw.word, draw.identifier])()
        return Exchange("no tool", phrasing.replace("{word}", word), (), word)
    return Exchange("no tool", phrasing, (), _plain_answer(phrasing))


KINDS: dict[Callable[[Draw], Exchange], float] = {
    _one_definition: 17,
    _one_search: 14,
    _one_listing: 12,
    _one_reading: 10,
    _two_definitions: 4,
    _two_folders: 2,
    _two_skills: 3,
    _definition_then_read: 4,
    _list_then_read: 3,
    _wrong_then_right: 6,
    _outside: 1,
    _skill: 15,
    _no_tool: 13,
}


# --- a dialogue ---------------------------------------------------------------------------------

SYSTEMS = (
    "You are a helpful assistant.",
    "Use the tools.",
    "Answer in one sentence.",
    "You are an agent. Call a tool when it helps.",
    "You help programmers to find their way in a project.",
    "Be brief.",
    "You answer questions. Look things up before you answer.",
    "Use a tool for every question that needs one, and answer from its result.",
)


def _system(draw: Draw) -> str | None:
    if draw.chance(0.5):
        return PROJECT_SYSTEM
    if draw.chance(0.3):
        return None
    if draw.chance(0.2):
        return " ".join(draw.pieces(3, 9)).capitalize() + "."
    return draw.pick(SYSTEMS)


def _declarations(draw: Draw, exchanges: Sequence[Exchange]) -> tuple[dict[str, Any], ...]:
    """The tools on offer: those needed and others, one to five of them, in any order."""
    needed = {name for exchange in exchanges for name in exchange.needs}
    exact = draw.chance(0.6)
    if needed and draw.chance(0.7):
        needed |= set(PROJECT_TOOLS)
    tools = {name: project.declaration(draw, name, exact=exact) for name in sorted(needed)}
    for exchange in exchanges:
        for skill in exchange.skills:
            tools[skill.name] = skill.declaration(draw)
    total = max(draw.between(1, 5), 1)
    while len(tools) < total:
        skill = draw.pick(SKILLS) if draw.chance(0.5) else made_up_skill(draw)
        if draw.chance(0.3):
            name = draw.pick(PROJECT_TOOLS)
            tools.setdefault(name, project.declaration(draw, name, exact=exact))
        else:
            tools.setdefault(skill.name, skill.declaration(draw))
    found = list(tools.values())
    draw.rng.shuffle(found)
    return tuple(found)


def _thought(step: Step | None, before: Step | None) -> str:
    if step is None:
        return "The result has the answer." if before else "No tool is needed."
    names = joined(dict.fromkeys(name for name, _ in step.calls))
    if before and any(result.startswith("Error: ") for result in before.results):
        return f"That was not there. I try {names} again."
    return f"{'Next I' if before else 'I'} call {names}."


def _messages(exchange: Exchange, start: int, *, thinking: bool) -> list[Message]:
    messages: list[Message] = [UserMessage(exchange.question)]
    before: Step | None = None
    for step in (*exchange.steps, None):
        thought = _thought(step, before) if thinking else None
        if step is None:
            messages.append(AssistantMessage(exchange.answer, reasoning=thought))
            break
        calls = tuple(
            ToolCall(f"call_{start + len(messages)}_{at}", name, arguments)
            for at, (name, arguments) in enumerate(step.calls)
        )
        messages.append(AssistantMessage(tool_calls=calls, reasoning=thought))
        messages += [
            ToolMessage(call.id, call.name, result)
            for call, result in zip(calls, step.results, strict=True)
        ]
        before = step
    return messages


def dialogue(draw: Draw, count: int | None = None) -> Dialogue:
    """One dialogue; made-up names never are held-out ones.

    Args:
        draw: Where everything comes from.
        count: How many questions it has; by default one, sometimes two.
    """
    held_out = isinstance(draw, HeldOutDraw)
    count = count or (2 if draw.chance(0.15) else 1)
    while True:
        exchanges = [_exchange(draw) for _ in range(count)]
        names = [skill.name for exchange in exchanges for skill in exchange.skills]
        if len(set(names)) != len(names) or len(names) > 4:
            continue
        made = assemble(draw, exchanges)
        if held_out or not mentions_heldout(render(made.messages, made.tools)):
            return made


def _exchange(draw: Draw) -> Exchange:
    made = draw.weighted(KINDS)(draw)
    return replace(made, question=_decorate(draw, made.question))


def assemble(draw: Draw, exchanges: Sequence[Exchange]) -> Dialogue:
    """The dialogue of some exchanges, its tools and system text drawn."""
    thinking = draw.chance(0.2)
    system = _system(draw)
    messages: list[Message] = [] if system is None else [SystemMessage(system)]
    for exchange in exchanges:
        messages += _messages(exchange, len(messages), thinking=thinking)
    kind = exchanges[-1].kind if len(exchanges) == 1 else "two questions"
    tools = _declarations(draw, exchanges)
    if kind == "no tool" and draw.chance(0.1):
        tools = ()
    return Dialogue(kind, tools, tuple(messages), thinking)


# --- what is trained on -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt as the server sends it and what the model should write, stop token included."""

    prompt: str
    completion: str
    thinking: bool


def prompt(made: Dialogue, at: int) -> str:
    """The prompt of the model call that writes message `at`."""
    return render(made.messages[:at], made.tools, Generation(thinking=made.thinking))


def completion(made: Dialogue, at: int) -> str:
    """What the model should write as message `at`."""
    message = made.messages[at]
    assert isinstance(message, AssistantMessage)
    cued = isinstance(made.messages[at - 1], ToolMessage)
    thought = ""
    if made.thinking:
        opening = "" if cued else f"{CHANNEL_OPEN}thought\n"
        thought = f"{opening}{message.reasoning}\n{CHANNEL_CLOSE}"
    if message.tool_calls:
        calls = "".join(render_call(call.name, call.arguments) for call in message.tool_calls)
        return f"{thought}{calls}{RESPONSE_OPEN}"
    return f"{thought}{message.content}{TURN_CLOSE}"


def sample(draw: Draw) -> Sample:
    """A dialogue cut at one of the model calls of its last question.

    Several questions on the same tools: the declarations are most of a prompt, and this way more
    of what the model itself says is learnt from each of them.
    """
    made = dialogue(draw, draw.weighted({1: 9, 2: 4, 3: 4, 4: 3}))
    asked = max(at for at, m in enumerate(made.messages) if isinstance(m, UserMessage))
    at = draw.pick([at for at in made.model_calls() if at > asked])
    return Sample(prompt(made, at), completion(made, at), made.thinking)
