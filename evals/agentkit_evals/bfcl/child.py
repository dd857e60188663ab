"""The process in which `bfcl-eval` runs: executes calls and grades, bounded, without a network.

    python -I -S child.py SUITE_FOLDER CATEGORY SCRATCH_FOLDER

Standard library only, one JSON line in, one out. The package evaluates strings as Python; here a
string is built only from a name that the case offers and the `repr` of JSON values, so no text of
a model is ever evaluated. Its backends live in a module's globals under the model's name: every
trial and every grading gets a name of its own, and leaves nothing behind. Calls of functions that
were not offered are graded too, as upstream does. The name of such a function is written only if it
is one of the world's functions or of the gold calls, else a name that does not exist.

The protocol (which documents the model sees, when functions are held back, how a verdict is
reached) is that of bfcl-eval 2026.3.23, `model_handler/base_handler.py` and
`eval_checker/eval_runner.py`.
"""

from __future__ import annotations

import ast
import builtins
import copy
import hashlib
import importlib
import inspect
import json
import keyword
import os
import re
import resource
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

_MEMORY = 2 << 30  # bytes of address space; the backends need a few megabytes
_SECONDS = 20  # of processor time for one answer
_ADDED = "I have updated some more functions you can choose from. What about now?"
_FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.")
NOWHERE = "no_such_function()"
"""A call that fails and changes nothing, written in the place of one that cannot be written."""
WRONG_KEY = "Error during execution: an argument's name is none that a function can have"
_NAMED = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink")

_NAME = re.compile(r"^\w+(?=\()")

_Json = dict[str, Any]
_Called = list[Any]  # a name, arguments by name, and whether it was on offer


def files_sha256(files: Iterable[Path]) -> str:
    """One hash of several files, in their order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


class _Cases:
    """The category's data, through the package's own loaders."""

    def __init__(self, category: str) -> None:
        self._utils: Any = importlib.import_module("bfcl_eval.utils")
        self.category = category
        self.data = Path(str(self._utils.__file__)).parent / "data"
        self.files = self._files()
        entries, answers = map(self._utils.load_file, self.files)
        self.entries = {entry["id"]: entry for entry in entries}
        self.truth = {answer["id"]: answer["ground_truth"] for answer in answers}
        if list(self.entries) != list(self.truth):
            raise ValueError(f"questions and answers of {category} do not belong together")

    def _files(self) -> list[Path]:
        """The files of questions and answers; those that upstream does not score are in a folder
        of their own.
        """
        name, unused = f"BFCL_v4_{self.category}.json", self.data / "unused_datasets"
        if (unused / "question" / name).exists():
            return [unused / "question" / name, unused / "possible_answer" / name]
        return [self.data / name, self.data / "possible_answer" / name]

    def entry(self, case: str) -> _Json:
        """A case with its functions; upstream's `load_dataset_entry` does this for all at once."""
        entries = [copy.deepcopy(self.entries[case])]
        entries = self._utils.populate_test_cases_with_predefined_functions(entries)
        (entry,) = self._utils.add_language_specific_hint_to_function_doc(entries)
        made: _Json = entry
        return made

    def hashes(self) -> dict[str, str]:
        documents = sorted((self.data / "multi_turn_func_doc").glob("*.json"))
        return {"data_sha256": files_sha256([*self.files, *documents])}


class _Trial:
    """One case being played."""

    def __init__(self, cases: _Cases, case: str) -> None:
        self.entry = cases.entry(case)
        self.truth = cases.truth[case]
        self.category = cases.category
        self.name = f"trial_{uuid.uuid4().hex}"
        self.offered: set[str] = {function["name"] for function in self.entry["function"]}
        self.executed: list[list[str]] = []

    def turns(self) -> list[_Json]:
        """The user's message and the new functions of each turn."""
        held = self.entry.get("missed_function", {})
        made = []
        for number, messages in enumerate(self.entry["question"]):
            new = held.get(str(number), [])
            texts = [message["content"] for message in messages]
            made.append({"text": "\n".join(texts) if texts else _ADDED, "new": new})
        made[0]["new"] = self.entry["function"]
        return made

    def begin(self, turn: int) -> None:
        """Begins a turn, and offers the functions that were held back until then."""
        self.executed.append([])
        new = self.entry.get("missed_function", {}).get(str(turn), [])
        self.offered |= {function["name"] for function in new}

    def call(self, name: str, arguments: _Json) -> str:
        if name not in self.offered:
            return f"Error during execution: there is no function {name!r}"
        text = call_text(name, arguments)
        self.executed[-1].append(text)
        return self._execute([text])[0] if text != NOWHERE else WRONG_KEY

    def _execute(self, calls: list[str]) -> list[str]:
        results, _ = _utils().execute_multi_turn_func_call(
            calls,
            self.entry["initial_config"],
            self.entry["involved_classes"],
            self.name,
            self.entry["id"],
            long_context="long_context" in self.category or "composite" in self.category,
        )
        made: list[str] = results
        return made

    def grade(self, called: list[list[_Called]]) -> _Json:
        for number, calls in enumerate(called):
            self.executed[number] = self._all(self.executed[number], calls)
        played = len(self.executed)
        verdict: _Json = {"valid": False, "error_type": "multi_turn:force_terminated"}
        if played == len(self.truth):
            steps = [[[call] for call in turn] for turn in self.executed]
            checker = importlib.import_module(
                "bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker"
            )
            verdict = checker.multi_turn_checker(
                steps, self.truth, self.entry, self.category, f"grading_{uuid.uuid4().hex}"
            )
        idle = [n for n, turn in enumerate(self.truth[:played]) if not turn]
        return {
            "valid": verdict["valid"],
            "error_type": verdict.get("error_type"),
            "executed": self.executed,
            "idle_turns": len(idle),
            "overcalled": sum(bool(self.executed[n]) for n in idle),
        }

    def _all(self, executed: list[str], called: list[_Called]) -> list[str]:
        """The calls of a turn in order: those executed, and those of functions not offered."""
        known = {name for turn in self.truth for text in turn for name in _NAME.findall(text)}
        known -= set(dir(builtins))
        known |= {name for each in self.entry["involved_classes"] for name in _parameters(each)}
        left, made = list(executed), []
        for name, arguments, offered in called:
            if not offered:
                made.append(call_text(name, arguments) if name in known else NOWHERE)
            elif left and left[0].startswith((f"{name}(", NOWHERE)):
                made.append(left.pop(0))
        return made + left


