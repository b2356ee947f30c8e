"""Images are shown to networks once, whatever the batches, processes and ends in between."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_shards import pictures, save
from two_processes import in_two_processes

from t2icli.distributed import World
from t2icli.errors import DataError
from t2icli.evaluation import looking
from t2icli.evaluation.features import Captions, Network, Pictures
from t2icli.evaluation.images import FolderImages, MemoryImages
from t2icli.evaluation.looking import Machine, look

COUNT = 11
TEXTS = [f"caption {number}" for number in range(COUNT)]


class Watched:
    """A network that remembers what it was shown."""

    def __init__(self, name="watched"):
        self.shown = 0
        self.captions = []
        self.network = Network({"network": name}, self.layers, self.texts, reads_pairs=True)

    def layers(self, view):
        self.shown += len(view.images)
        seen = {"mean": view.images.float().mean((2, 3)), "first": view.images[:, 0, 0, 0].float()}
        if view.mismatched is not None:
            seen["other"] = torch.tensor([float(text.split()[1]) for text in view.mismatched])
        return seen

    def texts(self, captions):
        self.captions += captions
        return {"length": torch.tensor([float(text.split()[1]) for text in captions])}


def alone(**options):
    return Machine(World(0, 1, torch.device("cpu")), **options)


def side(images, captions=True):
    return Pictures(images, "generated", Captions(TEXTS) if captions else None)


@pytest.fixture
def images(monkeypatch):
    monkeypatch.setattr(looking, "CHUNK", 4)
    return MemoryImages(pictures(COUNT))


def test_rows_are_where_they_belong(images):
    watched = Watched()
    seen = look(side(images), {"w": watched.network}, alone(batch_size=3))
    assert watched.shown == COUNT
    assert watched.captions == TEXTS
    torch.testing.assert_close(seen.of("w", "mean"), pictures(COUNT).float().mean((2, 3)))
    assert seen.of_captions("w", "length").tolist() == list(range(COUNT))
    assert seen.of("w", "other").tolist() == [*range(1, COUNT), 0]  # without negatives, the next picture's caption
    assert seen.captions.texts == TEXTS


@pytest.mark.parametrize("size", [1, 4, 5, 64])
def test_batches_and_chunks_change_nothing(images, size, monkeypatch):
    reference = look(side(images), {"w": Watched().network}, alone())
    monkeypatch.setattr(looking, "CHUNK", 7)
    seen = look(side(images), {"w": Watched().network}, alone(batch_size=size))
    assert seen.sha256 == reference.sha256
    torch.testing.assert_close(seen.layers, reference.layers, rtol=0, atol=0)


def test_pixels_have_one_hash(images):
    changed = pictures(COUNT)
    changed[3, 0, 0, 0] += 1
    hashes = [
        look(side(MemoryImages(one), captions=False), {"w": Watched().network}, alone()).sha256
        for one in (pictures(COUNT), changed)
    ]
    assert hashes[0] == look(side(images), {"w": Watched().network}, alone()).sha256
    assert hashes[0] != hashes[1]


def test_what_was_seen_is_not_looked_at_again(images, tmp_path):
    folder = FolderImages(save(tmp_path / "made", pictures(COUNT)))
    cache = tmp_path / "cache"
    first, second, other = Watched(), Watched(), Watched("another")
    reference = look(side(folder), {"w": first.network}, alone(cache=cache))
    again = look(side(folder), {"w": second.network, "x": other.network}, alone(cache=cache))
    assert (first.shown, second.shown, other.shown) == (COUNT, 0, COUNT)
    assert again.sha256 == reference.sha256
    torch.testing.assert_close(again.layers["w"], reference.layers["w"], rtol=0, atol=0)
    torch.testing.assert_close(again.texts["w"], reference.texts["w"], rtol=0, atol=0)


def test_an_ended_look_goes_on_where_it_stood(images, tmp_path, monkeypatch):
    folder = FolderImages(save(tmp_path / "made", pictures(COUNT)))
    cache = tmp_path / "cache"
    watched = Watched()
    read = FolderImages.read

    def ends(path: Path):
        if path.name == "009.png":
            raise KeyboardInterrupt
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(FolderImages, "read", staticmethod(ends))
        with pytest.raises(KeyboardInterrupt):
            look(side(folder), {"w": watched.network}, alone(cache=cache))
    assert watched.shown == 8
    seen = look(side(folder), {"w": watched.network}, alone(cache=cache))
    assert watched.shown == COUNT
    unbroken = look(side(folder), {"w": Watched().network}, alone())
    assert seen.sha256 == unbroken.sha256
    torch.testing.assert_close(seen.layers, unbroken.layers, rtol=0, atol=0)


def ended_at(name, folder, watched, cache, monkeypatch, **options):
    """A look that ends when a picture is read."""
    read = FolderImages.read

    def ends(path: Path):
        if path.name == name:
            raise KeyboardInterrupt
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(FolderImages, "read", staticmethod(ends))
        with pytest.raises(KeyboardInterrupt):
            look(side(folder), {"w": watched.network}, alone(cache=cache, **options))


def test_an_end_within_a_chunk_loses_one_batch(tmp_path, monkeypatch):
    """All pictures are one chunk here; every batch is kept because no time may go unsaved."""
    monkeypatch.setattr(looking, "SECONDS_UNSAVED", 0)
    folder, cache = FolderImages(save(tmp_path / "made", pictures(COUNT))), tmp_path / "cache"
    watched = Watched()
    ended_at("009.png", folder, watched, cache, monkeypatch, batch_size=2)
    assert watched.shown == 8
    seen = look(side(folder), {"w": watched.network}, alone(cache=cache, batch_size=3))
    assert watched.shown == COUNT
    unbroken = look(side(folder), {"w": Watched().network}, alone())
    assert (seen.sha256, seen.set_sha256) == (unbroken.sha256, unbroken.set_sha256)
    torch.testing.assert_close(seen.layers, unbroken.layers, rtol=0, atol=0)
    torch.testing.assert_close(seen.texts, unbroken.texts, rtol=0, atol=0)
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert len(kept) == 2  # images and captions, whole; no parts are left behind


def test_another_network_joins_a_chunk_that_was_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "SECONDS_UNSAVED", 0)
    folder, cache = FolderImages(save(tmp_path / "made", pictures(COUNT))), tmp_path / "cache"
    first, second = Watched(), Watched("second")
    ended_at("009.png", folder, first, cache, monkeypatch, batch_size=2)
    both = look(side(folder), {"w": first.network, "x": second.network}, alone(cache=cache))
    torch.testing.assert_close(both.layers["w"], both.layers["x"], rtol=0, atol=0)
    assert second.shown == COUNT


def test_seconds_go_by_between_two_saves(tmp_path, monkeypatch):
    """Not every batch is written: of quick ones most are not."""
    clock = iter(range(100))
    monkeypatch.setattr(looking, "time", SimpleNamespace(monotonic=lambda: next(clock) * 0.5))
    written = []
    monkeypatch.setattr(looking, "write_part", lambda cache, key, seen: written.append(seen.rows))
    folder = FolderImages(save(tmp_path / "made", pictures(COUNT)))
    network = Network({"network": "w"}, Watched().layers)
    look(side(folder), {"w": network}, alone(cache=tmp_path / "cache", batch_size=1))
    assert written == [4, 8]


def test_progress_is_told_by_batches(images, monkeypatch):
    told = []

    @contextmanager
    def progress(what, total, unit):
        yield told.append

    monkeypatch.setattr(looking, "progress", progress)
    monkeypatch.setattr(looking, "CHUNK", 8)
    look(side(images), {"w": Watched().network}, alone(batch_size=3))
    assert told == [0, 3, 3, 2, 0, 3]


def test_what_cannot_change_the_numbers_is_not_in_the_key(tmp_path):
    """Captions for a network that reads none, the name of the weights' file, rows at another place."""
    folder, cache = save(tmp_path / "made", pictures(COUNT)), tmp_path / "cache"
    watched = Watched()

    def plain(file, sha256="a"):
        facts = {"network": "plain", "weights": {"file": file, "sha256": sha256, "published": None}}
        return Network(facts, watched.layers)

    look(side(FolderImages(folder), captions=False), {"w": plain("one.pth")}, alone(cache=cache))
    look(side(FolderImages(folder)), {"w": plain("two.pth")}, alone(cache=cache))
    assert watched.shown == COUNT
    look(side(FolderImages(folder)), {"w": plain("two.pth", "b")}, alone(cache=cache))
    assert watched.shown == 2 * COUNT


