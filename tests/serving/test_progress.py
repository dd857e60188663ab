from __future__ import annotations

import io
from pathlib import Path

from agentkit.serving.process import last_line, progress_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_last_line_of_a_log_skips_what_is_blank(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\nloading 10 %\rloading 20 %\r\n \n")
    assert last_line(log) == "loading 20 %"


def test_a_log_that_is_not_there_yet_has_no_last_line(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none") == ""


def test_the_last_line_of_a_long_log_is_found_without_reading_it_all(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 100_000 + "\nthe end\n")
    assert last_line(log) == "the end"


def test_a_terminal_sees_one_line_rewritten_in_place() -> None:
    terminal = Terminal()
    show = progress_line("starting", terminal)
    show("loading weights")
    show("ready")
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().count("\rstarting: ") == 2
    assert "loading weights" in terminal.getvalue()


def test_a_log_file_is_not_flooded() -> None:
    out = io.StringIO()
    show = progress_line("starting", out)
    for _ in range(100):
        show("loading")
    assert out.getvalue() == ""
