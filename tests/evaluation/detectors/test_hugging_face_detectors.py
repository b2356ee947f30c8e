"""Small random models of each kind, saved as published ones are, against transformers' own processors."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.detectors.hugging_face import class_probabilities, detections
from t2icli.evaluation.detectors.names import COCO_NAMES, DARKNET_ALIASES
from t2icli.evaluation.features import View
from t2icli.evaluation.networks import detr, rtdetr, yolos
from t2icli.weights import Weights

CPU = torch.device("cpu")
ALIASES = {name: alias for alias, name in DARKNET_ALIASES.items()}
NAMES = {"id2label": {i: ALIASES.get(name, name) for i, name in enumerate(COCO_NAMES)}}
# COCO's own ids: 91 slots, the last of them 90, eleven without a category.
GAPS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
SLOTS = dict.fromkeys(GAPS, "N/A") | dict(zip([i for i in range(91) if i not in GAPS], COCO_NAMES, strict=True))
SMALL = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_layers": 1, "decoder_layers": 2}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 30}


def rtdetr_model():
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_indices=[2, 3, 4]
    )
    config = transformers.RTDetrV2Config(
        backbone_config=backbone,
        encoder_in_channels=[8, 16, 16],
        encoder_hidden_dim=16,
        decoder_in_channels=[16, 16, 16],
        num_denoising=0,
        **SMALL,
        **HEADS,
        **NAMES,
    )
    return transformers.RTDetrV2ForObjectDetection(config)


def detr_model():
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone_config=backbone, **SMALL, **HEADS, id2label=SLOTS
    )
    return transformers.DetrForObjectDetection(config)


def yolos_model():
    config = transformers.YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 64],
        num_detection_tokens=30,
        id2label=SLOTS,
    )
    return transformers.YolosForObjectDetection(config)


# module -> name of its weights, model, settings of its processor, name of the resize
KINDS = {
    rtdetr: ("rtdetr-v2-r50", rtdetr_model, transformers.RTDetrImageProcessor(size={"height": 96, "width": 96}), "96"),
    detr: (
        "detr-r50",
        detr_model,
        transformers.DetrImageProcessor(size={"shortest_edge": 80, "longest_edge": 133}),
        "short-80-long-133",
    ),
    yolos: (
        "yolos-tiny",
        yolos_model,
        transformers.YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 133}),
        "short-64-long-133",
    ),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A folder for each kind; classifiers are sharpened until some of the random queries are sure of a class."""
    found = {}
    for module, (name, make, processor, _) in KINDS.items():
        torch.manual_seed(3)
        model = make().eval()
        sharpen(model)
        found[module] = tmp_path_factory.mktemp(name)
        model.save_pretrained(found[module])
        processor.save_pretrained(found[module])
    return found


def sharpen(model):
    """Queries that differ, and classifiers that are sure of a class for some of them."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if "query_position" in name or "detection_tokens" in name:
                parameter.normal_(0, 2, generator=generator)
            elif parameter.ndim == 2 and "backbone" not in name:
                classifier = parameter.shape[0] > 79
                parameter.normal_(
                    0,
                    ({"class_labels_classifier.weight": 12}.get(name, 4) if classifier else 1.4)
                    / parameter.shape[1] ** 0.5,
                    generator=generator,
                )
            elif "class_embed" in name and parameter.shape[0] > 79:
                parameter.fill_(-9)  # sigmoids: without it half of all classes would be found


def pictures(size=(48, 64), count=3):
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(1)).byte()


def load(module, folder):
    return module.load(Weights([f"{KINDS[module][0]}={folder}"]), CPU)


@pytest.mark.parametrize("module", KINDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_detections_are_those_of_the_processor(module, folders):
    """transformers brings the images in, runs the model and lists what it found; so do we."""
    name, _, _, resize = KINDS[module]
    network = load(module, folders[module])
    assert network.facts["network"] == f"{name}@0.5"
    assert network.facts["resize"] == f"pil-bilinear-{resize}"
    assert network.facts["weights"]["name"] == name

    images = pictures()
    model = transformers.AutoModelForObjectDetection.from_pretrained(folders[module]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[module], backend="pil")
    theirs = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    with torch.no_grad():
        outputs = model(**processor(theirs, return_tensors="pt"))
    expected = processor.post_process_object_detection(outputs, threshold=0.5)

    layers = network.layers(View(images, layout=True))
    assert layers["present"].shape == (3, 80)
    assert layers["boxes"].shape == (3, 100, 6)
    total = 0
    for present, boxes, want in zip(layers["present"], layers["boxes"], expected, strict=True):
        wanted = best_of_each_box(want, model.config.id2label)
        got = [row.tolist() for row in boxes if row[0] >= 0]
        assert [int(row[0]) for row in got] == [row[0] for row in wanted]
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
        assert sorted({row[0] for row in wanted}) == present.nonzero().flatten().tolist()
        total += len(wanted)
    assert 3 < total < 90  # some queries are sure of a class, some are not


def best_of_each_box(result, id2label):
    """The processor's list by label 0 to 79; with sigmoids one query can be listed for several classes."""
    best = {}
    for score, label, box in zip(*(result[key].tolist() for key in ("scores", "labels", "boxes")), strict=True):
        name = id2label[label]
        name = DARKNET_ALIASES.get(name, name)
        if name in COCO_NAMES and (tuple(box) not in best or score > best[tuple(box)][-1]):
            best[tuple(box)] = [COCO_NAMES.index(name), *box, score]
    return sorted(best.values(), key=lambda row: -row[-1])


