"""How a server can be made to call tools: the ladder of control.

A server stands on one of four rungs. `find_control` finds out on which, and `held_on` writes a
request as it has to be sent there.

Only replies tell. Servers ignore fields that they do not know, gateways drop them or pass them on,
and a version says nothing of the proxy before it. So each rung forces something that no model says
of itself: an argument that only the grammar names, a tool other than the one that the user asks
for, an answer in JSON to a question for text.

1. `grammar`: vLLM's `structured_outputs` with Gemma's own syntax (see `agentkit.gemma4.grammar`).
   Every call is held to its tool's schema while it is written, also one that the model was free to
   make.
2. `tool_choice`: OpenAI's field, with `strict` tools. A forced call is a call; a free one is held
   to its schema if the server does that much.
3. `json_schema`: OpenAI's `response_format`. A forced call comes as JSON, without the tools of the
   server: those are told in words, since a server refuses both at once, or lets the schema win
   silently (vllm#16313). Free calls are free.
4. `free`: the model is asked in words, and what comes back is checked.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final, TypeAlias

from agentkit.errors import (
    AgentKitError,
    ModelConnectionError,
    ModelStatusError,
    ModelTimeoutError,
)
from agentkit.exact import InexactError, read_exact
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.messages import (
    Control,
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
from agentkit.wire import forced, read_call

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
"""Asks a server: the request, its tools' dialect, and fields over those of the request."""


async def find_control(ask: Ask, *, may_be_gemma: bool) -> Control:
    """The highest rung that the server stands on.

    Args:
        ask: Asks it.
        may_be_gemma: False where the model is known to be another: then Gemma's grammar is not
            sent.

    Raises:
        AgentKitError: What `ask` raises where the server is away.
    """
    if may_be_gemma and await _takes_grammar(ask):
        return "grammar"
    if await _takes_tool_choice(ask):
        return "tool_choice"
    schema = {"name": PROBE, "schema": _READY, "strict": True}
    fields = {"response_format": {"type": "json_schema", "json_schema": schema}}
    reply = await _unless_refused(ask(_request([], ToolChoice()), Dialect([], Escape()), fields))
    try:
        said = None if reply is None else read_exact(reply.message.content or "")
    except InexactError:
        said = None
    return "json_schema" if said == {"ready": "yes"} else "free"


async def _takes_grammar(ask: Ask) -> bool:
    code = f"ready-{secrets.token_hex(4)}"
    required = ToolChoice("required", max_calls=1)
    grammar = Dialect([_tool(PROBE, code)], Escape()).grammar(required)
    told = _tool(PROBE)  # the model is not told the code
    fields = {"structured_outputs": grammar}
    reply = await _unless_refused(
        ask(_request([told], required), Dialect([told], Escape()), fields)
    )
    calls = [] if reply is None else reply.message.tool_calls
    return [(call.name, call.arguments) for call in calls] == [(PROBE, {"code": code})]


async def _takes_tool_choice(ask: Ask) -> bool:
    tools = [_tool(_OTHER), _tool(PROBE)]
    dialect = Dialect(tools, Escape())
    for name, asked_for in ((PROBE, _OTHER), (_OTHER, PROBE)):
        request = _request(tools, ToolChoice("required", name=name), f"Call {asked_for}.")
        fields = {"tool_choice": {"type": "function", "function": {"name": name}}}
        reply = await _unless_refused(ask(request, dialect, fields))
        if reply is None or {call.name for call in reply.message.tool_calls} != {name}:
            return False
    return True


def is_probe(body: JsonObject) -> bool:
    """Whether the body of a chat request is one of the requests that find a server's rung."""
    names = [tool["function"]["name"] for tool in body.get("tools") or ()]
    held = (body.get("response_format") or {}).get("json_schema") or {}
    return PROBE in names or held.get("name") == PROBE


def forced_code(body: JsonObject) -> str | None:
    """The code that a probing request forces by its grammar; a server of tests answers with it."""
    held = json.dumps(body.get("structured_outputs") or {})
    found = re.search(r"ready-[0-9a-f]{8}", held)
    return found[0] if found and is_probe(body) else None


def _request(
    tools: list[ToolDefinition], choice: ToolChoice, text: str = "Say hello in one word."
) -> ModelRequest:
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
    """Whether a failure says nothing of what the server can do."""
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


def held_on(
    control: Control | None, request: ModelRequest, dialect: Dialect
) -> tuple[ModelRequest, JsonObject]:
    """A request as it is sent on a rung, and the fields that hold its reply.

    Args:
        control: The rung; None where calls are not to be held.
        request: The request.
        dialect: The dialect of its tools.
    """
    if control == "grammar":
        grammar = dialect.grammar(request.tool_choice)
        return request, {} if grammar is None else {"structured_outputs": grammar}
    if control is None or request.tool_choice.mode != "required":
        return request, {}
    if control == "tool_choice":
        return request, forced(request.tool_choice)
    offered = _offered(request)
    if control == "json_schema":
        declared = json.dumps([tool.declaration for tool in offered], ensure_ascii=False)
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
            for tool in offered
        ]
        schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
        held = {"name": "tool_call", "schema": schema, "strict": True}
        asked = noted(request.messages, f"{_FORM}{declared})")
        return replace(request, messages=asked, tools=()), {
            "response_format": {"type": "json_schema", "json_schema": held}
        }
    names = " or ".join(tool.name for tool in offered)
    asked = noted(
        request.messages,
        f"(Call the tool {names} now, in your own tool call format, and write nothing else.)",
    )
    return replace(request, messages=asked), {}


_FORM: Final = (
    '(Answer with one JSON object and nothing else: {"name": NAME, "arguments": {…}}, a call of '
    "one of these tools, as JSON Schema describes it:\n"
)


def read_json_call(
    response: ModelResponse, request: ModelRequest, first_call: int
) -> ModelResponse:
    """The reply to a request on the rung `json_schema`, with its JSON as the call that it is.

    A reply that holds no call of an offered tool stays as it is.
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
    named = request.tool_choice.name
    return [tool for tool in request.tools if named in (None, tool.name)]
