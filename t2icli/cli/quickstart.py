"""``t2i quickstart``: the whole chain in minutes, without a download."""

import json
from dataclasses import asdict

from t2icli.cli.options import JsonOption, SetOption


def quickstart(set_: SetOption = None, json_: JsonOption = False) -> None:
    """Draw a small data set, train XMC-GAN on it, score it and sample: minutes on two cores.

    Example: t2i quickstart
    """
    from t2icli.quickstart import quickstart as walk
    from t2icli.quickstart import tell

    outcome = walk(set_ or [])
    tell(outcome)
    print(json.dumps(asdict(outcome), default=str) if json_ else outcome.grid)
