"""The `dpedkit` command: one module per command; each parses, calls one function, prints."""

from __future__ import annotations

import difflib
import importlib
import io
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from dpedkit._version import __version__
from dpedkit.cli.options import Printer, Summary, command_class
from dpedkit.core import console
from dpedkit.core.atomic import explain_os_error
from dpedkit.core.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    DpedkitError,
    TooManyRejectedError,
)
from dpedkit.core.process import own_process

# In the order in which a newcomer needs them; each name is a module of this package.
COMMANDS = (
    "simulate",
    "pairs",
    "align",
    "patches",
    "train",
    "evaluate",
    "diagnose",
    "enhance",
    "export",
    "import-model",
    "import-patches",
    "run",
    "sweep",
    "report",
    "shards",
    "card",
    "doctor",
)

# What other programs call some options.
_OTHER_NAMES = {
    "--lr": "--learning-rate",
    "--batch-size": "--batch",
    "--epochs": "--steps",
    "--iterations": "--steps",
    "--max-steps": "--steps",
    "--workers": "--jobs",
    "--num-workers": "--jobs",
    "--out": "--output",
    "--output-dir": "--output",
    "--cuda": "--device",
    "--gpu": "--device",
    "--force": "--overwrite",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for, so that start-up stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"dpedkit.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            nearest = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = (
                f"Did you mean '{nearest[0]}'?" if nearest else f"Commands: {', '.join(COMMANDS)}."
            )
            raise click.UsageError(f"There is no command '{args[0]}'. {hint}", ctx) from None


@click.command(
    cls=command_class(LazyGroup),
    examples=(
        ("dpedkit align raw/iphone raw/canon", "align the photos of each pair -> aligned/"),
        ("dpedkit patches --min-corr 0.9", "cut matching 100x100 patches    -> shards/"),
        ("dpedkit train shards/", "train the enhancement network   -> runs/"),
        ("dpedkit evaluate runs/001 shards/", "does the network beat the baselines?"),
        ("dpedkit enhance runs/001 photos/ -o out/", "enhance your photos"),
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", message="dpedkit %(version)s")
def cli() -> None:
    """Turn folders of phone and DSLR photos of the same scenes into a photo-enhancement network.

    The photos of each pair are aligned, matching patches are cut from them, and a network is
    trained that gives phone photos the look of the DSLR, after the DPED paper (Ignatov et al.,
    ICCV 2017). `dpedkit COMMAND --help` explains each command.
    """


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    own_process()
    _open_standard_streams()
    sys.exit(execute(sys.argv[1:]))


def _open_standard_streams() -> None:
    """Give the process the streams that it was started without, as by `2>&-`.

    Otherwise the next file that is opened takes their place, and messages are written into it.
    Names of files can hold bytes that are no text: they are shown as escapes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            os.set_inheritable(number, True)  # worker processes need them as well
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@console.shown()
def execute(arguments: list[str]) -> int:
    """Run one command line; every expected failure becomes one clear sentence and an exit code."""
    printer = Printer(as_json="--json" in arguments)
    try:
        result = cli.main(arguments, prog_name="dpedkit", standalone_mode=False, obj=printer)
        return result if isinstance(result, int) else EXIT_DONE
    except TooManyRejectedError as error:
        return _fail(printer, str(error), error.exit_code, error.summary)
    except DpedkitError as error:
        return _fail(printer, str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        if printer.as_json:
            return _fail(printer, "No command given.", EXIT_USAGE)
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        return EXIT_USAGE
    except click.UsageError as error:
        return _fail(printer, _usage_sentence(error), EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _fail(
            printer,
            "Interrupted. Finished work is kept.",
            EXIT_INTERRUPTED,
        )
    except BrokenPipeError:
        # The reader of stdout went away (`| head`); Python must not complain about it on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        explained = explain_os_error(error, Path(error.filename or "the output"))
        if not isinstance(explained, DpedkitError):
            _report_unexpected(printer, error)
            raise
        return _fail(printer, str(explained), explained.exit_code)
    except ImportError as error:
        if error.name != "cv2":
            _report_unexpected(printer, error)
            raise
        from dpedkit.doctor import explain_opencv

        return _fail(printer, explain_opencv(error), EXIT_FAILED)
    except Exception as error:
        _report_unexpected(printer, error)
        raise


def _report_unexpected(printer: Printer, error: Exception) -> None:
    """With ``--json``, a program that reads stdout gets its object for a fault of dpedkit, too."""
    if printer.as_json:
        sentence = f"Internal error in dpedkit: {type(error).__name__}: {error}"
        click.echo(json.dumps({"error": sentence, "exit_code": EXIT_FAILED}))


def _fail(printer: Printer, sentence: str, code: int, finished: Summary | None = None) -> int:
    """Print why a command failed, after what it finished all the same, if anything."""
    if printer.as_json:
        result = finished.to_dict() if finished else {}
        click.echo(json.dumps({**result, "error": sentence, "exit_code": code}))
    elif finished:
        printer.show(finished)
    click.echo(f"error: {sentence}", err=True)
    return code


def _usage_sentence(error: click.UsageError) -> str:
    message = error.format_message()
    if error.ctx is None:
        return message
    if isinstance(error, click.NoSuchOption):
        here = {name for option in error.ctx.command.params for name in option.opts}
        if (meant := _OTHER_NAMES.get(error.option_name)) in here:
            message = f"No such option '{error.option_name}'. Did you mean '{meant}'?"
    return f"{message}\nTry '{error.ctx.command_path} --help'."
