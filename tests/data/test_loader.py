"""Batches are functions of seed and step alone."""

import json
from collections import Counter
from dataclasses import fields
from itertools import islice
from pathlib import Path

import pytest
import torch
from made_up import made_up_pictures

from t2icli.batch import Loaded, Text
from t2icli.data.loader import Loader, may_mirror, some_words
from t2icli.data.plan import keep_captions
from t2icli.data.shard_folder import ShardFolder
from t2icli.errors import DataError, UserError


def make(shards: Path, **changes: object) -> Loader:
    options = {"image_size": 32, "batch_size": 6, "d_steps": 2, "noise_dim": 4, "seed": 3} | changes
    return Loader(ShardFolder(shards, "train"), **options)  # type: ignore[arg-type]


def tensors(loaded: Loaded) -> list[torch.Tensor]:
    text = text_of(loaded)
    return [loaded.image, loaded.classes, loaded.noise, *(getattr(text, f.name) for f in fields(text))]


def text_of(loaded: Loaded) -> Text:
    assert loaded.stored is not None
    return loaded.stored


def same(one: list[Loaded], other: list[Loaded]) -> bool:
    return all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(tensors(x), tensors(y), strict=True)
    )


def test_shapes_and_ranges(tiny_shards: Path) -> None:
    (first, second) = next(make(tiny_shards).batches())
    image, text = first.image, text_of(first)
    assert image.shape == (6, 3, 32, 32)
    assert image.dtype == torch.uint8
    assert image.is_contiguous(memory_format=torch.channels_last)
    on_device = first.pairs(torch.device("cpu")).image
    assert on_device.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(on_device.double(), image.double() / 127.5 - 1, rtol=0, atol=1e-7)
    assert -1 <= on_device.min() < -0.5
    assert 0.5 < on_device.max() <= 1
    assert text.words.shape == (6, 16, 12)
    assert text.mask.any(1).all()
    assert len(first.captions) == 6 and all(first.captions)
    assert first.classes.tolist() == [-1] * 6
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
        return [image for (loaded,) in steps for image in loaded.image]

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
    images = [next(Loader(folder, 32, 4, flip=False).batches(step))[0].image for step in range(3)]
    assert all(image.shape == (4, 3, 32, 32) for image in images)
    prepared(pictures, tmp_path / "square", "images.size=64")
    (batch,) = next(Loader(ShardFolder(tmp_path / "square", "train"), 32, 4).batches())
    assert batch.image.shape == (4, 3, 32, 32)
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
    assert plain.stored is None and plain.captions == stored.captions


# ---------------------------------------------------------------------------- mirroring


@pytest.mark.parametrize(
    "caption",
    [
        "a dog on the left",
        "RIGHT: a bus",
        "the left-hand side",
        "its right-most wheel",
        "the leftmost dog",
        "a rightwards arrow.",
        "one dog's left's best",
        "a lefthand bend",
        "the dog has left",  # another meaning, which costs no more than a mirroring
    ],
)
def test_captions_that_say_left_or_right(caption: str) -> None:
    assert not may_mirror(caption, "unless-sided")
    assert may_mirror(caption, True) and not may_mirror(caption, False)


@pytest.mark.parametrize(
    "caption", ["a bright bus", "leftovers and one leftover", "upright", "copyright", "playwrights", "a cleft", "LEFTY"]
)
def test_words_that_only_contain_left_or_right(caption: str) -> None:
    assert may_mirror(caption, "unless-sided") and may_mirror(caption, True) and not may_mirror(caption, False)


@pytest.fixture
def captioned(prepared, tmp_path: Path):
    """Sixteen pictures with the captions that a function of their number gives, prepared at 16 px."""

    def make(captions, *overrides: str, out: str = "shards") -> ShardFolder:
        made_up_pictures(tmp_path / "raw", 16)
        lines = [json.dumps({"file": f"{number:03d}.png", "captions": captions(number)}) for number in range(16)]
        (tmp_path / "raw" / "captions.jsonl").write_text("\n".join(lines) + "\n")
        prepared(tmp_path / "raw", tmp_path / out, "reader.val_share=0", *overrides)
        return ShardFolder(tmp_path / out, "train")

    return make


def sixteen(folder: ShardFolder, step: int = 0, **changes: object) -> Loaded:
    (loaded,) = next(Loader(folder, 16, 16, noise_dim=4, **changes).batches(step))  # type: ignore[arg-type]
    return loaded


