"""Put small mistakes into the package, one at a time, and see whether the nearest tests notice.

    python tools/mutate.py t2icli/training/step.py --sample 20
    python tools/mutate.py all --sample 12 --json survivors.json

The package, its recipes and its tests are copied to a temporary folder, where each mutant is written into its file; a
fork of this process, in which the libraries are loaded already, runs the tests of ``NEAREST`` until one fails. A
mutant that no test notices, or none within the time of five unhurt runs, is printed: the first is a survivor, the
second counts as noticed. Mutants are drawn by a seed, so that a figure can be taken again.
"""

import argparse
import ast
import contextlib
import copy
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("t2icli", "recipes", "tests", "pyproject.toml")
NEAREST = {  # cheap ones first
    "t2icli/training/step.py": "training/test_step.py systems/test_whole_steps_golden.py",
    "t2icli/training/ema.py": "training/test_ema.py systems/test_whole_steps_golden.py",
    "t2icli/training/trainer.py": "systems/test_whole_steps_golden.py training/test_loop.py",
    "t2icli/training/loop.py": "training/test_step.py training/test_seeds_of_steps.py training/test_loop.py",
    "t2icli/losses/adversarial.py": "losses/test_adversarial.py",
    "t2icli/losses/contrastive.py": "losses/test_contrastive.py losses/test_negatives.py",
    "t2icli/losses/matching.py": "losses/test_matching.py",
    "t2icli/losses/negatives.py": "losses/test_negatives.py",
    "t2icli/losses/penalties.py": "losses/test_penalties.py systems/test_whole_steps_golden.py systems/test_dfgan.py",
    "t2icli/losses/vision_language.py": "losses/test_vision_language.py",
    "t2icli/nn/batch_norm.py": "nn/test_batch_norm.py",
    "t2icli/nn/initialisation.py": "nn/test_initialisation.py",
    "t2icli/nn/spectral_norm.py": "nn/test_spectral_norm.py",
    "t2icli/nn/stage_discriminators.py": "systems/test_staged.py systems/test_whole_steps_golden.py",
    "t2icli/nn/stages.py": "systems/test_staged.py systems/test_whole_steps_golden.py",
    "t2icli/evaluation/measures/frechet.py": "evaluation/measures/test_frechet.py",
    "t2icli/evaluation/measures/kernels.py": "evaluation/measures/test_kernels.py",
    "t2icli/evaluation/measures/manifold.py": "evaluation/measures/test_manifold.py",
    "t2icli/evaluation/measures/projections.py": "evaluation/measures/test_projections.py",
    "t2icli/evaluation/measures/ranking.py": "evaluation/measures/test_ranking.py",
    "t2icli/data/loader.py": "data/test_loader.py",
}
BARE = ("losses/", "nn/", "evaluation/measures/", "training/test_ema", "training/test_step")  # need no fixture of all
BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
BINARY |= {ast.Pow: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift}
BINARY |= {ast.RShift: ast.LShift}
COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
COMPARE |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
DROPPED = {"detach", "eval", "requires_grad_", "clone", "contiguous", "float", "double", "abs", "mean", "clamp_min"}


@dataclass(frozen=True)
class Mutant:
    """One mistake: where, what stood there, what stands there now, and the whole file."""

    line: int
    before: str
    after: str
    source: str


# ---------------------------------------------------------------------------- making mistakes


def mistakes(node: ast.AST) -> Iterator[ast.AST | None]:
    """What may stand in a node's place; None: nothing."""
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        yield changed(node, op=BINARY[type(node.op)]())
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARE:
        yield changed(node, ops=[COMPARE[type(node.ops[0])]()])
    elif isinstance(node, ast.BoolOp):
        yield changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
    elif isinstance(node, ast.Call):
        if len(node.args) > 1 and not any(isinstance(argument, ast.Starred) for argument in node.args[:2]):
            yield changed(node, args=[node.args[1], node.args[0], *node.args[2:]])
        if isinstance(node.func, ast.Attribute) and node.func.attr in DROPPED:
            yield node.func.value
    elif isinstance(node, ast.Expr | ast.AugAssign):
        yield ast.Pass()
    elif isinstance(node, ast.With):
        yield changed(node, items=[ast.withitem(ast.Call(ast.Name("nullcontext", ast.Load()), [], []))])
    elif isinstance(node, ast.If):
        yield changed(node, test=ast.Constant(False))


