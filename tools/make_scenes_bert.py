"""Makes ``t2icli/assets/scenes-bert``, the small BERT that comes with t2i.

    python tools/make_scenes_bert.py            about 4 minutes on two cores; the same seed gives the same weights
    python tools/make_scenes_bert.py --steps 20 --out /tmp/bert      a quick try

It reads captions of drawn scenes, none of which shares a random stream with any drawn data set, and learns two
things at once: to name masked words, and to let the mean of a caption's vectors (and BERT's own pooled
vector) say place, categories, colours and which colour belongs to which category. Now and then words of
everyday English are put between the others, so that the rest of the vocabulary is something to be read past.
"""

import argparse
import json
import math
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer

from t2icli.data.scenes import CATEGORIES, COLOURS, PLACES, compose, describe, understand
from t2icli.data.scenes.understanding import NOUNS, PLACE_WORDS

HERE = Path(__file__).parent
OUT = HERE.parent / "t2icli" / "assets" / "scenes-bert"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENDINGS = [
    "s",
    "es",
    "ed",
    "er",
    "est",
    "ing",
    "ly",
    "y",
    "ies",
    "en",
    "ion",
    "al",
    "ful",
    "less",
    "ness",
    "ment",
    "man",
    "men",
    "way",
    "ball",
    "board",
    "light",
]
# Random streams of scenes used here; those of drawn data sets have three numbers, these have two.
TRAINING_STREAM, HELD_OUT_STREAM = 7001, 7002
MAX_TOKENS = 28
BATCH, RATE = 192, 2e-3


class Heads(nn.Module):
    """What a sentence vector should tell: linear, so that the vectors must carry it plainly."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Linear(width, len(PLACES) + 1)  # the last: not said
        self.category = nn.Linear(width, len(CATEGORIES))
        self.named_colours = nn.Linear(width, len(COLOURS))
        self.colour = nn.Linear(width, len(CATEGORIES) * len(COLOURS))

    def loss(self, sentence: Tensor, label: dict[str, Tensor]) -> Tensor:
        """Cross entropies of place, categories and colours; which colour is whose only where one is said."""
        category = F.binary_cross_entropy_with_logits(self.category(sentence), label["category"]) * 5
        named = F.binary_cross_entropy_with_logits(self.named_colours(sentence), named_colours(label)) * 5
        logits = self.colour(sentence).view(-1, len(CATEGORIES), len(COLOURS))
        said = label["colour"] >= 0
        whose = F.cross_entropy(logits[said], label["colour"][said])
        return F.cross_entropy(self.place(sentence), label["place"]) + category + named + whose


def named_colours(label: dict[str, Tensor]) -> Tensor:
    """Which colours a caption says at all (N, 8)."""
    said = label["colour"].unsqueeze(-1) == torch.arange(len(COLOURS))
    return said.any(1).float()


def captions_of(stream: int, scenes: int) -> list[str]:
    """Five captions of each of so many scenes."""
    captions: list[str] = []
    for index in range(scenes):
        rng = np.random.default_rng((stream, index))
        captions += describe(compose(rng, 3), rng)
    return captions


def labels_of(captions: list[str]) -> dict[str, Tensor]:
    """What each caption says: place (N), category (N, 20), colour of each category (N, 20), -1 where not said."""
    places, categories, colours = list(PLACES), list(CATEGORIES), list(COLOURS)
    place = torch.full((len(captions),), len(places))
    category = torch.zeros(len(captions), len(categories))
    colour = torch.full((len(captions), len(categories)), -1)
    for row, caption in enumerate(captions):
        content = understand(caption)
        if content.place is not None:
            place[row] = places.index(content.place)
        for noun, name in content.objects:
            category[row, categories.index(noun)] = 1
            if name is not None:
                colour[row, categories.index(noun)] = colours.index(name)
    return {"place": place, "category": category, "colour": colour}


def vocabulary(captions: list[str]) -> list[str]:
    """Special tokens, characters, endings, then words: those of the captions, of the world, of everyday English."""
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789")
    signs = list(".,:;!?'\"()-&/")
    said = Counter(word for caption in captions for word in caption.lower().replace(".", " ").replace(",", " ").split())
    everyday = (HERE / "common_words.txt").read_text(encoding="utf-8").split()
    world = [word for name in [*NOUNS, *PLACE_WORDS] for word in name.split()]
    words = [*sorted(said, key=lambda word: (-said[word], word)), *world, *everyday]
    pieces = [f"##{piece}" for piece in [*letters, *ENDINGS]]
    return list(dict.fromkeys([*SPECIAL, *signs, *letters, *pieces, *words]))


def with_strangers(caption: str, words: list[str], rng: np.random.Generator) -> str:
    """A caption with up to two everyday words put in, never into a two-word name."""
    said = caption.split()
    for _ in range(int(rng.integers(1, 3))):
        spot = int(rng.integers(len(said) + 1))
        pair = " ".join(said[max(0, spot - 1) : spot + 1]).lower().strip(".,")
        if pair not in NOUNS:
            said.insert(spot, words[int(rng.integers(len(words)))])
    return " ".join(said)


def encode(tokenizer: BertTokenizer, captions: list[str]) -> Tensor:
    """Token ids (N, MAX_TOKENS), padded with zeros."""
    options = {"padding": "max_length", "truncation": True, "max_length": MAX_TOKENS, "return_tensors": "pt"}
    return tokenizer(captions, **options)["input_ids"]


def mask_words(tokens: Tensor, vocabulary_size: int, mask: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """BERT's masking: 15 % of words are asked for, of which 80 % are hidden and 10 % replaced."""
    chance = torch.rand(tokens.shape, generator=generator)
    asked = (chance < 0.15) & (tokens >= len(SPECIAL))
    targets = torch.where(asked, tokens, -100)
    hidden = torch.where(asked & (chance < 0.12), mask, tokens)
    random = torch.randint(len(SPECIAL), vocabulary_size, tokens.shape, generator=generator)
    return torch.where(asked & (chance >= 0.135), random, hidden), targets


