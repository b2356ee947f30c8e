"""The page that shows a result: one file without scripts that needs nothing else, to be read, printed and kept."""

import base64
import io
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image
from torch import Tensor

from t2icli.errors import UserError
from t2icli.evaluation.report import page
from t2icli.evaluation.report.markup import Html, digest, escape, join, number, table, tag
from t2icli.storage import write_text

SKELETON = Path(__file__).parents[2] / "assets" / "report.html"
LARGEST = 128  # pixels of a shown picture's longer side, so that pages stay small
SHA256 = 64  # digits of a whole hash
Document = tuple[Path, dict[str, Any]]


@dataclass(frozen=True)
class Grid:
    """Pictures to show, each above its caption."""

    title: str
    images: Tensor  # (n, 3, H, W) uint8
    captions: Sequence[str]  # n


def write_report(page_path: Path, results: Sequence[Document], grids: Sequence[Grid]) -> Path:
    """Write a page and return its path.

    results: pairs of a result's JSON file and what it holds. The page shows the newest by its ``utc``, the last of
    several of one second, and lists the others with links to pages of their own, where they have such.
    grids: pictures of the newest result.
    Raises UserError when there are no results.
    """
    if not results:
        raise UserError(f"{page_path.parent}: no results to report; t2i evaluate writes them")
    folder = page_path.parent
    oldest_first = sorted(results, key=lambda one: str(one[1]["utc"]))
    *earlier, (path, result) = oldest_first
    sections = (
        page.scores(result),
        pictures(grids),
        page.labels(result),
        page.published_figures(result),
        measured_how(result),
        earlier_results(folder, earlier[::-1]),
    )
    whole = Template(SKELETON.read_text(encoding="utf-8")).substitute(
        title=escape(f"{result['target']['path']}, {result['protocol']}"),
        header=header(folder, path, result),
        main=join(*filter(None, sections), between="\n"),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(page_path, whole)
    return page_path


def header(folder: Path, path: Path, result: Mapping[str, Any]) -> Html:
    """What was scored under which protocol, when, and what departs from the protocol."""
    target = result["target"]
    about = [str(target["system"])] if "system" in target else []
    if target.get("images_trained") is not None:
        about.append(f"trained on {target['images_trained']:,} images")
    line = join("Scored under ", tag("strong", result["protocol"]), *(f", {fact}" for fact in about))
    pieces = [
        tag("h1", tag("bdi", str(target["path"]))),
        tag("p", line, class_="lead"),
        tag("p", result["utc"], " · ", link(folder, path), class_="soft"),
    ]
    for title, found in (("Departs from its protocol", result["deviations"]), ("Notes", result["notes"])):
        if found:
            points = tag("ul", *(tag("li", one) for one in found))
            pieces.append(tag("section", tag("h3", title), points, class_="warning"))
    return join(*pieces, between="\n")


def link(folder: Path, path: Path) -> Html:
    """A link to a file, relative to the folder of the page, so that both can be moved together."""
    way = os.path.relpath(path.absolute(), folder.absolute())
    return tag("a", tag("bdi", path.name), href="./" + urllib.parse.quote(os.fsencode(Path(way).as_posix())))


def measured_how(result: Mapping[str, Any]) -> Html:
    """Everything a figure depends on beside its network, in words."""
    named = {
        "Target": result["target"],
        "Generated": result["generated"],
        "Real": result["real"],
        "Software": result["versions"] | {"device": result["device"]},
    }
    pieces = [
        piece
        for name, found in named.items()
        for piece in (tag("dt", name), tag("dd", join(*facts(found), between=" · ") if found else "none"))
    ]
    return join(tag("h2", "How it was measured"), tag("dl", *pieces))


def facts(found: Mapping[str, Any], prefix: str = "") -> list[Html]:
    """Names and values, tables within tables included; hashes in short."""
    pieces: list[Html] = []
    for key, value in found.items():
        name = prefix + key.replace("_", " ")
        if isinstance(value, Mapping):
            pieces += facts(value, f"{name} ")
        elif isinstance(value, str) and len(value) == SHA256 and "sha256" in name:
            pieces.append(join(name, " ", digest(value)))
        elif value is not None:
            pieces.append(join(name, " ", tag("bdi", in_words(value))))
    return pieces


def in_words(value: object) -> str:
    """A fact as people write it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def pictures(grids: Sequence[Grid]) -> Html:
    """The sample grids, each picture above its caption."""
    if not grids:
        return Html()
    pieces = []
    for grid in grids:
        shown = zip(grid.images, grid.captions, strict=True)
        items = [
            tag("li", picture(image, caption, f"{grid.title}, picture {place}"))
            for place, (image, caption) in enumerate(shown, start=1)
        ]
        pieces += [tag("h3", grid.title), tag("ul", *items, class_="pictures")]
    return join(tag("h2", "Pictures"), *pieces)


def picture(image: Tensor, caption: str, alternative: str) -> Html:
    """One picture, (3, H, W) uint8, in the page itself; its caption cannot turn the text around it (``bdi``)."""
    shown = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    shown.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    shown.save(file, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    drawn = tag("img", src=source, alt=alternative, width=str(shown.width), height=str(shown.height))
    return tag("figure", drawn, tag("figcaption", tag("bdi", caption)))


def earlier_results(folder: Path, earlier: Sequence[Document]) -> Html:
    """Older results, newest first; their figures may have been measured in other ways."""
    if not earlier:
        return Html()
    body = [
        tag(
            "tr",
            tag("th", result["utc"], scope="row"),
            tag("td", result["protocol"]),
            tag("td", headlines(result)),
            tag("td", link(folder, path), *own_page(folder, path)),
        )
        for path, result in earlier
    ]
    columns = ["When", "Protocol", "Scores", "Result"]
    return join(tag("h2", "Earlier results"), table(columns, body, "Newest first, not ranked"))


def own_page(folder: Path, path: Path) -> list[Html]:
    """A link to the page of an older result, if it has one."""
    page_path = path.with_suffix(".html")
    return [join(", "), link(folder, page_path)] if page_path.is_file() else []


def headlines(result: Mapping[str, Any]) -> Html:
    """The headline of every metric that a result holds."""
    found = [(title, entry) for title, entry in result["metrics"].items() if entry["computed"]]
    return join(*(join(title, " ", number(entry["value"])) for title, entry in found), between=" · ") or Html("none")
