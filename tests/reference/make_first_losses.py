"""Write first_losses.json anew from a run's log: python make_first_losses.py RUN/log.jsonl.

Only for a change that is meant to change what training does; say so in the commit.
"""

import json
import sys
from pathlib import Path

lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()[:2]]
kept = [{k: round(v, 6) for k, v in line.items() if "/" in k} for line in lines]
target = Path(__file__).with_name("first_losses.json")
target.write_text(json.dumps({"tolerance": 1e-3, "lines": kept}, indent=1) + "\n")
