"""Conversation and tools → the prompt text that Google's canonical chat template produces.

This is the template of 2026-07-09, fed as vLLM 0.32 feeds it: content as lists of parts, the
texts of a text-only tool message joined by newlines, a missing description as null. The same
bytes, in plain Python, so that a prompt can be counted, linted, compared with the last one, or
given to a model in this process. From top to bottom: the whole prompt, the turns, calls and values,
declarations.

Nothing is escaped here: `Escape` does that first, since only the caller knows what is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from agentkit.gemma4.tokens import (
    AUDIO,
    BOS,
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    IMAGE,
    QUOTE,
    RESPONSE_CLOSE,
    RESPONSE_OPEN,
    THINK,
    TOOL_CLOSE,
    TOOL_OPEN,
    TURN_CLOSE,
    TURN_OPEN,
    VIDEO,
)
from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    Content,
    ImagePart,
    Message,
    Part,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
    VideoPart,
)

Declaration: TypeAlias = Mapping[str, Any]
"""A lowered tool: `name`, `description` and `parameters` (a JSON Schema of the plain subset)."""

TemplateVariant: TypeAlias = Literal["large", "small"]
"""`large` is the template of 12B, 26B-A4B and 31B, `small` the one of E2B and E4B."""

_END_OF_TURN: Final = f"{TURN_CLOSE}\n"
_MODEL_TURN: Final = f"{TURN_OPEN}model\n"
_REASONING_OPEN: Final = f"{CHANNEL_OPEN}thought\n"
_NO_REASONING: Final = f"{_REASONING_OPEN}{CHANNEL_CLOSE}"
_MEDIA: Final[Mapping[type[Part], str]] = {ImagePart: IMAGE, AudioPart: AUDIO, VideoPart: VIDEO}


@dataclass(frozen=True, slots=True)
class Generation:
    """How the template is asked to render, beside the messages and tools.

    Attributes:
        thinking: `enable_thinking` of the template.
        preserve_thinking: Keep the reasoning of finished turns that called tools.
        prompt: End with what makes the model go on (`add_generation_prompt`).
        variant: Which of the two canonical templates.
    """

    thinking: bool = False
    preserve_thinking: bool = False
    prompt: bool = True
    variant: TemplateVariant = "large"


# --- the whole prompt ----------------------------------------------------------------------------


def render(
    messages: Sequence[Message],
    tools: Sequence[Declaration] = (),
    generation: Generation = Generation(),  # frozen, so one for all is safe
) -> str:
    """The prompt, `<bos>` included, as `/tokenize` would count it.

    Media appear as their placeholders (`<|image|>`); the server replaces each by its embeddings.
    """
    system, rest = split_system(messages)
    parts = [BOS]
    if generation.thinking or tools or system is not None:
        parts.append(render_system(system, tools, thinking=generation.thinking))
    turns = turns_of(rest, preserve_thinking=generation.preserve_thinking)
    parts += [render_turn(turn.message, turn.results, turn.place) for turn in turns]
    if generation.prompt:
        parts.append(cue(turns[-1] if turns else None, generation))
    return "".join(parts)


def split_system(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """The instructions, and the messages after them."""
    if messages and isinstance(messages[0], SystemMessage):
        return messages[0].content, messages[1:]
    return None, messages


def render_system(
    instructions: str | None, tools: Iterable[Declaration] = (), *, thinking: bool = False
) -> str:
    """The first turn: the thinking switch, the instructions, the tools."""
    return "".join(system_pieces(instructions, tools, thinking=thinking))


def system_pieces(
    instructions: str | None, tools: Iterable[Declaration] = (), *, thinking: bool = False
) -> list[str]:
    """The first turn as its instructions, each of the tools, and its end; each piece begins with a
    control token, so a tokenizer sees the same in the pieces as in the whole.
    """
    switch = f"{THINK}\n" if thinking else ""
    # As a list of parts, which is how vLLM passes it, each text gets a space behind it.
    text = "" if instructions is None else f"{instructions.strip()} "
    return [f"{TURN_OPEN}system\n{switch}{text}", *map(render_declaration, tools), _END_OF_TURN]


@dataclass(frozen=True, slots=True)
class Place:
    """What a message must know of its neighbours: all that its rendering depends on.

    Attributes:
        continues: The message before, tool answers aside, is the model's too.
        followed_by: Role of the next message that is not a tool's answer.
        reasoning: Whether its reasoning is shown.
    """

    continues: bool = False
    followed_by: Literal["system", "user", "assistant"] | None = None
    reasoning: bool = True


@dataclass(frozen=True, slots=True)
class Turn:
    """A message, the tool answers behind it, and its place among the others."""

    message: SystemMessage | UserMessage | AssistantMessage
    results: tuple[ToolMessage, ...]
    place: Place


def turns_of(
    messages: Sequence[Message], *, preserve_thinking: bool = False, after: Message | None = None
) -> list[Turn]:
    """Each message with the tool answers behind it and its place among the others.

    Args:
        messages: Without the instructions.
        preserve_thinking: See `Generation`.
        after: What stands before them, tool answers aside, where they are the end of a longer
            conversation whose last user message is in front of them or among them.
    """
    groups: list[tuple[SystemMessage | UserMessage | AssistantMessage, list[ToolMessage]]] = []
    for message in messages:
        if not isinstance(message, ToolMessage):
            groups.append((message, []))
        elif groups:  # the template drops an answer that follows nothing
            groups[-1][1].append(message)
    last_user = max((at for at, (m, _) in enumerate(groups) if m.role == "user"), default=-1)
    before = [after, *(message for message, _ in groups)]
    return [
        Turn(
            message,
            tuple(results),
            Place(
                continues=(previous := before[at]) is not None and previous.role == "assistant",
                followed_by=groups[at + 1][0].role if at + 1 < len(groups) else None,
                reasoning=at > last_user
                or (
                    preserve_thinking
                    and isinstance(message, AssistantMessage)
                    and bool(message.tool_calls)
                ),
            ),
        )
        for at, (message, results) in enumerate(groups)
    ]


def cue(last: Turn | None, generation: Generation) -> str:
    """What makes the model go on."""
    if last and isinstance(last.message, AssistantMessage) and last.message.tool_calls:
        return _REASONING_OPEN if last.results and generation.thinking else ""
    if generation.variant == "large" and not generation.thinking:
        return _MODEL_TURN + _NO_REASONING
    return _MODEL_TURN


# --- one message ---------------------------------------------------------------------------------


def render_turn(
    message: SystemMessage | UserMessage | AssistantMessage,
    results: Sequence[ToolMessage] = (),
    place: Place = Place(),  # frozen, so one for all is safe
) -> str:
    """One message and the answers to its calls: pure, so a caller can keep the text.

    Whether the turn is closed follows the template, oddities included: with text *and* calls the
    text comes after the answers, and calls without answers leave `<|tool_response>` open.
    """
    own, answers, end = turn_pieces(message, results, place)
    return "".join([own, *answers, end])


def turn_pieces(
    message: SystemMessage | UserMessage | AssistantMessage,
    results: Sequence[ToolMessage] = (),
    place: Place = Place(),  # frozen, so one for all is safe
) -> tuple[str, list[str], str]:
    """`render_turn` in pieces: what comes before the tools' answers, each of these, what follows.

    Each piece is empty or begins with a control token, but for the text of a model's message that
    goes on after another one.
    """
    if not isinstance(message, AssistantMessage):
        content = _content(message.content)
        return f"{TURN_OPEN}{message.role}\n{content}{_END_OF_TURN}", [], ""
    calls = message.tool_calls
    results = results if calls else ()
    text = _without_reasoning(message.content or "")
    parts = ["" if place.continues else _MODEL_TURN]
    if message.reasoning and place.reasoning:
        parts.append(f"{_REASONING_OPEN}{message.reasoning}\n{CHANNEL_CLOSE}")
    parts += [render_call(call.name, call.arguments) for call in calls]
    names = {call.id: call.name for call in calls}
    answers = [_result(names.get(r.call_id, r.name or "unknown"), r.content) for r in results]
    closing = _closing(place, has_calls=bool(calls), answered=bool(results), text=text)
    if not calls:
        return "".join([*parts, text, closing]), [], ""
    return "".join(parts), answers, text + closing


def _closing(place: Place, *, has_calls: bool, answered: bool, text: str) -> str:
    if has_calls and not answered:
        return RESPONSE_OPEN
    if place.followed_by == "assistant":
        return ""
    if answered and not text and place.followed_by is None:
        return ""  # the model's turn goes on after the answers
    return _END_OF_TURN


def _content(content: Content) -> str:
    if isinstance(content, str):
        return content.strip()
    return "".join(
        part.text.strip() if isinstance(part, TextPart) else _MEDIA[type(part)] for part in content
    )


def _without_reasoning(text: str) -> str:
    """Text without what stands between channel tokens, as the template does."""
    pieces = (piece.partition(CHANNEL_OPEN)[0] for piece in text.split(CHANNEL_CLOSE))
    return "".join(pieces).strip()


def _result(name: str, content: Content) -> str:
    media = ""
    if isinstance(content, str):
        text = content
    else:
        texts = [part.text for part in content if isinstance(part, TextPart)]
        # vLLM joins a message of texts alone; the template joins the texts beside media.
        text = ("\n" if len(texts) == len(content) else "").join(texts)
        media = "".join(_MEDIA[type(part)] for part in content if not isinstance(part, TextPart))
    body = f"{{value:{QUOTE}{text}{QUOTE}}}"
    return f"{RESPONSE_OPEN}response:{name}{body}{RESPONSE_CLOSE}{media}"


# --- calls and values ----------------------------------------------------------------------------


def render_call(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as the model writes it: bare keys, sorted without regard to case."""
    body = ",".join(f"{key}:{render_value(value)}" for key, value in sorted_pairs(arguments))
    return f"{CALL_OPEN}call:{name}{{{body}}}{CALL_CLOSE}"


