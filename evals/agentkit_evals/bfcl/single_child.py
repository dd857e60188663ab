"""The process in which `bfcl-eval` grades single-turn cases: as `child.py`, without worlds.

    python -I -S single_child.py SUITE_FOLDER CATEGORY SCRATCH_FOLDER

The calls of the model's first reply are graded by upstream's `ast_checker`, or by whether there
are any (`eval_checker/eval_runner.py` of bfcl-eval 2026.3.23). The checker imports a table of all
vendors' models for one flag: whether `.` in a name is written as `_`, which is the case here.
"""

from __future__ import annotations

import copy
import importlib
import json
import runpy
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_Json = dict[str, Any]
_Call = list[Any]  # a name, and arguments by name

_CHILD = runpy.run_path(str(Path(__file__).with_name("child.py")))
"""The names of `child.py`. It cannot be imported, since its folder is not on the process's path."""


class _Worker:
    """One category."""

    def __init__(self, category: str) -> None:
        models = ModuleType("bfcl_eval.constants.model_config")
        vars(models)["MODEL_CONFIG_MAPPING"] = defaultdict(
            lambda: SimpleNamespace(underscore_to_dot=True)
        )
        sys.modules[models.__name__] = models
        self._utils: Any = importlib.import_module("bfcl_eval.utils")
        self._checker: Any = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
        enums: Any = importlib.import_module("bfcl_eval.constants.enums")
        languages = {"java": enums.Language.JAVA, "javascript": enums.Language.JAVASCRIPT}
        self._language = languages.get(category.rpartition("_")[2], enums.Language.PYTHON)
        self._category = category
        data = Path(str(self._utils.__file__)).parent / "data"
        files = [data / f"BFCL_v4_{category}.json"]
        self._entries = {entry["id"]: entry for entry in self._utils.load_file(files[0])}
        self._truth: dict[str, list[_Json]] = {}
        if "relevance" not in category:
            files.append(data / "possible_answer" / files[0].name)
            answers = self._utils.load_ground_truth_entry(category)
            self._truth = {answer["id"]: answer["ground_truth"] for answer in answers}
            if list(self._entries) != list(self._truth):
                raise ValueError(f"questions and answers of {category} do not belong together")
        self._about = {"data_sha256": _CHILD["files_sha256"](files)}

    def answer(self, question: _Json) -> _Json:
        """The answer to a question of the parent."""
        match question:
            case {"do": "cases"}:
                gold = {case: self._gold(case) for case in self._entries}
                tags: dict[str, list[str]] = {case: [] for case in self._entries}
                return {"cases": gold, "tags": tags, "about": self._about}
            case {"do": "open", "case": str(case)}:
                (entry,) = self._utils.add_language_specific_hint_to_function_doc(
                    [copy.deepcopy(self._entries[case])]
                )
                return {"messages": entry["question"][0], "functions": entry["function"]}
            case {"do": "grade", "case": str(case), "calls": list(calls)}:
                return self._verdict(case, calls)
            case _:
                return {"error": "not a question"}

    def _verdict(self, case: str, calls: list[_Call]) -> _Json:
        if "relevance" in self._category:
            wanted = "irrelevance" not in self._category
            kind = (
                "relevance_error:decoder_failed" if wanted else "irrelevance_error:decoder_success"
            )
            valid = bool(calls) == wanted
            return {"valid": valid, "error_type": None if valid else kind}
        if not calls:
            return {"valid": False, "error_type": "ast_decoder:decoder_failed"}
        verdict = self._checker.ast_checker(
            copy.deepcopy(self._entries[case]["function"]),
            [{name: arguments} for name, arguments in calls],
            copy.deepcopy(self._truth[case]),
            self._language,
            self._category,
            "agentkit",
        )
        # A verdict that is valid may still hold the kind of error that it began with.
        error = None if verdict["valid"] else verdict["error_type"]
        return {"valid": verdict["valid"], "error_type": error}

    def _gold(self, case: str) -> list[list[_Call]] | None:
        """Calls of a right answer, in one turn, as a model has to write them.

        An answer lists what may stand for each argument, "" for leaving it out. Which of these go
        together only the checker knows, so it is asked: the first value of each, then no argument
        that may be left out, then all of them. None where it takes none of these.
        """
        if case not in self._truth:
            return [[]] if "irrelevance" in self._category else None
        for skip in (_first_is_none, _any_is_none, _only_is_none):
            made = list(self._calls(case, skip))
            if self._verdict(case, made)["valid"]:
                return [made]
        return None

    def _calls(self, case: str, skip: Callable[[list[Any]], bool]) -> Iterator[_Call]:
        kinds = {
            function["name"]: function["parameters"]["properties"]
            for function in self._entries[case]["function"]
        }
        for call in self._truth[case]:
            for name, options in call.items():
                yield [
                    name.replace(".", "_"),
                    {
                        key: self._written(_first(values), kinds[name].get(key, {}).get("type"))
                        for key, values in options.items()
                        if not skip(values)
                    },
                ]

    def _written(self, value: Any, kind: str | None) -> Any:
        """A value as the model is asked to write it: for Java and JavaScript as source text."""
        if self._language.name == "JAVA":
            return _java(value, kind or "")
        if self._language.name == "JAVASCRIPT" and not isinstance(value, str):
            return json.dumps(value)
        return value


def _first_is_none(values: list[Any]) -> bool:
    return values[:1] == [""]


def _any_is_none(values: list[Any]) -> bool:
    return "" in values


def _only_is_none(values: list[Any]) -> bool:
    return all(value == "" for value in values)


def _first(values: list[Any]) -> Any:
    return _plain(next((value for value in values if value != ""), ""))


def _plain(value: Any) -> Any:
    """A value in which a dictionary lists what may stand for each of its keys."""
    if isinstance(value, dict):
        return {
            key: _first(options) if isinstance(options, list) else options
            for key, options in value.items()
            if not (isinstance(options, list) and _first_is_none(options))
        }
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _java(value: Any, kind: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        inside = ", ".join(map(json.dumps, value))
        if kind == "ArrayList":
            return f"new ArrayList<Object>(Arrays.asList({inside}))"
        return f"new Object[]{{{inside}}}"
    if isinstance(value, dict):
        puts = " ".join(f"put({json.dumps(k)}, {json.dumps(v)});" for k, v in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    suffix = {"float": "f", "long": "L"}.get(kind, "")
    return json.dumps(value) + suffix


if __name__ == "__main__":
    _CHILD["serve"](*sys.argv[1:], _Worker)
