"""The program ``t2i``: one file per verb, each with its types, its help and an example.

A verb's body imports one function and calls it, so ``t2i --help`` stays fast: nothing here imports torch.
"""

import errno
import sys

import typer

from t2icli.console import say
from t2icli.errors import DiskFull, OutOfMemory, UserError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
    help="Text-to-image GANs, from captions to scores: prepare, train, evaluate, sample.",
)


def register() -> None:
    """Add every verb, in the order in which a user meets them."""
    from t2icli.cli import prepare

    app.command("prepare", rich_help_panel="The chain")(prepare.prepare)


register()


def main() -> None:
    """Run the program; a user's mistake ends in one message and the exit code of its kind."""
    try:
        app()
    except UserError as mistake:
        stop(mistake)
    except KeyboardInterrupt:
        say("t2i: interrupted")
        sys.exit(130)
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" at {fault.filename}" if fault.filename else ""
        stop(DiskFull(f"no space left{where}; what was finished is kept, and the same command goes on from there"))
    except (MemoryError, RuntimeError) as fault:
        if not isinstance(fault, MemoryError) and type(fault).__name__ != "OutOfMemoryError":
            raise
        stop(OutOfMemory(f"out of memory: {fault}; lower train.batch_size or the model's channels"))


def stop(mistake: UserError) -> None:
    """Print the message and leave with the code of its kind."""
    say(f"t2i: {mistake}")
    sys.exit(mistake.exit_code)
