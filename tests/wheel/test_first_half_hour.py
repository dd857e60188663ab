"""What a newcomer does in the first half hour, each from the installed wheel: programs in files as
a reader writes them, and the command.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.servers import (
    asks,
    call_chunks,
    chunk,
    fails,
    says,
    serving,
    stalls,
    streamed,
)
from tests.wheel.conftest import Installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def project(home: Path) -> Path:
    folder = home / "project"
    folder.mkdir()
    (folder / "shop.py").write_text("class Shop:\n    price = 3\n")
    return folder


def good(installed: Installed, home: Path, code: str, **variables: str) -> str:
    """What a program prints that ends well."""
    done = installed.script(code, home, **variables)
    assert done.code == 0, done.err
    return done.out


def test_01_ten_lines_against_a_server_without_key_or_model_name(
    installed: Installed, home: Path
) -> None:
    code = """
from agentkit import Agent, VLLMModel

def get_weather(city: str, days: int = 1) -> str:
    \"\"\"Forecast for a city.\"\"\"
    return f"{city}: sunny for {days} day(s)"

agent = Agent(VLLMModel(URL), tools=[get_weather])
print(agent.run_sync("Will it rain in Turin?").output)
"""
    with serving(asks("get_weather", city="Turin"), says("No.")) as server:
        assert good(installed, home, code.replace("URL", repr(server.url))) == "No.\n"
        assert server.requests[1].body["messages"][-1]["content"] == "Turin: sunny for 1 day(s)"
        assert server.requests[0].body["model"] == "google/gemma-4-26B-A4B-it"


def test_02_a_server_that_is_wrong_is_told_in_a_sentence_with_the_fix(
    installed: Installed, home: Path, project: Path
) -> None:
    def said(url: str, *options: str) -> str:
        done = installed.agentkit("run", "?", "-p", project, "-m", url, *options, home=home)
        assert done.code == 1
        (line,) = [row for row in done.err.splitlines() if row.startswith("agentkit: ")]
        return line

    assert "no server answers at http://127.0.0.1:9" in said("http://127.0.0.1:9")
    no_parser = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser'
    with serving(fails(400, {"error": {"message": no_parser, "code": 400}})) as server:
        assert "--enable-auto-tool-choice --tool-call-parser gemma4" in said(server.url)
        assert "no model 'gemma9'; it serves: google/" in said(server.url, "--model-name", "gemma9")


FORMS = '''
import asyncio, datetime, enum, functools, pathlib
from dataclasses import dataclass
from pydantic import BaseModel
from agentkit import Agent
from agentkit.testing import ScriptedModel, calls, say

class Colour(enum.Enum):
    RED = "red"

class Item(BaseModel):
    name: str

@dataclass
class Box:
    items: list[Item]

async def later(when: datetime.datetime) -> str:
    """Waits.

    Parameters
    ----------
    when : datetime
        The moment.
    """
    return type(when).__name__

def many(box: Box, path: pathlib.Path, colour: Colour, count: int | None = None) -> str:
    """Does much.

    :param box: What to take.
    """
    return f"{type(box.items[0]).__name__} {type(path).__name__} {colour.name} {count}"

def odd(schema: str, copy: bool = False) -> str:
    """Odd names.

    Args:
        schema: A word.
    """
    return schema

class Desk:
    def greet(self, name: str) -> str:
        """Greets."""
        return f"hello {name}"

def full(left: str, right: str) -> str:
    """Both."""
    return left + right

full = functools.partial(full, right="!")
model = ScriptedModel([calls(
    ("later", {"when": "2026-11-29T12:00:00"}),
    ("many", {"box": {"items": [{"name": "tea"}]}, "path": "a/b", "colour": "red"}),
    ("odd", {"schema": "x"}), ("greet", {"name": "Ada"}), ("full", {"left": "y"}),
), say("ok")])
tools = [later, many, odd, Desk().greet, full]
result = Agent(model, tools=tools).run_sync("go")
print([m.content for m in result.messages if m.role == "tool"])
'''


def test_03_functions_are_tools_as_they_are_and_what_gemma_sees_is_shown(
    installed: Installed, home: Path
) -> None:
    told = good(installed, home, FORMS)
    assert "['datetime', 'Item PosixPath RED None', 'x', 'hello Ada', 'y!']" in told
    shown = installed.agentkit("tools", "show", "program.py:many", home=home)
    assert shown.code == 0, shown.err
    assert "many" in shown.out
    assert "What to take." in shown.out


def test_04_a_signature_that_cannot_be_a_tool_is_refused_where_it_is_registered(
    installed: Installed, home: Path
) -> None:
    code = """
