"""The one seam between the loop and whatever produces tokens.

`Model` is what the loop knows: a request goes in, the events of one reply come out. Every run puts
`WindowedModel` around its model, which sends the part of a long conversation that fits; a run with
a journal puts `JournaledModel` around that, which gives the replies that the journal has.
`Exchanges` reports to the run what a model really sent and received, if the model calls
`tell_sent`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from pydantic_core import from_json

from agentkit.context import Answer, AskModel, ContextWindow, Count, Fitted, PromptForm
from agentkit.errors import ContextWindowError, ModelError
from agentkit.events import (
    ContextCompacted,
    ModelEvent,
    ModelFinished,
    ReplyReceived,
    RequestSent,
    StepRestarted,
)
from agentkit.journal import JournaledRun
from agentkit.messages import JsonObject, ModelRequest, ToolDefinition, common_length
from agentkit.wire import Reply


class Model(Protocol):
    """Produces one reply at a time; keeps no conversation."""

    @property
    def name(self) -> str:
        """What to call it in traces and to people."""
        ...

    @property
    def constrains(self) -> bool:
        """Whether a `ToolChoice` is enforced while the reply is decoded, not only wished for."""
        ...

    def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Asks for one reply.

        Pure over the request: no history is kept and nothing is appended to it. The last event of
        a reply that ended well is `ModelFinished`; one that did not end well raises.

        Raises:
            ModelError: The reply could not be had.
            ServerNotReadyError: The server lacks something that the request needs.
        """
        ...

    async def aclose(self) -> None:
        """Closes what this event loop's requests hold, such as connections."""
        ...


@runtime_checkable
class CountsPrompts(Protocol):
    """A model that also knows its window and can count; see `agentkit.context`.

    The prompts of any other model are estimated.
    """

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        """How it renders such a request; None if the request is to be sent as it is."""
        ...

    async def count(self, wanted: Count) -> Sequence[int] | None:
        """The tokens of each text, or of the one prompt; None if they cannot be counted."""
        ...


@runtime_checkable
class TellsLoad(Protocol):
    """A model whose server also says how much it has to do."""

    async def waiting(self) -> int | None:
        """How many requests wait for a place on the server now; None if that is not known."""
        ...


# --- wrappers around any model -------------------------------------------------------------------


class _Wrapper:
    """A model around another, whose name and abilities it passes on."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def constrains(self) -> bool:
        return self._inner.constrains

    async def aclose(self) -> None:
        """Closes the inner model."""
        await self._inner.aclose()


class WindowedModel(_Wrapper):
    """Sends what the window makes of each request; the request itself stays whole.

    A prompt that would be too long is cut before it is sent. If the server refuses it all the same,
    less is sent, once more.

    Args:
        inner: The model that is asked.
        window: The window of the one run that this model serves.
    """

    def __init__(self, inner: Model, window: ContextWindow) -> None:
        super().__init__(inner)
        self._counts = inner if isinstance(inner, CountsPrompts) else None
        self._window = window
        self._tools: Sequence[ToolDefinition] = ()
        self._declarations: Sequence[JsonObject] = ()

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
        shown = False
        while True:
            fitted = await self._fitted(request, form, refusal)
            if refusal is not None and shown:  # some servers refuse in the middle of a reply
                yield StepRestarted(str(refusal), attempt=2)
            yield fitted.within
            if fitted.compacted is not None:
                yield fitted.compacted
            try:
                async with aclosing(self._inner.generate(fitted.request)) as events:
                    async for event in events:
                        shown = True
                        if isinstance(event, ModelFinished):
                            self._window.observe(event.response.usage)
                        yield event
                return
            except ContextWindowError as error:
                if refusal is not None:
                    raise
                refusal = error
                self._window.refused()

    async def _form(self, request: ModelRequest) -> PromptForm | None:
        if self._counts is not None:
            return await self._counts.prompt_form(request)
        if self._tools is not request.tools:  # the same object while they are the same
            self._tools = request.tools
            self._declarations = [tool.declaration for tool in request.tools]
        return PromptForm(declarations=self._declarations)

    async def _fitted(
        self, request: ModelRequest, form: PromptForm, refusal: ContextWindowError | None
    ) -> Fitted:
        """What the window makes of the request, with the counts that it asks for."""
        steps = self._window.fit(request, form)
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(await self._answer(wanted))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the generator's own result
        except ContextWindowError as error:
            if refusal is None:
                raise
            raise ContextWindowError(f"{refusal}; {error}") from refusal

    async def _answer(self, wanted: Count | AskModel) -> Answer:
        """A count, or the model's reply to a request of the window."""
        if not isinstance(wanted, AskModel):
            return None if self._counts is None else await self._counts.count(wanted)
        try:
            async with aclosing(self._inner.generate(wanted.request)) as events:
                async for event in events:
                    if isinstance(event, ModelFinished):
                        return event.response
        except ModelError as error:
            return error
        raise AssertionError("a model ends with ModelFinished or raises")


