"""A question about an image, answered as an object.

    python examples/image_question.py http://localhost:8000/v1 receipt.png

Every Gemma 4 sees images; what one costs in tokens, `agentkit.gemma4.profiles` says. An image that
the served model does not take is refused before anything is sent.
"""

from __future__ import annotations

import base64
import mimetypes
import sys
from dataclasses import dataclass
from pathlib import Path

from agentkit import Agent, Model, VLLMModel
from agentkit.messages import ImagePart, TextPart


@dataclass
class Receipt:
    """What is on a receipt.

    Attributes:
        shop: Who wrote it.
        total: What was paid, in EUR.
    """

    shop: str
    total: float


def image(file: Path) -> ImagePart:
    """A file as a part of a message."""
    kind = mimetypes.guess_type(file)[0] or "image/png"
    return ImagePart(f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}")


def read(model: Model, file: Path) -> Receipt:
    """What stands on the receipt."""
    agent = Agent(model, output_type=Receipt)
    return agent.run_sync((TextPart("What does this receipt say?"), image(file))).output


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(read(VLLMModel(sys.argv[1]), Path(sys.argv[2])))
