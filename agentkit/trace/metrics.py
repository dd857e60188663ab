"""OpenTelemetry metrics of model calls, and of workers and their queue (extra `otel`).

```
each model call   gen_ai.client.token.usage, gen_ai.client.operation.duration
a worker          agentkit.worker.at_work, agentkit.worker.runs (what became of them)
the queue         agentkit.queue.waiting, .oldest_wait, .at_work, agentkit.lease.age
```
Give a meter provider, or set the global one, to choose where they go. The first two are those of
the semantic conventions for generative AI (version 1.41, status: development), with the bounds that
these advise; what the conventions have no name for is named `agentkit.*`. No attribute holds a
run's name: there would be as many series as runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from agentkit.errors import install
from agentkit.events import Event, ModelCalled
from agentkit.trace.otel import PROVIDER

try:
    from opentelemetry.metrics import MeterProvider, get_meter
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"agentkit.trace.metrics needs the extra `otel`: {install('otel')}", name=error.name
    ) from None

if TYPE_CHECKING:
    from agentkit.journal.postgres import QueueStats

_TOKENS: Final = [4.0**power for power in range(14)]
_SECONDS: Final = [0.01 * 2**power for power in range(14)]
"""The bounds of histograms that the conventions advise: 1 to 67,108,864 tokens, 0.01 to 81.92 s."""

AGENT: Final = "gen_ai.agent.name"
STATE: Final = "agentkit.state"


class OpenTelemetryMetrics:
    """Counts the model calls of every run it observes (`Agent(..., observers=[...])`), and what a
    worker does (`Worker(..., metrics=...)`).

    Args:
        meter_provider: Makes the instruments; default: the global one.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        meter = get_meter("agentkit", meter_provider=meter_provider)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._at_work = meter.create_up_down_counter(
            "agentkit.worker.at_work", "{run}", "Runs that this worker has."
        )
        self._runs = meter.create_counter(
            "agentkit.worker.runs", "{run}", "Runs that this worker gave back, by their state."
        )
        self._waiting = meter.create_gauge(
            "agentkit.queue.waiting", "{run}", "Runs that wait for a worker, by agent."
        )
        self._queue_at_work = meter.create_gauge(
            "agentkit.queue.at_work", "{run}", "Runs that any worker has."
        )
        self._oldest = meter.create_gauge(
            "agentkit.queue.oldest_wait", "s", "How long the oldest of those that wait has waited."
        )
        self._lease = meter.create_gauge(
            "agentkit.lease.age", "s", "Since when the lease that is longest so was not renewed."
        )

    # --- model calls -----------------------------------------------------------------------------

    def __call__(self, run_id: str, event: Event) -> None:  # noqa: ARG002 - an observer's shape
        """Counts a model call; one that is given from a record is not made again."""
        if not isinstance(event, ModelCalled):
            return
        usage = event.response.usage
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": event.model,
            "gen_ai.response.model": event.model,
        }
        self._durations.record(event.seconds, attributes)
        for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self._tokens.record(tokens, {**attributes, "gen_ai.token.type": kind})

    # --- a worker --------------------------------------------------------------------------------

    def took(self, agent: str) -> None:
        """A worker took a run of that agent."""
        self._at_work.add(1, {AGENT: agent})

    def gave_back(self, agent: str, state: str) -> None:
        """A worker gave a run back, in that state; `queued` if another worker is to continue it."""
        self._at_work.add(-1, {AGENT: agent})
        self._runs.add(1, {AGENT: agent, STATE: state})

    def queue(self, stats: QueueStats, agents: Iterable[str]) -> None:
        """Records how the queue stands. All workers report the same queue, so do not add them up.

        Args:
            stats: The journal's figures.
            agents: The agents that are offered; for these, 0 runs that wait are recorded too.
        """
        waiting: Mapping[str, int] = {**dict.fromkeys(agents, 0), **stats.waiting}
        for agent, runs in waiting.items():
            self._waiting.set(runs, {AGENT: agent})
        self._queue_at_work.set(stats.at_work)
        self._oldest.set(stats.oldest)
        self._lease.set(stats.lease_age)