def render_value(value: Any, *, quoted_keys: bool = False) -> str:
    """A JSON value in the native syntax.

    Args:
        value: Anything that JSON can hold.
        quoted_keys: Inside declarations the template quotes the keys of objects.
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"{QUOTE}{value}{QUOTE}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        quote = QUOTE if quoted_keys else ""
        pairs = (
            f"{quote}{key}{quote}:{render_value(item, quoted_keys=quoted_keys)}"
            for key, item in sorted_pairs(value)
        )
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(render_value(item, quoted_keys=quoted_keys) for item in value)}]"
    return str(value)


def sorted_pairs(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The pairs in the order of jinja2's `dictsort`: lower case, ties as they came."""
    return sorted(mapping.items(), key=lambda pair: pair[0].lower())


# --- declarations --------------------------------------------------------------------------------

_RESERVED: Final = frozenset({"description", "type", "properties", "required", "nullable"})


def render_declaration(tool: Declaration) -> str:
    """What the model sees of a tool, control tokens included.

    A missing description prints `None`, as it does through vLLM, which fills it in as null.
    """
    body = f"declaration:{tool['name']}{{description:{QUOTE}{tool.get('description')}{QUOTE}"
    parameters = tool.get("parameters")
    if parameters:
        body += ",parameters:{"
        if parameters.get("properties"):
            body += f"properties:{{{_properties(parameters['properties'])}}},"
        if parameters.get("required"):
            body += f"{_required(parameters)},"
        if parameters.get("type"):  # without a type the template forgets the brace as well
            body += f"type:{QUOTE}{str(parameters['type']).upper()}{QUOTE}}}"
    return f"{TOOL_OPEN}{body}}}{TOOL_CLOSE}"


