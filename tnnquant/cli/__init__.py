"""The command line: ``tnnquant COMMAND``. One module per command; a command is imported when it is called.

Exit codes: 0 done; 1 another failure; 2 a wrong option or argument; 3 a model file that is truncated, foreign or
inconsistent; 4 a model that cannot be run or quantized; 5 calibration files that cannot be used; 6 statistics that
allow no scales; 7 a result that cannot be written; 8 a model that was written, and is *broken* by its verdict; 9 a
target that was not reached, the best model was written; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import sys
from difflib import get_close_matches
from typing import ClassVar

import click

from tnnquant.base import interrupt
from tnnquant.base.wording import spoken
from tnnquant.cli.helped import HELP
from tnnquant.cli.words import OptionWords
from tnnquant.errors import OutputError, TnnQuantError

__all__ = ["main"]

# Command: (module, help of one line). The module is imported only when the command runs or its own help is asked for.
COMMANDS = {
    "quantize": ("quantize", "Quantize an fp32 model, ONNX or TNN, to int8."),
    "convert": ("convert", "Convert an ONNX model to a TNN model."),
    "inspect": ("inspect", "Show a model, compare two, and find the layers that int8 hurts."),
    "export": ("export", "Write a TNN model, fp32 or int8, as an ONNX model."),
    "bench": ("bench", "Measure kernels and models on this machine."),
    "export-scales": ("export_scales", "Write the scales of an int8 model as text, to edit or carry them."),
    "doctor": ("doctor", "Examine this machine: processor, Numba, cache, and whether all kernels agree."),
    "warmup": ("warmup", "Compile the kernels now, so that no later run has to."),
    "example": ("example", "Build an example folder: SqueezeNet v1.1 and pictures."),
}


#: What writing to a full disk or a broken device gives.
_FULL = (errno.ENOSPC, errno.EIO, errno.EFBIG)


class LazyGroup(click.Group):
    """A group whose commands are imported on demand, and whose errors are one line; alone it shows its help."""

    #: The commands, as in :data:`COMMANDS`.
    commands_by_name: ClassVar = COMMANDS

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            # click's own help for lack of arguments is an error, whose lines would become one.
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.commands_by_name:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{self.commands_by_name[name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.commands_by_name.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], self.commands_by_name, 1) if args else []
            hint = f"Did you mean {close[0]}?" if close else f"Commands: {', '.join(self.commands_by_name)}."
            raise click.UsageError(f"{error.message} {hint}", error.ctx) from None


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tnnquant {version('tnnquant')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings=HELP)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def group() -> None:
    """Quantize TNN models to int8 and see what that costs."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit; errors of tnnquant are one line on stderr, without a traceback.

    Parameters
    ----------
    argv : list of str, optional
        Default: the arguments of this process, which then ends at once, without taking down what the system takes
        down faster (modules, compiled code: 0.2 s).
    """
    if argv is None:
        # A few hundred thousand objects come with the imports, hardly any garbage.
        gc.set_threshold(20_000, 20, 20)
        # No command multiplies matrices with NumPy; its threads would take 0.03 s to start.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: `tnnquant ... >&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - to the end of the process
    code = _run(argv)
    if argv is None and sys.gettrace() is None and sys.getprofile() is None:
        _leave(code)
    sys.exit(code)


def _run(argv: list[str] | None) -> int:
    interrupt.remember()
    try:
        with spoken(OptionWords()):
            code = group.main(args=argv, prog_name="tnnquant", standalone_mode=False)
            interrupt.check()
        return code if isinstance(code, int) else 0
    except TnnQuantError as error:
        return _failed(str(error), error.exit_code)
    except click.ClickException as error:
        ctx = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" (see '{ctx.command_path} --help')" if ctx is not None and ctx.parent is not None else ""
        return _failed(error.format_message() + hint, error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        during = f" while {error} ran" if str(error) else ""
        return _failed(f"interrupted{during}; no file is half-written", 130)
    except MemoryError:
        return _failed("out of memory", 1)
    except RuntimeError as error:
        if "can't start new thread" in str(error):
            return _failed("no thread can be started: memory or processes are limited here (ulimit -v, -u)", 1)
        return _internal(error)
    except BrokenPipeError:  # nobody reads any more: `tnnquant ... | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - to the end of the process
        return 1
    except OSError as error:
        # Reading and writing files raise errors of their own; what is left is the output: `tnnquant ... > /dev/full`.
        if error.filename is None and error.errno in _FULL:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - to the end of the process
            return _failed(f"cannot write the output: {error.strerror}", OutputError.exit_code)
        return _internal(error)
    except Exception as error:
        return _internal(error)


def _internal(error: Exception) -> int:
    if os.environ.get("TNNQUANT_DEBUG"):
        raise error
    return _failed(
        f"internal error, please report it: {type(error).__name__}: {error} (TNNQUANT_DEBUG=1 shows where)", 1
    )


def _leave(code: int) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        full = error.errno in _FULL
        code = code or (OutputError.exit_code if full else 1)
        if full:
            with contextlib.suppress(OSError):
                _failed(f"cannot write the output: {error.strerror}", code)
    os._exit(code)


def _failed(message: str, code: int) -> int:
    click.echo("error: " + " ".join(message.split()), err=True)
    return code
