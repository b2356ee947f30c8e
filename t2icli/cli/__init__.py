"""The program ``t2i``: one file per verb, each with its types, its help and an example.

A verb's body imports one function and calls it, so ``t2i --help`` stays fast: nothing here imports torch.
"""

from typing import Any

import typer
from typer.core import TyperCommand

from t2icli.console import say
from t2icli.ending import ending

SEVERAL = ("train", "evaluate")  # the verbs that several processes may do together

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
    help="Text-to-image GANs, from captions to scores: prepare, pretrain encoders, train, evaluate, sample.",
)


def register() -> None:
    """Add every verb, in the order in which a user meets them."""
    from t2icli.cli import data, evaluate, import_, prepare, pretrain_encoders, quickstart, recipes, runs, sample, train

    app.command("prepare", rich_help_panel="The chain")(prepare.prepare)
    app.command("pretrain-encoders", rich_help_panel="The chain")(pretrain_encoders.pretrain_encoders)
    app.command("train", rich_help_panel="The chain")(train.train)
    app.command("evaluate", rich_help_panel="The chain")(evaluate.evaluate)
    app.command("sample", rich_help_panel="The chain")(sample.sample)
    app.command("quickstart", rich_help_panel="Round it")(quickstart.quickstart)
    app.command("import", rich_help_panel="Round it")(import_.import_)
    app.add_typer(data.app, name="data", rich_help_panel="Round it")
    app.add_typer(recipes.app, name="recipes", rich_help_panel="Round it")
    app.add_typer(runs.app, name="runs", rich_help_panel="Round it")
    for verbs in (app, data.app, recipes.app, runs.app):
        for verb in verbs.registered_commands:
            if verb.name not in SEVERAL:
                verb.cls = OneProcess


class OneProcess(TyperCommand):
    """A verb that one process does, also where torchrun has started several."""

    def invoke(self, ctx: Any) -> Any:
        """Do it in the first process; the others say that they have nothing to do, and end well."""
        from t2icli.processes import idle

        nothing = idle(self.name or "")
        if nothing:
            say(nothing)
            return None
        return super().invoke(ctx)


register()


def main() -> None:
    """Run the program."""
    with ending():
        app()
