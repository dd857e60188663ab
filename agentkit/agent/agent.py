"""`Agent`: what a worker is. Running it is the loop's work."""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Generic, overload

import anyio
from typing_extensions import TypeForm, Unpack

from agentkit.agent.answers import answer_tool, with_partial_output
from agentkit.agent.approvals import (
    Approver,
    Decisions,
    GivenDecisions,
    UsedDecisions,
    checked_decisions,
    taint_of,
)
from agentkit.agent.checks import AGENT, RUN, check_agent, check_history, check_input
from agentkit.agent.delegation import CALLERS, Delegate, InputType, delegate, fan_out
from agentkit.agent.detached import Detached
from agentkit.agent.journaling import RecordedDecisions, begun, continued, is_recorded, journaled
from agentkit.agent.loop import drive
from agentkit.agent.many import BatchProgress, run_all
from agentkit.agent.planning import Planning, plan_tools, planned
from agentkit.agent.state import (
    Cancellation,
    Run,
    RunOptions,
    Wiring,
    current_budget,
    current_run,
)
from agentkit.agent.surroundings import (
    Instructions,
    Observer,
    default_observers,
    emitter,
    in_own_loop,
    new_run_id,
    opening,
    versions,
    window_for,
)
from agentkit.agent.typed import NO_DEPS, AnyTool, DepsT, Given
from agentkit.context import Context
from agentkit.errors import JournalError, ToolDefinitionError
from agentkit.events import Event, OutputT, RunEvent, RunFinished, RunResult
from agentkit.executors import Executor, LocalExecutor, RetryingExecutor
from agentkit.journal import Journal, JournaledRun, RunOpened
from agentkit.media import check_content, sound_messages
from agentkit.messages import Content, Message, ModelSettings, UserMessage
from agentkit.mistakes import explains
from agentkit.models import Model, WindowedModel
from agentkit.policy import (
    READS,
    Authority,
    Budget,
    Decision,
    Limits,
    PausedRun,
    Policy,
    Preset,
    mended_history,
    preset,
)
from agentkit.toolset import (
    ApprovalRule,
    Effect,
    Label,
    RunContext,
    Tool,
    ToolOptions,
    Toolset,
    ToolSource,
    combined,
)

_USED = UsedDecisions()
"""Of all runs of this process that no journal keeps."""


