"""What is kept of captions before anything is written, and what a plan depends on."""

import json
from pathlib import Path

import pytest

from t2icli.data.plan import LONGEST_CAPTION, make_plan
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.source import Record, Source
from t2icli.data.text_encoder import NoEncoder
from t2icli.errors import DataError
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
    assert longest.strip() in kept
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
