# ruff: noqa: E501 - a template reads best on one line
"""Phrasings put together from parts: the variety from which a small model learns what is asked.

Each function yields a phrasing with its placeholder, as the fixed ones of `phrasings` have it.
Those held out are refused by `Draw.phrase`, not here.
"""

from __future__ import annotations

import random
from collections.abc import Callable

PREFIX = (
    "tell me|show me|find out|please tell me|can you tell me|could you tell me|do you know"
    "|I want to know|I would like to know|I need to know|please show me|look up|please look up"
    "|could you find out|can you find|say|I wonder|help me find|let me know|could you check"
)
GIVE = (
    "find|find me|give me|show|show me|please show|I need|I want|I am looking for|get|get me|look up"
    "|could you look up|can you give me|can you show me|could you give me|locate|please find"
    "|help me find|I would like|tell me|point me to|where is|where do I find"
)
PROJECT = "||||||| in this project| in the project| in this repository| in the code| here|, please| please"


class Parts:
    """Builds phrasings from alternatives written `a|b|c`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def any(self, *templates: str) -> str:
        """One of the templates, each `<a|b|c>` in it replaced by one of its alternatives."""
        text = self._rng.choice(templates)
        while "<" in text:
            before, _, rest = text.partition("<")
            inside, _, after = rest.partition(">")
            text = before + self._rng.choice(inside.split("|")) + after
        return " ".join(text.split())

    def sentence(self, text: str, *, question: bool) -> str:
        """With a capital and an end, mostly."""
        if self._rng.random() < 0.7 and not text.startswith(("{", '"')):
            text = text[0].upper() + text[1:]
        return text + self._rng.choice(["?", "?", "?", ""] if question else [".", ".", "", "?"])


def find_definition(parts: Parts) -> str:
    """Where a name is defined."""
    kind = "<the class |the function |the constant |the method |the type ||||||||>"
    done = "<defined|defined|defined|declared|implemented|coming from|located|written|introduced>"
    where = "<where|in which file|in what file|in which module|on which line|in which place>"
    text = parts.any(
        f"<{PREFIX}> {where} {kind}{{name}} is {done}<{PROJECT}>",
        f"{where} <is|was> {kind}{{name}} {done}<{PROJECT}>",
        f"{where} <do we|do they|does the code|does the project> <define|declare> {kind}{{name}}",
        f"<{GIVE}> the <definition|declaration|definition|implementation> of {kind}{{name}}"
        f"<{PROJECT}>",
        f"<{GIVE}> the <place|file|line|module|file and line|spot> where {kind}{{name}} is {done}",
        f"<{GIVE}> the <file|line|module|lines|file and line> that <defines|define|declares> "
        f"{kind}{{name}}",
        f"<which|what> <file|module|line|place|source file> <defines|declares|has the definition of"
        f"|contains|holds the definition of|has|introduces> {kind}{{name}}<{PROJECT}>",
        f"<which|what> <file|module> do I <open|read|need|look at> <to see|to find|for> "
        f"{kind}{{name}}",
        f"<where does|from where does> {kind}{{name}} <come from|live|get defined|sit|belong>",
        f"<where|in which file> does {kind}{{name}} <get its definition|have its definition|live>",
        f"{{name}}<:|,| -> where is <it|that|this> <defined|declared|from|written|implemented>"
        f"<{PROJECT}>",
        f"<{PREFIX}> where {{name}} <comes from|lives|is|can be found>",
        f"<find|locate|look for|look up> <the definition of |the code of ||> {kind}{{name}}"
        f"<{PROJECT}>",
    )
    return parts.sentence(text, question=text.startswith(("wh", "in", "on", "{", "from")))


def search_text(parts: Parts) -> str:
    """Where a text stands."""
    thing = (
        '<the text |the words |the string |the phrase |the word |the piece of text ||||||>"{text}"'
    )
    stands = "<occurs|occurs|appears|is used|is mentioned|is written|can be found|stands|shows up|is found>"
    text = parts.any(
        f"<{PREFIX}> <where|in which files|how often|on which lines|how many times> {thing} {stands}"
        f"<{PROJECT}>",
        f"<where|in which files|how often|on which lines|how many times|at which lines> does {thing} "
        f"<occur|occur|appear|show up|stand|come up><{PROJECT}>",
        f"<where|in which files|on which lines> <is|do we use|do they use|do I find|can I see|do I "
        f"meet> {thing}<{PROJECT}>",
        f"<where|in which file> is {thing} <used|mentioned|written|said|printed><{PROJECT}>",
        f"<at which|on which|in what> <line|file|place> <do I|do we|can I> <first|> <meet|find|see> "
        f"{thing}",
        f"<which|what> <files|lines|places|file|parts> <of the project|of the code||||> "
        f"<contain|contains|mention|use|have|say|hold|include|speak of> {thing}",
        f"<search|look|grep|scan|check|search> <the project|the files|all files|the code|every file"
        f"|all the files|||||> for {thing}<{PROJECT}>",
        f"<{GIVE}> <every|each|any> <place|line|file|spot> <that says|with|that contains|that "
        f"mentions|containing|that has> {thing}",
        f"<{GIVE}> <all|all the|the> <places|lines|files|occurrences|mentions|uses> <of|with|for> "
        f"{thing}",
        f"<do|does> <any|any of the|one of the|some of the> <file|files|lines> "
        f"<contain|mention|have|use|say> {thing}",
        f"<is|is there> {thing} <anywhere|somewhere|in any file|in one of the files><{PROJECT}>",
        f"{thing}<:|,| -> where <is it|does it occur|do I find it|is that used|does that appear>",
        f"<find|search for|look for> {thing}<{PROJECT}>",
        f"is {thing} <used|mentioned|written> <anywhere|somewhere|in the project>",
    )
    return parts.sentence(
        text, question=text.startswith(("wh", "in ", "at", "on", "how", "is", "do"))
    )


def list_files(parts: Parts) -> str:
    """What a folder holds."""
    place = "<the folder |the directory |the folder ||||||>{folder}"
    files = "<files|files|files|entries|things|files and folders|modules>"
    inside = "<in|in|inside|under|within>"
    text = parts.any(
        f"<which|what> {files} <are|do I find|can I find|can I see|lie|live|are there|exist|are kept>"
        f" {inside} {place}",
        f"<what> <is|do I find|can I find|lies|sits|is there|is stored|is kept> {inside} {place}",
        f"<what|which files> does {place} <hold|contain|have|have in it|consist of|include>",
        f"<{GIVE}> <the|all|all the|a list of the|a list of> <files|contents|content|entries> "
        f"<in|of|inside|under|from> {place}",
        f"<{PREFIX}> <what|which files> {place} <has|holds|contains|has in it|includes>",
        f"<{PREFIX}> <what is|which files are|what lies> {inside} {place}",
        f"<please |||><show|list|print|enumerate|name|give> <me|||||> <the|all|all the> "
        f"<files|entries|contents> <kept |stored |||||>{inside} {place}",
        f"<please |||><show|list|ls|open|print|look into|look in|look inside|dir> {place}",
        "{folder}<:|,| -> <what is in it|what is in there|what is in that folder|what does it hold"
        "|which files are there|what is inside|what files are in it>",
        f"how many <files|entries> <are in|are there in|are inside> {place}",
        f"how many <files|entries> does {place} <have|hold|contain>",
    )
    return parts.sentence(text, question=text.startswith(("wh", "how", "{")))


def list_root(parts: Parts) -> str:
    """What the top of the project holds."""
    top = "<the root folder|the root directory|the top folder|the project's root|the main folder"
    top += "|the current folder|this project|the project|the top of the project|the base folder>"
    text = parts.any(
        f"<what|which files> <is|are|do I find|do you see|lies> <in|inside|at> {top}",
        f"<{GIVE}> the <top|top-level|root|main|first> <files|folders|entries>",
        f"<{GIVE}> <the|all|all the|a list of the> <files|contents|entries> <in|of|at> {top}",
        f"<what|which files> does {top} <hold|contain|have>",
        f"<please |||><show|list|print|ls|open> {top}",
        "<show|list> <me|> the <files|entries|top files|top folder|files at the top>",
    )
    return parts.sentence(text, question=text.startswith("wh"))


_LEADS = "<the|its|the very|the> "
_FILE = "<the file |the file |the text file ||||||||>{path}"


def first_line(parts: Parts) -> str:
    """How a file begins."""
    line = "<first line|first line|opening line|top line|line one|line 1|first row|beginning|start>"
    text = parts.any(
        f"<what|which> is the {line} <of|in> {_FILE}",
        f"how does {_FILE} <begin|start|open>",
        f"<what|which line> does {_FILE} <begin with|start with|open with|say first|say>",
        f"<{GIVE}> the {line} <of|in> {_FILE}",
        f"<quote|print|read|copy|cite|repeat> <the first line|line one|line 1|the opening line"
        f"|the top line> <of|from|in> {_FILE}",
        f"<what|which line> <stands|is|is written|comes> <at the top|at the very top|at the start|at "
        f"the beginning|first> <of|in> {_FILE}",
        f"<read|open|look at|look into> {_FILE} and <tell me|show me|quote|say|give me|print> "
        f"<its|the> <first|opening|top> line",
        f"<read|open|show|show me|cat|head|print|please read|look at|view> {_FILE}",
        f"<{PREFIX}> <how {{path}} begins|how {{path}} starts|what the first line of {{path}} is>",
        "{path}<:|,| -> <what is the first line|how does it begin|first line|how does it start>",
    )
    return parts.sentence(text, question=text.startswith(("wh", "how", "{")))


def line_count(parts: Parts) -> str:
    """How long a file is."""
    text = parts.any(
        "how many lines <does {path} have|are there in {path}|are in {path}|has {path} got"
        "|does {path} contain|long is {path}|are in the file {path}>",
        f"how <long|big> is {_FILE}<, in lines|, counted in lines| in lines|||>",
        f"<count|please count|can you count|could you count> <the|all|all the> lines <of|in> {_FILE}",
        f"<{GIVE}> the <number of lines|line count|count of lines|length> <of|in> {_FILE}",
        f"<what is|tell me> the <number of lines|line count|length in lines|length> <of|in> {_FILE}",
        f"<{PREFIX}> how <many lines {{path}} has|long {{path}} is|many lines are in {{path}}>",
        "{path}<:|,| -> <how many lines|how long is it|how many lines does it have>",
    )
    return parts.sentence(text, question=text.startswith(("wh", "how", "{")))


def none(parts: Parts) -> str:
    """Nothing that a tool is for: a word to repeat, a greeting, small talk."""
    word = "{word}"
    text = parts.any(
        f"<just |please |now |only |simply |||||><say|repeat|write|echo|print|type|answer with|reply "
        f"with|respond with|say back> <the word |this word: |the word: |this: ||||>{word}"
        f"< and nothing else|, nothing else| and nothing more| once|, please| please|||||>",
        f"<can you|could you|would you> <say|repeat|write|echo> <the word |||>{word}",
        "<hello|hi|hey|good morning|good evening|good afternoon|good day|greetings|welcome>< there|"
        " to you| my friend| again| everyone|, model|||||><!|.||>",
        "<thanks|thank you|many thanks|thanks a lot|thank you very much|thanks so much>< for the help|"
        " for that| for the answer| for your time| indeed|||||><!|.||>",
        "<great|good|nice|fine|well done|perfect|super|cool><, thanks| work| job| answer|!|.||>",
        "<bye|goodbye|see you|good night|until later|farewell>< later| tomorrow| soon||||><!|.||>",
        "<what|which things|how much> can you do< for me| here| with tools|||>",
        "<who|what> are you< really| exactly| called|||>",
        "how are you< today| doing| feeling|||>",
        "<which city|what city|what> is the capital of <france|italy|spain|japan|norway|peru|germany"
        "|poland|china|kenya|greece|ireland|chile|egypt|cuba>",
        "what colo<u|>r is <the sky|snow|a lemon|an apple|milk|the sea|a rose|coal|an orange|the sun>",
        "<why|when|how> <is|was|does|did|do> <the sky|the sun|the moon|rain|snow|a dog|time|love|music"
        "|the sea> <blue|big|warm|cold|old|fall|rise|end|begin|loud>",
        "do <you|dogs|cats|birds|people|fish> <like|eat|know|love|hate|see> <music|rain|fish|bread"
        "|tea|summer|books|games|numbers>",
        "how many <days|legs|months|hours|minutes|wheels|eyes> <has|does> <a week|a dog|a year|a day"
        "|an hour|a car|a cat|a spider><| have>",
        "tell me <a joke|a story|a secret|something funny|something nice|about yourself|about music>",
        "what is the opposite of <hot|big|good|fast|old|dark|long|happy|rich|loud>",
        "is <water|fire|ice|the sun|the moon|stone|milk> <wet|hot|cold|big|round|hard|white>",
        "<ok|okay|yes|no|never mind|sure|right|I see|that is all|all good|understood><.|!||>",
    )
    if text.endswith((".", "!", "?")):
        return text
    return parts.sentence(text, question=text.startswith(("wh", "how", "do", "is", "can", "could")))


GRAMMARS: dict[str, Callable[[Parts], str]] = {
    "find_definition": find_definition,
    "search_text": search_text,
    "list_files": list_files,
    "list_root": list_root,
    "first_line": first_line,
    "line_count": line_count,
    "none": none,
}
