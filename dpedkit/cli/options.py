"""Options shared by the commands, and options derived from the stages' configurations."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from dpedkit.core import console
from dpedkit.core.cluster import connected
from dpedkit.core.config import Config, options_of, value_type

Function = Callable[..., Any]
CommandType = TypeVar("CommandType", bound=click.Command)


class Summary(Protocol):
    """What every stage hands back: one thing for people, one for machines."""

    def as_text(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclasses.dataclass
class Printer:
    """How the result is to be printed; set by ``--json`` of any command."""

    as_json: bool = False

    def show(self, summary: Summary, failure: Mapping[str, Any] | None = None) -> None:
        """Print a result: a text on stdout, or with ``--json`` one object there.

        `failure` is what a failed command adds to that object.
        """
        if self.as_json:
            click.echo(json.dumps({**summary.to_dict(), **(failure or {})}, allow_nan=False))
        else:
            click.echo(summary.as_text())


def command_class(base: type[CommandType]) -> type[CommandType]:
    """A click command class whose help ends in examples, each with what it does."""

    class WithExamples(base):  # type: ignore[valid-type,misc]
        def __init__(
            self, *args: Any, examples: Sequence[tuple[str, str]] = (), **settings: Any
        ) -> None:
            super().__init__(*args, **settings)
            self.examples = examples

        def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            if self.examples:
                width = max(len(line) for line, _ in self.examples)
                with formatter.section("Examples"):
                    for line, meaning in self.examples:
                        formatter.write(f"  {line.ljust(width)}  # {meaning}\n")
            super().format_epilog(ctx, formatter)

    return WithExamples


def command(*, examples: Sequence[tuple[str, str]], **settings: Any) -> Callable[..., Any]:
    """`click.command` with examples in its help and the options that every command has."""

    def decorate(function: Function) -> click.Command:
        built: click.Command = click.command(
            cls=command_class(click.Command), examples=examples, **settings
        )(with_output_options(function))
        return built

    return decorate


def with_output_options(function: Function) -> Function:
    """``-q``, ``-v`` and ``--json``, handed to the command as a `Printer`, its first argument."""

    @click.pass_context
    @functools.wraps(function)
    def wrapped(
        ctx: click.Context, *args: Any, quiet: bool, verbose: bool, as_json: bool, **others: Any
    ) -> Any:
        if quiet and verbose:
            raise click.UsageError("-q and -v cannot be used together.")
        console.set_verbosity(console.VERBOSE if verbose else console.QUIET if quiet else 0)
        printer = ctx.find_object(Printer) or Printer()
        printer.as_json = as_json
        return function(printer, *args, **others)

    # click lists options from the last to the first; these belong at the end of the help.
    own = [_JSON, _VERBOSE, _QUIET]
    described = getattr(wrapped, "__click_params__", [])
    wrapped.__click_params__ = own + described  # type: ignore[attr-defined]
    return wrapped


_QUIET = click.Option(["-q", "--quiet"], is_flag=True, help="Show only warnings and the result.")
_VERBOSE = click.Option(
    ["-v", "--verbose"], is_flag=True, help="Show in detail what is being done."
)
_JSON = click.Option(
    ["--json", "as_json"],
    is_flag=True,
    help="Print the result as one JSON object on stdout; everything else goes to stderr.",
)


def path_argument(name: str, metavar: str, default: str | None = None) -> Callable[..., Any]:
    """A file or folder to read; whether it is there and fit is for the stage to say."""
    optional: dict[str, Any] = (
        {} if default is None else {"required": False, "default": Path(default)}
    )
    return click.argument(name, type=click.Path(path_type=Path), metavar=metavar, **optional)


def output_folder(default: str, help: str) -> Callable[..., Any]:
    """``-o``: where the result goes."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        default=Path(default),
        show_default=True,
        metavar="FOLDER",
        help=help,
    )


