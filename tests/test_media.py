"""Images, sounds and videos that no server takes are sentences; those that it takes go through."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib
from collections.abc import AsyncGenerator

import pytest

from agentkit import Agent, tool
from agentkit.errors import ModelStatusError
from agentkit.events import ModelEvent, StepRestarted, StepStarted, TextDelta
from agentkit.journal import SQLiteJournal
from agentkit.media import media_kind, sound_messages, sound_parts
from agentkit.messages import (
    AudioPart,
    ImagePart,
    Message,
    ModelRequest,
    Part,
    TextPart,
    ToolMessage,
    UserMessage,
    VideoPart,
)
from agentkit.testing import ScriptedModel, call, say


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0\0"))
    + chunk(b"IEND", b"")
)
# The smallest baseline JPEG (125 bytes), from the sizes of its segments.
JPEG = bytes.fromhex(
    "ffd8ffdb004300030202020202030202020303030304060404040404080606050609080a0a090809090a0c0f0c0a0b"
    "0e0b09090d110d0e0f101011100a0c12131210130f101010ffc9000b080001000101011100ffcc000600101005ffda"
    "0008010100003f00d2cf20ffd9"
)
GIF = bytes.fromhex(
    "47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b"
)


def wav() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 100)
    return made.getvalue()


WAV = wav()
MP4 = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 8, b"moov")


def image(content: bytes, mime: str = "image/png") -> ImagePart:
    return ImagePart(f"data:{mime};base64,{base64.b64encode(content).decode()}")


def sound(content: bytes, kind: str = "wav") -> AudioPart:
    return AudioPart(base64.b64encode(content).decode(), kind)


def video(content: bytes, mime: str = "video/mp4") -> VideoPart:
    return VideoPart(f"data:{mime};base64,{base64.b64encode(content).decode()}")


WHOLE: list[Part] = [
    image(PNG),
    image(JPEG, "image/jpeg"),
    image(JPEG, "image/jpg"),
    image(GIF, "image/gif"),
    sound(WAV),
    sound(b"\xff\xfb\x90\x00" + b"\0" * 413, "mp3"),
    video(MP4),
    VideoPart(f"data:video/jpeg;base64,{base64.b64encode(JPEG).decode()}"),
    ImagePart("https://example.com/cat.png"),
]

HTML, SVG = b"<!DOCTYPE html><html></html>", b"<?xml version='1.0'?><svg xmlns='x'/>"
BROKEN: list[tuple[Part, str]] = [
    (image(HTML), "is an HTML page; taken are png, jpeg"),
    (image(SVG, "image/svg+xml"), "is an SVG drawing"),
    (image(b""), "is empty"),
    (image(b"%PDF-1.7"), "is PDF"),
    (image(b"not an image"), "is of no known kind"),
    (image(WAV), "is WAV"),
    *((image(PNG[:size]), "is broken") for size in (20, 40, len(PNG) - 1, len(PNG) - 12)),
    (image(PNG.replace(b"IDAT", b"IDAU")), "a check sum is wrong"),
    *((image(JPEG[:size], "image/jpeg"), "is broken") for size in (4, 60, 100, len(JPEG) - 1)),
    (image(GIF[:-1], "image/gif"), "ends too early"),
    (ImagePart("cat.png"), "is no data: URL in base64 and no https: URL"),
    (ImagePart("file:///etc/passwd"), "is no data: URL"),
    (ImagePart("data:image/png;base64,%%%"), "is no valid base64"),
    (sound(WAV[:-1]), "ends too early"),
    (sound(WAV[:44]), "is empty: it has no samples"),
    (sound(WAV[:20]), "ends too early"),
    (sound(b""), "is empty"),
    (sound(HTML, "mp3"), "is an HTML page"),
    (AudioPart("???"), "is no valid base64"),
    (video(MP4[:-1]), "ends too early"),
    (video(MP4[:16]), "has no index"),
    (video(PNG), "is PNG; taken are mp4, webm, avi"),
]


@pytest.mark.parametrize("part", WHOLE, ids=lambda part: f"{part.type} {len(str(part))}")
def test_what_is_whole_goes_through_as_it_is(part: Part) -> None:
    assert sound_parts([part]) == (part,)


@pytest.mark.parametrize(("part", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_what_no_server_takes_is_a_sentence(part: Part, why: str) -> None:
    (told,) = sound_parts((part,))
    assert isinstance(told, TextPart)
    assert told.text.startswith(f"[{part.type} left out: it ")
    assert why in told.text


@pytest.mark.parametrize("size", range(8, len(PNG)))
def test_every_beginning_of_a_picture_is_noticed(size: int) -> None:
    assert isinstance(sound_parts((image(PNG[:size]),))[0], TextPart)


def test_a_wrong_kind_is_mended_and_told() -> None:
    mended, told = sound_parts((image(JPEG, "image/png"),))
    assert mended == image(JPEG, "image/jpeg")
    assert told == TextPart("[image sent all the same: it says 'image/png' and is image/jpeg]")
    mended, told = sound_parts((sound(WAV, "mp3"),))
    assert mended == sound(WAV, "wav")
    assert told == TextPart("[audio sent all the same: it says 'mp3' and is wav]")
    assert media_kind(HTML) == "html"


@tool(effect="pure", labels=set())
def look() -> ImagePart:
    """Looks."""
    return image(HTML)


def test_a_broken_image_of_a_tool_does_not_end_the_run() -> None:
    model = ScriptedModel([call("look"), say("Nothing to see.")])
    result = Agent(model, tools=[look], observers=()).run_sync("?")
    assert result.output == "Nothing to see."
    message = result.messages[-2]
    assert isinstance(message, ToolMessage)
    assert "[image left out: it is an HTML page" in str(message.content)


def test_a_broken_image_of_the_user_is_refused_at_once() -> None:
    agent = Agent(ScriptedModel([]), observers=())
    with pytest.raises(ValueError, match="part 2 of the message, an image, is an HTML page"):
        agent.run_sync((TextPart("What is this?"), image(HTML)))


def test_a_history_with_a_broken_image_can_be_gone_on_with() -> None:
    history: list[Message] = [UserMessage((image(HTML),)), ToolMessage("1", "look", (image(b""),))]
    cleaned = sound_messages(history)
    assert all("left out" in str(message.content) for message in cleaned)
    result = Agent(ScriptedModel([say("Yes.")]), observers=()).run_sync("Go on", history=history)
    assert "image left out" in str(result.messages[0].content)


class TextOnly(ScriptedModel):
    """A server that takes no images, as vLLM says it."""

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Refuses a request with an image."""
        parts = [p for m in request.messages if isinstance(m.content, tuple) for p in m.content]
        if any(isinstance(part, ImagePart) for part in parts):
            raise ModelStatusError("400: At most 0 image(s) may be provided", status_code=400)
        async for event in super().generate(request):
            yield event


