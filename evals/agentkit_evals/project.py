"""The suite `project`: small jobs on the files of a sample project, graded by the files.

What the agent says does not count; what it leaves does. The project lives in memory, so a trial
costs nothing and touches nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final

from agentkit import Tool, ToolError, tool
from agentkit_evals.core import GoldCall
from agentkit_evals.sources import tried_again
from agentkit_evals.tasks import Task, TaskSuite

FILES: Final = {
    "README.md": "# Shop\n\nA small shop. Run it with `python -m shop`.\n",
    "shop/__init__.py": "",
    "shop/cart.py": (
        "from shop.prices import price\n\n\n"
        "def total(items):\n"
        '    """The sum of the prices of all items."""\n'
        "    result = 0\n"
        "    for item in items[1:]:\n"
        "        result += price(item)\n"
        "    return result\n"
    ),
    "shop/prices.py": (
        'PRICES = {"apple": 30, "bread": 250, "milk": 120}\n\n\n'
        "def price(item):\n"
        '    """Price of one item, in cents."""\n'
        "    return PRICES[item]\n"
    ),
    "shop/settings.toml": '[shop]\nname = "Corner"\ncurrency = "EUR"\nvat = 0.07\n',
    "notes/draft.txt": "Old ideas.\n",
    "notes/keep.txt": "Do not delete.\n",
}
"""The sample project: path → text."""

_INSTRUCTIONS: Final = (
    "You work on the files of a project, with tools. Do what the user asks and nothing else."
)


class Project:
    """Files in memory, and the tools over them. `files` and `answers` are what is graded."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.answers: list[str] = []

    def tools(self) -> list[Tool[..., Any]]:
        """What can be done with the files."""
        return [
            tool(effect="pure")(self.list_files),
            tool(effect="pure")(self.read_file),
            tool(effect="pure")(self.search_text),
            tool(effect="idempotent")(self.write_file),
            tool(self.replace_text),
            tool(self.move_file),
            tool(self.delete_file),
            tool(self.submit),
        ]

    def list_files(self) -> str:
        """List the paths of all files."""
        return "\n".join(sorted(self.files))

    def read_file(self, path: str) -> str:
        """Read a file.

        Args:
            path: As `list_files` shows it.
        """
        if path not in self.files:
            raise ToolError(f"there is no file {path!r}; list_files shows what there is")
        return self.files[path]

    def search_text(self, text: str) -> str:
        """Find the lines that hold a text.

        Args:
            text: Searched for as it is.
        """
        return "\n".join(
            f"{path}:{number}: {line}"
            for path, content in sorted(self.files.items())
            for number, line in enumerate(content.splitlines(), 1)
            if text in line
        )

    def write_file(self, path: str, content: str) -> str:
        """Write a file, new or over what is there.

        Args:
            path: Where, such as `shop/new.py`.
            content: The whole text of the file.
        """
        self.files[path] = content
        return f"{path} is written."

    def replace_text(self, path: str, old: str, new: str) -> str:
        """Replace the one place of a file where a text stands.

        Args:
            path: Which file.
            old: What stands there; must occur once.
            new: What shall stand there.
        """
        content = self.read_file(path)
        if (times := content.count(old)) != 1:
            raise ToolError(f"{old!r} occurs {times} times in {path}, not once")
        self.files[path] = content.replace(old, new)
        return f"{path} is changed."

    def move_file(self, path: str, to: str) -> str:
        """Move or rename a file.

        Args:
            path: Where it is.
            to: Where it shall be.
        """
        content = self.read_file(path)
        if to in self.files:
            raise ToolError(f"{to} is there already")
        del self.files[path]
        self.files[to] = content
        return f"{path} is now {to}."

    def delete_file(self, path: str) -> str:
        """Delete a file.

        Args:
            path: Which file.
        """
        self.read_file(path)
        del self.files[path]
        return f"{path} is deleted."

    def submit(self, answer: str) -> str:
        """Hand in the answer to a question, when the user asks for one.

        Args:
            answer: The answer alone, without a sentence around it.
        """
        self.answers.append(answer.strip())
        return "Handed in."


def project_suite() -> TaskSuite:
    """The suite."""
    return TaskSuite("project", _TASKS)


# --- tasks -------------------------------------------------------------------------------------


def _task(
    name: str,
    *turns: tuple[str, tuple[GoldCall, ...]],
    check: Callable[[Project], str | None],
    tag: str,
) -> Task[Project]:
    return Task(
        id=name,
        turns=tuple(text for text, _ in turns),
        world=Project,
        tools=Project.tools,
        check=check,
        gold=tuple(calls for _, calls in turns),
        instructions=_INSTRUCTIONS,
        tags=(tag,),
    )


