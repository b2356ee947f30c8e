"""What a result says about how the files of its sides were read, with counts."""

from collections import Counter

from t2icli.data.picture_files import in_words
from t2icli.evaluation.images import FolderImages

# Notes of the decoder that change pixels, or choose among them; grey and palettes become RGB without a loss.
CONVERTED = {
    "alpha": "with transparency, which was put on white",
    "16-bit": "with 16 bits a channel, of which the upper eight were taken",
    "rotated": "turned upright as their EXIF orientation says",
    "CMYK": "in CMYK, which became RGB by Pillow's formula",
    "several frames": "with several frames, of which the first was taken",
}


def decoding(images: FolderImages) -> dict[str, int]:
    """How many of the files needed what, as a manifest of shards says it."""
    return dict(sorted(Counter(note for header in images.headers for note in header.notes).items()))


def how_read(images: FolderImages, side: str) -> list[str]:
    """In sentences; ``side`` is "scored" or "real"."""
    counts, count = decoding(images), len(images)
    read = [f"{counts[note]:,} {how}" for note, how in CONVERTED.items() if note in counts]
    said = [f"of the {count:,} {side} images were read: {'; '.join(read)}"] if read else []
    lossy = sum(header.lossy for header in images.headers)
    if lossy:
        said.append(f"{lossy:,} of the {side} images are JPEG or WebP files: lossy compression moves FID")
    linked = sum(path in images.linked_out for path in images.paths)
    if linked:
        said.append(f"{linked:,} of the {side} images are symbolic links to files outside of {images.folder}")
    if images.passed_over:
        said.append(
            f"{len(images.passed_over):,} of what lies in the folder of {side} images was passed over: "
            f"{in_words(images.passed_over)}"
        )
    return said
