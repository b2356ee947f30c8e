"""What the documents say can be typed."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from t2icli.cli import app
from t2icli.recipe import find

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
        lines = [line for block in blocks(path) for line in block.splitlines()]
        lines += re.findall(r"`(t2i [a-z][^`]*)`", path.read_text(encoding="utf-8"))
        found += [(path.name, part.strip()) for line in lines for part in line.split("&&")]
    for path in RECIPES:
        lines = re.findall(r"^#\s+.*?(t2i .*)$", path.read_text(encoding="utf-8"), flags=re.M)
        found += [(path.name, part.strip()) for line in lines for part in line.split("&&")]
    return [(name, line) for name, line in found if line.startswith("t2i ")]


def test_the_first_two_blocks_are_one_command_line_each() -> None:
    install, test = blocks(ROOT / "README.md")[:2]
    assert install.count("\n") == test.count("\n") == 1
    assert install.rstrip().endswith("t2i quickstart")
    assert "pytest" in test


@pytest.mark.parametrize(("document", "line"), commands())
def test_commands_exist(document: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    path = []
    while hasattr(command, "commands") and words and words[0] in command.commands:
        path.append(words[0])
        command = command.commands[words.pop(0)]
    assert path, f"{document}: {line}: no such verb"
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in known | {"--help"}, f"{document}: {line}: no option {word}"
    named = [word for word in words if not word.startswith("-") and word not in ("RECIPE", "DATASET", "TARGET")]
    if path[-1] in ("train", "prepare") and named and not named[0].startswith(("my", "MY")):
        find(named[0], folder="data" if path[-1] == "prepare" else "")
