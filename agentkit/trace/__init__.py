"""Observers of a run, and the one reader of its record. OpenTelemetry is `agentkit.trace.otel`.

```
journal ──┐              ┌──► one list, conversations, the terminal, the page, an export
          ├─► Recording ─┤
run file ─┘              └──► replay (`agentkit.runtime`), an eval's transcript
```
In: the entries of a journal or the lines of a run file, those of earlier versions included. Out:
the events of a run in order, the run in one line, and what is lost of it. It never shows a secret
that was registered when the run was recorded, never takes a part of a record for the whole, and
never writes to a record (`runs delete` removes a record as a whole).
"""

from agentkit.redaction import get_logger, keep_secret, secret_headers, without_secrets
from agentkit.trace.library import (
    JOURNAL,
    Conversation,
    Library,
    RunFiles,
    messages_of,
    open_run,
    run_file_name,
    runs_directory,
    said_by,
    said_in,
)
from agentkit.trace.recording import (
    Part,
    Recording,
    Step,
    Timed,
    ToolRun,
    TraceError,
    follow,
    parts_of,
    read_events,
    read_file,
    requests_of,
)
from agentkit.trace.window import Filled, filled_of, prompt_of
from agentkit.wording import moment, printable

Ran = ToolRun
"""The name that `ToolRun` had before; it goes with the next version."""

__all__ = [
    "JOURNAL",
    "Conversation",
    "Filled",
    "Library",
    "Part",
    "Ran",
    "Recording",
    "RunFiles",
    "Step",
    "Timed",
    "ToolRun",
    "TraceError",
    "filled_of",
    "follow",
    "get_logger",
    "keep_secret",
    "messages_of",
    "moment",
    "open_run",
    "parts_of",
    "printable",
    "prompt_of",
    "read_events",
    "read_file",
    "requests_of",
    "run_file_name",
    "runs_directory",
    "said_by",
    "said_in",
    "secret_headers",
    "without_secrets",
]
