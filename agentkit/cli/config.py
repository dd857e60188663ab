"""The user's own configuration file, and `agentkit config`, which shows what holds and whose word
it is.

```
an option of the command  >  a variable of the environment  >  the file  >  the default
```

The file is the user's, outside of every project: whoever can write into a project must not choose
where its files are sent and what may be done there. So a file that lies in the project at hand is
not read, whatever its owner meant, and no key stands in it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from agentkit.errors import AgentKitError
from agentkit.policy import Preset
from agentkit.wording import listed

ADDRESS_LIKE: Final = "it should look like http://localhost:8000/v1"


class UsageError(AgentKitError):
    """The command was used wrongly; its text says how to mend it."""


def is_address(model: str) -> bool:
    """Whether a model is named by the address of its server."""
    return model.startswith(("http://", "https://"))


def _model(model: str) -> str:
    if model != "tiny" and not is_address(model):
        raise ValueError(f"{model!r} is no address; {ADDRESS_LIKE}")
    return model


class UserConfig(BaseModel):
    """What the file may say.

    Attributes:
        model: As `--model`.
        model_name: As `--model-name`.
        thinking: As `--thinking`.
        allow: As `--allow`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: Annotated[str, AfterValidator(_model)] | None = None
    model_name: str | None = None
    thinking: bool | None = None
    allow: Preset | None = None


def config_file() -> Path:
    """Where the file is, whether it is there or not: `AGENTKIT_CONFIG`, or `config.toml` in the
    user's folder for configuration, `~/.config/agentkit` on Linux.
    """
    return Path(os.environ.get("AGENTKIT_CONFIG") or f"{typer.get_app_dir('agentkit')}/config.toml")


def read_config(file: Path) -> UserConfig:
    """What the file says; nothing if there is none.

    Raises:
        UsageError: It cannot be read, or says what no setting is.
    """
    try:
        return UserConfig.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return UserConfig()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; mend it, or set AGENTKIT_CONFIG") from None
    except ValidationError as error:
        raise UsageError(f"{file}: {_wrong(error)}") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise UsageError(f'{file} is no TOML: {error}. Write lines such as allow = "ask"') from None


def _wrong(error: ValidationError) -> str:
    """The first thing that is wrong, and what would be right."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if "key" in name.lower() and first["type"] == "extra_forbidden":
        return f"`{name}` does not belong into a file: set AGENTKIT_API_KEY"
    if first["type"] == "extra_forbidden":
        return f"there is no setting `{name}`; there are {listed(UserConfig.model_fields)}"
    said = first["msg"].removeprefix("Value error, ")
    return f"`{name}`: {said[:1].lower()}{said[1:]}"


def is_inside(file: Path, project: Path) -> bool:
    """Whether a file lies in a project, however the two are spelled."""
    return file.resolve().is_relative_to(project.resolve())


def use_config(context: typer.Context, project: Path) -> Path:
    """Gives the file's settings to the options of a command, as defaults; called when `--project`
    is known, before the options that the file may set.
    """
    if context.resilient_parsing:  # a shell asks for completions
        return project
    file = config_file()
    if is_inside(file, project):
        if file.exists():
            typer.echo(f"agentkit: {file} lies in the project, so it is not read", err=True)
        return project
    if not file.exists() and (named := os.environ.get("AGENTKIT_CONFIG")):
        typer.echo(f"agentkit: AGENTKIT_CONFIG names {named}, which is not there", err=True)
    try:
        said = read_config(file).model_dump(exclude_none=True)
    except UsageError as error:
        typer.echo(f"agentkit: {error}", err=True)
        raise typer.Exit(2) from None
    context.default_map = {**(context.default_map or {}), **said}
    return project


def is_explicit(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line, and not only in a variable or the file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def config_lines(context: typer.Context, values: Mapping[str, object]) -> Iterator[str]:
    """The file's place, then each setting with its value and whose word it is, a line each.

    Args:
        context: Of the command, which has options of these names.
        values: What holds.
    """
    file = config_file()
    yield f"file: {file}{'' if file.exists() else ' (there is none)'}"
    variables = {p.name: p.envvar for p in context.command.params if p.name in values}
    for name, value in values.items():
        source = context.get_parameter_source(name)
        told = {
            "COMMANDLINE": "this command line",
            "ENVIRONMENT": str(variables[name]),
            "DEFAULT_MAP": "the file",
        }.get(source.name if source else "", f"the default; or {variables[name]}")
        shown = "-" if value is None else str(value).lower() if value in (True, False) else value
        yield f"{name} = {shown}  ({told})"
