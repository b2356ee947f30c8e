"""Reference statistics as the field passes them round: an ``.npz`` file with the mean and covariance of features.

Such a file does not say of which images its numbers are, how these were resized, how many there were, nor which
network looked at them. So a result with one says that all of this is not known.
"""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from t2icli.errors import DataError
from t2icli.evaluation.measures.frechet import Gaussian

LIMIT = 1 << 30  # bytes of one array; 2048 x 2048 numbers take 32 MiB
FORM = "mu (F numbers) and sigma (F x F), as pytorch-fid and DM-GAN's coco_val.npz have them"
ASYMMETRY = 1e-4  # of the largest covariance: files in float32, and sums in another order, differ by far less
NEGATIVE = 1e-4  # of the largest eigenvalue: what rounding to float32 leaves below zero is far less

STATISTICS = "statistics"  # what results call such a real side
UNKNOWN = (
    "the real side is a file of statistics, which does not say of which images they are, how many these were, how they "
    "were resized, nor which network looked at them"
)


@dataclass(frozen=True)
class Reference:
    """A real side of which nothing but mean and covariance is known."""

    path: Path
    gaussian: Gaussian
    sha256: str  # of mean and covariance in float64, whatever the file holds beside them

    @property
    def features(self) -> int:
        """How many features the statistics are of."""
        return len(self.gaussian.mean)


def read_reference(path: Path) -> Reference:
    """Statistics from a file; ``DataError`` where they are none that a Fréchet distance could use."""
    arrays = read_arrays(path)
    mean, covariance = (np.ascontiguousarray(arrays[name], np.float64) for name in ("mu", "sigma"))
    check(path, mean, covariance)
    digest = hashlib.sha256(mean.tobytes() + covariance.tobytes()).hexdigest()
    symmetric = (covariance + covariance.T) / 2
    return Reference(path, Gaussian(torch.from_numpy(mean), torch.from_numpy(symmetric)), digest)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Both arrays; nothing of the file is ever unpickled."""
    try:
        with zipfile.ZipFile(path) as packed:
            sizes = {member.filename: member.file_size for member in packed.infolist()}
        missing = [name for name in ("mu", "sigma") if f"{name}.npy" not in sizes]
        if missing:
            there = ", ".join(sorted(name.removesuffix(".npy") for name in sizes)[:6]) or "nothing"
            raise DataError(f"{path}: lacks {' and '.join(missing)} (it holds {there}); it should hold {FORM}")
        if max(sizes["mu.npy"], sizes["sigma.npy"]) > LIMIT:
            raise DataError(f"{path}: holds an array of more than {LIMIT:,} bytes, which no statistics are")
        with np.load(path, allow_pickle=False) as content:
            found = {name: content[name] for name in ("mu", "sigma")}
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as fault:
        raise DataError(f"{path}: cannot be read as an .npz file of statistics ({fault}); should hold {FORM}") from None
    if not all(isinstance(array, np.ndarray) for array in found.values()):  # NumPy hands on what is no array as bytes
        raise DataError(f"{path}: cannot be read as an .npz file of statistics (no arrays); should hold {FORM}")
    other = [f"{name} of {array.dtype}" for name, array in found.items() if array.dtype.kind not in "fiu"]
    if other:
        raise DataError(f"{path}: holds {' and '.join(other)}; should be numbers: {FORM}")
    return found


def check(path: Path, mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> None:
    """Whether these are a mean and a covariance."""
    if mean.ndim != 1 or len(mean) < 1 or covariance.shape != (len(mean), len(mean)):
        raise DataError(f"{path}: mu is {mean.shape} and sigma {covariance.shape}; should be {FORM}")
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise DataError(f"{path}: holds numbers that are not finite")
    largest = float(np.abs(covariance).max())
    apart = float(np.abs(covariance - covariance.T).max())
    if apart > ASYMMETRY * largest:
        raise DataError(f"{path}: sigma is no covariance: it is not symmetric (by up to {apart:.3g})")
    values = np.linalg.eigvalsh((covariance + covariance.T) / 2)
    if values[0] < -NEGATIVE * max(float(values[-1]), 0.0):
        raise DataError(f"{path}: sigma is no covariance: it has a negative eigenvalue, {values[0]:.3g}")