def test_negatives_matter_only_where_they_are_read(tmp_path):
    folder, cache = FolderImages(save(tmp_path / "made", pictures(COUNT))), tmp_path / "cache"
    watched = Watched()
    reader = Network({"network": "reader"}, watched.layers, watched.texts)
    negatives = np.array([[(row + 2) % COUNT] for row in range(COUNT)], np.int32)
    for captions in (None, Captions(TEXTS), Captions(TEXTS, negatives)):
        look(Pictures(folder, "generated", captions), {"w": reader}, alone(cache=cache))
    assert watched.shown == COUNT  # pictures do not depend on what is said of them
    assert watched.captions == TEXTS
    pairs = Watched("pairs")
    for captions in (Captions(TEXTS), Captions(TEXTS, negatives)):
        look(Pictures(folder, "generated", captions), {"w": pairs.network}, alone(cache=cache))
    assert pairs.shown == 2 * COUNT
    assert pairs.captions == TEXTS


def test_boxes_are_asked_for_where_a_layout_is_scored(tmp_path):
    folder, cache = FolderImages(save(tmp_path / "made", pictures(COUNT))), tmp_path / "cache"
    seen = []

    def layers(view):
        seen.append(view.layout)
        return {"present": torch.ones(len(view.images), 80)} | (
            {"boxes": torch.ones(len(view.images), 100, 6)} if view.layout else {}
        )

    detector = Network({"network": "d"}, layers, finds_boxes=True)
    for boxes in (None, [[]] * COUNT, None):
        found = look(Pictures(folder, "generated", boxes=boxes), {"d": detector}, alone(cache=cache))
        assert ("boxes" in found.layers["d"]) == (boxes is not None)
    assert seen == [False, True]


