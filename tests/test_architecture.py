"""Who may import whom, and other rules of the house that a reader should not have to remember."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "t2icli"
FILES = sorted(PACKAGE.rglob("*.py"))

# Folder or module -> what of t2icli it may import. All but the pure rooms may use the leaves.
LEAVES = {"__version__", "errors", "ending", "registry", "console", "storage", "batch", "setting", "recipe", "weights"}
LEAVES |= {"recipe_files", "vocabulary", "released", "pickles", "distributed", "known_weights", "documents"}
LEAVES |= {"tensor_files", "hub_folders", "picture_formats", "processes", "weight_files", "memory", "locks", "outline"}
MAY_IMPORT = {
    "cli": set(),  # and inside function bodies everything
    "data": {"data"},
    "nn": {"nn"},
    "losses": {"losses"},
    "encoders": {"encoders", "nn", "losses"},
    "systems": {"systems._base", "systems._staged", "nn", "losses"},
    "terms": {"terms._base", "encoders", "losses"},
    "reading": {"encoders", "data"},
    "training": {"training", "reading", "systems._base", "terms._base", "encoders", "data", "nn"},
    "evaluation": {"evaluation", "data", "encoders"},
    "sampling": {"systems._base", "training.checkpoint", "training.finding", "reading", "data"},
    "scoring": {"scoring", "sampling", "training.finding", "evaluation", "data"},
    "drawing": {"sampling", "data"},
    "quickstart": {"drawing", "sampling", "scoring", "training", "data"},
    "importing": {"encoders", "reading", "training.checkpoint", "training.latest", "training.run"},
    "recipe_book": set(),
}
PURE = ("nn", "losses")  # know torch and each other's functions, but no recipe, file or message
CLI_AT_ONCE = ("cli", "ending", "errors", "console")  # what may be imported when `t2i --help` runs
WITHOUT_TORCH = ("errors", "ending", "registry", "console", "documents", "storage", "recipe", "recipe_files", "weights")
WITHOUT_TORCH += ("cli", "tensor_files", "hub_folders", "picture_formats", "processes", "locks", "outline")


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Every imported module, and whether the import runs when the file itself is imported."""
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in inside
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node not in inside


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_follow_the_plan(path: Path) -> None:
    name = name_of(path)
    room = name.partition(".")[0]
    if room in LEAVES or room in ("", "__main__"):
        allowed: set[str] = set()
    else:
        allowed = MAY_IMPORT[room]
    for imported, at_once in imports(parsed(path)):
        if not imported.startswith("t2icli."):
            continue
        target = imported.removeprefix("t2icli.")
        head = target.partition(".")[0]
        if room == "cli":
            assert head in CLI_AT_ONCE or not at_once, f"{name}: import {imported} inside the function that needs it"
            continue
        fine = (head in LEAVES and room not in PURE) or any(target == a or target.startswith(f"{a}.") for a in allowed)
        assert fine or room == "__main__", f"{name} may not import {imported}"
        if room in ("systems", "terms"):
            assert head != room or "._" in target, f"{name} imports another of its kind: {imported}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    name = name_of(path)
    outside = {imported.partition(".")[0] for imported, _ in imports(parsed(path))}
    at_once = {imported.partition(".")[0] for imported, now in imports(parsed(path)) if now}
    assert "h5py" not in outside or name == "data.shards"
    room = name.partition(".")[0]
    if room in WITHOUT_TORCH:
        assert "torch" not in at_once
    if room == "cli":
        assert at_once <= {"typer", "t2icli", *sys.stdlib_module_names}
    if room in PURE:
        assert outside <= {"torch", "math", "typing", "collections", "t2icli"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_fit_on_a_screen_or_two(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400, "split it by idea"
    assert path.stem not in ("utils", "helpers", "misc", "common")
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


# Where a name is written although the folder is the registry, and why that chooses nothing.
NAMED = {
    "quickstart": "walks one shipped recipe and tells which recipe to try next",
    "recipe_files": "an example in a message",
}
# Where encoders judge pictures: a term of the same name is not meant.
JUDGES = ("evaluation", "known_weights")


def strings(tree: ast.Module) -> Iterator[str]:
    """Every string of a file that is no docstring."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_no_system_or_term_is_named_outside_its_file() -> None:
    names = {path.stem for folder in ("systems", "terms") for path in (PACKAGE / folder).glob("[!_]*.py")}
    encoders = {path.stem for path in (PACKAGE / "encoders").glob("[!_]*.py")}
    for path in FILES:
        room = name_of(path).partition(".")[0]
        if room in ("systems", "terms", "encoders"):
            continue
        judged = names - encoders if room in JUDGES else names
        any_name = re.compile(rf"\b({'|'.join(sorted(judged))})\b")
        found = [text for text in strings(parsed(path)) if any_name.search(text)]
        assert not judged & set(found), path  # a bare name could be compared with
        assert not found or name_of(path) in NAMED, f"{name_of(path)} names a system or term: {found}"


@pytest.mark.parametrize(
    "module",
    [
        "errors",
        "ending",
        "registry",
        "console",
        "documents",
        "tensor_files",
        "hub_folders",
        "locks",
        "storage",
        "recipe",
        "recipe_files",
        "vocabulary",
        "released",
        "known_weights",
        "weights",
        "picture_formats",
        "processes",
        "drawing",
        "training.run",
        "training.listing",
        "training.start",
        "data.options",
        "cli",
    ],
)
def test_light_modules_import_alone_and_without_torch(module: str) -> None:
    code = (
        f"import sys, t2icli.{module}\n"
        "heavy = {'torch', 'transformers', 'h5py', 'numpy', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_help_leaves_torch_alone() -> None:
    code = (
        "import sys, time\n"
        "from typer.testing import CliRunner\n"
        "from t2icli.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'transformers', 'h5py', 'numpy', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(f't2i --help: {time.process_time():.2f} s of CPU')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_every_module_imports_alone() -> None:
    """A cycle of imports shows only where the wrong module comes first, so each comes first once."""
    code = (
        "import importlib, sys\n"
        "import torch, torchvision, transformers, h5py, torch_fidelity  # heavy, and not ours\n"
        "for name in sys.argv[1:]:\n"
        "    for loaded in [m for m in sys.modules if m.partition('.')[0] == 't2icli']:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )
    names = [f"t2icli.{name_of(path)}".rstrip(".") for path in FILES if path.stem != "__main__"]
    subprocess.run([sys.executable, "-c", code, *names], check=True, timeout=300)
