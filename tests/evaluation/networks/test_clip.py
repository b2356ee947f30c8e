"""CLIP against transformers' own processor and model, on a small one with random weights."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_shards import pictures
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchvision import transforms

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.features import Features, View
from t2icli.evaluation.metrics import fid_clip
from t2icli.evaluation.networks import _clip as clip
from t2icli.evaluation.networks import clip_vit_b_32, clip_vit_l_14_336
from t2icli.weights import Weights

SIZE, LENGTH = 32, 77
CAPTIONS = ["A red bus on the street.", "", "two dogs", "a " * 60 + "b", "a " * 75, "a " * 76, "a dog " * 100]
CUT = [0, 0, 0, 0, 0, 1, 1]


@pytest.fixture
def folder(tiny_clip):
    return tiny_clip


@pytest.fixture
def network(folder):
    return clip_vit_b_32.load(Weights([f"clip-vit-b-32={folder}"]), torch.device("cpu"))


def processor_of(folder):
    from transformers import CLIPImageProcessorPil, CLIPProcessor, CLIPTokenizer

    sizes = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}
    return CLIPProcessor(CLIPImageProcessorPil(**sizes), CLIPTokenizer.from_pretrained(folder))


@pytest.fixture
def theirs(folder):
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(folder).eval(), processor_of(folder)


def random_images(height, width, count=3):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width))


def pil(images):
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 32), (20, 20), (50, 77), (91, 40)])
def test_pixels_equal_transformers_and_openais_own(folder, height, width):
    images = random_images(height, width)
    ours = clip.prepare(images, SIZE)
    hugging_face = processor_of(folder).image_processor(pil(images), return_tensors="pt")
    torch.testing.assert_close(ours, hugging_face["pixel_values"], rtol=0, atol=1e-5)
    # As the code that came with CLIP composes it.
    openai = transforms.Compose(
        [
            transforms.Resize(SIZE, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize(clip.MEAN, clip.STD),
        ]
    )
    if (max(height, width) * SIZE // min(height, width) - SIZE) % 2 == 0:  # else torchvision rounds half to even
        composed = torch.stack([openai(image) for image in pil(images)])
        torch.testing.assert_close(ours, composed, rtol=0, atol=1e-5)
    assert ours.std() > 0.5


def test_image_embeddings_equal_transformers(network, theirs):
    model, processor = theirs
    images = random_images(48, 64)
    ours = network.layers(View(images))["embedding"]
    pixels = processor.image_processor(
        [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in images], return_tensors="pt"
    )
    with torch.no_grad():
        expected = model.get_image_features(**pixels).pooler_output
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert ours.shape == (3, 10)
    assert ours.dtype == torch.float32
    assert (ours.norm(dim=1) - 1).abs().min() > 0.05  # not normalised
    assert (ours[0] - ours[1]).abs().max() > 0.01


def test_caption_embeddings_equal_transformers(network, theirs):
    model, processor = theirs
    found = network.texts(CAPTIONS)
    tokens = processor.tokenizer(CAPTIONS, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.no_grad():
        expected = model.get_text_features(**tokens).pooler_output
    torch.testing.assert_close(found["embedding"], expected, rtol=1e-4, atol=1e-4)
    assert found["cut"].tolist() == CUT
    assert found["cut"].dtype == torch.float32
    assert (found["embedding"][0] - found["embedding"][2]).abs().max() > 0.01


def test_similarities_equal_transformers(network, theirs):
    """The whole path at once: what CLIPModel itself makes of pictures and captions."""
    model, processor = theirs
    images = random_images(40, 40)
    inputs = processor(
        text=CAPTIONS[:3],
        images=pil(images),
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        expected = model(**inputs).logits_per_image / model.logit_scale.exp()
    a = torch.nn.functional.normalize(network.layers(View(images))["embedding"], dim=1)
    b = torch.nn.functional.normalize(network.texts(CAPTIONS[:3])["embedding"], dim=1)
    torch.testing.assert_close(a @ b.T, expected, rtol=1e-4, atol=1e-5)


def test_neighbours_in_a_batch_change_nothing(network):
    together = network.texts(CAPTIONS)["embedding"]
    alone = torch.cat([network.texts([caption])["embedding"] for caption in CAPTIONS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    images = pictures(3, size=40)
    one_by_one = torch.cat([network.layers(View(image[None]))["embedding"] for image in images])
    torch.testing.assert_close(network.layers(View(images))["embedding"], one_by_one, rtol=1e-4, atol=1e-5)


def test_a_cut_caption_keeps_its_end(network):
    """Everything after the 75th word is lost and nothing else: the same words without it read the same."""
    long, exact = network.texts(["a " * 75 + "dog"]), network.texts(["a " * 75])
    torch.testing.assert_close(long["embedding"], exact["embedding"], rtol=1e-5, atol=1e-6)
    assert (long["cut"].item(), exact["cut"].item()) == (1, 0)


def test_old_files_read_the_same(folder, tmp_path, network):
    """OpenAI's first folders on the hub: pytorch_model.bin, tokenizer.json, and 2 for the end token in config.json."""
    from transformers import CLIPTokenizer

    old = tmp_path / "old"
    old.mkdir()
    torch.save(load_file(folder / "model.safetensors"), old / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (old / "config.json").write_text(json.dumps(config))
    CLIPTokenizer.from_pretrained(folder).save_pretrained(old)
    assert (old / "tokenizer.json").is_file()
    again = clip_vit_b_32.load(Weights([f"clip-vit-b-32={old}"]), torch.device("cpu"))
    torch.testing.assert_close(again.texts(CAPTIONS)["embedding"], network.texts(CAPTIONS)["embedding"])
    torch.testing.assert_close(
        again.layers(View(pictures(2)))["embedding"], network.layers(View(pictures(2)))["embedding"]
    )


def test_half_precision_files_are_run_in_single(folder, tmp_path):
    half = copied(folder, tmp_path)
    config = (half / "config.json").read_text()
    assert '"float32"' in config
    (half / "config.json").write_text(config.replace('"float32"', '"float16"'))
    save_file(
        {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()},
        half / "model.safetensors",
        {"format": "pt"},
    )
    again = clip_vit_b_32.load(Weights([f"clip-vit-b-32={half}"]), torch.device("cpu"))
    assert again.texts(["a dog"])["embedding"].dtype == torch.float32


def test_facts(folder, network):
    assert network.facts["network"] == "clip-vit-b-32"
    assert network.facts["resize"] == f"pil-bicubic-{SIZE}-centre-crop"
    assert network.facts["weights"]["published"] is False
    larger = clip_vit_l_14_336.load(Weights([f"clip-vit-l-14-336={folder}"]), torch.device("cpu"))
    assert larger.facts["network"] == "clip-vit-l-14-336"


def copied(folder, tmp_path):
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    return place


def refused(place, match):
    with pytest.raises(EnvironmentFault, match=match):
        clip_vit_b_32.load(Weights([f"clip-vit-b-32={place}"]), torch.device("cpu"))


def test_missing_tensors_are_refused(folder, tmp_path):
    place = copied(folder, tmp_path)
    tensors = load_file(place / "model.safetensors")
    del tensors["visual_projection.weight"], tensors["text_projection.weight"]
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    refused(place, "lacks 2 tensors of clip-vit-b-32, e.g. text_projection.weight")


def test_damaged_and_other_files_are_refused(folder, tmp_path):
    place = copied(folder, tmp_path)
    whole = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(place, "model.safetensors: a safetensors file that is damaged or cut off")
    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"] = torch.zeros(7, 16)
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    refused(
        place, r"1 tensors have another shape than clip-vit-b-32 .* visual_projection.weight: \(7, 16\), should be \("
    )


def test_a_tokenizer_is_not_made_up(folder, tmp_path):
    place = copied(folder, tmp_path)
    (place / "merges.txt").unlink()
    refused(
        place, "clip-vit-b-32: .*lacks tokenizer.json; a CLIP folder holds config.json, .*vocab.json with merges.txt"
    )


def test_a_tokenizer_of_another_model_is_refused(folder, tmp_path):
    place = copied(folder, tmp_path)
    vocabulary = json.loads((place / "vocab.json").read_text())
    (place / "vocab.json").write_text(json.dumps(vocabulary | {"surplus": len(vocabulary)}))
    refused(place, r"its tokenizer knows 197 tokens, and its text network 196; they should be of one model")
    (place / "vocab.json").write_text("no vocabulary")
    refused(place, "vocab.json: damaged, not valid JSON")
    (place / "vocab.json").write_text('["a", "b"]')
    refused(place, "vocab.json: should hold a table")


def test_a_folder_of_another_kind_is_refused(folder, tmp_path):
    place = copied(folder, tmp_path)
    (place / "config.json").write_text(json.dumps({"model_type": "bert"}))
    refused(place, "config.json is a 'bert' model; clip-vit-b-32 is a 'clip'")
    (place / "config.json").write_text("{")
    refused(place, "config.json: damaged, not valid JSON")


def test_fid_clip_equals_torch_fidelitys_distance():
    random = np.random.default_rng(0)
    fake, real = (torch.from_numpy(random.normal(shift, 1, (40, 6))) for shift in (0.3, 0))
    sides = [Features(40, "", {"clip_vit_b_32": {"embedding": side}}) for side in (fake, real)]
    (metric,) = fid_clip.METRICS
    (score,) = metric.compute(sides[:1], sides[1])
    theirs = fid_statistics_to_metric(fid_features_to_statistics(fake), fid_features_to_statistics(real), False)
    assert score.values == {"fid-clip": pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)}
    assert (metric.name, metric.better, metric.needs_real) == ("fid-clip", "lower", True)
