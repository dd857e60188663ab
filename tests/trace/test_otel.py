"""Spans as a collector receives them: the real SDK and exporter, a real OTLP/HTTP receiver."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from agentkit import Agent, ModelConnectionError, ModelSettings, ToolError, tool
from agentkit.agent import Cancellation
from agentkit.errors import install
from agentkit.messages import AssistantMessage, Usage
from agentkit.testing import Reply, ScriptedModel, call, calls, cut, say
from agentkit.trace import keep_secret
from agentkit.trace.otel import OpenTelemetryObserver

pytestmark = pytest.mark.anyio


class Collector:
    """An OTLP/HTTP receiver on loopback."""

    def __init__(self, hold: threading.Event | None = None) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if hold is not None:
                    hold.wait(10)
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        assert scope.scope.name == "agentkit"
                        spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server has it
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01])
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self.provider = TracerProvider()
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(self.url)))

    def close(self) -> None:
        self.provider.shutdown()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def received(self) -> list[Span]:
        """All spans, in the order in which they began."""
        assert self.provider.force_flush()
        return sorted(self.spans, key=lambda span: (span.start_time_unix_nano, span.kind))


@contextmanager
def collecting() -> Generator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


def attributes(span: Span) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [plain(item) for item in value.array_value.values]
        return getattr(value, kind)

    return {attribute.key: plain(attribute.value) for attribute in span.attributes}


def named(spans: Sequence[Span], start: str) -> list[Span]:
    return [span for span in spans if span.name.startswith(start)]


def in_call_order(spans: Sequence[Span]) -> list[Span]:
    """Trio starts tasks in any order."""
    ran = named(spans, "execute_tool")
    return sorted(ran, key=lambda span: attributes(span)["gen_ai.tool.call.id"])


def parents(spans: Sequence[Span]) -> dict[str, str]:
    """The name of each span's parent."""
    names = {span.span_id: span.name for span in spans}
    return {span.name: names.get(span.parent_span_id, "") for span in spans}


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    with trace.get_tracer("agentkit").start_as_current_span("inside"):
        if a == 7:
            raise ToolError("no sevens")
        return a + b


def reply(text: str) -> Reply:
    return Reply(AssistantMessage(text), "stop", Usage(100, 20, 80, 5))


SCRIPT = [
    calls(("add", {"a": 1, "b": 2}), ("add", {"a": 7, "b": 2}), ("nope", {})),
    cut(say("It")),
    reply("It is 3."),
]
SETTINGS = ModelSettings(temperature=0.5, top_k=3, seed=1, max_tokens=99, stop=("x",))


def agent_with(collector: Collector, script: Sequence[Any], **options: Any) -> Agent[Any, Any]:
    watching = OpenTelemetryObserver(
        collector.provider, agent="adder", content=options.pop("content", False)
    )
    usual: dict[str, Any] = {"tools": [add], "observers": [watching]}
    return Agent(ScriptedModel(script), **usual | options)


# --- names, parents, attributes ----------------------------------------------------------------


async def test_a_run_is_an_agent_span_with_its_chats_and_tools_below() -> None:
    with collecting() as collector:
        await agent_with(collector, SCRIPT).run("1 + 2?")
        spans = collector.received()
    (root,) = named(spans, "invoke_agent")
    assert root.name == "invoke_agent adder"
    assert root.parent_span_id == b""
    assert [span.name for span in named(spans, "chat")] == ["chat scripted"] * 3
    assert [span.name for span in named(spans, "execute_tool")] == ["execute_tool add"] * 2
    below = [*named(spans, "chat"), *named(spans, "execute_tool")]
    assert {span.parent_span_id for span in below} == {root.span_id}
    assert {span.trace_id for span in spans} == {root.trace_id}
    assert {span.kind for span in named(spans, "chat")} == {Span.SPAN_KIND_CLIENT}
    assert {span.kind for span in [root, *named(spans, "execute")]} == {Span.SPAN_KIND_INTERNAL}
    for span in below:
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano


async def test_required_attributes_are_there_and_tokens_with_them() -> None:
    with collecting() as collector:
        await agent_with(collector, SCRIPT, settings=SETTINGS).run("1 + 2?", run_id="r")
        spans = collector.received()
    (root,) = named(spans, "invoke_agent")
    assert attributes(root) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "scripted",
        "gen_ai.conversation.id": "r",
        "gen_ai.agent.name": "adder",
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 80,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "agentkit.stop_reason": "answer",
        "agentkit.steps": 2,
    }
    chat = attributes(named(spans, "chat")[-1])
    assert 0 <= chat.pop("gen_ai.response.time_to_first_chunk") < 60
    assert chat.pop("gen_ai.request.max_tokens") > 99  # the second try has more room
    assert chat == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "scripted",
        "gen_ai.response.model": "scripted",
        "gen_ai.conversation.id": "r",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_k": 3.0,
        "gen_ai.request.seed": 1,
        "gen_ai.request.stop_sequences": ["x"],
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 80,
        "gen_ai.usage.reasoning.output_tokens": 5,
    }
    good, bad = in_call_order(spans)
    assert attributes(good) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.call.id": "call_0",
        "gen_ai.tool.type": "function",
    }
    assert attributes(bad)["error.type"] == "error"
    assert bad.status.code == Status.STATUS_CODE_ERROR
    assert good.status.code == Status.STATUS_CODE_UNSET


