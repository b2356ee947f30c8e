"""What is kept of captions before anything is written, and what a plan depends on."""

import json
from functools import partial
from pathlib import Path

import pytest

from t2icli.data import prepare as prepare_module
from t2icli.data.plan import LONGEST_CAPTION, clean_caption, make_plan, trimmed_caption
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.source import Record, Source
from t2icli.data.text_encoder import NoEncoder
from t2icli.errors import DataError
from t2icli.evaluation.soa.labels import labels_of
from t2icli.recipe_files import load_data_recipe

FOREIGN = ["кот сидит на столе", "قطة على الطاولة", "一只猫坐在桌子上"]


def captions_of(shards: Path) -> tuple[list[str], list[str]]:
    """Captions of the training split, and the reasons for which others were left out."""
    folder = ShardFolder(shards, "train")
    places = [folder.locate(i) for i in range(len(folder))]
    kept = [shard.text(number) for shard, row in places for number in shard.captions(row)]
    quarantine = shards / "quarantine.jsonl"
    lines = quarantine.read_text().splitlines() if quarantine.is_file() else []
    return kept, [json.loads(line)["reason"] for line in lines]


def with_captions(pictures: Path, captions: list[str]) -> None:
    lines = (pictures / "captions.jsonl").read_text().splitlines()
    lines[0] = json.dumps({"file": "000.png", "captions": captions})
    (pictures / "captions.jsonl").write_text("\n".join(lines))


def test_other_alphabets_are_read_by_a_bert(prepared, pictures: Path, tmp_path: Path) -> None:
    with_captions(pictures, [*FOREIGN, "!?", "a red bus"])
    prepared(pictures, tmp_path / "bert", "reader.val_share=0")
    kept, reasons = captions_of(tmp_path / "bert")
    assert {*FOREIGN, "a red bus"} <= {*kept}
    assert reasons == ["caption has no word: '!?'"]
    prepared(pictures, tmp_path / "none", "reader.val_share=0", "text.model=none")
    kept, reasons = captions_of(tmp_path / "none")
    assert "a red bus" in kept and not {*FOREIGN} & {*kept}
    latin = "caption has no word in Latin letters, which are all that matchers read"
    assert reasons == [*(f"{latin}: {caption!r}" for caption in FOREIGN), "caption has no word: '!?'"]


def test_a_caption_of_millions_of_characters_goes_nowhere(prepared, pictures: Path, tmp_path: Path) -> None:
    longest = "word " * (LONGEST_CAPTION // 5)
    with_captions(pictures, ["bus " * 250_000, longest])
    prepared(pictures, tmp_path / "out", "reader.val_share=0")
    kept, reasons = captions_of(tmp_path / "out")
    assert longest in kept
    assert reasons == [f"caption has 1,000,000 characters, more than 10,000: {('bus ' * 15)!r}..."]


def test_where_a_list_lies_is_no_part_of_the_plan(tmp_path: Path) -> None:
    picture = tmp_path / "1.png"
    picture.write_bytes(b"x")
    source = Source("coco", {"train": [Record(1, picture, ("a bus",))]})

    def plan(*keys: str) -> str:
        recipe = load_data_recipe("coco", ["text.model=none", "reader.split=karpathy", *keys])
        return make_plan(recipe, source, tmp_path, NoEncoder(17).identity).hash

    assert plan("reader.karpathy=here.json") == plan("reader.karpathy=/elsewhere/there.json")
    assert plan() != plan("seed=1")


@pytest.mark.parametrize("key", ["text.precision=bfloat16", "text.captions=shortest", "text.embeddings=online"])
def test_what_shards_hold_is_part_of_the_plan(key: str, prepared, pictures: Path, tmp_path: Path) -> None:
    prepared(pictures, tmp_path / "out")
    with pytest.raises(DataError, match=key.split("=")[0].split(".")[1]):
        prepared(pictures, tmp_path / "out", key)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("a bus ", "a bus "),
        (" a  plane  of\u00a0old", " a  plane  of\u00a0old"),
        ("a bus\n", "a bus"),
        ("a bus \r\n", "a bus "),
        ("\ta bus", "a bus"),
        ("a\tbus\x07 and\x00 nul", "a bus and nul"),
        ("one\r\ntwo\u2028three", "one two three"),
        ("\u200fright \u202eto left\u200b", "right to left"),
        ("half \ud83d", "half "),
        ("\n \x00", " "),
    ],
)
def test_captions_stay_as_they_are_written(given: str, written: str) -> None:
    assert clean_caption(given) == written
    assert clean_caption(written) == written
    assert trimmed_caption(given) == " ".join(written.split())


@pytest.mark.shared
def test_no_label_of_soa_is_lost_on_the_way_to_the_shards(shared: Path) -> None:
    """Of COCO's 202,654 captions to validate with, those that are not plain letters with single spaces within."""
    file = shared / "data" / "coco-captions" / "captions_val2014.json"
    captions = [row["caption"] for row in json.loads(file.read_text())["annotations"]]
    odd = [caption for caption in captions if caption != trimmed_caption(caption)]
    assert len(odd) > 30_000
    named = [labels_of(caption) for caption in odd]
    assert [labels_of(clean_caption(caption)) for caption in odd] == named
    assert sum(labels_of(trimmed_caption(c)) != labels for c, labels in zip(odd, named, strict=True)) == 1889


def test_folders_of_older_versions_go_on_by_their_own_rule(
    prepared, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_captions(pictures, ["a red bus ", " a  bus"])
    out = tmp_path / "out"
    with monkeypatch.context() as older:
        older.setattr(prepare_module, "make_plan", partial(make_plan, written=trimmed_caption))
        prepared(pictures, out, "reader.val_share=0.0")
    before = {path.name: path.read_bytes() for path in out.glob("*-*-of-*.h5")}
    prepared(pictures, out, "reader.val_share=0.0")
    said = " ".join(capsys.readouterr().err.split())
    assert "was begun by an older version of t2i, which stored captions without the spaces at their ends" in said
    assert "already prepared" in said
    next(iter(out.glob("*-*-of-*.h5"))).unlink()
    prepared(pictures, out, "reader.val_share=0.0")  # and what is missing is made by the old rule too
    assert {path.name: path.read_bytes() for path in out.glob("*-*-of-*.h5")} == before
    prepared(pictures, out, "reader.val_share=0.0", overwrite=True)
    assert captions_of(out)[0][:2] == ["a red bus ", " a  bus"]
    with_captions(pictures, ["another bus "])
    with pytest.raises(DataError, match="raw data: not the same"):
        prepared(pictures, out, "reader.val_share=0.0")
