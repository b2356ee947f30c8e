"""How often starters that begin together hold one run's lock: once in every round, or the lock is broken.

    python bench/run_lock.py --rounds 3000

Three processes ask for a lock at the same moment. Rounds begin with no lock, with one whose process is gone and with
one of another machine, on a file system as it is, on one without locks, and on one without locks or hard links.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from lock_starters import ELSEWHERE, GONE_HERE, forgotten, said, starters, tell

KINDS: dict[str, tuple[str, ...]] = {"locks": (), "no locks": ("no-locks",), "no links": ("no-locks", "no-links")}
LEFT = {"no lock": None, "gone": GONE_HERE, "elsewhere": ELSEWHERE}


def rounds(count: int, three: list[subprocess.Popen[str]], path: Path, left: dict[str, object] | None) -> Counter[int]:
    """How many held the lock, for each round."""
    found: Counter[int] = Counter()
    for _ in range(count):
        if left is not None:
            forgotten(path, left)
        for one in three:
            tell(one, str(path))
        holders = [one for one in three if said(one) == "held"]
        found[len(holders)] += 1
        for one in holders:
            tell(one, "")
            said(one)
    return found


def main() -> None:
    """Print a line of JSON for each kind of file system and of lock that was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    count = parser.parse_args().rounds
    for kind, arguments in KINDS.items():
        with tempfile.TemporaryDirectory() as folder, starters(3, *arguments) as three:
            for what, left in LEFT.items():
                start, few = time.monotonic(), count // 10 if kind == "no links" else count
                holders = rounds(few, three, Path(folder) / "run.lock", left)
                seconds = round(time.monotonic() - start, 1)
                print(json.dumps({"file system": kind, "left": what, "holders": holders, "seconds": seconds}))
                assert not any(Path(folder).iterdir())


if __name__ == "__main__":
    main()
