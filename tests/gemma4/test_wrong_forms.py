from __future__ import annotations

import time

import pytest

from agentkit.gemma4.wrong_forms import is_blank, resolve_name, split_reasoning, wrong_form

NAMES = ("find", "get_weather")

CALLS = [
    "call:find{query:x}",
    'call:find(x: "y")',
    "call:find{query:x",
    "call:find",
    "call:find:\nBEGIN_ARG\nx",
    'find{query:"x"}',
    '<|tool_call>call:find{query:<|"|>x<|"|>}<tool_call|>',
    '<|tool_call>call:find{query:<|"|>x',
    "<|tool_call>:f{}<tool_call|>",
    '{"name": "find", "arguments": {"query": "x"}}',
    '{"name": "find", "arguments": {"query": "x"',
    "{'name': 'find', 'arguments': {'query': 'x'}}",
    '[{"name": "find", "parameters": {}}, {"name": "get_weather", "arguments": {}}]',
    '{"type": "function", "function": {"name": "find", "arguments": "{}"}}',
    '{"tool_calls": [{"function": {"name": "find", "arguments": {}}}]}',
    '{"find": {"query": "x"}}',
    '{"action": "find", "action_input": "x"}',
    '```json\n{"name": "find", "arguments": {}}\n```',
    '```tool_code\nprint(find(query="x"))\n```',
    "```\ncall:find{query:x}\n",
    "~~~python\nfind('x')\n~~~",
    '<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>',
    "<tool_call>{",
    "<function=find><parameter=query>x</parameter></function>",
    '<invoke name="find"><parameter name="query">x</parameter></invoke>',
    "<function_calls><invoke/></function_calls>",
    "<find><query>x</query></find>",
    '[TOOL_CALLS][{"name": "find"}]',
    '<|python_tag|>find.call(query="x")',
    '<|channel|>commentary to=functions.find <|message|>{"query": "x"}',
    "to=functions.find {}",
    'find(query="x")',
    '[find(query="x"), get_weather(city="Oslo")]',
    "default_api.find(query='x')",
    "result = await find('x')",
    "Thought: I need it.\nAction: find\nAction Input: x",
    "Action: find\nAction Input: {}\nObservation: nothing",
    "tool: find\nquery: x",
    "Tool call: find\n{\n  query: x\n}",
    "name: find\narguments:\n  query: x",
    " \n call:find{query:x} <turn|>",
    '`find(query="x")`',
    '**call:find{query:"x"}**',
    'find.invoke({"query": "x"})',
    "Action: find[x]",
    '{"tool_code": "print(find(1))"}',
    '{"tool_uses": [{"recipient_name": "functions.find", "parameters": {}}]}',
    'multi_tool_use.parallel({"tool_uses": []})',
    '"{\\"name\\": \\"find\\", \\"arguments\\": {}}"',
    '<tools>{"name": "find"}</tools>',
    "<use_mcp_tool><tool_name>find</tool_name></use_mcp_tool>",
    "<|start|>assistant<|channel|>commentary to=functions.find<|message|>{}<|call|>",
    # announced in a word or two
    'Tool call: find(query="x")',
    'Calling find(query="x")',
    'call find(query="x")',
    'Function call: {"name": "find", "arguments": {}}',
    'tool_calls: [{"name": "find", "arguments": {}}]',
    'tool_code\n{"name": "find"}',
    'json\n{"name": "find", "arguments": {}}',
    "Call:find{query:x}",
    "model\ncall:find{query:x}",
    'Assistant: find(query="x")',
    # in a list, a quotation, a console
    '1. find(query="x")\n2. get_weather(city="Oslo")',
    '- find(query="x")',
    '> find(query="x")',
    '>>> find(query="x")',
    '[tool_call: find(query="x")]',
    '[Tool Call: find]\n{"query": "x"}',
    "[TOOL: find]",
    # with another model's ends, or half a token
    "call:find{query:x}<end_of_turn>",
    '{"name": "find", "arguments": {}}<|im_end|>',
    "<unused99>call:find{}",
    "tool_call>call:find{query:x}",
    "<|tool_call",
    "response:find{value:x}",
    # code that calls it and goes on
    'result = find(query="x")\nprint(result)',
    '```tool_code\nfor x in ["a"]:\n    find(query=x)\n```',
    "```python\nimport tools\nprint(tools.find(query='x'))\n```",
    'const found = await find({query: "x"});',
    '@find(query="x")',
    '```find\n{"query": "x"}\n```',
    '  ```json\n  {"name": "find"}\n  ```',
    # JSON under other names, cut, or in Python's spelling
    '{"command": "find", "args": {"query": "x"}}',
    '{"toolName": "find", "args": {}}',
    '{"tool_use": {"name": "find", "input": {}}}',
    '{"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "find", "arguments": {}}}',
    "{'arguments': {'query': 'x'}, 'name': 'find'}",
    '{"id": 1, "function": {"name": "find", "arguments": "{}"}',
    "{'find': {'query': 'x'}}",
    '{find: {query: "x"}}',
    # other models' tags and tokens
    "<longcat_tool_call>find\n</longcat_tool_call>",
    '<execute_tool>find(query="x")</execute_tool>',
    '<call>find(query="x")</call>',
    "<find/>",
    '<\uff5cDSML\uff5cinvoke name="find"></\uff5cDSML\uff5cinvoke>',
    '<|START_ACTION|>[{"tool_name": "find"}]<|END_ACTION|>',
    '<|tool_call_start|>[find(query="x")]<|tool_call_end|>',
    'Action: find(query="x")',
    'Action 1: {"name": "find", "arguments": {}}',
    'Thought: so\nAction:\n```json\n{"action": "find", "action_input": {}}\n```\nObservation: 3',
    '**Action:** find\n**Action Input:** {"query": "x"}',
    # decorated, in brackets or quotes, announced in another language, escaped
    '🔧 find(query="x")',
    '→ `find(query="x")`',
    '**find**(query="x")',
    '**Tool Call:** `find`\n\n**Arguments:** `{"query": "x"}`',
    '(find(query="x"))',
    '{{find(query="x")}}',
    '"call:find{query:x}"',
    '工具调用\uff1afind(query="x")',
    'Appel d\'outil : find(query="x")',
    "|tool_call>call:find{query:x}<tool_call|",
    "< |tool_call > call:find{query:x} < tool_call| >",
    "&lt;|tool_call&gt;call:find{query:x}&lt;tool_call|&gt;",
    # under any key that says what it is, or as an argument of a function that calls
    '{"tool": {"name": "find", "input": {"query": "x"}}}',
    '{"calls": [{"name": "find", "arguments": {}}]}',
    '{"thoughts": "so", "command": {"name": "find", "args": {"query": "x"}}}',
    '{name: "find", arguments: {query: "x"}}',
    'call_tool("find", {"query": "x"})',
    "<action>find</action><action_input>x</action_input>",
    '<call:find query="x"/>',
    # with a result that is made up, and what follows from it
    "call:find{query:x}\n<|tool_response>response:find{value:y}<tool_response|>It is y.",
    '```tool_code\nprint(find(query="x"))\n```\n```tool_output\ny\n```\nIt is y.',
]


