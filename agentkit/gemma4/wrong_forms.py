"""What a model meant where it wrote it in another form than Gemma's template has.

- `resolve_name` finds the tool that a name certainly means.
- `wrong_form` recognises a text that is nothing but calls in another notation, and `is_blank` a
  text that shows a person nothing.
- `split_reasoning` takes out of a text the reasoning that a server left in it.

Nothing here makes a call of a text: a text that is a call in a wrong form is never run.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    CONTROL_LITERALS,
    QUOTE,
    RESPONSE_OPEN,
    THOUGHT,
    TURN_CLOSE,
    TURN_OPEN,
)

# --- names of tools ------------------------------------------------------------------------------
# Models are seen to add spaces, quotes, parentheses and words for "tool" in front (`functions.x`,
# `tool:x`, `google:tool:x`), and to write `listFiles` for `list_files`. Any other namespace stays:
# `calendar.delete` is not the tool `delete`, and running that would be another deed.

_NAMESPACE: Final = re.compile(
    r"(?:google\s*[.:/]\s*)?(?:tools?|functions?|default_api)\s*[.:/]\s*(?=\S)", re.IGNORECASE
)
"""Words that name the set of tools itself. `tool:` and `google:tool:` come from Gemma 4
(NousResearch/hermes-agent#24411), `default_api.` is the module of Gemma's Python-like calls."""

_LONGEST_NAME: Final = 1_000
"""Characters; a longer text is a model in a loop (`tool:tool:…`), and no name with words around."""

_SEPARATORS: Final = re.compile(r"[-_.:/\s]+")


def resolve_name(name: str, known: Collection[str]) -> str | None:
    """The one known name that was meant; None if no name, or more than one, fits.

    Args:
        name: The name as the model wrote it.
        known: The names on offer.
    """
    if name in known:
        return name
    if len(name) > _LONGEST_NAME:
        return None
    bare = name.strip().strip("\"'`").removesuffix("()").strip()
    while True:
        if bare in known:
            return bare
        folded = _folded(bare)
        alike = [each for each in known if _folded(each) == folded]
        if alike:
            return alike[0] if len(alike) == 1 else None
        namespace = _NAMESPACE.match(bare)
        if namespace is None:
            return None
        bare = bare[namespace.end() :]


def _folded(name: str) -> str:
    return _SEPARATORS.sub("", name).casefold()


# --- answers that are no answers -----------------------------------------------------------------
# A model that was trained on many agents' formats, or that lost its control tokens on the way,
# writes `{"name": "find", …}`, `find(query="x")`, `Action: find` or `<tool_call>…</tool_call>`
# where a call should be. Such a text is never run: it may be shown and not meant. But when it is
# the *whole* reply it is not an answer either, so the model is asked again. A text that holds
# anything beside the call is an answer that mentions one.
#
# Each notation is one line of `_NOTATIONS`: a function that is given a text and finds where a call
# in that notation ends, if the text begins with one. All of them take time in line with the text.


def is_blank(text: str) -> bool:
    """Whether a text shows a person nothing: control tokens, padding, white space, format marks.

    A text that begins with a token that only the template writes is the template's, not the
    model's: a made-up tool result or a made-up turn.
    """
    start = text.lstrip()
    if start.startswith((RESPONSE_OPEN, TURN_OPEN, TURN_CLOSE)):
        return True
    return not any(map(_shows, _CONTROL.sub("", _OTHER_ENDS.sub("", text))))


def wrong_form(text: str, names: Collection[str]) -> str | None:
    """The notation of a text that is nothing but calls in a form that Gemma's template lacks.

    Args:
        text: A reply's answer text.
        names: The tools on offer; where a notation has no mark of its own, only a call of one of
            them is taken for a call.

    Returns:
        What the notation is called, for a person; None for a text that is an answer.
    """
    if not names:
        return None
    found: str | None = None
    rest = _after_space(_plain(text))
    while rest:
        if found and _MADE_UP_RESULT.match(rest):
            return found
        notation, end = _first(rest, names)
        if not end and (opening := _OPENING_MARKS.match(rest)):
            notation, end = _first(rest[opening.end() :], names)
            end += opening.end() if end else 0
        if not end and (announced := _ANNOUNCED.match(rest)):
            notation, end = _first(rest[announced.end() :], names)
            end += announced.end() if end else 0
        if not end:
            return None
        found = found or notation
        rest = _after_space(rest[end:])
    return found


def _first(text: str, names: Collection[str]) -> tuple[str, int]:
    """The notation of the call that a text begins with, and its end; 0 if it begins with none."""
    for notation, end_of in _NOTATIONS.items():
        if text and (end := end_of(text, names)):
            return notation, end
    return "", 0


_ANNOUNCED: Final = re.compile(
    r"(?:(?:(?:tool|function)[ _-]?(?:calls?|code|use|request|invocation)|call(?:ing)?"
    r"|execut(?:e|ing)|invok(?:e|ing)|action(?: \d+)?|json"
    r"|工具调用|调用工具|函数调用|ツール呼び出し|関数呼び出し|도구 호출"
    r"|вызов (?:инструмента|функции)|(?:werkzeug|funktions)aufruf|appel d.outil"
    r"|llamada a la (?:herramienta|función)|chamada de ferramenta)\b[ \t*]*[:\uff1a=]?\s*"
    r"|(?:model|assistant)[ \t]*[:\n]\s*)+",
    re.IGNORECASE,
)
"""Words that announce a call and say nothing beside it."""


def _plain(text: str) -> str:
    """A text without the escapes of HTML and the emphasis of Markdown."""
    return (html.unescape(text) if "&lt;" in text else text).replace("**", "")


def _after_space(text: str) -> str:
    between = _BETWEEN.match(text)
    return text[between.end() :] if between else text


_CONTROL: Final = re.compile(
    "|".join(map(re.escape, CONTROL_LITERALS))
    + r"|<\|\w+\|>|<\w+_soft_token>|<(?:start|end)_of_\w+>|\[multimodal\]"
)
"""Gemma's control tokens, and what other models, an older Gemma among them, have of that kind."""
_OTHER_ENDS: Final = re.compile(
    r"</?s>|<(?:start|end)_of_turn>(?:model\b|user\b)?|<unused\d+>"
    r"|<\|(?:im_start|im_end|end|endoftext|eot_id|assistant|observation)\|>"
)
"""How other models, an older Gemma among them, begin and end a turn."""
_EMPTY_LETTERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters by their Unicode category that are drawn as nothing: fillers of Hangul, empty Braille."""


def _shows(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] not in "ZC" and category != "Mn" and character not in _EMPTY_LETTERS


_STRAY: Final = [each for each in CONTROL_LITERALS if each not in (CALL_OPEN, QUOTE)]
_BETWEEN: Final = re.compile(
    r"(?:[^\w\"'`“«(\[{<>@$/#~|\\:.!?✿\-]|(?<!`)`(?!`)|\\(?=\W)|[>\])}\"'”»]+(?=\s|\Z)"
    r"|\|?tool_call>|(?!<\|tool_call)(?:<\s*+)?(?:\|\s*+tool_call\b(?:\s*+\|)?|tool_call\s*+\|)\s*+>?"
    r"|>>> |>[ \t]|[-*][ \t]|\d{1,3}[.)][ \t]"
    rf"|{_OTHER_ENDS.pattern}|{'|'.join(map(re.escape, _STRAY))})+"
)
"""What may stand between two calls, and around them: marks of a list, a quotation, a decoration."""
_OPENING_MARKS: Final = re.compile(r"[(\[{<\"'“«]++")
_MADE_UP_RESULT: Final = re.compile(
    r"(?:<\|?)?/?(?:tool|function)s?_(?:response|result|output)|response:\w|```tool_output|Observation:"
)
"""What a model makes up that does not wait for the result of a call; all behind it is made up."""

# --- notations -----------------------------------------------------------------------------------

_Names = Collection[str]


def _fenced(text: str, names: _Names) -> int:
    """A block of code that holds nothing but a call."""
    fence = _FENCE.match(text)
    if fence is None:
        return 0
    close = re.compile(rf"\n[ \t]*+{fence[1]}").search(text, fence.end() - 1)
    body = text[fence.end() : close.start() if close else len(text)]
    kind = fence[2].strip()
    try:
        # Code for tools is a call whatever else it does, and a tool's name over it is one too.
        called = _CALL_TAG.match(kind) and any(
            resolve_name(call[1], names) for call in _ANY_CALL.finditer(body)
        )
        if not called and not resolve_name(kind, names) and not wrong_form(body, names):
            return 0
    except RecursionError:  # fences within fences without end
        return 0
    return close.end() if close else len(text)


def _native(text: str, names: _Names) -> int:
    """Gemma's own form, spelled in ordinary tokens or cut; its closing token may have been real."""
    if CALL_OPEN.startswith(begun := text.rstrip()) and len(begun) > len("<|tool"):
        return len(text)
    if not text.startswith(CALL_OPEN):
        return 0
    close = text.find(CALL_CLOSE)
    if close >= 0:
        return close + len(CALL_CLOSE)
    inner = text.removeprefix(CALL_OPEN).lstrip()
    return len(text) - len(inner) + (_bare(inner, names) or len(inner))


def _bare(text: str, names: _Names) -> int:
    """`call:find{…}`, `find{…}`, `call:find(…)`, `call:find` and what may follow it."""
    if call := _CALL_WORD.match(text):
        opening = call[2]
        if opening in ("{", "("):
            return _closing(text, call.end() - 1)
        return len(text) if resolve_name(call[1], names) else 0
    header = _NAME_BRACE.match(text)
    if _OTHER_WORD.match(text) or (header and resolve_name(header[1], names)):
        return _closing(text, text.find("{"))
    return 0


def _json(text: str, names: _Names) -> int:
    """A JSON object, or a list of them, that names a tool."""
    if text[0] not in '{["':
        return 0
    try:
        value, end = _DECODER.raw_decode(text)
        if isinstance(value, str):  # JSON inside JSON
            return end if value[:1] in ("{", "[") and _json(value, names) == len(value) else 0
        calls = value if isinstance(value, list) else [value]
        return end if calls and all(_is_call(call, names) for call in calls) else 0
    except (ValueError, RecursionError):  # cut, Python's spelling, or nested without end
        end = _closing(text, 0)
        heads = filter(None, (_JSON_BEGUN.match(text), _ONLY_MEMBER.match(text)))
        if any(resolve_name(head[1], names) for head in heads):
            return end
        inside = _JSON_NAMED.finditer(text, 0, end)
        called = any(resolve_name(each[1], names) for each in inside)
        return end if called and _JSON_ARGUMENTS.search(text, 0, end) else 0


def _is_call(value: Any, names: _Names) -> bool:
    if not isinstance(value, dict):
        return False
    if len(value) == 1 and isinstance(code := value.get("tool_code"), str):
        return wrong_form(code, names) is not None
    if any(_is_schema(value.get(key)) for key in _GIVEN_KEYS):
        return False  # it describes a tool
    if any(_is_name(key, item) and resolve_name(item, names) for key, item in value.items()):
        return True
    inner = [item for key, item in value.items() if _CALL_KEY.search(key) or _is_rpc(value, key)]
    held = next((item for item in inner if isinstance(item, dict | list) and item), None)
    if held is not None:
        calls = held if isinstance(held, list) else [held]
        return all(_is_call(call, names) for call in calls)
    only = next(iter(value)) if len(value) == 1 else ""
    return only in names and isinstance(value[only], dict)


def _is_name(key: str, item: Any) -> bool:
    return isinstance(item, str) and (key in ("name", "op") or bool(_CALL_KEY.search(key)))


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict) and "properties" in value