def _required(schema: Mapping[str, Any]) -> str:
    return f"required:[{','.join(f'{QUOTE}{name}{QUOTE}' for name in schema['required'])}]"


def _properties(properties: Mapping[str, Any], *, leave_out: frozenset[str] = frozenset()) -> str:
    return ",".join(
        f"{name}:{{{','.join(_attributes(schema if isinstance(schema, Mapping) else {}))}}}"
        for name, schema in sorted_pairs(properties)
        if name not in leave_out
    )


def _attributes(schema: Mapping[str, Any]) -> Iterator[str]:
    """What the template prints of one property, in its order."""
    kind = str(schema.get("type", "")).upper()
    if schema.get("description"):
        yield f"description:{QUOTE}{schema['description']}{QUOTE}"
    if kind == "STRING" and schema.get("enum"):
        yield f"enum:{render_value(schema['enum'], quoted_keys=True)}"
    if kind == "ARRAY" and isinstance(schema.get("items"), Mapping) and schema["items"]:
        yield f"items:{{{','.join(_items(schema['items']))}}}"
    if schema.get("nullable"):
        yield "nullable:true"
    if kind == "OBJECT":
        if isinstance(schema.get("properties"), Mapping):
            inner = _properties(schema["properties"])
        else:  # the template takes the schema's other keywords for properties of a free object
            inner = _properties(schema, leave_out=_RESERVED)
        yield f"properties:{{{inner}}}"
        if schema.get("required"):
            yield _required(schema)
    yield f"type:{QUOTE}{kind}{QUOTE}"


def _items(schema: Mapping[str, Any]) -> Iterator[str]:
    for key, value in sorted_pairs(schema):
        if value is None:
            continue
        if key == "properties":
            yield f"properties:{{{_properties(value) if isinstance(value, Mapping) else ''}}}"
        elif key == "required":
            yield _required(schema)
        elif key == "type":
            kinds = value.upper() if isinstance(value, str) else [str(v).upper() for v in value]
            yield f"type:{render_value(kinds, quoted_keys=True)}"
        else:
            yield f"{key}:{render_value(value, quoted_keys=True)}"