@pytest.mark.parametrize("text", CALLS)
def test_a_text_that_is_nothing_but_a_call_has_a_wrong_form(text: str) -> None:
    assert wrong_form(text, NAMES) is not None


@pytest.mark.parametrize("text", CALLS)
def test_with_words_before_it_the_same_text_is_an_answer(text: str) -> None:
    assert wrong_form(f"You could write this: {text}", NAMES) is None


@pytest.mark.parametrize(
    "text",
    [
        "It is sunny.",
        "find is the tool for that.",
        "find(x) returns what it found.",
        '{"sum": 3}',
        '{"name": "Ann", "age": 3}',
        '[{"city": "Oslo"}]',
        "```python\nprint(1)\n```",
        "```json\n{}\n```",
        "call:find{query:x} would do it.",
        "<|tool_call>call:find{query:x} is in the file.",
        "<p>Hello</p>",
        "other(1)",
        "Action: none needed.",
        "name: Ann\nage: 3",
        "",
        "Response: sum(3)",
        "Call: Anna (mobile)",
        "1. Open the file.\n2. find(x)",
        "- find(x) searches the index",
        "> He said: find(x)",
        '{"command": "ls", "args": []}',
        "{'people': [{'name': 'find', 'age': 3}]}",
        "```python\nfor x in names:\n    find(x)\n```",
        "[find]",
        "[Note: find](https://example.org)",
        "Tool calls: 3",
        "Action: call find for it",
        "<call>me</call> and <tool>box</tool>",
        "model: find",
        "json: a format",
        '{"tools": ["find"]}',
        '[{"name": "find", "parameters": {"type": "object", "properties": {}}}]',
        '{"tools": [{"name": "find", "description": "Finds.", "parameters": {"properties": {}}}]}',
        'find(query="x") → 3',
        "(see find)",
        "<b>find</b>",
        "The tool_output is 3.",
        'Action: find Action Input: {"query": "x"} is what you would write.',
        '\u26a0\ufe0f Action: find Action Input: {"query": "x"} \u26a0\ufe0f is dangerous',
        '\u300cAction: find Action Input: {"query": "x"}\u300d\u3068\u66f8\u3044\u3066',
        "Action: find\nActions like this one are not run.",
    ],
)
def test_an_answer_is_not_taken_for_a_call(text: str) -> None:
    assert wrong_form(text, NAMES) is None


