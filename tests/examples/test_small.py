"""The examples of one file: each line of their docstrings as a reader types it, with a small server
in the place of the reader's own.
"""

from __future__ import annotations

import ast
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.docs_runner import READERS_SERVER
from tests.examples.running import REPO, Done
from tests.servers import Script, asks, call_chunks, says, serving, streamed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FOLDER = REPO / "examples"
LETTERS = "My rug is torn.\nTwo lamps, please.\n"


def pixel() -> bytes:
    """The smallest image: a black point."""

    def part(kind: bytes, content: bytes) -> bytes:
        summed = kind + content
        return struct.pack(">I", len(content)) + summed + struct.pack(">I", zlib.crc32(summed))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = part(b"IHDR", head) + part(b"IDAT", zlib.compress(b"\0\0")) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def commands(name: str) -> list[list[str]]:
    """The lines of a docstring that a reader types."""
    doc = ast.get_docstring(ast.parse((FOLDER / name).read_text())) or ""
    lines = [line.strip() for line in doc.splitlines() if line.startswith("    ")]
    return [shlex.split(line) for line in lines if line.startswith(("python ", "agentkit "))]


def typed(command: list[str], url: str, home: Path) -> Done:
    """What comes of a line that is typed in the project's folder, beside files of one's own."""
    words = [word.replace(READERS_SERVER, url) for word in command]
    words = [str(REPO / word) if word.startswith("examples/") else word for word in words]
    program = {"python": [sys.executable], "agentkit": [sys.executable, "-m", "agentkit"]}
    done = subprocess.run(
        [*program[words[0]], *words[1:]],
        cwd=home,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tools"), str(REPO / "evals")]),
            "AGENTKIT_RUNS": str(home / "runs"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def follow(name: str, home: Path, *script: Script) -> list[Done]:
    """All lines of a docstring, in order."""
    found = commands(name)
    assert found, f"{name} says nothing that can be typed"
    with serving(*script) as server:
        return [typed(command, server.url, home) for command in found]


def answer(**value: Any) -> Script:
    return asks("final_answer", answer=value)


def test_a_first_agent_answers_with_its_tools(tmp_path: Path) -> None:
    both = streamed(call_chunks(("stock", {"item": "rug"}), ("price", {"item": "rug", "count": 2})))
    first, second, third = follow(
        *("shop.py", tmp_path, both, says("None, and 240 EUR.")),
        *(asks("stock", item="lamp"), says("Three.")),
    )
    assert (first.code, first.out) == (0, "None, and 240 EUR.\n"), first.err
    assert (second.code, second.out) == (0, "Three.\n"), second.err
    assert "How many of an item are left." in third.out


def test_payments_are_decided_at_once_or_by_a_person_in_another_process(tmp_path: Path) -> None:
    both = streamed(
        call_chunks(("pay", {"to": "Ada", "euros": 40}), ("pay", {"to": "Bob", "euros": 900}))
    )
    first, second = follow("approvals.py", tmp_path, both, says("Both are paid."))
    assert "waits for a decision: pay {'to': 'Bob', 'euros': 900}" in first.out, first.err
    assert "Ada" not in first.out
    assert second.out == "Both are paid.\n", second.err
    assert not (tmp_path / "waiting.json").exists()


def test_researchers_work_at_the_same_time_and_are_in_the_total(tmp_path: Path) -> None:
    def like_a_model(exchange: Any) -> None:
        body = exchange.request.body
        names = {tool["function"]["name"] for tool in body["tools"]}
        last = body["messages"][-1]
        if last["role"] == "tool":
            says("Both are good.")(exchange)
        elif "look_up" in names:
            asks("look_up", tasks=["lamp", "kettle"])(exchange)
        else:
            asks("catalogue", item=last["content"])(exchange)

    (done,) = follow("sub_agents.py", tmp_path, like_a_model)
    assert done.code == 0, done.err
    assert "a researcher calls catalogue {'item': 'lamp'}" in done.out
    assert "a researcher calls catalogue {'item': 'kettle'}" in done.out
    assert "\nBoth are good.\n6 steps, " in done.out


def test_the_tools_of_an_mcp_server_stand_beside_its_own(tmp_path: Path) -> None:
    config = {"command": sys.executable, "args": ["-m", "agentkit", "mcp", "serve"]}
    config["args"].append(str(FOLDER / "order_desk.py"))  # type: ignore[attr-defined]  # the list
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": {"desk": config}}))
    first, second = follow(
        *("mcp_client.py", tmp_path, asks("desk_find_order", order_id=17), says("A teapot.")),
        *(asks("desk_find_order", order_id=17), says("I may not look.")),
    )
    assert (first.code, first.out) == (0, "A teapot.\n"), first.err
    assert (second.code, second.out) == (0, "I may not look.\n"), second.err
    assert "? desk_find_order" in second.err, "nobody sits there, so nobody says yes"


def test_a_batch_is_sorted_and_what_is_done_is_not_asked_again(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text(LETTERS)

    def like_a_model(exchange: Any) -> None:
        asked = exchange.request.body["messages"][-1]["content"]
        kind = "complaint" if "torn" in asked else "order"
        asks("final_answer", answer=kind)(exchange)

    with serving(like_a_model) as server:
        (command,) = commands("batch.py")
        first, again = (typed(command, server.url, tmp_path) for _ in range(2))
        assert len(server.requests) == 2
    for done in (first, again):
        assert done.code == 0, done.err
        assert done.out.endswith("complaint: 1\norder: 1\n")


def test_a_mail_is_sent_once_although_the_process_died(tmp_path: Path) -> None:
    first, second = follow(
        *("crash_and_resume.py", tmp_path, asks("send_mail", to="Ada", text="Late.")),
        says("I cannot tell whether it left."),
    )
    assert first.code == -signal.SIGKILL
    assert second.code == 0, second.err
    assert second.out == "I cannot tell whether it left.\n1 mail was sent\n"


def test_a_question_about_an_image_is_answered_as_an_object(tmp_path: Path) -> None:
    (tmp_path / "receipt.png").write_bytes(pixel())
    with serving(answer(shop="Rugs & Co", total=12.5)) as server:
        (command,) = commands("image_question.py")
        done = typed(command, server.url, tmp_path)
        (sent,) = server.requests
    assert done.out == "Receipt(shop='Rugs & Co', total=12.5)\n", done.err
    kinds = [part["type"] for part in sent.body["messages"][-1]["content"]]
    assert kinds == ["text", "image_url"]


def test_a_suite_of_ones_own_is_played_and_reported(tmp_path: Path) -> None:
    played, report = follow("own_suite.py", tmp_path, says("I did nothing."))
    assert played.code in (0, 1), played.err
    assert "order:{}" in report.out, report.err


def test_the_notebook_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads((FOLDER / "notebook.ipynb").read_text())["cells"]
    with serving(asks("stock", item="lamp"), says("Three."), says("None.")) as server:
        namespace: dict[str, Any] = {}
        code = [
            compile(
                "".join(cell["source"]).replace(READERS_SERVER, server.url),
                "notebook",
                "exec",
                ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )
            for cell in cells
            if cell["cell_type"] == "code"
        ]

        async def all_of_it() -> None:  # one event loop for all cells, as in a notebook
            for cell in code:
                if (waits := eval(cell, namespace)) is not None:  # the examples' own code
                    await waits
            await namespace["model"].aclose()

        anyio.run(all_of_it)
    assert "Three." in capsys.readouterr().out


def test_every_example_is_in_the_list() -> None:
    page = (FOLDER / "README.md").read_text()
    names = [file.name for file in FOLDER.iterdir() if file.suffix in (".py", ".ipynb")]
    folders = [file.parent.name for file in FOLDER.glob("*/main.py")]
    assert [name for name in (*names, *folders) if f"[{name}" not in page] == []
