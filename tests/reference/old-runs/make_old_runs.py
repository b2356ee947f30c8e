"""Makes old runs: what a user of an older version has on the disk, and what that version would have made of it next.

Run it with the code of the version that is to be kept, never with newer code (README.md beside this file):

    mkdir OLD NEW && git archive a792fbe | tar x -C OLD && cd NEW
    PYTHONPATH=../OLD OMP_NUM_THREADS=1 T2I_CACHE=$(mktemp -d) python ../tests/reference/old-runs/make_old_runs.py

Everything is made in the current folder by relative paths, on the CPU in float32.
"""

import gzip
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from t2icli.data.prepare import Options, prepare
from t2icli.errors import Preempted
from t2icli.recipe_files import load_data_recipe, load_encoder_recipe, load_recipe
from t2icli.sampling import open_run
from t2icli.scoring.request import Request
from t2icli.scoring.score import score
from t2icli.training.loop import train
from t2icli.training.pretraining import Pretraining, pretrain

CAPTIONS = ["a red bus on a street", "a white boat on the sea"]
OFTEN = ["data.shards=shards", "train.log_every=4", "train.save_every=4", "train.batch_size=4"]
SYSTEMS = {  # overrides, images that it was trained on, and images up to which a copy goes on
    "xmcgan": (["model.generator_channels=2", "model.discriminator_channels=2"], 16, 32),
    "dfgan": (["text.matcher=damsm", "terms.damsm.matcher=damsm", "model.channels=1"], 8, 16),
}


def main() -> None:
    torch.set_num_threads(1)
    small = ["reader.size=32", "reader.train=8", "reader.val=4", "images.size=32", "text.max_tokens=16"]
    recipe = load_data_recipe("scenes", [*small, "text.captions_per_image=2", "reader.max_objects=1"])
    prepare(recipe, Path("raw"), Path("shards"), Options(workers=1))
    shutil.rmtree("raw")
    Path("expected").mkdir()
    encoder("damsm")
    for name in SYSTEMS:
        system(name)


def encoder(name: str) -> None:
    """Asked to stop in the second of four updates; a copy goes on."""
    length = ["train.validate_every=8", "model.schedule.images=16", "model.small_channels=2"]
    recipe = load_encoder_recipe(f"tiny/{name}", [*OFTEN, *length])
    original, updates = Pretraining.update, []

    def stopping(self, pairs):
        updates.append(1)
        if len(updates) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, pairs)

    Pretraining.update = stopping
    with suppress(Preempted):
        pretrain(recipe, Path(name))
    shutil.copytree(name, "on")
    pretrain(recipe, Path("on"))
    keep(name, {})
    tidy(Path(name))


def system(name: str) -> None:
    """Trained, drawn from and scored; a copy goes on to a later end."""
    overrides, first, last = SYSTEMS[name]

    def recipe(images):
        return load_recipe(f"tiny/{name}", [*OFTEN, *overrides, "train.sample_every=1000", f"train.images={images}"])

    run = train(recipe(first), lambda: Path(name))
    pictures = open_run(run, device=torch.device("cpu")).generate(CAPTIONS, [0, 1], seed=0)
    score(Request(run, samples=8, seeds=1, metrics=["fd-scenes"]))
    shutil.copytree(run, "on")
    train(recipe(last), lambda: Path("on"))
    keep(name, {"pictures": pictures})
    tidy(run)


def keep(name: str, drawn: dict[str, torch.Tensor]) -> None:
    """The weights of the copy that went on, and the sum of every tensor of its state without signs."""
    weights = load_file(next(Path("on", "weights").glob("[ge]*.safetensors")))
    save_file({**{f"weights/{key}": value for key, value in weights.items()}, **drawn}, f"expected/{name}.safetensors")
    state = torch.load(max(Path("on", "state").glob("*.pt")), weights_only=True)
    sums = {path: float(f"{tensor.double().abs().sum():.9g}") for path, tensor in tensors(state)}
    Path(f"expected/{name}.json").write_text(json.dumps({"torch": torch.__version__, "sums": sums}) + "\n")
    shutil.rmtree("on")


def tensors(value: object, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors of a nested state with their paths, in order."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(part, f"{path}/{key}")


def tidy(run: Path) -> None:
    """Away with what no verb reads and what names the machine; the state is packed, half of it is padding."""
    shutil.rmtree(run / "tensorboard", ignore_errors=True)
    shutil.rmtree(run / "samples", ignore_errors=True)
    (run / "eval" / "report.html").unlink(missing_ok=True)
    *older, newest = sorted((run / "state").glob("*.pt"))
    newest.with_suffix(".pt.gz").write_bytes(gzip.compress(newest.read_bytes(), mtime=0))
    for path in [*older, newest]:
        path.unlink()
    card = json.loads((run / "card.json").read_text())
    if "machine" in card:
        card["machine"] |= {"host": "somewhere", "system": "Linux"}
    (run / "card.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
