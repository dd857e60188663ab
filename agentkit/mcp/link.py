"""The connection to a server: its transports, how it is kept up, and what the server may ask.

In: a command line or a URL. Out: answers to questions, over a connection that is opened again when
it breaks. A transport is a stream of messages in and one out, as the MCP package's session takes
them: over a process's standard input and output, or over HTTP. The length of a message is bounded
(in the package's own stdio transport it is not), and what a started server leaves behind is ended
with it.

In the middle of a call a server may ask a person something, or ask for a text of our model. Both
are off unless the user turns them on; a server that asks all the same gets a refusal in words. When
they are on, the run whose call is at work asks. MCP does not say which call a question belongs to,
so while calls of several runs are at work it is refused: no run asks on behalf of another.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import anyio
import httpx2
import mcp_types
from anyio.abc import ByteReceiveStream, Process, TaskStatus
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp.client.sse import sse_client
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from agentkit.errors import AgentKitError, ServerNotReadyError, ToolError
from agentkit.mcp.lenient import MOST_TOOLS, lenient, parsed
from agentkit.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    ModelSettings,
    SystemMessage,
    UserMessage,
)
from agentkit.redaction import get_logger
from agentkit.schema.drafts import UnusableSchemaError
from agentkit.schema.foreign import ForeignArguments
from agentkit.toolset import ToolContext

T = TypeVar("T")

# --- transports ----------------------------------------------------------------------------------

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""Bytes of one message: room for an image of 48 MB in base64, which no model takes."""

_LAST_WORDS: Final = 2_000  # bytes of the end of what a server writes to its standard error

_SECONDS_TO_END: Final = 2.0
"""Seconds that a server has to end by itself, once its input has ended; then again, once told."""


@asynccontextmanager
async def over_stdio(
    command: Sequence[str], env: Mapping[str, str], cwd: str | Path | None
) -> AsyncGenerator[tuple[Any, Any], None]:
    """Starts a server; in the end, ends it and the processes that it has started.

    Raises:
        OSError: It cannot be started. Errors carry the end of its standard error as a note.
    """
    process = await anyio.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**get_default_environment(), **env},
        cwd=cwd,
        start_new_session=True,
    )
    words = bytearray()
    try:
        async with _streams(process, words) as streams:
            yield streams
    except Exception as error:
        lines = words.decode("utf-8", "replace").strip().splitlines()
        if lines:
            error.add_note(lines[-1].strip()[:300])
        raise


@asynccontextmanager
async def _streams(process: Process, words: bytearray) -> AsyncGenerator[tuple[Any, Any], None]:
    to_session, received = anyio.create_memory_object_stream[SessionMessage | Exception]()
    to_server, sent = anyio.create_memory_object_stream[SessionMessage]()
    stdout, stdin, stderr = process.stdout, process.stdin, process.stderr
    assert stdout is not None and stdin is not None and stderr is not None, "all are pipes"  # noqa: PT018 - one fact

    async def read() -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with to_session:
                async for line in _lines(stdout):
                    await to_session.send(parsed(line.decode("utf-8", "replace")))

    async def write() -> None:
        try:
            async with sent:
                async for item in sent:
                    text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await stdin.send(text.encode("utf-8", "replace") + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await to_session.aclose()  # so that no request waits for an answer any more

    async def listen() -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in stderr:
                words.extend(chunk)
                del words[:-_LAST_WORDS]

    try:
        async with anyio.create_task_group() as group:
            for work in (read, write, listen):
                group.start_soon(work)
            try:
                yield received, to_server
            finally:
                group.cancel_scope.cancel()
    finally:
        for stream in (received, to_server, to_session, sent):
            stream.close()
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _lines(stdout: ByteReceiveStream) -> AsyncIterator[bytes]:
    """The lines, up to the end of the stream or to a line that is too long."""
    parts: list[bytes] = []
    size = 0
    async for chunk in stdout:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*parts, line])
            parts, size = [], 0
        parts.append(rest)
        size += len(rest)
        if size > MAX_MESSAGE:
            return


