"""The process in which `bfcl-eval` keeps the memory of an agent: as `child.py`, for `memory_kv`.

    python -I -S memory_child.py SUITE_FOLDER CATEGORY SCRATCH_FOLDER NUMPY_FOLDER

A case is a question about what a user of a scenario said in earlier conversations. The agent has
these conversations first. At the end of each the package writes the agent's memory to a file, and
reads it at the beginning of the next. The last conversation is the question, and its answer is
graded by upstream's `agentic_checker` (`model_handler/base_handler.py` and
`eval_checker/eval_runner.py` of bfcl-eval 2026.3.23).
"""

from __future__ import annotations

import importlib
import os
import runpy
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

_Json = dict[str, Any]

_CHILD = runpy.run_path(str(Path(__file__).with_name("child.py")))
"""The names of `child.py`. It cannot be imported, since its folder is not on the process's path."""

_LONGEST = 2000
"""Characters that the memory takes under one key."""


class _Scenarios:
    """The category's data, through the package's own loaders."""

    def __init__(self, category: str) -> None:
        utils: Any = importlib.import_module("bfcl_eval.utils")
        entries: list[_Json] = utils.load_dataset_entry(category)
        asked = [entry for entry in entries if "prereq" not in entry["id"]]
        answers = utils.load_ground_truth_entry(category)
        self.category = category
        self.asked = {entry["id"]: entry for entry in asked}
        self.truth = {entry["id"]: answer for entry, answer in zip(asked, answers, strict=True)}
        for case, answer in self.truth.items():
            if case != answer["id"].replace("memory", category):
                raise ValueError(f"questions and answers of {category} do not belong together")
        self.before: dict[str, list[_Json]] = {}
        for entry in entries:
            if "prereq" in entry["id"]:
                self.before.setdefault(entry["scenario"], []).append(entry)
        data = Path(str(utils.__file__)).parent / "data"
        self._files = [
            data / "BFCL_v4_memory.json",
            data / "possible_answer" / "BFCL_v4_memory.json",
            data / "multi_turn_func_doc" / f"{category}.json",
            *sorted((data / "memory_prereq_conversation").glob("*.json")),
        ]

    def conversations(self, case: str) -> list[_Json]:
        """All conversations of a case; the last is the question."""
        return [*self.before[self.asked[case]["scenario"]], self.asked[case]]

    def gold(self, case: str) -> list[list[Any]]:
        """The gold calls by turn. Each fact of a scenario is stored in the turn that says it, with
        the number of its question in its key; the fact of this question is looked up.
        """
        scenario = self.asked[case]["scenario"]
        cases = [name for name, entry in self.asked.items() if entry["scenario"] == scenario]
        said = [turn for each in self.before[scenario] for turn in each["question"]]
        turns: list[list[Any]] = [[] for _ in said]
        for number, name in enumerate(cases):
            turn = _turn_with(self.truth[name]["source"], said, number % len(said))
            fact = {"key": f"fact_{number}", "value": self.truth[name]["source"][:_LONGEST]}
            turns[turn].append(["archival_memory_add", fact])
        return [*turns, [["archival_memory_retrieve", {"key": f"fact_{cases.index(case)}"}]]]

    def hashes(self) -> dict[str, str]:
        return {"data_sha256": _CHILD["files_sha256"](self._files)}


def _turn_with(source: str, said: list[list[_Json]], default: int) -> int:
    """The first turn in which the longest part of a source is said; else the default."""
    part = max(source.split("..."), key=len).strip()
    for number, messages in enumerate(said):
        if any(part in message["content"] for message in messages):
            return number
    return default


