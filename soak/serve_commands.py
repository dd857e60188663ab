"""The commands that `agentkit serve` plans, each read by the installed vLLM's own argument parser.

python -m soak.serve_commands
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agentkit.errors import ServerNotReadyError
from agentkit.serving.plan import TESTED_VLLM, ServeOptions, plan
from agentkit.serving.process import progress_line, vllm_environment
from soak.proof import write_record

_SIZES: Final = ("E2B", "E4B", "12B", "26B-A4B", "31B")
_FORMS: Final = (
    "google/gemma-4-{}-it",
    "google/gemma-4-{}-it-qat-w4a16-ct",
    "RedHatAI/gemma-4-{}-it-FP8-dynamic",
    "RedHatAI/gemma-4-{}-it-NVFP4",
    "unsloth/gemma-4-{}-it-bnb-4bit",
)
_MACHINES: Final = {
    "one of 24 GB": ServeOptions(memory=24),
    "one of 48 GB": ServeOptions(memory=48),
    "one of 80 GB": ServeOptions(memory=80, draft=True),
    "two of 80 GB": ServeOptions(memory=80, gpus=2),
    "eight of 141 GB": ServeOptions(memory=141, gpus=8, draft=True),
    "no GPU": ServeOptions(cpu=True),
}

_READER: Final = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
said = []
for words in json.load(sys.stdin):
    try:
        parser.parse_args(words)
        said.append("")
    except BaseException as error:
        said.append(f"{type(error).__name__}: {error}")
json.dump(said, sys.stdout)
"""


def _planned() -> Iterator[tuple[str, list[str] | str]]:
    for form in _FORMS:
        for size in _SIZES:
            for machine, options in _MACHINES.items():
                model = form.format(size)
                try:
                    made = plan(model, options)
                except ServerNotReadyError as error:
                    yield f"{model} on {machine}", str(error)
                else:
                    yield f"{model} on {machine}", ["--model", *made.command[2:]]


def main() -> int:
    """Plans all, has them read, and writes what came of it."""
    planned = list(_planned())
    commands = [words for _, words in planned if not isinstance(words, str)]
    python = vllm_environment(progress_line("installing vLLM (once)"))
    read = subprocess.run(
        [str(python), "-c", _READER],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        env={"VLLM_LOGGING_LEVEL": "ERROR", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
    )
    said = json.loads(read.stdout.splitlines()[-1])
    names = [name for name, words in planned if not isinstance(words, str)]
    refused = {name: why for name, why in zip(names, said, strict=True) if why}
    counts = Counter("planned" if not isinstance(w, str) else "refused by us" for _, w in planned)
    proof = {
        "part": "serve_commands",
        "vllm": TESTED_VLLM,
        **counts,
        "refused by vLLM's parser": refused,
        "refused by us": {name: words for name, words in planned if isinstance(words, str)},
        "not run": "no GPU here: that the commands serve, and what other versions of vLLM take",
    }
    write_record("serve_commands", proof)
    print(f"{counts['planned']} planned, {len(refused)} refused by vLLM's parser: {refused}")
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