def call_text(name: str, arguments: _Json) -> str:
    """A call as Python text; `NOWHERE` if a key cannot be the name of an argument."""
    if any(not key.isidentifier() or keyword.iskeyword(key) for key in arguments):
        return NOWHERE
    return f"{name}({','.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _gold(truth: list[list[str]], classes: list[str]) -> list[list[Any]] | None:
    """The gold calls with named arguments, as a model has to write them.

    None where one of them is no call: a few of `composite` are cut or not closed.
    """
    try:
        return list(_named(truth, classes))
    except (SyntaxError, AssertionError):
        return None


def _named(truth: list[list[str]], classes: list[str]) -> Iterator[list[Any]]:
    named: dict[str, list[str]] = {}
    for name in classes:
        named |= _parameters(name)
    for turn in truth:
        calls = []
        for text in turn:
            node = ast.parse(text, mode="eval").body
            assert isinstance(node, ast.Call)
            assert isinstance(node.func, ast.Name)
            values = zip(named.get(node.func.id, ()), node.args, strict=False)
            arguments = {key: ast.literal_eval(value) for key, value in values}
            arguments |= {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
            calls.append([node.func.id, arguments])
        yield calls


@cache
def _parameters(name: str) -> dict[str, list[str]]:
    """The functions of one of the package's backends, each with its parameters."""
    backend = importlib.import_module("bfcl_eval.constants.executable_backend_config")
    module = importlib.import_module(backend.CLASS_FILE_PATH_MAPPING[name])
    methods = inspect.getmembers(getattr(module, name), inspect.isfunction)
    return {
        method: list(inspect.signature(f).parameters)[1:]
        for method, f in methods
        if not method.startswith("_")
    }


def _utils() -> Any:
    return importlib.import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils")


def forget() -> None:
    """Removes the backends that the package keeps in its globals."""
    kept = vars(_utils())
    for name in [name for name in kept if name.startswith(("trial_", "grading_"))]:
        del kept[name]


# --- the conversation with the parent ----------------------------------------------------------


class _Worker:
    def __init__(self, category: str) -> None:
        self.cases = _Cases(category)
        self.trial: _Trial | None = None

    def answer(self, question: _Json) -> _Json:
        match question:
            case {"do": "cases"}:
                gold = {
                    case: _gold(truth, self.cases.entries[case]["involved_classes"])
                    for case, truth in self.cases.truth.items()
                }
                tags = {case: e["involved_classes"] for case, e in self.cases.entries.items()}
                return {"cases": gold, "tags": tags, "about": self.cases.hashes()}
            case {"do": "open", "case": str(case)}:
                forget()
                self.trial = _Trial(self.cases, case)
                return {"turns": self.trial.turns()}
            case {"do": "turn", "turn": int(turn)} if self.trial:
                self.trial.begin(turn)
                return {}
            case {"do": "call", "name": str(name), "arguments": dict(arguments)} if self.trial:
                return {"result": self.trial.call(name, arguments)}
            case {"do": "grade", "called": list(called)} if self.trial:
                verdict = self.trial.grade(called)
                forget()
                return verdict
            case _:
                return {"error": "not a question"}


def _bound(scratch: str) -> None:
    """Sets the limits of this process, which it cannot raise again."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    home = os.path.realpath(scratch) + os.sep

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"{event} is not allowed here")
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if (writes or event in _NAMED) and not isinstance(arguments[0], int):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(home) and path + os.sep != home:
                raise PermissionError(f"{event} of {path!r} is not allowed here")

    sys.addaudithook(hook)


def _more_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + _SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


class Answering(Protocol):
    """What answers the parent's questions."""

    def answer(self, question: _Json) -> _Json:
        """One answer."""
        ...


def serve(folder: str, category: str, scratch: str, make: Callable[[str], Answering]) -> None:
    """Answers until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the package prints is no answer
    os.environ["BFCL_PROJECT_ROOT"] = scratch  # it makes folders where this says
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    _bound(scratch)
    worker = make(category)
    for line in sys.stdin:
        _more_time()
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the package's own failure; the parent is told
            answer = {"error": f"{type(error).__name__}: {error}"[:1000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3], _Worker)
