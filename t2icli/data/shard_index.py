"""Whether the small columns of a shard, which say where everything lies, fit each other and the large ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_index(small: dict[str, NDArray[Any]], rows: dict[str, int]) -> None:
    """Refuse offsets and row numbers that point outside of what the shard holds; ``rows`` is of large columns."""
    images, captions = len(small["image/id"]), len(small["caption/image"])
    offsets = {
        "image/offset": (images, rows["image/bytes"]),
        "caption/text_offset": (captions, rows["caption/text_bytes"]),
        "caption/token_offset": (captions, rows["caption/token"]),
        "object/offset": (images, len(small["object/category"])),
    }
    for name, (count, end) in offsets.items():
        column = small[name]
        if len(column) != count + 1 or column[0] != 0 or column[-1] != end or (np.diff(column) < 0).any():
            raise ValueError(f"{name} does not fit what it points into")
    where = small["caption/image"].astype(np.int64)
    if captions and (where[-1] >= images or (np.diff(where) < 0).any()):
        raise ValueError("caption/image does not fit the number of images")
