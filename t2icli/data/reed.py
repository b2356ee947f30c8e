"""What CUB and Oxford flowers have from Reed et al. (CVPR 2016): ten captions a picture, and lists of classes."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from t2icli.console import say
from t2icli.data.captions.text import captions_beside, numbered_lines
from t2icli.data.places import refuse_links, shown
from t2icli.errors import DataError
from t2icli.vocabulary import LOST

TEST_CLASSES = "testclasses.txt"


def captions(root: Path, path: Path) -> tuple[str, ...]:
    """The lines of a picture's text file, the field's mark of a lost character read as a space, and spaces single.

    A ``DataError`` says why there are none.
    """
    lines = (" ".join(line.replace(LOST, " ").split()) for line in captions_beside(root, path))
    texts = tuple(filter(None, lines))
    if not texts:
        raise DataError(f"{shown(path.name)} has no line that is not blank")
    return texts


def listed_classes(root: Path, folders: Iterable[Path], number_of: Callable[[str, Path], int]) -> set[int] | None:
    """Numbers of the classes in the first ``testclasses.txt`` that lies in one of the folders; None where none does.

    ``number_of`` reads the number out of a class's name in that file.
    """
    for folder in folders:
        path = folder / TEST_CLASSES
        if path.is_file():
            refuse_links(root, [str(path.relative_to(root))])
            return {number_of(word, path) for _, line in numbered_lines(path) for word in line.split()}
    return None


def named_classes(root: Path, names: Collection[int], known: set[int]) -> set[int]:
    """The classes that the recipe names; one that is not there is refused."""
    unknown = set(names) - known
    if unknown:
        raise DataError(f"reader.test_classes: {sorted(unknown)} are no classes of {root}, which has {len(known)}")
    return set(names)


def some_classes(root: Path, missing: str, published: int, known: set[int], every: int) -> set[int]:
    """Evenly chosen classes, where nothing names the field's; ``missing`` are the files that would."""
    say(
        f"{root}: {missing} says which {published} classes the field tests with: "
        f"every {every}th class is taken, so scores compare with nothing published"
    )
    return {number for number in known if number % every == 0}