from collections.abc import Callable
from agentkit import tool, ToolDefinitionError

def one(*args): ...
def two(hook: Callable[[], int]): ...
def three(value): ...

for function in (one, two, three):
    try:
        tool(effect="pure")(function)
        print("taken")
    except ToolDefinitionError as error:
        print(error)
"""
    lines = good(installed, home, code).splitlines()
    assert len(lines) == 3
    for line, (name, parameter) in zip(
        lines, [("one", "args"), ("two", "hook"), ("three", "value")], strict=True
    ):
        assert name in line
        assert parameter in line


def test_05_whatever_a_tool_returns_or_raises_reaches_the_model(
    installed: Installed, home: Path
) -> None:
    code = """
from dataclasses import dataclass
from agentkit import Agent
from agentkit.testing import ScriptedModel, calls, say

@dataclass
class Point:
    x: int

def raises() -> int: raise ValueError("no shelf")
def point() -> Point: return Point(3)
def nothing() -> None: ...
def raw() -> bytes: return b"abc"
def long() -> str: return "x" * 5_000_000
def nan() -> float: return float("nan")
def numbers():
    yield 1
    yield 2

tools = [raises, point, nothing, raw, long, nan, numbers]
model = ScriptedModel([calls(*[(t.__name__, {}) for t in tools]), say("ok")])
result = Agent(model, tools=tools).run_sync("go")
for message in result.messages:
    if message.role == "tool":
        print(str(message.content)[:60].replace("\\n", " "))
print(max(len(str(m.content)) for m in model.requests[1].messages) < 1_000_000)
"""
    lines = good(installed, home, code).splitlines()
    assert "no shelf" in lines[0]
    assert '"x"' in lines[1]
    assert "NaN" in lines[5] or "nan" in lines[5].lower()
    assert "1" in lines[6]
    assert "2" in lines[6]
    assert lines[-1] == "True"


def test_06_three_things_at_once_in_order_and_one_that_fails_costs_itself(
    installed: Installed, home: Path
) -> None:
    code = """
import asyncio, time
from agentkit import Agent
from agentkit.testing import ScriptedModel, calls, say

met = None

async def look(item: str) -> str:
    "Looks."
    global met
    met = met or asyncio.Barrier(3)
    await met.wait()  # passes only if all three run at the same time
    if item == "b":
        raise RuntimeError("gone")
    return item

model = ScriptedModel([calls(*[("look", {"item": i}) for i in "abc"]), say("ok")])
result = Agent(model, tools=[look]).run_sync("go")
told = [m.content for m in result.messages if m.role == "tool"]
print(["gone" if "gone" in text else text for text in told])
"""
    assert good(installed, home, code) == "['a', 'gone', 'c']\n"


def test_07_wrong_calls_are_recovered_and_seen_in_the_record(
    installed: Installed, home: Path
) -> None:
    code = """
from agentkit import Agent
from agentkit.testing import ScriptedModel, call, say

def stock(item: str, shelf: int) -> int:
    "Counts."
    return 3

script = [call("nothing_like_it", x=1), call("stock", item="rug", shelf="left"),
          call("stock", item="rug"), call("STOCK", item="rug", shelf="2"), say("Three.")]