async def test_attribute_names_are_those_of_the_published_conventions() -> None:
    from opentelemetry.semconv._incubating.attributes import (  # noqa: PLC0415 - only here
        gen_ai_attributes,
    )

    published = {v for k, v in vars(gen_ai_attributes).items() if k.startswith("GEN_AI_")}
    with collecting() as collector:
        await agent_with(collector, SCRIPT, settings=SETTINGS, content=True).run("1 + 2?")
        used = {name for span in collector.received() for name in attributes(span)}
    assert {name for name in used if name.startswith("gen_ai.")} <= published
    assert {name for name in used if not name.startswith("gen_ai.")} == {
        "error.type",
        "agentkit.stop_reason",
        "agentkit.steps",
    }


async def test_spans_of_a_tool_and_of_a_sub_agent_find_their_parents() -> None:
    with collecting() as collector:
        watching = OpenTelemetryObserver(collector.provider, agent="helper")
        model = ScriptedModel([call("add", a=1, b=1), say("two")])
        helper = Agent(model, tools=[add], observers=[watching]).as_tool("help", "Helps.")
        outer = agent_with(collector, [call("help", task="1 + 1"), say("2")], tools=[helper])
        with collector.provider.get_tracer("agentkit").start_as_current_span("the program"):
            await outer.run("go")
        spans = collector.received()
    found = parents(spans)
    assert found["invoke_agent adder"] == "the program"
    assert found["execute_tool help"] == "invoke_agent adder"
    assert found["invoke_agent helper"] == "execute_tool help"
    assert found["execute_tool add"] == "invoke_agent helper"
    assert len({span.trace_id for span in spans}) == 1


async def test_runs_at_the_same_time_do_not_mix() -> None:
    with collecting() as collector:
        agent = agent_with(collector, [say("Hi.")] * 20)
        await agent.run_many(["hi"] * 20)
        spans = collector.received()
    roots = {span.trace_id for span in named(spans, "invoke_agent")}
    assert len(roots) == 20
    assert {span.trace_id for span in named(spans, "chat")} == roots


# --- content -----------------------------------------------------------------------------------


async def test_no_content_unless_it_is_asked_for() -> None:
    with collecting() as collector:
        agent = agent_with(collector, SCRIPT, instructions="A secret plan.")
        await agent.run("1 + 2, said Ada")
        sent = b"".join(span.SerializeToString() for span in collector.received())
    for text in (b"Ada", b"secret plan", b"It is 3", b"sevens", b'"a"', b"Add two numbers"):
        assert text not in sent


async def test_content_follows_the_conventions_schemas_and_holds_no_secret() -> None:
    keep_secret("sk-the-key-of-ada")
    with collecting() as collector:
        agent = agent_with(collector, SCRIPT, content=True, instructions="Use sk-the-key-of-ada.")
        await agent.run("1 + 2 with sk-the-key-of-ada?")
        spans = collector.received()
    assert b"sk-the-key-of-ada" not in b"".join(span.SerializeToString() for span in spans)
    last = attributes(named(spans, "chat")[-1])
    assert json.loads(last["gen_ai.system_instructions"]) == [
        {"type": "text", "content": "Use [secret]."}
    ]
    messages = json.loads(last["gen_ai.input.messages"])
    assert [message["role"] for message in messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "tool",
    ]
    assert messages[1]["parts"][0] == {
        "type": "tool_call",
        "id": "call_0",
        "name": "add",
        "arguments": {"a": 1, "b": 2},
    }
    assert messages[2]["parts"] == [{"type": "tool_call_response", "id": "call_0", "response": "3"}]
    assert json.loads(last["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "It is 3."}],
            "finish_reason": "stop",
        }
    ]
    assert json.loads(last["gen_ai.tool.definitions"])[0]["name"] == "add"
    first_call = attributes(in_call_order(spans)[0])
    assert json.loads(first_call["gen_ai.tool.call.arguments"]) == {"a": 1, "b": 2}
    assert first_call["gen_ai.tool.call.result"] == "3"


# --- ends --------------------------------------------------------------------------------------


async def test_a_model_that_cannot_be_had_is_an_error_of_its_chat_and_of_the_run() -> None:
    script = [call("add", a=1, b=2), ModelConnectionError("the server at ada:8000 is gone")]
    with collecting() as collector:
        with pytest.raises(ModelConnectionError):
            await agent_with(collector, script).run("1 + 2?")
        spans = collector.received()
    (root,) = named(spans, "invoke_agent")
    good, bad = named(spans, "chat")
    assert good.status.code == Status.STATUS_CODE_UNSET
    for span in (root, bad):
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert span.status.message == ""
        assert attributes(span)["error.type"] == "error"


async def test_a_call_that_was_cancelled_ends_its_span() -> None:
    cancellation = Cancellation()

    @tool
    async def wait() -> str:
        """Wait."""
        cancellation.cancel()
        await anyio.sleep_forever()
        return ""

    with collecting() as collector:
        agent = agent_with(collector, [call("wait")], tools=[wait])
        await agent.run("go", cancellation=cancellation)
        spans = collector.received()
    (waited,) = named(spans, "execute_tool")
    assert attributes(waited)["error.type"] == "cancelled"
    (root,) = named(spans, "invoke_agent")
    assert attributes(root)["agentkit.stop_reason"] == "cancelled"


async def test_a_collector_that_hangs_does_not_slow_a_run() -> None:
    hold = threading.Event()
    collector = Collector(hold)
    try:
        agent = agent_with(collector, SCRIPT * 20, settings=SETTINGS)
        with anyio.fail_after(5):
            for _ in range(20):
                assert (await agent.run("1 + 2?")).stop_reason == "answer"
        assert collector.spans == []
        hold.set()
        assert len(named(collector.received(), "invoke_agent")) == 20
    finally:
        hold.set()
        collector.close()


@pytest.mark.slow
def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError(name='opentelemetry')")
    command = [sys.executable, "-c", "import agentkit.trace.otel"]
    ended = subprocess.run(
        command,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"needs the extra `otel`: {install('otel')}" in ended.stderr
