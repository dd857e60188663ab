"""The model behind the clients: one server on loopback that knows every case by its number.

Its first reply is the case's. Told that its call was refused or ran with other arguments, or asked
again, it writes the call once more as it should be, and then says that it is done.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from soak.readers.cases import Case, full_key
from tests.reading.as_vllm import Read
from tests.reading.damage import whole
from tests.reading.playing import tool_results
from tests.reading.server import Server, Wrote
from tests.reading.tokens import RESPONSE, TURN_END

DONE = "Done." + TURN_END


class Cases:
    """What the model writes, given a request.

    Args:
        known: The cases.
    """

    def __init__(self, known: Sequence[Case]) -> None:
        self._known = known
        self.asked: Counter[int] = Counter()

    def __call__(self, body: dict[str, Any]) -> Wrote:
        """The next reply of the conversation."""
        text = json.dumps(next(m for m in body["messages"] if m["role"] == "user")["content"])
        found = re.search(r"case (\d+)", text)
        assert found, text
        number = int(found[1])
        case = self._known[number]
        self.asked[number] += 1
        if self.asked[number] == 1:
            return Wrote(case.written)
        missing = _missing(case, tool_results(body))
        if self.asked[number] > 2 or not missing:
            return Wrote(DONE)
        return Wrote("".join(missing) + RESPONSE)


def _missing(case: Case, results: Sequence[str]) -> list[str]:
    """The calls that have not run as they were meant, written as they should be."""
    ran = {_ran(result) for result in results}
    return [
        whole(call).written for call in case.meant if full_key(call.name, call.arguments) not in ran
    ]


def _ran(result: str) -> str:
    """What a tool's result says of its call; nothing where it is an error."""
    found = re.search(r'\{"ran".*\}', result, re.DOTALL)
    try:
        said = json.loads(found[0]) if found else {}
    except ValueError:
        return ""
    return full_key(said["ran"], said["arguments"]) if "ran" in said else ""


@contextmanager
def serving(
    known: Sequence[Case], read: Callable[[str, bool], Read]
) -> Generator[tuple[str, Cases], None, None]:
    """The address of a running server, and its model.

    Args:
        known: The cases.
        read: What the server's parser makes of a reply, streamed or not.
    """
    model = Cases(known)

    def parsed(wrote: Wrote, body: dict[str, Any]) -> Read:
        return read(wrote.text, bool(body.get("stream")))

    answering = Server(model, source=random.Random(5), read=parsed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def _answer(self, body: bytes) -> None:
            answer = answering.respond(self.command, self.path.partition("?")[0], body)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/v1", model
        finally:
            http.shutdown()
            thread.join()
