"""The examination of a server, probe after probe, and that of this machine.

In: an address, or nothing. Out: each finding as it is made, and a `Diagnosis` of a server. A server
that refuses a request or sends nonsense is a finding too: no probe ends the examination. Nothing on
the server changes.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final, TypeVar

import httpx2

from agentkit.errors import (
    DISTRIBUTION,
    AgentKitError,
    ModelConnectionError,
    ModelStatusError,
    ModelTimeoutError,
    ServerNotReadyError,
)
from agentkit.messages import JsonObject
from agentkit.models.calls import is_away
from agentkit.models.server import Server
from agentkit.models.transport import Connection, Timeouts, Transport
from agentkit.serving.doctor import passage, server
from agentkit.serving.doctor.arrival import arrival
from agentkit.serving.doctor.subject import Finding, Subject, Verdict, failed, passed, warned
from agentkit.serving.plan import TESTED_VLLM
from agentkit.serving.process import cache_folder
from agentkit.wire import names_server

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to a server.

    Attributes:
        name: Two or three words.
        asks: The question, as a person would put it.
        ask: Finds the answer.
    """

    name: str
    asks: str
    ask: Callable[[Subject], Awaitable[Finding]]

    async def __call__(self, subject: Subject) -> Finding:
        """Asks the question; an error is a finding too."""
        try:
            found = await self.ask(subject)
        except AgentKitError as error:
            found = failed(f"could not be asked: {error}", "look into the server's log")
        except Exception as error:  # noqa: BLE001 - what a server sends must not end the examination
            found = failed(
                f"what the server sent could not be made sense of ({type(error).__name__}: "
                f"{str(error)[:200]})",
                "look into the server's log, or reach it without the proxy before it",
            )
        return replace(found, probe=self.name)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found out about a server.

    Attributes:
        url: Its address, without a key.
        model: The served name; empty if there is none.
        version: vLLM's version; empty for another server.
        window: Tokens of prompt and reply together, if the server says.
        control: How calls can be enforced, as agents find it out; empty if it was not asked.
        template: Which chat template it uses.
        reachable: Whether it answered at all.
        findings: The finding of each probe, in the order of the questions.
        server: Its program, such as `vLLM` or `llama.cpp`; empty if it does not say.
    """

    url: str
    model: str = ""
    version: str = ""
    window: int | None = None
    control: str = ""
    template: str = ""
    reachable: bool = True
    findings: tuple[Finding, ...] = ()
    server: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        found = {finding.verdict for finding in self.findings}
        if "fail" in found:
            return "fail"
        return "warn" if "warn" in found else "pass"

    @property
    def exit_code(self) -> int:
        """0 if nothing failed, 1 if something did, 3 if there is no server."""
        if not self.reachable:
            return 3
        return int(self.verdict == "fail")

    @property
    def fingerprint(self) -> str:
        """A hash of model, version, window, template and verdicts: equal servers have the same."""
        verdicts = sorted((found.probe, found.verdict) for found in self.findings)
        kind = [self.model, self.version, self.window, self.control, self.template, verdicts]
        return sha256(json.dumps(kind).encode()).hexdigest()[:16]

    def to_json(self) -> JsonObject:
        """The diagnosis as a JSON object, for other programs."""
        return {
            **asdict(self),
            "fingerprint": self.fingerprint,
            "verdict": self.verdict,
            "findings": list(map(asdict, self.findings)),
        }


PROBES: Final = (
    Probe("version", "Is it a vLLM that agentkit supports?", server.version),
    Probe("model", "Does it serve the model, under a name that tells?", server.model),
    Probe("window", "Does the window fit the model?", server.window),
    Probe("tool parser", "Do calls come back as calls?", server.tool_parser),
    Probe("chat template", "Is it Gemma 4's newest?", server.template),
    Probe("token counts", "Do all count a prompt alike?", server.token_counts),
    Probe("control tokens", "Does text from outside stay text?", server.control_tokens),
    Probe("grammar", "Are calls held to their schema?", server.grammar),
    Probe("control", "What can a call be held to?", server.control),
    Probe("several calls", "Do all calls of a reply come back?", passage.several_calls),
    Probe("grammar cost", "What does the grammar cost a token?", server.grammar_cost),
    Probe("arrival", "Does all that is sent reach the model?", arrival),
    Probe("thinking switch", "Can thinking be switched?", passage.thinking_switch),
    Probe("reasoning parser", "Does reasoning come back as reasoning?", server.reasoning_parser),
    Probe("own tokens", "Do replies bring the model's tokens?", server.own_tokens),
    Probe("texts", "Do texts come back as they were written?", passage.texts),
    Probe("cut replies", "Is a reply that was cut seen as cut?", server.cut_replies),
    Probe("reply length", "May a reply be long?", passage.reply_length),
    Probe("large requests", "May a conversation be long?", passage.large_requests),
    Probe("streaming", "Is a stream the whole reply, in time?", passage.streaming),
    Probe("prefix cache", "Is a prompt read once only?", passage.prefix_cache),
    Probe("stop tokens", "Does a reply end where it should?", passage.stop_tokens),
    Probe("own settings", "Are the checkpoint's own settings used?", passage.own_settings),
    Probe("settings", "Are a request's own settings obeyed?", passage.settings),
    Probe("fields", "Are all fields of a request taken?", server.fields),
    Probe("steadiness", "Is every request answered?", server.steadiness),
)
"""In the order in which they run: later ones use what earlier ones found."""

_REACHABLE: Final = "reachable"
_PUT_OFF: Final = 4
"""Times that a server may say "later" before it is not asked again what it is."""

_TIMEOUTS: Final = Timeouts(connect=5.0, first_event=60.0, idle=30.0, total=120.0)


async def examine(
    url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    http_client: httpx2.AsyncClient | None = None,
    tell: Callable[[Finding], object] | None = None,
) -> Diagnosis:
    """Asks a live server everything that agentkit relies on, by some ninety short requests.

    Args:
        url: The server's address, with or without `/v1`.
        model: The served name; default: the first that the server lists.
        api_key: Sent as a bearer token.
        http_client: A client to use, which is not closed; by default one is made.
        tell: Called with each finding as it is made.

    Raises:
        ServerNotReadyError: `url` is no address.
    """
    connection = Connection(base_url=url, api_key=api_key, http_client=http_client)
    transport = Transport(connection, _TIMEOUTS)
    findings: list[Finding] = []

    def note(found: Finding) -> None:
        findings.append(found)
        if tell is not None:
            tell(found)

    try:
        subject, first = await _introduced(transport, model)
        note(first)
        if subject is None:
            reachable = first.probe != _REACHABLE
            return Diagnosis(transport.where, reachable=reachable, findings=tuple(findings))
        for probe in PROBES:
            note(await probe(subject))
        return Diagnosis(
            transport.where,
            subject.model,
            subject.version,
            subject.window,
            subject.server.control.known or "",
            subject.template,
            findings=tuple(findings),
            server="vLLM" if subject.is_vllm else names_server(subject.owner) or "",
        )
    finally:
        await transport.aclose()


async def _introduced(transport: Transport, wanted: str | None) -> tuple[Subject | None, Finding]:
    """Makes the subject from what the server says of itself; without one, the finding says why."""
    server = Server(transport, wanted, None)
    try:
        chosen = await _again_if_away(server.served.get)
    except (ModelConnectionError, ModelTimeoutError) as error:
        remedy = "start one: agentkit serve MODEL, or mend the address"
        return None, Finding("fail", str(error), remedy, _REACHABLE)
    except ServerNotReadyError as error:
        remedy = "--served-model-name NAME, or ask for one that is served: --model-name NAME"
        return None, Finding("fail", str(error), remedy, "model")
    except AgentKitError as error:
        remedy = "give the address of a vLLM, such as http://localhost:8000/v1"
        return None, Finding("fail", str(error), remedy, "server")
    subject = Subject(transport, server, chosen.name, chosen.max_model_len)
    subject.owner = chosen.owner
    with suppress(AgentKitError):
        subject.is_gemma = await _again_if_away(server.is_gemma.get)
    with suppress(AgentKitError):
        answer = await subject.get("/version")
        version = (answer or {}).get("version")
        subject.version = version if isinstance(version, str) else ""
    return subject, Finding("pass", f"{transport.where} answers", probe=_REACHABLE)


async def _again_if_away(find: Callable[[], Awaitable[T]]) -> T:
    """Calls `find` again while the server only says "later"."""
    for _ in range(_PUT_OFF):
        try:
            return await find()
        except ModelStatusError as error:
            if not is_away(error):
                raise
    return await find()


# --- this machine --------------------------------------------------------------------------------


_MIB: Final = 1 << 20  # the unit of `nvidia-smi`
_GIB: Final = 1 << 30
_ROOM: Final = 8
"""GiB: vLLM's environment for the CPU takes 3.5, and twice that while it is made."""

