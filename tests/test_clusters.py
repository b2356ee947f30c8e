"""The scripts of docs/clusters.md, run with stand-ins for the scheduler's own commands."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from t2icli import errors
from t2icli.cli import app

PAGE = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
SCRIPTS = {
    re.search(r"job-name=(.*)", script)[1] + ("-nodes" if "--nodes=4" in script else ""): script  # type: ignore[index]
    for script in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.M | re.S)
}
TINY = Path(__file__).parents[1] / "recipes" / "tiny" / "xmcgan.toml"

SRUN = """#!/bin/bash
# as many tasks as there are nodes, all on this machine
while [[ $1 == --* ]]; do shift; done
for node in $(seq "$SLURM_JOB_NUM_NODES"); do
    "$@" &
    echo $! >> "$STAND_INS/tasks"
done
wait -n; first=$?
wait
exit $first
"""
SCANCEL = """#!/bin/bash
echo "scancel $*" >> "$STAND_INS/said"
kill -USR1 $(cat "$STAND_INS/tasks")
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*" >> "$STAND_INS/said"
[ "$1" = show ] && echo localhost
exit 0
"""


def test_the_page_has_its_scripts() -> None:
    assert set(SCRIPTS) == {"xmcgan", "xmcgan-nodes", "prepare", "merge", "prepare-ray-nodes"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_bash_with_options_that_stand_first(name: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPTS[name])
    subprocess.run(["bash", "-n", tmp_path / "script"], check=True, timeout=60)
    first, *others = SCRIPTS[name].split("\n\n")
    assert first.startswith("#!/bin/bash\n#SBATCH ")
    assert not any("#SBATCH" in part for part in others)  # SLURM stops reading at the first command
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in first.splitlines()[1:])


@pytest.mark.parametrize("name", SCRIPTS)
def test_their_commands_exist(name: str) -> None:
    """Every option is one of ours, once the variables have values."""
    values = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16", "PROCESSES:-8": "8", "PROCESSES": "8"}
    text = re.sub(r"\$\{?(\w+(?::-\w+)?)\}?", lambda found: values.get(found[1], "16"), SCRIPTS[name])
    found = re.findall(r"(?:^|\s)(?:t2i|-m t2icli) ((?:train|prepare) (?:\\\n|.)*)", text, flags=re.M)
    assert len(found) == 1
    verb, *words = shlex.split(found[0].replace("\\\n", " ").partition("&")[0])
    typer.main.get_command(app).commands[verb].make_context(verb, words)  # type: ignore[attr-defined]


def test_the_page_says_every_code() -> None:
    table = re.search(r"^\| code .*?\n\n", PAGE, flags=re.M | re.S)
    assert table is not None
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.UserError)]
    for kind in kinds:
        assert re.search(rf"^\| [\d, ]*\b{kind.exit_code}\b", table[0], flags=re.M), kind


# ---------------------------------------------------------------------------- running them


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def job(folder: Path, shards: Path, images: int, **variables: str) -> dict[str, str]:
    """A job's environment: stand-ins on the path, and a recipe of a few steps."""
    stand_ins = folder / "bin"
    stand_ins.mkdir()
    module = f'#!/bin/bash\nexec "{sys.executable}" -m '
    commands = {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}
    commands |= {"t2i": f'{module}t2icli "$@"\n', "torchrun": f'{module}torch.distributed.run "$@"\n'}
    for name, text in commands.items():
        (stand_ins / name).write_text(text)
        (stand_ins / name).chmod(0o755)
    recipe = TINY.read_text(encoding="utf-8")
    recipe = recipe.replace('"data/scenes"', json.dumps(str(shards))).replace("images = 32", f"images = {images}")
    (folder / "my.toml").write_text(recipe.replace("every = 8", "every = 80").replace("every = 16", "every = 1600"))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("SLURM")},
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PATH": f"{stand_ins}:{os.environ['PATH']}",
        "STAND_INS": str(folder),
        "OMP_NUM_THREADS": "1",
        "RECIPE": "my.toml",
        "RUN": "run",
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NODELIST": "node[1-2]",
        **variables,
    }


def started(name: str, folder: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    (folder / "script").write_text(SCRIPTS[name])
    with (folder / "log").open("a") as log:
        return subprocess.Popen(["bash", "script"], cwd=folder, env=environment, stdout=log, stderr=log, text=True)


def wait_for_steps(folder: Path, process: "subprocess.Popen[str]") -> None:
    log = folder / "run" / "log.jsonl"
    for _ in range(2400):
        if log.is_file() and log.read_text():
            return
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    raise AssertionError((folder / "log").read_text())


def said(folder: Path) -> str:
    path = folder / "said"
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_one_node_saves_and_goes_into_the_queue_again(tiny_shards: Path, tmp_path: Path) -> None:
    environment = job(tmp_path, tiny_shards, 400_000, PROCESSES="2", SLURM_JOB_NUM_NODES="1")
    process = started("xmcgan", tmp_path, environment)
    wait_for_steps(tmp_path, process)
    process.send_signal(signal.SIGUSR1)  # as SLURM sends it, to the script alone
    assert process.wait(240) == 75, (tmp_path / "log").read_text()
    assert said(tmp_path) == "scontrol requeue 77\n"
    assert json.loads((tmp_path / "run" / "card.json").read_text())["state"] == "stopped"
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_two_nodes_save_and_go_into_the_queue_again(tiny_shards: Path, tmp_path: Path) -> None:
    """Two torchruns that meet on this machine, one process each."""
    environment = job(tmp_path, tiny_shards, 400_000, PROCESSES="1", SLURM_JOB_NUM_NODES="2", PORT=free_port())
    process = started("xmcgan-nodes", tmp_path, environment)
    wait_for_steps(tmp_path, process)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(240) != 0
    assert "scontrol requeue 77\n" in said(tmp_path), (tmp_path / "log").read_text()
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert (card["state"], card["processes"]) == ("stopped", 2)
    assert "exitcode  : 75" in (tmp_path / "log").read_text()
