"""Verdicts by `bfcl-eval`'s own runner, on what our agents said: `multi_turn_runner`, unchanged.

Run as a script it is a process of its own: the runner imports every vendor's library, so what is
not installed is stood in for by modules that hold anything; none of them has a part in a verdict.
What it judges is made from the messages of a transcript, not from what our suite says was executed.
"""

from __future__ import annotations

import copy
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import subprocess
import sys
import tempfile
import types
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Verdict = tuple[bool, str | None]
"""Whether a case is passed, and upstream's name of what is wrong."""


def upstream_verdicts(
    folder: Path, category: str, played: Sequence[tuple[str, Sequence[Any]]]
) -> list[Verdict]:
    """Upstream's verdicts on transcripts, each of them judged as a run of its own.

    Args:
        folder: Where the package is.
        category: Of the cases.
        played: Case and messages of each transcript.
    """
    asked = [{"id": case, "result": _result(messages)} for case, messages in played]
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, "-I", "-S", __file__, str(folder), category, scratch],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return [(valid, error) for valid, error in json.loads(done.stdout.splitlines()[-1])]


def _result(messages: Sequence[Any]) -> list[list[Any]]:
    """Turns → steps → calls or text, as a handler of upstream's would have recorded them."""
    turns: list[list[Any]] = []
    for message in messages:
        if message.role == "user":
            turns.append([])
        elif message.role == "assistant":
            calls = [{call.name: json.dumps(call.arguments)} for call in message.tool_calls]
            turns[-1].append(calls or message.content)
    return turns


# --- the other process -------------------------------------------------------------------------


class _Anything(types.ModuleType):
    """A module, a class, a function, a decorator: whatever is asked of it."""

    def __init__(self, name: str = "anything") -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name)

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    def __getitem__(self, _: Any) -> Any:
        return self

    def __mro_entries__(self, _: Any) -> tuple[type, ...]:
        return ()


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Comes last, so it finds what nothing else has found."""

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if name.startswith("bfcl_eval") and not name.endswith("model_config"):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Anything(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Handler:
    """How upstream reads the calls of a model that takes OpenAI's format."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def decode_execute(self, result: Any, *, has_tool_call_tag: bool) -> Any:
        assert not has_tool_call_tag
        if isinstance(result, str):
            raise TypeError("a text holds no calls")
        return self._read(result)

    def decode_ast(self, result: Any, language: Any, has_tool_call_tag: bool) -> Any:
        del language
        assert not has_tool_call_tag
        if isinstance(result, str):
            raise TypeError("a text holds no calls")
        return [{name: json.loads(a) for name, a in call.items()} for call in result]


def _judge(category: str, asked: list[dict[str, Any]], scratch: Path) -> list[Verdict]:
    runner: Any = importlib.import_module("bfcl_eval.eval_checker.eval_runner")
    utils: Any = importlib.import_module("bfcl_eval.utils")
    reader: Any = importlib.import_module("bfcl_eval.model_handler.utils")
    handler = _Handler(reader.convert_to_function_call)
    _find(utils, category)
    truth = {entry["id"]: entry for entry in utils.load_ground_truth_entry(category)}
    prompts = {entry["id"]: entry for entry in utils.load_dataset_entry(category)}
    found: list[Verdict] = []
    for one in asked:
        prompt = copy.deepcopy(prompts[one["id"]])
        name = f"judged_{uuid.uuid4().hex}"  # its worlds are kept under this name
        answers = [truth[one["id"]]]
        runner.multi_turn_runner(handler, [one], [prompt], answers, name, category, scratch)
        (score,) = (scratch / name).rglob("*_score.json")
        head, *failed = [json.loads(line) for line in score.read_text().splitlines()]
        error = failed[0]["error"]["error_type"] if failed else None
        found.append((head["correct_count"] == 1, error))
    return found


def _find(utils: Any, category: str) -> None:
    """Where a category lies that upstream does not score."""
    unused = Path(str(utils.__file__)).parent / "data" / "unused_datasets"
    if (unused / "question" / f"BFCL_v4_{category}.json").exists():
        utils.PROMPT_PATH = unused / "question"
        utils.POSSIBLE_ANSWER_PATH = unused / "possible_answer"


def _judge_memory(category: str, asked: list[dict[str, Any]], scratch: Path) -> list[Verdict]:
    runner: Any = importlib.import_module("bfcl_eval.eval_checker.eval_runner")
    utils: Any = importlib.import_module("bfcl_eval.utils")
    reader: Any = importlib.import_module("bfcl_eval.model_handler.utils")
    handler = _Handler(reader.convert_to_function_call)
    prompts = utils.load_dataset_entry(category, include_prereq=False)
    answers = utils.load_ground_truth_entry(category)
    pairs = {p["id"]: (p, answer) for p, answer in zip(prompts, answers, strict=True)}
    found: list[Verdict] = []
    for number, one in enumerate(asked):
        prompt, answer = copy.deepcopy(pairs[one["id"]])
        result = {"id": one["id"], "result": one["result"][-1:]}  # the question; no conversation
        name = f"judged_{number}"
        runner.agentic_runner(handler, [result], [prompt], [answer], name, category, scratch)
        (score,) = (scratch / name).rglob("*_score.json")
        head, *failed = [json.loads(line) for line in score.read_text().splitlines()]
        error = failed[0]["error"]["error_type"] if failed else None
        found.append((head["correct_count"] == 1, error))
    return found


def _judge_single(category: str, asked: list[dict[str, Any]], scratch: Path) -> list[Verdict]:
    runner: Any = importlib.import_module("bfcl_eval.eval_checker.eval_runner")
    utils: Any = importlib.import_module("bfcl_eval.utils")
    handler = _Handler(None)
    prompts = {
        e["id"]: e for e in utils.load_dataset_entry(category, include_language_specific_hint=False)
    }
    relevance = "relevance" in category
    truth = {} if relevance else {e["id"]: e for e in utils.load_ground_truth_entry(category)}
    found: list[Verdict] = []
    for number, one in enumerate(asked):
        result = {"id": one["id"], "result": one["result"][-1][0]}
        prompt, name = [copy.deepcopy(prompts[one["id"]])], f"judged_{number}"
        if relevance:
            runner.relevance_file_runner(handler, [result], prompt, name, category, scratch)
        else:
            answers = [copy.deepcopy(truth[one["id"]])]
            runner.ast_file_runner(handler, [result], prompt, answers, category, name, scratch)
        (score,) = (scratch / name).rglob("*_score.json")
        head, *failed = [json.loads(line) for line in score.read_text().splitlines()]
        found.append((head["correct_count"] == 1, failed[0]["error_type"] if failed else None))
    return found


def _main(folder: str, category: str, scratch: str) -> None:
    os.environ["BFCL_PROJECT_ROOT"] = scratch
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    stand_ins = _StandIns()
    config = "bfcl_eval.constants.model_config"  # a table of vendors' handlers
    sys.modules[config] = _Anything(config)
    sys.meta_path.append(stand_ins)
    judge = _judge if category.startswith("multi_turn") else _judge_single
    judge = _judge_memory if category.startswith("memory") else judge
    sys.stdout.write(json.dumps(judge(category, json.load(sys.stdin), Path(scratch))) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
