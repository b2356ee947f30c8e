"""What happens when numbers stop being finite: the run's card says where, and what the same command will do next.

A step is a function of the seed and the position, so a run that diverged mostly diverges again. The same command goes
back to the last finite state; if that leads to the same place, one state further; after that nothing is promised.
"""

from pathlib import Path

from pydantic import BaseModel, NonNegativeInt, PositiveInt

from t2icli.documents import read_document
from t2icli.errors import DataError, Diverged
from t2icli.training import run as run_folder


class Place(BaseModel):
    """Where a run diverged the last time, and how many times it did so there."""

    step: NonNegativeInt  # the update after which it was seen
    before_image: NonNegativeInt
    times: PositiveInt


class Marks(BaseModel):
    """What states leave on a run's card."""

    states: dict[str, str] = {}  # file name -> SHA-256
    diverged: Place | None = None


def marks(run: Path) -> Marks:
    """What the card says of a run's states; nothing where there is no card, or none that can be read."""
    try:
        return read_document(run / "card.json", Marks)
    except DataError:  # whoever writes the card says what is wrong with it; states have checksums of their own
        return Marks()


def left_out(run: Path, states: int) -> int:
    """How many of the newest states the next attempt leaves out, because they led to the same end before."""
    place = marks(run).diverged
    return min(place.times - 1, max(states - 1, 0)) if place else 0


def diverged(run: Path, step: int, images: int, bad: list[str], states: list[Path], write: bool) -> Diverged:
    """Note on the card (if this process is to ``write``) that a run diverged, and say what the same command will do."""
    before = marks(run).diverged
    times = before.times + 1 if before and step <= before.step else 1
    if write:
        place = Place(step=step, before_image=images, times=times)
        run_folder.write_card(run, {"state": "diverged", "diverged": place.model_dump()})
    named = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
    return Diverged(f"diverged before image {images:,}: not finite: {named}; {outlook(times, states)}")


def outlook(times: int, states: list[Path]) -> str:
    """What the same command will do after a run diverged at one place so many times; no more than what holds."""
    if times == 1 and states:
        further = ", and if that leads here again, one state further" if len(states) > 1 else ""
        return f"the last good state is {states[-1]}. The same command goes back to it{further}"
    if times == 2 and len(states) > 1:
        return f"this is the second time. The same command goes back one state further, to {states[-2]}"
    tried = f"this is time {times}, from every state that is kept" if states else "no state was saved yet"
    return f"{tried}. The same command would do the same again, and most likely end the same"
