"""Options that several verbs share, so that they mean the same everywhere."""

from typing import Annotated

import typer

# torchrun takes --run for its own --run-path, wherever it stands; --run-dir it passes on.
RUN = ("--run", "--run-dir")
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe, e.g. text.model=DIR. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="NAME=PATH", help="A file of pretrained weights, e.g. inception-tf=FILE."),
]
