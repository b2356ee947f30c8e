"""Images are shown to networks once, whatever the batches, processes and ends in between."""

from pathlib import Path

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
        self.network = Network({"network": name}, self.layers, self.texts)

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
