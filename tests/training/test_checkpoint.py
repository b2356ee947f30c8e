"""States: whole, fitting and finite, or passed over in words; nothing of a bad one is ever taken over."""

import copy
import json
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import Adam

from t2icli.ending import ending
from t2icli.errors import DataError
from t2icli.storage import sha256
from t2icli.training.checkpoint import Checkpoint, Hashed
from t2icli.training.run import write_card

CPU = torch.device("cpu")


def made(run: Path) -> Checkpoint:
    """A small network, channels last as generators are, after one update of fused Adam."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)
    optimizer = Adam(network.parameters(), fused=True)
    checkpoint = Checkpoint(run, {"data": "d"}, networks=network, optimizer=optimizer)
    learn(checkpoint)
    return checkpoint


def learn(checkpoint: Checkpoint) -> None:
    network, optimizer = checkpoint.parts["networks"], checkpoint.parts["optimizer"]
    network(torch.randn(2, 2, 5, 5)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def content(checkpoint: Checkpoint) -> str:
    return str(checkpoint.part_states())


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path, str]:
    """A run with two states; the newer one's path, and what is in the older one."""
    checkpoint = made(tmp_path)
    checkpoint.save(1)
    older = content(checkpoint)
    learn(checkpoint)
    checkpoint.save(2)
    return tmp_path, tmp_path / "state" / "0000000002.pt", older


def resave(run: Path, path: Path, state: object) -> None:
    """A state as if it had been saved so: with its hash on the card."""
    torch.save(state, path)
    card = json.loads((run / "card.json").read_text())
    write_card(run, {"states": card["states"] | {path.name: sha256(path)}})


