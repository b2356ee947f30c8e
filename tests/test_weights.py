import hashlib
import pickle
import sys
from pathlib import Path
from subprocess import run

import pytest
import torch
from safetensors.torch import save_file

from t2icli import weights
from t2icli.errors import EnvironmentFault, UserError
from t2icli.known_weights import Known, Model, Published
from t2icli.weights import Weights


@pytest.fixture(autouse=True)
def empty_places(tmp_path, monkeypatch):
    """No weights anywhere, and no download."""
    monkeypatch.setenv("T2I_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("T2I_OFFLINE", "1")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A network whose published file is ours; gives that file's content."""
    source = tmp_path / "origin" / "tiny-source.pth"
    source.parent.mkdir()
    torch.save({"weight": torch.arange(3.0)}, source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    published = Published(f"tiny-{digest[:8]}.pth", source.as_uri(), digest[:8])
    monkeypatch.setattr(weights, "KNOWN", (Known("tiny", "a test's weights", (published,)),))
    return source


def published_name() -> str:
    return weights.KNOWN[0].files[0].file


def place(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / published_name()).write_bytes(content)
    return folder / published_name()


def test_given_path_comes_before_every_other_place(tiny, tmp_path):
    place(tmp_path / "weights", tiny.read_bytes())
    found = Weights([f"tiny={tiny}"]).find("tiny")
    assert (found.path, found.published, found.note) == (tiny, True, "")


def test_t2i_weights_comes_before_torch_hub(tiny, tmp_path):
    hub = place(tmp_path / "torch" / "hub" / "checkpoints", tiny.read_bytes())
    assert Weights().find("tiny").path == hub
    own = place(tmp_path / "weights", tiny.read_bytes())
    found = Weights().find("tiny")
    assert found.path == own
    assert found.record() == {
        "name": "tiny",
        "file": own.name,
        "sha256": hashlib.sha256(tiny.read_bytes()).hexdigest(),
        "published": True,
    }


def test_default_folders(monkeypatch):
    for variable in ("T2I_WEIGHTS", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert weights.weights_folder() == Path("~/.cache/t2i/weights").expanduser()
    assert weights.torch_hub_folder() == Path(torch.hub.get_dir()) / "checkpoints"


def test_download_where_it_is_allowed(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("T2I_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    found = Weights().find("tiny")
    assert found.path == tmp_path / "weights" / published_name()
    assert found.path.read_bytes() == tiny.read_bytes()
    assert [path.name for path in found.path.parent.iterdir()] == [published_name()]


def test_failed_download_says_why_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("T2I_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    tiny.unlink()
    with pytest.raises(EnvironmentFault, match=r"the download failed .*No such file"):
        Weights().find("tiny")
    assert not list(tmp_path.glob("weights/*"))


def test_download_of_something_else_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("T2I_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    tiny.write_bytes(b"a login page")
    with pytest.raises(EnvironmentFault, match="what arrived is another file"):
        Weights().find("tiny")
    assert not list(tmp_path.glob("weights/*"))


@pytest.mark.parametrize("variable", ["T2I_OFFLINE", "HF_HUB_OFFLINE"])
def test_weights_that_cannot_be_had(variable, tmp_path, monkeypatch):
    monkeypatch.delenv("T2I_OFFLINE")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(EnvironmentFault) as fault:
        Weights().find("inception-tf")
    message = str(fault.value)
    assert fault.value.exit_code == 5
    assert f"{variable} forbids a download" in message
    assert str(tmp_path / "weights" / "weights-inception-2015-12-05-6726825d.pth") in message
    assert str(tmp_path / "weights" / "pt_inception-2015-12-05-6726825d.pth") in message
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth") in message
    assert "https://github.com/toshas/torch-fidelity/releases/download/" in message
    assert "--weights inception-tf=PATH" in message


def test_wrong_file_under_the_published_name_is_refused(tiny, tmp_path):
    path = place(tmp_path / "weights", b"not these")
    expected = weights.KNOWN[0].files[0].sha256
    with pytest.raises(EnvironmentFault) as fault:
        Weights().find("tiny")
    for part in (str(path), hashlib.sha256(b"not these").hexdigest(), f"begin with {expected}", "not the published"):
        assert part in str(fault.value)


def test_other_weights_may_be_given_and_are_marked(tiny, tmp_path):
    path = tmp_path / "mine.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    found = Weights([f"tiny={path}"]).find("tiny")
    assert not found.published
    assert found.record()["published"] is False
    assert "not the published tiny weights" in found.record()["note"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("inception-tf", "should be NAME=PATH"),
        ("=x", "should be NAME=PATH"),
        ("resnet50=", "should be NAME=PATH"),
        ("inceptiontf=x", "did you mean 'inception-tf'"),
        ("zzz=x", "available: clip-vit-b-32, .*inception-tf, .*yolov3"),
    ],
)
def test_option_that_means_nothing(option, message):
    with pytest.raises(UserError, match=message) as fault:
        Weights([option])
    assert fault.value.exit_code == 2


def test_unknown_name_and_double_name():
    with pytest.raises(UserError, match="there is no 'vgg'; did you mean 'vgg19'"):
        Weights().find("vgg")
    with pytest.raises(UserError, match="vgg19: given twice"):
        Weights(["vgg19=a", "vgg19=b"])


def test_given_path_that_is_no_file(tmp_path):
    with pytest.raises(EnvironmentFault, match=r"there is no such file .published as vgg19-dcbb9e9d.pth"):
        Weights([f"vgg19={tmp_path / 'none.pth'}"]).find("vgg19")
    with pytest.raises(EnvironmentFault, match="is a folder; it should be the file itself"):
        Weights([f"vgg19={tmp_path}"]).find("vgg19")


class Hostile:
    def __reduce__(self):
        return print, ("code of a weights file was run",)


def test_loading_runs_no_code(tiny, tmp_path, capsys):
    assert torch.equal(weights.load(Weights([f"tiny={tiny}"]).find("tiny"))["weight"], torch.arange(3.0))
    path = tmp_path / "hostile.pth"
    torch.save({"weight": Hostile()}, path)
    with pytest.raises(EnvironmentFault, match=r"hostile.pth: cannot be read as PyTorch weights"):
        weights.load(Weights([f"tiny={path}"]).find("tiny"))
    assert "code of a weights file was run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"hello", "a text that begins with 'hello'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer"),
        (pickle.dumps([1, 2], protocol=2), "a pickle"),
    ],
)
def test_loading_what_is_no_weights_file(tiny, tmp_path, content, what):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(EnvironmentFault, match=f"bad.pth: cannot be read as PyTorch weights of tiny: .*{what}"):
        weights.load(Weights([f"tiny={path}"]).find("tiny"))


def test_weights_may_be_safetensors(tiny, tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "own.safetensors")
    assert torch.equal(
        weights.load(Weights([f"tiny={tmp_path / 'own.safetensors'}"]).find("tiny"))["weight"], torch.ones(2)
    )


def test_loading_something_else_than_a_state_dict(tiny, tmp_path):
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(1)], path)
    with pytest.raises(EnvironmentFault, match="should hold a state dict"):
        weights.load(Weights([f"tiny={path}"]).find("tiny"))


def test_table_agrees_with_the_published_names():
    for row in weights.KNOWN:
        for published in row.files:
            assert published.url.endswith(published.file)
            stem, dash, prefix = published.file.removesuffix(".pth").rpartition("-")
            assert not dash or published.sha256.startswith(prefix), stem
            assert len(published.sha256) in (8, 64)


def test_import_needs_no_torch():
    code = "import sys, t2icli.weights; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------------------- models of the hub, and own ones


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A hub's model whose weights are ours; gives a folder of it."""
    folder = tmp_path / "hub-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    row = Known("clip", "a test's model", model=Model("somebody/clip", sha256=frozenset({digest})))
    monkeypatch.setattr(weights, "KNOWN", (row, Known("own", "a matcher that you trained")))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return folder


def test_a_folder_that_is_given(model):
    found = Weights([f"clip={model}"]).find("clip")
    assert (found.path, found.published, found.note) == (model, True, "")
    (model / "model.safetensors").write_bytes(b"others")
    found = Weights([f"clip={model}"]).find("clip")
    assert found.published is False
    assert "not known to be the weights of somebody/clip" in found.record()["note"]


def test_a_folder_in_t2i_weights(model, tmp_path):
    (tmp_path / "weights").mkdir()
    model.rename(tmp_path / "weights" / "clip")
    assert Weights().find("clip").path == tmp_path / "weights" / "clip"


def test_what_the_hub_has_is_published(model, monkeypatch):
    asked = []

    def snapshot(row, local):
        asked.append(local)
        if local:
            raise FileNotFoundError("not in the cache")
        return model

    monkeypatch.setattr(weights, "snapshot", snapshot)
    (model / "model.safetensors").write_bytes(b"newer than this program")
    found = Weights().find("clip")
    assert (found.path, found.published, asked) == (model, True, [True, False])


def test_models_that_cannot_be_had(model, tmp_path):
    with pytest.raises(EnvironmentFault) as fault:
        Weights().find("clip")
    assert "no --weights clip=FOLDER" in str(fault.value)
    assert "T2I_OFFLINE forbids it" in str(fault.value)
    assert str(tmp_path / "weights" / "clip") in str(fault.value)
    for path, message in (
        (tmp_path / "absent", "no such folder; it should be a folder as Hugging Face has it .somebody/clip"),
        (model / "config.json", "no such folder"),
        (tmp_path, "lacks model.safetensors or pytorch_model.bin or config.json"),
    ):
        with pytest.raises(EnvironmentFault, match=message):
            Weights([f"clip={path}"]).find("clip")


def test_weights_that_nobody_publishes(model, tmp_path):
    with pytest.raises(EnvironmentFault, match="own: a matcher that you trained; say where .*--weights own=PATH"):
        Weights().find("own")
    with pytest.raises(EnvironmentFault, match="there is no such file; it should be a matcher that you trained"):
        Weights([f"own={tmp_path / 'absent'}"]).find("own")
    found = Weights([f"own={model / 'config.json'}"]).find("own")
    assert (found.published, len(found.sha256)) == (None, 64)
