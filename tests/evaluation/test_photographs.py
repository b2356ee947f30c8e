"""Real photographs, scored as users score theirs, against torch-fidelity, a real detector and real captions."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from torch_fidelity import calculate_metrics

from t2icli.evaluation.detectors.names import COCO_NAMES
from t2icli.scoring.request import Request
from t2icli.scoring.score import score

EACH = 16


@pytest.fixture(scope="module")
def coco(shared):
    """Photographs of COCO with their first captions, by split."""
    root = shared / "data" / "coco-mini"
    found = {}
    for split in ("train2014", "val2014"):
        content = json.loads((root / "annotations" / f"captions_{split}.json").read_text())
        names = {image["id"]: image["file_name"] for image in content["images"]}
        first = {}
        for annotation in content["annotations"]:
            first.setdefault(names[annotation["image_id"]], annotation["caption"])
        found[split] = sorted((root / split / name, caption) for name, caption in first.items())
    return found


def squashed(folder: Path, photographs, size: int) -> Path:
    folder.mkdir(parents=True)
    lines = []
    for number, (path, caption) in enumerate(photographs):
        with Image.open(path) as image:
            image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{number:04}.png")
        lines.append({"file": f"{number:04}.png", "caption": caption, "image": number})
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.slow
def test_fid_is_and_kid_are_torch_fidelitys(coco, tmp_path, inception, inception_file):
    one = squashed(tmp_path / "one", coco["val2014"][:EACH], 128)
    two = squashed(tmp_path / "two", coco["val2014"][EACH : 2 * EACH], 128)
    ours = score(Request(one, two, metrics=["fid", "is", "kid"], weights=[inception]))["metrics"]
    theirs = calculate_metrics(
        input1=str(one),
        input2=str(two),
        isc=True,
        fid=True,
        kid=True,
        kid_subset_size=EACH,
        cuda=False,
        batch_size=EACH,
        feature_extractor_weights_path=inception_file,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    assert ours["fid-tf"]["value"] == pytest.approx(theirs["frechet_inception_distance"], abs=1e-3, rel=1e-5)
    assert ours["is"]["value"] == pytest.approx(theirs["inception_score_mean"], rel=1e-4)
    assert ours["kid"]["value"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours["fid-tf"]["value"] > 1
    assert ours["is"]["mean"]["is (real)"] > 1


def detector(shared: Path) -> str:
    return f"darknet={shared / 'data' / 'darknet' / 'yolo-fastest-1.1-xl.weights'}"


@pytest.mark.slow
def test_soa_of_real_photographs_by_a_real_detector(coco, shared, tmp_path):
    """Photographs show what their captions name more often than other photographs do."""
    folder = squashed(tmp_path / "photographs", coco["val2014"][:100], 256)
    result = score(Request(folder, metrics=["soa-darknet"], weights=[detector(shared)]))
    entry = result["metrics"]["soa[yolo-fastest-1.1-xl@0.5]"]
    rows = entry["details"][0]["labels"]
    assert entry["details"][0]["lists"] == "rules over the drawn captions"
    assert {row["name"] for row in rows} <= set(COCO_NAMES)
    found, asked = sum(row["found"] for row in rows), sum(row["images"] for row in rows)
    assert entry["mean"]["soa-i"] == pytest.approx(found / asked)
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    moved = [{**line, "caption": lines[(n + 1) % len(lines)]["caption"]} for n, line in enumerate(lines)]
    (tmp_path / "moved.jsonl").write_text("".join(json.dumps(line) + "\n" for line in moved))
    other = score(
        Request(folder, captions=tmp_path / "moved.jsonl", metrics=["soa-darknet"], weights=[detector(shared)])
    )
    assert entry["mean"]["soa-i"] > 2 * other["metrics"]["soa[yolo-fastest-1.1-xl@0.5]"]["mean"]["soa-i"]


@pytest.mark.slow
def test_one_command_for_images_of_something_else(coco, shared, tmp_path, inception, tiny_clip):
    """FID, IS, R-precision and SOA of a folder with its captions, beside real photographs with theirs."""
    made = squashed(tmp_path / "made", coco["val2014"][:110], 64)
    real = squashed(tmp_path / "real", coco["val2014"][:110], 64)
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "caption"])
        table.writerows([f"{number:04}.png", caption] for number, (_, caption) in enumerate(coco["val2014"][:110]))
    result = score(
        Request(
            made,
            real,
            captions=tmp_path / "captions.csv",
            metrics=["fid", "is", "rp-clip", "soa-darknet"],
            weights=[inception, detector(shared), f"clip-vit-b-32={tiny_clip}"],
            out=tmp_path / "result.json",
        )
    )
    metrics = result["metrics"]
    assert all(entry["computed"] for entry in metrics.values()), metrics
    assert metrics["fid-tf"]["value"] == pytest.approx(0, abs=1e-2)  # the same photographs on both sides
    rp = metrics["rp-clip"]["mean"]
    assert rp["chance"] == 0.01
    assert {"rp-clip", "rp-clip@2", "rp-clip@3", "rp-clip@5", "rp-clip (real)", "rp-clip@5 (real)"} <= set(rp)
    assert rp["rp-clip"] == rp["rp-clip (real)"]  # again
    soa = metrics["soa[yolo-fastest-1.1-xl@0.5]"]["mean"]
    assert soa["soa-i"] == soa["soa-i (real)"]
    hidden = result["generated"]["negatives"]
    assert (hidden["count"], hidden["among"]) == (99, "other-images")
    (stored,) = tmp_path.glob("negatives-*.npy")
    assert stored.stem.endswith(hidden["sha256"][:16])
    page = (tmp_path / "result.html").read_text()
    assert "soa[yolo-fastest-1.1-xl@0.5]" in page
