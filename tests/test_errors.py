from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from agentkit import errors
from agentkit.errors import (
    AgentKitError,
    ContextWindowError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelStatusError,
    ModelTimeoutError,
    ToolError,
)


def test_one_except_clause_catches_everything_agentkit_raises() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), AgentKitError)


def test_every_exception_of_the_module_is_public() -> None:
    made = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert made == set(errors.__all__)


@pytest.mark.parametrize(
    "kind",
    [
        ModelConnectionError,
        ModelTimeoutError,
        ModelStatusError,
        ModelProtocolError,
        ContextWindowError,
    ],
)
def test_what_the_server_does_wrong_is_a_model_error(kind: type[Exception]) -> None:
    assert issubclass(kind, ModelError)


@pytest.mark.parametrize(
    "error",
    [
        ModelError("no"),
        ModelStatusError("busy", status_code=429, retry_after=3.0),
        ToolError("no such order", retry=True),
    ],
)
def test_errors_survive_pickling_and_copying_with_their_fields(error: AgentKitError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)
