"""Which of several processes this one is, as the environment says; the one place that reads those variables.

torchrun sets them, and so do clusters of their own accord. Nothing here imports torch.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from t2icli.errors import EnvironmentFault

MEETING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what processes need to find one another
# What starts several processes without telling them how to meet -> the variable in which it counts them.
STARTERS = {"srun": "SLURM_STEP_NUM_TASKS", "mpirun": "OMPI_COMM_WORLD_SIZE", "mpiexec": "PMI_SIZE"}
WAIT = "T2I_WAIT"
# Seconds to wait for the others. torchrun has brought its processes together before it starts them, and stops all if
# one dies; elsewhere the others may never come.
WAIT_BY_TORCHRUN, WAIT_OTHERWISE = 600, 30


@dataclass(frozen=True)
class Place:
    """One process among those that work together."""

    rank: int = 0
    size: int = 1
    local: int = 0  # its number on this machine, which is also its GPU's
    by_torchrun: bool = False
    wait: int = WAIT_OTHERWISE  # seconds that the others may take to come
    address: str = ""  # where they meet
    note: str = ""  # what a person should know of the environment


def under_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in environment


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """Who this process is; variables that contradict one another, or that are half a set, are refused in words."""
    by_torchrun = under_torchrun(environment)
    size = number(environment, "WORLD_SIZE", 1, least=1)
    if size == 1 and not by_torchrun:  # a rank without a size is a counter of somebody else's, e.g. of an array of jobs
        return Place(note=started_apart(environment))
    missing = [name for name in MEETING if not environment.get(name)]
    if missing:
        without = f"without {' and '.join(missing)} they cannot meet"
        raise EnvironmentFault(
            f"WORLD_SIZE={size} says that {size} processes work together, but {without}. {remedy(environment)}"
        )
    rank = number(environment, "RANK", 0)
    if rank >= size:
        raise EnvironmentFault(f"RANK={rank}: should be less than WORLD_SIZE={size}. {remedy(environment)}")
    port = number(environment, "MASTER_PORT", 0)
    if not 0 < port < 65536:
        raise EnvironmentFault(f"MASTER_PORT={port}: should be a port, 1 to 65535. {remedy(environment)}")
    address = f"{environment['MASTER_ADDR']}:{port}"
    wait = number(environment, WAIT, WAIT_BY_TORCHRUN if by_torchrun else WAIT_OTHERWISE, least=1)
    note = "" if by_torchrun else (
        f"RANK={rank} and WORLD_SIZE={size} are set, though not by torchrun: waiting up to {wait} s for the other "
        f"{size - 1} at {address} ({WAIT} sets the seconds). {remedy(environment)}"
    )  # fmt: skip
    return Place(rank, size, number(environment, "LOCAL_RANK", 0), by_torchrun, wait, address, note)


def number(environment: Mapping[str, str], name: str, default: int, least: int = 0) -> int:
    """A whole number from the environment; an empty variable is as good as none."""
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise EnvironmentFault(f"{name}={text[:40]}: should be a whole number from {least} on. {remedy(environment)}")
    return int(text)


def remedy(environment: Mapping[str, str]) -> str:
    """What helps, by who has set the variables."""
    if under_torchrun(environment):
        return "torchrun sets these variables itself; start it anew, without changing them"
    names = [name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE") if name in environment]
    without = " ".join(f"-u {name}" for name in names)
    return f"To train together, start with torchrun (docs/clusters.md); to work alone: env {without} t2i ..."


def started_apart(environment: Mapping[str, str]) -> str:
    """A note where several processes were started that know nothing of one another."""
    for starter, variable in STARTERS.items():
        text = environment.get(variable, "")
        if text.isdigit() and int(text) > 1:
            return (
                f"{starter} has started {text} processes of this command; each works alone. "
                "docs/clusters.md says how several work together"
            )
    return ""


def idle(verb: str, environment: Mapping[str, str] = os.environ) -> str:
    """What to say in a process that torchrun started for a verb which one process does; empty in the first.

    Variables that a cluster has set say nothing here: what is done alone is done alone.
    """
    rank = environment.get("RANK", "")
    if not under_torchrun(environment) or rank in ("", "0"):
        return ""
    return f"t2i {verb} works in one process: process {rank} of torchrun has nothing to do and ends"
