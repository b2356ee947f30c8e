"""A VLM as a judge: vectors of images and sentences, and its three scores of pairs (VLMGAN, arXiv 2208.09596)."""

import torch

from t2icli.batch import Text
from t2icli.encoders._base import Matcher
from t2icli.encoders.vlm import LEVELS, VLM
from t2icli.evaluation.features import Layers, Network, View
from t2icli.evaluation.networks import _matchers as matchers
from t2icli.weights import Weights

SHUFFLED = "_shuffled"  # after a level: the score with another picture's caption


def load(weights: Weights, device: torch.device) -> Network:
    """Vectors as a DAMSM gives them, and scores (n,) of pictures with their own and with another caption."""
    return matchers.load("vlm", weights, device, layers, pairs=True)


def layers(matcher: Matcher, view: View) -> Layers:
    """Scores are there where captions are."""
    assert isinstance(matcher, VLM)
    regions, whole = matcher.read_images(matchers.scaled(view.images))
    seen = {"whole": whole}
    if view.captions is not None and view.mismatched is not None:
        for captions, suffix in ((view.captions, ""), (view.mismatched, SHUFFLED)):
            text = matcher.text.read(captions)
            scores = matcher.own_scores(text, regions, whole)
            scores["local"] = scores["local"] - length_part(text, matcher.config.gamma2)
            seen |= {level + suffix: scores[level] for level in LEVELS}
    return seen


def length_part(text: Text, gamma2: float) -> torch.Tensor:
    """ln(T) / gamma2: what a local score gains by a caption's length alone."""
    length: torch.Tensor = text.mask.sum(1).log() / gamma2
    return length
