"""Random walks through xgrammar's own matcher over the tools of real MCP servers.

A walk takes random tokens of a real Gemma's vocabulary that the masks allow, what closes something
the likelier. Whatever it ends with must be a call that our reader reads, of that tool, with
arguments that jsonschema finds valid for all that the grammar says it carries.
"""

from __future__ import annotations

from collections import Counter

from agentkit.gemma4.escape import Escape
from agentkit.gemma4.grammar import compile_grammar, compile_tool
from agentkit.gemma4.parse import parse
from agentkit.messages import ToolChoice, ToolDefinition
from agentkit.schema.lower import lower
from tests.gemma4.matcher import Matcher
from tests.gemma4.replies import repeats_a_key, unescaped
from tests.schema.validity import broken

ONE = ToolChoice("required", max_calls=1)


def walked(definition: ToolDefinition, process: Matcher, count: int, seed: int) -> Counter[str]:
    """Walk through the grammar of one tool, and judge every call that ended.

    Raises:
        AssertionError: A finished call that is not valid.
    """
    lowered = lower(definition)
    tool = compile_tool(lowered)
    tag = str(compile_grammar([tool], ONE).structured_outputs["structural_tag"])
    counts: Counter[str] = Counter()
    for walk in process.ask(tag, walks=count, seed=seed)["walks"]:
        counts["walks"] += 1
        counts["tokens"] += walk["tokens"]
        if not walk["ended"]:
            counts["walks cut at the limit of tokens"] += 1
            continue
        reply = parse(walk["text"], {tool.name: lowered.shape})
        assert [call.name for call in reply.calls] == [definition.name], walk["text"]
        [call] = reply.calls
        if call.malformed:
            assert repeats_a_key(walk["text"]), walk["text"]
            counts["finished calls with a key twice"] += 1
            continue
        arguments = unescaped(Escape(), lowered.restore(call.arguments))
        wrong = broken(arguments, definition.parameters, tool.carried)
        assert not wrong, (wrong, walk["text"])
        counts["finished calls, all valid"] += 1
    return counts
