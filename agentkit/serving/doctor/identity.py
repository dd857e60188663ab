"""Who is there: vLLM's version, the model, the window."""

from __future__ import annotations

import re

from agentkit.serving.doctor.finding import Finding, failed, passed, warned
from agentkit.serving.doctor.subject import Subject
from agentkit.serving.vllm import OLDEST_VLLM, TESTED_VLLM
from agentkit.wire import names_server


async def steadiness(subject: Subject) -> Finding:
    """Whether requests were answered at the first try."""
    if not subject.unsteady:
        return passed("every request was answered")
    said = ", ".join(str(status) for status in sorted(set(subject.unsteady)))
    return warned(
        f"{len(subject.unsteady)} of {subject.asked} requests were put off ({said}) and answered "
        "when they were made again: each costs an agent some seconds",
        "look for a limit of rate or of waiting requests (vLLM: --max-num-queued-reqs), or for a "
        "replica that is down",
    )


_LEAST_WINDOW = 4096
"""Tokens below which instructions, a few tools, a result and a reply do not fit together."""


async def version(subject: Subject) -> Finding:
    """VLLM's version against the range that agentkit supports."""
    if not subject.is_vllm:
        named = names_server(subject.owner)
        what = f"this is {named}" if named and named != "vLLM" else "no vLLM tells its version here"
        return warned(
            f"{what}; what agents do without is told by the probes that follow",
            "reach vLLM itself, if it is behind a proxy; else agentkit serve MODEL starts one",
        )
    numbers = _numbers(subject.version)
    if numbers < _numbers(OLDEST_VLLM):
        return failed(
            f"vLLM {subject.version} loses arguments of calls while it streams (vllm#45588)",
            f"install vLLM {OLDEST_VLLM} or newer; {TESTED_VLLM} is what agentkit is tested with",
        )
    if numbers > _numbers(TESTED_VLLM):
        return warned(
            f"vLLM {subject.version} is newer than {TESTED_VLLM}, which agentkit is tested with",
            "the other probes tell whether what agentkit relies on still holds",
        )
    return passed(f"vLLM {subject.version}")


def _numbers(text: str) -> tuple[int, ...]:
    """Major, minor and patch; what follows them (`rc1`, `+cpu`) does not count."""
    found = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)


async def model(subject: Subject) -> Finding:
    """Whether the served name tells which Gemma 4 it is; that it is served is settled before."""
    if subject.is_gemma is False:
        return warned(
            f"{subject.model} is no Gemma 4: nothing of Gemma is sent to it, calls are not held to "
            "Gemma's grammar, and its window and media are what the server says",
            "agentkit is made for Gemma 4: agentkit serve google/gemma-4-26B-A4B-it",
        )
    if not subject.known_model:
        return warned(
            f"{subject.model} is served; the name does not say which Gemma 4 it is, so its "
            "window, its media and whether it should think are guessed",
            "serve it under a name that does: --served-model-name gemma-4-26b-mine",
        )
    return passed(f"{subject.model} is served: profile {subject.profile.name}")


async def window(subject: Subject) -> Finding:
    """The server's window against what the model can use."""
    tokens, profile = subject.window, subject.profile
    if tokens is None:
        return warned(
            f"the server does not say how long its window is; {profile.context_window} is assumed",
            "no proxy may drop max_model_len from /v1/models",
        )
    if tokens < _LEAST_WINDOW:
        return failed(
            f"{tokens:,} tokens are too few for instructions, tools, results and a reply",
            f"--max-model-len {profile.compaction_point * 4 // 3} or more",
        )
    if subject.known_model and tokens < profile.compaction_point:
        return warned(
            f"{tokens:,} tokens; {profile.name} works well up to {profile.compaction_point:,} "
            "tokens of prompt, older steps will be left out earlier",
            f"--max-model-len {profile.compaction_point * 4 // 3}, if memory permits",
        )
    if subject.known_model and tokens > profile.context_window:
        return warned(
            f"{tokens:,} tokens are more than the {profile.context_window:,} of {profile.name}",
            f"--max-model-len {profile.context_window}",
        )
    return passed(f"{tokens:,} tokens")
