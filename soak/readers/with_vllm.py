"""Replies through vLLM's own gemma4 parser; runs in an environment that has vLLM.

In, a line of JSON for the vocabulary and one for each reply: its token ids, the text of each, and
the tools on offer. Out, a line for each: what the parser makes of it whole, and token by token.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest  # pyright: ignore[reportMissingImports] - in its own environment
from vllm.parser.parser_manager import ParserManager  # pyright: ignore[reportMissingImports] - in its own environment


class Vocabulary:
    """The part of a tokenizer that the parser asks for.

    Args:
        controls: Control tokens and their ids.
        texts: The text of each id.
    """

    def __init__(self, controls: dict[str, int], texts: dict[str, str]) -> None:
        self._controls = controls
        self._texts = texts
        self.all_special_tokens = list(controls)
        self.all_special_ids = list(controls.values())

    def get_vocab(self) -> dict[str, int]:
        """Text → id."""
        return self._controls

    def decode(self, ids: list[int], **_: Any) -> str:
        """The text of ids."""
        return "".join(self._texts[str(number)] for number in ids)


PARSER: Any = ParserManager.get_parser("gemma4", "gemma4", enable_auto_tools=True)
"""What `--tool-call-parser gemma4 --reasoning-parser gemma4` gives a server."""


def whole(tokenizer: Vocabulary, request: Any, ids: list[int], text: str) -> dict[str, Any]:
    """A reply that is read at once."""
    parser = PARSER(tokenizer, request.tools)
    reasoning, content, calls = parser.parse(
        text, request, enable_auto_tools=True, model_output_token_ids=ids
    )
    found = [[call.name, call.arguments] for call in calls or ()]
    return {"reasoning": reasoning or "", "text": content or "", "calls": found}


def streamed(tokenizer: Vocabulary, request: Any, ids: list[int], texts: list[str]) -> Any:
    """A reply that is read token by token, its deltas joined."""
    parser = PARSER(tokenizer, request.tools)
    reasoning, content = "", ""
    calls: dict[int, list[str]] = {}
    for at, (number, piece) in enumerate(zip(ids, texts, strict=True)):
        last = at == len(ids) - 1
        delta = parser.parse_delta(piece, [number], request, [], finished=last)
        if delta is None:
            continue
        reasoning += delta.reasoning or ""
        content += delta.content or ""
        for call in delta.tool_calls or ():
            known = calls.setdefault(call.index, ["", ""])
            known[0] += (call.function and call.function.name) or ""
            known[1] += (call.function and call.function.arguments) or ""
    return {"reasoning": reasoning, "text": content, "calls": [calls[n] for n in sorted(calls)]}


def main() -> None:
    """Reads lines until there are no more."""
    tokenizer = Vocabulary(**json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        reply = json.loads(line)
        request = ChatCompletionRequest(
            model="gemma", messages=[{"role": "user", "content": "go"}], tools=reply["tools"]
        )
        ids, texts = reply["ids"], reply["texts"]
        both = {
            "whole": whole(tokenizer, request, ids, "".join(texts)),
            "streamed": streamed(tokenizer, request, ids, texts),
        }
        print(json.dumps(both, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
