"""A model that is sent what fits of a conversation, as a wrapper around any model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from agentkit.context import ContextWindow, Fitted, PromptForm
from agentkit.errors import ContextWindowError
from agentkit.events import ModelEvent, ModelFinished
from agentkit.messages import JsonObject, ModelRequest, ToolDefinition
from agentkit.models.base import CountsPrompts, Model


class WindowedModel:
    """Sends what the window makes of each request; the request itself stays whole.

    A prompt that is too long is foreseen. Where the server is stricter than thought, less is sent
    and it is asked once more.

    Args:
        inner: Is asked.
        window: Of the one run that this model serves.
    """

    def __init__(self, inner: Model, window: ContextWindow) -> None:
        self._inner = inner
        self._counts = inner if isinstance(inner, CountsPrompts) else None
        self._window = window
        self._tools: Sequence[ToolDefinition] = ()
        self._declarations: Sequence[JsonObject] = ()

    @property
    def name(self) -> str:
        """The inner model's."""
        return self._inner.name

    @property
    def constrains(self) -> bool:
        """Whether the inner model does."""
        return self._inner.constrains

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks for one reply; see `Model.generate`.

        Raises:
            ContextWindowError: What must be kept of the conversation does not fit.
            ModelError: The reply could not be had.
            ServerNotReadyError: The server lacks something that the request needs.
        """
        form = await self._form(request)
        if form is None:
            async with aclosing(self._inner.generate(request)) as events:
                async for event in events:
                    yield event
            return
        refusal: ContextWindowError | None = None
        while True:
            fitted = await self._fitted(request, form, refusal)
            yield fitted.within
            if fitted.compacted is not None:
                yield fitted.compacted
            try:
                async with aclosing(self._inner.generate(fitted.request)) as events:
                    async for event in events:
                        if isinstance(event, ModelFinished):
                            self._window.observe(event.response.usage)
                        yield event
                return
            except ContextWindowError as error:
                if refusal is not None:
                    raise
                refusal = error
                self._window.refused()

    def _declared(self, request: ModelRequest) -> Sequence[JsonObject]:
        """The tools as they are: the same object while they are the same."""
        if self._tools is not request.tools:
            self._tools = request.tools
            self._declarations = [t.declaration for t in request.tools]
        return self._declarations

    async def _form(self, request: ModelRequest) -> PromptForm | None:
        if self._counts is None:
            return PromptForm(declarations=self._declared(request))
        return await self._counts.prompt_form(request)

    async def _fitted(
        self, request: ModelRequest, form: PromptForm, refusal: ContextWindowError | None
    ) -> Fitted:
        """What the window makes of the request, with the counts that it asks for."""
        steps = self._window.fit(request, form)
        try:
            wanted = next(steps)
            while True:
                answer = None if self._counts is None else await self._counts.count(wanted)
                wanted = steps.send(answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the generator's own result
        except ContextWindowError as error:
            if refusal is None:
                raise
            raise ContextWindowError(f"{refusal}; {error}") from refusal

    async def aclose(self) -> None:
        """Closes the inner model."""
        await self._inner.aclose()


if TYPE_CHECKING:
    _: type[Model] = WindowedModel
