"""Matchers that this project trains or imports, as networks that metrics read."""

from collections.abc import Callable, Sequence

import torch

from t2icli.encoders._base import Matcher
from t2icli.encoders._files import find_encoder, load_matcher
from t2icli.errors import EnvironmentFault
from t2icli.evaluation.features import Layers, Network, View
from t2icli.weights import Found, Weights

RESIZE = "as the matcher resizes"


def load(
    kind: str, weights: Weights, device: torch.device, layers: Callable[[Matcher, View], Layers], pairs: bool = False
) -> Network:
    """A matcher of one kind, by ``--weights KIND=RUN`` (a run of ``t2i pretrain-encoders``, or its file).

    ``pairs``: whether its layers read captions too.
    """
    given = weights.find(kind)
    file = find_encoder(given.path)
    matcher, found = load_matcher(file)
    if found.name != kind:
        raise EnvironmentFault(f"--weights {kind}={given.path}: holds a {found.name}; a {kind} is needed")
    network = matcher.to(device)

    def texts(captions: Sequence[str]) -> Layers:
        return {"sentence": network.text.read(captions).sentence}

    record = Found(kind, file, found.sha256, published=None).record()
    facts = {"network": kind, "weights": record, "resize": RESIZE}
    return Network(facts, lambda view: layers(network, view), texts, reads_pairs=pairs)


def whole(matcher: Matcher, view: View) -> Layers:
    """Vectors of whole images."""
    return {"whole": matcher.read_images(scaled(view.images))[1]}


def scaled(images: torch.Tensor) -> torch.Tensor:
    """uint8 as [-1, 1], which is what generators give matchers."""
    return images.float() / 127.5 - 1
