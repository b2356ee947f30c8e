"""Light processes that ask for a lock, and locks that others left; for the tests and for bench/run_lock.py."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Says ready, then for each line tries to hold the lock of that name: held (until the next line) or refused. The file
# system has no locks, or no locks and no hard links, where an argument says so.
STARTER = """
import errno, fcntl, os, sys
from pathlib import Path
from t2icli.errors import UserError
from t2icli.locks import hold

def without(*_):
    raise OSError(errno.ENOSYS, "not here")

if "no-locks" in sys.argv: fcntl.flock = without
if "no-links" in sys.argv: os.link = without
print("ready", flush=True)
for line in sys.stdin:
    try:
        with hold(Path(line.strip()), "run"):
            print("held", flush=True)
            sys.stdin.readline()
        print("released", flush=True)
    except UserError as refusal:
        print(f"refused: {refusal}", flush=True)
"""
GONE_HERE = {"host": os.uname().nodename, "pid": 1 << 30, "started": "1"}  # as version 0.1 wrote it
ELSEWHERE = {"host": "elsewhere", "pid": 12, "started": "1", "kernel": "another", "space": ""}


@contextmanager
def starters(count: int, *arguments: str) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-c", STARTER, *arguments]
    pipe = subprocess.PIPE
    found = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1) for _ in range(count)
    ]
    try:
        assert [said(one) for one in found] == ["ready"] * count
        yield found
    finally:
        for one in found:
            one.kill()
            one.communicate()


def said(one: subprocess.Popen[str]) -> str:
    return one.stdout.readline().strip()


def tell(one: subprocess.Popen[str], line: str) -> None:
    one.stdin.write(f"{line}\n")


def forgotten(path: Path, holder: dict[str, Any]) -> None:
    path.write_text(json.dumps(holder))
    os.utime(path, (1, 1))
