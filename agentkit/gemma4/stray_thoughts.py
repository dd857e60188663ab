"""Thoughts that a server left in the text of an answer.

vLLM leaves them there after a tool's answer (vllm#39885), with their channel tokens or with no more
than the word that follows them.
"""

from __future__ import annotations

import re
from typing import Final

from agentkit.gemma4.lexer import THOUGHT
from agentkit.gemma4.tokens import CHANNEL_CLOSE, CHANNEL_OPEN


def split_thought(text: str) -> tuple[str, str]:
    """A text apart from the thoughts in it: (thoughts, rest). What stands in code is kept."""
    thoughts: list[str] = []

    def take(match: re.Match[str]) -> str:
        if _is_quoted(text, match.start()):
            return match[0]
        thoughts.append(match[1].strip())
        return ""

    rest = _LEAKED_THOUGHT.sub(take, text).removeprefix(THOUGHT)
    return "\n".join(filter(None, thoughts)), rest


_LEAKED_THOUGHT: Final = re.compile(
    rf"(?:{re.escape(CHANNEL_OPEN)}(?:{THOUGHT})?|\A{THOUGHT}(?=.*{re.escape(CHANNEL_CLOSE)}))"
    rf"(.*?)(?:{re.escape(CHANNEL_CLOSE)}|\Z)",
    re.DOTALL,
)


def _is_quoted(text: str, at: int) -> bool:
    if text.count("```", 0, at) % 2:
        return True
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line.count("`") % 2 == 1 or line[-1:] in ('"', "'", "“", "«")
