"""CPU time of fitting one more step into the window, by the size of the history before it.

    python -m benchmarks.context

Tokens are counted by the demonstration model's own tokenizer, so all of the work is in here: the
new messages rendered and counted, the rest looked up. What it costs must not grow with the history.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace

from agentkit.context import Context, ContextWindow, CountTexts, PromptForm, Steps, TokenCounts
from agentkit.context.window import Fitted
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import PROFILES
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)
from agentkit.models.embedded import Decoder

_TOOL = ToolDefinition(
    "read", "Reads.", {"type": "object", "properties": {"n": {"type": "integer"}}}
)
_RESULT = "def handle(request):\n    return respond(request, 200)\n"
_STEPS = 20
"""Measured at each size; the median is what counts."""


def milliseconds_per_step(history_steps: int, words: int, decoder: Decoder) -> tuple[float, int]:
    """CPU milliseconds of one more step, and the tokens of the prompt by then.

    Args:
        history_steps: Steps before the ones that are measured.
        words: Lines of each of their results.
        decoder: Whose tokenizer counts.
    """
    dialect = Dialect([_TOOL], Escape())
    form = PromptForm(
        declarations=dialect.declarations,
        outgoing=dialect.outgoing,
        profile=replace(PROFILES["31B"], compaction_point=250_000),
        counting="pieces",
        known=TokenCounts(),
    )
    window = ContextWindow(Context(result_tokens=8_000))
    messages: list[Message] = [UserMessage("Look at all of them.")]
    for step in range(history_steps):
        messages += _step(step, words)
    fitted = _driven(window.fit(ModelRequest(tuple(messages), [_TOOL]), form), decoder)
    seconds: list[float] = []
    for step in range(history_steps, history_steps + _STEPS):
        messages += _step(step, 10)
        request = ModelRequest(tuple(messages), [_TOOL])
        started = time.process_time()
        fitted = _driven(window.fit(request, form), decoder)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds) * 1000, fitted.tokens


def _step(number: int, lines: int) -> list[Message]:
    call = ToolCall(f"call_{number}", "read", {"n": number})
    return [
        AssistantMessage(None, (call,)),
        ToolMessage(call.id, "read", f"{number}\n" + _RESULT * lines),
    ]


def _driven(steps: Steps[Fitted], decoder: Decoder) -> Fitted:
    try:
        wanted = next(steps)
        while True:
            assert isinstance(wanted, CountTexts)
            wanted = steps.send([len(decoder.encode(text)) for text in wanted.texts])
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # the generator's own result


def main() -> int:
    """Prints the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    decoder = Decoder()
    print("steps before  tokens of the prompt  CPU ms per step")
    for history_steps, lines in ((1, 10), (10, 10), (50, 10), (50, 100), (400, 20)):
        milliseconds, tokens = milliseconds_per_step(history_steps, lines, decoder)
        print(f"{history_steps:>12}  {tokens:>20,}  {milliseconds:>15.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