def _is_rpc(value: dict[str, Any], key: str) -> bool:
    return key == "params" and value.get("method") == "tools/call"


def _tagged(text: str, names: _Names) -> int:
    """`<tool_call>…</tool_call>` and other formats' tags, and a tool's name as a tag."""
    tag = _TAG.match(text)
    if tag is None or not (
        _CALL_TAG.match(tag[2]) or resolve_name(tag[2].removeprefix("call:"), names)
    ):
        return 0
    closing = f"</{tag[1]}>"
    close = text.find(closing, tag.end())
    end = len(text) if close < 0 else close + len(closing)
    return tag.end() if tag[0].endswith("/>") else end


def _marked(text: str, names: _Names) -> int:  # noqa: ARG001 - their tokens are mark enough
    """The special tokens by which other models begin their calls; the rest is theirs too."""
    return len(text) if _OTHER_TOKENS.match(text) else 0


def _pythonic(text: str, names: _Names) -> int:
    """`find(query="x")`, in a list, printed, or given a name."""
    head = _PYTHON_HEAD.match(text)
    end = _python_call(text, head.end() if head else 0, names)
    if end and head and head[1]:  # `result = find(…)` and then `print(result)`
        printed = re.compile(rf"\s*+print\(\s*+{head[1]}\s*+\)").match(text, end)
        end = printed.end() if printed else end
    return end


