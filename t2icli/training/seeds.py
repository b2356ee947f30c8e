"""The seed of torch's own generator at every step: a function of the recipe's seed, the step and the process.

A state says by which rule its run was begun, and the run goes on by it: a resumed run must equal an unbroken one.
"""

from typing import Literal, get_args

from t2icli.data.loader import STEPS, stream

Rule = Literal["streams", "hash"]
RULES: tuple[str, ...] = get_args(Rule)
NEW: Rule = "streams"  # the kind of stream that the loader draws from
OLD: Rule = "hash"  # of runs whose states name no rule: Python's own hash, which promises nothing across its versions


def step_seed(rule: Rule, seed: int, *position: int) -> int:
    """The seed at a position: a step, and the number of the process where there are several; below 2**63."""
    if rule == OLD:
        return hash((seed, *position)) % 2**63
    return int(stream(seed, STEPS, *position).integers(2**63))
