"""Ask questions about a directory: read-only tools, every event shown as it happens.

    python examples/project_assistant.py http://localhost:8000/v1 . "Where is Agent defined?"

A path outside the directory is refused in the tool's result, and the run goes on.
"""

from __future__ import annotations

import sys

import anyio
from agentkit_tools import project_reader

from agentkit import (
    Agent,
    AgentKitError,
    Limits,
    Model,
    TextDelta,
    ToolFinished,
    ToolStarted,
    VLLMModel,
)

INSTRUCTIONS = (
    "You answer questions about the files of a project. "
    "Look things up with the tools before you answer."
)


def project_assistant(model: Model, directory: str) -> Agent:
    """An agent that reads a directory and cannot change it."""
    return Agent(
        model,
        instructions=INSTRUCTIONS,
        tools=project_reader(directory),
        limits=Limits(steps=20),
    )


async def main(url: str, directory: str, question: str) -> None:
    """Prints the run as it happens."""
    agent = project_assistant(VLLMModel(url), directory)
    async for event in agent.stream(question):
        match event:
            case TextDelta(text=text):
                print(text, end="", flush=True)
            case ToolStarted(call=call):
                print(f"-> {call.name} {call.arguments}")
            case ToolFinished(result=result):
                print(f"<- {str(result.content).splitlines()[0]}")
            case _:
                pass
    print()
    await agent.aclose()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
    except (AgentKitError, NotADirectoryError) as error:
        sys.exit(f"project_assistant: {error}")
