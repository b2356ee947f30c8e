"""How ``t2i train`` and ``t2i pretrain-encoders`` start: what costs nothing is checked first, and nothing is made yet.

Nothing is imported here at once that imports torch, so a slip on the command line is told in a fraction of a second.
"""

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from t2icli.console import say
from t2icli.data.manifest import entries, read_manifest
from t2icli.errors import DataError
from t2icli.outline import look_over
from t2icli.processes import place, under_torchrun
from t2icli.recipe_files import find, load_encoder_recipe, load_recipe, shipped_folder, to_toml
from t2icli.training import run as run_folder
from t2icli.training.latest import followed
from t2icli.weights import Weights


def start(
    name: str,
    run: Path | None,
    new: bool,
    processes: int,
    overrides: Sequence[str],
    weights: Sequence[str],
    dry: bool,
    json: bool,
) -> None:
    """Check recipe, data and weights; then train. Prints the run's folder on stdout."""
    check_places(look_over(name, overrides, "system"), run, weights)
    import torch

    from t2icli.distributed import World
    from t2icli.training.launch import launch
    from t2icli.training.loop import train
    from t2icli.training.planning import make_plan

    recipe, title = load_recipe(name, overrides), run_title(name)

    def choose() -> Path:
        return run_folder.choose_folder(recipe, title, run, new)

    World(0, processes, torch.device("cpu")).share(recipe.train.batch_size)  # refused here once, not in each process
    if dry:
        tell_plan(make_plan(recipe, choose(), weights), to_toml(recipe), json)
        return
    if processes > 1 and not under_torchrun():
        folder, first = choose(), True  # whatever a cluster has counted: these processes are counted here
        launch(recipe, folder, processes, weights)
    else:
        folder, first = train(recipe, choose, weights), place().rank == 0
    if first:
        say(f'next: t2i evaluate {folder}   t2i sample "a caption" --run {folder}')
        print(json_module.dumps({"run": str(folder)}) if json else folder)


def start_pretraining(
    name: str, run: Path | None, new: bool, overrides: Sequence[str], weights: Sequence[str], dry: bool, json: bool
) -> None:
    """The same for an encoder, in this process."""
    check_places(look_over(name, overrides, "encoder"), run, weights)
    from t2icli.training.planning import pretraining_plan
    from t2icli.training.pretraining import pretrain

    recipe = load_encoder_recipe(name, overrides)
    folder = run_folder.choose_folder(recipe, run_title(name), run, new)
    if dry:
        tell_plan(pretraining_plan(recipe, folder, weights), to_toml(recipe), json)
        return
    pretrain(recipe, folder, weights)
    if json:
        card = run_folder.read_card(folder)
        measures = (card.model_extra or {}).get("held_out", {}) if card is not None else {}
        print(json_module.dumps({"run": str(folder), "held_out": measures}))
    else:
        print(folder)


def check_places(data: dict[str, Any], run: Path | None, weights: Sequence[str]) -> None:
    """Refuse shards that are not there, a folder that cannot be the run's, and weights that nobody knows."""
    Weights(weights)
    if run is not None:
        run_folder.check_place(followed(run))
    manifest = read_manifest(Path(data["shards"]))
    split = data.get("split", "train")
    if not entries(manifest, split):
        splits = ", ".join(sorted({entry.split for entry in entries(manifest)}))
        raise DataError(f"{data['shards']}: there is no split {split!r}; available: {splits}")


def run_title(name: str) -> str:
    """What runs of a recipe are called: its file's name, with the folder of a shipped one."""
    path = find(name)
    shipped = path.is_relative_to(shipped_folder())
    return "-".join(path.relative_to(shipped_folder()).with_suffix("").parts) if shipped else path.stem


def tell_plan(plan: dict[str, Any], recipe: str, json: bool) -> None:
    """What would be trained, from what, to where, and how large it is; nothing is written."""
    if json:
        print(json_module.dumps(plan))
        return
    print(recipe, end="")
    for key, value in plan.items():
        if key != "recipe":
            said = f"{value:,}" if isinstance(value, int) else value
            say(f"{key.replace('_', ' ')}: {said}")
