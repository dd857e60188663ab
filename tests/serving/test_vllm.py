from __future__ import annotations

import tomllib
from pathlib import Path

from agentkit.serving.plan import OLDEST_VLLM, REQUIRED_FLAGS, TESTED_VLLM, api_program

REPO = Path(__file__).parents[2]


def test_the_extra_asks_for_the_supported_range() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    (requirement,) = project["optional-dependencies"]["vllm"]
    assert requirement.startswith(f"vllm>={OLDEST_VLLM};")


def test_the_readme_states_the_supported_range_and_the_flags() -> None:
    readme = (REPO / "README.md").read_text()
    assert f"vLLM {OLDEST_VLLM} or newer" in readme
    assert TESTED_VLLM.removesuffix(".0") in readme
    for parser in ("--tool-call-parser gemma4", "--reasoning-parser gemma4"):
        assert parser in readme
        assert parser in " ".join(REQUIRED_FLAGS)


def test_the_tested_version_is_in_the_supported_range() -> None:
    oldest = [int(part) for part in OLDEST_VLLM.split(".")]
    assert [int(part) for part in TESTED_VLLM.split(".")] >= oldest


def test_the_cpu_build_is_started_by_its_module() -> None:
    program = " ".join(api_program(Path("python")))
    assert program == "python -m vllm.entrypoints.openai.api_server --model"
