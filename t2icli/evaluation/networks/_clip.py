"""CLIP (Radford et al. 2021, arXiv 2103.00020) through transformers, from a folder: image and caption embeddings.

Images are prepared as CLIP's own code and clean-fid prepare them, by PIL on 8-bit pixels.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from t2icli.errors import EnvironmentFault
from t2icli.evaluation.caching import settings_of
from t2icli.evaluation.features import Layers, Network, View
from t2icli.hub_folders import check_folder
from t2icli.weights import Found, Weights

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pixels CLIP was trained on, RGB in 0..1
STD = (0.26862954, 0.26130258, 0.27577711)
RESIZERS = 4  # threads; PIL resizes without holding the interpreter's lock
LAYOUT = "a CLIP folder holds config.json, model.safetensors or pytorch_model.bin, and tokenizer.json or " + (
    "vocab.json with merges.txt"
)


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP with its tokenizer."""

    model: Any
    tokenizer: Any
    device: torch.device

    @property
    def size(self) -> int:
        """The side of the square images it reads."""
        return int(self.model.config.vision_config.image_size)

    @property
    def max_tokens(self) -> int:
        """The longest caption it reads, both end tokens included: 77 in every published CLIP."""
        return int(self.model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def images(self, view: View) -> Layers:
        """``embedding`` (n, D) of uint8 images (n, 3, H, W), not normalised."""
        pixels = prepare(view.images, self.size).to(self.device)
        # Convolutions in TF32, which cuDNN takes by default, would move published figures.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            pooled = self.model.vision_model(pixel_values=pixels).pooler_output
            return {"embedding": self.model.visual_projection(pooled)}

    @torch.inference_mode()
    def texts(self, captions: Sequence[str]) -> Layers:
        """``embedding`` (n, D) of captions, not normalised, and ``cut`` (n,): 1 where a caption was too long."""
        whole: list[list[int]] = self.tokenizer(list(captions), verbose=False)["input_ids"]
        limit, end = self.max_tokens, self.tokenizer.eos_token_id
        tokens = [row if len(row) <= limit else [*row[: limit - 1], end] for row in whole]
        width = max(len(row) for row in tokens)
        # Pads follow the end token, where the embedding is read; attention looks back only, so they change nothing.
        ids = torch.tensor([row + [end] * (width - len(row)) for row in tokens], device=self.device)
        pooled = self.model.text_model(input_ids=ids).pooler_output
        cut = torch.tensor([float(len(row) > limit) for row in whole])
        return {"embedding": self.model.text_projection(pooled), "cut": cut}


def network(name: str, weights: Weights, device: torch.device) -> Network:
    """The CLIP of that name among the weights, as metrics read it."""
    found = weights.find(name)
    clip = load(found, device)
    facts = {"network": name, "weights": found.record(), "resize": f"pil-bicubic-{clip.size}-centre-crop"}
    return Network(facts, clip.images, clip.texts, settings=settings_of(found.path))


def load(found: Found, device: torch.device) -> Clip:
    """Read a CLIP from its folder in float32; what is missing or does not fit is refused, nothing is made up."""
    from transformers import CLIPModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = found.path
    check_files(folder, found.name)
    try:
        loaded: Any = CLIPModel.from_pretrained(
            folder,
            output_loading_info=True,
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # refused below, by name
        )
        model, said = loaded
    except Exception as fault:  # safetensors, torch and transformers raise types of their own for a damaged file
        raise EnvironmentFault(f"{folder}: cannot be loaded as {found.name}: {first_line(fault)}") from None
    missing = sorted(said["missing_keys"])
    if missing:
        raise EnvironmentFault(f"{folder}: lacks {len(missing)} tensors of {found.name}, e.g. {missing[0]}")
    other = sorted(said["mismatched_keys"])
    if other:
        name, stored, needed = other[0]
        raise EnvironmentFault(
            f"{folder}: {len(other)} tensors have another shape than {found.name} by its config.json, e.g. {name}: "
            f"{tuple(stored)}, should be {tuple(needed)}"
        )
    frozen = model.to(device).eval().requires_grad_(False)
    return Clip(frozen, load_tokenizer(folder, model.config), device)


def load_tokenizer(folder: Path, config: Any) -> Any:
    """The tokenizer of a CLIP; its vocabulary has to be that of the text network."""
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as fault:  # tokenizers raises types of its own for a damaged file
        raise EnvironmentFault(f"{folder}: its tokenizer cannot be loaded: {first_line(fault)}") from None
    if len(tokenizer) != config.text_config.vocab_size:
        raise EnvironmentFault(
            f"{folder}: its tokenizer knows {len(tokenizer):,} tokens, and its text network "
            f"{config.text_config.vocab_size:,}; they should be of one model"
        )
    return tokenizer


def check_files(folder: Path, name: str) -> None:
    """Whether the files are there and config.json is that of a CLIP: transformers would make up what it lacks."""
    from transformers import PretrainedConfig

    def has(*files: str) -> bool:
        return all((folder / file).is_file() for file in files)

    lacks = [
        what
        for what, there in (
            ("config.json", has("config.json")),
            ("model.safetensors", has("model.safetensors") or has("pytorch_model.bin")),
            ("tokenizer.json", has("tokenizer.json") or has("vocab.json", "merges.txt")),
        )
        if not there
    ]
    if lacks:
        raise EnvironmentFault(f"{name}: {folder}: lacks {' and '.join(lacks)}; {LAYOUT}")
    check_folder(folder)
    try:
        kind = PretrainedConfig.get_config_dict(folder)[0].get("model_type")
    except Exception as fault:  # transformers raises types of its own for values that it does not expect
        raise EnvironmentFault(f"{folder / 'config.json'}: cannot be read: {first_line(fault)}") from None
    if kind != "clip":
        raise EnvironmentFault(f"{folder / 'config.json'} is a {kind!r} model; {name} is a 'clip'")


def first_line(fault: Exception) -> str:
    """What a library says, without its advice."""
    lines = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__


def prepare(images: Tensor, size: int) -> Tensor:
    """Images (n, 3, H, W) uint8 as CLIP reads them, (n, 3, size, size) float32.

    The shorter side becomes ``size`` by PIL's bicubic filter, which antialiases, then the centre is cut out.
    """
    arrays = images.permute(0, 2, 3, 1).cpu().numpy()
    with ThreadPoolExecutor(RESIZERS) as pool:
        squares = list(pool.map(lambda array: square(array, size), arrays))
    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (pixels - mean) / std


def square(array: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """One image (H, W, 3) uint8 as the centre square of that size."""
    height, width = array.shape[:2]
    short = min(height, width)
    resized = (size * width // short, size * height // short)
    image = Image.fromarray(np.ascontiguousarray(array)).resize(resized, Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)))
