"""A recipe's slips are told before torch is imported, and the outline knows every key that the whole check knows."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from t2icli import registry
from t2icli.errors import DataError, RecipeError
from t2icli.outline import fields_of, look_over
from t2icli.recipe_files import kind_of, read, shipped, shipped_folder

ROOMS = ("t2icli.systems", "t2icli.terms", "t2icli.encoders")
MODULES = [(room, name) for room in ROOMS for name in registry.available(room)]


@pytest.mark.parametrize(("room", "name"), MODULES, ids=lambda part: part.rpartition(".")[2])
def test_keys_read_from_the_source_are_those_of_the_class(room: str, name: str) -> None:
    config = registry.load(room, name).Config
    assert list(fields_of(f"{room}.{name}", "Config")) == list(config.model_fields)


def test_every_shipped_recipe_has_a_right_outline() -> None:
    for name in shipped():
        raw = read(shipped_folder() / f"{name}.toml")
        if kind_of(raw) in ("system", "encoder"):
            try:
                assert look_over(name, [], kind_of(raw)) == raw["data"]
            except DataError as fault:  # its matcher has not been trained here
                assert "no such encoder; train one with t2i pretrain-encoders" in str(fault)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("xmcgan", "typo", "--set typo: should be KEY=VALUE"),
        ("xmcgan", "train.sede=1", "train.sede: unknown key; did you mean 'seed'"),
        ("xmcgan", "train.seed=-1", "train.seed: input should be greater"),
        ("xmcgan", "model.noise_dmi=1", "model.noise_dmi: unknown key; did you mean 'noise_dim'"),
        ("xmcgan", "model.contrastive.wrod=1", "model.contrastive.wrod: unknown key; did you mean 'word'"),
        ("attngan-cub", "model.stage=1", "model.stage: unknown key; did you mean 'stages'"),
        ("attngan-cub", "terms.damsm.weigth=1", "terms.damsm.weigth: unknown key; did you mean 'weight'"),
        ("xmcgan", "terms.damms.weight=1", "there is no 'damms'; did you mean 'damsm'"),
        ("xmcgan", "terms=1", "terms: input should be"),
        ("xmcgan", "model=1", "model: input should be"),
        ("xmcgan", "text=1", "text: input should be"),
        ("xmcgan", "system=1", "system: should be a name"),
        ("xmcgan", "sytem=1", "sytem: unknown key; did you mean 'system'"),
        ("damsm-cub", "model.gama1=1", "model.gama1: unknown key; did you mean 'gamma1'"),
        ("damsm-cub", "model.schedule.rat=1", "model.schedule.rat: unknown key; did you mean 'rate'"),
    ],
)
def test_slips(name: str, change: str, message: str) -> None:
    kind = kind_of(read(shipped_folder() / f"{name}.toml"))
    with pytest.raises(RecipeError) as refused:
        look_over(name, [change], kind)
    assert message in str(refused.value)


def test_all_slips_at_once() -> None:
    with pytest.raises(RecipeError) as refused:
        look_over("xmcgan", ["train.sede=1", "model.noise_dmi=1"], "system")
    lines = str(refused.value).splitlines()
    assert len(lines) == 2 and all(line.startswith(f"{shipped_folder() / 'xmcgan.toml'}: ") for line in lines)


def test_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    for change in (f"text.matcher={tmp_path / 'gone'}", f"terms.damsm.matcher={tmp_path / 'gone'}"):
        with pytest.raises(DataError, match=rf"{change.split('=')[0]} = .*gone: no such encoder; train one"):
            look_over("xmcgan", [change], "system")
    weightless = [f"terms.damsm.matcher={tmp_path / 'gone'}", "terms.damsm.weight=0"]
    assert (
        look_over("xmcgan", weightless, "system")
        == tomllib.loads((shipped_folder() / "xmcgan.toml").read_text(encoding="utf-8"))["data"]
    )


@pytest.mark.parametrize(
    ("verb", "arguments", "code"),
    [
        ("train", ["xmcgan", "--set", "train.sede=1"], 3),
        ("train", ["xmcgan", "--set", "model.noise_dmi=1"], 3),
        ("train", ["xmcgan"], 4),  # shards that are not there
        ("train", ["attngan-cub"], 4),  # its matcher is not there
        ("train", ["xmcgan", "--run", "/dev/null/run"], 2),
        ("train", ["xmcgan", "--weights", "resnet51=x"], 2),
        ("pretrain-encoders", ["damsm-cub"], 4),
        ("prepare", ["coco", "--root", "gone"], 4),
        ("prepare", ["coco", "--set", "text.modle=x"], 3),
        ("quickstart", ["--set", "train.sede=1"], 3),
        ("runs", ["ls"], 0),
    ],
)
def test_the_program_tells_before_it_imports_torch(verb: str, arguments: list[str], code: int, tmp_path: Path) -> None:
    check = (
        "import sys, time\n"
        "from t2icli.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'transformers', 'h5py'} & set(sys.modules)\n"
        "    print(heavy or '', time.process_time())\n"
    )
    command = [sys.executable, "-c", check, verb, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    *heavy, seconds = done.stdout.splitlines()[-1].split()
    assert not heavy
    assert float(seconds) < 2  # 0.5 to 0.8 s here, on a busy machine
    assert list(tmp_path.iterdir()) == []
