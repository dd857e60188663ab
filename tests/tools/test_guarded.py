from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar, get_args

import anyio
import pytest
from agentkit_tools import ProjectFiles, Shell
from agentkit_tools.commands import Outcome, run
from agentkit_tools.disarm import ASIDE
from agentkit_tools.guarded import guarded
from agentkit_tools.helpers import BUBBLEWRAP, candidates
from agentkit_tools.paths import Root
from agentkit_tools.sandbox import Bounds, Sandbox
from agentkit_tools.shell import Environments

from agentkit import ToolContext, ToolError
from agentkit.mcp import McpToolset
from agentkit.toolset.options import note_launch

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="commands run in a sandbox of Linux"
)
WRITABLE: Environments = get_args(Environments)[1]


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("as it was")
    return root


def closed(root: Path) -> set[str]:
    return set(guarded(Root(root)).named())


def command(root: Path, line: str, *, environments: bool = True) -> Outcome:
    return run(Sandbox(Root(root), Bounds(), (), environments), line, 20)


# --- what is found -----------------------------------------------------------------------------


def test_an_empty_project_is_open_as_a_whole(tmp_path: Path) -> None:
    assert closed(tmp_path) == set()


def test_git_directories_are_found_by_what_is_in_them(tmp_path: Path) -> None:
    files(tmp_path, "a/b/.git/config", "bare/HEAD", "bare/objects/x", "bare/refs/x")
    files(tmp_path, "linked/HEAD", "linked/commondir", "no/HEAD", "no/refs/x")
    assert closed(tmp_path) == {"a/b/.git", "bare", "linked"}


def test_a_pointer_is_followed_and_closed_itself(tmp_path: Path) -> None:
    files(tmp_path, "kept/config", "tree/.git")
    (tmp_path / "tree" / ".git").write_text("gitdir: ../kept\n")
    assert closed(tmp_path) == {"kept", "tree/.git"}


def test_a_link_closes_where_it_stands_and_what_it_leads_to(tmp_path: Path) -> None:
    files(tmp_path, "kept/config", "tree/file")
    (tmp_path / "tree" / ".git").symlink_to("../kept")
    assert closed(tmp_path) == {"kept", "tree/*"}


def test_what_settings_name_is_closed(tmp_path: Path) -> None:
    files(tmp_path, ".git/config", "hooks/x", "more/settings")
    (tmp_path / ".git" / "config").write_text(
        '[core]\n\thooksPath = hooks\n[include]\n\tpath = "../more/settings"\n'
    )
    assert closed(tmp_path) == {".git", "hooks", "more/settings"}


def test_a_program_of_the_project_that_settings_start_is_closed(tmp_path: Path) -> None:
    files(tmp_path, ".git/config", "scripts/clean.sh", "scripts/other.sh")
    (tmp_path / ".git" / "config").write_text(
        '[filter "tidy"]\n\tclean = sh ./scripts/clean.sh %f\n[remote "o"]\n\turl = scripts\n'
    )
    assert closed(tmp_path) == {".git", "scripts/clean.sh"}


@pytest.mark.parametrize(
    "setting",
    [
        "hooksPath = hooks ; ours",
        "hooksPath=hooks# ours",
        "hooksPath = ho\\\noks",
        "hooksPath = hooks\\\n\n",
        'hooksPath = ho"ok"s # "',
        "HooksPath = hooks\r",
    ],
)
def test_a_setting_is_read_as_git_reads_it(tmp_path: Path, setting: str) -> None:
    files(tmp_path, ".git/config", "hooks/x")
    settings = tmp_path / ".git" / "config"
    settings.write_bytes(f"[core]\n\t{setting}\n".encode())
    asked = ["git", "config", "--file", str(settings), "--get", "core.hooksPath"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    assert said == "hooks\n"
    assert closed(tmp_path) == {".git", "hooks"}


def test_what_included_settings_name_is_closed_at_any_depth(tmp_path: Path) -> None:
    files(tmp_path, ".git/config", "conf/one", "conf/two", "hooks/x")
    (tmp_path / ".git" / "config").write_text('[includeIf "gitdir:a=b/"]\n\tpath = ../conf/one\n')
    (tmp_path / "conf" / "one").write_text("[include]\n\tpath = two\n")
    (tmp_path / "conf" / "two").write_text("[core]\n\thooksPath = hooks\n")
    assert closed(tmp_path) == {".git", "conf/one", "conf/two", "hooks"}


def test_settings_are_followed_from_the_home_and_in_files_for_every_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "project/.git/config", "project/hooks/x", "project/more/x", ".gitconfig")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    monkeypatch.setenv("HOME", str(tmp_path))
    project = tmp_path / "project"
    (project / ".git" / "config").write_text("[core]\n\thooksPath = ~/project/more\n")
    (tmp_path / ".gitconfig").write_text("[core]\n\thooksPath = hooks\n")
    assert closed(project) == {".git", "hooks", "more"}


