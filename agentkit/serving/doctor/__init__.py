"""Prove that a server is right for agents: `agentkit doctor`."""

from agentkit.serving.doctor.examine import PROBES, examine
from agentkit.serving.doctor.finding import Diagnosis, Finding, Probe, Verdict
from agentkit.serving.doctor.machine import examine_machine

__all__ = [
    "PROBES",
    "Diagnosis",
    "Finding",
    "Probe",
    "Verdict",
    "examine",
    "examine_machine",
]