@pytest.mark.parametrize(
    "text",
    [
        "find" + " " * 50_000 + "x",
        "tool: find\n" + " " * 50_000 + "x",
        "tool: find\n" + "- " * 50_000 + "x",
        "find(" + '"\\' * 50_000,
        "find(" + "'\\" * 50_000,
        "find(" + "\"('\\" * 50_000,
        '{"tool_calls":[' * 450 + "1" + "]}" * 450,
        "\n".join("`" * fence for fence in range(600, 2, -1)),
        "[tool_call: find]\n" * 4_000,
        "Tool call: " * 20_000,
        "1. " * 50_000,
        "Action: find\n```\n" * 5_000,
        "{'a': 'find', " * 5_000,
        "🔧" * 50_000,
        "(" * 50_000,
        "< " * 50_000,
        "&lt;" * 50_000,
        "call" * 50_000 + "{",
    ],
    ids=lambda text: text[:12],
)
def test_a_text_without_end_takes_time_in_line_with_it(text: str) -> None:
    started = time.process_time()
    wrong_form(text, NAMES)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ('find(query=5")', True),
        ('find(query="a)", b=1)', True),
        ('find(query="a) is how it is called', False),
        ('find(query=5") is how it is called', False),
        ('find(query=5\') is how ("x)") it is called', False),
    ],
)
def test_a_quote_that_is_not_closed_hides_no_bracket(text: str, whole: bool) -> None:
    assert (wrong_form(text, NAMES) is not None) is whole


def test_without_tools_no_text_is_a_call() -> None:
    assert wrong_form("call:find{query:x}", ()) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "\u200b\u200d\ufeff",
        "<pad><pad>",
        "<eos>",
        "<turn|>",
        "<turn|>\n<|turn>user\nhello",
        '<|tool_response>response:find{value:<|"|>x<|"|>}',
        "\u2800\u3164",
        "\u00ad\x07",
        "<end_of_turn>",
        "<start_of_turn>model\n",
        "<|im_end|></s>",
        "<|fim_middle|><image_soft_token>",
    ],
)
def test_what_shows_nothing_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize(
    "text", [".", "a<turn|>", "The token <|tool_response> opens one.", "👍🏽", "é"]
)
def test_what_shows_something_is_not(text: str) -> None:
    assert not is_blank(text)


# --- names of tools ----------------------------------------------------------------------------


KNOWN = ("list_files", "delete", "get-weather", "calendar_add", "readIt", "read_it")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("delete", "delete"),
        (" delete() ", "delete"),
        ('"delete"', "delete"),
        ("Delete", "delete"),
        ("listFiles", "list_files"),
        ("list-files", "list_files"),
        ("get_weather", "get-weather"),
        ("functions.delete", "delete"),
        ("tool:delete", "delete"),
        ("google:tool:listFiles", "list_files"),
        ("default_api.delete", "delete"),
        ("calendar.add", "calendar_add"),  # its set's own prefix
    ],
)
def test_a_name_in_another_spelling_is_known(written: str, meant: str) -> None:
    assert resolve_name(written, KNOWN) == meant


@pytest.mark.parametrize(
    "written",
    ["calendar.delete", "delete_all", "github/delete", "os.delete", "READIT", "", "tool:"],
)
def test_a_name_that_may_mean_another_tool_is_not(written: str) -> None:
    assert resolve_name(written, KNOWN) is None


# --- reasoning that stands in the text ---------------------------------------------------------


@pytest.mark.parametrize("text", ["Action:", "Thought: I look.\nAction: ", "**Action**:\n"])
def test_an_action_that_was_not_named_yet_is_an_answer(text: str) -> None:
    assert wrong_form(text, NAMES) is None


def test_a_name_whose_beginning_is_repeated_without_end_is_none_at_once() -> None:
    started = time.process_time()
    assert resolve_name("tool:" * 20_000 + "find", NAMES) is None
    assert time.process_time() - started < 1.0
    assert resolve_name("tool:" * 20 + "find", NAMES) == "find"


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        ("<|channel>thought\nhm<channel|>Yes.", "hm", "Yes."),
        ("Yes. <|channel>thought\nhm<channel|>No.", "hm", "Yes. No."),
        ("<|channel>thought\na<channel|>b<|channel>c<channel|>d", "a\nc", "bd"),
        ("<|channel>thought\nnever closed", "never closed", ""),
        ("thought\nhm<channel|>Yes.", "hm", "Yes."),
        ("thought\nYes.", "", "Yes."),
        ("a thought\nYes.", "", "a thought\nYes."),
        ("`<|channel>` opens a thought.", "", "`<|channel>` opens a thought."),
        (
            "```\n<|channel>thought\nhm<channel|>\n```",
            "",
            "```\n<|channel>thought\nhm<channel|>\n```",
        ),
        ("Yes.", "", "Yes."),
    ],
)
def test_thoughts_are_taken_out_of_a_text(text: str, thought: str, rest: str) -> None:
    assert split_reasoning(text) == (thought, rest)


@pytest.mark.parametrize(
    "text", ["<|channel>x<channel|>" * 20_000, "<|channel>\n" * 20_000, "`<|channel>`" * 20_000]
)
def test_many_thoughts_are_taken_out_in_time_in_line_with_the_text(text: str) -> None:
    started = time.process_time()
    split_reasoning(text)
    assert time.process_time() - started < 2
