"""Detectors of transformers, loaded from a folder as Hugging Face publishes them; they are asked for COCO's classes.

They have no objectness: a query counts as a detection where its best class has a probability of at least 0.5. That is
stricter in kind than YOLOv3's rule, so figures of the two families say different things.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.caching import settings_of
from t2icli.evaluation.detectors.candidates import padded
from t2icli.evaluation.detectors.names import COCO_NAMES, labels_by_name
from t2icli.evaluation.features import Layers, Network, View
from t2icli.hub_folders import check_folder
from t2icli.weights import Found

PROBABILITY = 0.5
Kind = Literal["sigmoid", "softmax"]  # of the class scores; with softmax the last class is "no object"


def detector(found: Found, model_types: Sequence[str], kind: Kind, device: torch.device) -> Network:
    """A detector from its folder (config.json, model.safetensors, preprocessor_config.json); see the module."""
    model, processor = load_model(found, model_types), load_processor(found)
    model = model.to(device)
    labels = labels_by_name(model.config.id2label)

    def layers(view: View) -> Layers:
        # All images have one size, so nothing is padded and no image's result depends on its neighbours.
        inputs = processor(
            list(view.images.cpu()), do_pad=False, return_tensors="pt", input_data_format="channels_first"
        )
        # Convolutions in TF32, which cuDNN takes by default, would move figures.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            outputs = model(pixel_values=inputs["pixel_values"].to(device))
        probabilities = class_probabilities(outputs.logits, labels, kind)
        found = detections(probabilities, outputs.pred_boxes)
        return found if view.layout else {"present": found["present"]}

    facts = {"network": f"{found.name}@{PROBABILITY}", "weights": found.record(), "resize": resize_of(processor)}
    return Network(facts, layers, finds_boxes=True, settings=settings_of(found.path))


def load_model(found: Found, model_types: Sequence[str]) -> Any:
    """The model with all its weights, float32; ``EnvironmentFault`` for another kind of model or missing weights."""
    from transformers import AutoConfig, AutoModelForObjectDetection

    check_folder(found.path)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(found.path, **local)
        if config.model_type not in model_types:
            raise EnvironmentFault(
                f"{found.path}: config.json is that of a {config.model_type!r} model, and {found.name} should be "
                f"{' or '.join(map(repr, model_types))}"
            )
        model, facts = AutoModelForObjectDetection.from_pretrained(
            found.path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,  # the other format is a pickle, which can run code
            output_loading_info=True,
            **local,
        )
    except ImportError as fault:
        raise EnvironmentFault(
            f"{found.path}: this {found.name} needs a library that is not installed: {first_line(fault)}; a backbone "
            "of timm is one: install timm, or fetch the model's revision no_timm"
        ) from None
    except EnvironmentFault:
        raise
    except Exception as fault:  # safetensors, torch and transformers raise types of their own for a damaged file
        raise EnvironmentFault(f"{found.path}: cannot be read as {found.name}: {first_line(fault)}") from None
    missing = sorted(map(str, [*facts["missing_keys"], *facts["mismatched_keys"]]))
    if missing:
        raise EnvironmentFault(
            f"{found.path}: {len(missing)} of the tensors that {found.name} needs are missing or of another shape, "
            f"the first is {missing[0]}; the model would run with random ones: fetch the folder again"
        )
    return model.eval().requires_grad_(False)


def load_processor(found: Found) -> Any:
    """What brings images to the model, with PIL's filters, which are the same on every machine."""
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(
            found.path, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except Exception as fault:  # transformers raises types of its own for values that it does not expect
        raise EnvironmentFault(
            f"{found.path}: preprocessor_config.json, which says how images are resized, cannot be read: "
            f"{first_line(fault)}"
        ) from None
    return processor


def first_line(fault: Exception) -> str:
    """What another library says, in one line."""
    return next(iter(str(fault).strip().splitlines()), type(fault).__name__)[:300]


def resize_of(processor: Any) -> str:
    """The name of the processor's resize, e.g. pil-bilinear-640 or pil-bilinear-short-800-long-1333."""
    if not processor.do_resize:
        return "none"
    size = {key: value for key, value in dict(processor.size).items() if value}
    if set(size) == {"height", "width"}:
        sides = str(size["width"]) if size["width"] == size["height"] else f"{size['width']}x{size['height']}"
    else:
        sides = "-".join(
            f"{key.removesuffix('_edge').removesuffix('est')}-{value}"
            for key, value in sorted(size.items(), reverse=True)
        )
    return f"pil-{Image.Resampling(processor.resample).name.lower()}-{sides}"


def class_probabilities(logits: Tensor, labels: dict[int, int], kind: Kind) -> Tensor:
    """Probabilities of COCO's classes (n, Q, 80) from a model's logits (n, Q, K or K + 1)."""
    probabilities = logits.float().sigmoid() if kind == "sigmoid" else logits.float().softmax(-1)[..., :-1]
    found = probabilities.new_zeros(*logits.shape[:2], len(COCO_NAMES))
    for column, label in labels.items():
        # Two names of one category may both be classes of the model.
        found[..., label] = torch.maximum(found[..., label], probabilities[..., column])
    return found


def detections(probabilities: Tensor, boxes: Tensor) -> Layers:
    """Both layers from probabilities (n, Q, 80) and boxes (n, Q, 4: centre, width, height in shares of the sides)."""
    scores, labels = probabilities.max(-1)
    found = scores >= PROBABILITY
    present = torch.zeros_like(probabilities[:, 0])
    present.scatter_reduce_(1, labels, found.float(), "amax")
    corners = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
    rows = torch.cat([labels[..., None], corners, scores[..., None]], -1).float()
    order = scores.argsort(dim=1, descending=True, stable=True)
    best = [image[rank[keep[rank]]].cpu() for image, rank, keep in zip(rows, order, found, strict=True)]
    return {"present": present, "boxes": padded(best).to(boxes.device)}
