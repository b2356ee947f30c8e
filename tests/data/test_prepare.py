"""prepare: what it writes, leaves out, refuses, and how it goes on after a kill."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made_up import made_up_pictures
from transformers import BertConfig, BertModel
from typer.testing import CliRunner

from t2icli.cli import app
from t2icli.data import prepare as prepare_module
from t2icli.data import shards as shards_module
from t2icli.data.manifest import SCHEMA
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.shards import Shard
from t2icli.errors import DataError, DiskFull, RecipeError, UserError
from t2icli.recipe_files import load_data_recipe, load_encoder_recipe, load_recipe


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


def test_what_is_written(prepared, pictures: Path, tmp_path: Path) -> None:
    summary = prepared(pictures, tmp_path / "out")
    assert {split: counts["images"] for split, counts in summary["counts"].items()} == {"train": 7, "val": 5}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [entry["file"] for entry in manifest["shards"]] == [
        "train-00000-of-00002.h5",
        "train-00001-of-00002.h5",
        "val-00000-of-00002.h5",
        "val-00001-of-00002.h5",
    ]
    folder = ShardFolder(tmp_path / "out", "train")
    assert (len(folder), folder.word_dim, folder.max_tokens) == (7, 12, 12)
    shard, row = folder.locate(5)
    assert shard.path.name == "train-00001-of-00002.h5"
    assert [shard.text(number).rsplit(" ", 1)[0] for number in shard.captions(row)] == [
        "a red bus on the street",
        "a blue dog.",
        "the sea",
    ]
    assert folder.vocabulary[:2] == ["a", "the"]
    assert manifest["vocabulary"]["words"] == len(folder.vocabulary)
    assert prepared(pictures, tmp_path / "out") == summary  # and nothing was written again


def test_processes_do_not_change_the_result(prepared, pictures: Path, tmp_path: Path) -> None:
    prepared(pictures, tmp_path / "one")
    prepared(pictures, tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_bad_images_are_quarantined_and_too_many_refused(prepared, pictures: Path, tmp_path: Path) -> None:
    (pictures / "003.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 12 images \(8\.33%\) cannot be used, .* allows 0\.10%.*003\.png"):
        prepared(pictures, tmp_path / "out")
    (line,) = map(json.loads, (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines())
    assert line["image"].endswith("003.png")
    assert line["reason"] == "not an image that Pillow knows"
    summary = prepared(pictures, tmp_path / "out", max_bad=0.084)
    assert sum(counts["images"] for counts in summary["counts"].values()) == 11


def test_another_recipe_needs_overwrite(prepared, pictures: Path, tmp_path: Path) -> None:
    prepared(pictures, tmp_path / "out")
    with pytest.raises(DataError, match=r"prepared otherwise:\n.*size.*\n.*--overwrite"):
        prepared(pictures, tmp_path / "out", "images.size=8")
    prepared(pictures, tmp_path / "out", "images.size=8", overwrite=True)
    assert ShardFolder(tmp_path / "out", "train").image_size == 8
    with pytest.raises(UserError, match="is the folder of the raw data"):
        prepared(pictures, pictures)


def test_dry_run_writes_nothing(prepared, pictures: Path, tmp_path: Path) -> None:
    summary = prepared(pictures, tmp_path / "out", dry_run=True)
    assert summary["splits"]["train"]["images"] == 7
    assert not (tmp_path / "out").exists()


def test_finished_shards_are_kept_and_the_rest_is_made(prepared, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(pictures, out)
    whole = content(out)
    (out / "manifest.json").unlink()
    (out / "train-00001-of-00002.h5").write_bytes(b"half")
    (out / ".val-00000-of-00001.h5.1.tmp").write_bytes(b"remains of a kill")
    kept = (out / "train-00000-of-00002.h5").stat().st_mtime_ns
    prepared(pictures, out)
    assert content(out) == whole
    assert (out / "train-00000-of-00002.h5").stat().st_mtime_ns == kept


@pytest.mark.slow
def test_kill_9_and_the_same_command_again(prepared, tiny_bert: Path, tmp_path: Path) -> None:
    root = made_up_pictures(tmp_path / "many", 400, size=(320, 240))
    command = [sys.executable, "-m", "t2icli", "prepare", "folder", "--root", str(root), "--out", "killed"]
    for setting in (f"text.model={tiny_bert}", "text.max_tokens=12", "images.size=128", "images_per_shard=20"):
        command += ["--set", setting]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("killed/*.h5"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = len(list(tmp_path.glob("killed/*.h5")))
    assert 3 <= made < 20
    assert not (tmp_path / "killed" / "manifest.json").exists()
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([*command[:-9], "whole", *command[-8:]], cwd=tmp_path, check=True)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_disk_that_cannot_hold_it(prepared, pictures: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(prepare_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DiskFull, match=r"about 4\.0 MB are needed and 0\.0 MB are free"):
        prepared(pictures, tmp_path / "out")


def test_a_disk_that_fills_up(prepared, pictures: Path, tmp_path: Path, monkeypatch) -> None:
    written = []
    original = shards_module.write_atomically

    def filling(path: Path, write: object) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        original(path, write)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "write_atomically", filling)
        frees = iter([8_000_000, 1_000_000])  # bytes, before and after
        patch.setattr(prepare_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=next(frees)))
        with pytest.raises(DiskFull) as told:
            prepared(pictures, tmp_path / "out")
    out = tmp_path / "out"
    assert str(told.value) == (
        f"{out}: no space left on the disk; finished shards are kept, and the 3 that are missing need about 3.0 MB "
        "where 1.0 MB are free: make room for 2.0 MB and run the same command again"
    )
    assert [path.name for path in out.glob("*.h5")] == [written[0].name]
    assert Shard(written[0]).damage() == []
    kept = written[0].stat().st_mtime_ns
    prepared(pictures, out)
    prepared(pictures, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")
    assert written[0].stat().st_mtime_ns == kept


# ---------------------------------------------------------------------------- damage to what the folder says of itself


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', f'{{"schema": {SCHEMA}, "shards": []}}', "less"])
def test_a_damaged_manifest_is_written_anew(prepared, pictures: Path, tmp_path: Path, capsys, text: str) -> None:
    out = tmp_path / "out"
    prepared(pictures, out)
    whole, kept = content(out), (out / "train-00000-of-00002.h5").stat().st_mtime_ns
    if text == "less":  # than a summary needs, though enough for everything else
        manifest = json.loads((out / "manifest.json").read_text())
        text = json.dumps({key: value for key, value in manifest.items() if key != "counts"})
    (out / "manifest.json").write_text(text)
    capsys.readouterr()
    prepared(pictures, out)
    assert "manifest.json: damaged; it is removed, and written anew" in capsys.readouterr().err
    assert content(out) == whole
    assert (out / "train-00000-of-00002.h5").stat().st_mtime_ns == kept


@pytest.mark.parametrize("text", ["", "[]", "null", None])
def test_a_damaged_plan_is_mended_for_its_own_shards_only(
    prepared, pictures: Path, tmp_path: Path, text: str | None
) -> None:
    """Shards name their plan, so that those of another are not replaced without leave, nor left among these."""
    out = tmp_path / "out"
    prepared(pictures, out)
    whole = content(out)

    def damage() -> None:
        (out / "plan.json").unlink()
        if text is not None:
            (out / "plan.json").write_text(text)

    damage()
    state = "absent" if text is None else "damaged"
    for overrides in (["images.size=8"], ["images_per_shard=3"]):
        with pytest.raises(
            DataError, match=rf"plan.json is {state}, and these .* otherwise: train-\S+, .* and 1 more;"
        ):
            prepared(pictures, out, *overrides)
    prepared(pictures, out)
    assert content(out) == whole
    damage()
    (out / "val-00001-of-00002.h5").write_bytes(b"half")
    with pytest.raises(DataError, match=r"or were prepared otherwise: val-00001-of-00002.h5; .*or replace all with"):
        prepared(pictures, out)
    prepared(pictures, out, overwrite=True)
    assert content(out) == whole


# ---------------------------------------------------------------------------- mistakes


def test_places_where_no_shards_can_go(prepared, pictures: Path, tmp_path: Path) -> None:
    file, link, loop = tmp_path / "file", tmp_path / "link", tmp_path / "loop"
    file.touch()
    link.symlink_to(tmp_path / "absent")
    loop.symlink_to(loop)
    for out, there in ((file, file), (file / "a" / "b", file), (link, link), (loop, loop)):
        for dry_run in (False, True):
            with pytest.raises(UserError, match=f"--out {out}: {there} is no folder; name a folder for the shards"):
                prepared(pictures, out, dry_run=dry_run)


@pytest.mark.parametrize("share", [float("nan"), -0.1, 1.1, float("inf")])
def test_shares_that_are_none(prepared, pictures: Path, tmp_path: Path, share: float) -> None:
    with pytest.raises(UserError, match=f"--max-bad {share:g}: should be a share of all images, from 0 to 1"):
        prepared(pictures, tmp_path / "out", max_bad=share)


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        (-1, r"input should be .* \(got -1\)"),
        (2**63, "is beyond the whole numbers of 64 bits"),
        (10**23, "is beyond the whole numbers of 64 bits"),
    ],
)
def test_seeds_that_are_none(seed: int, said: str) -> None:
    for load, name, key in (
        (load_data_recipe, "scenes", "seed"),
        (load_recipe, "tiny/xmcgan", "train.seed"),
        (load_encoder_recipe, "tiny/damsm", "train.seed"),
    ):
        with pytest.raises(RecipeError, match=f"{key}: {said}"):
            load(name, [f"{key}={seed}"])


def test_the_largest_seed(prepared, pictures: Path, tmp_path: Path) -> None:
    prepared(pictures, tmp_path / "out", f"seed={2**63 - 1}")
    assert Shard(tmp_path / "out" / "train-00000-of-00002.h5").attributes["seed"] == 2**63 - 1


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--shards", "9/2", "--merge"], "--shards, --merge"),
        (["coco"], "DATASET"),
        (["coco", "--set", "seed=1", "--workers", "0"], "DATASET, --set, --workers"),
        (["--out", "x", "--dry-run", "--json"], "--out, --dry-run"),
    ],
)
def test_verify_does_nothing_else(tmp_path: Path, given: list[str], named: str) -> None:
    found = CliRunner().invoke(app, ["prepare", "--verify", str(tmp_path), *given]).exception
    assert isinstance(found, UserError) and found.exit_code == 2
    assert str(found).startswith(f"--verify and {named}: --verify DIR only checks shards and prepares nothing")


# ---------------------------------------------------------------------------- captions, sizes


def test_captions_that_are_nothing(prepared, pictures: Path, tmp_path: Path) -> None:
    lines = (pictures / "captions.jsonl").read_text().splitlines()
    lines[0] = json.dumps({"file": "000.png", "captions": ["\u0007\u200b", "a\u0000 red\tbus \u202e"]})
    (pictures / "captions.jsonl").write_text("\n".join(lines))
    prepared(pictures, tmp_path / "out")
    texts = [
        shard.text(number)
        for split in ("train", "val")
        for folder in [ShardFolder(tmp_path / "out", split)]
        for shard, row in [folder.locate(i) for i in range(len(folder))]
        for number in shard.captions(row)
    ]
    assert "a red bus " in texts
    assert not any("\u0000" in text or "\u202e" in text for text in texts)


@pytest.mark.slow
def test_bytes_per_image_at_full_size(shared: Path, tmp_path: Path) -> None:
    """256 px with five captions and vectors as wide as BERT-base's stay under 150 kB, on real photographs."""
    wide = tmp_path / "bert"
    config = BertConfig(
        vocab_size=30522, hidden_size=768, num_hidden_layers=1, num_attention_heads=12, intermediate_size=64
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(wide)
    shutil.copy(shared / "data" / "bert-vocab" / "vocab.txt", wide)
    from t2icli.data.prepare import Options, prepare
    from t2icli.recipe_files import load_data_recipe

    summary = prepare(
        load_data_recipe("coco", [f"text.model={wide}"]),
        shared / "data" / "coco-mini",
        tmp_path / "out",
        Options(workers=1),
    )
    assert 50_000 < summary["bytes_per_image"] < 150_000
