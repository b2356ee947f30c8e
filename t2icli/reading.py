"""How a run reads captions: by the BERT whose vectors lie in the shards, or by a matcher's text encoder.

Both give the same ``Text``, so no system knows which it is. What was read with goes into the header of the run's
weights, and a matcher's text encoder is kept beside them, so that a run draws without the matcher it was trained with.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from t2icli.batch import Loaded, Text
from t2icli.console import say
from t2icli.data.bert import BertEncoder
from t2icli.data.manifest import TextIdentity
from t2icli.data.shard_folder import ShardFolder
from t2icli.data.shards import Shard, StoredCaption
from t2icli.data.text import Sentence, collate_text, collate_tokens, read_tokens
from t2icli.encoders._files import find_encoder, load_encoder, save_encoder
from t2icli.encoders._words import WordEncoder
from t2icli.encoders.words import Words
from t2icli.errors import DataError, EnvironmentFault, RecipeError, UserError
from t2icli.recipe import Recipe
from t2icli.storage import sha256
from t2icli.vocabulary import Vocabulary, words_of

KEPT = "text_encoder.safetensors"  # a matcher's text encoder, in the folder of a run's weights
KNOWN_SHARE = 0.9  # of a data set's different words that a matcher must know


class Reader(Protocol):
    """Captions in, ``Text`` out."""

    dim: int  # numbers in a word vector and in a sentence vector

    def loaded(self, loaded: Loaded) -> Text:
        """The captions of a loaded batch, on its device."""

    def captions(self, captions: Sequence[str]) -> Text:
        """Captions as people write them."""

    def stored(self, folder: ShardFolder, captions: Sequence[tuple[int, int]]) -> Text:
        """Captions of shards: pairs of (picture of the split, which of its captions)."""

    def identity(self) -> dict[str, Any]:
        """What the header of weights says, enough to read in the same way again."""

    def keep(self, folder: Path) -> None:
        """Put what reading needs beside the weights in a folder, where that is a matter of a few megabytes."""


class BertReader:
    """Vectors as ``prepare`` stored them, or fresh from the same BERT: for new captions, and for shards that hold
    token ids only. A run may be trained on the one kind of shards and draw from the other.
    """

    def __init__(self, found: TextIdentity, sentence: Sentence, model: str | None, device: torch.device) -> None:
        self.found, self.sentence, self.model, self.device = found, sentence, model, device
        self.dim = found.dim
        self._encoder: BertEncoder | None = None

    def loaded(self, loaded: Loaded) -> Text:
        """See ``Reader``."""
        text = loaded.stored
        assert text is not None
        only_tokens = not text.words.shape[-1]
        return read_tokens(text, self.encoder, self.sentence) if only_tokens else text.to(self.device)

    def captions(self, captions: Sequence[str]) -> Text:
        """See ``Reader``."""
        encoded = self.encoder.encode(list(captions), pad_sum=self.sentence == "padded_sum")
        cut = sum(caption.truncated for caption in encoded)
        if cut:
            say(f"{cut} captions are longer than {self.found.max_tokens} tokens, which is all this run reads: cut off")
        return collate_text(encoded, self.found.max_tokens, self.sentence).to(self.device)

    def stored(self, folder: ShardFolder, captions: Sequence[tuple[int, int]]) -> Text:
        """See ``Reader``."""
        if not self.found.same_vectors(folder.text_identity):
            raise DataError(
                f"{folder.folder}: its captions were encoded by {folder.text_identity.model}, but this run was "
                f"trained on {self.found.model}; prepare the data with the run's text encoder"
            )
        places = located(folder, captions)
        if folder.online:
            tokens = collate_tokens([shard.tokens(number) for shard, number in places], folder.max_tokens)
            return read_tokens(tokens, self.encoder, self.sentence)
        stored = [
            StoredCaption(0, "", shard.tokens(number), shard.embedding(number), shard.pad_sum(number))
            for shard, number in places
        ]
        return collate_text(stored, folder.max_tokens, self.sentence).to(self.device)

    def identity(self) -> dict[str, Any]:
        """See ``Reader``."""
        return self.found.to_json()

    def keep(self, folder: Path) -> None:
        """See ``Reader``; a BERT stays where it is."""

    def require(self, shards: Path) -> None:
        """Make sure, before anything is trained, that the BERT can be had whose token ids are all that shards hold."""
        try:
            _ = self.encoder
        except EnvironmentFault as fault:
            raise EnvironmentFault(
                f"{shards}: holds token ids only (text.embeddings = 'online'), so training runs their BERT: {fault}"
            ) from None

    @property
    def encoder(self) -> BertEncoder:
        """The BERT that made the run's vectors, loaded when a new caption is to be read."""
        if self._encoder is None:
            encoder = BertEncoder(
                self.model or self.found.model, self.found.max_tokens, self.device, self.found.precision
            )
            if not self.found.same_vectors(encoder.identity):
                raise EnvironmentFault(
                    f"{encoder.model}: is not the text encoder of this run: it was trained with {self.found.model} "
                    f"(sha256 {self.found.sha256[:12]}), this one has {encoder.identity.sha256[:12]}; "
                    "say where that one lies with --set text.model=DIR"
                )
            self._encoder = encoder
        return self._encoder


