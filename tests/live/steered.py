"""A model that is steered step by step, so that random weights can play a whole run."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentkit import Model, ModelSettings
from agentkit.events import ModelEvent
from agentkit.gemma4.tokens import CALL_CLOSE, CALL_OPEN
from agentkit.messages import AssistantMessage, ModelRequest, ToolChoice
from tests.live.client import BEGIN_CALL, SPELL_CALL, forced


class Steered:
    """Asks for the n-th reply of a conversation with the n-th step; the last holds from there on.

    What the loop itself asks for, such as the one call that is a typed answer, passes through.

    Args:
        model: The model that is really asked.
        steps: Settings over those of the request, or the choice of calls that agentkit's own
            grammar is to enforce.
    """

    def __init__(self, model: Model, *steps: ModelSettings | ToolChoice) -> None:
        self._model = model
        self._steps = steps

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def constrains(self) -> bool:
        return self._model.constrains

    def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if request.tool_choice.mode == "required":
            return self._model.generate(request)
        said = sum(isinstance(message, AssistantMessage) for message in request.messages)
        step = self._steps[min(said, len(self._steps) - 1)]
        if isinstance(step, ToolChoice):
            return self._model.generate(replace(request, tool_choice=step))
        return self._model.generate(replace(request, settings=step.over(request.settings)))

    async def aclose(self) -> None:
        await self._model.aclose()


def calling(name: str, arguments: str) -> ModelSettings:
    """The reply is one call of that tool.

    Args:
        name: The tool.
        arguments: Grammar (xgrammar's EBNF) of what stands between the braces.
    """
    return ModelSettings(extra_body={**forced(name, arguments), "logit_bias": BEGIN_CALL})


def calling_each(*names: str) -> ModelSettings:
    """The reply is one call of each of these tools without arguments, in this order."""
    tags = [
        {
            "type": "tag",
            "begin": f"{CALL_OPEN}call:{name}{{",
            "content": {"type": "const_string", "value": "}"},
            "end": CALL_CLOSE,
        }
        for name in names
    ]
    form = {"type": "structural_tag", "format": {"type": "sequence", "elements": tags}}
    held = {"structured_outputs": {"structural_tag": json.dumps(form)}}
    return ModelSettings(extra_body=held)


def answering() -> ModelSettings:
    """The reply is some words and no call."""
    words: dict[str, Any] = {"structured_outputs": {"regex": "[A-Z][a-z]{2,8}( [a-z]{2,8}){3,6}"}}
    return ModelSettings(extra_body={**words, "logit_bias": SPELL_CALL})


if TYPE_CHECKING:
    from agentkit.testing import ScriptedModel

    _: Model = Steered(ScriptedModel([]))
