"""The options of `Agent` and of its runs, each spelled once for type checkers and for the run.

Everything but the model is a keyword. A value of a wrong kind, or a name of another framework, is
refused at once, with what to write instead: a mistake that is found in the middle of a run costs
what the run has done. Nothing here changes a value. The fingerprint at the end names the options
that the record of a submitted run depends on.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from os import PathLike
from types import MappingProxyType, ModuleType
from typing import Any, Final, Generic, Protocol, TypeAlias

import anyio
from typing_extensions import TypedDict, TypeVar

from agentkit.agent.approvals import Approver
from agentkit.agent.own_tools import AnswerTool, Planning
from agentkit.context import Context
from agentkit.errors import ToolDefinitionError, check_kinds, refuse_async, wrong_value
from agentkit.events import Event
from agentkit.events.lines import as_json
from agentkit.executors import Executor
from agentkit.journal import Journal
from agentkit.media import check_parts
from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    ImagePart,
    Message,
    ModelSettings,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
    VideoPart,
)
from agentkit.policy import Limits, Policy, Preset
from agentkit.toolset import RunContext, Tool, Toolset, ToolSource

DepsT = TypeVar("DepsT", default=Any)
"""The type of `deps` that the tools and instructions of an agent need; `Any` if none says."""

# --- of an agent ---------------------------------------------------------------------------------

Instructions: TypeAlias = str | Callable[[RunContext[DepsT]], str | Awaitable[str]]
"""Text, or a function of the run's context, evaluated once a run so that the prompt's beginning
(and with it the server's prefix cache) stays the same over all its steps."""

Observer: TypeAlias = Callable[[str, Event], None]
"""A function that is called with the run's id and each of its events, in the run's own thread; it
must be quick. One that raises is logged and left out of the rest of the run."""


class Function(Protocol):
    """A plain function, not a `Tool`: type checkers do not see which `deps` its context needs."""

    @property
    def __name__(self) -> str: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


AnyTool: TypeAlias = Tool[..., Any, DepsT] | Function | partial[Any]


class Surroundings(TypedDict, total=False):
    """The options of `Agent` that `Agent.override` can replace too."""

    policy: Policy | Preset | None
    approve: Approver | None
    ask: Callable[[str], str | Awaitable[str]] | None
    executor: Executor | None
    observers: Iterable[Observer] | None


class OtherSurroundings(Surroundings, total=False):
    """The options of `Agent.override` beside the model."""

    context: Context | None
    more_observers: Iterable[Observer]
    more_toolsets: Iterable[ToolSource]


class AgentOptions(Surroundings, Generic[DepsT], total=False):
    """The options of an `Agent` beside its `output_type`, of which there are two kinds."""

    instructions: Instructions[DepsT] | None
    tools: Iterable[AnyTool[DepsT]]
    toolsets: Iterable[ToolSource]
    planning: Planning
    settings: ModelSettings | None
    limits: Limits | None
    context: Context | None


# --- of a run ------------------------------------------------------------------------------------


class Cancels(Protocol):
    """Something that can be cancelled: a scope, or a cancellation of other runs."""

    def cancel(self) -> object: ...


class Cancellation:
    """Ends a run from outside and leaves its partial result.

    Pass it to `Agent.run`, or to several runs, then call `cancel` from the same event loop.
    """

    def __init__(self) -> None:
        self._scopes: list[anyio.CancelScope] = []
        self._calls: dict[str, list[Cancels]] = {}
        self.cancelled = False
        self.draining = False

    def drain(self) -> None:
        """Ends the run before its next step; the current step is finished first. `Agent.run` then
        returns as for `cancel`, and with a journal the run can be resumed.
        """
        self.draining = True

    def cancel(self, call_id: str | None = None) -> bool:
        """Ends the run; `Agent.run` returns with `stop_reason="cancelled"`.

        Args:
            call_id: End only this call of it. A sub-agent at work on it keeps what it has done,
                and the run goes on.

        Returns:
            Whether there was anything to end: False for a call that is not at work.
        """
        if call_id is None:
            self.cancelled = True
            for scope in self._scopes:
                scope.cancel()
            return True
        held = self._calls.get(call_id)
        if not held:
            return False
        # If runs serve the call they are cancelled, not the call: it returns what they have done.
        call, *serving = held
        for each in serving or [call]:
            each.cancel()
        return True

    @contextmanager
    def bind(self, scope: anyio.CancelScope) -> Generator[None]:
        """A run registers here what is to be cancelled while it is at work."""
        self._scopes.append(scope)
        if self.cancelled:
            scope.cancel()
        try:
            yield
        finally:
            self._scopes.remove(scope)

    @contextmanager
    def at_work(self, call_id: str, what: Cancels) -> Generator[None]:
        """A run registers here what cancels one of its calls: first the call's own scope, then the
        cancellations of runs that serve it.
        """
        held = self._calls.setdefault(call_id, [])
        held.append(what)
        try:
            yield
        finally:
            held.remove(what)
            if not held:
                self._calls.pop(call_id, None)


class AnyRunOptions(TypedDict, Generic[DepsT], total=False):
    """The options of every run, whether it begins or goes on; see `Agent.run`."""

    deps: DepsT
    settings: ModelSettings | None
    limits: Limits | None
    cancellation: Cancellation | None
    journal: Journal | None


class RunOptions(AnyRunOptions[DepsT], total=False):
    """The options of a run that begins; see `Agent.run`."""

    history: Sequence[Message] | None
    run_id: str | None
    conversation: str | None


class SubmitOptions(TypedDict, Generic[DepsT], total=False):
    """The options of a run that a worker is to take; see `Agent.submit`."""

    deps: DepsT
    settings: ModelSettings | None
    limits: Limits | None
    history: Sequence[Message] | None
    run_id: str | None
    conversation: str | None


# --- names of other frameworks -------------------------------------------------------------------

_STEPS = "write limits=Limits(steps=…)"
_SETTINGS = "write settings=ModelSettings({}=…)"
_OUTPUT = "write output_type="
_INSTRUCTIONS = "write instructions="
_HELPERS = "give the other agent as a tool: tools=[other.as_tool(name, description)]"

AGENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "deps_type": "types need no argument: pass deps= to run, and annotate the parameter of a "
        "tool with ToolContext[Deps]",
        **dict.fromkeys(("system_prompt", "system", "prompt", "system_message"), _INSTRUCTIONS),
        **dict.fromkeys(("instruction", "developer_message", "state_modifier"), _INSTRUCTIONS),
        **dict.fromkeys(("result_type", "output_schema", "response_format"), _OUTPUT),
        **dict.fromkeys(("output", "response_model", "structured_output_model"), _OUTPUT),
        "model_settings": "write settings=",
        **dict.fromkeys(("max_steps", "max_turns", "max_iterations"), _STEPS),
        **dict.fromkeys(("recursion_limit", "max_function_rounds", "usage_limits"), _STEPS),
        **{
            name: _SETTINGS.format(name)
            for name in ("temperature", "top_p", "top_k", "seed", "max_tokens", "stop", "thinking")
        },
        "tool_choice": "write settings=ModelSettings(tool_choice=ToolChoice(…))",
        **dict.fromkeys(
            ("base_url", "api_key", "url"), "give it to the model: VLLMModel(base_url)"
        ),
        "toolset": "write toolsets=[…]",
        "tool": "write tools=[…]",
        "functions": "write tools=[…]",
        "mcp_servers": "write toolsets=[McpToolset(…)]",
        **dict.fromkeys(("llm", "client", "provider"), "give the model first: Agent(model)"),
        "name": "an agent has no name; one that serves as a tool gets it from as_tool(name, …)",
        "description": "an agent has none; one that serves as a tool gets it from as_tool",
        **dict.fromkeys(("handoffs", "managed_agents", "sub_agents", "subagents"), _HELPERS),
        **dict.fromkeys(("memory", "checkpointer", "session"), "write journal= in run"),
        "history": "write history= in run",
        "deps": "write deps= in run",
        "retries": "declare them for each tool: @tool(effect=…, retries=…)",
        **dict.fromkeys(
            ("callbacks", "hooks", "middleware", "event_handler"), "write observers=[…]"
        ),
        **dict.fromkeys(("step_callbacks", "callback_handler"), "write observers=[…]"),
        **dict.fromkeys(
            ("verbose", "debug", "verbosity_level"),
            "write observers=[…]; each run is recorded in a file anyway",
        ),
        "history_processors": "write context=Context(compaction=[…])",
        **dict.fromkeys(
            ("input_guardrails", "output_guardrails"),
            "write policy=, or check the answer in a function given as output_type=",
        ),
        **dict.fromkeys(("approval", "approver", "human_in_the_loop"), "write approve="),
        "interrupt_before": "write policy=Policy.ask(…)",
    }
)
"""What to write instead of other frameworks' names for the arguments of `Agent`."""

