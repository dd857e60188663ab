"""Tool calls on a server: how they are enforced, and which calls of a reply are believed.

**The ladder of control.** A server stands on one of four rungs. `find_control` finds out on which,
`asked_on` writes a request as it has to be sent there, and `held_on` the fields that constrain its
reply. Only replies show the rung: servers ignore fields that they do not know, gateways drop them
or pass them on, and a version says nothing of the proxy in front. So each probe forces something
that no model says of itself: an argument that only the grammar names, a tool other than the one
that the user asks for, an answer in JSON to a question for text.

1. `grammar`: vLLM's `structured_outputs` with Gemma's own syntax (see `agentkit.gemma4.grammar`).
   Every call is held to its tool's schema while it is written, also one that the model was free to
   make.
2. `tool_choice`: OpenAI's field, with `strict` tools. A forced call is a call; a free one is held
   to its schema if the server does that much. The field names one tool or none, so a call that is
   forced among some tools is requested with only these on offer.
3. `json_schema`: OpenAI's `response_format`. A forced call comes as JSON. The request then gives
   the tools in words, since a server refuses tools beside a schema, or silently ignores them
   (vllm#16313). Free calls are free.
4. `free`: the model is asked in words, and its reply is checked.

**The rule of evidence.** A reply can hold the text of a call without being one: it quotes a file,
explains a tool, or repeats what somebody wants to be run. `believed` distinguishes them. Only the
token that opens a call is beyond doubt, so:

1. Where the server gives the reply's token ids, a call begins at the id of `<|tool_call>` and
   nowhere else. A call that the server returned and the ids do not show is text: its parser goes by
   the spelling (vLLM 0.32, `parser/gemma4.py`). In open reasoning the token begins no call. Nor is
   text reasoning where the ids show none.
2. Where it gives none, a call is what the server returned as one, or a whole reply that is nothing
   but calls in Gemma's full form, exactly. One whose arguments hold a quote token, or of which each
   text stands in other quotes, was read wrong: it comes back as malformed.
3. A reply that a grammar held to calls and nothing else is a call, whether tokens or characters
   spell it: the grammar works on characters. Where the grammar left text free, only the token opens
   a call; inside the call, characters may spell tokens.

Where both readings exist, ours counts if it is exact: the server's parser mangles arguments
(vllm#44715, #51284, #47906). Where ours had to undo damage, and the server's reading fits the tool
but says something else, neither is believed and the call comes back as malformed.

Nothing here sends a request by itself.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from agentkit.errors import (
    AgentKitError,
    ModelConnectionError,
    ModelStatusError,
    ModelTimeoutError,
)
from agentkit.exact import InexactError, read_exact, unfenced
from agentkit.gemma4.calls import ParsedCall
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.parse import ParsedReply
from agentkit.gemma4.render import render_call
from agentkit.gemma4.tokens import (
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    CONTROL_LITERALS,
    IDS,
    QUOTE,
    STOP_IDS,
)
from agentkit.gemma4.wrong_forms import split_reasoning
from agentkit.messages import (
    AssistantMessage,
    Control,
    FinishReason,
    JsonObject,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    UserMessage,
)
from agentkit.policy import noted
from agentkit.wire import Reply, forced, read_call

# --- which rung a server stands on ---------------------------------------------------------------

PROBE: Final = "agentkit_probe"
"""The tool of the probing requests; a server of tests may know them by its name."""

_OTHER: Final = "agentkit_idle"


def _tool(name: str, *codes: str) -> ToolDefinition:
    code: JsonObject = {"type": "string", "description": "A code."}
    if codes:
        code["enum"] = list(codes)
    schema = {"type": "object", "properties": {"code": code}, "required": ["code"]}
    return ToolDefinition(name, "Takes a code.", schema)


_READY: Final[JsonObject] = {
    "type": "object",
    "properties": {"ready": {"type": "string", "enum": ["yes"]}},
    "required": ["ready"],
    "additionalProperties": False,
}

_MAX_TOKENS: Final = 64  # the forced call, spelled in whatever tokens the model likes

LOST: Final[Mapping[Control, str]] = {
    "grammar": "",
    "tool_choice": "a call that the model makes of itself may not fit its tool's schema; it is "
    "checked, and asked for again",
    "json_schema": "only forced calls and typed answers are held to a schema; a call that the "
    "model makes of itself is checked, and asked for again",
    "free": "nothing is held to a schema: a forced call or a typed answer may not come at the "
    "first try, and where it never comes the run says so",
}
"""What an agent loses on each rung."""

Ask: TypeAlias = Callable[[ModelRequest, Dialect, Mapping[str, object]], Awaitable[ModelResponse]]
"""Asks a server, given the request, the dialect of its tools, and fields that replace its own."""


async def find_control(ask: Ask, *, may_be_gemma: bool) -> Control:
    """The highest rung that the server stands on.

    Args:
        ask: Asks the server.
        may_be_gemma: False if the model is known not to be a Gemma; its grammar is then not sent.

    Raises:
        AgentKitError: The server is away.
    """
    if may_be_gemma and await _takes_grammar(ask):
        return "grammar"
    if await _takes_tool_choice(ask):
        return "tool_choice"
    schema = {"name": PROBE, "schema": _READY, "strict": True}
    fields = {"response_format": {"type": "json_schema", "json_schema": schema}}
    reply = await _unless_refused(ask(_request([], ToolChoice()), Dialect([], Escape()), fields))
    try:
        said = None if reply is None else read_exact(unfenced(reply.message.content or ""))
    except InexactError:
        said = None
    return "json_schema" if said == {"ready": "yes"} else "free"


async def _takes_grammar(ask: Ask) -> bool:
    code = f"ready-{secrets.token_hex(4)}"
    required = ToolChoice("required", max_calls=1)
    grammar = Dialect([_tool(PROBE, code)], Escape()).grammar(required)
    shown = _tool(PROBE)  # without the code
    fields = {"structured_outputs": grammar}
    reply = await _unless_refused(
        ask(_request([shown], required), Dialect([shown], Escape()), fields)
    )
    calls = [] if reply is None else reply.message.tool_calls
    return [(call.name, call.arguments) for call in calls] == [(PROBE, {"code": code})]


async def _takes_tool_choice(ask: Ask) -> bool:
    tools = [_tool(_OTHER), _tool(PROBE)]
    dialect = Dialect(tools, Escape())
    both = {PROBE, _OTHER}
    for name, text, allowed in (
        (PROBE, f"Call {_OTHER}.", {PROBE}),
        (_OTHER, f"Call {PROBE}.", {_OTHER}),
        (None, _CHAT, both),  # some take the name of a tool only
    ):
        choice = ToolChoice("required", name=name)
        reply = await _unless_refused(ask(_request(tools, choice, text), dialect, forced(choice)))
        called = set() if reply is None else {call.name for call in reply.message.tool_calls}
        if not called or not called <= allowed:
            return False
    return True


def rung_below(control: Control) -> Control:
    """The next rung, on which a request may be taken whose constraint a server refuses."""
    rungs = list(LOST)
    return rungs[min(rungs.index(control) + 1, len(rungs) - 1)]


def is_probe(body: JsonObject) -> bool:
    """Whether the body of a chat request is one of those that probe a server's rung."""
    names = [tool["function"]["name"] for tool in body.get("tools") or ()]
    held = (body.get("response_format") or {}).get("json_schema") or {}
    return PROBE in names or held.get("name") == PROBE


