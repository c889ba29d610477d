"""Write the command-line reference of the documentation from the commands themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from dpedkit.cli import cli

_WIDTH = 96


def reference() -> str:
    """The reference as Markdown: the help text of every command."""
    parts = [
        "# Command-line reference",
        "",
        "Written by `./dev docs` from the commands; the tests check that it is up to date.",
        "",
    ]
    for path, command, context in _commands(cli, "dpedkit", None):
        parts += [f"## {path}", "", "```text", command.get_help(context).rstrip(), "```", ""]
    return "\n".join(parts)


def _commands(
    command: click.Command, path: str, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    settings = {**command.context_settings, "terminal_width": _WIDTH}
    context = click.Context(command, info_name=path.split()[-1], parent=parent, **settings)
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _commands(child, f"{path} {name}", context)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