async def _end(process: Process) -> None:
    """Ends the process: closes its input, then sends SIGTERM, then SIGKILL."""
    if process.stdin is not None:
        with suppress(anyio.BrokenResourceError, OSError):
            await process.stdin.aclose()
    for number in (None, signal.SIGTERM):
        if number is not None:
            _signal_to(process, number)
        with anyio.move_on_after(_SECONDS_TO_END):
            await _drained(process)
            break
    _signal_to(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    with anyio.move_on_after(_SECONDS_TO_END):
        await process.wait()
    with suppress(anyio.BrokenResourceError, OSError):
        await process.aclose()


async def _drained(process: Process) -> None:
    """Waits for the end, and reads on until then: a process with a full pipe never ends."""
    if process.stdout is not None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            while await process.stdout.receive():
                pass
    await process.wait()


def _signal_to(process: Process, number: signal.Signals) -> None:
    """Signals the server and, on systems with groups of processes, everything it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        elif process.returncode is None:
            process.send_signal(number)


class BoundedTransport(httpx2.AsyncHTTPTransport):
    """Breaks off a response whose body, or one line of whose event stream, is too long."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response, read with a bound."""
        response = await super().handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream), "an async transport gives async streams"
        response.stream = _Bounded(stream)
        return response


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        line = 0
        async for chunk in self._inner:
            end = chunk.rfind(b"\n")
            line = line + len(chunk) if end < 0 else len(chunk) - end - 1
            if line > MAX_MESSAGE:
                raise httpx2.ReadError(f"a message of the server has more than {MAX_MESSAGE} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def over_http(
    url: str, headers: Mapping[str, str], *, sse: bool
) -> AsyncGenerator[Any, None]:
    """A transport over streamable HTTP, or over the older SSE, whose events the package bounds."""
    # The read timeout bounds silence within a reply, not a call: that is the tool's own timeout.
    timeout = httpx2.Timeout(30.0, read=300.0)
    if sse:
        async with sse_client(url, headers=dict(headers)) as streams:
            yield streams
        return
    async with (
        httpx2.AsyncClient(
            headers=dict(headers), timeout=timeout, transport=BoundedTransport()
        ) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams


# --- the connection ------------------------------------------------------------------------------

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
"""Makes a transport; each can be entered once only."""

_LOST = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)


