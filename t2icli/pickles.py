"""The field's pickle files, opened so that nothing in them can run.

AttnGAN's data comes as pickles of Python 2: lists, tables, strings and numpy arrays. Anything else is refused by name
before it is looked up. What numpy lets a file say about an array's type is refused too: it could pass numbers off as
addresses of objects. Nothing here imports torch.
"""

import collections
import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from t2icli.documents import HEAD, read_bytes, what_is
from t2icli.errors import DataError

SIZE_LIMIT = 1 << 30  # bytes; COCO's captions.pickle, the largest of them, is well below a tenth of it
BEYOND_ASCII = re.compile(rb"\\x[89a-fA-F]")  # the beginning of such a letter's escape; its second digit follows
PLAIN = "biufcSU"  # numpy's letters for truth values, numbers and strings


class Kind:
    """A dtype of plain values; a file may choose its byte order and nothing else."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in PLAIN:
            raise pickle.UnpicklingError(f"holds an array of {code!r}; only numbers and strings are admitted")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *structure = state[:5]
        if any(part is not None for part in structure):
            raise pickle.UnpicklingError("holds an array of records; only numbers and strings are admitted")
        self.dtype = self.dtype.newbyteorder(order)


class Array(np.ndarray[Any, Any]):
    """An array whose type is a ``Kind``; made empty and then filled, as numpy's are."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, kind, fortran, data = state
        super().__setstate__((version, shape, plain(kind), fortran, data))


def plain(kind: Any) -> "np.dtype[Any]":
    """The dtype that a file made by ``Kind``; numpy's own cannot be had here."""
    if not isinstance(kind, Kind):
        raise pickle.UnpicklingError("holds an array without a type")
    return kind.dtype


def empty_array(*described: Any) -> Array:
    """Stands for numpy's ``_reconstruct``, which would allocate whatever a file says."""
    return Array(0)


def scalar(kind: Any, data: bytes | str) -> Any:
    """One number or string."""
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, plain(kind), 1)[0]


def latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes for Python 2; other codecs are not needed for that."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"asks for the codec {encoding!r}")
    return text.encode("latin1")


def no_bytes() -> bytes:
    """How Python 3 writes none at all for Python 2; a number here would ask for so much memory."""
    return b""


# What plain data needs beyond pickle's own opcodes: module and name as files say them -> what they get.
ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): empty_array,
    ("numpy._core.multiarray", "_reconstruct"): empty_array,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("numpy", "ndarray"): None,  # named by every array as what it is; never called
    ("numpy", "dtype"): Kind,
    ("_codecs", "encode"): latin1_bytes,
    ("__builtin__", "bytes"): no_bytes,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): collections.OrderedDict,
}


class PlainUnpickler(pickle.Unpickler):
    """Containers, strings, numbers and numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """What a file may ask for; called for everything that is not built into pickle."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return ADMITTED[module, name]


def read_pickle(path: Path, encoding: str = "latin1") -> Any:
    """The content of a pickle file; strings of Python 2 are read in ``encoding``."""
    data = read_bytes(path, SIZE_LIMIT)
    try:
        look_over(data)
        return PlainUnpickler(io.BytesIO(data), encoding=encoding).load()
    except Exception as fault:  # a damaged pickle raises whatever its bytes happen to mean
        other = None if data.startswith(b"\x80") else what_is(data[:HEAD])
        reason = other or str(fault) or type(fault).__name__
        raise DataError(
            f"{path}: refused: {reason}; a pickle of plain lists, tables, strings and numpy arrays is expected, and "
            "nothing else is opened, because it could run code"
        ) from None


def look_over(data: bytes) -> None:
    """Refuse, before anything is built, a file that is cut short or asks for more memory than it could fill.

    Every stored value of a pickle has a number; the unpickler makes room for the highest, so ten bytes that speak of
    number four thousand million would take 32 GB. The standard library's reader takes Python 2's written-out strings
    for ASCII, so letters beyond it are changed for this look: nothing of what is checked here is in a string.
    """
    for opcode, argument, _ in pickletools.genops(BEYOND_ASCII.sub(rb"\\x4", data)):
        if opcode.name.endswith("PUT") and int(argument or 0) > len(data):
            raise pickle.UnpicklingError(f"numbers a value {argument:,} in a file of {len(data):,} bytes")
