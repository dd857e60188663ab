"""The doctor before vLLMs that were really started wrongly, and behind every planted fault.

Each batch starts a server: two good ones, of trained and of random weights, of which nothing may be
said in twenty examinations (before the first all faults are planted as well); then one wrong start
after the other, whose probe must fail and no other.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from agentkit.serving.doctor import Diagnosis, examine
from soak.proof import prove
from tests.gemma4.official import FILES, TEMPLATES
from tests.live.planted import planted_before
from tests.live.server import TINY, checkpoint_folder, live_server
from tests.serving.doctor.planted import PLANTED

_EXAMINATIONS = 20
"""Of a good server: what fails now and then would be a false alarm."""


@dataclass(frozen=True)
class _Start:
    """How a server is started, and the probes that must fail of it and that must warn."""

    what: str
    fails: frozenset[str] = frozenset()
    without: str = ""
    flags: tuple[str, ...] = ()
    checkpoint: str = "tiny"
    warns: frozenset[str] = frozenset()
    rewritten: tuple[str, str] | None = None
    """Words of the checkpoint's own template, and what stands in their place."""


_PARSER = "--enable-auto-tool-choice --tool-call-parser gemma4"
_STARTS = (
    _Start("a good server"),
    _Start("a good server of random weights", checkpoint="random"),
    _Start("no tool parser", frozenset({"tool parser"}), without=_PARSER),
    _Start(
        "another model's tool parser",
        frozenset({"tool parser"}),
        flags=("--tool-call-parser", "hermes"),
    ),
    _Start(
        "no reasoning parser",
        frozenset({"reasoning parser"}),
        without="--reasoning-parser gemma4",
    ),
    _Start(
        "April's template",
        frozenset({"chat template"}),
        flags=("--chat-template", str(TEMPLATES / FILES["april"])),
    ),
    _Start(
        "no details of prompt tokens",
        frozenset({"prefix cache"}),
        without="--enable-prompt-tokens-details",
    ),
    _Start("no prefix cache", frozenset({"prefix cache"}), flags=("--no-enable-prefix-caching",)),
    _Start(
        "another sampling than the checkpoint's",
        frozenset({"own settings"}),
        flags=("--generation-config", "vllm"),
    ),
    _Start(
        "a backend without structural tags",
        frozenset({"grammar"}),
        flags=("--structured-outputs-config.backend", "guidance"),
    ),
    _Start(
        "a template that cannot think",
        frozenset({"thinking switch"}),
        rewritten=("enable_thinking", "never_set"),
    ),
    _Start("a tiny window", frozenset({"window"}), flags=("--max-model-len", "2048")),
)


def batch(number: int) -> dict[str, int]:
    """One server, examined."""
    assert TEMPLATES.is_dir(), f"no official templates at {TEMPLATES}: set AGENTKIT_TEMPLATES"
    start = _STARTS[number]
    with TemporaryDirectory() as folder:
        flags = [*start.flags, *_template_of(start, Path(folder) / "template.jinja")]
        return _examined(number, start, flags)


def _template_of(start: _Start, file: Path) -> list[str]:
    if start.rewritten is None:
        return []
    own = (TINY / "chat_template.jinja").read_text(encoding="utf-8")
    file.write_text(own.replace(*start.rewritten), encoding="utf-8")
    return ["--chat-template", str(file)]


def _examined(number: int, start: _Start, flags: list[str]) -> dict[str, int]:
    with live_server(
        checkpoint_folder(start.checkpoint), flags=flags, without=start.without
    ) as server:
        times = 1 if start.fails else _EXAMINATIONS
        probes = sum(_check(server.url, server.api_key, start) for _ in range(times))
        counts = {"servers examined": 1, "probes asked": probes}
        if start.fails:
            counts["wrong starts found and named"] = 1
        else:
            counts["examinations of good servers without a word"] = times
        if number == 0:
            for planted in PLANTED:
                with planted_before(server.url, planted) as url:
                    wrong = _Start(planted.name, planted.found_by, warns=planted.warned_by)
                    _check(url, server.api_key, wrong)
            counts["planted faults found and named"] = len(PLANTED)
        return counts


def _check(url: str, key: str, start: _Start) -> int:
    """The number of probes asked; raises where what fails is not what must."""

    async def main() -> Diagnosis:
        return await examine(url, api_key=key)

    findings = anyio.run(main).findings
    failed = frozenset(found.probe for found in findings if found.verdict == "fail")
    told = "; ".join(f"{f.probe}: {f.says}" for f in findings if f.verdict != "pass")
    warned = frozenset(found.probe for found in findings if found.verdict == "warn")
    good = not start.fails and not start.warns
    if failed != start.fails or not start.warns <= warned or (good and told):
        raise AssertionError(f"{start.what}: {sorted(start.fails)} should fail, but {told}")
    return len(findings)


if __name__ == "__main__":
    sys.exit(prove("doctor", len(_STARTS), batch, jobs=1))  # one server at a time