class _Trial:
    """One case being played."""

    def __init__(self, scenarios: _Scenarios, case: str, scratch: Path) -> None:
        self._case = case
        self._conversations = scenarios.conversations(case)
        self._truth: list[str] = scenarios.truth[case]["ground_truth"]
        self._folder = scratch / f"trial_{uuid.uuid4().hex}"
        self._at, self._turn = -1, 0
        self._memory: Any = None
        self._offered = {function["name"] for function in self._conversations[-1]["function"]}

    @property
    def _entry(self) -> _Json:
        return self._conversations[self._at]

    def next(self, given_up: bool) -> _Json:
        """The user's next message. A conversation that is given up has ended."""
        self._turn += 1
        if self._at >= 0 and not given_up and self._turn < len(self._entry["question"]):
            return {"text": self._text(), "new": False}
        if self._at >= 0:
            self._memory._flush_memory_to_local_file()
        if self._at == len(self._conversations) - 1:
            return {"over": True}
        self._at, self._turn = self._at + 1, 0
        _, worlds = self._execute([])
        (self._memory,) = worlds.values()
        return {"text": self._text(), "new": True, "instructions": self._instructions()}

    def _text(self) -> str:
        said = self._entry["question"][self._turn]
        return "\n".join(each["content"] for each in said if each["role"] == "user")

    def _instructions(self) -> str:
        """The package's `add_memory_instruction_system_prompt`, whose module imports too much."""
        prompts: Any = importlib.import_module("bfcl_eval.constants.default_prompts")
        instruction: str = prompts.MEMORY_BACKEND_INSTRUCTION_CORE_ARCHIVAL.format(
            scenario_setting=prompts.MEMORY_AGENT_SETTINGS[self._entry["scenario"]],
            memory_content=self._memory._dump_core_memory_to_context(),
        )
        said = self._entry["question"][0]
        return "\n\n".join([instruction, *(m["content"] for m in said if m["role"] == "system")])

    def call(self, name: str, arguments: _Json) -> str:
        if name not in self._offered:
            return f"Error during execution: there is no function {name!r}"
        text = _CHILD["call_text"](name, arguments)
        if text == _CHILD["NOWHERE"]:
            return str(_CHILD["WRONG_KEY"])
        (result,), _ = self._execute([text])
        return result

    def _execute(self, calls: list[str]) -> tuple[list[str], _Json]:
        utils: Any = importlib.import_module(
            "bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils"
        )
        (world,) = self._entry["involved_classes"]
        config = {
            "model_result_dir": self._folder,
            "scenario": self._entry["scenario"],
            "test_id": self._entry["id"],
        }
        made: tuple[list[str], _Json] = utils.execute_multi_turn_func_call(
            calls, {world: config}, [world], self._folder.name, self._entry["id"]
        )
        return made

    def grade(self, answer: str | None) -> _Json:
        if self._at < len(self._conversations) - 1:
            return {"valid": False, "error_type": "agentic:inference_error"}
        if not answer:
            return {"valid": False, "error_type": "agentic:no_last_message"}
        checker: Any = importlib.import_module(
            "bfcl_eval.eval_checker.agentic_eval.agentic_checker"
        )
        verdict = checker.agentic_checker(answer, self._truth)
        return {"valid": verdict["valid"], "error_type": verdict.get("error_type")}

    def forget(self) -> None:
        """Removes the memory of the trial."""
        shutil.rmtree(self._folder, ignore_errors=True)
        _CHILD["forget"]()


class _Worker:
    def __init__(self, category: str) -> None:
        self._scenarios = _Scenarios(category)
        self._trial: _Trial | None = None

    def answer(self, question: _Json) -> _Json:
        """The answer to a question of the parent."""
        match question:
            case {"do": "cases"}:
                asked = self._scenarios.asked
                return {
                    "cases": {case: self._scenarios.gold(case) for case in asked},
                    "answers": {
                        case: t["ground_truth"][0] for case, t in self._scenarios.truth.items()
                    },
                    "tags": {case: [entry["scenario"]] for case, entry in asked.items()},
                    "about": self._scenarios.hashes(),
                }
            case {"do": "open", "case": str(case)}:
                if self._trial is not None:
                    self._trial.forget()
                self._trial = _Trial(self._scenarios, case, Path(os.environ["BFCL_PROJECT_ROOT"]))
                return {"functions": self._scenarios.asked[case]["function"]}
            case {"do": "next", "given_up": bool(given_up)} if self._trial:
                return self._trial.next(given_up)
            case {"do": "call", "name": str(name), "arguments": dict(arguments)} if self._trial:
                return {"result": self._trial.call(name, arguments)}
            case {"do": "grade", "answer": str() | None as answer} if self._trial:
                verdict = self._trial.grade(answer)
                self._trial.forget()
                return verdict
            case _:
                return {"error": "not a question"}


if __name__ == "__main__":
    *given, numpy = sys.argv[1:]
    sys.path.append(numpy)  # after the package's own folder: what ranks keys computes with it
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread reserves memory, which is bounded here
    _CHILD["serve"](*given, _Worker)