_PORT: Final = 8000
_NVIDIA_SECONDS: Final = 10.0  # seconds for `nvidia-smi`


def examine_machine() -> Iterator[Finding]:
    """Yields each finding about this machine as it is made.

    No finding is a failure: what is missing is needed for some uses only, which the finding names.
    """
    for probe, look in _MACHINE_PROBES.items():
        yield replace(look(), probe=probe)


def _python() -> Finding:
    return passed(f"Python {sys.version.split()[0]} on {sys.platform}")


def _extras() -> Finding:
    """Which of agentkit's extras are installed."""
    try:
        required = requires(DISTRIBUTION) or ()
    except PackageNotFoundError:  # imported from a folder that was never installed
        return passed("agentkit is not installed as a package, so its extras are not known")
    wanted: dict[str, list[str]] = {}
    for line in required:
        if (found := _EXTRA_REQUIREMENT.match(line)) and "vllm" not in found[1]:
            wanted.setdefault(found[2], []).append(found[1])
    missing = {extra: [n for n in names if not _installed(n)] for extra, names in wanted.items()}
    installed = sorted(extra for extra, lacks in missing.items() if not lacks)
    absent = [f"{extra} ({', '.join(lacks)})" for extra, lacks in sorted(missing.items()) if lacks]
    says = f"installed: {', '.join(installed) or 'none'}"
    if not absent:
        return passed(says)
    return passed(f"{says}; not installed: {'; '.join(absent)}")


