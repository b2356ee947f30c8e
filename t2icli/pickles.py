"""The field's pickle files, opened so that nothing in them can run.

AttnGAN's data comes as pickles of Python 2: lists, tables, strings and numpy arrays. Anything else is refused by name
before it is looked up. Nothing here imports torch.
"""

import importlib
import io
import pickle
from pathlib import Path
from typing import Any

from t2icli.errors import DataError

# What plain data needs beyond pickle's own opcodes: module and name as files say them -> where they are today.
ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"): ("numpy._core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"): ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
    ("_codecs", "encode"): ("_codecs", "encode"),
    ("__builtin__", "set"): ("builtins", "set"),
    ("builtins", "set"): ("builtins", "set"),
    ("collections", "OrderedDict"): ("collections", "OrderedDict"),
}


class PlainUnpickler(pickle.Unpickler):
    """Containers, strings, numbers and numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """What a file may ask for; called for everything that is not built into pickle."""
        place = ADMITTED.get((module, name))
        if place is None:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return getattr(importlib.import_module(place[0]), place[1])


def read_pickle(path: Path, encoding: str = "latin1") -> Any:
    """The content of a pickle file; strings of Python 2 are read in ``encoding``."""
    try:
        return PlainUnpickler(io.BytesIO(path.read_bytes()), encoding=encoding).load()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as fault:  # a damaged pickle raises whatever its bytes happen to mean
        reason = str(fault) or type(fault).__name__
        raise DataError(
            f"{path}: refused: {reason}; a pickle of plain lists, tables, strings and numpy arrays is expected, and "
            "nothing else is opened, because it could run code"
        ) from None
