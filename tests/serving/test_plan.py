"""The right command for each model, and what is said of the parts that nobody tried."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path

import pytest

from agentkit.errors import ServerNotReadyError
from agentkit.gemma4.profiles import PROFILES
from agentkit.serving.doctor.examine import gpu_memory
from agentkit.serving.plan import (
    OLDEST_VLLM,
    REQUIRED_FLAGS,
    TESTED_VLLM,
    ServeOptions,
    ServePlan,
    api_program,
    plan,
)

MODELS = {
    "E2B": "google/gemma-4-E2B-it",
    "E4B": "google/gemma-4-E4B-it",
    "12B": "google/gemma-4-12B-it",
    "26B-A4B": "google/gemma-4-26B-A4B-it",
    "31B": "google/gemma-4-31B-it",
}


def value(made: ServePlan, flag: str) -> str:
    """What follows a flag, the last one of its name."""
    at = len(made.command) - 1 - made.command[::-1].index(flag)
    return made.command[at + 1]


@pytest.mark.parametrize(("size", "model"), MODELS.items())
def test_each_size_gets_the_parsers_a_window_with_room_and_its_media(size: str, model: str) -> None:
    made, profile = plan(model, ServeOptions()), PROFILES[size]
    assert made.command[:3] == ("vllm", "serve", model)
    assert " ".join(REQUIRED_FLAGS) in " ".join(made.command)
    window = int(value(made, "--max-model-len"))
    assert profile.compaction_point + 8192 <= window <= profile.context_window
    limits = json.loads(value(made, "--limit-mm-per-prompt"))
    assert {"text", *limits} == set(profile.modalities)
    assert any(size in part and "GPU" in part for part in made.unverified)


def test_what_the_user_says_wins(tmp_path: Path) -> None:
    wish = ServeOptions(
        served_name="mine",
        host="0.0.0.0",
        port=9,
        window=1000,
        gpus=4,
        chat_template=tmp_path / "t.jinja",
        extra=("--max-model-len", "2000"),
    )
    made = plan(MODELS["31B"], wish)
    assert value(made, "--served-model-name") == made.name == "mine"
    assert value(made, "--host") == "0.0.0.0"
    assert made.url == "http://127.0.0.1:9"
    assert value(made, "--chat-template") == str(tmp_path / "t.jinja")
    assert value(made, "--tensor-parallel-size") == "4"
    assert value(made, "--max-model-len") == "2000"
    assert made.command.index("1000") < made.command.index("2000")


@pytest.mark.parametrize(
    ("name", "bits", "flags"),
    [
        ("google/gemma-4-31B-it-qat-w4a16-ct", 4, ""),
        ("someone/gemma-4-26B-A4B-it-FP8-dynamic", 8, ""),
        ("unsloth/gemma-4-E4B-it-bnb-4bit", 4, "--quantization bitsandbytes"),
    ],
)
def test_a_quantised_reupload_is_recognised_by_its_name(name: str, bits: int, flags: str) -> None:
    made = plan(name, ServeOptions())
    assert any(f"({bits} bits a weight)" in part for part in made.unverified)
    assert ("--quantization" in made.command) == bool(flags)
    assert flags in " ".join(made.command)


def test_a_reupload_is_told_of_old_templates_and_googles_own_is_not() -> None:
    assert any("--chat-template" in note for note in plan("x/gemma-4-31B-it", ServeOptions()).notes)
    assert not any("--chat-template" in note for note in plan(MODELS["31B"], ServeOptions()).notes)


def test_a_folder_is_served_offline_by_its_own_config_under_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "my-tune"
    folder.mkdir()
    text = {"model_type": "gemma4_text", "num_hidden_layers": 60, "max_position_embeddings": 32768}
    (folder / "config.json").write_text(json.dumps(text))
    made = plan(str(folder), ServeOptions())
    assert made.name == "my-tune"
    assert made.environment["HF_HUB_OFFLINE"] == "1"
    assert value(made, "--max-model-len") == "32768"
    assert "--limit-mm-per-prompt" not in made.command, "a checkpoint of text only"
    assert any("no chat template" in note for note in made.notes)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert not any("template" in note for note in plan(str(folder), ServeOptions()).notes)
    assert "HF_HUB_OFFLINE" not in plan(MODELS["31B"], ServeOptions()).environment


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("my-tune", "qwen3", "no Gemma 4"),
        ("gemma-4-best", "llama", "no Gemma 4"),
        ("tuned", "gemma3_text", "no Gemma 4"),
        ("speeder", "gemma4_assistant", "--draft"),
    ],
)
def test_what_a_folder_holds_is_told_by_its_config_and_not_by_its_name(
    tmp_path: Path, name: str, kind: str, words: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(ServerNotReadyError, match=words):
        plan(str(folder), ServeOptions())
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma4"}))
    assert plan(str(folder), ServeOptions()).name == name


def test_a_folder_weighs_what_its_files_weigh(tmp_path: Path) -> None:
    text = {"num_hidden_layers": 60, "num_attention_heads": "many"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma4", "text_config": text}))
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(18_000_000_000)  # of which the disk holds nothing
    made = plan(str(tmp_path), ServeOptions(memory=24))
    assert any("about 18 GB" in note for note in made.notes)
    with pytest.raises(ServerNotReadyError, match="18 GB"):
        plan(str(tmp_path), ServeOptions(memory=16))


def test_on_the_cpu_nothing_of_gpus_is_said() -> None:
    made = plan("tiny", ServeOptions(cpu=True, served_name="tiny-gemma4"), ("python", "-m", "vllm"))
    assert made.command[:4] == ("python", "-m", "vllm", "tiny")
    assert "--gpu-memory-utilization" not in made.command
    assert value(made, "--dtype") == "float32"
    assert made.unverified == ()


def test_a_name_that_says_nothing_is_said_to_be_a_guess() -> None:
    for name, words in (("x/my-model", "nothing says"), ("x/gemma-4-mine", "which Gemma 4")):
        [guess] = [note for note in plan(name, ServeOptions()).notes if "guess" in note]
        assert words in guess


@pytest.mark.parametrize("name", ["mlx-community/gemma-4-31b-it-4bit", "x/gemma-4-E4B-it-exl3"])
def test_weights_of_another_program_are_named(name: str) -> None:
    assert any("none that vLLM reads" in note for note in plan(name, ServeOptions()).notes)


def test_the_shown_command_is_the_one_for_a_shell() -> None:
    made = plan("google/gemma-4-E2B-it", ServeOptions(served_name="it's mine"))
    words = shlex.split(made.shown().replace("\\\n", " "))
    variables = [f"{name}={text}" for name, text in made.environment.items()]
    assert words == [*variables, *made.command]


@pytest.mark.parametrize(
    ("model", "wish", "words"),
    [
        ("google/gemma-4-E4B-it-assistant", ServeOptions(), "--draft"),
        ("google/gemma-4-31B", ServeOptions(), "gemma-4-31B-it"),
        ("Qwen/Qwen3-32B", ServeOptions(), "no Gemma 4"),
        ("google/gemma-3-27b-it", ServeOptions(), "no Gemma 4"),
        ("google/diffusiongemma-26B-A4B-it", ServeOptions(), "no Gemma 4"),
        ("google/medgemma-4b-it", ServeOptions(), "no Gemma 4"),
        ("google/translategemma-12b-it", ServeOptions(), "no Gemma 4"),
        ("google/gemma-7b-it", ServeOptions(), "no Gemma 4"),
        ("google/embeddinggemma-300m", ServeOptions(), "no Gemma 4"),
        ("google/gemma-4-E4B-it-assistant/", ServeOptions(), "--draft"),
        ("x/gemma-4-31B-it-assistant-FP8", ServeOptions(), "--draft"),
        ("unsloth/gemma-4-12B-bnb-4bit", ServeOptions(), "serve unsloth/gemma-4-12B-it"),
        ("x/gemma-4-26B-A4B-base", ServeOptions(), "serve x/gemma-4-26B-A4B-it"),
        ("google/gemma-4-31B-it", ServeOptions(extra=("--port=9",)), "own options"),
        ("google/gemma-4-31B-it", ServeOptions(extra=("--api-key", "k")), "AGENTKIT_API_KEY"),
        ("google/gemma-4-31B-it-qat-q4_0-unquantized", ServeOptions(memory=40), "62 GB"),
        ("google/gemma-4-31B-it", ServeOptions(gpus=3), "1, 2, 4, 8"),
        ("google/gemma-4-31B-it", ServeOptions(memory=24), "w4a16"),
        ("google/gemma-4-31B-it", ServeOptions(memory=24, gpus=2), "24 GB"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(
    model: str, wish: ServeOptions, words: str
) -> None:
    with pytest.raises(ServerNotReadyError, match=words):
        plan(model, wish)


@pytest.mark.parametrize(
    ("model", "memory"),
    [
        ("google/gemma-4-31B-it", 80),
        ("google/gemma-4-31B-it-qat-w4a16-ct", 24),
        ("RedHatAI/gemma-4-26B-A4B-it-FP8-dynamic", 48),
        ("google/gemma-4-E4B-it", 24),
        ("x/gemma-4-E4B-it-medical-assistant", 24),
        ("x/gemma-4-31B-it-4bit", 24),
        ("x/gemma-4-31B-it-NVFP4A16", 24),
        ("x/gemma-4-31B-it-Q8_0-GGUF", 48),
    ],
)
def test_what_fits_is_planned(model: str, memory: float) -> None:
    assert plan(model, ServeOptions(memory=memory)).command


def test_a_variable_of_the_users_is_never_overridden() -> None:
    own = {"VLLM_CPU_KVCACHE_SPACE": "40", "DO_NOT_TRACK": "0"}
    made = plan(MODELS["E2B"], ServeOptions(cpu=True), environ=own)
    assert own.keys().isdisjoint(made.environment)
    assert (
        "VLLM_CPU_KVCACHE_SPACE"
        in plan(MODELS["E2B"], ServeOptions(cpu=True), environ={}).environment
    )


def test_a_draft_model_is_named_and_used_where_it_is_wanted() -> None:
    assert any("--draft" in note for note in plan(MODELS["31B"], ServeOptions()).notes)
    drafts = json.loads(
        value(plan(MODELS["31B"], ServeOptions(draft=True)), "--speculative-config")
    )
    for model, wish in (
        ("x/gemma-4-mine", ServeOptions(draft=True)),
        (MODELS["31B"], ServeOptions(draft=True, cpu=True)),
    ):
        assert any("--draft is left out" in note for note in plan(model, wish).notes)
    assert drafts == {"model": "google/gemma-4-31B-it-assistant", "num_speculative_tokens": 4}


def test_flags_that_the_installed_vllm_does_not_have_are_left_out_and_named() -> None:
    known = {"--max-model-len", "--limit-mm-per-prompt", "--gpu-memory-utilization"}
    made = plan(MODELS["E4B"], ServeOptions(), known=known)
    assert "--async-scheduling" not in made.command
    assert value(made, "--gpu-memory-utilization") == "0.90"
    assert any("--async-scheduling" in note for note in made.notes)


def test_media_on_the_cpu_are_left_out_with_a_word() -> None:
    made = plan(MODELS["E2B"], ServeOptions(cpu=True))
    assert "--language-model-only" in made.command
    assert "--limit-mm-per-prompt" not in made.command
    assert any("text only" in note for note in made.notes)


def test_a_compose_file_holds_the_same_arguments() -> None:
    made = plan(MODELS["31B"], ServeOptions(gpus=2, draft=True))
    lines = made.compose().splitlines()
    words = [json.loads(line.strip()[2:]) for line in lines if line.startswith('      - "')]
    for word in made.command[3:]:
        assert word in words or word == made.command[made.command.index("--host") + 1]
    assert "              count: 2" in lines


def test_a_container_listens_where_the_server_would() -> None:
    def published(host: str) -> str:
        lines = plan(MODELS["E2B"], ServeOptions(host=host)).compose().splitlines()
        return str(json.loads(lines[lines.index("    ports:") + 1].strip()[2:]))

    assert published("127.0.0.1") == "127.0.0.1:8000:8000"
    assert published("::1") == "[::1]:8000:8000"
    assert published("0.0.0.0") == "8000:8000"


def test_a_container_reads_the_folder_and_the_template_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    template = tmp_path / "t.jinja"
    options = ServeOptions(served_name="gemma-4-E2B-it", chat_template=template)
    lines = [line.strip() for line in plan(str(tmp_path), options).compose().splitlines()]
    assert f'- "{tmp_path}:/checkpoint:ro"' in lines
    assert f'- "{template}:/chat_template.jinja:ro"' in lines
    assert lines[lines.index("command:") + 1] == '- "/checkpoint"'
    assert lines[lines.index('- "--chat-template"') + 1] == '- "/chat_template.jinja"'


def test_a_server_at_an_ipv6_address_has_a_url() -> None:
    assert plan(MODELS["E2B"], ServeOptions(host="::1")).url == "http://[::1]:8000"


def test_the_memory_of_the_smallest_gpu_counts_in_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"  # which counts in MiB
    program.write_text("#!/bin/sh\necho 81559\necho 24564\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpu_memory() == pytest.approx(25.757, abs=0.001)


def test_a_model_of_unknown_size_is_not_refused_for_its_heads() -> None:
    made = plan("gemma-4-mine", ServeOptions(gpus=3))
    assert value(made, "--tensor-parallel-size") == "3"


# --- the vLLM that is tested -------------------------------------------------------------------


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