print(Agent(ScriptedModel(script), tools=[stock]).run_sync("go").output)
"""
    assert good(installed, home, code) == "Three.\n"
    shown = installed.agentkit("runs", "show", "last", home=home)
    assert shown.code == 0
    assert "unknown_tool" in shown.out
    assert "invalid_arguments" in shown.out
    assert "repaired (name)" in shown.out
    with serving(
        streamed(
            [
                chunk(
                    {
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "a",
                                "type": "function",
                                "function": {"name": "read_file", "arguments": '{"path": "shop'},
                            }
                        ]
                    }
                ),
                chunk({}, "tool_calls"),
            ]
        ),
        says("Recovered."),
    ) as server:
        (home / "p").mkdir()
        done = installed.agentkit("run", "?", "-p", home / "p", "-m", server.url, home=home)
    assert (done.code, done.out) == (0, "Recovered.\n"), done.err


def test_08_a_model_that_loops_stops_with_a_reason_and_a_partial_result(
    installed: Installed, home: Path
) -> None:
    code = """
from agentkit import Agent, Limits
from agentkit.testing import ScriptedModel, call

def stock(item: str) -> int:
    "Counts."
    return 3

loop = Agent(ScriptedModel([call("stock", item="rug")] * 50), tools=[stock]).run_sync("go")
print(loop.stop_reason, len(loop.messages) > 3, bool(loop.explanation))
steps = ScriptedModel([call("stock", item=str(n)) for n in range(9)])
print(Agent(steps, tools=[stock], limits=Limits(steps=2)).run_sync("go").stop_reason)
"""
    assert good(installed, home, code) == "loop True True\nsteps\n"


def test_09_it_reads_a_project_fixes_a_test_shows_the_difference_and_stays_inside(
    installed: Installed, home: Path, project: Path
) -> None:
    """All but undo, which is still to come."""
    (project / "test_shop.py").write_text("from shop import Shop\nassert Shop.price == 4\n")
    edit = {"path": "shop.py", "edits": [{"old": "price = 3", "new": "price = 4"}]}
    check = {"command": "python3 test_shop.py && echo green"}
    with serving(
        asks("read_file", path="../../etc/passwd"),
        asks("edit_file", **edit),
        asks("run_command", **check),
        says("Mended."),
    ) as server:
        done = installed.agentkit(
            *("run", "Fix the test", "-p", project, "-m", server.url, "--allow", "ask"),
            home=home,
            typed="y\ny\n",
        )
    assert (done.code, done.out) == (0, "Mended.\n"), done.err
    assert "outside the project" in done.err
    assert done.err.index("│ +    price = 4") < done.err.index("→ edit_file"), "shown before"
    assert "green" in done.err


def test_10_a_person_approves_denies_or_edits_from_the_command_line_and_from_code(
    installed: Installed, home: Path, project: Path
) -> None:
    for typed, text in [("y\n", "tea"), ('e {"path": "n", "content": "milk"}\n', "milk")]:
        with serving(asks("write_file", path="n", content="tea"), says("ok")) as server:
            options = ("-p", project, "-m", server.url, "--allow", "ask")
            assert installed.agentkit("run", "?", *options, home=home, typed=typed).code == 0
        assert (project / "n").read_text() == text
    code = """
from agentkit import Agent, tool
from agentkit.policy import Approve, Deny, Edit
from agentkit.testing import ScriptedModel, call, say

@tool(labels={"writes"})
def note(text: str) -> str:
    "Notes."
    return f"noted {text}"

for decision in (Approve(), Deny("not today"), Edit({"text": "milk"})):
    model = ScriptedModel([call("note", text="tea"), say("ok")])
    Agent(model, tools=[note], policy="ask", approve=lambda a: decision).run_sync("go")
    print(model.requests[1].messages[-1].content)
"""
    told = good(installed, home, code).splitlines()
    assert told[0] == "noted tea"
    assert "not today" in told[1]
    assert "noted milk" in told


SENDS = """
import os, pathlib, signal, sys
from agentkit import Agent, SQLiteJournal, tool
from agentkit.testing import ScriptedModel, call, say

@tool(effect="once", labels={"egress"})
def send(to: str) -> str:
    "Sends a mail."
    with open("sent.txt", "a") as file:
        file.write(to + "\\n")
    if len(sys.argv) < 2 and "KILL" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return "sent"

