"""What the documents say can be typed."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from t2icli import errors, registry
from t2icli.cli import app
from t2icli.recipe_files import find

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = sorted((ROOT / "recipes").rglob("*.toml"))


def blocks(path: Path) -> list[str]:
    """Fenced blocks, without their fences."""
    return re.findall(r"^```[a-z]*\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def commands() -> list[tuple[str, str]]:
    """Every line of a block, a recipe's comment or inline code that begins with t2i."""
    found = []
    for path in DOCUMENTS:
        scripts_apart = [block for block in blocks(path) if not block.startswith("#!")]  # see tests/test_clusters.py
        lines = [line for block in scripts_apart for line in block.splitlines()]
        lines += re.findall(r"`(t2i [a-z][^`]*)`", path.read_text(encoding="utf-8"))
        found += [(path.name, part.strip()) for line in lines for part in line.split("&&")]
    for path in RECIPES:  # what to type stands after two spaces or a colon; other words about t2i are prose
        comments = re.findall(r"^#.*?(?:  |: )(t2i .*)$", path.read_text(encoding="utf-8"), flags=re.M)
        found += [(path.name, part.strip()) for comment in comments for part in comment.split("&&")]
    return [(name, line) for name, line in found if line.startswith("t2i ")]


def test_the_first_two_blocks_are_one_command_line_each() -> None:
    install, test = blocks(ROOT / "README.md")[:2]
    assert install.count("\n") == test.count("\n") == 1
    assert install.rstrip().endswith("t2i quickstart")
    assert "pytest" in test


@pytest.mark.parametrize(("document", "line"), commands())
def test_commands_exist(document: str, line: str) -> None:
    """Verb, options and their values are read as the program reads them, and recipes that are named are shipped."""
    words = shlex.split(line, comments=True)[1:]
    command = program = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert command is not program, f"{document}: {line}: no such verb"
    if not words:
        return  # a verb spoken of in a sentence
    assert not hasattr(command, "commands"), f"{document}: {line}: no such verb"
    values = command.make_context("t2i", words).params  # raises where the program would refuse
    if "files" in values:  # of t2i import, whose name is a module's
        registry.load("t2icli.systems", values["name"])
        return
    recipe = values.get("recipe") or values.get("dataset") or values.get("name")
    if recipe and not recipe.isupper() and not recipe.startswith("my"):
        find(recipe, folder="data" if "dataset" in values else "")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    missing = [target for target in targets if target and not (document.parent / target).exists()]
    assert not missing


def test_the_readme_says_every_exit_code_and_verb() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.UserError)]
    assert len(kinds) > 5
    for kind in kinds:
        assert re.search(rf"\b{kind.exit_code} [a-z]", text), kind
    for verb in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"t2i {verb}" in text, verb
    for code in re.findall(r"`(t2icli/[a-z_/]+)`", text):
        assert (ROOT / code).exists(), code