def _python_call(text: str, at: int, names: _Names) -> int:
    if text[at : at + 1] == "[":
        inner = _PYTHON_CALL.match(text, at + 1)
        return _closing(text, at) if inner and resolve_name(inner[1], names) else 0
    if (printed := _PRINT.match(text, at)) and (inner := _PYTHON_CALL.match(text, printed.end())):
        return _closing(text, printed.end() - 1) if resolve_name(inner[1], names) else 0
    call = _CALL_OF.match(text, at) or _PYTHON_CALL.match(text, at)
    opened = text.find("(", at)
    return _closing(text, opened) if call and resolve_name(call[1], names) else 0


def _react(text: str, names: _Names) -> int:
    """`Thought: …` / `Action: find` / `Action Input: …`, and what the model made up behind it."""
    action = _ACTION.search(text)
    if action is None:
        return 0
    before = text[: action.start()].strip()
    if before and not before.startswith(_THOUGHTS):
        return 0
    at = action.end()
    if not resolve_name(action[2] or "", names):
        code = text[action.start(1) :]
        ends = (end_of(code, names) for end_of in (_fenced, _json, _pythonic) if code)
        end = next(filter(None, ends), 0)
        if not end:
            return 0
        at = action.start(1) + end
    elif text[at : at + 1] == "[":  # `Action: find[x]`
        at = _closing(text, at)
    if given := _ACTION_INPUT.match(text, at):
        line = text.find("\n", given.end())
        at = len(text) if line < 0 else line
        if text[given.end() : given.end() + 1] in ("{", "["):
            at = _closing(text, given.end())
    rest = text[at:].lstrip(" \t\n`")
    return len(text) if not rest or _MADE_UP.match(rest) else 0