def changed(node: ast.AST, **fields: object) -> ast.AST:
    """A copy with other fields."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def places(tree: ast.AST) -> Iterator[tuple[Callable[[ast.AST], None], ast.AST]]:
    """Every node where a mistake can be made, and what puts another there: no types, docstrings or messages."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "type_params", "bases") or isinstance(tree, ast.JoinedStr | ast.Raise):
            continue
        if isinstance(value, list):
            for place, child in enumerate(value):
                docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                if isinstance(child, ast.AST) and not docstring:
                    yield (lambda new, value=value, place=place: value.__setitem__(place, new)), child
                    yield from places(child)
        elif isinstance(value, ast.AST):
            yield (lambda new, name=name: setattr(tree, name, new)), value
            yield from places(value)


def mutants(source: str) -> list[Mutant]:
    """All of a file."""
    tree = ast.parse(source)
    header = f"from contextlib import nullcontext\n{source}" if "nullcontext" not in source else source
    found = []
    for put, node in list(places(tree)):
        for new in mistakes(node):
            put(new)
            text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
            put(node)
            if header != source:  # behind the docstring and what comes from __future__ it may stand anywhere
                text += "\nfrom contextlib import nullcontext\n"
            before, after = (ast.unparse(ast.fix_missing_locations(x)).splitlines()[0] for x in (node, new))
            found.append(Mutant(getattr(node, "lineno", 0), before[:110], after[:110], text))
    return found


# ---------------------------------------------------------------------------- running tests


def run_tests(folder: Path, tests: str, limit: float) -> tuple[str, float]:
    """What became of the tests in a fork of this process, and in how many seconds."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
            import pytest

            files = [str(folder / "tests" / test) for test in tests.split()]
            bare = ["--noconftest"] if tests.startswith(BARE) else []
            code = pytest.main(
                ["-x", "-q", "-m", "not slow", f"--rootdir={folder}", "-p", "no:cacheprovider", *bare, *files]
            )
            os._exit(int(code != 0))
    while time.monotonic() - started < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return ("passed" if status == 0 else "failed"), time.monotonic() - started
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung", limit


def hurt(folder: Path, module: str, sample: int, seed: int) -> dict[str, object]:
    """Mutants of a module, drawn by chance, and those of them that its nearest tests let pass."""
    path, tests = folder / module, " ".join(t for t in NEAREST[module].split() if (folder / "tests" / t).is_file())
    whole = path.read_text(encoding="utf-8")
    every = mutants(whole)
    outcome, seconds = run_tests(folder, tests, 600)
    if outcome != "passed":
        sys.exit(f"{module}: {tests}: the tests do not pass on the unhurt file ({outcome})")
    drawn = random.Random(f"{seed} {module}").sample(every, min(sample, len(every)))
    survivors = []
    for mutant in sorted(drawn, key=lambda m: m.line):
        path.write_text(mutant.source, encoding="utf-8")
        if run_tests(folder, tests, 5 * seconds + 20)[0] == "passed":
            survivors.append({"line": mutant.line, "before": mutant.before, "after": mutant.after})
            print(f"  {module}:{mutant.line}: {mutant.before}  ->  {mutant.after}", flush=True)
    path.write_text(whole, encoding="utf-8")
    print(f"{module}: {len(drawn)} of {len(every)} mutants, {len(survivors)} not noticed", flush=True)
    return {"module": module, "mutants": len(every), "tried": len(drawn), "survivors": survivors}


def load_libraries() -> None:
    """Whatever the package imports, so that no fork has to; the package itself is forgotten again."""
    for module in (
        "pytest",
        "hypothesis",
        "t2icli.training.pretraining",
        "t2icli.data.prepare",
        "t2icli.training.loop",
    ):
        __import__(module)
    for name in [name for name in sys.modules if name.partition(".")[0] == "t2icli"]:
        del sys.modules[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", help="files of the package, beginnings of their paths, or all")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=lambda path: Path(path).resolve(), help="file for the result")
    options = parser.parse_args()
    chosen = [name for name in NEAREST if any(m == "all" or name.startswith(m) for m in options.modules)]
    if not chosen:
        parser.error(f"no module named so; there are {', '.join(NEAREST)}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in COPIED:
            copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copied(ROOT / name, folder / name)
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": f"{folder}:{folder / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
        sys.dont_write_bytecode = True
        sys.path[:] = [str(folder), str(folder / "tests"), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
        load_libraries()
        found = [hurt(folder, module, options.sample, options.seed) for module in chosen]
    tried, every = (sum(row[key] for row in found) for key in ("tried", "mutants"))
    print(f"all: {tried} of {every} mutants, {sum(len(row['survivors']) for row in found)} not noticed")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
