"""The program ``t2i``: one file per verb, each with its types, its help and an example.

A verb's body imports one function and calls it, so ``t2i --help`` stays fast: nothing here imports torch.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from t2icli.console import say
from t2icli.errors import DiskFull, Interrupted, OutOfMemory, UserError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
    help="Text-to-image GANs, from captions to scores: prepare, train, evaluate, sample.",
)


def register() -> None:
    """Add every verb, in the order in which a user meets them."""
    from t2icli.cli import evaluate, prepare, quickstart, recipes, runs, sample, train

    app.command("prepare", rich_help_panel="The chain")(prepare.prepare)
    app.command("train", rich_help_panel="The chain")(train.train)
    app.command("evaluate", rich_help_panel="The chain")(evaluate.evaluate)
    app.command("sample", rich_help_panel="The chain")(sample.sample)
    app.command("quickstart", rich_help_panel="Round it")(quickstart.quickstart)
    app.add_typer(recipes.app, name="recipes", rich_help_panel="Round it")
    app.add_typer(runs.app, name="runs", rich_help_panel="Round it")


register()


def main() -> None:
    """Run the program."""
    with ending():
        app()


@contextmanager
def ending() -> Iterator[None]:
    """Turn a user's mistake into one message and the exit code of its kind; other faults keep their traceback."""
    try:
        yield
    except UserError as mistake:
        stop(mistake)
    except KeyboardInterrupt:
        stop(Interrupted("interrupted; what was finished is kept, and the same command goes on from there"))
    except BrokenPipeError:  # the reader of our output has left, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" at {fault.filename}" if fault.filename else ""
        stop(DiskFull(f"no space left{where}; what was finished is kept, and the same command goes on from there"))
    except (MemoryError, RuntimeError) as fault:
        if not isinstance(fault, MemoryError) and type(fault).__name__ != "OutOfMemoryError":
            raise
        stop(OutOfMemory(f"out of memory: {fault}; lower train.batch_size or the model's channels"))


def stop(mistake: UserError) -> NoReturn:
    """Print the message and leave with the code of its kind."""
    say(f"t2i: {mistake}")
    sys.exit(mistake.exit_code)
