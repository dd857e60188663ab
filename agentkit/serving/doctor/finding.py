"""What a probe says, and all probes together."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Generic, Literal, TypeAlias, TypeVar

from agentkit.errors import AgentKitError
from agentkit.messages import JsonObject

Verdict: TypeAlias = Literal["pass", "warn", "fail"]
"""`warn` is what agentkit works around, or what could not be told."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe found.

    Attributes:
        verdict: Whether it is as it should be.
        says: What was seen, in a sentence.
        remedy: What to change: the flag of the server, the file, the setting.
        probe: The probe's name.
        figures: What was measured, by its name with the unit; two servers of one kind differ in it.
    """

    verdict: Verdict
    says: str
    remedy: str = ""
    probe: str = ""
    figures: Mapping[str, float] = field(default_factory=dict, compare=False)


def passed(says: str, figures: Mapping[str, float] | None = None) -> Finding:
    """It is as it should be."""
    return Finding("pass", says, figures=figures or {})


def warned(says: str, remedy: str = "", figures: Mapping[str, float] | None = None) -> Finding:
    """Something is missing that agentkit can do without, or it could not be told."""
    return Finding("warn", says, remedy, figures=figures or {})


def failed(says: str, remedy: str) -> Finding:
    """Agents will suffer from it."""
    return Finding("fail", says, remedy)


SubjectT = TypeVar("SubjectT")


@dataclass(frozen=True, slots=True)
class Probe(Generic[SubjectT]):
    """One question to a server.

    Attributes:
        name: Two or three words.
        asks: The question, as a person would put it.
        ask: Finds out.
    """

    name: str
    asks: str
    ask: Callable[[SubjectT], Awaitable[Finding]]

    async def __call__(self, subject: SubjectT) -> Finding:
        """The finding; a server that refuses to be asked is a finding too."""
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
        version: Of vLLM; empty for another server.
        window: Tokens of prompt and reply together, if it says.
        control: What it can hold calls to, as agents find it out; empty where nobody asked.
        template: Which chat template it uses.
        reachable: Whether it answered at all.
        findings: In the order in which they were asked.
        server: Which program it is, such as `vLLM` or `llama.cpp`; empty if it does not say.
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
        """0 nothing failed, 1 something did, 3 there is no server."""
        if not self.reachable:
            return 3
        return int(self.verdict == "fail")

    @property
    def fingerprint(self) -> str:
        """Names the server's kind: the same model, version, window, template and abilities have the
        same one, wherever and whenever they are met.
        """
        verdicts = sorted((found.probe, found.verdict) for found in self.findings)
        kind = [self.model, self.version, self.window, self.control, self.template, verdicts]
        return sha256(json.dumps(kind).encode()).hexdigest()[:16]

    def to_json(self) -> JsonObject:
        """For other programs."""
        return {
            **asdict(self),
            "fingerprint": self.fingerprint,
            "verdict": self.verdict,
            "findings": list(map(asdict, self.findings)),
        }
