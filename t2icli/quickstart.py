"""The whole chain on the data set that t2i draws itself: prepare, train, evaluate, sample."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from t2icli.console import say
from t2icli.outline import look_over
from t2icli.recipe_files import load_data_recipe, load_recipe
from t2icli.training.run import choose_folder

RECIPE = "xmcgan-scenes"
DATASET = "scenes-quickstart"

PICTURES = 500  # generated to be scored; the protocol itself has more, so the result carries a star
CAPTIONS = (
    "a red bus on a street",
    "a white boat on the sea",
    "a blue apple on the grass",
    "a purple umbrella on a beach",
    "a black dog in the snow",
    "a yellow airplane in the night sky",
)
NOISES = 6  # pictures a caption


@dataclass(frozen=True)
class Outcome:
    """What the quickstart leaves behind."""

    run: Path
    grid: Path
    scores: dict[str, float]
    seconds: float


def quickstart(overrides: Sequence[str] = ()) -> Outcome:
    """Walk the chain in the current folder; what is there already is kept, so a second call is short."""
    start = time.monotonic()
    look_over(RECIPE, overrides, "system")
    # torch comes with these, and not before the command line is known to be right
    from t2icli.data.prepare import prepare
    from t2icli.drawing import Order, sample
    from t2icli.sampling import open_run
    from t2icli.scoring.request import Request
    from t2icli.scoring.score import score
    from t2icli.training.loop import train

    recipe = load_recipe(RECIPE, overrides)

    def choose() -> Path:
        return choose_folder(recipe, RECIPE, None, new=False)

    choose()  # refuses a recipe that the run here was not trained with
    say(f"1 of 4   t2i prepare {DATASET}")
    prepare(load_data_recipe(DATASET), None, recipe.data.shards)
    say(f"2 of 4   t2i train {RECIPE}")
    run = train(recipe, choose)
    say(f"3 of 4   t2i evaluate {run} --samples {PICTURES} --seeds 1")
    result = score(Request(run, samples=PICTURES, seeds=1))
    assert result is not None  # this is the only process
    say(f"4 of 4   t2i sample --file CAPTIONS --run {run} -n {NOISES}")
    grid = run / "samples" / "quickstart.png"
    sample(Order(CAPTIONS, NOISES, seed=0), open_run(run), grid, single=False)
    scores = {k: v for entry in result["metrics"].values() if entry["computed"] for k, v in entry["mean"].items()}
    return Outcome(run, grid, scores, time.monotonic() - start)


def tell(outcome: Outcome) -> None:
    """The scores, and what to try next."""
    for name, value in outcome.scores.items():
        say(f"   {name}: {value:.4g}")
    say(f"done in {outcome.seconds / 60:.1f} minutes; each row of the grid is one caption:")
    for caption in CAPTIONS:
        say(f"   {caption}")
    say("next:")
    say(f'   t2i sample "a green kite on a beach" -n 8 --run {outcome.run}')
    say("   t2i recipes ls                        what else can be trained")
    say("   t2i prepare folder --root MY_PICTURES your own pictures with captions")
    say("   t2i prepare coco --root COCO_2014     then: t2i train xmcgan")