def goes_back(run: Path, older: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said when the newer state is passed over; the older one is taken over whole."""
    checkpoint = made(run)
    assert checkpoint.load_if_present(CPU) == 1
    assert content(checkpoint) == older
    said = capsys.readouterr().err
    assert "0000000002.pt: " in said and said.rstrip().endswith("trying the one before it")
    return said


def test_what_is_saved_is_loaded(saved, capsys) -> None:
    run, path, older = saved
    checkpoint = made(run)
    assert checkpoint.load_if_present(CPU) == 2
    assert content(checkpoint) != older
    assert torch.load(path, weights_only=True)["networks"].keys() == checkpoint.parts["networks"].state_dict().keys()
    hashes = json.loads((run / "card.json").read_text())["states"]
    assert hashes == {file.name: sha256(file) for file in (run / "state").iterdir()}
    assert capsys.readouterr().err == ""


def places(path: Path, count: int) -> list[int]:
    """Bytes all over a zip: some by chance, some of every record's header and content, and the directory at the end."""
    chance = random.Random(0)
    found = [chance.randrange(path.stat().st_size) for _ in range(count)]
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            found += [record.header_offset + 14, record.header_offset + 28, record.header_offset + 64]
        found += [archive.start_dir + offset for offset in (0, 10, 16, 20, 28, 42, 46)]
    return [*found, *range(path.stat().st_size - 22, path.stat().st_size)]


def test_every_turned_bit_leads_to_the_state_before(saved, capsys) -> None:
    run, path, older = saved
    whole = path.read_bytes()
    for place in places(path, 60):
        turned = bytearray(whole)
        turned[place] ^= 1 << place % 8
        path.write_bytes(turned)
        assert "cannot be read: damaged, its content is not what was saved" in goes_back(run, older, capsys)


def test_of_older_versions_every_turned_bit_that_matters(saved, capsys) -> None:
    """Their states have no hash, but the zip's checksums; what those do not cover changes nothing that is loaded."""
    run, path, older = saved
    write_card(run, {"states": {}})
    checkpoint = made(run)
    checkpoint.load_if_present(CPU)
    newer, whole, found = content(checkpoint), path.read_bytes(), 0
    for place in places(path, 60):
        turned = bytearray(whole)
        turned[place] ^= 1 << place % 8
        path.write_bytes(turned)
        step = checkpoint.load_if_present(CPU)
        assert content(checkpoint) == (older, newer)[step - 1]
        found += step == 1
    assert found > 30


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: b"", r"it is empty \(0 bytes\)"),
        (lambda whole: bytes(len(whole)), "it holds zeros only"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (lambda whole: whole[:-1], "damaged"),
        (lambda whole: whole[: len(whole) // 2], "damaged"),
        (lambda whole: whole + b"\0", "damaged"),
        (lambda whole: b"no state", "damaged"),
    ],
)
def test_other_files_lead_to_the_state_before(saved, capsys, damage, message: str) -> None:
    run, path, older = saved
    path.write_bytes(damage(path.read_bytes()))
    said = goes_back(run, older, capsys)
    assert message.replace("\\", "") in said


def change(where: str, value: object):
    def changed(state: dict) -> None:
        *path, last = where.split("/")
        for key in path:
            state = state[int(key) if key.isdecimal() else key]
        if value is None:
            del state[last]
        else:
            state[int(last) if last.isdecimal() else last] = value

    return changed


FLAT = torch.zeros(1).expand(3, 2, 3, 3)  # of the right shape, with the memory of a single number


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (change("networks/0.weight", torch.zeros(3, 2, 3, 2)), "networks: 0.weight is (3, 2, 3, 2), should be"),
        (change("networks/0.weight", torch.zeros(3, 2, 3, 3).half()), "networks: 0.weight is torch.float16"),
        (change("networks/0.bias", None), "networks: lacks 0.bias (3,)"),
        (change("networks/more", torch.zeros(1)), "networks: has more, which is not known"),
        (change("networks/0.bias", 3), "networks: is no state dict"),
        (change("networks/0.bias", torch.tensor([0, float("inf"), 0])), "not finite (networks.0.bias)"),
        (change("optimizer/state/0/exp_avg", torch.zeros(1)), "parameter 0: exp_avg is (1,), should be (3, 2, 3, 3)"),
        (change("optimizer/state/0/exp_avg_sq", torch.zeros(3, 2, 3, 3).double()), "exp_avg_sq is torch.float64"),
        (change("optimizer/state/1/exp_avg", None), "should have step, exp_avg and exp_avg_sq"),
        (change("optimizer/state/1/exp_avg", 0.5), "has moments that are no tensors"),
        (change("optimizer/state/1/exp_avg", torch.full((3,), float("nan"))), "not finite (optimizer.state.1.exp_avg)"),
        (change("optimizer/state/1/step", torch.tensor(-1.0)), "step should be a whole number, and is -1.0"),
        (change("optimizer/state/1/step", torch.tensor(0.5)), "step should be a whole number, and is 0.5"),
        (change("optimizer/state/1/step", torch.tensor(float("nan"))), "step should be a whole number, and is nan"),
        (change("optimizer/state/1/step", torch.ones(2)), "step should be a whole number, and is [1.0, 1.0]"),
        (change("optimizer/state/1", []), "should have step"),
        (change("optimizer/state/9", {}), "has moments of parameter 9, which is not there"),
        (change("optimizer/param_groups/0/params", [1, 0, 2, 3]), "optimizer: is of other parameters"),
        (change("optimizer/param_groups", 3), "optimizer: is of other parameters"),
        (change("optimizer", []), "optimizer: is no state of an optimizer"),
        (change("optimizer", None), "it lacks optimizer"),
        (change("step", "2"), "its step a whole number"),
        (change("facts", []), "its facts should be a table"),
        (change("seeds", "dice"), "seeded by a rule 'dice'"),
    ],
)
def test_what_does_not_fit_leads_to_the_state_before(saved, capsys, changed, message: str) -> None:
    run, path, older = saved
    state = torch.load(path, weights_only=True)
    changed(state)
    resave(run, path, state)
    assert message in goes_back(run, older, capsys)


@pytest.mark.parametrize("other", [[1, 2], torch.zeros(3), {"a": torch.zeros(3)}, "text", None])
def test_another_kind_of_content_leads_to_the_state_before(saved, capsys, other: object) -> None:
    run, path, older = saved
    resave(run, path, other)
    assert "is no state" in goes_back(run, older, capsys)


