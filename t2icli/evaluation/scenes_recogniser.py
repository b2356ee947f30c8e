"""A small network that recognises place, objects and colours, trained by this project on scenes and bundled.

It judges pictures that were generated from captions of scenes: whether they show what the caption says, and how
far their features lie from those of real drawings (``fd-scenes``, which is never called FID). It was trained by
``tools/make_scenes_recogniser.py``; ``t2icli/assets/scenes-recogniser/CARD.md`` says how well it does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.data.scenes import CATEGORIES, COLOURS, PLACES, understand
from t2icli.errors import EnvironmentFault

WEIGHTS = Path(__file__).parent.parent / "assets" / "scenes-recogniser" / "model.safetensors"
SIZE = 64  # pixels a side that the network sees; other sizes are resized bilinearly, with antialiasing
FEATURES = 192
PLACE_NAMES, CATEGORY_NAMES, COLOUR_NAMES = tuple(PLACES), tuple(CATEGORIES), tuple(COLOURS)


class Recognised(NamedTuple):
    """What the network says of N pictures; names are in the order of PLACE_NAMES, CATEGORY_NAMES, COLOUR_NAMES."""

    features: Tensor  # (N, 192) mean of the last feature map, for a Fréchet distance
    place: Tensor  # (N, 6) logits, one is right
    category: Tensor  # (N, 20) logits, above 0: present
    colour: Tensor  # (N, 20, 8) logits of the colour that a category has where it is seen


class Recogniser(nn.Module):
    """Six convolutions; each cell of the last 8 x 8 map votes for a category and for a colour.

    A category is present if some cell votes for it, and it has the colour that those same cells vote for: so a
    red bus beside a blue dog cannot pass for a blue bus beside a red dog.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            block(3, 32, stride=2),
            block(32, 48, stride=2),
            block(48, 96, stride=1),
            block(96, 128, stride=2),
            block(128, 160, stride=1),
            block(160, FEATURES, stride=1),
        )
        self.place = nn.Linear(FEATURES, len(PLACE_NAMES))
        self.category = nn.Conv2d(FEATURES, len(CATEGORY_NAMES), 1)
        self.colour = nn.Conv2d(FEATURES, len(COLOUR_NAMES), 1)

    def forward(self, pictures: Tensor) -> Recognised:
        """Logits and features of uint8 pictures (N, 3, H, W) of any size."""
        maps = self.body(prepared(pictures))
        features = maps.mean((2, 3))
        votes = self.category(maps).flatten(2)  # (N, 20, 64)
        colours = self.colour(maps).flatten(2)  # (N, 8, 64)
        colour = torch.einsum("nkp,ncp->nkc", votes.softmax(2), colours)
        return Recognised(features, self.place(features), votes.logsumexp(2) - 6, colour)


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def prepared(pictures: Tensor) -> Tensor:
    """uint8 of any size as float32 in [-1, 1] at 64 px."""
    floats = pictures.float() / 127.5 - 1
    if floats.shape[-2:] == (SIZE, SIZE):
        return floats
    return F.interpolate(floats, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)


def load(device: str | torch.device = "cpu") -> Recogniser:
    """The bundled network, frozen."""
    if not WEIGHTS.is_file():
        raise EnvironmentFault(f"{WEIGHTS}: missing; reinstall t2i, or make it: python tools/make_scenes_recogniser.py")
    network = Recogniser()
    network.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return network.to(device).eval().requires_grad_(False)


@torch.inference_mode()
def recognise(network: Recogniser, pictures: Tensor, batch_size: int = 256) -> Recognised:
    """What the network says of many uint8 pictures (N, 3, H, W), results on the CPU."""
    device = network.place.weight.device
    parts = [Recognised(*(value.cpu() for value in network(batch.to(device)))) for batch in pictures.split(batch_size)]
    return Recognised(*(torch.cat(values) for values in zip(*parts, strict=True)))


def place_objects_colours_right(
    pictures: Tensor, captions: Sequence[str], network: Recogniser | None = None
) -> dict[str, float]:
    """Shares of uint8 pictures (N, 3, H, W) that show the place, objects and colours that their captions say."""
    return shares_right(recognise(network or load(), pictures), captions)


def shares_right(seen: Recognised, captions: Sequence[str]) -> dict[str, float]:
    """Shares right among the captions that say a place, an object, a colour; ``all`` is of all that they say.

    Objects are right if the k likeliest categories are the k that the caption names. A share is left out where
    no caption says anything of its kind.
    """
    verdicts: dict[str, list[bool]] = {"place": [], "objects": [], "colours": [], "all": []}
    for row, caption in enumerate(captions):
        said = verdict(Recognised(*(value[row] for value in seen)), caption)
        for name, right in said.items():
            verdicts[name].append(right)
        if said:
            verdicts["all"].append(all(said.values()))
    return {name: sum(rights) / len(rights) for name, rights in verdicts.items() if rights}


def verdict(seen: Recognised, caption: str) -> Mapping[str, bool]:
    """Whether one picture shows what its caption says, for each kind of thing that it says."""
    content = understand(caption)
    right: dict[str, bool] = {}
    if content.place is not None:
        right["place"] = PLACE_NAMES[int(seen.place.argmax())] == content.place
    named = {category for category, _ in content.objects}
    if named:
        likeliest = seen.category.topk(len(named)).indices.tolist()
        right["objects"] = {CATEGORY_NAMES[index] for index in likeliest} == named
    coloured = [(category, colour) for category, colour in content.objects if colour is not None]
    if coloured:
        right["colours"] = all(
            COLOUR_NAMES[int(seen.colour[CATEGORY_NAMES.index(category)].argmax())] == colour
            for category, colour in coloured
        )
    return right