def test_what_git_directories_link_to_is_closed(tmp_path: Path) -> None:
    files(
        tmp_path, ".git/HEAD", "scripts/check.sh", "scripts/other", "conf", "sub/.git/HEAD", "x/y"
    )
    (tmp_path / ".git" / "hooks").mkdir()
    (tmp_path / ".git" / "hooks" / "pre-commit").symlink_to("../../scripts/check.sh")
    (tmp_path / ".git" / "config").symlink_to("../conf")
    (tmp_path / "sub" / ".git" / "hooks").symlink_to("../../x")
    assert closed(tmp_path) == {".git", "scripts/check.sh", "conf", "sub/.git", "x"}
    line = "echo x > scripts/other && ! { echo x > scripts/check.sh; } && ! mv scripts old"
    assert command(tmp_path, line).exit_code == 0


def test_a_second_name_of_a_hook_is_closed(tmp_path: Path) -> None:
    files(tmp_path, ".git/hooks/pre-commit", "a/x")
    os.link(tmp_path / ".git" / "hooks" / "pre-commit", tmp_path / "a" / "check.sh")
    assert closed(tmp_path) == {".git", "a/check.sh"}


def test_a_program_that_settings_name_by_a_path_is_closed_also_when_it_is_missing(
    tmp_path: Path,
) -> None:
    files(tmp_path, ".git/config", "tools/x")
    (tmp_path / ".git" / "config").write_text(
        "[core]\n\tfsmonitor = tools/watch\n[branch]\n\tmerge = refs/heads/main\n"
    )
    assert closed(tmp_path) == {".git", "tools/*"}


def test_environments_are_found_by_what_is_in_them(tmp_path: Path) -> None:
    files(tmp_path, "a/env/pyvenv.cfg", "b/conda-meta/history")
    assert closed(tmp_path) == {"a/env", "b"}


def test_a_project_that_is_an_environment_keeps_its_other_folders_open(tmp_path: Path) -> None:
    files(tmp_path, "pyvenv.cfg", "bin/python", "lib/x", "src/x")
    assert {"bin", "lib", "pyvenv.cfg"} <= closed(tmp_path)
    assert command(tmp_path, "echo x > src/x && ! { echo x > bin/python; }").exit_code == 0


def test_what_this_process_starts_is_closed_with_what_lies_beside_a_script(
    tmp_path: Path,
) -> None:
    files(tmp_path, "servers/one.py", "data/words.txt")
    note_launch(["python3", "servers/one.py", "--words=data/words.txt"], tmp_path)
    assert closed(tmp_path) == {"servers", "data/words.txt"}


def test_packages_of_a_server_written_for_node_are_closed(tmp_path: Path) -> None:
    files(tmp_path, "servers/a/main.mjs", "servers/node_modules/m/index.js", "node_modules/n.js")
    note_launch(["node", "servers/a/main.mjs"], tmp_path)
    assert closed(tmp_path) == {"servers/a", "servers/node_modules", "node_modules"}


@pytest.mark.parametrize("form", ["module", "class", "object"])
def test_what_is_installed_for_editing_is_closed_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    files(tmp_path, "code/shop/__init__.py", "words/x")
    mapping = {"shop": str(tmp_path / "code" / "shop" / "__init__.py")}

    class Finder:
        known: ClassVar[dict[str, str]] = mapping if form == "class" else {}

        def __init__(self) -> None:
            self.sources = mapping if form == "object" else {}

        def find_spec(self, *_: object) -> None:
            return None

    Finder.__module__ = "editing"
    editing = ModuleType("editing")
    if form == "module":
        vars(editing)["MAPPING"] = mapping
    monkeypatch.setitem(sys.modules, "editing", editing)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    assert closed(tmp_path) == {"code/shop"}


