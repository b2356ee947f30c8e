"""Who may import whom, and other rules of the house that a reader should not have to remember."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "t2icli"
FILES = sorted(PACKAGE.rglob("*.py"))

# Folder or module -> what of t2icli it may import when it is imported. Everything may use the leaves.
LEAVES = {"__version__", "errors", "ending", "registry", "console", "storage", "batch", "setting", "recipe", "weights"}
MAY_IMPORT = {
    "cli": set(),  # and inside function bodies everything
    "data": {"data"},
    "nn": {"nn"},
    "losses": {"losses"},
    "encoders": {"encoders", "nn", "losses"},
    "systems": {"systems._base", "nn", "losses"},
    "terms": {"terms._base", "encoders", "losses"},
    "training": {"training", "systems._base", "terms._base", "data", "nn"},
    "evaluation": {"evaluation", "data"},
    "sampling": {"systems._base", "training.checkpoint", "training.run", "data"},
    "scoring": {"sampling", "evaluation", "data"},
    "quickstart": {"sampling", "scoring", "training", "data"},
    "recipe_book": set(),
}
ONLY_TORCH = {"nn", "losses"}  # and what is torch's, pure functions and layers
WITHOUT_TORCH = ("errors", "ending", "registry", "console", "storage", "recipe", "recipe_book", "weights", "cli")


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
        if room == "cli" and (not at_once or head == "cli"):
            continue
        fine = head in LEAVES or any(target == a or target.startswith(f"{a}.") for a in allowed)
        assert fine or room == "__main__", f"{name} may not import {imported}"
        if room in ("systems", "terms"):
            assert head != room or "._base" in target, f"{name} imports another of its kind: {imported}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    name = name_of(path)
    outside = {imported.partition(".")[0] for imported, _ in imports(parsed(path))}
    at_once = {imported.partition(".")[0] for imported, now in imports(parsed(path)) if now}
    assert "h5py" not in outside or name == "data.shards"
    if name.partition(".")[0] in WITHOUT_TORCH:
        assert "torch" not in at_once
    if name.partition(".")[0] in ONLY_TORCH:
        assert outside <= {"torch", "math", "typing", "collections", "t2icli"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_fit_on_a_screen_or_two(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 420, "split it by idea"
    assert path.stem not in ("utils", "helpers", "misc", "common")
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def test_no_system_or_term_is_named_outside_its_file() -> None:
    names = {path.stem for folder in ("systems", "terms") for path in (PACKAGE / folder).glob("[!_]*.py")}
    for path in FILES:
        if path.parent.name in ("systems", "terms"):
            continue
        words = {node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant)}
        assert not names & {word for word in words if isinstance(word, str)}, path


def test_help_and_the_light_modules_leave_torch_alone() -> None:
    code = (
        "import sys\n"
        "import t2icli.recipe, t2icli.registry, t2icli.weights, t2icli.recipe_book\n"
        "from typer.testing import CliRunner\n"
        "from t2icli.cli import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'transformers', 'h5py', 'numpy', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
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
