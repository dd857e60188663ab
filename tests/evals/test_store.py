from __future__ import annotations

import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from agentkit_evals.core import CallRecord, EvalError, Grade, Transcript, TrialResult, TurnRecord
from agentkit_evals.manifest import RunManifest
from agentkit_evals.store import Store, Writer
from agentkit_evals.subject import Subject
from hypothesis import given
from hypothesis import strategies as st

from agentkit import ModelSettings, Usage
from agentkit.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from tests.evals.helpers import plan, ran

pytestmark = pytest.mark.anyio

MANIFEST = RunManifest(
    suite="project", about={"v": "1"}, subject=Subject(model="gold"), cases=("a",)
)
TEXTS = st.text(st.characters())  # half surrogate pairs too: models are seen to write them


def line(case: str = "a", trial: int = 0, *, passed: bool = True) -> TrialResult:
    return TrialResult(case, trial, "graded", Grade(passed))


def lost(case: str = "a", trial: int = 0) -> TrialResult:
    return TrialResult(case, trial, "infrastructure", failure="server:ModelTimeoutError: late")


def wrote(store: Store, *results: TrialResult) -> Writer:
    store.begin(MANIFEST)
    writer = Writer(store)
    for result in results:
        writer.append(result)
    writer.close()
    return writer


def test_what_was_appended_is_there_and_sorted(store: Store) -> None:
    wrote(store, line("b", 1), line("a"), line("b", 0))
    assert sorted(store.results()) == [("a", 0), ("b", 0), ("b", 1)]
    assert [json.loads(text)["case"] for text in store.canonical().splitlines()] == ["a", "b", "b"]


async def test_results_that_wait_for_the_disk_together_are_all_there(store: Store) -> None:
    store.begin(MANIFEST)
    writer = Writer(store)
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(writer.keep, line("a", number))
    writer.close()
    assert sorted(store.results()) == [("a", number) for number in range(20)]


async def test_a_result_that_cannot_be_kept_is_said_with_its_file(store: Store) -> None:
    store.begin(MANIFEST)
    writer = Writer(store)
    (store.folder / "trials").rmdir()
    with pytest.raises(EvalError, match=r"a result cannot be written to .*No such file"):
        await writer.keep(line("a"))


def test_who_did_it_and_how_long_it_took_is_not_compared(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "1"), Store(tmp_path / "2")
    wrote(one, line("a"), line("b"))
    wrote(other, replace(line("b"), seconds=2.0, worker="w"), line("a"))
    assert one.canonical() == other.canonical()


def test_a_torn_last_line_is_no_line(store: Store) -> None:
    writer = wrote(store, line("a"), line("b"))
    path = store.folder / "trials" / f"{writer.name}.jsonl"
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1)
    for end in (*range(0, last, 50), *range(last, len(whole), 5), len(whole) - 1):
        path.write_bytes(whole[:end])
        assert len(store.results()) == whole[:end].count(b"\n")


def test_a_verdict_stands_and_a_failure_of_the_machinery_gives_way(store: Store) -> None:
    wrote(store, lost())
    assert store.results()["a", 0].status == "infrastructure"
    wrote(store, line(passed=False))
    wrote(store, lost())
    wrote(store, lost())
    assert store.results()["a", 0].status == "graded"


def test_a_damaged_line_is_named_with_what_to_do(store: Store) -> None:
    writer = wrote(store, line("a"), line("b"))
    path = store.folder / "trials" / f"{writer.name}.jsonl"
    path.write_bytes(b"garbage\n" + path.read_bytes())
    with pytest.raises(EvalError, match=r"jsonl, line 1 is no result: .*played again"):
        store.results()


def test_a_folder_that_takes_no_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(EvalError, match="a-file/run cannot be written: "):
        Store(tmp_path / "a-file" / "run").begin(MANIFEST)


def test_a_result_that_cannot_be_written_is_an_error_that_names_its_file(store: Store) -> None:
    store.begin(MANIFEST)
    (store.folder / "trials").rmdir()
    with pytest.raises(EvalError, match=r"a result cannot be written to .*jsonl: No such file"):
        Writer(store).append(line())