def defaults_from_recipe(table: str, config_class: type[Config]) -> Callable[..., None]:
    """A callback for ``--recipe``: one table of a recipe gives the defaults of the options."""

    def take_defaults(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            from dpedkit.recipe import read_settings

            ctx.default_map = read_settings(value, table, config_class)

    return take_defaults


def jobs_option(function: Function) -> Function:
    """``--jobs``: how many processes share the work."""
    return click.option(
        "-j",
        "--jobs",
        type=_WholeNumbers(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Number of worker processes; 0 uses every core. The result does not depend on it.",
    )(function)


def cluster_option(function: Function) -> Function:
    """``--cluster``: do the work on the machines of a Dask cluster."""

    @functools.wraps(function)
    def on_cluster(*args: Any, cluster: str | None, **values: Any) -> Any:
        with connected(cluster):
            return function(*args, **values)

    wrapped: Function = on_cluster
    return click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Use the workers of this Dask scheduler, for example tcp://10.0.0.1:8786, instead of "
        "--jobs processes here; the result is the same. Needs pip install 'dpedkit[cluster]' and "
        "folders that all machines share; see docs/scaling.md.",
    )(wrapped)


def overwrite_option(function: Function) -> Function:
    """``--overwrite``: replace what an earlier run made with other settings."""
    return click.option(
        "--overwrite",
        is_flag=True,
        help="Replace the output of an earlier run. Without this option, that run is continued if "
        "the settings are the same, and other settings are refused.",
    )(function)


def config_options(
    config_class: type[Config], **others: type[Config]
) -> Callable[[Function], Function]:
    """Add an option for every setting of a stage; the command receives them as `config`.

    A command that does one of several things names the settings of the others too, each by the
    argument in which it receives them. What they have in common is one option.
    """
    classes = {"config": config_class, **others}
    declared: dict[str, tuple[dataclasses.Field[Any], type[Config]]] = {}
    for one in classes.values():
        for field in options_of(one):
            declared.setdefault(field.name, (field, one))

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def with_configs(*args: Any, **values: Any) -> Any:
            settings = {name: values.pop(name) for name in declared}
            configs = {
                argument: one(**{field.name: settings[field.name] for field in options_of(one)})
                for argument, one in classes.items()
            }
            return function(*args, **configs, **values)

        wrapped: Function = with_configs
        for field, one in reversed(declared.values()):
            wrapped = _option(field, one)(wrapped)
        return wrapped

    return decorate


class _WholeNumbers(click.IntRange):
    name = "whole number"  # click's own name for it in its messages is "integer range"


class _Numbers(click.FloatRange):
    name = "number"


_METAVARS = {int: "N", float: "X", str: "TEXT"}


class _Choice(click.Choice[str]):
    """One of some words, or a synonym of one, which the help does not list."""

    def __init__(self, choices: Sequence[str], synonyms: Mapping[str, str]) -> None:
        super().__init__(choices)
        self.synonyms = synonyms

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(self.synonyms.get(value, value), param, ctx)


def _option(field: dataclasses.Field[Any], config_class: type[Config]) -> Callable[..., Any]:
    plain, _ = value_type(field, config_class)
    limits = field.metadata
    flag = "--" + field.name.replace("_", "-")
    names = (flag, field.name)
    if plain is bool:
        names = (f"{flag}/--no-{flag.removeprefix('--')}", field.name)
    return click.option(
        *names,
        type=_click_type(plain, limits),
        default=field.default,
        show_default=field.default is not None,
        metavar=limits["metavar"] or (None if limits["choices"] else _METAVARS.get(plain)),
        help=limits["help"],
    )


def _click_type(plain: type, limits: Any) -> Any:
    if limits["choices"]:
        return _Choice(limits["choices"], limits["synonyms"])
    if plain is int and (limits["minimum"] is not None or limits["maximum"] is not None):
        return _WholeNumbers(min=limits["minimum"], max=limits["maximum"])
    if plain is float and (limits["minimum"] is not None or limits["maximum"] is not None):
        return _Numbers(min=limits["minimum"], max=limits["maximum"])
    return plain
