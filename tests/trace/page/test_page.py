from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit import Agent, Limits, ModelSettings, RunFiles, ToolContext, ToolError, tool
from agentkit.messages import ModelRequest, Usage
from agentkit.policy import Approve, Deny, Policy
from agentkit.testing import Reply, ScriptedModel, call, calls, cut, say
from agentkit.trace import parts_of, read_events
from agentkit.trace.page import page_of

pytestmark = pytest.mark.slow

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&amp;<!--\u202eevil"


class Read(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.raw[self._open[-1]] = data
        else:
            self.texts.append(data)

    def having(self, cls: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if cls in (a.get("class") or "").split()]

    @property
    def text(self) -> str:
        return "".join(self.texts)


def page_with(directory: Path, text: str) -> str:
    """The page of a run that says a text wherever a model, a tool or a person can."""

    @tool(name="speak", labels={"writes"})
    async def speak(context: ToolContext[Any], words: str, loud: bool = False) -> str:
        """Speak."""
        context.report(text)
        if loud:
            raise ToolError(text)
        return text

    script = [
        cut(say(text)),
        calls(
            ("Speak", {"words": text}),
            ("speak", {"words": f"2{text}", "loud": True}),
            ("speak", {"words": f"3{text}"}),
            (f"no{text}", {text: text}),
            reasoning=text,
        ),
        say(f"{text}.", reasoning=text),
    ]
    decisions = iter([Approve(), Approve(), Deny(text)])
    agent = Agent(
        ScriptedModel(script),
        instructions=f"i{text}",
        tools=[speak],
        settings=ModelSettings(stop=(text,)),
        policy=Policy.ask("writes"),
        approve=lambda _approval: next(decisions),
        observers=[RunFiles(directory)],
    )
    agent.run_sync(text, run_id=f"r{text}"[:60])
    return page_of(parts_of(read_events(RunFiles(directory).path(f"r{text}"[:60]))))


# --- nothing but our own markup ----------------------------------------------------------------

OURS = set(
    re.findall(
        r"\w+",
        "html head meta title style body header h1 h2 h3 p pre dl div dt dd small ul li a svg g "
        "rect i span details summary b code section footer kbd script",
    )
)


def test_what_models_tools_and_people_say_is_text_and_nothing_else(tmp_path: Path) -> None:
    page = Read(page_with(tmp_path, HOSTILE))
    assert {tag for tag, _ in page.tags} <= OURS
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    shown = HOSTILE.replace("\u202e", "�")
    assert page.text.count(shown) >= 12
    assert "\u202e" not in page.text


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=20))  # 12 characters of a file's name for each
def test_any_text_leaves_the_markup_as_it_is(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        page = Read(page_with(Path(directory), text))
    assert {tag for tag, _ in page.tags} <= OURS
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_browser_may_run_our_script_and_style_and_nothing_else(tmp_path: Path) -> None:
    text = page_with(tmp_path, HOSTILE)
    page = Read(text)
    (policy,) = [
        str(attributes["content"])
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not any("style" in attributes for _, attributes in page.tags)
    links = {a[name] or "" for _, a in page.tags for name in ("href", "src") if name in a}
    assert all(link.startswith("#s") for link in links)
    assert not re.search(r"https?://|url\(|@import", page.raw["style"] + page.raw["script"])


BROWSER = os.environ.get("AGENTKIT_TEST_BROWSER", "")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --enable-logging=stderr"
)


@pytest.mark.skipif(not BROWSER, reason="AGENTKIT_TEST_BROWSER names no Chromium to open it in")
def test_a_browser_finds_nothing_to_complain_of_and_runs_nothing_that_was_said(
    tmp_path: Path,
) -> None:
    text = "</pre></script><script>document.title = 'mine'</script><img src=x onerror=alert(1)>"
    file = tmp_path / "page.html"
    file.write_text(page_with(tmp_path, text), "utf-8")
    command = [BROWSER, *QUIET.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    shown = subprocess.run(
        [*command, f"{file.as_uri()}#s2"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "<title>r&lt;/pre&gt;" in shown.stdout
    assert 'class="step here" id="s2"' in shown.stdout, "our own script has run"
    assert "CONSOLE" not in shown.stderr


# --- what it shows -----------------------------------------------------------------------------


def test_every_step_and_failure_can_be_reached(tmp_path: Path) -> None:
    page = Read(page_with(tmp_path, "words"))
    anchors = [a["id"] for a in page.having("step")]
    assert anchors == ["s1", "s2"]
    assert {a.get("href") for tag, a in page.tags if tag == "a"} == {"#s1", "#s2"}
    for said in (
        "Step 1: the reply was cut",
        "Step 1: speak: Error: words",
        "asked 2 times",
        "1 repaired",
        "3 failed",
        "a person was asked: deny: words",
        "not run",
        "2 messages sent, 2 new",
        "7 messages sent, 5 new",
    ):
        assert said in page.text, said


def test_the_calls_of_a_step_stand_as_the_model_wrote_them_with_what_a_person_was_asked(
    tmp_path: Path,
) -> None:
    @tool(target="name", labels={"writes"})
    async def fetch(name: str) -> str:
        """Fetch."""
        return name

    reply = calls(("fetch", {"name": "a"}), ("nothing", {}), ("fetch", {"name": "c"}))
    files = RunFiles(tmp_path)
    agent = Agent(
        ScriptedModel([reply, call("fetch", name="d"), say("Done.")]),
        tools=[fetch],
        policy=Policy.ask("writes"),
        approve=lambda _approval: Approve(),
        observers=[files],
    )
    agent.run_sync("go", run_id="run")
    text = Read(page_of(parts_of(read_events(files.path("run"))))).text
    assert "fetch 2 times, nothing()" in text
    assert 'fetch(name="d")' in text
    places = [text.index(part) for part in ('"name": "a"', "unknown_tool", '"name": "c"')]
    assert places == sorted(places)
    assert "a person was asked: approve on c" in text


def test_how_a_run_ended_stands_before_its_charts(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)

    def page(run_id: str, reply: object) -> Read:
        agent = Agent(ScriptedModel([reply]), observers=[files])  # type: ignore[list-item] # the point
        with suppress(RuntimeError):
            agent.run_sync("go", run_id=run_id)
        return Read(page_of(parts_of(read_events(files.path(run_id)))))

    def bug(_request: ModelRequest) -> Reply:
        raise RuntimeError("the shop burns")

    good, bad = page("good", say("Tea.")), page("bad", bug)
    assert good.text.index("AnswerTea.") < good.text.index("Time")
    end = "No answer: errorRuntimeError: the shop burns"
    assert bad.text.index(end) < bad.text.index("Time")
    assert [a.get("class") for a in (*good.having("end"), *bad.having("end"))] == ["end", "end bad"]


def test_a_call_that_waits_for_a_person_has_not_failed(tmp_path: Path) -> None:
    @tool
    async def fetch(name: str) -> str:
        """Fetch."""
        return name

    files = RunFiles(tmp_path)
    agent = Agent(
        ScriptedModel([call("fetch", name="a")]),
        tools=[fetch],
        policy=Policy(lambda _call: "ask"),
        observers=[files],
    )
    agent.run_sync("go", run_id="run")
    text = Read(page_of(parts_of(read_events(files.path("run"))))).text
    assert "No answer: paused" in text
    assert "a person was asked: nobody decided" in text
    assert "fail" not in text.replace("tool that failed", "").replace("next failure", "")
    assert "What went wrong" not in text


def test_columns_of_tokens_have_a_height_whatever_a_server_counts(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    reply = replace(say("Tea."), usage=Usage(10, 5, cached_input_tokens=90))
    Agent(ScriptedModel([reply]), observers=[files]).run_sync("go", run_id="run")
    page = Read(page_of(parts_of(read_events(files.path("run")))))
    heights = [float(a["height"] or "") for tag, a in page.tags if tag == "rect"]
    assert min(heights) >= 0


def test_thoughts_are_folded_and_bars_stand_for_calls(tmp_path: Path) -> None:
    page = Read(page_with(tmp_path, "words"))
    reasoning = page.having("closed")
    assert len(reasoning) == 2
    assert not any("open" in attributes for attributes in reasoning)
    bars = [a.get("class") for tag, a in page.tags if tag == "rect"]
    assert (bars.count("model"), bars.count("tool"), bars.count("failed")) == (3, 1, 1)


def test_a_long_run_is_folded_and_grows_with_its_length(tmp_path: Path) -> None:
    @tool(effect="pure")
    async def look(number: int) -> str:
        """Look."""
        return f"{number} " * 50

    sizes: list[int] = []
    for steps in (60, 120):
        script = [*(call("look", number=n) for n in range(steps)), say("Done.")]
        files = RunFiles(tmp_path)
        agent = Agent(ScriptedModel(script), tools=[look], observers=[files])
        agent.run_sync("go", run_id=f"n{steps}", limits=Limits(steps=200))
        text = page_of(parts_of(read_events(files.path(f"n{steps}"))))
        sizes.append(len(text))
        page = Read(text)
        assert len(page.having("step")) == steps + 1
        assert not any("open" in attributes for attributes in page.having("step"))
    assert sizes[1] < 2.1 * sizes[0]


def test_a_run_that_was_killed_has_a_page_too(tmp_path: Path) -> None:
    page_with(tmp_path, "words")
    events = read_events(RunFiles(tmp_path).path("rwords"))
    for length in range(1, len(events)):
        text = Read(page_of(parts_of(events[:length]))).text
        assert "the run was killed, or was still at work" in text


def test_a_very_long_text_is_cut_and_says_so(tmp_path: Path) -> None:
    page = page_with(tmp_path, "x" * 250_000)
    assert "… 50,000 more characters; the run file has them" in page
