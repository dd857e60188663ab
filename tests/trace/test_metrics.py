"""Metrics of model calls: their names and units are those of the conventions' own package."""

from __future__ import annotations

import anyio
import opentelemetry.semconv._incubating.metrics.gen_ai_metrics as conventions
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric

from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, call, say
from agentkit.trace.metrics import OpenTelemetryMetrics


@tool(effect="pure")
def look() -> str:
    """Looks."""
    return "seen"


def measured(agent: Agent, metrics_reader: InMemoryMetricReader) -> dict[str, Metric]:
    anyio.run(agent.run, "Go.")
    data = metrics_reader.get_metrics_data()
    assert data is not None
    return {each.name: each for each in data.resource_metrics[0].scope_metrics[0].metrics}


def test_each_model_call_is_counted_under_the_names_of_the_conventions() -> None:
    ours, theirs = InMemoryMetricReader(), InMemoryMetricReader()
    observer = OpenTelemetryMetrics(MeterProvider([ours]))
    model = ScriptedModel([call("look"), say("Done.")])
    found = measured(Agent(model, tools=[look], observers=[observer]), ours)
    meter = MeterProvider([theirs]).get_meter("conventions")
    conventions.create_gen_ai_client_token_usage(meter).record(1)
    conventions.create_gen_ai_client_operation_duration(meter).record(1)
    data = theirs.get_metrics_data()
    assert data is not None
    for named in data.resource_metrics[0].scope_metrics[0].metrics:
        mine = found[named.name]
        assert (mine.unit, mine.description) == (named.unit, named.description)
    tokens = {
        (point.attributes or {})["gen_ai.token.type"]: (point.count, point.sum)  # type: ignore[union-attr] # histograms alone
        for point in found["gen_ai.client.token.usage"].data.data_points
    }
    assert tokens == {"input": (2, 20), "output": (2, 10)}
