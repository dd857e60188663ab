"""The subject of a run: a model behind agentkit's own agent, or a reference that follows a rule.

References prove the harness and show the floor: `gold` makes the calls of the right answer and
gives it, `empty` does neither, `gold-without-last-call` makes all calls except for the last and
does not give the answer.
"""

from __future__ import annotations

import inspect
import os
import reprlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, get_args

from agentkit import Agent, AgentKitError, Model, ModelSettings, VLLMModel
from agentkit.errors import is_async
from agentkit.testing import ScriptedModel, calls, say
from agentkit_evals.core import Case, EvalError, GoldCall, SuiteError, Trial, Turn
from agentkit_evals.modules import module_named
from agentkit_evals.parts import Ablation, model_without, settings_without
from agentkit_evals.sources import files_hash, sources_hash

Reference: TypeAlias = Literal["gold", "empty", "gold-without-last-call"]

REFERENCES: Final[tuple[Reference, ...]] = get_args(Reference)

_ADDRESS: Final = ("http://", "https://")

AgentMaker: TypeAlias = Callable[[Trial, int, Turn], Agent[Any, Any]]
"""A trial, the number of a turn, and the turn → the agent for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A description from which every worker makes the same agents.

    Attributes:
        model: A vLLM server's address, `tiny` for the demonstration model, or a reference.
        model_name: The served name; default: the server's first.
        settings: Settings of each step; the seed is the trial's.
        agent: `module:function` or `file.py:function`: makes the agent from a model, a `Turn` and
            settings; default: an `Agent` with only the turn's tools and instructions.
        off: Parts of agentkit that are switched off.
    """

    model: str
    model_name: str | None = None
    settings: ModelSettings = field(default_factory=ModelSettings)
    agent: str | None = None
    off: tuple[Ablation, ...] = ()

    @property
    def label(self) -> str:
        """The name in reports: the served name, or the value of `model`."""
        return self.model_name or self.model

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[AgentMaker]:
        """Opens a function that makes agents.

        Raises:
            EvalError: `agent` names nothing, or `model` is unknown.
        """
        if self.model in REFERENCES:
            yield _reference(self.model)
            return
        make, settings = self._make(), settings_without(self.settings, self.off)
        async with aclosing(model_without(self._model(), self.off)) as model:

            def maker(trial: Trial, number: int, turn: Turn) -> Agent[Any, Any]:  # noqa: ARG001 - a model is the same in all turns
                try:
                    made = make(model, turn, replace(settings, seed=trial.seed))
                except AgentKitError:
                    raise
                except Exception as error:
                    raise SuiteError(f"--agent {self.agent} raised {error!r}") from error
                if not isinstance(made, Agent):
                    raise EvalError(
                        f"--agent {self.agent} returned {reprlib.repr(made)}; it returns an Agent"
                    )
                return made

            yield maker

    async def pinned(self) -> Subject:
        """The subject with the served name of its model, as an address may serve another one later.

        Raises:
            EvalError: As `opened`; or the subject is a reference with an agent or parts off.
            ModelError: The server cannot be reached.
            ServerNotReadyError: It serves no such model.
        """
        if self.model in REFERENCES:
            if self.agent is not None:
                raise EvalError(f"{self.model} goes by a rule: it cannot play --agent {self.agent}")
            if self.off:
                raise EvalError(f"{self.model} goes by a rule: nothing of it can be switched off")
            return self
        self._make()
        async with aclosing(self._model()) as model:
            if isinstance(model, VLLMModel):
                return replace(self, model_name=(await model.served()).name)
            return self

    def sources(self) -> dict[str, str]:
        """Hashes of the user's own agent and its files; empty without one.

        Raises:
            EvalError: `agent` names nothing.
        """
        if self.agent is None:
            return {}
        made = [self._make()]
        return {"agent_sha256": files_hash(made), "agent_made_sha256": sources_hash(made)}

    def _make(self) -> _Make:
        return _plain if self.agent is None else _found(self.agent)

    def _model(self) -> Model:
        if self.model == "tiny":
            return _tiny()
        if not self.model.startswith(_ADDRESS):
            known = ", ".join(REFERENCES)
            wrong = f"no model {self.model!r}" if self.model else "no model given"
            raise EvalError(
                f"{wrong}: name a server like http://localhost:8000/v1, "
                f"tiny, or a reference ({known})"
            )
        return VLLMModel(self.model, self.model_name, api_key=os.environ.get("AGENTKIT_API_KEY"))


_Make: TypeAlias = Callable[[Model, Turn, ModelSettings], object]
"""Makes an agent; a function of a user may return anything."""


def _plain(model: Model, turn: Turn, settings: ModelSettings) -> Agent[Any, Any]:
    return Agent(
        model,
        instructions=turn.instructions,
        toolsets=[turn.tools],
        context=turn.context,
        settings=settings,
        observers=(),
    )


def _found(target: str) -> _Make:
    module, _, name = target.partition(":")
    try:
        make: _Make = getattr(module_named(module), name)
    except (EvalError, AttributeError) as error:
        raise EvalError(
            f"--agent {target}: {error}; it names a function as module:function or file.py:function"
        ) from error
    called = "a function of (model, turn, settings) that returns an Agent, and is not async"
    try:
        inspect.signature(make).bind(None, None, None)
    except (TypeError, ValueError):
        raise EvalError(f"--agent {target}: {make!r:.80} is not {called}") from None
    if is_async(make):
        raise EvalError(f"--agent {target}: {make!r:.80} is not {called}")
    return make


def _tiny() -> Model:
    try:
        from agentkit.models.embedded import EmbeddedModel  # noqa: PLC0415 - an optional extra
    except ImportError as error:  # its own text names what is missing, and the extra
        raise EvalError(f"--model tiny: {error}") from None
    return EmbeddedModel()


# --- references --------------------------------------------------------------------------------


def _reference(kind: Reference) -> AgentMaker:
    def maker(trial: Trial, number: int, turn: Turn) -> Agent[Any, Any]:
        turns = replayed(kind, trial.case.gold)
        wanted = turns[number] if number < len(turns) else ()
        replies = [calls(*wanted)] if trial.case.at_once and wanted else [calls(c) for c in wanted]
        last = number == len(turns) - 1
        script = [*replies, say(answer_of(kind, trial.case) if last else DONE)]
        return _plain(ScriptedModel(script), turn, ModelSettings())

    return maker


DONE: Final = "Done."
"""What a reference says if no words are graded."""


def answer_of(kind: Reference, case: Case) -> str:
    """The last words of a reference."""
    return case.answer if kind == "gold" and case.answer is not None else DONE


def replayed(
    kind: Reference, gold: Sequence[Sequence[GoldCall]] | None
) -> list[tuple[GoldCall, ...]]:
    """The calls that a reference makes, by turn.

    Raises:
        SuiteError: The case has no gold calls, so its trial has no verdict.
    """
    if kind == "empty":
        return []
    if gold is None:
        raise SuiteError(f"the case has no gold calls, so the reference {kind!r} cannot play it")
    turns = [tuple(turn) for turn in gold]
    if kind == "gold-without-last-call":
        last = max((n for n, turn in enumerate(turns) if turn), default=None)
        if last is not None:
            turns[last] = turns[last][:-1]
    return turns