_EXTRA_REQUIREMENT: Final = re.compile(r"""([\w.-]+)[^;]*;.*extra == ["']([\w-]+)["']""")
"""A requirement of an extra in the package's metadata (PEP 508): its name and the extra's."""


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _vllm() -> Finding:
    if (found := shutil.which("vllm")) is not None:
        return passed(f"vLLM is at {found}")
    return warned(
        "no vLLM on the path: a model for a GPU cannot be served from here",
        f"pip install vllm=={TESTED_VLLM} in an environment of its own; agentkit serve tiny needs "
        "none",
    )


def _gpu() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return warned(
            "no NVIDIA driver: models run on the CPU here, which is for demonstrations",
            "a GPU and its driver; see agentkit serve MODEL --dry-run for how much memory",
        )
    try:
        asked = _query_gpus(program, "name,memory.total,driver_version", "csv,noheader")
    except (OSError, subprocess.TimeoutExpired) as error:
        return warned(f"the NVIDIA driver does not answer: {error}", "restart it")
    if asked.returncode or not asked.stdout.strip():
        printed = (asked.stderr or asked.stdout).strip()[:200]
        return warned(f"the NVIDIA driver tells of no GPU: {printed}", "look at nvidia-smi")
    return passed("; ".join(asked.stdout.strip().splitlines()))


def gpu_memory() -> float | None:
    """GB of the smallest GPU of this machine; None without a GPU or its driver."""
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    try:
        asked = _query_gpus(program, "memory.total", "csv,noheader,nounits")
        return min(float(line) for line in asked.stdout.split()) * _MIB / 1e9
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _query_gpus(program: str, figures: str, form: str) -> subprocess.CompletedProcess[str]:
    """Asks `nvidia-smi` for figures of each GPU."""
    return subprocess.run(  # noqa: S603  found on the path, fixed arguments
        [program, f"--query-gpu={figures}", f"--format={form}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=_NVIDIA_SECONDS,
    )


def _disk() -> Finding:
    folder = cache_folder()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free / _GIB
    says = f"{free:.0f} GiB free for {folder}"
    if free < _ROOM:
        return warned(f"{says}: vLLM for the CPU needs {_ROOM}", "AGENTKIT_CACHE=FOLDER elsewhere")
    return passed(says)


def _port() -> Finding:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", _PORT))
        except OSError as error:
            return warned(
                f"port {_PORT} is taken ({error.strerror}): a server may be there already",
                f"agentkit doctor http://localhost:{_PORT}/v1, or agentkit serve MODEL --port N",
            )
    return passed(f"port {_PORT} is free")


_MACHINE_PROBES: Final[dict[str, Callable[[], Finding]]] = {
    "python": _python,
    "extras": _extras,
    "vllm": _vllm,
    "gpu": _gpu,
    "disk": _disk,
    "port": _port,
}
"""The probes of this machine, in the order in which they run."""
