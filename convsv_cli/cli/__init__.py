"""The command line: one command per file. Those that need torch, onnx and rich import them late."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from convsv_cli.cli import options, running, streams
from convsv_cli.cli.audit import audit
from convsv_cli.cli.certify import certify
from convsv_cli.cli.check import check
from convsv_cli.cli.clip import clip
from convsv_cli.cli.diff import diff
from convsv_cli.cli.helping import CONTEXT, Group
from convsv_cli.cli.methods import methods
from convsv_cli.cli.report import report
from convsv_cli.cli.spectrum import spectrum
from convsv_cli.cli.sweep import sweep
from convsv_cli.cli.topics import READER_GONE, TOPICS, help_
from convsv_cli.cli.watch import watch
from convsv_cli.errors import ConvsvError
from convsv_cli.report.verdict import CTRL_C, INTERNAL, USAGE
from convsv_cli.version import __version__

FULL = "stdout: cannot write: No space left on device"


class ReaderGoneError(Exception):
    """Nobody reads stdout any more. No OSError, of which click makes exit code 1: that is a budget's."""


class Commands(Group):
    """Commands that raise `ReaderGoneError` for a closed pipe, also where they only print help."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:  # noqa: ANN401
        """As click has it."""
        with _noticing():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """As click has it."""
        with _noticing():
            return super().invoke(ctx)


@contextmanager
def _noticing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error


@click.group(
    cls=Commands,
    context_settings=CONTEXT,
    invoke_without_command=True,
    see_also=[f"help {topic}" for topic in TOPICS],
)
@click.version_option(__version__, "-V", "--version", prog_name="convsv", help="Show the version.")
@options.NO_COLOR
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Audit how much the layers of a neural network can amplify a perturbation.

    \b
    Examples:
      convsv audit sample_models/resnet20.onnx --exact
      convsv audit checkpoint.pth --format json | convsv report - -o report.html
      convsv check resnet18.onnx --config convsv.toml
      convsv diff old.onnx new.onnx
      convsv certify classifier.onnx --data test.npz --eps 0.5
      convsv spectrum resnet18.onnx --layer conv1 --input-size 224
      convsv methods
    """  # noqa: D301  (click takes \b for "keep these lines")
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


cli.add_command(audit)
cli.add_command(certify)
cli.add_command(check)
cli.add_command(clip)
cli.add_command(diff)
cli.add_command(help_)
cli.add_command(methods)
cli.add_command(report)
cli.add_command(spectrum)
cli.add_command(sweep)
cli.add_command(watch)


def main() -> None:
    """Run the command line; every error is one line on stderr."""
    streams.prepare_streams()
    atexit.register(gc.freeze)  # or Python looks for garbage in all of torch before it ends
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries say to programmers
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # the same, which torch's C++ writes by itself
    running.remember_interrupts()
    try:
        code = cli.main(prog_name="convsv", standalone_mode=False)
    except ConvsvError as error:
        code = _unexpected(error) if running.interrupted() else _complain(str(error), error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "convsv"
        code = _complain(f"{error.format_message()} (see {command} --help)", USAGE)
    except (click.Abort, KeyboardInterrupt):
        code = _complain("interrupted", CTRL_C)
    except (BrokenPipeError, ReaderGoneError):
        code = READER_GONE
    except Exception as error:
        if os.environ.get("CONVSV_TRACEBACK"):
            raise
        code = _unexpected(error)
    code = _flushed(code)
    atexit.register(running.end_deaf)  # registered last, called first
    sys.exit(code)


def _unexpected(error: Exception) -> int:
    if running.interrupted():
        return _complain("interrupted", CTRL_C)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _complain(FULL, USAGE)
    return _complain(running.internal(error), INTERNAL)


def _flushed(code: int) -> int:
    """The exit code, once stdout is written as far as it can be."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        streams.give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return READER_GONE
        return code if code == USAGE else _complain(FULL, USAGE)  # it may have been said
    return code


def _complain(message: str, code: int) -> int:
    running.complain(message)
    return code
