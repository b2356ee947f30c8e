"""Folders of models as Hugging Face has them, looked over file by file before ``transformers`` reads them.

A clone without git-lfs, a copy that broke off or a page saved in place of a file ends inside that library in whatever
its parsers happen to meet. Here each file is asked what it is, and the first that is something else is named.
"""

from pathlib import Path

from t2icli.documents import HEAD, read_head, read_json, read_text, what_is
from t2icli.errors import DataError, EnvironmentFault
from t2icli.tensor_files import check_safetensors, look_into

TABLES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "model.safetensors.index.json",
)
LISTS = ("vocab.txt", "merges.txt")
LIMIT = 1 << 28  # bytes; the largest tokenizer.json of the hub takes some ten million


def check_folder(folder: Path) -> None:
    """Refuse a folder in which one of the files that are there is damaged or something else."""
    try:
        for name in TABLES:
            check_table(folder / name)
        for name in LISTS:
            check_list(folder / name)
        if (folder / "model.safetensors").is_file():
            check_safetensors(folder / "model.safetensors")
        if (folder / "pytorch_model.bin").is_file():
            check_pickled(folder / "pytorch_model.bin")
    except DataError as fault:
        raise EnvironmentFault(f"{fault}; fetch the model's files again") from None


def check_table(path: Path) -> None:
    """A JSON file that should hold a table."""
    if path.is_file() and not isinstance(read_json(path, LIMIT), dict):
        raise DataError(f"{path}: should hold a table, and holds another value")


def check_list(path: Path) -> None:
    """A list of words, one a line."""
    if not path.is_file():
        return
    text = read_text(path, LIMIT)
    found = what_is(text[:HEAD].encode())
    if found is not None:
        raise DataError(f"{path}: should be a list of words: {found}")


def check_pickled(path: Path) -> None:
    """Weights in torch's own format, by how they begin; they are read elsewhere, and only as tensors."""
    head = read_head(path)
    if head.startswith(b"PK"):
        look_into(path)
    elif not head.startswith(b"\x80"):
        raise DataError(f"{path}: should be weights of PyTorch: {what_is(head) or 'it is something else'}")
