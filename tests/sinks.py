"""Secrets, the ways in which they are given, and every place that may keep what a run says.

The judge knows none of the library's forms: it undoes encodings in what a sink holds, and looks for
the plain value. Shared by the unit test and `make soak PART=secrets`.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import logging
import random
import re
import string
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console

from agentkit import (
    Agent,
    AgentKitError,
    ModelConnectionError,
    RunFiles,
    ToolContext,
    ToolError,
    VLLMModel,
    tool,
)
from agentkit.cli.run import Assignment
from agentkit.cli.runs import tell
from agentkit.mcp import McpToolset
from agentkit.messages import ModelSettings
from agentkit.models import Connection
from agentkit.policy import Approve
from agentkit.redaction import get_logger, keep_secret
from agentkit.runtime.divergence import difference
from agentkit.testing import ScriptedModel, call, say
from agentkit.trace import parts_of, read_events
from agentkit.trace.otel import OpenTelemetryObserver
from agentkit.trace.page import page_of

_ASCII = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:/?#[]@%\"\\<>{}|^` "
_WIDE = _ASCII + "äßéøλЖ中文€🔑"


def random_secret(rng: random.Random, way: str) -> str:
    """A value that can be given in that way."""
    alphabet = _WIDE if way == "by hand" else _ASCII
    size = rng.randint(8, 48)
    made = "".join(rng.choice(alphabet) for _ in range(size))
    return "x" + made.strip()[1:].rstrip() + "7"


# --- ways in -----------------------------------------------------------------------------------


def _basic(secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"ada:{secret}".encode()).decode()}


GIVERS: dict[str, Callable[[str], object]] = {
    "by hand": keep_secret,
    "api key": lambda s: VLLMModel("http://localhost:1/v1", api_key=s),
    "password of the server": lambda s: VLLMModel(f"http://u:{quote(s, safe='')}@localhost:1/v1"),
    "query of the server": lambda s: VLLMModel(f"http://localhost:1/v1?key={quote(s, safe='')}"),
    "header of the server": lambda s: VLLMModel("http://localhost:1", headers={"X-Api-Key": s}),
    "password of the proxy": lambda s: Connection(
        base_url="http://localhost:1", proxy=f"http://u:{quote(s, safe='')}@localhost:2"
    ),
    "MCP bearer": lambda s: McpToolset("http://h/mcp", headers={"Authorization": f"Bearer {s}"}),
    "MCP basic": lambda s: McpToolset("http://h/mcp", headers=_basic(s)),
    "MCP header": lambda s: McpToolset("http://h/mcp", headers={"X-Team": s}),
    "MCP query": lambda s: McpToolset(f"http://h/mcp?token={quote(s, safe='')}"),
    "MCP password": lambda s: McpToolset(f"http://u:{quote(s, safe='')}@h/mcp"),
    "MCP variable": lambda s: McpToolset(["server"], env={"SHOP": s}),
    "MCP address in a variable": lambda s: McpToolset(
        ["server"], env={"DB": f"postgresql://u:{quote(s, safe='')}@db/shop"}
    ),
    "MCP argument": lambda s: McpToolset(["server", f"--api-key={s}"]),
    "MCP argument behind a flag": lambda s: McpToolset(["server", "--token", s]),
    "MCP address as an argument": lambda s: McpToolset(
        ["server", f"mysql://u:{quote(s, safe='')}@db/shop"]
    ),
}

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "JSON": lambda s: json.dumps({"key": s}),
    "percent": lambda s: "https://h/?key=" + quote(s),
    "base64": lambda s: base64.b64encode(f"user:{s}\n".encode()).decode(),
}


# --- ways out ----------------------------------------------------------------------------------


async def _run(text: str, *observers: Any) -> None:
    """A run in which a person, a model, a tool and an error all say the text."""

    @tool(labels={"writes"}, target="what")
    async def say_it(context: ToolContext[Any], what: str) -> str:
        """Says it."""
        context.report(what)
        if what.endswith("!"):
            raise ToolError(f"no: {what}")
        return what

    script: list[Any] = [
        call("say_it", what=text, reasoning=f"I think {text}"),
        call("say_it", what=f"{text}!"),
        call("say_it", wrong=text),
        call(f"unknown {text}"),
        say(f"It is {text}"),
        ModelConnectionError(f"the gateway said {text}"),
    ]
    agent = Agent(
        ScriptedModel(script),
        instructions=f"Use {text}.",
        tools=[say_it],
        policy="ask",
        approve=lambda _approval: Approve(),
        observers=observers,
    )
    result = await agent.run(f"Please {text}", run_id="r")
    with suppress(AgentKitError):
        await agent.run("again", history=result.messages, run_id="s")


async def _run_files(text: str) -> dict[str, bytes]:
    """The run file, and what is shown of it."""
    with tempfile.TemporaryDirectory() as folder:
        files = RunFiles(Path(folder))
        await _run(text, files)
        kept = b"".join(files.path(run_id).read_bytes() for run_id in ("r", "s"))
        parts = parts_of(read_events(files.path("r")))
    shown = io.StringIO()
    tell(parts, Console(file=shown, width=10_000), full=True)
    return {
        "run file": kept,
        "page": page_of(parts).encode(),
        "terminal": shown.getvalue().encode(),
    }


async def _spans(text: str) -> dict[str, bytes]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    await _run(text, OpenTelemetryObserver(tracer_provider=provider, content=True))
    provider.shutdown()
    return {"spans": "\n".join(span.to_json() for span in exporter.get_finished_spans()).encode()}


async def _log(text: str) -> dict[str, bytes]:
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(_WithFields())
    logger = logging.getLogger("agentkit")
    level, logger.level = logger.level, logging.INFO
    logger.addHandler(handler)
    try:
        get_logger().info(f"it says {text}", field=text, deep={"a": [text]}, raw=text.encode())
        ToolContext(None, "r").logger.info("the tool says", what=text)
        try:
            raise LookupError(text)
        except LookupError:
            get_logger().exception("it failed")
    finally:
        logger.removeHandler(handler)
        logger.level = level
    return {"log": lines.getvalue().encode()}


class _WithFields(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{super().format(record)} {vars(record).get('agentkit')}"


async def _errors(text: str) -> dict[str, bytes]:
    made = [AgentKitError(f"it is {text}"), ToolError(text), ModelConnectionError(text)]
    said = [f"{error} {error!r}" for error in made]
    return {
        "errors": "\n".join(said).encode(),
        "replay": str(difference(1, "the reply", text, f"{text} and more")).encode(),
    }


async def _owners(secret: str) -> dict[str, bytes]:
    """What is said of the servers themselves, whatever the text."""
    address = f"http://u:{quote(secret, safe='')}@localhost:1/v1?key={quote(secret, safe='')}"
    link = Connection(base_url=address, api_key=None)
    servers = [McpToolset(address), McpToolset(["server", address, f"--key={secret}"])]
    label = Assignment(
        project=Path(), model=address, model_name=None, settings=ModelSettings(), max_steps=1
    ).labels()
    names = [server.name for server in servers]
    said = [repr(link), link.public, *names, json.dumps(label)]
    return {"names of servers": "\n".join(said).encode()}


SINKS: list[Callable[[str], Any]] = [_run_files, _spans, _log, _errors]


# --- the judge ---------------------------------------------------------------------------------


async def leaks(secret: str) -> list[str]:
    """Where a registered secret can be read: sink and encoding."""
    found = [
        f"{name}: {encoding}"
        for encoding, encode in ENCODINGS.items()
        for sink in SINKS
        for name, kept in (await sink(encode(secret))).items()
        if holds(kept, secret)
    ]
    found += [name for name, kept in (await _owners(secret)).items() if holds(kept, secret)]
    return found


def holds(kept: bytes, secret: str) -> bool:
    """Whether the value can be read in there, whatever usual encoding is undone once or twice."""
    texts = [kept.decode("utf-8", "replace")]
    for _ in range(2):
        texts += [undone for text in texts for undone in _undone(text)]
    return any(secret in text for text in texts)


def _undone(text: str) -> Iterator[str]:
    yield unquote(text)
    yield unquote_plus(text)
    whole = re.sub(r'\\(?:u([0-9a-f]{4})|([nrtbf"\\/]))', _character, text)
    yield whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    yield _entities(text)
    yield "\n".join(_decoded(run) for run in re.findall(r"[A-Za-z0-9+/_-]{10,}", text))
    yield "\n".join(
        bytes.fromhex(run[: len(run) // 2 * 2]).decode("utf-8", "replace")
        for run in re.findall(r"[0-9A-Fa-f]{16,}", text)
    )


def _character(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}.get(found[2], found[2])


def _entities(text: str) -> str:
    for entity, plain in (
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", '"'),
        ("&#x27;", "'"),
        ("&amp;", "&"),
    ):
        text = text.replace(entity, plain)
    return text


def _decoded(run: str) -> str:
    """A run of base64 digits, read from each of the four places where a group may begin."""
    digits = run.replace("-", "+").replace("_", "/")
    made: list[str] = []
    for start in range(4):
        cut = digits[start:]
        cut = cut[: len(cut) // 4 * 4]
        try:
            made.append(base64.b64decode(cut).decode("utf-8", "replace"))
        except (binascii.Error, ValueError):
            continue
    return "\n".join(made)
