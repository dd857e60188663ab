"""The fault server: a scripted model server that misbehaves by name, over real HTTP.

```python
add_up = call("add", a=1, b=2)
async with FaultServer([damaged(add_up, "fenced_arguments"), say("3")]) as server:
    result = await Agent(VLLMModel(server.url), tools=[add]).run("1 + 2?")
```
"""

from agentkit.testing.faults.catalogue import FAULTS, damaged, find_fault
from agentkit.testing.faults.served import Damaged, Delivery, Fault, Served, ServedCall, served
from agentkit.testing.faults.server import FaultServer, ServerStep

__all__ = [
    "FAULTS",
    "Damaged",
    "Delivery",
    "Fault",
    "FaultServer",
    "Served",
    "ServedCall",
    "ServerStep",
    "damaged",
    "find_fault",
    "served",
]
