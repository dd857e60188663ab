"""All probes in turn against one server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import httpx2

from agentkit.errors import AgentKitError, ModelConnectionError, ModelTimeoutError
from agentkit.models.timeouts import Timeouts
from agentkit.models.transport import Connection, Transport
from agentkit.serving.doctor import delivery, identity, prompts, replies
from agentkit.serving.doctor.finding import Diagnosis, Finding, Probe
from agentkit.serving.doctor.subject import Subject
from agentkit.wire import ServedModel, read_models

__all__ = ["PROBES", "examine"]

PROBES: Final[tuple[Probe[Subject], ...]] = (
    Probe("version", "Is it a vLLM that agentkit supports?", identity.version),
    Probe("model", "Does it serve the model, under a name that tells?", identity.model),
    Probe("window", "Does the window fit the model?", identity.window),
    Probe("tool parser", "Do calls come back as calls?", replies.tool_parser),
    Probe("chat template", "Is it Gemma 4's newest?", prompts.template),
    Probe("token counts", "Do all count a prompt alike?", prompts.token_counts),
    Probe("control tokens", "Does text from outside stay text?", prompts.control_tokens),
    Probe("grammar", "Are calls held to their schema?", replies.grammar),
    Probe("reasoning parser", "Do thoughts come back as thoughts?", replies.reasoning_parser),
    Probe("own tokens", "Do replies bring the model's tokens?", replies.own_tokens),
    Probe("cut replies", "Is a reply that was cut seen as cut?", replies.cut_replies),
    Probe("streaming", "Is a stream the whole reply, in time?", delivery.streaming),
    Probe("prefix cache", "Is a prompt read once only?", delivery.prefix_cache),
    Probe("stop tokens", "Does a reply end where it should?", delivery.stop_tokens),
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
            findings=tuple(findings),
        )
    finally:
        await transport.aclose()


async def _introduced(transport: Transport, wanted: str | None) -> tuple[Subject | None, Finding]:
    """The server with what it says of itself, or why there is none to be examined."""
    try:
        served = read_models(await transport.get("/v1/models"))
    except (ModelConnectionError, ModelTimeoutError) as error:
        remedy = "start one: agentkit serve MODEL, or mend the address"
        return None, Finding("fail", str(error), remedy, _REACHABLE)
    except AgentKitError as error:
        remedy = "give the address of a vLLM, such as http://localhost:8000/v1"
        return None, Finding("fail", str(error), remedy, "server")
    chosen = next((card for card in served if wanted in (None, card.name)), None)
    if chosen is None:
        return None, _not_served(served, wanted)
    subject = Subject(transport, chosen.name, chosen.max_model_len)
    told = await subject.get("/version")
    version = (told or {}).get("version")
    subject.version = version if isinstance(version, str) else ""
    return subject, Finding("pass", f"{transport.where} answers", probe=_REACHABLE)


def _not_served(served: list[ServedModel], wanted: str | None) -> Finding:
    names = ", ".join(card.name for card in served) or "no model"
    says = f"it serves {names}" + (f", not {wanted}" if wanted else "")
    return Finding("fail", says, "--served-model-name NAME, or ask for one that is served", "model")
