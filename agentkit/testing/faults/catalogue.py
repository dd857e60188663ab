"""Every fault by name: `FAULTS`, and `damaged`, which applies them to a sound reply.

A fault is either the model's (it changes what the reply says) or the server's (it changes what
goes over the wire). The names are stable: tests and scripts of users spell them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from agentkit.testing.faults.fault import Damaged, Fault
from agentkit.testing.faults.model_faults import MODEL_FAULTS
from agentkit.testing.faults.served import Served, served
from agentkit.testing.faults.server_faults import SERVER_FAULTS
from agentkit.testing.scripted import Reply

FAULTS: Mapping[str, Fault] = MappingProxyType({f.name: f for f in MODEL_FAULTS + SERVER_FAULTS})
"""Name → fault."""


def find_fault(fault: Fault | str) -> Fault:
    """The fault of that name.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    if isinstance(fault, Fault):
        return fault
    if fault not in FAULTS:
        raise ValueError(f"there is no fault {fault!r}; there are: {', '.join(FAULTS)}")
    return FAULTS[fault]


def damaged(reply: Reply | Served, *faults: Fault | str, at: float | None = None) -> Damaged:
    """A sound reply, struck by faults: `damaged(call("add", a=1, b=2), "single_quoted_arguments")`.

    Args:
        reply: What the model would have said.
        faults: Faults, or their names, in the order in which they strike.
        at: Where in the body faults of the wire strike, 0 to 1; default: by the server's seed.

    Raises:
        ValueError: There is no fault of that name, or it cannot strike such a reply.
    """
    sound = served(reply) if isinstance(reply, Reply) else reply
    found = tuple(find_fault(fault) for fault in faults)
    for fault in found:
        if not fault.fits(sound):
            raise ValueError(f"the fault {fault.name!r} does not change such a reply")
    return Damaged(found, sound, at)
