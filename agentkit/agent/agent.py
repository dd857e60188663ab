"""`Agent`: the description of an agent, and the start of its runs. `loop` drives them."""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, Generic, cast, overload

import anyio
from typing_extensions import TypeForm, Unpack

from agentkit.agent.approvals import (
    Decisions,
    GivenDecisions,
    RecordedDecisions,
    UsedDecisions,
    checked_decisions,
    taint_of,
)
from agentkit.agent.delegation import (
    BatchProgress,
    Delegate,
    DelegateOptions,
    delegate,
    fan_out,
    run_all,
)
from agentkit.agent.loop import drive
from agentkit.agent.options import (
    AGENT,
    ATTRIBUTES,
    RUN,
    AgentOptions,
    AnyRunOptions,
    Cancellation,
    DepsT,
    OtherSurroundings,
    RunOptions,
    SubmitOptions,
    check_agent,
    check_options,
    fingerprint_of,
)
from agentkit.agent.own_tools import answer_tool, plan_tools, planned
from agentkit.agent.recall import own_names, with_own_tools_here, with_recall
from agentkit.agent.run import (
    Detached,
    Run,
    WholeResults,
    Wiring,
    beginning,
    begun,
    continued,
    current_budget,
    current_run,
    default_observers,
    emitter,
    in_own_loop,
    is_recorded,
    journaled,
    window_for,
)
from agentkit.context.entries import RECALL
from agentkit.errors import (
    JournalError,
    ToolDefinitionError,
    explains,
    explains_attributes,
    wrong_value,
)
from agentkit.events import Event, OutputT, RunEvent, RunFinished, RunResult
from agentkit.executors import Executor, LocalExecutor, RetryingExecutor
from agentkit.gemma4.profiles import profile_for
from agentkit.journal import Journal, JournaledRun, Queueing, Ticket
from agentkit.messages import Content, Message, ModelSettings
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
    preset,
)
from agentkit.toolset import Label, RunContext, Tool, Toolset, combined

_USED = UsedDecisions()
"""The decisions that are used up, of all runs in this process that no journal keeps."""