def test_an_mcp_server_that_is_started_from_the_project_is_closed(tmp_path: Path) -> None:
    files(tmp_path, "servers/clock.py")
    McpToolset([sys.executable, "servers/clock.py"], cwd=tmp_path)
    assert closed(tmp_path) == {"servers"}


def test_a_folder_that_the_path_of_python_names_is_closed_also_when_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "src/x.py", "words/x")
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    assert closed(tmp_path) == {"src"}
    monkeypatch.syspath_prepend(str(tmp_path / "later"))
    assert "the files right in the project's folder" in closed(tmp_path)
    line = "! mkdir later && echo x > words/x && ! mv words later"
    assert command(tmp_path, line).exit_code == 0


def test_where_python_searches_the_project_itself_packages_are_closed_and_the_rest_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "shop/__init__.py", "json/x", "words/x", "shop.egg-info/entry_points.txt")
    monkeypatch.syspath_prepend(str(tmp_path))
    named = closed(tmp_path)
    assert {"shop", "json", "shop.egg-info"} <= named
    assert "words" not in named
    assert command(tmp_path, "echo x > words/x && ! touch new.py").exit_code == 0


def test_a_project_that_is_a_package_of_what_is_imported_is_closed_where_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python searches the folder above it, which is not the project's."""
    files(tmp_path, "outer/inner/__init__.py", "outer/inner/deep/part.py", "outer/inner/words/x")
    for file in ("inner/__init__.py", "inner/deep/part.py"):
        (tmp_path / "outer" / file).write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "outer"))
    importlib.import_module("inner")
    line = "echo x > words/x && ! { echo x > __init__.py; } && ! { echo x > deep/part.py; }"
    assert command(tmp_path / "outer" / "inner", line).exit_code == 0


def test_a_second_name_of_a_loaded_file_is_closed(tmp_path: Path) -> None:
    files(tmp_path, "outside/second_name_of_this.py")
    source = tmp_path / "outside" / "second_name_of_this.py"
    source.write_text("")
    project = tmp_path / "project"
    (project / "vendor").mkdir(parents=True)
    os.link(source, project / "vendor" / "copied.py")
    spec = importlib.util.spec_from_file_location("second_name_of_this", source)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        assert closed(project) == {"vendor/copied.py"}
        line = "! { echo x > vendor/copied.py; } && rm -rf vendor; echo x > vendor/copied.py"
        command(project, line)
    finally:
        del sys.modules[spec.name]
    assert source.read_text() == ""


def test_a_socket_that_somebody_outside_listens_at_cannot_be_reached(tmp_path: Path) -> None:
    here = os.getcwd()
    os.chdir(tmp_path)  # the path of a unix socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("sock")
        listening.listen()
        os.chdir(here)
        code = "import socket; socket.socket(socket.AF_UNIX).connect('sock')"
        outcome = command(tmp_path, f'/usr/bin/python3 -IS -c "{code}"')
    assert "refused" in outcome.output


def test_a_tree_too_deep_to_be_looked_through_is_closed_at_its_depth(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 250)
    (tmp_path / deep).mkdir(parents=True)
    assert closed(tmp_path) == {"/".join(["d"] * 202)}


# --- what is told ------------------------------------------------------------------------------


def test_a_shell_names_what_its_commands_cannot_change(tmp_path: Path) -> None:
    files(tmp_path, "env/pyvenv.cfg", "sub/.git/config")
    named = Shell(tmp_path).read_only()
    assert named == {"env": "a virtual environment", "sub/.git": "a git directory"}


def test_a_model_that_runs_into_it_is_told_what_is_closed(tmp_path: Path) -> None:
    tool = Shell(files(tmp_path, "env/pyvenv.cfg")).get("run_command")
    assert tool is not None

    said = anyio.run(tool.function, "echo x > env/new")
    assert "(read-only to commands: env)" in str(said)


# --- the way out that names the danger ---------------------------------------------------------


