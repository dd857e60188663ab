"""What a server asks in the middle of a call: something of a person, or a text of our model.

Both are off unless the user turns them on; a server that asks all the same is refused in words.
When they are on, the question is put by the run whose call is at work. MCP does not say which call
a question belongs to, so while calls of several runs are at work it is refused: nobody is asked on
behalf of another.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import mcp_types
from mcp.client.context import ClientRequestContext

from agentkit.errors import AgentKitError, ToolError
from agentkit.logs import get_logger
from agentkit.messages import (
    AssistantMessage,
    JsonObject,
    Message,
    ModelSettings,
    SystemMessage,
    UserMessage,
)
from agentkit.schema.drafts import UnusableSchemaError
from agentkit.schema.foreign import ForeignArguments
from agentkit.toolset import ToolContext

_MOST_TOKENS: Final = 4_096
"""Of one text for a server, whatever it asks for."""

_MOST_WORDS: Final = 2_000
"""Characters of one question that a person is shown."""

_LOG = get_logger()


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
        """While a call is at work."""
        self._at_work.append(context)
        try:
            yield
        finally:
            self._at_work.remove(context)

    def _whose(self) -> ToolContext[Any]:
        runs = {context.run_id for context in self._at_work}
        if len(runs) != 1:
            whose = "no call is at work" if not runs else "calls of several runs are at work"
            raise ToolError(f"nobody can be asked: {whose}")
        return self._at_work[-1]

    # --- of a person --------------------------------------------------------------------------

    async def elicit(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the package's protocol
        params: mcp_types.ElicitRequestParams,
    ) -> mcp_types.ElicitResult | mcp_types.ErrorData:
        """Puts each field of a form to a person, one question a field."""
        try:
            run = self._whose()
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

    # --- of the model -------------------------------------------------------------------------

    async def sample(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the package's protocol
        params: mcp_types.CreateMessageRequestParams,
    ) -> mcp_types.CreateMessageResult | mcp_types.ErrorData:
        """Has the run's own model write a text; it sees nothing of the run."""
        try:
            run = self._whose()
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
    _LOG.warning("mcp_question_refused", why=why)
    return mcp_types.ErrorData(code=mcp_types.INVALID_REQUEST, message=why)