@pytest.mark.parametrize("module", KINDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_an_image_does_not_depend_on_its_neighbours(module, folders):
    network = load(module, folders[module])
    images = pictures(count=4)
    together = network.layers(View(images, layout=True))
    for index in range(4):
        alone = network.layers(View(images[index : index + 1], layout=True))
        assert torch.equal(alone["present"][0], together["present"][index])
        torch.testing.assert_close(alone["boxes"][0], together["boxes"][index], rtol=1e-3, atol=1e-4)


def test_no_object_and_other_classes_are_no_detections():
    """Logits by hand: a query sure of no object, one sure of a class outside COCO, one sure of a dog."""
    labels = {2: 16, 0: 3}
    logits = torch.full((1, 3, 4), -9.0)
    logits[0, 0, 3] = logits[0, 1, 1] = logits[0, 2, 2] = 9.0
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4]] * 3])
    layers = detections(class_probabilities(logits, labels, "softmax"), boxes)
    assert layers["present"][0].nonzero().flatten().tolist() == [16]
    assert layers["boxes"][0, 0].tolist() == pytest.approx([16, 0.4, 0.3, 0.6, 0.7, 1.0], abs=1e-3)
    assert (layers["boxes"][0, 1:, 0] == -1).all()
    # With sigmoids every column is a class, and the threshold is 0.5 itself.
    logits = torch.tensor([[[0.0, -5.0, -1e-3]]])
    layers = detections(class_probabilities(logits, labels, "sigmoid"), boxes[:, :1])
    assert layers["present"][0].nonzero().flatten().tolist() == [3]


def test_the_old_form_of_a_processors_settings(folders, tmp_path):
    """As the first published folders have them: one number and the greatest side."""
    folder = shutil.copytree(folders[detr], tmp_path / "detr")
    settings = {"feature_extractor_type": "DetrFeatureExtractor", "size": 80, "max_size": 133, "do_resize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    network = load(detr, folder)
    assert network.facts["resize"] == "pil-bilinear-short-80-long-133"
    assert torch.equal(
        network.layers(View(pictures(), layout=True))["boxes"],
        load(detr, folders[detr]).layers(View(pictures(), layout=True))["boxes"],
    )


def drop_a_tensor(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("bbox_predictor.layers.0.bias")}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def name_other_classes(folder):
    change(folder / "config.json", id2label={str(i): f"LABEL_{i}" for i in range(91)})


def name_another_kind(folder):
    change(folder / "config.json", model_type="detr")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_a_tensor, "1 of the tensors that yolos-tiny needs are missing or of another shape, the first is bbox"),
        (name_other_classes, "the detector names 91 classes, and 80 of COCO's 80 are not among them: person, bicycle"),
        (name_another_kind, "config.json is that of a 'detr' model, and yolos-tiny should be 'yolos'"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config.json, which says how"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"<html>" * 9),
            "should be a safetensors file: it is a web page",
        ),
    ],
    ids=["tensor", "classes", "kind", "settings", "html"],
)
def test_damaged_folders(folders, tmp_path, damage, message):
    folder = shutil.copytree(folders[yolos], tmp_path / "yolos")
    damage(folder)
    with pytest.raises(EnvironmentFault, match=re.escape(message)):
        load(yolos, folder)


def test_a_backbone_of_timm_needs_timm(folders, tmp_path):
    if transformers.utils.is_timm_available():
        pytest.skip("timm is installed")
    folder = shutil.copytree(folders[detr], tmp_path / "detr")
    config = json.loads((folder / "config.json").read_text())
    del config["backbone_config"]
    (folder / "config.json").write_text(json.dumps(config | {"use_timm_backbone": True, "backbone": "resnet50"}))
    with pytest.raises(EnvironmentFault, match="needs a library that is not installed: .*; a backbone of timm is one"):
        load(detr, folder)