def test_environments_are_writable_only_in_words_that_name_the_danger(tmp_path: Path) -> None:
    files(tmp_path, "env/pyvenv.cfg", "env/bin/python", ".git/config")
    with pytest.raises(ValueError, match="outside the sandbox"):
        Shell(tmp_path, environments="writable")  # type: ignore[arg-type]  # what one might try
    assert Shell(tmp_path, environments=WRITABLE).read_only() == {".git": "a git directory"}
    line = "echo x > env/bin/python && ! { echo x > .git/config; }"
    assert command(tmp_path, line, environments=False).exit_code == 0


def test_no_helper_is_taken_from_an_environment_that_commands_can_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    home = Path(sys.prefix).resolve()
    refused = {
        writable: [problem for _, problem in candidates(BUBBLEWRAP, home, environments=writable)]
        for writable in (True, False)
    }
    assert refused[True] == [None]
    assert [str(problem)[-20:] for problem in refused[False]] == ["where commands write"]


# --- git directories that a command makes ------------------------------------------------------


def test_what_git_init_makes_stays_as_it_is(tmp_path: Path) -> None:
    outcome = command(tmp_path, "git init -q new && git -C new config user.name A")
    assert (outcome.exit_code, outcome.set_aside) == (0, ())
    assert closed(tmp_path) == {"new/.git"}


def test_hooks_and_settings_that_git_would_run_are_set_aside(tmp_path: Path) -> None:
    line = "git init -q new; git -C new config core.fsmonitor ./x; touch new/.git/hooks/pre-commit"
    outcome = command(tmp_path, line)
    assert outcome.set_aside == ("new/.git/config", "new/.git/hooks")
    assert (tmp_path / "new" / ".git" / f"config{ASIDE}").is_file()
    done = subprocess.run(["git", "status"], cwd=tmp_path / "new", capture_output=True, check=False)
    assert done.returncode == 0


def test_settings_longer_than_what_is_looked_at_are_set_aside(tmp_path: Path) -> None:
    """Their length counts in bytes: a comment of two-byte letters hid what came behind it."""
    comment = "# " + "é" * 49_999 + "e"  # 100,001 bytes, as many as are read, and half the letters
    (tmp_path / "made").write_text(f"{comment}\n[core]\n\tfsmonitor = ./x\n")
    outcome = command(tmp_path, "git init -q new; cp made new/.git/config")
    assert outcome.set_aside == ("new/.git/config",)


def test_an_address_that_starts_a_program_is_found_behind_quotes_too(tmp_path: Path) -> None:
    address = 'ext:":"sh -c true'
    line = f"git init -q new; printf '[remote \"o\"]\\n\\turl = {address}\\n' >> new/.git/config"
    asked = ["git", "config", "--file", f"new/.git/config{ASIDE}", "--get", "remote.o.url"]
    assert command(tmp_path, line).set_aside == ("new/.git/config",)
    said = subprocess.run(asked, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said == "ext::sh -c true\n"


# --- tools that write files --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("bare/config", "in a git directory"),
        ("env/lib/x.py", "in a virtual environment"),
        ("env/pyvenv.cfg", "where its libraries are"),
        ("sitecustomize.py", "every Python runs it"),
        ("x.egg-info/entry_points.txt", "what Python is to load"),
        ("tools/rg", "a folder of PATH"),
        ("src/json.py", "instead of the module of that name"),
    ],
)
def test_a_file_that_would_run_without_a_sandbox_is_not_written_by_a_tool_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, why: str
) -> None:
    files(tmp_path, "bare/HEAD", "bare/objects/x", "bare/refs/x", "env/pyvenv.cfg", "tools/x")
    files(tmp_path, "src/shop.py")
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    write = ProjectFiles(tmp_path).get("write_file")
    assert write is not None
    with pytest.raises(ToolError, match=why):
        write(ToolContext(None, "call"), path, "x")
    assert "Wrote src/shop.py" in write(ToolContext(None, "call"), "src/shop.py", "x")


# --- git of our own ----------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_in_the_library_its_tools_and_suites_runs_git() -> None:
    """So there are no hooks, filters and settings that it could be made to run."""
    repo = Path(__file__).parents[2]
    for folder in ("agentkit", "tools", "evals"):
        for file in (repo / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.List | ast.Tuple | ast.Call):
                    first = node.args[:1] if isinstance(node, ast.Call) else node.elts[:1]
                    texts = [item.value for item in first if isinstance(item, ast.Constant)]
                    assert not any(str(text).split()[:1] == ["git"] for text in texts), file
