"""Captions through tokenisation, packing and BERT-base: captions/s and bytes per caption.

    python bench/text_packing.py CAPTIONS_JSON VOCABULARY [--sample 1024] [--rounds 3] [--threads 1]

CAPTIONS_JSON is a captions file of COCO; VOCABULARY is a folder with vocab.txt and config_base.json of
bert-base-uncased. BERT has random weights, made here in a temporary folder: its speed does not depend on them.

All captions are tokenised and packed into shards, with vectors of zeros, as ``t2i prepare`` cuts them. A sample goes
through BERT on the CPU, in turns: as ``t2i prepare`` encodes it, in groups of 50 images' captions sorted by length;
sorted as a whole; and in the order given, padded to 17. The last two run in bfloat16 too, which prepare does not use on
the CPU. Positions are what BERT has to compute for a caption, pads included: their ratio is what sorting can save.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from t2icli.data.bert import CAPTIONS_AT_ONCE, BertEncoder
from t2icli.data.build import IMAGES_AT_ONCE
from t2icli.data.shards import ShardContent, StoredCaption, StoredImage, write_shard

WIDTH, DIM = 17, 768
CAPTIONS_PER_IMAGE = 5
GROUP = IMAGES_AT_ONCE * CAPTIONS_PER_IMAGE
IMAGES_PER_SHARD = 2000


def make_bert(folder: Path, vocabulary: Path) -> BertEncoder:
    """BERT-base with random weights."""
    from transformers import BertConfig, BertModel

    shutil.copyfile(vocabulary / "vocab.txt", folder / "vocab.txt")
    torch.manual_seed(0)
    config = BertConfig.from_json_file(vocabulary / "config_base.json")
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return BertEncoder(str(folder), WIDTH)


def groups_of(captions: list, size: int) -> list[list]:
    return [captions[start : start + size] for start in range(0, len(captions), size)]


def tokenise(encoder: BertEncoder, captions: list[str]) -> tuple[list[np.ndarray], float]:
    """Token ids of all captions, group by group as ``prepare`` does, and captions/s."""
    start = time.perf_counter()
    tokens = [ids for group in groups_of(captions, GROUP) for ids, _ in encoder.tokenize(group)]
    return tokens, len(captions) / (time.perf_counter() - start)


def pack(folder: Path, captions: list[str], tokens: list[np.ndarray]) -> tuple[float, float]:
    """Write all captions in shards, one after another in the same place; captions/s and bytes per caption."""
    size, zeros = 0, np.zeros((WIDTH, DIM), np.float16)
    start = time.perf_counter()
    pairs = list(zip(captions, tokens, strict=True))
    for group in groups_of(pairs, IMAGES_PER_SHARD * CAPTIONS_PER_IMAGE):
        images = [StoredImage(i, b"", 256, 256) for i in range(-(-len(group) // CAPTIONS_PER_IMAGE))]
        stored = [
            StoredCaption(i // CAPTIONS_PER_IMAGE, text, ids, zeros[: len(ids)]) for i, (text, ids) in enumerate(group)
        ]
        write_shard(folder / "shard.h5", ShardContent(images, stored, DIM), {})
        size += (folder / "shard.h5").stat().st_size
    return len(captions) / (time.perf_counter() - start), size / len(captions)


def positions(tokens: list[np.ndarray], group: int) -> float:
    """Positions that BERT computes for a caption, when groups are sorted by length and cut into batches."""
    lengths = [sorted(map(len, part)) for part in groups_of(tokens, group)]
    return sum(max(b) * len(b) for part in lengths for b in groups_of(part, CAPTIONS_AT_ONCE)) / len(tokens)


@torch.inference_mode()
def encode_padded(encoder: BertEncoder, captions: list[str]) -> None:
    """Everything padded to 17, in the order given, in batches of the same size."""
    for group in groups_of([ids for ids, _ in encoder.tokenize(captions)], CAPTIONS_AT_ONCE):
        ids = torch.zeros(len(group), WIDTH, dtype=torch.long)
        mask = torch.zeros(len(group), WIDTH, dtype=torch.long)
        for row, caption in enumerate(group):
            ids[row, : len(caption)] = torch.from_numpy(caption)
            mask[row, : len(caption)] = 1
        hidden = encoder.network(ids, attention_mask=mask).last_hidden_state
        for row, caption in enumerate(group):
            hidden[row, : len(caption)].half().numpy()


def encode_as_prepare(encoder: BertEncoder, captions: list[str]) -> None:
    for group in groups_of(captions, GROUP):
        encoder.encode(group)


def race(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of every way in every round: by the wall, and of the processor, which others disturb less."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return seconds


def report(seconds: dict[str, list[tuple[float, float]]], captions: int, against: str) -> None:
    for name, values in seconds.items():
        rates = [captions / statistics.median(v[clock] for v in values) for clock in (0, 1)]
        ratios = [
            statistics.median(b[clock] / a[clock] for a, b in zip(values, seconds[against], strict=True))
            for clock in (0, 1)
        ]
        print(
            f"  {name:32} {rates[0]:6.1f} captions/s, {ratios[0]:.2f} times as fast; "
            f"by processor time {rates[1]:6.1f}, {ratios[1]:.2f} times"
        )


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path)
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("--sample", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    captions = [row["caption"] for row in json.loads(options.captions.read_text(encoding="utf-8"))["annotations"]]
    with tempfile.TemporaryDirectory() as folder:
        encoder = make_bert(Path(folder), options.vocabulary)
        tokens, rate = tokenise(encoder, captions)
        mean = sum(map(len, tokens)) / len(tokens)
        print(f"{len(captions):,} captions, {mean:.2f} tokens each (no more than {WIDTH}), torch {torch.__version__}")
        print(f"tokenised: {rate:,.0f} captions/s")
        rate, size = pack(Path(folder), captions, tokens)
        padded = size + (WIDTH - mean) * (4 + 2 * DIM)
        print(f"packed: {rate:,.0f} captions/s; {size:,.0f} bytes each, padded {padded:,.0f} ({padded / size:.2f})")
        for name, group in (("in groups of 50 images", GROUP), ("as a whole", len(tokens))):
            computed = positions(tokens, group)
            print(f"positions, sorted {name}: {computed:.2f} a caption; padded {WIDTH}: {WIDTH / computed:.2f} times")
        chosen = np.random.default_rng(0).permutation(len(captions))[: options.sample]
        sample = [captions[i] for i in chosen]
        brief = BertEncoder(folder, WIDTH)
        brief.network.bfloat16()
        for either in (encoder, brief):
            either.encode(sample[:CAPTIONS_AT_ONCE])
        ways: dict[str, Callable[[], object]] = {
            "padded to 17": lambda: encode_padded(encoder, sample),
            "as prepare: groups of 50 images": lambda: encode_as_prepare(encoder, sample),
            "sorted as a whole": lambda: encoder.encode(sample),
            "padded to 17, bfloat16": lambda: encode_padded(brief, sample),
            "sorted as a whole, bfloat16": lambda: brief.encode(sample),
        }
        print(f"BERT-base, {len(sample):,} captions, {options.threads} threads, {options.rounds} rounds in turns:")
        report(race(ways, options.rounds), len(sample), "padded to 17")


if __name__ == "__main__":
    main()