_LATER = "go on from an earlier result: history=result.messages"

RUN: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("message_history", "messages", "chat_history", "prior_messages"), _LATER),
        **dict.fromkeys(("max_steps", "max_turns", "max_iterations", "usage_limits"), _STEPS),
        "recursion_limit": _STEPS,
        "model_settings": "write settings=",
        **{
            name: _SETTINGS.format(name)
            for name in ("temperature", "top_p", "top_k", "seed", "max_tokens", "stop", "thinking")
        },
        **dict.fromkeys(("context", "dependencies", "state", "config"), "write deps="),
        **dict.fromkeys(("session", "thread_id", "session_id"), "write journal= and conversation="),
        "stream": "iterate over agent.stream(…)",
        "model": "write agent.override(model=…).run(…)",
        **dict.fromkeys(
            ("output_type", "tools", "toolsets", "instructions"),
            "it belongs to the agent: Agent(…)",
        ),
        **dict.fromkeys(
            ("prompt", "user_prompt", "query", "message", "task"),
            "it is the first argument, without a name",
        ),
        "timeout": "write limits=Limits(seconds=…)",
    }
)
"""What to write instead of other frameworks' names for the arguments of a run."""


_TOOLS = "write Agent(…, tools=[…]): an agent does not change"

ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("invoke", "kickoff", "chat", "complete", "ask_sync", "execute", "call", "query"),
            "write agent.run_sync(…)",
        ),
        **dict.fromkeys(("ainvoke", "arun", "run_async", "kickoff_async"), "write agent.run(…)"),
        **dict.fromkeys(
            ("run_stream", "stream_events", "astream", "run_streamed", "iter"),
            "iterate over agent.stream(…)",
        ),
        **dict.fromkeys(("tool", "tool_plain", "add_tool", "register_tool", "bind_tools"), _TOOLS),
        **dict.fromkeys(("system_prompt", "instructions"), "write Agent(…, instructions=…)"),
        **dict.fromkeys(("memory", "history", "messages"), _LATER),
        **dict.fromkeys(("batch", "abatch"), "write agent.run_many([…])"),
        **{
            f"{name}_sync": f"await agent.{name}(…), or write asyncio.run(…) around it"
            for name in ("resume", "run_many")
        },
        "stream_sync": "iterate over agent.stream(…) with async for",
    }
)
"""What to write instead of other frameworks' names for the methods of `Agent`."""


