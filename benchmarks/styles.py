"""Our EBNF beside xgrammar's own style for Gemma's syntax: what each takes, and what it costs.

xgrammar 0.2.9 has a JSON-schema format with `"style": "gemma"`. vLLM 0.32 pins 0.2.8, where there
is none, so the version to compare with is installed into a folder of its own, over the tested one.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from agentkit.gemma4.ebnf import EXCLUDED
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.grammar import ToolGrammar, compile_grammar, compile_tool
from agentkit.gemma4.render import render_call
from agentkit.gemma4.tokens import CALL_CLOSE, CALL_OPEN
from agentkit.messages import JsonObject, ToolChoice, ToolDefinition
from agentkit.schema.lower import LoweredTool, lower
from agentkit.serving.process import cache_folder, made_once
from tests.gemma4.examples import CONSTRUCTS
from tests.gemma4.matcher import matcher
from tests.gemma4.vocabulary import Kind

ONE: Final = ToolChoice("required", max_calls=1)
WRONG: Final[dict[str, Any]] = {
    "text": 3,
    "filled text": "",
    "text of 1 to 64": "",
    "pattern: SKU": "ab-1",
    "pattern: word": "two words",
    "pattern: no space": "a b",
    "pattern: URL": "ftp://example.com",
    "integer": 1.5,
    "integer of 1 to 500": 501,
    "number of 0.1 to 0.95": 0.96,
    "number above -2.5": -2.5,
    "date": "2026-02-30",
    "date-time": "2026-11-28",
    "uuid": "0f8fad5b",
    "ipv4": "300.1.1.1",
    "ipv6": "1::2::3",
    "email": "ada",
    "duration": "1 day",
    "3 literals": "shut",
    "boolean": "true",
    "1 to 5 integers": [],
    "dict of texts": {"a": 1},
}
"""Values that do not fit the construct of that name."""


def own_style(lowered: LoweredTool) -> list[JsonObject]:
    """The call of a tool in xgrammar's own style."""
    return [
        {
            "type": "tag",
            "begin": f"{CALL_OPEN}call:{lowered.definition.name}",
            "content": {
                "type": "json_schema",
                "json_schema": lowered.definition.parameters,
                "style": "gemma",
                "excludes": list(EXCLUDED),
            },
            "end": CALL_CLOSE,
        }
    ]


def compared(version: str, kind: Kind | None) -> int:
    """Print which of the two takes what, and what it costs."""
    folder = cache_folder() / f"xgrammar-{version}"
    made_once(folder, lambda new: _install(version, new), lambda _: None)
    right = {"ours": 0, "theirs": 0}
    probes = 0
    with matcher(kind, overlay=folder) as process:
        print(f"xgrammar {process.version}: compile in CPU s, median mask in CPU ms")
        for name, (schema, value) in CONSTRUCTS.items():
            lowered = lower(_tool(schema))
            tool = compile_tool(lowered)
            values = [(value, True), *([(WRONG[name], False)] if name in WRONG else [])]
            texts = [_call(lowered, one) for one, _ in values]
            probes += len(values)
            line = f"{name[:34]:34}"
            for style in right:
                tag = _structural(lowered, tool, style)
                try:
                    answer = process.ask(tag, texts=texts)
                except ValueError as error:
                    line += f"  {style}: {str(error)[:40]}"
                    continue
                taken = [text["refused"] is None for text in answer["texts"]]
                good = [got == wanted for got, (_, wanted) in zip(taken, values, strict=True)]
                right[style] += sum(good)
                masks = statistics.median(answer["texts"][0]["milliseconds"])
                verdict = "right" if all(good) else "WRONG"
                line += f"  {style} {verdict} {answer['compile']:6.2f} {masks:8.4f}"
            print(line, flush=True)
    print(f"right of {probes}: ours {right['ours']}, theirs {right['theirs']}")
    return 0


def _structural(lowered: LoweredTool, tool: ToolGrammar, style: str) -> str:
    def tags(_: Sequence[ToolGrammar]) -> list[JsonObject]:
        return own_style(lowered)

    grammar = compile_grammar([tool], ONE, tags=tags if style == "theirs" else None)
    return str(grammar.structured_outputs["structural_tag"])


def _tool(schema: JsonObject) -> ToolDefinition:
    parameters: JsonObject = {
        "type": "object",
        "properties": {"value": json.loads(json.dumps(schema))},
        "required": ["value"],
        "additionalProperties": False,
    }
    return ToolDefinition("f", "", parameters)


def _call(lowered: LoweredTool, value: Any) -> str:
    return render_call("f", Escape().escape_json(lowered.rename({"value": value})))


def _install(version: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--target", str(folder), f"xgrammar=={version}"], check=True)
