from __future__ import annotations

import pytest

from agentkit.gemma4.wrong_forms import resolve_name

KNOWN = ("list_files", "delete", "get-weather", "calendar_add", "readIt", "read_it")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("delete", "delete"),
        (" delete() ", "delete"),
        ('"delete"', "delete"),
        ("Delete", "delete"),
        ("listFiles", "list_files"),
        ("list-files", "list_files"),
        ("get_weather", "get-weather"),
        ("functions.delete", "delete"),
        ("tool:delete", "delete"),
        ("google:tool:listFiles", "list_files"),
        ("default_api.delete", "delete"),
        ("calendar.add", "calendar_add"),  # its set's own prefix
    ],
)
def test_a_name_in_another_spelling_is_known(written: str, meant: str) -> None:
    assert resolve_name(written, KNOWN) == meant


@pytest.mark.parametrize(
    "written",
    ["calendar.delete", "delete_all", "github/delete", "os.delete", "READIT", "", "tool:"],
)
def test_a_name_that_may_mean_another_tool_is_not(written: str) -> None:
    assert resolve_name(written, KNOWN) is None