# --- what is refused -----------------------------------------------------------------------------


def check_agent(given: Mapping[str, Any]) -> None:
    """Refuses arguments of `Agent` that are of a wrong kind.

    Raises:
        TypeError: One of them is; the message names it and says what to write.
        ToolDefinitionError: One of the tools is no tool.
    """
    _check_model(given["model"])
    instructions = given.get("instructions")
    if not (instructions is None or isinstance(instructions, str) or callable(instructions)):
        raise wrong_value(
            "instructions", instructions, "give a text, or a function of the run's context"
        )
    if callable(instructions):
        _check_called("instructions", instructions, "context")
    _check_tools(given.get("tools", ()), given.get("toolsets", ()))
    _check_output(given["output_type"])
    for name, kind in _KINDS.items():
        value = given.get(name)
        if value is not None and not isinstance(value, kind):
            raise wrong_value(name, value, _EXAMPLES[name])
    _check_function("approve", given.get("approve"), "approval", _APPROVES)
    _check_function("ask", given.get("ask"), "question", "give a function of the question")
    executor = given.get("executor")
    if executor is not None and (isinstance(executor, type) or not hasattr(executor, "execute")):
        raise wrong_value("executor", executor, "give an executor, such as ProcessExecutor()")
    _check_observers(given.get("observers"))


_KINDS: Final[Mapping[str, Any]] = MappingProxyType(
    {"settings": ModelSettings, "limits": Limits, "context": Context, "policy": (Policy, str)}
)
_APPROVES: Final = "give a function of an Approval that returns Approve() or Deny(reason)"
_EXAMPLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "settings": "give ModelSettings(temperature=…)",
        "limits": "give Limits(steps=…)",
        "context": "give Context(…)",
        "policy": 'give a Policy, such as Policy.ask("writes"), or the name of a preset',
    }
)


def _check_model(model: Any) -> None:
    if isinstance(model, str):
        address = model if "://" in model else "http://localhost:8000"
        raise wrong_value("model", model, f'give a model: VLLMModel("{address}")')
    if isinstance(model, type) or not callable(getattr(model, "generate", None)):
        raise wrong_value(
            "model", model, 'give a model, such as VLLMModel("http://localhost:8000")'
        )


def _check_tools(tools: Any, toolsets: Any) -> None:
    if not _is_list(tools):
        raise wrong_value(
            "tools", tools, "give a list of functions: tools=[…]", ToolDefinitionError
        )
    if isinstance(toolsets, ToolSource) or not _is_list(toolsets):
        raise wrong_value("toolsets", toolsets, "give a list: toolsets=[…]", ToolDefinitionError)
    for at, item in _listed(toolsets):
        if not isinstance(item, ToolSource):
            where = "give it in tools=[…]" if callable(item) else "give a Toolset or an McpToolset"
            raise wrong_value(f"toolsets[{at}]", item, where, ToolDefinitionError)


