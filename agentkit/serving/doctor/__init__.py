"""Examines whether a server is right for agents: `agentkit doctor`."""

from agentkit.serving.doctor.examine import PROBES, Diagnosis, Probe, examine, examine_machine
from agentkit.serving.doctor.subject import Finding, Verdict

__all__ = [
    "PROBES",
    "Diagnosis",
    "Finding",
    "Probe",
    "Verdict",
    "examine",
    "examine_machine",
]
