"""Parts of agentkit that can be switched off, to measure what they are worth.

| part | off means |
|---|---|
| `grammar` | calls are not held to their tools' schemas while they are written |
| `recovery` | a reply that is nothing but a call in a wrong form is the answer |
| `compaction` | the whole conversation is sent, until the server refuses it |
| `reasoning` | the model does not think first |
| `lowering` | the server is shown the tools' schemas as they are, and prints of them what it can |

With lowering off the grammar, where a server takes one, still holds calls to the lowered schemas.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import replace
from typing import Final, Literal, TypeAlias, get_args

from agentkit import Model, ModelSettings
from agentkit.context import PromptForm
from agentkit.events import ModelEvent
from agentkit.messages import ModelRequest
from agentkit_evals.around import Around

Ablation: TypeAlias = Literal["grammar", "recovery", "compaction", "reasoning", "lowering"]

ABLATIONS: Final[tuple[Ablation, ...]] = get_args(Ablation)


def settings_without(settings: ModelSettings, off: Collection[Ablation]) -> ModelSettings:
    """Settings in which parts are switched off."""
    if "grammar" in off:
        settings = replace(settings, grammar=False)
    if "recovery" in off:
        settings = replace(settings, recovery=False)
    if "reasoning" in off:
        settings = replace(settings, thinking=False)
    return settings


def model_without(model: Model, off: Collection[Ablation]) -> Model:
    """A model that does without parts."""
    return model if {"compaction", "lowering"}.isdisjoint(off) else _Without(model, off)


class _Without(Around):
    """Leaves out on the way what is switched off."""

    def __init__(self, inner: Model, off: Collection[Ablation]) -> None:
        super().__init__(inner)
        self._off = off

    def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks for one reply; see `Model.generate`."""
        if "lowering" in self._off and request.tools:
            tools = [{"type": "function", "function": tool.declaration} for tool in request.tools]
            body = {"tools": tools, **request.settings.extra_body}
            request = replace(request, settings=replace(request.settings, extra_body=body))
        return super().generate(request)

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """None where the request is to be sent as it is."""
        return None if "compaction" in self._off else await super().prompt_form(request)
