"""Do the tests pass on every Python that t2i admits, and with the lowest versions of what it depends on?

    python tools/check_versions.py [--python 3.13 ...] [--lowest] [--tests tests/data ...]

Makes a virtual environment per question with uv (from the PATH, or installed into an environment of its own), installs
t2i with its tests' extra, the newest versions that its bounds admit or with ``--lowest`` the lowest, and runs the tests.
Without options: every Python of ``PYTHONS`` that is on this machine with the newest versions, then the first of them
with the lowest. An interpreter that is not there is said and ends in a failure, never passed over.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Question:
    """One environment to run the tests in."""

    python: str  # e.g. "3.12"
    lowest: bool  # the lowest versions that pyproject.toml admits, or the newest

    def __str__(self) -> str:
        return f"Python {self.python}, {'lowest' if self.lowest else 'newest'} versions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", help="3.11, 3.12 or 3.13; repeatable")
    parser.add_argument("--lowest", action="store_true", help="only the lowest versions of what t2i depends on")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where environments are made, and found again")
    parser.add_argument("tests", nargs="*", help="what pytest is given; default: all tests")
    options = parser.parse_args()
    if options.python or options.lowest:
        asked = [Question(python, options.lowest) for python in options.python or PYTHONS[:1]]
    else:
        asked = [*(Question(python, False) for python in PYTHONS), Question(PYTHONS[0], True)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        uv = find_uv(folder)
        answers = {question: passes(question, uv, folder, options.tests) for question in asked}
    for question, answer in answers.items():
        print(f"{question}: {answer}")
    sys.exit(any(answer != "passed" for answer in answers.values()))


def find_uv(folder: Path) -> str:
    """The installer: it knows how to choose lowest versions, which pip does not."""
    there = shutil.which("uv")
    if there:
        return there
    own = folder / "uv"
    if not (own / "bin" / "uv").is_file():
        venv.create(own, with_pip=True)
        subprocess.run([own / "bin" / "pip", "install", "-q", "uv"], check=True)
    return str(own / "bin" / "uv")


def passes(question: Question, uv: str, folder: Path, tests: list[str]) -> str:
    """Install and test; what became of it in a few words."""
    print(f"+ {question}", flush=True)
    interpreter = shutil.which(f"python{question.python}") or question.python
    place = folder / f"python-{question.python}-{'lowest' if question.lowest else 'newest'}"
    python = place / "bin" / "python"
    if not python.is_file() and subprocess.run([uv, "venv", "-q", "--python", interpreter, place]).returncode:
        return "no such Python here"
    resolution = ["--resolution", "lowest-direct"] if question.lowest else []
    install = [uv, "pip", "install", "-q", "--python", python, *resolution, "-e", f"{ROOT}[test]"]
    if subprocess.run(install).returncode:
        return "cannot be installed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = [python, "-m", "pytest", "-n", "auto", "-p", "no:cacheprovider", *tests]
    return "passed" if subprocess.run(told, cwd=ROOT, env=environment).returncode == 0 else "tests failed"


if __name__ == "__main__":
    main()
