"""HTML whose tags are closed and whose text is escaped because it can be made in no other way."""

import html
import math
import re

VOID = ("img",)  # elements without an end tag
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # not allowed in a page, escaped or not
DIGITS = 12  # of a hash that are shown


class Html(str):
    """Text that is HTML already; any other text is escaped before it becomes a part of the page."""

    __slots__ = ()


def escape(text: str) -> str:
    """Text as a page may hold it, inside elements and inside quoted attributes.

    Control characters and halves of surrogate pairs, which file names and JSON may hold, become replacement marks.
    """
    return html.escape(CONTROLS.sub("\ufffd", text).encode("utf-8", "replace").decode("utf-8"), quote=True)


def tag(name: str, *children: str, **attributes: str) -> Html:
    """An element; ``class_`` stands for the attribute ``class``, other underscores for hyphens."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: str, between: str = "") -> Html:
    """Several pieces one after another, each escaped unless it is HTML already."""
    return Html(between.join(child if isinstance(child, Html) else escape(child) for child in children))


def number(value: float | str | None) -> Html:
    """A number in few digits whose exact value stays in the element's ``value``; a dash where there is none."""
    if value is None:
        return Html("–")
    if isinstance(value, str):
        return join(value)
    return tag("data", rounded(value), value=str(value))


def rounded(value: float) -> str:
    """Four digits or so, counts in full; a tiny value keeps its power of ten."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if isinstance(value, int):
        text = f"{value:,.0f}"
    elif 0 < size < 0.001:
        text = f"{value:.1e}"
    else:
        text = f"{value:,.{1 if size >= 1000 else 2 if size >= 10 else 3 if size >= 1 else 4}f}"
    return text.replace("-", "−")


def measured(value: float | str | None, deviation: float | str | None) -> Html:
    """A value, with its deviation where it has one."""
    return number(value) if deviation is None else join(number(value), " ± ", number(deviation))


def table(columns: list[str], body: list[Html], caption: str, numeric: tuple[int, ...] = ()) -> Html:
    """A table with a header row; ``numeric`` columns stand to the right; a narrow screen can scroll it sideways."""
    heads = [
        tag("th", column, scope="col", **({"class_": "number"} if place in numeric else {}))
        for place, column in enumerate(columns)
    ]
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", *heads)), tag("tbody", *body))
    return tag("div", whole, class_="scroll", role="region", tabindex="0", aria_label=caption)


def digest(sha256: str) -> Html:
    """The first digits of a hash, the whole of it in the element's title."""
    return tag("code", sha256[:DIGITS], title=sha256)