def forced_code(body: JsonObject) -> str | None:
    """The code that a probing request forces by its grammar; a server of tests answers with it."""
    held = json.dumps(body.get("structured_outputs") or {})
    found = re.search(r"ready-[0-9a-f]{8}", held)
    return found[0] if found and is_probe(body) else None


_CHAT: Final = "Say hello in one word."


def _request(tools: list[ToolDefinition], choice: ToolChoice, text: str = _CHAT) -> ModelRequest:
    return ModelRequest(
        [UserMessage(text)],
        tools,
        ModelSettings(max_tokens=_MAX_TOKENS, temperature=0.0, thinking=False),
        choice,
    )


async def _unless_refused(asked: Awaitable[ModelResponse]) -> ModelResponse | None:
    try:
        return await asked
    except AgentKitError as error:
        if is_away(error):
            raise
        return None


def is_away(error: AgentKitError) -> bool:
    """Whether a failure only means that the server is away, not that it cannot do something."""
    return isinstance(error, (ModelConnectionError, ModelTimeoutError)) or (
        isinstance(error, ModelStatusError) and error.status_code in _AWAY
    )


_AWAY: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


# --- a request on its rung -----------------------------------------------------------------------


def asked_on(control: Control | None, request: ModelRequest) -> ModelRequest:
    """A request as it is sent on a rung: with other tools, or with words for a forced call.

    Args:
        control: The rung; None where calls are not to be constrained.
        request: The request.
    """
    choice = request.tool_choice
    if control in (None, "grammar") or choice.mode != "required":
        return request
    offered = _offered(request)
    if control == "tool_choice":
        return replace(request, tools=offered) if choice.among else request
    if control == "json_schema":
        declared = json.dumps([tool.declaration for tool in offered], ensure_ascii=False)
        asked = noted(request.messages, f"{_FORM}{declared})")
        return replace(request, messages=asked, tools=())
    names = " or ".join(tool.name for tool in offered)
    words = f"(Call the tool {names} now, in your own tool call format, and write nothing else.)"
    return replace(request, messages=noted(request.messages, words))


