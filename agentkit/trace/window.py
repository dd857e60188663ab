"""What filled a run's window, request by request: what was cut, why, and what that cost.

In: the parts of a run, as `parts_of` reads them. Out: one `Filled` for each request, and the text
of the prompt of any of them, put together from what went to the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, Final

from agentkit.events import Change, ContextCompacted, PromptFitted, PromptSent, validated
from agentkit.gemma4.render import Generation, render
from agentkit.messages import Message, SystemMessage, ToolMessage
from agentkit.trace.recording import Part, Step, TraceError
from agentkit.wire import read_declarations, read_messages
from agentkit.wording import pluralize

PARTS: Final = ("instructions", "tools", "user", "assistant", "results", "format")
"""What a prompt is spent on, in the order in which it is shown."""

_CREDIBLE: Final = 4
"""A server's count of a prompt is believed down to this part of our own count."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The prompt of one request.

    Attributes:
        step: Its step.
        fitted: What decided how much is sent.
        sent: What was sent.
        counted: Tokens of the prompt, as the server counted them; 0 where it did not say.
        cached: How many of them came out of its cache; None where the server never says.
        again: Tokens that the request before had already, and that the server still read anew.
        cuts: What was cut in it, a sentence each.
        compacted: The compactions that were made for it.
    """

    step: int
    fitted: PromptFitted
    sent: PromptSent
    counted: int
    cached: int | None
    again: int
    cuts: tuple[str, ...]
    compacted: tuple[ContextCompacted, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt: the server's count, or our own where that count is too small to be
        the prompt's, as behind some proxies.
        """
        return self.counted if self.counted * _CREDIBLE >= self.sent.own else self.sent.tokens

    @property
    def parts(self) -> dict[str, int]:
        """Tokens by part; for an older record, which has no parts, all in one."""
        parts = {name: self.sent.parts[name] for name in PARTS if self.sent.parts.get(name)}
        return parts or {"format": self.tokens}


def filled_of(parts: Sequence[Part]) -> list[Filled]:
    """The prompts of a run, in order; none where its record does not have them."""
    requests = [(step, asked) for part in parts for step in part.steps for asked in step.asked]
    # A server caches whole blocks (of 16 tokens in vLLM, of 128 on a CPU) or single tokens. All
    # counts of cached tokens are multiples of a block, so they tell its length.
    block = gcd(*(asked.called.response.usage.cached_input_tokens for _, asked in requests))
    found: list[Filled] = []
    before = 0
    for step, asked in requests:
        fitted, usage = asked.called.fitted, asked.called.response.usage
        if fitted is None or fitted.sent is None:
            continue
        counted, cached = usage.input_tokens, usage.cached_input_tokens
        kept = before // block * block if block else 0
        history = [m for m in asked.request.messages if not isinstance(m, SystemMessage)]
        filled = Filled(
            step.number,
            fitted,
            fitted.sent,
            counted,
            cached if block else None,
            max(kept - cached, 0) if counted else 0,
            cuts_of(fitted.sent.changes, history),
            tuple(step.compacted) if asked is step.asked[0] else (),
        )
        found.append(filled)
        before = filled.tokens
    return found


def cuts_of(changes: Sequence[Change], history: Sequence[Message]) -> tuple[str, ...]:
    """What was cut, a sentence each; messages that are dropped together, in one.

    Args:
        changes: What was done since the request before.
        history: The messages without the instructions.
    """
    cuts: list[str] = []
    dropped = [at for at, state, _ in changes if state == "dropped"]
    for at, state, size in changes:
        message = history[at] if at < len(history) else None
        name = f" of {message.name}" if isinstance(message, ToolMessage) else ""
        if state == "shortened":
            cuts.append(f"result {at + 1}{name} sent as a preview of {size:,} characters")
        elif state == "cleared":
            cuts.append(f"result {at + 1}{name}, {size:,} tokens, sent as a stub")
    if dropped:
        which = f"{min(dropped) + 1} to {max(dropped) + 1}"
        cuts.append(f"{pluralize(len(dropped), 'message')} left out, of messages {which}")
    if any(state == "summarized" for _, state, _ in changes):
        cuts.append("a summary stands in their place")
    return tuple(cuts)


def why(compacted: ContextCompacted) -> str:
    """A compaction in one sentence: how much it cut, and why."""
    cut = f"{compacted.before:,} → {compacted.after:,} tokens: {compacted.reason}"
    summary = compacted.summary
    if summary is None:
        return cut
    if not summary.text:
        return f"{cut}; no summary: {summary.problem}"
    cost = summary.cost
    return (
        f"{cut}; a summary took {cost.input_tokens:,} tokens in, "
        f"{cost.cached_input_tokens:,} of them cached, {cost.output_tokens:,} out"
    )


# --- the prompt itself ---------------------------------------------------------------------------


def prompt_of(parts: Sequence[Part], step: int) -> str:
    """The prompt of the newest request of a step, as the server's chat template rendered it.

    Args:
        parts: The parts of the run.
        step: Its number.

    Raises:
        TraceError: There is no such request, or its record does not tell what was sent.
    """
    messages: list[Any] = []
    fields: dict[str, Any] = {}
    found: tuple[Step, list[Any], dict[str, Any]] | None = None
    for each in (each for part in parts for each in part.steps):
        for sent in each.sent:
            messages[sent.same :] = sent.messages
            fields = {k: v for k, v in fields.items() if k not in sent.gone} | dict(sent.fields)
            if each.number == step:
                found = each, list(messages), fields
    numbers = [each.number for part in parts for each in part.steps]
    if step not in numbers:
        raise TraceError(f"there is no step {step}: the run has {max(numbers, default=0)}")
    if found is None or not found[0].asked:
        raise TraceError(
            f"the record does not hold what was sent in step {step}: the model does not tell, or "
            "no request came to its end"
        )
    asked, messages, fields = found
    fitted = asked.asked[-1].called.fitted
    if fitted is None or fitted.sent is None or not fitted.sent.rendering:
        raise TraceError(
            f"the server's chat template in step {step} is none that agentkit knows, so its prompt "
            "cannot be rendered; `agentkit runs show --full` shows the request"
        )
    generation: Generation = validated(Generation, dict(fitted.sent.rendering))
    return render(read_messages(messages), read_declarations(fields), generation)