again = pathlib.Path("sent.txt").exists()
script = [say("It may have left.")] if again else [call("send", to="ada"), say("Done.")]
agent = Agent(ScriptedModel(script), tools=[send])
with SQLiteJournal("journal.db") as journal:
    if again:
        import anyio
        result = anyio.run(lambda: agent.resume("mail", journal=journal))
    else:
        result = agent.run_sync("Write to Ada.", journal=journal, run_id="mail")
    print(result.stop_reason)
"""


def test_11_ctrl_c_is_a_clean_stop_and_after_kill_9_no_mail_is_sent_twice(
    installed: Installed, home: Path, project: Path
) -> None:
    killed = installed.script(SENDS, home, KILL="1")
    assert killed.code == -signal.SIGKILL
    assert good(installed, home, SENDS).strip()
    assert (home / "sent.txt").read_text() == "ada\n"

    with serving(stalls(chunk({"content": "Half"})), says("The rest.")) as server:
        command = [str(installed.python.parent / "agentkit"), "run", "?", "-p", str(project)]
        with subprocess.Popen(
            [*command, "-m", server.url],
            env=installed.environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert server.stalled.wait(60)
            assert process.stdout is not None
            assert process.stdout.read(4) == "Half"
            process.send_signal(signal.SIGINT)
            try:
                _, err = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)  # it tells where it is, and ends
                _, err = process.communicate()
        assert process.returncode == 130, err
        assert "agentkit: stopped" in err
        assert "Traceback" not in err
        resumed = installed.agentkit("runs", "resume", "last", home=home)
    assert resumed.code in (0, 3), resumed.err


def test_12_text_thoughts_and_tools_stream_and_thoughts_are_no_answer(
    installed: Installed, home: Path, project: Path
) -> None:
    thinks = [chunk({"reasoning": "Let me look."}), *call_chunks(("list_files", {}))]
    with serving(streamed(thinks), says("One file.")) as server:
        done = installed.agentkit("run", "?", "-p", project, "-m", server.url, home=home)
    assert done.out == "One file.\n"
    assert "Let me look." in done.err
    assert "→ list_files()" in done.err
    code = """
import anyio
from agentkit import Agent, TextDelta
from agentkit.testing import ScriptedModel, say

async def main():
    events = Agent(ScriptedModel([say("a b c")])).stream("x")
    pieces = [event.text async for event in events if isinstance(event, TextDelta)]
    print(len(pieces) > 1, "".join(pieces))

anyio.run(main)
"""
    assert good(installed, home, code) == "True a b c\n"


def test_13_a_conversation_is_saved_and_goes_on_in_another_process(
    installed: Installed, home: Path, project: Path
) -> None:
    with serving(says("Hello Ada."), says("Ada.")) as server:
        options = ("chat", "-p", project, "-m", server.url)
        first = installed.agentkit(*options, home=home, typed="I am Ada.\n")
        assert "Hello Ada." in first.out
        second = installed.agentkit(*options, "--resume", "last", home=home, typed="Who am I?\n")
        assert "> I am Ada." in second.err
        said = [m["content"] for m in server.requests[1].body["messages"]]
        assert said[-3:] == ["I am Ada.", "Hello Ada.", "Who am I?"]
    code = """
from agentkit import Agent, dump_messages, load_messages
from agentkit.testing import ScriptedModel, say

first = Agent(ScriptedModel([say("Hello.")])).run_sync("hi")
model = ScriptedModel([say("Again.")])
Agent(model).run_sync("and?", history=load_messages(dump_messages(first.messages)))
print([m.content for m in model.requests[0].messages])
"""
    assert good(installed, home, code) == "['hi', 'Hello.', 'and?']\n"


def test_14_a_result_too_large_for_the_window_is_clipped_and_the_tokens_are_counted(
    installed: Installed, home: Path, project: Path
) -> None:
    (project / "big.log").write_text("".join(f"line {n} of the log\n" for n in range(60_000)))
    code = """
from agentkit import Agent, VLLMModel

def log() -> str:
    "The log."
    return "\\n".join(f"line {n} of the log" for n in range(100_000))

