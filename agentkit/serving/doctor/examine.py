"""All probes in turn against one server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import httpx2

from agentkit.errors import (
    AgentKitError,
    ModelConnectionError,
    ModelStatusError,
    ModelTimeoutError,
    ServerNotReadyError,
)
from agentkit.models.control import is_away
from agentkit.models.server import Server
from agentkit.models.transport import Connection, Timeouts, Transport
from agentkit.serving.doctor import delivery, identity, passage, prompts, replies
from agentkit.serving.doctor.finding import Diagnosis, Finding, Probe
from agentkit.serving.doctor.subject import Subject
from agentkit.wire import names_server

PROBES: Final[tuple[Probe[Subject], ...]] = (
    Probe("version", "Is it a vLLM that agentkit supports?", identity.version),
    Probe("model", "Does it serve the model, under a name that tells?", identity.model),
    Probe("window", "Does the window fit the model?", identity.window),
    Probe("tool parser", "Do calls come back as calls?", replies.tool_parser),
    Probe("chat template", "Is it Gemma 4's newest?", prompts.template),
    Probe("token counts", "Do all count a prompt alike?", prompts.token_counts),
    Probe("control tokens", "Does text from outside stay text?", prompts.control_tokens),
    Probe("grammar", "Are calls held to their schema?", replies.grammar),
    Probe("control", "What can a call be held to?", replies.control),
    Probe("several calls", "Do all calls of a reply come back?", passage.several_calls),
    Probe("grammar cost", "What does the grammar cost a token?", replies.grammar_cost),
    Probe("arrival", "Does all that is sent reach the model?", passage.arrival),
    Probe("thinking switch", "Can thinking be switched?", passage.thinking_switch),
    Probe("reasoning parser", "Do thoughts come back as thoughts?", replies.reasoning_parser),
    Probe("own tokens", "Do replies bring the model's tokens?", replies.own_tokens),
    Probe("cut replies", "Is a reply that was cut seen as cut?", replies.cut_replies),
    Probe("reply length", "May a reply be long?", passage.reply_length),
    Probe("large requests", "May a conversation be long?", passage.large_requests),
    Probe("streaming", "Is a stream the whole reply, in time?", delivery.streaming),
    Probe("prefix cache", "Is a prompt read once only?", delivery.prefix_cache),
    Probe("stop tokens", "Does a reply end where it should?", delivery.stop_tokens),
    Probe("own settings", "Are the checkpoint's own settings used?", delivery.own_ends),
    Probe("fields", "Are all fields of a request taken?", replies.fields),
    Probe("steadiness", "Is every request answered?", identity.steadiness),
)
"""In this order: later ones use what earlier ones found."""

_REACHABLE: Final = "reachable"
_PATIENCE: Final = Timeouts(connect=5.0, first_event=60.0, idle=30.0, total=120.0)


async def examine(
    url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    http_client: httpx2.AsyncClient | None = None,
    tell: Callable[[Finding], object] | None = None,
) -> Diagnosis:
    """Asks a live server everything that agentkit relies on; some fifty short requests.

    Args:
        url: The server's address, with or without `/v1`.
        model: The served name; default: the first that the server lists.
        api_key: Sent as a bearer token.
        http_client: Used as it is instead of a client of our own, and never closed.
        tell: Called with each finding as it is made.

    Raises:
        ServerNotReadyError: The address is none.
    """
    connection = Connection(base_url=url, api_key=api_key, http_client=http_client)
    transport = Transport(connection, _PATIENCE)
    findings: list[Finding] = []

    def note(found: Finding) -> None:
        findings.append(found)
        if tell is not None:
            tell(found)

    try:
        subject, first = await _introduced(transport, model)
        note(first)
        if subject is None:
            reachable = first.probe != _REACHABLE
            return Diagnosis(transport.where, reachable=reachable, findings=tuple(findings))
        for probe in PROBES:
            note(await probe(subject))
        return Diagnosis(
            transport.where,
            subject.model,
            subject.version,
            subject.window,
            subject.server.control.known or "",
            subject.template,
            findings=tuple(findings),
            server="vLLM" if subject.is_vllm else names_server(subject.owner) or "",
        )
    finally:
        await transport.aclose()


async def _introduced(transport: Transport, wanted: str | None) -> tuple[Subject | None, Finding]:
    """The server with what it says of itself, or why there is none to be examined."""
    server = Server(transport, wanted, None)
    try:
        chosen = await _again_if_away(server.served.get)
    except (ModelConnectionError, ModelTimeoutError) as error:
        remedy = "start one: agentkit serve MODEL, or mend the address"
        return None, Finding("fail", str(error), remedy, _REACHABLE)
    except ServerNotReadyError as error:
        remedy = "--served-model-name NAME, or ask for one that is served: --model-name NAME"
        return None, Finding("fail", str(error), remedy, "model")
    except AgentKitError as error:
        remedy = "give the address of a vLLM, such as http://localhost:8000/v1"
        return None, Finding("fail", str(error), remedy, "server")
    subject = Subject(transport, server, chosen.name, chosen.max_model_len)
    subject.owner = chosen.owner
    with suppress(AgentKitError):
        subject.is_gemma = await _again_if_away(server.is_gemma.get)
    with suppress(AgentKitError):
        told = await subject.get("/version")
        version = (told or {}).get("version")
        subject.version = version if isinstance(version, str) else ""
    return subject, Finding("pass", f"{transport.where} answers", probe=_REACHABLE)


async def _again_if_away(find: Callable[[], Awaitable[T]]) -> T:
    """What is found out, also of a server that says "later" now and then."""
    for _ in range(_PUT_OFF):
        try:
            return await find()
        except ModelStatusError as error:
            if not is_away(error):
                raise
    return await find()


_PUT_OFF: Final = 4
T = TypeVar("T")