def sentence_of(words: Tensor, tokens: Tensor) -> Tensor:
    """Mean of the real tokens' vectors, as training of GANs uses it."""
    real = (tokens != 0).unsqueeze(-1).float()
    return (words * real).sum(1) / real.sum(1)


def build(vocabulary_size: int) -> tuple[BertForMaskedLM, BertModel]:
    """The network with its masked-word head, and the same network as it is saved, with its pooler."""
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=64,
        type_vocab_size=2,
        hidden_dropout_prob=0.05,
        attention_probs_dropout_prob=0.05,
    )
    network = BertForMaskedLM(config)
    body = BertModel(config)
    network.bert = body
    return network, body


def train(
    network: BertForMaskedLM, body: BertModel, tokens: Tensor, labels: dict[str, Tensor], steps: int, seed: int
) -> None:
    """Masked words and content, Adam with a warm-up and a cosine."""
    heads = Heads(network.config.hidden_size)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([*network.parameters(), *heads.parameters()], lr=RATE, weight_decay=0.01)
    mask = SPECIAL.index("[MASK]")
    network.train()
    start = time.monotonic()
    for step in range(steps):
        rate = min(1.0, step / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        optimizer.param_groups[0]["lr"] = RATE * rate
        rows = torch.randint(len(tokens), (BATCH,), generator=generator)
        batch = tokens[rows]
        batch = batch[:, : int((batch != 0).sum(1).max())]
        # Half of the captions have words hidden; content is asked of the others, for a hidden colour cannot be told.
        whole = BATCH // 2
        hidden, targets = mask_words(batch[whole:], network.config.vocab_size, mask, generator)
        seen = body(torch.cat([batch[:whole], hidden]), attention_mask=(batch != 0).long())
        asked = targets != -100
        words_loss = F.cross_entropy(network.cls(seen.last_hidden_state[whole:][asked]), targets[asked])
        label = {name: value[rows[:whole]] for name, value in labels.items()}
        sentence = sentence_of(seen.last_hidden_state[:whole], batch[:whole])
        content = heads.loss(sentence, label) + heads.loss(seen.pooler_output[:whole], label)
        (words_loss + content).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0 or step == steps - 1:
            seconds = time.monotonic() - start
            print(
                f"{step:5d}  words {words_loss.item():.3f}  content {content.item():.3f}  {seconds:.0f} s", flush=True
            )


@torch.no_grad()
def masked_accuracy(network: BertForMaskedLM, body: BertModel, tokens: Tensor) -> float:
    """Share of hidden words named rightly, one random word of each held-out caption hidden at a time."""
    generator = torch.Generator().manual_seed(0)
    right = total = 0
    for batch in tokens.split(256):
        hidden, targets = mask_words(batch, network.config.vocab_size, SPECIAL.index("[MASK]"), generator)
        hidden = torch.where(targets != -100, SPECIAL.index("[MASK]"), batch)
        words = body(hidden, attention_mask=(batch != 0).long()).last_hidden_state
        asked = targets != -100
        right += int((network.cls(words[asked]).argmax(-1) == targets[asked]).sum())
        total += int(asked.sum())
    return right / total


def probe(body: BertModel, train_set: tuple[Tensor, dict], test_set: tuple[Tensor, dict]) -> dict[str, float]:
    """A fresh linear layer on frozen sentence vectors: shares of held-out captions read rightly."""
    with torch.no_grad():
        vectors = [
            torch.cat(
                [sentence_of(body(t, attention_mask=(t != 0).long()).last_hidden_state, t) for t in s[0].split(256)]
            )
            for s in (train_set, test_set)
        ]
    heads = Heads(vectors[0].shape[1])
    optimizer = torch.optim.Adam(heads.parameters(), lr=0.02)
    for _ in range(400):
        heads.loss(vectors[0], train_set[1]).backward()
        optimizer.step()
        optimizer.zero_grad()
    label = test_set[1]
    with torch.no_grad():
        category = (heads.category(vectors[1]) > 0).float()
        named = (heads.named_colours(vectors[1]) > 0).float()
        colour = heads.colour(vectors[1]).view(-1, len(CATEGORIES), len(COLOURS)).argmax(-1)
        said = label["colour"] >= 0
        return {
            "place": float((heads.place(vectors[1]).argmax(-1) == label["place"]).float().mean()),
            "categories": float((category == label["category"]).all(1).float().mean()),
            "colours": float((named == named_colours(label)).all(1).float().mean()),
            "whose": float((colour[said] == label["colour"][said]).float().mean()),
        }


def save(body: BertModel, tokenizer: BertTokenizer, words: list[str], out: Path) -> None:
    """A folder that ``from_pretrained`` reads offline."""
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    body.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")


def card(out: Path, figures: dict[str, float], arguments: argparse.Namespace, words: int) -> None:
    """CARD.md: what this is, how it was made, how well it does."""
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    text = f"""# scenes-bert

A small BERT that comes with t2i, so that `t2i prepare scenes` and the quickstart need no download. It knows the
captions of the drawn data set `scenes` and little else: for photographs use a real BERT.

| | |
|---|---|
| network | BertModel, {config["num_hidden_layers"]} layers, {config["hidden_size"]} wide, {config["num_attention_heads"]} heads, {config["max_position_embeddings"]} positions |
| vocabulary | {words} WordPieces, lower case: words of scenes, about a thousand everyday words, all letters and digits |
| trained on | {arguments.scenes} scenes x 5 captions, made by `t2icli.data.scenes` from random streams that no drawn data set uses |
| trained by | this project: `python tools/make_scenes_bert.py --steps {arguments.steps} --seed {arguments.seed}`, from random weights |
| objective | masked words; and linear heads on the mean of the tokens' vectors and on the pooled vector that name place, categories and colours |
| size | {size:.1f} MB, float32 |
| licence | that of t2i (Apache-2.0); no third-party data or weights went in |

## Held out (1,000 scenes, 5,000 captions)

| measure | right |
|---|---|
| hidden words named (15 % of each caption; most colours and objects cannot be guessed) | {figures["masked words"]:.1%} |
| fresh linear probe on the mean vector: place, or that none is said | {figures["place"]:.1%} |
| the same: all categories of a caption exactly | {figures["categories"]:.1%} |
| the same: all colours of a caption exactly | {figures["colours"]:.1%} |
| the same: which colour a named object has (by chance 12.5 %) | {figures["whose"]:.1%} |
"""
    (out / "CARD.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--scenes", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)

    captions = captions_of(TRAINING_STREAM, arguments.scenes)
    held_out = captions_of(HELD_OUT_STREAM, 1000)
    words = vocabulary(captions)
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)}, do_lower_case=True)
    tokenizer.model_max_length = 64
    labels = labels_of(captions)
    # Words that mean nothing in the world: a label must not change when one is put in.
    strangers = [
        word for word in words if word.isalpha() and len(word) > 2 and word not in set(COLOURS) | set(PLACE_WORDS)
    ]
    strangers = [word for word in strangers if not any(word in name.split() for name in NOUNS)]
    read = [with_strangers(c, strangers, rng) if rng.random() < 0.3 else c for c in captions]
    tokens = encode(tokenizer, read)
    print(
        f"{len(captions)} captions, {len(words)} pieces, longest {int((tokens != 0).sum(1).max())} tokens", flush=True
    )

    network, body = build(len(words))
    train(network, body, tokens, labels, arguments.steps, arguments.seed)
    network.eval()
    test = encode(tokenizer, held_out)
    few = slice(0, 6000)
    probe_set = (encode(tokenizer, captions[few]), {name: value[few] for name, value in labels.items()})
    figures = {"masked words": masked_accuracy(network, body, test)}
    figures |= probe(body, probe_set, (test, labels_of(held_out)))
    print(figures)
    save(body, tokenizer, words, arguments.out)
    card(arguments.out, figures, arguments, len(words))


if __name__ == "__main__":
    main()