def test_the_caption_that_is_shown_decides_whether_its_picture_may_be_mirrored(captioned) -> None:
    folder = captioned(lambda number: [f"a dog on the left {number}", f"a bright leftover {number}"])
    seen: Counter[tuple[bool, bool]] = Counter()
    for step in range(3):
        never, always, unless = (sixteen(folder, step, flip=rule) for rule in (False, True, "unless-sided"))
        assert never.captions == always.captions == unless.captions
        for row, caption in enumerate(unless.captions):
            sided = "left " in caption
            drawn = not torch.equal(always.image[row], never.image[row])
            expected = never if sided else always
            assert torch.equal(unless.image[row], expected.image[row])
            seen[sided, drawn] += 1
    assert all(seen[sided, drawn] > 2 for sided in (True, False) for drawn in (True, False))


def test_words_that_are_not_shown_decide_too(captioned) -> None:
    """A long caption loses words at random; that its picture is of a side stays true."""
    folder = captioned(lambda number: [f"picture {number} with a dog to the left of a bus"])
    never, unless = (sixteen(folder, flip=rule, max_words=1) for rule in (False, "unless-sided"))
    assert sum("left" in caption for caption in unless.captions) < 8
    assert torch.equal(never.image, unless.image)


# ---------------------------------------------------------------------------- which caption


def several(number: int) -> list[str]:
    """Five captions of 3, 2, 5, 2 and 5 words; the longest in letters is none of the longest in words."""
    return [f"one dog {number}", f"dog {number}", f"a b c d {number}", f"extraordinarily {number}", f"e f g h {number}"]


@pytest.mark.parametrize(("rule", "which"), [("first", 0), ("shortest", 1), ("longest", 2)])
def test_one_caption_is_always_shown(captioned, rule: str, which: int) -> None:
    folder = captioned(several)
    for step in range(2):
        loaded, chance = sixteen(folder, step, captions=rule), sixteen(folder, step)
        numbers = [int(caption.split()[-1]) for caption in loaded.captions]
        assert list(loaded.captions) == [several(number)[which] for number in numbers]
        assert len(set(numbers)) == 16
        assert torch.equal(loaded.image, chance.image) and torch.equal(loaded.noise, chance.noise)


def test_a_random_one_of_the_first_five_is_the_default(captioned) -> None:
    folder = captioned(lambda number: [*several(number), f"a sixth one {number}"])
    assert folder.shard(0).caption_count == 4 * 5
    seen: Counter[int] = Counter()
    for step in range(6):
        loaded = sixteen(folder, step)
        for caption in loaded.captions:
            seen[several(int(caption.split()[-1])).index(caption)] += 1
        explicit = sixteen(folder, step, captions="random")
        assert explicit.captions == loaded.captions
    assert len(seen) == 5 and min(seen.values()) > 6


def test_captions_that_prepare_keeps(captioned) -> None:
    def kept(rule: str, seed: int = 0) -> list[list[str]]:
        keys = ("text.captions_per_image=2", f"text.captions={rule}", f"seed={seed}")
        folder = captioned(several, *keys, out=f"{rule}-{seed}")
        places = [folder.locate(picture) for picture in range(len(folder))]
        return [[shard.text(number) for number in shard.captions(row)] for shard, row in places]

    assert kept("first") == [several(number)[:2] for number in range(16)]
    assert kept("shortest") == [[several(number)[1], several(number)[3]] for number in range(16)]
    chance = [[several(n).index(caption) for caption in captions] for n, captions in enumerate(kept("random"))]
    assert all(len(which) == 2 and which == sorted(set(which)) for which in chance)  # in the order of the file
    assert len({tuple(which) for which in chance}) > 4 and {i for which in chance for i in which} == set(range(5))
    assert kept("random", seed=1) != kept("random")


def test_kept_captions_depend_on_the_seed_and_the_image_alone() -> None:
    captions = several(0)
    assert keep_captions(captions, 5, "random", 0, 7) == keep_captions(captions, 9, "shortest", 0, 7) == tuple(captions)
    # as first computed: another choice would make other shards of the same recipe
    found = [[captions.index(c) for c in keep_captions(captions, 2, "random", 3, image)] for image in (-1, 0, 2**62)]
    assert found == [[0, 1], [2, 4], [0, 1]]
    counts = Counter(c for image in range(2000) for c in keep_captions(captions, 2, "random", 3, image))
    assert all(abs(count - 800) < 100 for count in counts.values()) and len(counts) == 5  # 800 +- 4.5 deviations of 22
