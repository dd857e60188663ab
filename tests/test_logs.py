from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from agentkit.trace import get_logger

_CONFIGURES_NOTHING = """
import logging, structlog
before = structlog.get_config()
import agentkit, agentkit.cli, agentkit.testing
assert logging.getLogger().handlers == [], logging.getLogger().handlers
assert logging.getLogger("agentkit").handlers == []
assert logging.getLogger("agentkit").level == logging.NOTSET
assert not structlog.is_configured()
assert structlog.get_config() == before
"""


@pytest.mark.slow
def test_importing_the_library_configures_no_logging() -> None:
    subprocess.run([sys.executable, "-c", _CONFIGURES_NOTHING], check=True)


def test_users_of_plain_logging_see_the_lines_with_their_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="agentkit"):
        get_logger().info("model call failed, trying again", attempt=2, error="busy\nnow")
    (record,) = caplog.records
    assert record.name == "agentkit"
    assert record.levelno == logging.INFO
    assert record.getMessage() == "model call failed, trying again attempt=2 error='busy\\nnow'"


def test_fields_are_kept_as_data_for_those_who_format_themselves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="agentkit"):
        get_logger().warning("run file not written", path="x")
    fields = vars(caplog.records[0])["agentkit"]
    assert fields == {"event": "run file not written", "path": "x"}


def test_percent_signs_in_values_are_no_formats(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="agentkit"):
        get_logger().info("100 %s", value="%d")
    assert caplog.records[0].getMessage() == "100 %s value='%d'"


def test_a_line_below_the_level_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="agentkit"):
        get_logger().info("quiet")
    assert caplog.records == []


def test_exceptions_come_with_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="agentkit"):
        try:
            raise LookupError("gone")
        except LookupError:
            get_logger().exception("it failed")
    assert caplog.records[0].exc_info is not None
    assert "LookupError: gone" in caplog.text