class Link:
    """A connection that one task keeps up: the task that entered its scopes must leave them.

    ```
    keep:  open ── ready ──────────── lost ── open again ── ready …
    ask:            ask ── fails ───── ┘        ask again, if that is safe
    ```

    Args:
        name: The server's name.
        connect: Makes a transport to it.
        patience: Seconds for the first answers of a connection.
        questions: What the server may ask of us.

    Attributes:
        stale: Whether the server may have other tools than those listed last.
        listed: The tools listed last, by name, as they came.
    """

    def __init__(
        self, name: str, connect: Connect, patience: float | None, questions: Questions
    ) -> None:
        self._name = name
        self._connect = connect
        self._patience = patience
        self._questions = questions
        self._client: Client | None = None
        self._failure: str | None = None
        self._ready = anyio.Event()
        self._lost = anyio.Event()
        self._listing = anyio.Lock()
        self.stale = True
        self.listed: Mapping[str, Any] = {}

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[Link, None]:
        """The connection, open until this is left.

        Raises:
            ServerNotReadyError: It cannot be opened, or the server does not answer.
        """
        try:
            async with anyio.create_task_group() as group:
                try:
                    with anyio.fail_after(self._patience):
                        await group.start(self._keep)
                except TimeoutError:
                    why = (
                        f"the MCP server {self._name} cannot be used: it did not answer within "
                        f"{self._patience:g} seconds. If it needs longer to start, say so with "
                        "connect_timeout="
                    )
                    raise ServerNotReadyError(why) from None
                try:
                    yield self
                finally:
                    group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            # The task raises only before it has started, and then the body never begins. So there
            # is one exception, and the caller expects it without a group.
            raise errors.exceptions[0] from errors.exceptions[0].__cause__

    async def _keep(self, *, task_status: TaskStatus[None]) -> None:
        first = True
        while True:
            try:
                async with self._open() as client:
                    self._client = client
                    self._ready.set()
                    if first:
                        task_status.started()
                        first = False
                    await self._lost.wait()
            except Exception as error:
                if first:
                    raise ServerNotReadyError(
                        f"the MCP server {self._name} cannot be used: {_cause(error)}. "
                        "Start it by hand in a terminal, or check its URL"
                    ) from error
                if not self._lost.is_set():
                    self._failure = _cause(error)
                    self._ready.set()
                    await self._lost.wait()
            self.stale = True
            self._client, self._lost = None, anyio.Event()

    def _open(self) -> Client:
        return Client(
            lenient(self._connect(), self._changed),
            read_timeout_seconds=self._patience,
            elicitation_callback=self._questions.elicit if self._questions.asks else None,
            sampling_callback=self._questions.sample if self._questions.samples else None,
            cache=None,
        )

    def _changed(self) -> None:
        self.stale = True

    def serving(self, context: ToolContext[Any]) -> AbstractContextManager[None]:
        """While a call is at work, the server's questions are asked by its run."""
        return self._questions.on_behalf_of(context)

    async def tools(self) -> Mapping[str, Any]:
        """The server's tools now, by name, as they came; asked again only if they may have changed.

        Raises:
            ToolError: The server does not list them.
        """
        async with self._listing:
            if self.stale:
                self.stale = False
                try:
                    self.listed = await self.ask(_all_tools, again=True)
                except BaseException:
                    self.stale = True
                    raise
            return self.listed

    async def ask(self, question: Callable[[Client], Awaitable[T]], *, again: bool) -> T:
        """The answer to one question; with `again`, asked once more over a new connection.

        Raises:
            ToolError: There is no connection, it was lost, or the server refuses.
        """
        lost = ""
        for attempt in range(2):
            await self._ready.wait()
            client = self._client
            if client is None:
                reason, self._failure = self._failure, None
                self._drop(None)
                raise ToolError(f"the MCP server {self._name} is gone: {reason}")
            try:
                return await question(client)
            except (*_LOST, httpx2.TransportError) as error:
                self._drop(client)
                lost = _cause(error)
            except MCPError as error:
                if error.code != mcp_types.CONNECTION_CLOSED:
                    raise ToolError(error.message) from error
                self._drop(client)
                lost = error.message
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]
                raise ToolError(
                    f"the MCP server {self._name} gave an answer that cannot be read "
                    f"({'.'.join(map(str, problem['loc']))}: {problem['msg']})"
                ) from error
            if not again or attempt:
                break
        raise ToolError(
            f"the connection to the MCP server {self._name} was lost ({lost}); "
            + ("try again later" if again else "whether the call took effect is unknown")
        )

    def _drop(self, client: Client | None) -> None:
        """Has the connection opened again, unless another call already has."""
        if self._client is client and self._ready.is_set():
            self._ready = anyio.Event()
            self._lost.set()


def _cause(error: BaseException) -> str:
    """The innermost reason, with the notes of the errors."""
    notes: list[str] = list(getattr(error, "__notes__", ()))
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
        notes += getattr(error, "__notes__", ())
    return "; ".join([str(error) or type(error).__name__, *notes])


_MOST_PAGES = 100
"""Most pages of a server's list of tools: its cursors may never end."""


async def _all_tools(client: Client) -> Mapping[str, mcp_types.Tool]:
    tools: dict[str, mcp_types.Tool] = {}
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            if tools.setdefault(tool.name, tool) is not tool:
                get_logger().warning("mcp_tool_skipped", reason=f"{tool.name!r} is listed twice")
        cursor = page.next_cursor
        if cursor is None or len(tools) > MOST_TOOLS:
            break
    if cursor is not None or len(tools) > MOST_TOOLS:
        get_logger().warning("mcp_tools_left_out", listed=len(tools), most=MOST_TOOLS)
    return dict(islice(tools.items(), MOST_TOOLS))


# --- what the server asks ------------------------------------------------------------------------

_MOST_TOKENS: Final = 4_096
"""Most tokens of one text for a server, whatever it asks for."""

_MOST_WORDS: Final = 2_000
"""Characters of one question that a person is shown."""


