"""What an acceptance says: one verdict of all parts, and nothing that leads to the server."""

from __future__ import annotations

import pytest
from agentkit_evals.acceptance.page import page_of
from agentkit_evals.acceptance.record import (
    Acceptance,
    Discretion,
    Outcome,
    Part,
    Row,
    address_kind,
)

MODEL = "google/gemma-4-31B-it"


def part(outcome: Outcome, says: str = "so it is", name: str = "scenarios") -> Part:
    rows: list[Row] = [
        {"scenario": "text", "verdict": "wrong", "says": "<script>alert(1)</script>"}
    ]
    return Part(
        name=name, title="scenarios of an agent", outcome=outcome, says=says, tables={"All": rows}
    )


def acceptance(*parts: Part, model: str = MODEL) -> Acceptance:
    return Acceptance(
        model=model,
        server="vLLM 0.32.0",
        address="https, public address",
        agentkit="0.1.0",
        made="2026-11-29T06:23:05+00:00",
        window=131_072,
        control="grammar",
        template="canonical",
        fingerprint="d574cbb38df0cfe9",
        parts=parts,
    )


@pytest.mark.parametrize(
    ("outcomes", "accepted", "begins"),
    [
        (("passed", "passed"), True, "Accepted: agents can rely on this server."),
        (("passed", "warned"), True, "Accepted, with 1 reservation (scenarios of an agent)."),
        (("warned", "failed"), False, "Not accepted: 1 of 2 parts failed (scenarios of an agent)."),
        (("passed", "not run"), True, "Accepted: agents can rely on this server. Not run: "),
    ],
)
def test_the_worst_part_decides(outcomes: tuple[Outcome, ...], accepted: bool, begins: str) -> None:
    found = acceptance(*map(part, outcomes))
    assert (found.accepted, found.exit_code) == (accepted, int(not accepted))
    assert found.sentence.startswith(begins)
    assert found.to_json()["verdict"] == found.sentence


def test_the_demonstration_model_is_no_released_one() -> None:
    assert "mean nothing of a released Gemma 4" in acceptance(model="tiny-gemma4").caution
    assert acceptance().caution == ""
    assert "mean nothing" in page_of(acceptance(part("passed"), model="tiny-gemma4"))


def test_the_page_begins_with_what_was_tried_and_the_verdict() -> None:
    page = page_of(acceptance(part("failed"), part("passed")))
    places = [page.index(word) for word in (MODEL, "vLLM 0.32.0", "Not accepted", "131,072")]
    assert places == sorted(places)
    for told in ("Gemma 4 31B", "grammar", "d574cbb38df0cfe9", "agentkit 0.1.0", "06:23:05 UTC"):
        assert told in page


def test_the_page_needs_no_network_and_runs_nothing() -> None:
    page = page_of(acceptance(part("failed")))
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http" not in page.replace("http-equiv", "").replace("https, public address", "")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://localhost:8000/v1", "http, this machine"),
        ("http://127.0.0.1:8000", "http, this machine"),
        ("http://[::1]:8000/v1", "http, this machine"),
        ("http://0.0.0.0:8000", "http, this machine"),
        ("http://10.0.0.3:8000/v1", "http, private network"),
        ("http://vllm:8000/v1", "http, private network"),
        ("https://gpu.example.internal/v1", "https, private network"),
        ("https://user:secret@llm.example.com/v1?key=x", "https, public address"),
    ],
)
def test_of_an_address_only_its_kind_is_told(url: str, kind: str) -> None:
    assert address_kind(url) == kind


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://llm.example.com:8443 answers", "[address] answers"),
        ("LLM.example.com:8443 is away", "[address] is away"),
        ("no route to llm.example.com", "no route to [address]"),
        ("proxy at http://u:p@10.1.2.3:8000/v1?k=v, then", "proxy at [address], then"),
        ("connect call failed ('192.168.7.9', 8000)", "connect call failed ('[address]', 8000)"),
        (
            "connect call failed ('2001:db8::5', 80, 0, 0)",
            "connect call failed ('[address]', 80, 0, 0)",
        ),
        ("http://u@[2001:db8::5]:8000/v1 is away", "[address] is away"),
        ("[fe80::1%eth0]:8000: refused", "[address]: refused"),
        ("no route to ::ffff:10.0.0.5.", "no route to [address]."),
        ("at 10:46:19, items[::2] of std::vector", "at 10:46:19, items[::2] of std::vector"),
        ("key sk-1 is wrong", "key [secret] is wrong"),
        ("vLLM 0.32.0 and 1,234.5 ms", "vLLM 0.32.0 and 1,234.5 ms"),
        ("agentkit serve google/gemma-4-31B-it", "agentkit serve google/gemma-4-31B-it"),
    ],
)
def test_texts_are_shown_without_addresses_and_keys(text: str, shown: str) -> None:
    assert Discretion("https://llm.example.com:8443/v1", "sk-1").text(text) == shown


def test_a_long_text_of_brackets_is_read_in_time_that_is_in_line_with_it() -> None:
    brackets = "[" * 100_000  # read in 0.1 s, and in 90 s where each looks for its end
    assert Discretion("https://llm.example.com", None).text(brackets) == brackets


def test_a_server_whose_name_is_a_common_word_changes_no_other_text() -> None:
    told = Discretion("http://vllm:8000/v1", None).text("install vllm; vllm:8000 is away")
    assert told == "install vllm; [address] is away"


def test_whatever_cell_a_text_stands_in_it_is_shown_without_addresses() -> None:
    rows: list[Row] = [{"says": "http://10.0.0.1 is away", "seconds": 1.5}]
    told = Discretion("http://10.0.0.1", None).part(
        Part(name="x", title="x", outcome="failed", says="10.0.0.1", tables={"A": rows})
    )
    assert (told.says, told.tables["A"][0]["says"]) == ("[address]", "[address] is away")