def _bracketed(text: str, names: _Names) -> int:
    """`[tool_call: find]`, and the object of arguments behind it."""
    label = _IN_BRACKETS.match(text)
    if label is None or not resolve_name(label[1], names):
        return 0
    end = _closing(text, 0)
    given = re.compile(r"\s*+(?=\{)").match(text, end)
    return _closing(text, given.end()) if given else end


def _labelled(text: str, names: _Names) -> int:
    """`tool: find` with lines of `name: value` under it."""
    label = _LABEL.match(text)
    if label is None or not resolve_name(label[1], names):
        return 0
    at = label.end()
    while line := _LABELLED_LINE.match(text, at):
        if line.end() == at:
            break
        at = line.end()
    return at if not text[at:].strip() else 0


_NOTATIONS: Final[dict[str, Callable[[str, _Names], int]]] = {
    "a fenced call": _fenced,
    "a call in ordinary tokens": _native,
    "a call without its control tokens": _bare,
    "a call in JSON": _json,
    "a call in tags": _tagged,
    "a call in another model's tokens": _marked,
    "a call in Python": _pythonic,
    "a call in brackets": _bracketed,
    "an action in words": _react,
    "a call in labelled lines": _labelled,
}

_CALL_KEY: Final = re.compile(r"(?i)tool|function|call|action|command|recipient|method|invo[ck]")
"""What a key of JSON is called that holds the name of a tool, a call or several."""
_GIVEN_KEYS: Final = ("arguments", "parameters", "args", "input", "inputSchema", "input_schema")
_NAME_KEY: Final = (
    r"[\"']?(?:\w*(?:tool|function|call|action|command|recipient|method)\w*|name)[\"']?"
)
_NAME: Final = r"[\w.\-:/]+"
_FENCE: Final = re.compile(r"(`{3,}|~{3,})([^\n`]*)\n")
_ANY_CALL: Final = re.compile(r"(?<![\w.])([\w.]++)\s*+\(")
_OTHER_WORD: Final = re.compile(r"(?:response|declaration):[\w.\-]++\{")
"""What the template writes of tools and their results."""
_CALL_WORD: Final = re.compile(r"call\s*:\s*([\w.\-/]+(?::[\w.\-/]+)*)\s*([{(]|:|(?=\n)|\Z)")
_NAME_BRACE: Final = re.compile(rf"(?:>>>|[@/$#])?\s*({_NAME}?)\s*+:?\s*+\{{")
_JSON_BEGUN: Final = re.compile(rf"[\[{{\s]*{_NAME_KEY}\s*:\s*[\"']({_NAME})[\"']")
_JSON_NAMED: Final = re.compile(rf"(?<!\w){_NAME_KEY}\s*+:\s*+[\"']({_NAME}+)[\"']")
_JSON_ARGUMENTS: Final = re.compile(
    r"(?<!\w)[\"']?(?:arguments|parameters|args|input|action_input)[\"']?\s*+:"
)
_ONLY_MEMBER: Final = re.compile(rf"\{{\s*+[\"']?({_NAME}?)[\"']?\s*+:\s*+\{{")
_TAG: Final = re.compile(r"<((?:[|\uff5c]DSML[|\uff5c])?([\w:.\-]+))(?:[\s=][^<>]*)?/?>")
_CALL_TAG: Final = re.compile(
    r"(?:\w+:)?(?:tool|function|action)(?:_?(?:calls?|use|request|code|call_begin|invocation|name"
    r"|input|args|arguments|parameters|params))?\Z"
    r"|(?:\w+:)?(?:invoke|tools|use_(?:mcp_)?tool|function_calls?|start_function_call|execute)\Z"
    r"|(?:\w+_)?(?:tool|function)_calls?\Z|(?:execute|call)_tool\Z|call\Z",
    re.IGNORECASE,
)
_OTHER_TOKENS: Final = re.compile(
    r"\[TOOL_(?:CALLS?|REQUEST)\]|<\|python_tag\|>|<\|tool_calls?(?:_start)?\|>|functools\["
    r"|<\|(?:START_ACTION|action_start|plugin)\|>"
    r"|<[|\uff5c]tool[_\u2581]calls?(?:[_\u2581]section)?[_\u2581]begin[|\uff5c]>"
    r"|(?:(?:<\|start\|>)?\s*assistant\s*)?<\|channel\|>\s*commentary|multi_tool_use\.parallel\s*\("
    r"|(?:assistant\s*)?(?:commentary\s+)?to=functions\."
    r"|\u273fFUNCTION\u273f"
)
_PYTHON_HEAD: Final = re.compile(
    r"(?:tool_code\s+)?(?:(?:from [\w.]++ )?import [\w.,* ]++\n\s*+)*+(?:>>> |[@$])?"
    r"(?:(?:let |const |var )?([A-Za-z_]\w*)\s*=\s*)?(?:return\s+)?(?:await\s+)?"
)
_PYTHON_CALL: Final = re.compile(rf"\s*({_NAME}?)(?:\.(?:invoke|call|run))?\s*\(")
_CALL_OF: Final = re.compile(
    r"\s*+(?:(?:call|use|run|invoke|execute)(?:_?(?:tool|function))?|(?:tool|function)_?call)\s*+\("
    rf"\s*+(?:\w+\s*+=\s*+)?[\"']?({_NAME})[\"']?\s*+[,)]"
)
"""`call_tool("find", …)`: a function that is given the tool."""
_PRINT: Final = re.compile(r"(?:print|return)\s*\(")
_ACTION: Final = re.compile(
    rf"^[ \t*]*Action(?: \d+)?[ \t*]*:[ \t*]*+\s*+((?:`?({_NAME}))?)",
    re.MULTILINE | re.IGNORECASE,
)
_IN_BRACKETS: Final = re.compile(
    rf"\[\s*+(?:(?:tool|function)(?:[ _-]?calls?)?|call(?:ing)?)\s*+:\s*+({_NAME})\s*+[\](]",
    re.IGNORECASE,
)
_ACTION_INPUT: Final = re.compile(
    r"(?:[^\n]*\n\s*|[ \t]*)\**(?:Action[ _])?(?:Input|Arguments)\**\s*:\s*(?:`+\w*\s*)?",
    re.IGNORECASE,
)
_MADE_UP: Final = re.compile(
    r"\**(?:Observation|Thought|Action|Final Answer)(?: \d+)?\**[ \t]*:|PAUSE\b"
)
_THOUGHTS: Final = ("Thought", "Question", "**Thought", "thought", "Reasoning")
_LABEL: Final = re.compile(
    r"(?:-\s*)?(?:(?:tool|function)(?:[ _]?(?:name|call|use))?|name|calling(?: tool)?|use[ _]tool)"
    rf"\s*[:=]\s*[\"'`]?({_NAME})[\"'`]?[ \t]*",
    re.IGNORECASE,
)
_LABELLED_LINE: Final = re.compile(
    r"\n?[ \t]*+"
    r"(?:[-{}\[\]()]+[ \t]*|[\"']?[\w.\- ]{1,40}[\"']?[ \t]*[:=][^\n]*|\([^\n]*\))(?=\n|\Z)"
    r"|\n[ \t]*(?=\n|\Z)"
)
_DECODER: Final = json.JSONDecoder(strict=False)
_BRACKETS: Final = re.compile(
    rf"{re.escape(QUOTE)}.*?(?:{re.escape(QUOTE)}|\Z)"
    r"|(?:\"(?:[^\"\\\n]|\\.)*+(?:\"|(?P<open>))|(?<!\w)'(?:[^'\\\n]|\\.)*+(?:'|(?P<open_>)))"
    r"|[{}()\[\]]",
    re.DOTALL,
)
"""Brackets, and the strings that hide them."""