def test_a_result_of_which_the_disk_took_a_part_spoils_no_other(store: Store) -> None:
    store.begin(MANIFEST)
    writer = Writer(store)
    writer.append(line("a"))
    (path,) = (store.folder / "trials").glob("*.jsonl")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.raises(EvalError, match="No space left on device"):
            writer.append(line("b"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append(line("c"))
    writer.close()
    assert sorted(store.results()) == [("a", 0), ("c", 0)]


def locked(store: Store) -> None:
    with store.locked():
        pass


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("manifest.json", Store.manifest),
        ("lock", locked),
        ("trials/one.jsonl", Store.results),
    ],
)
def test_a_file_of_a_run_that_cannot_be_opened_is_named(
    store: Store, name: str, use: Callable[[Store], object]
) -> None:
    wrote(store, line("a"))
    (store.folder / name).unlink(missing_ok=True)
    (store.folder / name).mkdir()
    with pytest.raises(EvalError, match="Is a directory"):
        use(store)


def test_another_run_is_not_mixed_in(store: Store) -> None:
    store.begin(MANIFEST)
    store.begin(MANIFEST)
    settings = ModelSettings(temperature=0.5)
    for other in (
        replace(MANIFEST, seed=1),
        replace(MANIFEST, about={"v": "2"}),
        replace(MANIFEST, subject=Subject(model="gold", settings=settings)),
    ):
        with pytest.raises(EvalError, match="holds another run"):
            store.begin(other)


def test_a_run_is_run_by_one_at_a_time(store: Store) -> None:
    store.begin(MANIFEST)
    with store.locked(), pytest.raises(EvalError, match="another process"), store.locked():
        pass
    with store.locked():
        pass


def test_a_run_that_is_played_is_not_made_longer_by_another_process(store: Store) -> None:
    store.begin(MANIFEST)
    with store.locked(), pytest.raises(EvalError, match="another process"):
        store.begin(replace(MANIFEST, trials=2))
    assert store.manifest() == MANIFEST
    store.begin(replace(MANIFEST, trials=2))
    assert store.manifest().trials == 2


def test_a_run_that_another_process_makes_at_the_same_moment_is_not_replaced(store: Store) -> None:
    store.folder.mkdir(parents=True)
    with store.locked(), pytest.raises(EvalError, match="another process"):
        store.begin(MANIFEST)
    assert not store.exists
    store.begin(MANIFEST)
    assert store.manifest() == MANIFEST
    assert sorted(each.name for each in store.folder.iterdir()) == [
        "lock",
        "manifest.json",
        "trials",
    ]


def test_an_empty_folder_is_no_run_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="holds no run"):
        Store(tmp_path).manifest()
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(EvalError, match="cannot be read"):
        Store(tmp_path).manifest()


@pytest.mark.slow
@given(text=TEXTS, value=st.none() | st.booleans() | st.integers() | st.floats() | TEXTS)
def test_whatever_a_model_wrote_comes_back_or_is_replaced_by_marks(
    tmp_path_factory: pytest.TempPathFactory, text: str, value: object
) -> None:
    store = Store(tmp_path_factory.mktemp("runs"))
    call = ToolCall("call_0", text, {"x": value})
    messages = (
        UserMessage(text),
        AssistantMessage(None, (call,), text),
        ToolMessage("call_0", text, text),
    )
    turn = TurnRecord("answer", text, 1, Usage(1, 2), (CallRecord(text, {"x": value}, "ok", True),))
    wrote(store, replace(line(), transcript=Transcript((turn,), messages)))
    (result,) = store.results().values()
    seen = text.encode("utf-8", "replace").decode()
    assert result.transcript.turns[0].calls[0].name == seen
    assert store.canonical() == store.canonical()


async def test_a_manifest_comes_back_as_it_was() -> None:
    manifest = await plan(trials=3)
    assert RunManifest.load(manifest.dump()) == manifest


async def test_a_finished_run_is_not_run_again(store: Store) -> None:
    await ran(store)
    before = list(store.lines())
    await ran(store)
    assert list(store.lines()) == before
