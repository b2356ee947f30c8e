"""BLEU: how many runs of words a set of descriptions shares with what people wrote.

Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002, with one reference each.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

Words = Sequence[str]


def bleu(described: Sequence[Words], references: Sequence[Words], longest: int = 4) -> float:
    """BLEU of a whole corpus in [0, 1]: brevity penalty times the geometric mean of the precisions, not smoothed.

    Counts of all sentences are added up before anything is divided, so it is no mean over sentences.
    """
    shared, all_runs = [0] * longest, [0] * longest
    for ours, theirs in zip(described, references, strict=True):
        for length in range(1, longest + 1):
            found, wanted = Counter(runs(ours, length)), Counter(runs(theirs, length))
            shared[length - 1] += (found & wanted).total()  # a run counts no more often than the reference has it
            all_runs[length - 1] += found.total()
    if not all(shared):
        return 0.0
    precision = sum(math.log(s / a) for s, a in zip(shared, all_runs, strict=True)) / longest
    ours_long, theirs_long = sum(map(len, described)), sum(map(len, references))
    return math.exp(min(0.0, 1 - theirs_long / ours_long) + precision)


def runs(words: Words, length: int) -> Iterator[tuple[str, ...]]:
    """All runs of so many words."""
    return (tuple(words[start : start + length]) for start in range(len(words) - length + 1))