def _closing(text: str, at: int) -> int:
    """Where the bracket that opens at `at` is closed, strings aside; the end if it never is."""
    depth = 0
    for bracket, end in _brackets(text, at):
        if bracket in "{[(":
            depth += 1
        elif bracket in "}])":
            depth -= 1
            if depth == 0:
                return end
    return len(text)


def _brackets(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Each bracket outside of strings, and where it ends.

    A quote that is not closed on its line opens no string, nor does any further one of that line
    which it would hide: all of them are looked at once.
    """
    for found in _BRACKETS.finditer(text, at):
        if found.lastgroup:
            bare = found[0].replace(found[0][0], " ")
            yield from ((bracket, found.start() + end) for bracket, end in _brackets(bare, 0))
        elif len(found[0]) == 1:
            yield found[0], found.end()


# --- reasoning in the text -----------------------------------------------------------------------


def split_reasoning(text: str) -> tuple[str, str]:
    """A text apart from the reasoning in it: (reasoning, rest). What stands in code is kept.

    vLLM leaves it there after a tool's answer (vllm#39885), with its channel tokens or with no more
    than the word that follows them.
    """
    found: list[str] = []
    code = _InCode(text)

    def take(match: re.Match[str]) -> str:
        if code.holds(match.start()):
            return match[0]
        found.append(match[1].strip())
        return ""

    rest = _LEAKED.sub(take, text).removeprefix(THOUGHT)
    return "\n".join(filter(None, found)), rest


_LEAKED: Final = re.compile(
    rf"(?:{re.escape(CHANNEL_OPEN)}(?:{THOUGHT})?|\A{THOUGHT}(?=.*{re.escape(CHANNEL_CLOSE)}))"
    rf"(.*?)(?:{re.escape(CHANNEL_CLOSE)}|\Z)",
    re.DOTALL,
)


class _InCode:
    """Which places of a text stand in code, or right behind a quote; asked from first to last."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._seen = self._fences = self._ticks = 0  # of the line's

    def holds(self, at: int) -> bool:
        """Whether this place does."""
        line = self._text.rfind("\n", self._seen, at) + 1
        self._fences += self._text.count("```", self._seen, at)
        before = 0 if line else self._ticks
        self._ticks = before + self._text.count("`", line or self._seen, at)
        self._seen = at
        return self._fences % 2 == 1 or self._ticks % 2 == 1 or self._text[at - 1 : at] in _OPENING


_OPENING: Final = ('"', "'", "“", "«")