class Agent(Generic[DepsT, OutputT]):
    """A model, its instructions and its tools. Immutable; share it between threads and loops.

    `Agent[Deps, Output]`: type checkers take the first from the tools and instructions that ask for
    `deps`, or from what is written, and hold every run to it; the second is `output_type`.

    Args:
        model: Produces the replies.
        instructions: The system text.
        tools: Functions or tools, offered in the order of their names: the same ones, however they
            are listed, share a server's prefix cache.
        toolsets: Sets of tools, fixed or made for each run. A `Toolset` keeps its own order.
        output_type: What an answer is: text, any type that pydantic knows, or a function that
            takes the answer and returns the output.
        planning: Whether the model keeps a plan, through a tool `plan` of its own.
        settings: Defaults for each step.
        limits: Bounds of each run.
        context: How much of a conversation is sent; default: what the model's profile says.
        policy: Which calls run, which need a person; a `Policy` or the name of a preset. Default:
            all run, but for those whose tool wants a person. A run that serves a call of another
            run is bound by that one's policy as well.
        approve: Decides on calls that need a person; without it the run pauses.
        ask: Puts a tool's question (`ToolContext.ask`) to a person and returns the answer.
        executor: Runs the tools; by default in this process.
        observers: Watch every run. Default: a JSONL file for each run that no journal keeps (see
            `RunFiles`); pass `()` for none.

    Attributes:
        context: As it was given.

    Raises:
        ToolDefinitionError: A function cannot be a tool, two tools share a name, or the policy
            says nothing of tools that together could send private data to strangers.
        ValueError: `planning` or `policy` is no such word.
        TypeError: An argument is of another kind, or has another framework's name.
    """

    @overload
    def __init__(
        self, model: Model, *, output_type: TypeForm[OutputT] = ..., **options: Unpack[Given[DepsT]]
    ) -> None: ...
    @overload
    def __init__(
        self, model: Model, *, output_type: Callable[..., OutputT], **options: Unpack[Given[DepsT]]
    ) -> None: ...
    @explains("Agent", AGENT)
    def __init__(
        self,
        model: Model,
        *,
        instructions: Instructions[DepsT] | None = None,
        tools: Iterable[AnyTool[DepsT]] = (),
        toolsets: Iterable[ToolSource] = (),
        output_type: Any = str,
        planning: Planning = "off",
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        context: Context | None = None,
        policy: Policy | Preset | None = None,
        approve: Approver | None = None,
        ask: Callable[[str], Awaitable[str]] | None = None,
        executor: Executor | None = None,
        observers: Iterable[Observer] | None = None,
    ) -> None:
        check_agent({name: value for name, value in locals().items() if name != "self"})
        self._model = model
        self._instructions = instructions
        self._answer = answer_tool(output_type)
        answers = [self._answer.tool] if self._answer else []
        own = Toolset.by_name([*tools, *plan_tools(planning), *answers])
        self._tools = combined(own, *toolsets)
        self._settings = planned(planning, settings or ModelSettings())
        self._limits = limits or Limits()
        self.context = context
        self._govern(policy)
        self._used = _USED
        self._approve = approve
        self._ask = ask
        self._executor: Executor = RetryingExecutor(executor or LocalExecutor())
        self._observers = tuple(observers or ())
        self._files = tuple(default_observers() if observers is None else ())

    @explains("Agent.run", RUN)
    async def run(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        *,
        deps: DepsT = NO_DEPS,
        history: Sequence[Message] = (),
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        run_id: str | None = None,
        cancellation: Cancellation | None = None,
        journal: Journal | None = None,
    ) -> RunResult[OutputT]:
        """Runs to the end.

        Args:
            input: What the user says.
            deps: Reaches instructions and tools through their context.
            history: Messages to go on from, such as an earlier result's.
            settings: Over the agent's.
            limits: Instead of the agent's.
            run_id: Names the run and its file; by default the time and some random digits.
            cancellation: Ends the run from outside, with its partial result.
            journal: Keeps the run, so that `resume` can go on with it after a crash.

        Returns:
            The answer, or why there is none; reaching a limit is a result too.

        Raises:
            AgentKitError: The model cannot be had.
            JournalError: What must be durable before the run goes on could not be made so.
        """
        options = RunOptions(
            deps=deps,
            history=history,
            settings=settings,
            limits=limits,
            run_id=run_id,
            cancellation=cancellation,
            journal=journal,
        )
        return await self._start(input, options)

    async def stream(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        *,
        deps: DepsT = NO_DEPS,
        history: Sequence[Message] = (),
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        run_id: str | None = None,
        cancellation: Cancellation | None = None,
        journal: Journal | None = None,
    ) -> AsyncGenerator[RunEvent | RunFinished[OutputT], None]:
        """The same run as `run`, as its events; the last is `RunFinished`.

        Leaving the iteration ends the run. Arguments and exceptions are those of `run`.
        """
        options = RunOptions(
            deps=deps,
            history=history,
            settings=settings,
            limits=limits,
            run_id=run_id,
            cancellation=cancellation,
            journal=journal,
        )
        # Unbounded, so that the run never waits for who watches it; what it can hold is bounded
        # by max_tokens and the number of steps.
        send, receive = anyio.create_memory_object_stream[Any](math.inf)
        with receive:
            running = Detached(partial(self._start, input, options, send.send_nowait), send.close)
            try:
                async for event in receive:
                    yield event
                running.result()
            finally:
                await running.end()

    @explains("Agent.run_sync", RUN)
    def run_sync(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        *,
        deps: DepsT = NO_DEPS,
        history: Sequence[Message] = (),
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        run_id: str | None = None,
        journal: Journal | None = None,
    ) -> RunResult[OutputT]:
        """`run` for code that is not async; also works inside a running event loop, in a notebook.

        Arguments and exceptions are those of `run`.
        """
        options = RunOptions(
            deps=deps,
            history=history,
            settings=settings,
            limits=limits,
            run_id=run_id,
            journal=journal,
        )

        async def main() -> RunResult[OutputT]:
            try:
                return await self._start(input, options)
            finally:
                await self._model.aclose()  # this event loop ends here

        return in_own_loop(main)

    async def run_many(
        self,
        inputs: Iterable[Content],
        *,
        concurrency: int = 8,
        deps: DepsT = NO_DEPS,
        deps_each: Iterable[DepsT] | None = None,
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        on_progress: Callable[[BatchProgress[OutputT]], object] | None = None,
        cancellation: Cancellation | None = None,
        journal: Journal | None = None,
        batch: str | None = None,
    ) -> list[RunResult[OutputT]]:
        """Runs all inputs, at most `concurrency` at a time; results in the order of the inputs.

        A run whose model fails does not end the others: its result says `error` and why. With a
        journal the same call, made again after a crash, gives the results that are there and goes
        on with what is not finished.

        Args:
            inputs: What the user says, for each run.
            concurrency: Most runs at work.
            deps: Of every run.
            deps_each: Of each run its own, as many as inputs; instead of `deps`.
            settings: Over the agent's.
            limits: Of each run, instead of the agent's.
            on_progress: Called as each run ends; must be quick.
            cancellation: Ends all runs, with their partial results; those that have not begun
                then say `cancelled`.
            journal: Keeps the runs.
            batch: Names the batch in the journal: its runs are `BATCH-000000` and so on.

        Raises:
            ValueError: `concurrency` is below 1, `deps_each` has another length, or a journal is
                given without `batch` or the other way round.
        """
        options = RunOptions(
            deps=deps,
            settings=settings,
            limits=limits,
            run_id=batch,
            cancellation=cancellation,
            journal=journal,
        )
        start = self._start_or_continue
        return await run_all(start, inputs, options, concurrency, deps_each, on_progress)

    async def resume(
        self,
        run: PausedRun | str,
        decisions: Mapping[str, Decision] | None = None,
        *,
        journal: Journal | None = None,
        deps: DepsT = NO_DEPS,
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        cancellation: Cancellation | None = None,
    ) -> RunResult[OutputT]:
        """Goes on with a run that paused for a person, died or stopped, perhaps in another process.

        With a journal nothing that is recorded is asked or run again, and what a crash interrupted
        is settled by the effect of its tool; a run that has ended gives its result again.

        Args:
            run: Its id in the journal, or the `RunResult.paused` of one.
            decisions: For each `Approval.id` of a paused run; each is used once, by the call
                that it was made for. A call without one waits again, and so does one whose
                decision an earlier resumption has used.
            journal: Where the run is kept.
            deps: As for `run`: they are kept nowhere.
            settings: Over the agent's, and over those that the journal holds.
            limits: Instead of the agent's or the journal's; what the run spent before counts,
                except for seconds.
            cancellation: Ends the run from outside, with its partial result.

        Raises:
            AgentKitError: The model cannot be had.
            JournalError: The journal has no such run, or another process is at work on it.
            TypeError: A decision is none.
        """
        run_id = run if isinstance(run, str) else run.run_id
        options = RunOptions(
            deps=deps,
            settings=settings,
            limits=limits,
            run_id=run_id,
            cancellation=cancellation,
            journal=journal,
        )
        decided = checked_decisions(decisions)
        if journal is not None:
            return await self._continue(journal, options, decided)
        if isinstance(run, str):
            raise JournalError(f"the run {run} can only be resumed from the journal that keeps it")
        budget = Budget(limits or self._limits, current_budget.get())
        budget.usage, budget.steps = run.usage, run.steps
        given = GivenDecisions(self._used, decided, run.waiting)
        return await self._drive(options, list(run.messages), budget, None, run, given)

    def as_tool(
        self,
        name: str,
        description: str,
        *,
        limits: Limits | None = None,
        effect: Effect = "once",
        approval: ApprovalRule = "policy",
        deps: Any = CALLERS,
        input_type: InputType = str,
    ) -> Tool[..., Any]:
        """This agent as a tool of another: one task in, its answer out.

        It has its own window, limits and record, and spends from the calling run's limits too.
        Each of its calls is decided by the calling run's policy as well as by its own. Whoever
        watches the calling run sees its events (`SubRunEvent`); `ToolFinished.spent` names its run.
        Without an answer, the caller is told why and what was done by then. It is kept in the
        calling run's journal; one that a crash interrupted goes on where it was if its `effect`
        lets the call run again.

        Args:
            name: Of the tool.
            description: When to use it.
            limits: Of each of its runs, instead of the agent's own.
            effect: What giving it the same task twice would do; see `@tool`.
            approval: Whether a call needs a person; see `@tool`.
            deps: Of its runs: a value, or a function of the calling run's; by default the same.
            input_type: What a task is: a type, whose value it reads as JSON, or a function whose
                parameters become the tool's and which returns what the agent is told.

        Raises:
            ToolDefinitionError: `input_type` cannot be told to a model.
        """
        options = ToolOptions(labels=self._reads(), effect=effect, approval=approval)
        start = self._start_or_continue
        return delegate(Delegate(start, name, description, options, limits, deps, input_type))

    def as_fan_out(
        self,
        name: str,
        description: str,
        *,
        at_once: int = 4,
        limits: Limits | None = None,
        effect: Effect = "once",
        approval: ApprovalRule = "policy",
        deps: Any = CALLERS,
        input_type: InputType = str,
    ) -> Tool[..., Any]:
        """This agent as a tool that takes several tasks, works on them at the same time and joins
        the answers in the tasks' order.

        Each task is a run of its own, as with `as_tool`; one that fails says so in its place.

        Args:
            name: Of the tool.
            description: When to use it.
            at_once: Tasks at work at the same time.
            limits: Of each task's run; this and the rest as for `as_tool`.
            effect: Of the whole call.
            approval: For the whole call.
            deps: Of each task's run.
            input_type: The type of one task.

        Raises:
            ValueError: `at_once` is below 1.
            ToolDefinitionError: `input_type` is a function, or no type of JSON.
        """
        options = ToolOptions(labels=self._reads(), effect=effect, approval=approval)
        start = self._start_or_continue
        how = Delegate(start, name, description, options, limits, deps, input_type)
        return fan_out(how, at_once)

    def override(
        self,
        *,
        model: Model | None = None,
        policy: Policy | Preset | None = None,
        executor: Executor | None = None,
        observers: Iterable[Observer] | None = None,
        approve: Approver | None = None,
        ask: Callable[[str], Awaitable[str]] | None = None,
    ) -> Agent[DepsT, OutputT]:
        """The same agent in other surroundings, for tests and replay; see the class for each.

        An executor is used as it is here, without retries around it.
        """
        other = copy.copy(self)
        other._model = model or self._model
        other._govern(policy or self._policy)
        if executor is not None:  # what happens there has not happened here
            other._executor, other._used = executor, UsedDecisions()
        if observers is not None:
            other._observers, other._files = tuple(observers), ()
        other._approve = approve or self._approve
        other._ask = ask or self._ask
        return other

    def _reads(self) -> frozenset[Label]:
        """What an answer of this agent may tell of; all, where its tools depend on the run."""
        if not isinstance(self._tools, Toolset):
            return READS
        return READS & frozenset(label for tool in self._tools for label in tool.labels)

    def _govern(self, policy: Policy | Preset | None) -> None:
        self._policy = preset(policy) if isinstance(policy, str) else policy
        if isinstance(self._tools, Toolset):
            self._check_policy(self._tools)

    def _check_policy(self, tools: Toolset) -> None:
        problem = self._policy.problem_with(tools) if self._policy is not None else None
        if problem is not None:
            raise ToolDefinitionError(f"the policy of this agent leaves a hole: {problem}")

    async def aclose(self) -> None:
        """Closes what this event loop's runs hold open, such as connections."""
        await self._model.aclose()

    async def _start_or_continue(self, content: Content, options: RunOptions) -> RunResult[OutputT]:
        """A run, or the rest of it where the journal holds its beginning.

        Raises:
            JournalError: What is recorded under this name began with something else.
        """
        journal, run_id = options.journal, options.run_id
        if journal is not None and run_id and await is_recorded(journal, run_id, content):
            return await self._continue(journal, options, {})
        return await self._start(content, options)

    async def _start(
        self,
        content: Content,
        options: RunOptions,
        listener: Callable[[Event], None] | None = None,
    ) -> RunResult[OutputT]:
        check_input(content)
        check_content(content)
        check_history(options.history)
        options = replace(options, run_id=options.run_id or new_run_id())
        context = RunContext(options.deps, options.run_id or "")
        history = await opening(self._instructions, context, options.history)
        messages = mended_history(sound_messages([*history, UserMessage(content)]))
        budget = Budget(options.limits or self._limits, current_budget.get())
        if options.journal is None:
            return await self._drive(options, messages, budget, listener)
        began = RunOpened(
            tuple(messages),
            self._model.name,
            options.settings,
            options.limits,
            versions=versions(),
        )
        async with begun(options.journal, context.run_id, began) as record:
            return await self._drive(options, messages, budget, listener, record=record)

    async def _continue(
        self, journal: Journal, options: RunOptions, decisions: Mapping[str, Decision]
    ) -> RunResult[OutputT]:
        async with continued(journal, options.run_id or "", decisions) as record:
            began = record.opening
            settings = (options.settings or ModelSettings()).over(began.settings or ModelSettings())
            options = replace(options, settings=settings, limits=options.limits or began.limits)
            budget = Budget(options.limits or self._limits, current_budget.get())
            messages = list(began.messages)
            return await self._drive(options, messages, budget, None, record=record)

    async def _drive(
        self,
        options: RunOptions,
        messages: list[Message],
        budget: Budget,
        listener: Callable[[Event], None] | None,
        paused: PausedRun | None = None,
        decisions: Decisions | None = None,
        record: JournaledRun | None = None,
    ) -> RunResult[OutputT]:
        context = RunContext(options.deps, options.run_id or "")
        caller = current_run.get()
        async with self._tools.for_run(context) as toolset:
            self._check_policy(toolset)
            above = caller.wiring.authority if caller is not None else None
            grants = list(paused.grants) if paused is not None else []
            window = window_for(self.context, toolset)
            wiring = Wiring(
                model=WindowedModel(self._model, window),
                toolset=toolset,
                executor=self._executor,
                settings=(options.settings or ModelSettings()).over(self._settings),
                context=context,
                authority=Authority(self._policy, self._approve, above, grants),
                emit=self._emit(context.run_id, listener, kept=record is not None),
                side_model=self._model,
                ask=self._ask,
                answer=self._answer,
                options=options,
                window=window,
            )
            if record is not None:
                wiring, decisions = journaled(wiring, record), RecordedDecisions(record)
            messages = sound_messages(messages)
            run = Run(wiring, messages, budget, decisions=decisions or GivenDecisions(self._used))
            run.step = budget.steps if paused is None or paused.step is None else paused.step
            known = paused.taint if paused is not None else None
            run.taint = taint_of(messages, toolset) if known is None else known
            run.taint |= caller.taint if caller is not None else frozenset()
            return await drive(run, options.cancellation or Cancellation(), paused)

    def _emit(
        self, run_id: str, listener: Callable[[Event], None] | None, *, kept: bool
    ) -> Callable[[Event], None]:
        emit = emitter(run_id, (*self._observers, *(() if kept else self._files)), listener)
        return with_partial_output(self._answer, emit) if self._answer else emit