result = Agent(VLLMModel(URL), tools=[log]).run_sync("What is in the log?")
print(result.output, result.context.window, 0 < result.context.tokens < 32_768)
print(bool(result.context.shortened or result.context.cleared))
"""
    with serving(asks("log"), says("Lines.")) as server:
        told = good(installed, home, code.replace("URL", repr(server.url)))
        content = server.requests[1].body["messages"][-1]["content"]
    assert told == "Lines. 32768 True\nTrue\n"
    assert len(content) < 120_000
    assert "line 0 of" in content


def test_15_an_answer_is_an_object_also_beside_tools(installed: Installed, home: Path) -> None:
    code = """
from pydantic import BaseModel
from agentkit import Agent
from agentkit.testing import ScriptedModel, call

class Order(BaseModel):
    item: str
    count: int

def stock(item: str) -> int:
    "Counts."
    return 3

script = [call("stock", item="rug"), call("final_answer", answer={"item": "rug", "count": 2})]
order = Agent(ScriptedModel(script), tools=[stock], output_type=Order).run_sync("go").output
print(type(order).__name__, order.count)
"""
    assert good(installed, home, code) == "Order 2\n"


def test_16_thinking_temperature_and_seed_are_set_for_a_run(
    installed: Installed, home: Path, project: Path
) -> None:
    with serving(says("ok")) as server:
        for option in ("--thinking", "--no-thinking"):
            options = ("-p", project, "-m", server.url, "--temperature", 0.5, "--seed", 7, option)
            assert installed.agentkit("run", "?", *options, home=home).code == 0
    on, off = (request.body for request in server.requests)
    assert (on["temperature"], on["seed"]) == (0.5, 7)
    assert on["chat_template_kwargs"]["enable_thinking"] is True
    assert off["chat_template_kwargs"]["enable_thinking"] is False
    # The bundled model is a real one: the same seed makes the same calls.
    where = ("run", "Where is Shop defined?", "-p", project, "-m", "tiny", "--seed", 3)
    twice = [installed.agentkit(*where, home=home) for _ in range(2)]
    calls = [[row for row in one.err.splitlines() if row.startswith("→")] for one in twice]
    assert calls[0]
    assert calls[0] == calls[1]


def test_17_the_record_holds_what_was_sent_replays_offline_and_is_exported(
    installed: Installed, home: Path
) -> None:
    own = """
from agentkit import Agent, VLLMModel

def stock(item: str) -> int:
    "Counts."
    return 3

def agent(model):
    return Agent(model, tools=[stock])
"""
    (home / "own.py").write_text(own)
    with serving(asks("stock", item="rug"), says("Three.")) as server:
        options = ("--agent", "own.py", "-m", server.url)
        assert installed.agentkit("run", "Rugs?", *options, home=home).code == 0
    full = installed.agentkit("runs", "show", "last", "--full", home=home).out
    assert '"role": "user"' in full
    assert "first token" in full
    replayed = installed.agentkit("runs", "replay", "last", "--agent", "own.py", home=home)
    assert replayed.code == 0, replayed.out + replayed.err
    page = installed.agentkit("runs", "view", "last", "-o", "run.html", home=home)
    assert page.code == 0
    assert "<html" in (home / "run.html").read_text()
    code = """