def test_a_set_of_pictures_has_no_order(images):
    turned = MemoryImages(pictures(COUNT).flip(0))
    first, second = (look(side(one), {"w": Watched().network}, alone()) for one in (images, turned))
    assert first.set_sha256 == second.set_sha256
    assert first.sha256 != second.sha256
    twice = MemoryImages(torch.cat([pictures(COUNT)[:1], pictures(COUNT)[:-1]]))
    assert look(side(twice), {"w": Watched().network}, alone()).set_sha256 != first.set_sha256


def test_changed_captions_are_looked_at_again(images, tmp_path):
    folder = FolderImages(save(tmp_path / "made", pictures(COUNT)))
    watched = Watched()
    look(side(folder), {"w": watched.network}, alone(cache=tmp_path / "cache"))
    others = Pictures(folder, "generated", Captions([*TEXTS[:5], "caption 99", *TEXTS[6:]]))
    seen = look(others, {"w": watched.network}, alone(cache=tmp_path / "cache"))
    assert watched.shown == COUNT + 4  # the chunk of rows 4 to 7 alone
    assert seen.of_captions("w", "length")[5] == 99


def test_a_tampered_cache_is_refused(images, tmp_path):
    folder = FolderImages(save(tmp_path / "made", pictures(COUNT)))
    look(side(folder), {"w": Watched().network}, alone(cache=tmp_path / "cache"))
    file = min((tmp_path / "cache").rglob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="has been changed since it was written"):
        look(side(folder), {"w": Watched().network}, alone(cache=tmp_path / "cache"))


def half(rank: int, chunk: int) -> dict[str, object]:
    looking.CHUNK = chunk
    watched = Watched()
    machine = Machine(World(rank, 2, torch.device("cpu")), batch_size=3)
    seen = look(side(MemoryImages(pictures(COUNT))), {"w": watched.network}, machine)
    if seen is None:
        return {"shown": watched.shown}
    return {"shown": watched.shown, "sha256": seen.sha256, **seen.layers["w"], **seen.texts["w"]}


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [4, 64])
def test_two_processes_see_what_one_sees(tmp_path, chunk):
    first, second = in_two_processes(half, tmp_path, chunk)
    reference = look(side(MemoryImages(pictures(COUNT))), {"w": Watched().network}, alone())
    assert first["sha256"] == reference.sha256
    for name, values in {**reference.layers["w"], **reference.texts["w"]}.items():
        torch.testing.assert_close(first[name], values, rtol=0, atol=0)
    assert "sha256" not in second
    assert (first["shown"], second["shown"]) == ((7, 4) if chunk == 4 else (COUNT, 0))