def test_moments_lie_in_memory_as_their_parameters_do(saved) -> None:
    """Fused Adam takes both for one stretch of memory: a moment with strides of its own would be another's numbers."""
    run, path, _ = saved
    state = torch.load(path, weights_only=True)
    moments = copy.deepcopy(state["optimizer"]["state"][0])
    state["optimizer"]["state"][0] |= {"exp_avg": moments["exp_avg"].contiguous(), "exp_avg_sq": FLAT}
    resave(run, path, state)
    checkpoint = made(run)
    assert checkpoint.load_if_present(CPU) == 2
    weight = checkpoint.parts["networks"][0].weight
    taken = checkpoint.parts["optimizer"].state[weight]
    assert taken["exp_avg"].stride() == taken["exp_avg_sq"].stride() == weight.stride()
    assert taken["exp_avg"].untyped_storage().nbytes() == taken["exp_avg_sq"].untyped_storage().nbytes() == 4 * 54
    assert torch.equal(taken["exp_avg"], moments["exp_avg"])
    learn(checkpoint)


def test_none_left_is_refused_with_what_to_do(saved) -> None:
    run, path, _ = saved
    for state in (run / "state").iterdir():
        state.write_bytes(b"")
    checkpoint = made(run)
    before = content(checkpoint)
    with pytest.raises(DataError, match=r"none of 2 states can be read: .*2.pt: .*empty.*start again with --new"):
        checkpoint.load_if_present(CPU)
    assert content(checkpoint) == before


def test_a_state_that_was_passed_over_goes_when_the_next_is_whole(saved, capsys) -> None:
    """Else one of a smaller number would be older than it, and would be the one that is thrown away."""
    run, path, older = saved
    learning = made(run)
    learning.save(5)
    (run / "state" / "0000000005.pt").write_bytes(b"")
    checkpoint = made(run)
    assert checkpoint.load_if_present(CPU) == 2
    checkpoint.save(3)
    assert [file.name for file in sorted((run / "state").iterdir())] == ["0000000002.pt", "0000000003.pt"]
    assert made(run).load_if_present(CPU) == 3


def test_other_files_beside_states_are_let_alone(saved) -> None:
    run, path, _ = saved
    (run / "state" / "best.pt").write_bytes(b"somebody's own")
    remains = [run / ".card.json.0a.tmp", run / "state" / ".0000000003.pt.0a.tmp"]
    remains.append(run / "weights" / ".generator.safetensors.0a.tmp")
    for left in remains:
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"half")
    assert made(run).load_if_present(CPU) == 2
    assert not any(left.exists() for left in remains)  # of killed saves
    assert (run / "state" / "best.pt").exists()


@pytest.mark.parametrize("room", [0, 700, 3000])
def test_a_disk_that_fills_up_is_told_as_such_and_the_older_states_are_whole(saved, monkeypatch, capsys, room) -> None:
    """The system's own error, through torch's zip writer, which makes another one of it."""
    run, path, _ = saved
    original = Hashed.write

    def short(self: Hashed, part: bytes) -> int:
        if self.file.tell() + len(part) > room:
            raise OSError(28, "No space left on device")
        return original(self, part)

    before = {file.name: file.read_bytes() for file in (run / "state").iterdir()}
    checkpoint = made(run)
    with monkeypatch.context() as patch:
        patch.setattr(Hashed, "write", short)
        with pytest.raises(SystemExit) as end, ending():
            checkpoint.save(3)
    assert end.value.code == 8
    assert "no space left at" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in (run / "state").iterdir()} == before
    assert made(run).load_if_present(CPU) == 2


def test_a_kill_between_the_card_and_the_state_loses_nothing(saved, monkeypatch) -> None:
    run, path, _ = saved

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Path, "replace", killed_after_the_card(Path.replace, killed))
        made(run).save(3)
    assert "0000000003.pt" in json.loads((run / "card.json").read_text())["states"]
    assert made(run).load_if_present(CPU) == 2


def killed_after_the_card(replace, killed):
    return lambda self, target: replace(self, target) if Path(target).name == "card.json" else killed()


def test_what_is_not_finite_is_named(tmp_path: Path) -> None:
    checkpoint = made(tmp_path)
    assert checkpoint.not_finite() == []
    checkpoint.parts["networks"][0].weight.data[0, 0, 0, 0] = float("inf")
    checkpoint.parts["optimizer"].state[checkpoint.parts["networks"][0].bias]["exp_avg"][1] = float("nan")
    assert checkpoint.not_finite() == ["networks.0.weight", "optimizer.state.1.exp_avg"]
