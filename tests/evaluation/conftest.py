"""Small pictures, small shards and random Inception weights, all from seeds."""

import json

import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3 as torch_fidelity_inception
from small_shards import pictures, save
from torch import nn


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """No weights anywhere, and no download; results of folders are kept in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2I_WEIGHTS", str(tmp_path / "no-weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch"))
    monkeypatch.setenv("T2I_OFFLINE", "1")


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory):
    """A random state dict of torch-fidelity's Inception (He initialised, so that features keep their spread)."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    extractor = torch_fidelity_inception.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_fidelity_inception, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(extractor, "load_state_dict", lambda *_: None)
        network = extractor("random", ["2048"])
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.05, generator=generator)
            nn.init.normal_(module.bias, 0, 0.05, generator=generator)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def inception(inception_file):
    return f"inception-tf={inception_file}"


@pytest.fixture
def folders(tmp_path):
    """Two folders of pictures: 14 to be scored and 12 real ones."""
    return save(tmp_path / "fake", pictures(14, seed=1)), save(tmp_path / "real", pictures(12, seed=2))


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """A CLIP as users have it: config.json, model.safetensors, vocab.json and merges.txt."""
    from transformers import CLIPConfig, CLIPModel

    place = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(33, 127)]  # CLIP writes each byte as a printable letter, as GPT-2 does
    merges = [("d", "o"), ("do", "g</w>"), ("b", "u"), ("bu", "s</w>"), ("r", "e"), ("re", "d</w>")]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (place / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (place / "merges.txt").write_text("\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in merges)]) + "\n")
    end = len(tokens) - 1
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = shape | {"vocab_size": len(tokens), "max_position_embeddings": 77, "projection_dim": 10}
    text |= {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": 1}
    vision = shape | {"image_size": 32, "patch_size": 8, "projection_dim": 10}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=10))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # transformers' own start gives nearly equal embeddings
    model.save_pretrained(place)
    return place