class MatcherReader:
    """Words by a matcher's frozen text encoder."""

    def __init__(self, file: Path, drawn_words: int, device: torch.device) -> None:
        matcher, header = load_encoder(file)
        if not isinstance(getattr(matcher, "text", None), WordEncoder):
            raise RecipeError(
                f"text.matcher: {file}: a {header['encoder']} reads no captions; name a matcher, e.g. a DAMSM"
            )
        self.file, self.drawn_words, self.device = file, drawn_words, device
        self.encoder = cast(WordEncoder, matcher.text).to(device)
        self.dim = self.encoder.dim
        self.sha256 = sha256(file)

    def loaded(self, loaded: Loaded) -> Text:
        """See ``Reader``."""
        return self.read(loaded.captions)

    def captions(self, captions: Sequence[str]) -> Text:
        """See ``Reader``; words that the matcher never met are passed over, and said."""
        known = self.encoder.vocabulary.ids
        for caption in captions:
            words = words_of(caption)
            if not any(word in known for word in words):
                raise UserError(f"caption {caption!r}: this run knows none of its words")
        unknown = sorted({word for caption in captions for word in words_of(caption) if word not in known})
        if unknown:
            say(f"words that this run does not know are passed over: {', '.join(unknown[:10])}")
        return self.read(self.cut(captions))

    def stored(self, folder: ShardFolder, captions: Sequence[tuple[int, int]]) -> Text:
        """See ``Reader``."""
        return self.read(self.cut([shard.text(number) for shard, number in located(folder, captions)]))

    def cut(self, captions: Sequence[str]) -> list[str]:
        """The first words of captions, as many as are read when pictures are drawn."""
        return [" ".join(words_of(caption)[: self.drawn_words]) for caption in captions]

    @torch.no_grad()
    def read(self, captions: Sequence[str]) -> Text:
        """Captions by the frozen encoder."""
        return self.encoder.read(captions)

    def identity(self) -> dict[str, Any]:
        """See ``Reader``."""
        words = self.encoder.vocabulary
        return {"matcher": str(self.file), "sha256": self.sha256, "vocabulary_sha256": words.sha256, "dim": self.dim}

    def keep(self, folder: Path) -> None:
        """See ``Reader``."""
        whole = Words(self.encoder.config, self.encoder.vocabulary)
        whole.text = self.encoder
        save_encoder(folder / KEPT, "words", whole)


def located(folder: ShardFolder, captions: Sequence[tuple[int, int]]) -> list[tuple[Shard, int]]:
    """Where captions lie that are given as (picture of the split, which of its captions): shard and number there."""
    places = ((folder.locate(picture), which) for picture, which in captions)
    return [(shard, shard.captions(row)[which]) for (shard, row), which in places]


def training_reader(recipe: Recipe, folder: ShardFolder, device: torch.device) -> Reader:
    """What a recipe reads the captions of its shards with."""
    if recipe.text.matcher is None:
        if not folder.word_dim:
            raise DataError(
                f"{folder.folder}: its captions have no BERT vectors (it was prepared with text.model = 'none'); "
                "name a matcher that reads them (text.matcher), or prepare the data with "
                "--set text.model=google-bert/bert-base-uncased"
            )
        found = BertReader(folder.text_identity, recipe.text.sentence, recipe.text.model, device)
        if folder.online:
            found.require(folder.folder)
        return found
    reader = MatcherReader(find_encoder(recipe.text.matcher), recipe.text.drawn_words, device)
    check_words(reader.encoder.vocabulary, folder, f"text.matcher = {recipe.text.matcher}")
    return reader


def trained_reader(header: dict[str, Any], recipe: Recipe, weights: Path, device: torch.device) -> Reader:
    """The same for a run that draws; ``header`` is what ``identity`` said when its weights were saved."""
    if "matcher" not in header:
        return BertReader(TextIdentity.from_json(header), recipe.text.sentence, recipe.text.model, device)
    kept = weights.parent / KEPT
    if not kept.is_file():
        raise DataError(f"{kept}: missing; it is the text encoder of {weights.name} and lies beside it in a run")
    reader = MatcherReader(kept, recipe.text.drawn_words, device)
    if reader.encoder.vocabulary.sha256 != header["vocabulary_sha256"]:
        raise DataError(f"{kept}: has another vocabulary than the run was trained with; it belongs to other weights")
    return reader


def check_words(theirs: Vocabulary, folder: ShardFolder, what: str) -> None:
    """Refuse an encoder that was trained on other words than a data set has.

    Captions are read by their words and never by ids, so that two vocabularies cannot be mixed up; one that holds
    nearly all words, such as that of a released matcher, will do.
    """
    ours = folder.vocabulary
    if theirs.words == tuple(ours):
        return
    known = sum(word in theirs.ids for word in ours)
    said = f"{what}: knows {known:,} of the {len(ours):,} words of {folder.folder}"
    if known < KNOWN_SHARE * len(ours):
        raise DataError(f"{said}: it was trained on another data set (its vocabulary is {theirs.sha256[:12]})")
    if known < len(ours):
        say(f"{said}; the others are passed over")