class JournaledModel(_Wrapper):
    """Gives the replies that are recorded, and asks for the others.

    A recorded reply is given even if the request is another one today, because the code around it
    has changed.

    Args:
        inner: The model that is asked.
        run: The run's record.
        window: The run's window, which goes on from what was sent then.
    """

    def __init__(self, inner: Model, run: JournaledRun, window: ContextWindow) -> None:
        super().__init__(inner)
        self._run = run
        self._window = window

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Gives the next reply; see `Model.generate`. A recorded one comes without its deltas.

        Raises:
            ModelError: The reply could not be had.
            ServerNotReadyError: The server lacks something that the request needs.
            JournalError: What went before could not be recorded.
        """
        if (recorded := self._run.recorded_reply(request.tool_choice)) is not None:
            response = recorded.response
            if recorded.fitted is not None:
                self._window.restore(request, recorded.fitted, response.usage)
                yield recorded.fitted
            yield ModelFinished(response)
            return
        await self._run.keep()
        self._window.expect(self._run.compacted())
        events = self._inner.generate(request)
        async with aclosing(events):
            async for event in events:
                yield event
                if isinstance(event, ContextCompacted) and event.summary is not None:
                    await self._run.keep()  # a resumed run then need not pay for it again


if TYPE_CHECKING:
    _windowed: type[Model] = WindowedModel
    _journaled: type[Model] = JournaledModel


# --- what is really sent and received ------------------------------------------------------------
# A model's events say what a request and a reply mean. To find a fault, one needs the request as it
# was sent, with the settings, grammar and template arguments that the model added, and the reply as
# it came, before it was parsed. Each request repeats the one before and adds a little, so only the
# difference is reported. Reporting changes nothing of a call, and nothing has to listen.

Told: TypeAlias = Callable[[RequestSent | ReplyReceived], None]


class Exchanges:
    """The requests of one run, each reported by what is new in it.

    Attributes:
        open: The reply to the newest request, until it has ended.
    """

    def __init__(self) -> None:
        self._messages = b"[]"
        self._count = 0
        self._fields = b"{}"
        self.open: Reply | None = None

    @contextmanager
    def told_to(self, told: Told, step: int) -> Generator[None]:
        """Reports what is sent and received within this block, as events of a step."""
        token = _listening.set((self, told, step))
        try:
            yield
        finally:
            _listening.reset(token)
            self.ended(told, step)

    def ended(self, told: Told, step: int) -> None:
        """Reports what came of the open request, whether its reply is whole or not."""
        reply, self.open = self.open, None
        if reply is not None:
            said: JsonObject = {
                "text": str(reply.text),
                "reasoning": str(reply.reasoning),
                "calls": [[call.name, str(call.arguments)] for call in reply.calls],
                "finish": reply.finish,
            }
            told(ReplyReceived(said, step))

    def difference(self, messages: bytes, fields: bytes, step: int) -> RequestSent:
        """What is new in a request.

        Args:
            messages: JSON text of its `messages`.
            fields: JSON text of an object of everything else.
            step: The step that it belongs to.
        """
        before = self._messages
        if messages.startswith(before[:-1]):
            same, rest = self._count, messages[len(before) - 1 :].lstrip(b",")
            new: list[Any] = from_json(b"[" + rest)
        else:
            now = from_json(messages)
            same = common_length(from_json(before), now)
            new = now[same:]
        self._messages, self._count = messages, same + len(new)
        before, self._fields = self._fields, fields
        if fields == before:
            return RequestSent(same, tuple(new), {}, step=step)
        body, known = from_json(fields), from_json(before)
        changed = {name: value for name, value in body.items() if known.get(name) != value}
        gone = tuple(name for name in known if name not in body)
        return RequestSent(same, tuple(new), changed, gone, step)


_listening: ContextVar[tuple[Exchanges, Told, int] | None] = ContextVar(
    "agentkit_exchange", default=None
)


def tell_sent(body: bytes, messages: bytes, reply: Reply) -> None:
    """Reports that a request is sent.

    Args:
        body: The request's body, a JSON object whose first member is `messages`.
        messages: The JSON text of that member.
        reply: The reply, filled as it comes.
    """
    if (listening := _listening.get()) is not None:
        exchanges, told, step = listening
        exchanges.ended(told, step)  # of an attempt before this one
        fields = b"{" + body[len(b'{"messages":') + len(messages) + 1 :]
        told(exchanges.difference(messages, fields, step))
        exchanges.open = reply
