"""What the environment says of several processes: checked once, explained, and never waited for without end."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from torch.distributed.run import parse_args
from typer.testing import CliRunner

import t2icli
from t2icli.cli import SEVERAL, app
from t2icli.errors import EnvironmentFault
from t2icli.processes import Place, idle, number, place

TOGETHER = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
TORCHRUN = TOGETHER | {"TORCHELASTIC_RUN_ID": "x", "LOCAL_RANK": "1"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "node1"},
        {"WORLD_SIZE": "", "RANK": ""},
        {"RANK": "3"},  # an array of jobs counts so
        {"RANK": "-1", "LOCAL_RANK": "-1"},  # what DeepSpeed calls one process
        {"RANK": "a"},
        {"LOCAL_RANK": "7", "MASTER_ADDR": "node1", "MASTER_PORT": "x"},
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # a batch script of a job that may start eight tasks
        {"SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_one_process_works_alone(environment: dict[str, str]) -> None:
    assert place(environment) == Place()


def test_processes_that_work_together() -> None:
    assert place(TORCHRUN) == Place(1, 2, 1, True, 600, "node1:29500")
    by_hand = place(TOGETHER)
    assert (by_hand.rank, by_hand.size, by_hand.local, by_hand.wait) == (1, 2, 0, 30)
    assert by_hand.note.startswith(
        "RANK=1 and WORLD_SIZE=2 are set, though not by torchrun: waiting up to 30 s for the other 1 at node1:29500 "
        "(T2I_WAIT sets the seconds)"
    )
    assert place(TORCHRUN | {"T2I_WAIT": "5"}).wait == place(TOGETHER | {"T2I_WAIT": "5"}).wait == 5
    assert place(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}).size == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "but without MASTER_ADDR and MASTER_PORT they cannot meet"),
        ({"WORLD_SIZE": "2"}, "but without RANK and MASTER_ADDR and MASTER_PORT they cannot meet"),
        (TOGETHER | {"MASTER_PORT": ""}, "but without MASTER_PORT they cannot meet"),
        (TORCHRUN | {"MASTER_ADDR": ""}, "but without MASTER_ADDR they cannot meet"),
        (TOGETHER | {"RANK": "2"}, "RANK=2: should be less than WORLD_SIZE=2"),
        (TORCHRUN | {"RANK": "9"}, "RANK=9: should be less than WORLD_SIZE=2"),
        (TORCHRUN | {"RANK": "1", "WORLD_SIZE": "1"}, "RANK=1: should be less than WORLD_SIZE=1"),
        (TOGETHER | {"RANK": "-1"}, "RANK=-1: should be a whole number from 0 on"),
        (TOGETHER | {"RANK": "one"}, "RANK=one: should be a whole number from 0 on"),
        (TORCHRUN | {"LOCAL_RANK": "1.0"}, "LOCAL_RANK=1.0: should be a whole number from 0 on"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two: should be a whole number from 1 on"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0: should be a whole number from 1 on"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE=-2: should be a whole number from 1 on"),
        ({"WORLD_SIZE": "²"}, "WORLD_SIZE=²: should be a whole number from 1 on"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE=" + "9" * 40 + ": should be"),
        (TOGETHER | {"MASTER_PORT": "0"}, "MASTER_PORT=0: should be a port, 1 to 65535"),
        (TOGETHER | {"MASTER_PORT": "70000"}, "MASTER_PORT=70000: should be a port, 1 to 65535"),
        (TOGETHER | {"MASTER_PORT": "tcp://10.0.0.1:29500"}, "MASTER_PORT=tcp://10.0.0.1:29500: should be a whole"),
        (TOGETHER | {"T2I_WAIT": "long"}, "T2I_WAIT=long: should be a whole number from 1 on"),
    ],
)
def test_what_cannot_be_is_refused_in_words(environment: dict[str, str], message: str) -> None:
    with pytest.raises(EnvironmentFault, match=re.escape(message)) as fault:
        place(environment)
    assert fault.value.exit_code == 5
    if "TORCHELASTIC_RUN_ID" in environment:
        assert "start it anew" in str(fault.value)
    else:
        assert "start with torchrun (docs/clusters.md); to work alone: env -u" in str(fault.value)


def test_an_empty_number_is_none() -> None:
    assert number({"A": " "}, "A", 7) == 7
    assert number({"A": " 12 "}, "A", 7) == 12


@pytest.mark.parametrize("variable", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_processes_that_know_nothing_of_one_another_are_told(variable: str) -> None:
    found = place({variable: "4"})
    assert (found.rank, found.size) == (0, 1)
    assert "has started 4 processes of this command; each works alone" in found.note
    assert place({variable: "many"}).note == ""


# ---------------------------------------------------------------------------- verbs that one process does


def test_single_verbs_take_no_notice_of_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"RANK": "x", "WORLD_SIZE": "2", "MASTER_PORT": "?", "LOCAL_RANK": "-1"}.items():
        monkeypatch.setenv(name, value)
    assert CliRunner().invoke(app, ["recipes", "cp", "xmcgan", "my.toml"]).exit_code == 0
    assert Path("my.toml").is_file()
    for verb in SEVERAL:
        assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0


def test_under_torchrun_a_single_verb_is_done_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for rank, done in (("1", False), ("0", True)):
        for name, value in (TORCHRUN | {"RANK": rank}).items():
            monkeypatch.setenv(name, value)
        assert CliRunner().invoke(app, ["recipes", "cp", "xmcgan", "my.toml"]).exit_code == 0
        assert Path("my.toml").exists() == done
    assert idle("sample", TORCHRUN) == (
        "t2i sample works in one process: process 1 of torchrun has nothing to do and ends"
    )
    assert idle("sample", TOGETHER) == ""


def test_every_verb_but_two_is_done_by_one_process() -> None:
    command = typer.main.get_command(app)
    for name, verb in command.commands.items():  # type: ignore[attr-defined]
        for inner in getattr(verb, "commands", {"": verb}).values():
            assert (type(inner).__name__ == "OneProcess") == (name not in SEVERAL), name


# ---------------------------------------------------------------------------- torchrun's own options


def test_torchrun_passes_our_options_on() -> None:
    """It takes whatever its own options begin with, wherever that stands: --run for --run-path."""
    command = typer.main.get_command(app)
    for name in SEVERAL:
        for option in command.commands[name].params:  # type: ignore[attr-defined]
            spellings = [one for one in [*option.opts, *option.secondary_opts] if one.startswith("--")]
            if not spellings or option.name == "nproc":  # which torchrun's own --nproc-per-node stands for
                continue
            assert any(is_passed_on(name, spelling) for spelling in spellings), spellings
    assert is_passed_on("train", "--run-dir")


def is_passed_on(verb: str, option: str) -> bool:
    words = [verb, "x", option, "y"]
    try:
        return parse_args(["--nproc-per-node", "2", "-m", "t2icli", *words]).training_script_args == words
    except SystemExit:
        return False


@pytest.mark.parametrize("verb", ["train", "sample", "import", "pretrain-encoders"])
def test_every_run_option_has_the_spelling(verb: str) -> None:
    (option,) = [
        one
        for one in typer.main.get_command(app).commands[verb].params
        if one.name == "run"  # type: ignore[attr-defined]
    ]
    assert option.opts == ["--run", "--run-dir"]


# ---------------------------------------------------------------------------- meeting


def meets(**environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        "from t2icli.ending import ending\n"
        "from t2icli.distributed import session\n"
        "with ending(), session() as world: print(world.rank, world.size)\n"
    )
    package = str(Path(t2icli.__file__).parents[1])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "TORCHELASTIC"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"PYTHONPATH": package, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.mark.parametrize("rank", ["0", "1"])
def test_others_that_never_come_are_waited_for_with_a_limit(rank: str) -> None:
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    start = time.monotonic()
    done = meets(RANK=rank, WORLD_SIZE="2", T2I_WAIT="2", **address)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert f"process {rank} of 2 did not meet the others at 127.0.0.1:{address['MASTER_PORT']} in 2 s" in done.stderr
    assert time.monotonic() - start < 200


def test_half_a_set_is_refused_at_once() -> None:
    done = meets(RANK="0", WORLD_SIZE="2")
    assert done.returncode == 5
    assert "they cannot meet" in done.stderr and "Traceback" not in done.stderr
