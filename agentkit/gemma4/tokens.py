"""The control tokens of Gemma 4: how each is spelled, its id, which end a reply; finding them.

Sources: the spellings are those of Google's canonical chat template of 2026-07-09; the ids of
tools, thinking and turns are listed in the docs of vLLM's gemma4 parsers (0.20 and 0.22) and in
mlc-ai/xgrammar#587, the ids of media in `Gemma4Config` of transformers 5.19. A served tokenizer
wins over this table where the two differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

PAD: Final = "<pad>"
EOS: Final = "<eos>"
BOS: Final = "<bos>"
TOOL_OPEN: Final = "<|tool>"
TOOL_CLOSE: Final = "<tool|>"
CALL_OPEN: Final = "<|tool_call>"
CALL_CLOSE: Final = "<tool_call|>"
RESPONSE_OPEN: Final = "<|tool_response>"
RESPONSE_CLOSE: Final = "<tool_response|>"
QUOTE: Final = '<|"|>'
"""Opens and closes a string. There is no escape inside: it is the only way a string can end."""
THINK: Final = "<|think|>"
CHANNEL_OPEN: Final = "<|channel>"
CHANNEL_CLOSE: Final = "<channel|>"
THOUGHT: Final = "thought\n"
"""The name of the only channel there is, and the end of its line."""
TURN_OPEN: Final = "<|turn>"
TURN_CLOSE: Final = "<turn|>"
IMAGE: Final = "<|image|>"
AUDIO: Final = "<|audio|>"
VIDEO: Final = "<|video|>"

IDS: Final[Mapping[str, int]] = MappingProxyType(
    {
        PAD: 0,
        EOS: 1,
        BOS: 2,
        "<unk>": 3,
        TOOL_OPEN: 46,
        TOOL_CLOSE: 47,
        CALL_OPEN: 48,
        CALL_CLOSE: 49,
        RESPONSE_OPEN: 50,
        RESPONSE_CLOSE: 51,
        QUOTE: 52,
        THINK: 98,
        CHANNEL_OPEN: 100,
        CHANNEL_CLOSE: 101,
        TURN_OPEN: 105,
        TURN_CLOSE: 106,
        "<|image>": 255_999,
        "<|audio>": 256_000,
        IMAGE: 258_880,
        AUDIO: 258_881,
        "<image|>": 258_882,
        "<audio|>": 258_883,
        VIDEO: 258_884,
    }
)
"""Literal → token id."""

CONTROL_LITERALS: Final[tuple[str, ...]] = (*IDS, "<mask>")
"""What must never appear in a prompt except where the template wrote it.

`<mask>` belongs to every Gemma tokenizer but its id is not part of the format.
"""

STOP_LITERALS: Final[tuple[str, ...]] = (EOS, RESPONSE_OPEN, TURN_CLOSE)
STOP_IDS: Final[tuple[int, ...]] = tuple(IDS[literal] for literal in STOP_LITERALS)
"""Ids that end a reply: 1, 50 and 106, as `generation_config.json` of the checkpoints has them.

`<|tool_response>` is one of them: it is how a turn that calls tools ends. `config.json` lacks it,
and a server that takes its list from there never stops after a call (vllm-project/vllm#45591).
"""


# --- finding them in a text ----------------------------------------------------------------------

_STOPS: Final = frozenset(STOP_LITERALS)


class Control(str):
    """A control token, as opposed to text that is spelled like one."""

    __slots__ = ()


_LITERALS: Final = (CHANNEL_OPEN, CHANNEL_CLOSE, CALL_OPEN, CALL_CLOSE, QUOTE, *STOP_LITERALS)
_LITERAL: Final = re.compile("|".join(map(re.escape, _LITERALS)))


class Lexer:
    """Cuts text at control literals, holding back what may become one.

    A stop literal with more text behind it did not stop anything, so it is text.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> Iterator[str]:
        """The pieces that are certain now, control tokens as `Control`."""
        text, self._held = self._held + text, ""
        at = 0
        for found in _LITERAL.finditer(text):
            if found.start() > at:
                yield text[at : found.start()]
            at = found.end()
            if found[0] not in _STOPS:
                yield Control(found[0])
            elif at == len(text):
                self._held = found[0]
            else:
                yield found[0]
        tail = text[at:]
        cut = tail.rfind("<")
        if cut >= 0 and any(literal.startswith(tail[cut:]) for literal in _LITERALS):
            tail, self._held = tail[:cut], tail[cut:]
        if tail:
            yield tail

    def flush(self) -> Iterator[str]:
        """What was held back, once no more text comes."""
        held, self._held = self._held, ""
        if held:
            yield Control(held) if held in _STOPS else held
