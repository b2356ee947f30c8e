"""A Darknet detector's mean average precision on COCO photographs, by pycocotools: proof that it is read aright.

    python bench/detector_map.py DETECTOR.weights COCO_ROOT [--letterbox] [--limit N]

The cfg is found beside the weights. Photographs of val2014 with boxes go in at the cfg's size, squashed or with
--letterbox. A candidate counts for every class with objectness x class probability above 0.005; plain suppression for
each class at IoU 0.45, best 100 boxes an image. This is the usual measure of detectors, not SOA's rule: it sets layers,
weights, decoding and class order against figures that others have published.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchvision.ops import batched_nms

from t2icli.evaluation.detectors import darknet_config
from t2icli.evaluation.detectors.candidates import candidates_of
from t2icli.evaluation.detectors.darknet import Darknet, read_weights, resized
from t2icli.evaluation.detectors.names import COCO_NAMES

SCORE = 0.005
OVERLAP = 0.45


def as_input(picture: Image.Image, width: int, height: int, letterbox: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The network's input, and what takes its pixels back to the photograph's: (x - offset) x scale."""
    sides = torch.tensor([picture.width, picture.height])
    inner = torch.tensor([width, height])
    if letterbox:
        inner = (sides * min(width / picture.width, height / picture.height)).round().long()
    pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None]
    offset = (torch.tensor([width, height]) - inner) // 2
    image = torch.full((1, 3, height, width), 0.5)
    left, top = offset.tolist()
    image[..., top : top + inner[1], left : left + inner[0]] = resized(pixels, *inner.tolist())
    return image, offset.repeat(2), (sides / inner).repeat(2)


def detections(candidates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, classes and scores of one image's candidates (C, 5 + K)."""
    scores = candidates[:, 4:5] * candidates[:, 5:]
    row, label = (scores > SCORE).nonzero(as_tuple=True)
    boxes, scores = candidates[row, :4], scores[row, label]
    kept = batched_nms(boxes, scores, label, OVERLAP)[:100]
    return boxes[kept], label[kept], scores[kept]


def results(
    network: Darknet, coco: COCO, folder: Path, images: list[int], letterbox: bool
) -> Iterator[dict[str, object]]:
    """What COCO's server takes: a row a box."""
    width, height = network.config.width, network.config.height
    categories = {category["name"]: category["id"] for category in coco.dataset["categories"]}
    for image in images:
        picture = Image.open(folder / coco.imgs[image]["file_name"])
        pixels, offset, scale = as_input(picture, width, height, letterbox)
        with torch.inference_mode():
            found = detections(candidates_of(network(pixels), width, height)[0])
        limits = torch.tensor([picture.width, picture.height] * 2)
        for box, label, score in zip((found[0] - offset) * scale, *found[1:], strict=True):
            x1, y1, x2, y2 = box.clamp(min=0).minimum(limits).tolist()
            yield {
                "image_id": image,
                "category_id": categories[COCO_NAMES[int(label)]],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(score),
            }


def main() -> None:
    """Detect, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("coco", type=Path)
    parser.add_argument("--letterbox", action="store_true")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    config = darknet_config.read(options.weights.with_suffix(".cfg"))
    network = Darknet(config, read_weights(options.weights, config)).eval()
    with redirect_stdout(StringIO()):  # pycocotools tells how long it took to read
        coco = COCO(options.coco / "annotations/instances_val2014.json")
        images = sorted({row["image_id"] for row in coco.dataset["annotations"]})[: options.limit]
        start = time.perf_counter()
        rows = list(results(network, coco, options.coco / "val2014", images, options.letterbox))
        seconds = time.perf_counter() - start
        evaluation = COCOeval(coco, coco.loadRes(json.loads(json.dumps(rows))), "bbox")
        evaluation.params.imgIds = images
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    form = "letterbox" if options.letterbox else "squash"
    print(
        f"{options.weights.stem}, {form} to {config.width}x{config.height}, {len(images)} photographs: "
        f"mAP {evaluation.stats[0]:.4f}, mAP@0.5 {evaluation.stats[1]:.4f} "
        f"({len(rows):,} boxes, {len(images) / seconds:.1f} images/s)"
    )


if __name__ == "__main__":
    main()