@explains_attributes("Agent", ATTRIBUTES)
class Agent(Generic[DepsT, OutputT]):
    """A model, its instructions and its tools. Immutable; share it between threads and loops.

    In `Agent[Deps, Output]`, type checkers infer `Deps` from the tools and instructions that need
    `deps`, and check the `deps` of every run; `Output` is the `output_type`.

    Args:
        model: Produces the replies.
        instructions: The system text.
        tools: Functions or tools, offered in the order of their names, so that the same tools share
            a server's prefix cache however they are listed.
        toolsets: Sets of tools, fixed or made for each run. A `Toolset` keeps its own order.
        output_type: The type of the answer: text, any type that pydantic knows, or a function that
            takes the answer and returns the output.
        planning: Whether the model keeps a plan, through a tool `plan` of its own.
        settings: Defaults for each step.
        limits: Bounds of each run.
        context: How much of a conversation is sent; default: what the model's profile says.
        policy: Which calls run and which need a person; a `Policy` or the name of a preset.
            Default: all run, except those whose tool wants a person. A run that serves a call of
            another run is bound by that run's policy as well.
        approve: Decides on calls that need a person; without it the run pauses.
        ask: Puts a tool's question (`ToolContext.ask`) to a person and returns the answer.
        executor: Runs the tools; by default in this process.
        observers: Watch every run. Default: a JSONL file for each run that no journal keeps (see
            `RunFiles`); pass `()` for none.

    Attributes:
        model: The model that was given.
        tools: All tools: a `Toolset`, or what makes one for each run.
        context: The context settings that were given.
        policy: The policy; None where there is none.
        approve: The approver that was given.
        ask: The function that was given.

    Raises:
        ToolDefinitionError: A function cannot be a tool, two tools share a name, or the policy has
            no rule for tools that together could send private data to strangers.
        ValueError: `planning` or `policy` is no such word.
        TypeError: An argument is of a wrong kind, or has another framework's name.
    """

    @overload
    def __init__(
        self,
        model: Model,
        *,
        output_type: TypeForm[OutputT] = ...,
        **options: Unpack[AgentOptions[DepsT]],
    ) -> None: ...
    @overload
    def __init__(
        self,
        model: Model,
        *,
        output_type: Callable[..., OutputT],
        **options: Unpack[AgentOptions[DepsT]],
    ) -> None: ...
    @explains("Agent", AGENT, AgentOptions)
    def __init__(
        self, model: Model, *, output_type: Any = str, **options: Unpack[AgentOptions[DepsT]]
    ) -> None:
        check_agent({"model": model, "output_type": output_type, **options})
        planning, observers = options.get("planning", "off"), options.get("observers")
        self.model = model
        self._instructions = options.get("instructions")
        self._answer = answer_tool(output_type)
        answers = [self._answer.tool] if self._answer else []
        own = Toolset.by_name([*options.get("tools", ()), *plan_tools(planning), *answers])
        self.tools = combined(own, *options.get("toolsets", ()))
        self._settings = planned(planning, options.get("settings") or ModelSettings())
        self._limits = options.get("limits") or Limits()
        self.context = options.get("context")
        self._govern(options.get("policy"))
        self._used = _USED
        self.approve = options.get("approve")
        self.ask = options.get("ask")
        executor = options.get("executor") or LocalExecutor()
        self._executor: Executor = RetryingExecutor(with_own_tools_here(executor))
        self._observers = tuple(observers or ())
        self._files = tuple(default_observers() if observers is None else ())

    @explains("Agent.run", RUN, RunOptions)
    async def run(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        **options: Unpack[RunOptions[DepsT]],
    ) -> RunResult[OutputT]:
        """Runs to the end.

        Args:
            input: What the user says.
            deps: Reaches instructions and tools through their context.
            settings: Settings that override the agent's.
            limits: Limits instead of the agent's.
            cancellation: Ends the run from outside, with its partial result.
            journal: Keeps the run, so that `resume` can continue it after a crash.
            history: Messages to continue from, such as an earlier result's.
            conversation: The name of a conversation in the journal. The run is its next turn, and
                continues from its newest one unless `history` is given.
            run_id: Names the run and its file; by default the time and some random digits.

        Returns:
            The answer, or why there is none; reaching a limit is a result too.

        Raises:
            AgentKitError: The model cannot be reached.
            JournalError: What must be durable before the run goes on could not be made so.
            TypeError: An argument is of a wrong kind, or has another framework's name.
        """
        return await self._start(input, options)

    @explains("Agent.stream", RUN, RunOptions)
    async def stream(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        **options: Unpack[RunOptions[DepsT]],
    ) -> AsyncGenerator[RunEvent | RunFinished[OutputT], None]:
        """The same run as `run`, as its events; the last is `RunFinished`.

        Leaving the iteration ends the run. Arguments and exceptions are those of `run`.
        """
        # Unbounded, so that the run never waits for its reader. max_tokens and the number of steps
        # bound what it can hold.
        send, receive = anyio.create_memory_object_stream[Any](math.inf)
        with receive:
            running = Detached(partial(self._start, input, options, send.send_nowait), send.close)
            try:
                async for event in receive:
                    yield event
                running.result()
            finally:
                await running.end()

    @explains("Agent.run_sync", RUN, RunOptions)
    def run_sync(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        **options: Unpack[RunOptions[DepsT]],
    ) -> RunResult[OutputT]:
        """`run` for code that is not async; also works inside a running event loop, in a notebook.

        Arguments and exceptions are those of `run`.
        """

        async def main() -> RunResult[OutputT]:
            try:
                return await self._start(input, options)
            finally:
                await self.model.aclose()  # this event loop ends here

        return in_own_loop(main)

    @explains("Agent.run_many", RUN, AnyRunOptions)
    async def run_many(
        self,
        inputs: Iterable[Content],
        *,
        concurrency: int = 8,
        deps_each: Iterable[DepsT] | None = None,
        on_progress: Callable[[BatchProgress[OutputT]], object] | None = None,
        batch: str | None = None,
        **options: Unpack[AnyRunOptions[DepsT]],
    ) -> list[RunResult[OutputT]]:
        """Runs all inputs, at most `concurrency` at a time; results in the order of the inputs.

        A run whose model fails does not end the others: its result says `error` and why. With a
        journal the same call, made again after a crash, returns the results that are there and
        continues what is not finished.

        Args:
            inputs: What the user says, for each run.
            concurrency: Most runs at work.
            deps_each: What each run is given as `deps`, as many as inputs; instead of `deps`.
            on_progress: Called as each run ends; must be quick.
            batch: Names the batch in the journal: its runs are `BATCH-000000` and so on.
            deps: What every run is given; this and the rest as for `run`.
            settings: Settings that override the agent's.
            limits: The limits of each run, instead of the agent's.
            cancellation: Ends all runs, with their partial results; those that have not begun
                then say `cancelled`.
            journal: Keeps the runs.

        Raises:
            ValueError: `concurrency` is below 1, `deps_each` has another length, an input holds
                what no model takes, or a journal is given without `batch` or the other way round.
        """
        every = cast("RunOptions[DepsT]", {**options, "run_id": batch})
        start = self._start_or_continue
        return await run_all(start, inputs, every, concurrency, deps_each, on_progress)

    @explains("Agent.resume", RUN, AnyRunOptions)
    async def resume(
        self,
        run: PausedRun | str,
        decisions: Mapping[str, Decision] | None = None,
        **options: Unpack[AnyRunOptions[DepsT]],
    ) -> RunResult[OutputT]:
        """Continues a run that paused for a person, died or stopped, perhaps in another process.

        With a journal nothing that is recorded is asked or run again, and a call that a crash
        interrupted is settled by the effect of its tool. A run that has ended returns its result
        again.

        Args:
            run: The run's id in the journal, or the `RunResult.paused` of its result.
            decisions: What people decided, by `Approval.id`. Each decision is used once, by the
                call that it was made for. A call without one waits again, and so does one whose
                decision an earlier resumption has used.
            deps: The same as for `run`: they are not recorded.
            settings: Settings that override the agent's and those in the journal.
            limits: Limits instead of the agent's or the journal's; what the run spent before
                counts, except for seconds.
            cancellation: Ends the run from outside, with its partial result.
            journal: The journal that keeps the run.

        Raises:
            AgentKitError: The model cannot be reached.
            JournalError: The journal has no such run, or another process is at work on it.
            TypeError: A decision is none, or an argument is of a wrong kind.
        """
        check_options(options)
        if not isinstance(cast("object", run), str | PausedRun):
            raise wrong_value("run", run, "give result.paused, or the name of a run in a journal")
        run_id = run if isinstance(run, str) else run.run_id
        again = cast("RunOptions[DepsT]", {**options, "run_id": run_id})
        decided = checked_decisions(decisions)
        if (journal := options.get("journal")) is not None:
            return await self._continue(journal, run_id, again, decided)
        if isinstance(run, str):
            where = "the journal that keeps it, or from what PausedRun.from_json reads"
            raise JournalError(f"the run {run:.60} can only be resumed from {where}")
        given = GivenDecisions(self._used, decided, run.waiting)
        return await self._drive(run_id, again, list(run.messages), paused=run, decisions=given)

    @explains("Agent.submit", RUN, SubmitOptions)
    async def submit(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        *,
        queue: Queueing,
        name: str,
        tenant: str = "",
        priority: int = 0,
        **options: Unpack[SubmitOptions[DepsT]],
    ) -> str:
        """Submits a run to a worker that offers this agent (`agentkit worker`); returns its id.

        The run is in the journal when this returns. Instructions are evaluated here, and only they
        get the `deps`, which are not recorded.

        Args:
            input: What the user says.
            queue: The journal that workers share, such as `PostgresJournal`.
            name: The agent's name on workers: `FILE:NAME` for `--agent path/FILE.py:NAME`.
            tenant: The customer whose run it is. Tenants share workers fairly, and share no part of
                the server's prefix cache (vLLM's `cache_salt`).
            priority: Of two runs of a tenant the one with the lower number goes first, in the
                queue and on a server with `--scheduling-policy priority`.
            run_id: Names the run; this and the rest as for `run`.

        Raises:
            JournalError: There is a run of this name, or it could not be written.
        """
        all_options = cast("RunOptions[DepsT]", {**options, "journal": queue})
        run_id, began = await beginning(self.model.name, self._instructions, input, all_options)
        await queue.submit(run_id, began, Ticket(name, self.fingerprint, tenant, priority))
        return run_id

    @property
    def fingerprint(self) -> str:
        """A name for what the record of a run depends on: instructions, tools and their effects,
        and the type of the answer. Agents with the same one can continue each other's runs.
        """
        return fingerprint_of(self._instructions, self.tools, self._answer)

    @explains("Agent.as_tool", {}, DelegateOptions)
    def as_tool(
        self,
        name: str,
        description: str,
        **options: Unpack[DelegateOptions],
    ) -> Tool[..., Any]:
        """This agent as a tool of another: one task in, its answer out.

        A run of it has its own window, limits and record, and spends from the calling run's limits
        too. Each of its calls is decided by the calling run's policy as well as by its own. The
        calling run's observers see its events (`SubRunEvent`), and `ToolFinished.spent` names it.
        If it has no answer, the caller is told why and what was done by then. The calling run's
        journal keeps it; after a crash it continues if its `effect` lets the call run again.

        Args:
            name: The tool's name.
            description: When to use it.
            limits: The limits of each of its runs, instead of the agent's own.
            effect: What giving it the same task twice would do; by default `once`, see `@tool`.
            approval: Whether a call needs a person; by default the policy decides, see `@tool`.
            deps: The `deps` of its runs: a value, or a function of the calling run's `deps`; by
                default these themselves.
            input_type: The type of a task: a type, whose values the agent reads as JSON, or a
                function whose parameters become the tool's and which returns the agent's input; by
                default text.

        Raises:
            ToolDefinitionError: `input_type` cannot be described to a model.
        """
        start, reads = self._start_or_continue, self._reads()
        return delegate(Delegate.of(start, name, description, reads, options))

    @explains("Agent.as_fan_out", {}, DelegateOptions)
    def as_fan_out(
        self,
        name: str,
        description: str,
        *,
        at_once: int = 4,
        **options: Unpack[DelegateOptions],
    ) -> Tool[..., Any]:
        """This agent as a tool that takes several tasks, works on them at the same time and joins
        the answers in the tasks' order.

        Each task is a run of its own, as with `as_tool`; if one fails, its answer says so.

        Args:
            name: The tool's name.
            description: When to use it.
            at_once: Tasks at work at the same time.
            limits: The limits of each task's run; this and the rest as for `as_tool`.
            effect: What the whole call would do if it ran twice.
            approval: Whether the whole call needs a person.
            deps: What each task's run is given.
            input_type: The type of one task.

        Raises:
            ValueError: `at_once` is below 1.
            ToolDefinitionError: `input_type` is a function, or no type of JSON.
        """
        start, reads = self._start_or_continue, self._reads()
        return fan_out(Delegate.of(start, name, description, reads, options), at_once)

    @explains("Agent.override", AGENT, OtherSurroundings)
    def override(
        self, *, model: Model | None = None, **options: Unpack[OtherSurroundings]
    ) -> Agent[DepsT, OutputT]:
        """The same agent with other options, for tests, replay and a terminal; see the class for
        each.

        An executor is used without retries around it. The agent's own tools still run in this
        process, except in a replay. `more_observers` and `more_toolsets` are added to the agent's.
        An option that is not given, or None, stays as it is.
        """
        other = copy.copy(self)
        other.model = model or self.model
        check_agent({"model": other.model, "output_type": str, **options})
        other.context = options.get("context") or self.context
        if more := options.get("more_toolsets"):
            other.tools = combined(self.tools, *more)
        other._govern(options.get("policy") or self.policy)
        if (executor := options.get("executor")) is not None:
            # Another executor has not run anything: no decision is used up there.
            other._executor, other._used = with_own_tools_here(executor), UsedDecisions()
        if (observers := options.get("observers")) is not None:
            other._observers, other._files = tuple(observers), ()
        other._observers += tuple(options.get("more_observers") or ())
        other.approve = options.get("approve") or self.approve
        other.ask = options.get("ask") or self.ask
        return other

    def _reads(self) -> frozenset[Label]:
        """Labels of `READS` that an answer may carry: all if the tools depend on the run."""
        if not isinstance(self.tools, Toolset):
            return READS
        return READS & frozenset(label for tool in self.tools for label in tool.labels)

    def _govern(self, policy: Policy | Preset | None) -> None:
        self.policy = preset(policy) if isinstance(policy, str) else policy
        if isinstance(self.tools, Toolset):
            self._check_policy(self.tools)

    def _check_policy(self, tools: Toolset) -> None:
        if self.policy is not None and (problem := self.policy.problem_with(tools)) is not None:
            raise ToolDefinitionError(f"the policy of this agent leaves a hole: {problem}")

    async def aclose(self) -> None:
        """Closes what the runs of this event loop hold open, such as connections."""
        await self.model.aclose()

    async def _start_or_continue(
        self, content: Content, options: RunOptions[DepsT]
    ) -> RunResult[OutputT]:
        """A run, or the rest of it if the journal holds its beginning.

        Raises:
            JournalError: The recorded run of this name began with another input.
        """
        check_options(options)
        journal, run_id = options.get("journal"), options.get("run_id")
        if journal is not None and run_id and await is_recorded(journal, run_id, content):
            return await self._continue(journal, run_id, options, {})
        return await self._start(content, options)

    async def _start(
        self,
        content: Content,
        options: RunOptions[DepsT],
        listener: Callable[[Event], None] | None = None,
    ) -> RunResult[OutputT]:
        run_id, began = await beginning(self.model.name, self._instructions, content, options)
        messages = list(began.messages)
        journal = options.get("journal")
        if journal is None:
            return await self._drive(run_id, options, messages, listener=listener)
        async with begun(journal, run_id, began) as record:
            return await self._drive(run_id, options, messages, listener=listener, record=record)

    async def _continue(
        self,
        journal: Journal,
        run_id: str,
        options: RunOptions[DepsT],
        decisions: Mapping[str, Decision],
    ) -> RunResult[OutputT]:
        async with continued(journal, run_id, decisions) as record:
            began = record.opening
            given = options.get("settings") or ModelSettings()
            settings = given.over(began.settings or ModelSettings())
            limits = options.get("limits") or began.limits
            options = {**options, "settings": settings, "limits": limits}
            return await self._drive(run_id, options, list(began.messages), record=record)

    async def _drive(
        self,
        run_id: str,
        options: RunOptions[DepsT],
        messages: list[Message],
        *,
        listener: Callable[[Event], None] | None = None,
        record: JournaledRun | None = None,
        paused: PausedRun | None = None,
        decisions: Decisions | None = None,
    ) -> RunResult[OutputT]:
        """Wires a run and drives it to its end.

        Args:
            run_id: Its name.
            options: Its options.
            messages: The messages that it begins or continues with.
            listener: The function that streams it.
            record: The journal's record of it.
            paused: The pause that it continues from; None if it begins.
            decisions: What people decided since then.
        """
        deps = options.get("deps")
        budget = Budget(options.get("limits") or self._limits, current_budget.get())
        caller = current_run.get()
        with closing(WholeResults()) as whole:
            async with self.tools.for_run(RunContext(deps, run_id)) as tools:
                toolset = self._with_recall(tools, record)
                self._check_policy(toolset)
                above = caller.wiring.authority if caller is not None else None
                own = own_names(toolset)
                window = window_for(self.context, toolset, own, whole)
                files = self._files if record is None else ()  # a journal keeps the run instead
                watching = (*self._observers, *files)
                emit = emitter(run_id, watching, listener, self._answer, record)
                wiring = Wiring(
                    model=WindowedModel(self.model, window),
                    toolset=toolset,
                    executor=self._executor,
                    settings=(options.get("settings") or ModelSettings()).over(self._settings),
                    deps=deps,
                    authority=Authority(self.policy, self.approve, above),
                    side_model=self.model,
                    own=own,
                    ask=self.ask,
                    answer=self._answer,
                    options=options,
                    window=window,
                )
                if record is not None:
                    wiring = journaled(run_id, wiring, record)
                    decisions = RecordedDecisions(record)
                decided = decisions or GivenDecisions(self._used)
                run = Run(run_id, wiring, messages, budget, whole, emit, decisions=decided)
                known = paused.taint if paused is not None else None
                run.taint = taint_of(messages, toolset) if known is None else known
                if caller is not None:
                    run.taint |= caller.taint
                return await drive(run, options.get("cancellation") or Cancellation(), paused)

    def _with_recall(self, toolset: Toolset, record: JournaledRun | None) -> Toolset:
        """The tools of a run, with those that read what its prompts leave out.

        A run that continues has them only if its first request had them, since other tools would
        void the server's prefix cache.
        """
        wanted = None if self.context is None else self.context.recall
        if not (profile_for(self.model.name).recall if wanted is None else wanted):
            return toolset
        if record is not None and record.tools is not None and RECALL not in record.tools:
            return toolset
        return with_recall(toolset, besides=[self._answer.tool] if self._answer else [])
