"""Batches are functions of seed and step alone."""

from dataclasses import fields
from itertools import islice
from pathlib import Path

import pytest
import torch

from t2icli.batch import Loaded, Text
from t2icli.data.loader import Loader, some_words
from t2icli.data.shards import ShardFolder
from t2icli.errors import DataError, UserError


def make(shards: Path, **changes: object) -> Loader:
    options = {"image_size": 32, "batch_size": 6, "d_steps": 2, "noise_dim": 4, "seed": 3} | changes
    return Loader(ShardFolder(shards, "train"), **options)  # type: ignore[arg-type]


def tensors(loaded: Loaded) -> list[torch.Tensor]:
    text = text_of(loaded)
    return [loaded.pairs.image, loaded.pairs.classes, loaded.noise, *(getattr(text, f.name) for f in fields(text))]


def text_of(loaded: Loaded) -> Text:
    assert loaded.stored is not None
    return loaded.stored


def same(one: list[Loaded], other: list[Loaded]) -> bool:
    return all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(tensors(x), tensors(y), strict=True)
    )


def test_shapes_and_ranges(tiny_shards: Path) -> None:
    (first, second) = next(make(tiny_shards).batches())
    image, text = first.pairs.image, text_of(first)
    assert image.shape == (6, 3, 32, 32)
    assert image.dtype == torch.float32
    assert -1 <= image.min() < -0.5
    assert 0.5 < image.max() <= 1
    assert text.words.shape == (6, 16, 12)
    assert text.mask.any(1).all()
    assert len(first.pairs.captions) == 6 and all(first.pairs.captions)
    assert first.pairs.classes.tolist() == [-1] * 6
    assert first.noise.shape == (6, 4)
    assert not torch.equal(first.noise, second.noise)


@pytest.mark.parametrize("workers", [0, 2])
def test_any_step_can_be_begun_at(tiny_shards: Path, workers: int) -> None:
    unbroken = list(islice(make(tiny_shards).batches(), 7))
    resumed = list(islice(make(tiny_shards, workers=workers).batches(4), 3))
    assert all(same(a, b) for a, b in zip(unbroken[4:], resumed, strict=True))
    other = next(make(tiny_shards, seed=4).batches())
    assert not same(other, unbroken[0])


def test_two_processes_share_the_batch_of_one(tiny_shards: Path) -> None:
    whole = next(make(tiny_shards).batches(5))
    halves = [next(make(tiny_shards, rank=rank, world=2).batches(5)) for rank in range(2)]
    for number, batch in enumerate(whole):
        for both, *parts in zip(tensors(batch), *(tensors(half[number]) for half in halves), strict=True):
            assert torch.equal(both, torch.cat(parts))


def test_an_epoch_shows_every_image_once_and_chance_has_its_say(tiny_shards: Path) -> None:
    def epoch(number: int, **changes: object) -> list[torch.Tensor]:
        steps = islice(make(tiny_shards, d_steps=1, **changes).batches(4 * number), 4)
        return [image for (loaded,) in steps for image in loaded.pairs.image]

    def keys(images: list[torch.Tensor]) -> list[float]:
        return [float(image.double().sum()) for image in images]

    straight = epoch(0, flip=False)
    assert len(set(keys(straight))) == 24
    assert sorted(keys(straight)) == pytest.approx(sorted(keys(epoch(1, flip=False))))
    assert keys(straight) != pytest.approx(keys(epoch(1, flip=False)))
    flipped = [not torch.equal(a, b) for a, b in zip(straight, epoch(0), strict=True)]
    assert 4 < sum(flipped) < 20
    assert all(
        torch.equal(a.flip(-1) if turned else a, b) for a, b, turned in zip(straight, epoch(0), flipped, strict=True)
    )
    tokens = [text_of(next(make(tiny_shards, d_steps=1, seed=3).batches(step))[0]).tokens for step in (0, 4, 8)]
    assert len({tuple(t.flatten().tolist()) for t in tokens}) == 3


def test_sentence_vectors_differ_by_kind(prepared, pictures: Path, tmp_path: Path) -> None:
    prepared(pictures, tmp_path / "out", "text.pad_sum=true")
    folder = ShardFolder(tmp_path / "out", "train")
    mean, padded = (next(Loader(folder, 16, 4, sentence=k).batches())[0] for k in ("masked_mean", "padded_sum"))
    assert torch.equal(text_of(mean).words, text_of(padded).words)
    assert not torch.allclose(text_of(mean).sentence, text_of(padded).sentence)


def test_crops_and_sizes(prepared, pictures: Path, tmp_path: Path) -> None:
    prepared(pictures, tmp_path / "short", "images.fit=short", "images.size=38")
    folder = ShardFolder(tmp_path / "short", "train")
    images = [next(Loader(folder, 32, 4, flip=False).batches(step))[0].pairs.image for step in range(3)]
    assert all(image.shape == (4, 3, 32, 32) for image in images)
    prepared(pictures, tmp_path / "square", "images.size=64")
    (batch,) = next(Loader(ShardFolder(tmp_path / "square", "train"), 32, 4).batches())
    assert batch.pairs.image.shape == (4, 3, 32, 32)
    with pytest.raises(DataError, match=r"text\.pad_sum=true"):
        Loader(ShardFolder(tmp_path / "square", "train"), 32, 4, sentence="padded_sum")


def test_what_cannot_be_served_is_said(tiny_shards: Path) -> None:
    with pytest.raises(DataError, match=r"stored at 32 pixels, and data\.image_size is 64"):
        make(tiny_shards, image_size=64)
    with pytest.raises(DataError, match=r"holds 24 images, fewer than one batch of train\.batch_size = 25"):
        make(tiny_shards, batch_size=25)
    with pytest.raises(UserError, match="cannot be shared equally by 4 processes"):
        make(tiny_shards, world=4)


def test_long_captions_keep_some_words_in_order() -> None:
    caption = " ".join(f"word{i:02d}" for i in range(30))
    kept = [some_words(caption, 18, seed).split() for seed in range(20)]
    assert all(len(words) == 18 and words == sorted(words) for words in kept)
    assert len({tuple(words) for words in kept}) > 15
    assert {word for words in kept for word in words} == set(caption.split())
    assert some_words("A red bus!", 18, 0) == some_words("A red bus!", None, 0) == "A red bus!"


def test_without_stored_vectors_captions_are_all_there_is(tiny_shards: Path) -> None:
    (plain,) = next(make(tiny_shards, d_steps=1, sentence=None).batches())
    (stored,) = next(make(tiny_shards, d_steps=1).batches())
    assert plain.stored is None and plain.pairs.captions == stored.pairs.captions