def _becomes(changes: dict[str, str | None]) -> Callable[[Project], str | None]:
    """The files that differ from the sample are these; None means that one is gone."""
    wanted = {path: text for path, text in (FILES | changes).items() if text is not None}

    def check(project: Project) -> str | None:
        wrong = {
            path
            for path in wanted.keys() | project.files.keys()
            if wanted.get(path) != project.files.get(path)
        }
        if not wrong:
            return None
        return "files:wrong_content" if wrong <= changes.keys() else "files:others_touched"

    return check


def _answers(answer: str) -> Callable[[Project], str | None]:
    """A check: this answer was handed in, once, and no file was touched."""

    def check(project: Project) -> str | None:
        if project.files != FILES:
            return "files:others_touched"
        if not project.answers:
            return "answer:none"
        return None if project.answers == [answer] else "answer:wrong"

    return check


def _total_works(project: Project) -> str | None:
    """`shop/cart.py` adds all prices up. It is looked at, not run: its text is the model's."""
    rest = {path: text for path, text in project.files.items() if path != "shop/cart.py"}
    if rest != {path: text for path, text in FILES.items() if path != "shop/cart.py"}:
        return "files:others_touched"
    wanted = _tree(FILES["shop/cart.py"].replace("items[1:]", "items"))
    try:
        found = _tree(project.files.get("shop/cart.py", ""))
    except SyntaxError:
        return "code:no_python"
    return None if found == wanted else "code:wrong"


def _tree(text: str) -> str:
    return ast.dump(tried_again(ast.parse, text))


def _licence_stands(project: Project) -> str | None:
    """A check: the licence is as it was, with or without a line break at its end."""
    text = "All rights reserved."
    ends = [_becomes({"LICENCE.txt": text + end})(project) for end in ("\n", "")]
    return ends[0] and ends[1]


_VAT = FILES["shop/settings.toml"].replace("0.07", "0.19")
_NAMED = _VAT.replace("Corner", "Market")

_TASKS: Final = (
    _task(
        "answer_currency",
        (
            "Which currency does the shop use? Hand in its three letters.",
            (("read_file", {"path": "shop/settings.toml"}), ("submit", {"answer": "EUR"})),
        ),
        check=_answers("EUR"),
        tag="answer",
    ),
    _task(
        "answer_where",
        (
            "In which file is the function price defined? Hand in its path.",
            (("search_text", {"text": "def price"}), ("submit", {"answer": "shop/prices.py"})),
        ),
        check=_answers("shop/prices.py"),
        tag="answer",
    ),
    _task(
        "write_licence",
        (
            "Create the file LICENCE.txt with the single line: All rights reserved.",
            (("write_file", {"path": "LICENCE.txt", "content": "All rights reserved.\n"}),),
        ),
        check=_licence_stands,
        tag="files",
    ),
    _task(
        "change_vat",
        (
            "Set the shop's vat to 0.19.",
            (
                (
                    "replace_text",
                    {"path": "shop/settings.toml", "old": "vat = 0.07", "new": "vat = 0.19"},
                ),
            ),
        ),
        check=_becomes({"shop/settings.toml": _VAT}),
        tag="edit",
    ),
    _task(
        "delete_one",
        (
            "Delete the draft in the notes, and only that.",
            (("list_files", {}), ("delete_file", {"path": "notes/draft.txt"})),
        ),
        check=_becomes({"notes/draft.txt": None}),
        tag="files",
    ),
    _task(
        "move_file",
        (
            "Move notes/keep.txt to docs/keep.txt.",
            (("move_file", {"path": "notes/keep.txt", "to": "docs/keep.txt"}),),
        ),
        check=_becomes({"notes/keep.txt": None, "docs/keep.txt": FILES["notes/keep.txt"]}),
        tag="files",
    ),
    _task(
        "mend_total",
        (
            "total in shop/cart.py leaves the first item out. Mend that one line.",
            (
                ("read_file", {"path": "shop/cart.py"}),
                ("replace_text", {"path": "shop/cart.py", "old": "items[1:]", "new": "items"}),
            ),
        ),
        check=_total_works,
        tag="edit",
    ),
    _task(
        "two_wishes",
        (
            "Set the shop's vat to 0.19.",
            (
                (
                    "replace_text",
                    {"path": "shop/settings.toml", "old": "vat = 0.07", "new": "vat = 0.19"},
                ),
            ),
        ),
        (
            "And call the shop Market.",
            (
                (
                    "replace_text",
                    {"path": "shop/settings.toml", "old": '"Corner"', "new": '"Market"'},
                ),
            ),
        ),
        check=_becomes({"shop/settings.toml": _NAMED}),
        tag="edit",
    ),
    _task(
        "leave_alone",
        ("Thank you, nothing to do today.", ()),
        check=_becomes({}),
        tag="idle",
    ),
)