import own
from agentkit.testing import ScriptedModel, say
from agentkit.trace.otel import OpenTelemetryObserver
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
agent = own.agent(ScriptedModel([say("ok")]))
agent.override(observers=[OpenTelemetryObserver(provider)]).run_sync("x")
print(len(spans.get_finished_spans()) > 0)
"""
    assert good(installed, home, code) == "True\n"


def test_18_a_unit_test_needs_no_gpu(installed: Installed, home: Path) -> None:
    code = '''
from agentkit import Agent
from agentkit.testing import ScriptedModel, call, say

def add(a: int, b: int) -> int:
    """Adds."""
    return a + b

def test_it_adds():
    model = ScriptedModel([call("add", a=1, b=2), say("3")])
    Agent(model, tools=[add], observers=()).run_sync("1 + 2?")
    sent = model.requests[1].messages
    assert sent[-2].tool_calls[0].arguments == {"a": 1, "b": 2}
    assert sent[-1].content == "3"
'''
    (home / "test_mine.py").write_text(code)
    done = subprocess.run(
        [str(installed.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=home,
        env=installed.environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_19_the_bundled_evals_give_a_table_and_a_comparison(
    installed: Installed, home: Path
) -> None:
    for name in ("one", "two"):
        options = ("--model", "tiny", "--name", name, "--trials", 1, "--limit", 2)
        done = installed.agentkit("eval", "run", "tiny", *options, home=home)
        assert done.code in (0, 1), done.err
    shown = installed.agentkit("eval", "report", "two", home=home)
    assert "passed" in shown.out, shown.out + shown.err
    compared = installed.agentkit("eval", "compare", "one", "two", home=home)
    assert compared.code in (0, 1), compared.err
    assert compared.out


SHOP = '''
from mcp.server import MCPServer

server = MCPServer("shop")


@server.tool()
def price(item: str) -> int:
    """The price of an item."""
    return 3


server.run()
'''


def test_20_tools_of_an_mcp_server_get_a_prefix_and_a_clash_is_an_error(
    installed: Installed, home: Path
) -> None:
    (home / "shop.py").write_text(SHOP)
    code = f"""
import anyio
from agentkit import Agent, ToolDefinitionError
from agentkit.mcp import McpToolset
from agentkit.testing import ScriptedModel, call, say

shop = McpToolset([{str(installed.python)!r}, "shop.py"])

def price(item: str) -> int:
    "Ours."
    return 4

async def main():
    model = ScriptedModel([call("shop_price", item="tea"), say("ok")])
    await Agent(model, tools=[price], toolsets=[shop.prefixed("shop_")]).run("x")
    print(model.requests[1].messages[-1].content)
    try:
        await Agent(ScriptedModel([say("ok")]), tools=[price], toolsets=[shop]).run("x")
    except ToolDefinitionError as error:
        print(error)

anyio.run(main)
"""
    first, second = good(installed, home, code).splitlines()
    assert first == "3"
    assert "price" in second


def test_21_a_sub_agent_has_its_own_budget_and_its_tokens_are_in_the_total(
    installed: Installed, home: Path
) -> None:
    code = """
from agentkit import Agent, Limits, ToolFinished
from agentkit.testing import ScriptedModel, call, say

def stock(item: str) -> int:
    "Counts."
    return 3

worker = Agent(ScriptedModel([call("stock", item=str(n)) for n in range(9)]), tools=[stock])
helper = worker.as_tool("look", "Looks.", limits=Limits(steps=2))
lead = ScriptedModel([call("look", task="rugs"), say("ok")])
result = Agent(lead, tools=[helper]).run_sync("x")
print(result.steps, result.stop_reason, "2 steps" in str(result.messages[-2].content))
alone = Agent(ScriptedModel([call("look2"), say("ok")])).run_sync("x")
print(result.usage.input_tokens > alone.usage.input_tokens)
"""
    assert good(installed, home, code) == "4 answer True\nTrue\n"


def test_22_another_model_on_the_server_is_seen_by_doctor_and_lint(
    installed: Installed, home: Path
) -> None:
    (home / "own.py").write_text(
        "from agentkit import tool\n\n\n@tool(effect='pure')\n"
        'def find(text: str, at: dict[str, int]) -> str:\n    """Finds."""\n    return text\n'
    )
    lint = installed.agentkit("tools", "lint", "own.py:find", home=home)
    told: dict[str, dict[str, object]] = {}
    for name in ("google/gemma-4-26B-A4B-it", "Qwen/Qwen4-32B"):
        with serving(says("ok")) as server:
            server.models = {"data": [{"id": name, "max_model_len": 32768}]}
            done = installed.agentkit("doctor", server.url, "--json", home=home)
        told[name] = json.loads(done.out)
        assert done.code == 1, "this server is none that agents could use"
    gemma, other = told.values()
    assert lint.code in (0, 1), lint.err
    assert gemma["findings"] != other["findings"]


def test_the_module_is_the_command(installed: Installed, home: Path) -> None:
    done = subprocess.run(
        [str(installed.python), "-m", "agentkit", "--version"],
        cwd=home,
        env=installed.environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("agentkit ")
