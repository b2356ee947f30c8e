"""A split of prepared shards as one sequence of pictures."""

from bisect import bisect_right
from collections import OrderedDict
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from t2icli.data.manifest import NAME, ShardEntry, TextIdentity, entries, read_manifest
from t2icli.data.shards import Shard
from t2icli.documents import list_of_words
from t2icli.errors import DataError
from t2icli.storage import sha256


class ShardFolder:
    """One split of a folder that ``prepare`` wrote; picture i of the split is a row of one of its shards."""

    OPEN = 128  # shards kept open at once: more than COCO has, fewer than a process may open

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = Path(folder), split
        self.manifest = read_manifest(self.folder)
        self.entries = entries(self.manifest, split)
        if not self.entries:
            splits = ", ".join(sorted({entry.split for entry in entries(self.manifest)}))
            raise DataError(f"{folder}: there is no split {split!r}; available: {splits}")
        for entry in self.entries:
            path = self.folder / entry.file
            size = path.stat().st_size if path.is_file() else None
            if size != entry.bytes:
                found = "is missing" if size is None else f"has {size} bytes instead of {entry.bytes}"
                raise DataError(f"{path}: {found}; run the same 't2i prepare' again to write it anew")
        self.text_identity = TextIdentity.from_json(self.manifest["text"])
        self.max_tokens = self.text_identity.max_tokens
        self.word_dim = self.text_identity.dim
        self.has_pad_sum = bool(self.manifest["recipe"]["text"]["pad_sum"])
        self.online = self.manifest["recipe"]["text"]["embeddings"] == "online"
        self.image_size = int(self.manifest["recipe"]["images"]["size"])
        self.fit = str(self.manifest["recipe"]["images"]["fit"])
        self.manifest_hash = sha256(self.folder / NAME)
        self._ends = list(accumulate(entry.images for entry in self.entries))
        self._shards: OrderedDict[int, Shard] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": OrderedDict()}

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, image: int) -> tuple[Shard, int]:
        """The shard of a picture of the split, and its row there."""
        number = bisect_right(self._ends, image)
        start = self._ends[number] - self.entries[number].images
        return self.shard(number), image - start

    def shard(self, number: int) -> Shard:
        """One shard of the split; those used last stay open."""
        shard = self._shards.pop(number, None) or self._open(self.entries[number])
        self._shards[number] = shard
        if len(self._shards) > self.OPEN:
            self._shards.popitem(last=False)[1].close()
        return shard

    def _open(self, entry: ShardEntry) -> Shard:
        shard = Shard(self.folder / entry.file)
        stored = 0 if self.online else self.word_dim
        for what, counted, there in (
            ("images", entry.images, len(shard)),
            ("captions", entry.captions, shard.caption_count),
            ("tokens", entry.tokens, shard.token_total),
            ("numbers in a word vector", stored, shard.word_dim),
        ):
            if counted != there:
                raise DataError(
                    f"{self.folder / NAME}: counts {counted:,} {what} in {entry.file}, which holds {there:,}; "
                    f"delete {NAME} and run the same 't2i prepare' again, which writes it anew"
                )
        return shard

    @cached_property
    def vocabulary(self) -> list[str]:
        """Words of all captions, most frequent first; word i has id i + 1, and 0 ends a caption."""
        first = self.shard(0)
        return list_of_words(first.attributes.get("vocabulary"), f"{first.path}: vocabulary")