@tool(effect="pure", labels=set())
def picture() -> ImagePart:
    """Looks."""
    return image(PNG)


class TextOnlyInMidReply(TextOnly):
    """One that finds the image after it has begun to answer."""

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Says a little, and then refuses."""
        yield TextDelta("I see ")
        async for event in super().generate(request):
            yield event


@pytest.mark.anyio
async def test_what_was_shown_before_an_image_was_refused_is_taken_back() -> None:
    model = TextOnlyInMidReply([call("picture"), say("nothing.")])
    shown: list[str] = []
    async for event in Agent(model, tools=[picture], observers=()).stream("?"):
        if isinstance(event, TextDelta):
            shown.append(event.text)
        elif isinstance(event, StepStarted | StepRestarted):
            shown.clear()
    assert "".join(shown) == "I see nothing."


@pytest.mark.anyio
async def test_a_server_without_images_reads_its_own_refusal(tmp_path: object) -> None:
    journal = SQLiteJournal(f"{tmp_path}/journal.db")
    model = TextOnly([call("picture"), call("picture"), say("I cannot see it.")])
    agent = Agent(model, tools=[picture], observers=())
    result = await agent.run("?", journal=journal, run_id="r")
    assert result.output == "I cannot see it."
    assert "At most 0 image(s)" in str(model.requests[-1].messages)
    assert (await agent.resume("r", journal=journal)).output == "I cannot see it."
    with pytest.raises(ModelStatusError, match="At most 0"):
        await agent.run((TextPart("?"), image(PNG)))