class Questions:
    """Answers a server's questions.

    Args:
        name: The server's name.
        asks: Whether it may ask a person (`elicitation`).
        samples: Whether it may have texts of the run's model (`sampling`).
    """

    def __init__(self, name: str, *, asks: bool, samples: bool) -> None:
        self._name = name
        self.asks = asks
        self.samples = samples
        self._at_work: list[ToolContext[Any]] = []

    @contextmanager
    def on_behalf_of(self, context: ToolContext[Any]) -> Generator[None]:
        """While a call is at work, its run asks what the server wants to know."""
        self._at_work.append(context)
        try:
            yield
        finally:
            self._at_work.remove(context)

    def _asking(self) -> ToolContext[Any]:
        """The newest call at work, if all calls at work belong to one run.

        Raises:
            ToolError: They belong to several runs, or there is none.
        """
        runs = {context.run_id for context in self._at_work}
        if len(runs) != 1:
            why = "no call is at work" if not runs else "calls of several runs are at work"
            raise ToolError(f"nobody can be asked: {why}")
        return self._at_work[-1]

    # --- of a person -----------------------------------------------------------------------------

    async def elicit(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the package's protocol
        params: mcp_types.ElicitRequestParams,
    ) -> mcp_types.ElicitResult | mcp_types.ErrorData:
        """Puts each field of a form to a person, one question a field."""
        try:
            run = self._asking()
            if isinstance(params, mcp_types.ElicitRequestURLParams):
                answer = await run.ask(
                    self._words(f"{params.message} Open {params.url} and say yes when done.")
                )
                agreed = answer.strip().lower() in ("yes", "y", "done", "ok")
                return mcp_types.ElicitResult(action="accept" if agreed else "decline")
            return await self._form(run, params.message, params.requested_schema)
        except ToolError as error:
            return _refused(str(error))

    async def _form(
        self, run: ToolContext[Any], message: str, schema: JsonObject
    ) -> mcp_types.ElicitResult:
        try:
            arguments = ForeignArguments(schema)
        except UnusableSchemaError as error:
            raise ToolError(f"the form cannot be read: {error}") from None
        answers: JsonObject = {}
        properties = arguments.schema.get("properties", {})
        for name, field in properties.items():
            about = field if isinstance(field, dict) else {}
            words = about.get("description") or about.get("title") or name
            choices = about.get("enum")
            offered = f" ({', '.join(map(str, choices))})" if isinstance(choices, list) else ""
            answer = (await run.ask(self._words(f"{message} {words}{offered}"))).strip()
            if answer:
                answers[name] = answer
        if properties and not answers:
            return mcp_types.ElicitResult(action="decline")
        found = arguments.check(answers)
        if isinstance(found, list):
            problems = "; ".join(map(str, found))
            raise ToolError(f"the person's answers do not fit the form: {problems}")
        return mcp_types.ElicitResult(action="accept", content=found)

    def _words(self, text: str) -> str:
        seen = "".join(c for c in text if c.isprintable())[:_MOST_WORDS]
        return f"The MCP server {self._name} asks: {seen}"

    # --- of the model ----------------------------------------------------------------------------

    async def sample(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the package's protocol
        params: mcp_types.CreateMessageRequestParams,
    ) -> mcp_types.CreateMessageResult | mcp_types.ErrorData:
        """Has the run's own model write a text; it sees nothing of the run."""
        try:
            run = self._asking()
            settings = ModelSettings(
                max_tokens=min(params.max_tokens, _MOST_TOKENS), temperature=params.temperature
            )
            text = await run.generate(_messages(params), settings)
        except AgentKitError as error:
            return _refused(str(error))
        return mcp_types.CreateMessageResult(
            role="assistant",
            content=mcp_types.TextContent(text=text),
            model="the agent's model",
            stop_reason="endTurn",
        )


def _messages(params: mcp_types.CreateMessageRequestParams) -> Sequence[Message]:
    made: list[Message] = []
    if params.system_prompt:
        made.append(SystemMessage(params.system_prompt))
    for message in params.messages:
        blocks = message.content if isinstance(message.content, list) else [message.content]
        texts = [block.text for block in blocks if isinstance(block, mcp_types.TextContent)]
        if len(texts) < len(blocks):
            raise ToolError("the model can be asked for texts by texts alone")
        text = "\n".join(texts)
        made.append(UserMessage(text) if message.role == "user" else AssistantMessage(text))
    return made


def _refused(why: str) -> mcp_types.ErrorData:
    get_logger().warning("mcp_question_refused", why=why)
    return mcp_types.ErrorData(code=mcp_types.INVALID_REQUEST, message=why)