def held_on(control: Control | None, request: ModelRequest, dialect: Dialect) -> JsonObject:
    """The fields that constrain the reply to a request on a rung.

    Args:
        control: The rung; None where calls are not to be constrained.
        request: The request as it was before `asked_on`.
        dialect: The dialect of the tools that are sent.
    """
    choice = request.tool_choice
    if control == "grammar":
        grammar = dialect.grammar(choice)
        return {} if grammar is None else {"structured_outputs": grammar}
    if control in (None, "free") or choice.mode != "required":
        return {}
    if control == "tool_choice":
        return forced(choice)
    forms = [
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "enum": [tool.name]},
                "arguments": tool.parameters,
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in _offered(request)
    ]
    schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
    held = {"name": "tool_call", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": held}}


_FORM: Final = (
    '(Answer with one JSON object and nothing else: {"name": NAME, "arguments": {…}}, a call of '
    "one of these tools, as JSON Schema describes it:\n"
)


def read_json_call(
    response: ModelResponse, request: ModelRequest, first_call: int
) -> ModelResponse:
    """The reply to a request on the rung `json_schema`, with its JSON made a call.

    A reply that holds no call of an offered tool stays the same.
    """
    message = response.message
    if message.tool_calls or response.finish_reason != "stop":
        return response
    read = read_call("", "", message.content or "")
    name, arguments = read.arguments.get("name"), read.arguments.get("arguments")
    known = {tool.name for tool in _offered(request)}
    if read.malformed is not None or name not in known or not isinstance(arguments, dict):
        return response
    call = ToolCall(f"call_{first_call}", name, arguments)
    return replace(
        response,
        message=replace(message, content=None, tool_calls=(call,)),
        finish_reason="tool_calls",
    )


def _offered(request: ModelRequest) -> Sequence[ToolDefinition]:
    return tuple(tool for tool in request.tools if request.tool_choice.allows(tool.name))


# --- what is believed of a reply -----------------------------------------------------------------

_CALL: Final = IDS[CALL_OPEN]
_REASONING_OPEN, _REASONING_CLOSE = IDS[CHANNEL_OPEN], IDS[CHANNEL_CLOSE]
_CUE_TOKENS: Final = 8
"""How many tokens at the end of a prompt are searched for the cue `<|channel>thought\\n`."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a reply beside the server's reading of it.

    Attributes:
        reply: The reply as the server sent it.
        forced: Whether our grammar allowed calls and nothing else.
        constrained: Whether a grammar constrained the reply, ours or the caller's own.
        native: Whether the model wrote Gemma's syntax, as far as is known.
        pieces: The text of each of `reply.token_ids`; None where it is not known.
        first_call: The number of the reply's first call within its conversation.
    """

    reply: Reply
    forced: bool = False
    constrained: bool = False
    native: bool = False
    pieces: Sequence[str] | None = None
    first_call: int = 0


def may_hold_calls(reply: Reply, server: ModelResponse, *, forced: bool) -> bool:
    """Whether something indicates a call in the reply, so that the text of its tokens is needed.
    Else the text that the server returned is enough.
    """
    return bool(
        forced
        or server.message.tool_calls
        or reply.finish == "tool_calls"
        or _CALL in reply.token_ids
    )


def believed(server: ModelResponse, evidence: Evidence, dialect: Dialect) -> ModelResponse:
    """The reply as far as it is believed.

    Args:
        server: The server's own reading.
        evidence: What else is known of the reply.
        dialect: The dialect of the tools that were offered.
    """
    reply = evidence.reply
    if not reply.token_ids:
        return _without_ids(server, evidence, dialect)
    if not may_hold_calls(reply, server, forced=evidence.forced):
        begun = in_reasoning(reply.prompt_token_ids)
        reasons = begun or not {_REASONING_OPEN, _REASONING_CLOSE}.isdisjoint(reply.token_ids)
        return _without_stray_reasoning(server) if reasons else server
    if evidence.pieces is None:
        return _without_pieces(server, evidence, dialect)
    begun = in_reasoning(reply.prompt_token_ids)
    if evidence.forced:
        spelled = dialect.read("".join(evidence.pieces), in_reasoning=begun)
        if spelled.only_calls:
            return of_parsed(server, spelled, evidence)
    parsed = dialect.read_tokens(
        reply.token_ids, evidence.pieces, in_reasoning=begun, constrained=evidence.constrained
    )
    return of_parsed(server, _agreed(parsed, server, dialect), evidence)


def of_parsed(server: ModelResponse, parsed: ParsedReply, evidence: Evidence) -> ModelResponse:
    """The response by our own reading of the model's text."""
    reply = evidence.reply
    found = [*parsed.calls, *([parsed.cut_call] if parsed.cut_call else [])]
    calls = tuple(
        call.tool_call(f"call_{evidence.first_call + number}") for number, call in enumerate(found)
    )
    stopped = parsed.stop is not None or bool(reply.token_ids and reply.token_ids[-1] in STOP_IDS)
    finish: FinishReason = server.finish_reason
    if finish in ("stop", "tool_calls"):
        finish = "tool_calls" if calls else "stop"
        if parsed.truncated is not None and not stopped:
            finish = "length"
        elif parsed.call_in_reasoning:
            finish = "malformed_call"
    message = AssistantMessage(parsed.text, (), parsed.reasoning or None)
    if calls:
        # Text beside calls has no place in the history (vllm#39885), so it joins the reasoning.
        said = "\n".join(part.strip() for part in (parsed.reasoning, parsed.text) if part.strip())
        message = AssistantMessage(None, calls, said or None)
    return replace(server, message=message, finish_reason=finish)


def in_reasoning(prompt_token_ids: Sequence[int]) -> bool:
    """Whether a prompt ended inside open reasoning, which the reply then continues."""
    cue = list(prompt_token_ids[-_CUE_TOKENS:])
    return _REASONING_OPEN in cue and _REASONING_CLOSE not in cue[cue.index(_REASONING_OPEN) :]


def _without_ids(server: ModelResponse, evidence: Evidence, dialect: Dialect) -> ModelResponse:
    """The reply by rule 2: the server gives no token ids."""
    if server.message.tool_calls:
        return _as_read_by_the_server(server, dialect) if evidence.native else server
    text = server.message.content or ""
    if CALL_OPEN in text:
        parsed = dialect.read(text, in_reasoning=False)
        exact = not any(call.malformed or call.damage for call in parsed.calls)
        if parsed.only_calls and exact:
            reasoning = "\n".join(filter(None, (server.message.reasoning, parsed.reasoning)))
            return of_parsed(server, replace(parsed, reasoning=reasoning), evidence)
    return _without_stray_reasoning(server)


def _without_pieces(server: ModelResponse, evidence: Evidence, dialect: Dialect) -> ModelResponse:
    """The reply by rules 1 and 3 where the ids are known and their text is not: the ids say how
    many calls there are, and only the server says what is in them.
    """
    calls = server.message.tool_calls
    opened = evidence.reply.token_ids.count(_CALL)
    if calls and (evidence.forced or len(calls) <= opened):
        return _as_read_by_the_server(server, dialect)
    if opened:  # some calls are text and some are not, and nothing says which
        return replace(server, finish_reason=_unless_cut(server, "malformed_call"))
    text = (server.message.content or "") + "".join(
        call.malformed or render_call(call.name, call.arguments) for call in calls
    )
    message = AssistantMessage(text, (), server.message.reasoning)
    return _without_stray_reasoning(
        replace(server, message=message, finish_reason=_unless_cut(server, "stop"))
    )


def _unless_cut(server: ModelResponse, finish: FinishReason) -> FinishReason:
    return finish if server.finish_reason in ("stop", "tool_calls") else server.finish_reason


def _without_stray_reasoning(response: ModelResponse) -> ModelResponse:
    """The response, with reasoning that the server left in the text moved to `reasoning`."""
    message = response.message
    if message.content is None or message.tool_calls:
        return response
    stray, text = split_reasoning(message.content)
    if text == message.content:
        return response
    reasoning = "\n".join(filter(None, (message.reasoning, stray))) or None
    return replace(response, message=replace(message, content=text, reasoning=reasoning))


# --- the server's reading alone ------------------------------------------------------------------


def _as_read_by_the_server(server: ModelResponse, dialect: Dialect) -> ModelResponse:
    """The reply of which nothing but the server's reading is known, without what is plainly wrong
    in that. vLLM refuses nothing: a quote that has no other goes into the text, and so does `null`
    where it is told of a text that may be missing (`nullable`).
    """
    calls = tuple(
        replace(call, arguments={}, malformed=render_call(call.name, call.arguments))
        if _is_misread(call.arguments)
        else replace(call, arguments=dialect.with_nulls(call.name, call.arguments))
        for call in server.message.tool_calls
    )
    return replace(server, message=replace(server.message, tool_calls=calls))


def _is_misread(arguments: JsonObject) -> bool:
    if any(QUOTE in path or QUOTE in text for path, text in _leaves(arguments)):
        return True
    texts = [text for text in _texts(arguments) if text]
    if all(len(text) > 1 and text[0] == text[-1] == "'" for text in texts):
        return bool(texts)
    # One text alone may well be a phrase in its own double quotes, as searches have them.
    return len(texts) > 1 and all(len(text) > 1 and text[0] == text[-1] == '"' for text in texts)


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


# --- a repaired reading beside the server's ------------------------------------------------------


def _agreed(parsed: ParsedReply, server: ModelResponse, dialect: Dialect) -> ParsedReply:
    """The reply; a repaired call becomes malformed where the server reads something else."""
    theirs = server.message.tool_calls
    if len(theirs) != len(parsed.calls) or not any(call.damage for call in parsed.calls):
        return parsed
    calls = tuple(
        _unless_they_differ(ours, other, dialect)
        for ours, other in zip(parsed.calls, theirs, strict=True)
    )
    return replace(parsed, calls=calls)


def _unless_they_differ(ours: ParsedCall, theirs: ToolCall, dialect: Dialect) -> ParsedCall:
    if not ours.damage or theirs.malformed is not None:
        return ours
    if _leaves(theirs.arguments) == _leaves(ours.arguments):
        return ours
    if any(_SYNTAX.search(text) for _, text in _leaves(theirs.arguments)):
        return ours
    if not dialect.fits(theirs.name, theirs.arguments):
        return ours
    return replace(ours, arguments={}, malformed=ours.raw, damage=())


_SYNTAX: Final = re.compile(
    r"\A\s*[\"'(\[{]|[\"')\]}]\s*\Z|\A(?:none|true|false|null)\Z|"
    + "|".join(map(re.escape, CONTROL_LITERALS)),
    re.IGNORECASE,
)
"""Marks that a correct parser removes from a text: the server has read the text wrong."""


def _leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    """The scalars of a value, each with its path. 5 and "5" are equal: the schema gives types."""
    if isinstance(value, Mapping):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key], f"{path}.{key}")]
    if isinstance(value, list):
        return [leaf for at, item in enumerate(value) for leaf in _leaves(item, f"{path}.{at}")]
    return [(path, value if isinstance(value, str) else json.dumps(value))]