def _check_observers(observers: Any) -> None:
    if observers is None:
        return
    remedy = "give a list of functions of (run_id, event)"
    if not _is_list(observers):
        raise wrong_value("observers", observers, remedy)
    for at, observer in _listed(observers):
        if not callable(observer):
            raise wrong_value("observers", observers, remedy)
        _check_called(f"observers[{at}]", observer, "run_id", "event")
        refuse_async(f"observers[{at}]", observer)


def _check_output(output_type: Any) -> None:
    if isinstance(output_type, list | tuple | set):
        raise wrong_value("output_type", output_type, "write a union: output_type=A | B")
    if output_type is None:
        raise wrong_value("output_type", output_type, "leave it out for an answer in words")
    if isinstance(output_type, str | Mapping | int | ModuleType):
        raise wrong_value(
            "output_type", output_type, "give a type, such as a dataclass, or a function"
        )


def _check_function(name: str, value: Any, argument: str, remedy: str) -> None:
    """Refuses what is no function of one argument, such as `approve=True` or `lambda: True`."""
    if value is None:
        return
    if not callable(value):
        raise wrong_value(name, value, remedy)
    _check_called(name, value, argument)


def _check_called(name: str, function: Any, *arguments: str) -> None:
    """Refuses a function that cannot be called with so many arguments."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        called = f"it is called with ({', '.join(arguments)})"
        raise wrong_value(name, function, called) from None
    except ValueError:
        return  # a builtin function without a signature


def check_options(given: Mapping[str, Any]) -> None:
    """Refuses options of a run that are of a wrong kind.

    Raises:
        TypeError: One of them is.
    """
    check_kinds(given, _RUN_KINDS)
    journal = given.get("journal")
    if isinstance(journal, str | PathLike) or not (journal is None or hasattr(journal, "open")):
        raise wrong_value("journal", journal, 'give a journal, such as SQLiteJournal("runs.db")')


_RUN_KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = MappingProxyType(
    {
        "settings": ((ModelSettings,), _EXAMPLES["settings"]),
        "limits": ((Limits,), _EXAMPLES["limits"]),
        "cancellation": ((Cancellation,), "give a Cancellation()"),
        "run_id": ((str,), "give a text"),
        "conversation": ((str,), "give a name"),
    }
)


def check_input(content: Any) -> None:
    """Refuses an input that is neither text nor parts of a message.

    Raises:
        TypeError: It is something else.
        ValueError: A part is an image, sound or video that cannot be sent.
    """
    if isinstance(content, str):
        return
    if isinstance(content, tuple | list):
        wrong = next((part for part in content if not isinstance(part, _PARTS)), None)
        if wrong is None and content:
            if isinstance(content, tuple):
                check_parts(content)
                return
            raise wrong_value("input", content, "give the parts as a tuple")
        if isinstance(wrong, str):
            raise wrong_value(
                "input", content, "give one text; for several inputs there is run_many"
            )
        if isinstance(wrong, (Mapping, *_MESSAGES)):
            raise wrong_value("input", content, f"give the new text; {_LATER}")
    if content is None:
        raise wrong_value("input", content, "say something; a run that paused goes on with resume")
    raise wrong_value(
        "input", content, "give a text, or a tuple of TextPart, ImagePart and AudioPart"
    )


def check_history(history: Any) -> None:
    """Refuses a history that holds no messages.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(history, tuple | list):
        raise wrong_value("history", history, _LATER)
    for at, message in enumerate(history):
        if not isinstance(message, _MESSAGES):
            raise wrong_value(f"history[{at}]", message, f"{_LATER}, or load_messages(text)")


_PARTS: Final = (TextPart, ImagePart, AudioPart, VideoPart)
_MESSAGES: Final = (SystemMessage, UserMessage, AssistantMessage, ToolMessage)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _listed(value: Any) -> Iterable[tuple[int, Any]]:
    """The items, numbered; none of an iterator, which can be read only once."""
    return enumerate(value if isinstance(value, list | tuple) else ())


# --- the fingerprint -----------------------------------------------------------------------------


def fingerprint_of(
    instructions: Instructions[Any] | None, tools: ToolSource, answer: AnswerTool | None
) -> str:
    """A name for what the record of a run depends on: instructions, tools with their effects, and
    the type of the answer. If tools are made for each run, only their source's class is known.
    """
    text = instructions if isinstance(instructions, str | None) else _name(instructions)
    offered: Any = _name(type(tools))
    if isinstance(tools, Toolset):
        offered = [[tool.definition, tool.effect] for tool in tools]
    answer_definition = None if answer is None else answer.tool.definition
    depends_on = as_json([text, offered, answer_definition])
    return hashlib.blake2b(depends_on, digest_size=12).hexdigest()


def _name(thing: Any) -> str:
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
