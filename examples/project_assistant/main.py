"""Ask questions about a directory: read-only tools, every event shown as it happens.

    python examples/project_assistant/main.py "Where is Till defined?"
    python examples/project_assistant/main.py --model http://localhost:8000/v1 --project . "..."

A path outside the directory is refused in the tool's result, and the run goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import anyio
from agentkit_tools import project_reader

from agentkit import (
    Agent,
    AgentKitError,
    Limits,
    Model,
    ModelSettings,
    RunFinished,
    TextDelta,
    ToolFinished,
    ToolStarted,
    VLLMModel,
)
from agentkit.models.embedded import EmbeddedModel

SAMPLE = Path(__file__).parent / "sample"

INSTRUCTIONS = (
    "You answer questions about the files of a project. "
    "Look things up with the tools before you answer."
)


def agent(model: Model, project: Path) -> Agent:
    """An agent that reads a directory and cannot change it."""
    return Agent(
        model,
        instructions=INSTRUCTIONS,
        tools=project_reader(project),
        limits=Limits(steps=20),
    )


async def ask(assistant: Agent, question: str) -> None:
    """Prints the run as it happens."""
    async for event in assistant.stream(question):
        match event:
            case TextDelta(text=text):
                print(text, end="", flush=True)
            case ToolStarted(call=call):
                print(f"-> {call.name} {call.arguments}")
            case ToolFinished(result=result):
                first, _, _ = str(result.content).partition("\n")
                print(f"<- {first}")
            case RunFinished(result=result):
                print(f"\nrun: {result.run_id}")
            case _:
                pass
    await assistant.aclose()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Ask a question about a directory.")
    parser.add_argument("question")
    parser.add_argument("--project", type=Path, default=SAMPLE, help="default: the sample")
    parser.add_argument("--model", default="tiny", help="a vLLM server's address; default: tiny")
    options = parser.parse_args()
    try:
        if options.model == "tiny":  # greedy: a demonstration is the same twice
            model: Model = EmbeddedModel(settings=ModelSettings(temperature=0.0))
        else:
            model = VLLMModel(options.model)
        print(f"model: {options.model}", file=sys.stderr)
        anyio.run(ask, agent(model, options.project), options.question)
    except (AgentKitError, NotADirectoryError) as error:
        sys.exit(f"project_assistant: {error}")


if __name__ == "__main__":
    main()
