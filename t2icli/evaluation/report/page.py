"""The tables of a result's page: scores, labels of SOA, published figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from t2icli.evaluation.report import published
from t2icli.evaluation.report.markup import Html, digest, join, measured, number, table, tag
from t2icli.evaluation.report.published import Row

REAL = " (real)"
CHANCE = "chance"
BETTER = {"lower": "↓\u00a0lower", "higher": "↑\u00a0higher"}
Result = Mapping[str, Any]


def scores(result: Result) -> Html:
    """Every metric that was computed, beside real images and chance; then those that were not, with the reason."""
    computed = {title: entry for title, entry in result["metrics"].items() if entry["computed"]}
    missing = {title: entry for title, entry in result["metrics"].items() if not entry["computed"]}
    pieces = []
    if computed:
        columns = ["Metric", "Generated", "Real images", "Chance", "Better", "Network", "Weights", "Resize"]
        body = [row for title, entry in computed.items() for row in score_rows(title, entry)]
        several = any(entry["std_over_seeds"] is not None for entry in computed.values())
        caption = "Mean ± standard deviation over noise seeds" if several else "One set of pictures, so no deviation"
        pieces.append(table(columns, body, caption, numeric=(1, 2, 3)))
    if missing:
        facts = [piece for title, entry in missing.items() for piece in (tag("dt", title), tag("dd", entry["reason"]))]
        pieces += [tag("h3", "Not computed"), tag("dl", *facts)]
    return join(tag("h2", "Scores"), *pieces)


def score_rows(title: str, entry: Result) -> list[Html]:
    """The rows of one metric: the headline with what looked at the pictures, then its other figures."""
    mean, std = entry["mean"], entry["std"]
    keys = list(dict.fromkeys(key.removesuffix(REAL) for key in mean if key != CHANCE))
    rows = []
    for place, key in enumerate(keys):
        first = place == 0
        name = title if first and key in title else f"{title}: {key}" if first else key
        cells = [
            tag("th", name, scope="row"),
            tag("td", measured(mean.get(key), std.get(key)), class_="number"),
            tag("td", number(mean.get(key + REAL)), class_="number"),
            tag("td", number(mean.get(CHANCE) if first else None), class_="number"),
        ]
        if first:
            span = str(len(keys))
            about = (BETTER[entry["better"]], entry["network"], weights(entry["weights"]), entry["resize"])
            cells += [tag("td", fact, rowspan=span) for fact in about]
        rows.append(tag("tr", *cells) if first else tag("tr", *cells, class_="part"))
    return rows


def weights(record: Result) -> Html:
    """Which weights looked: name, first digits of the hash, and whether they are the published ones."""
    known = "" if record["published"] else ", not the published ones"
    return join(record["name"], " ", digest(record["sha256"]), known)


def labels(result: Result) -> Html:
    """For every metric that counts labels, a bar a label."""
    pieces = []
    for title, entry in result["metrics"].items():
        details = entry.get("details") or [{}]
        if details[0].get("labels"):
            seed = entry["per_seed"][0].get("seed")
            which = "" if seed is None else f", noise seed {seed}"
            caption = f"{title}: share of pictures in which the label's object was found{which}"
            columns = ["Label", "Name", "Pictures", "Found", "Accuracy", "Accuracy as a bar", "Real images"]
            real = {label["label"]: label["accuracy"] for label in details[0].get("labels" + REAL, [])}
            body = [label_row(label, real.get(label["label"])) for label in details[0]["labels"]]
            pieces.append(table(columns, body, caption, numeric=(2, 3, 4, 6)))
    return join(tag("h2", "Objects by label"), *pieces) if pieces else Html()


def label_row(label: Result, real: float | None) -> Html:
    """One label's counts, its accuracy, a bar as long as that, and the accuracy of real images."""
    share = label["accuracy"] or 0.0  # a label without pictures has none
    return tag(
        "tr",
        tag("td", str(label["label"])),
        tag("th", label["name"], scope="row"),
        tag("td", number(label["images"]), class_="number"),
        tag("td", number(label["found"]), class_="number"),
        tag("td", number(label["accuracy"]), class_="number"),
        tag("td", tag("span", class_="bar", aria_hidden="true", style=f"width:{100 * share:.2f}%"), class_="track"),
        tag("td", number(real), class_="number"),
    )


def published_figures(result: Result) -> Html:
    """The published figures of the result's data set, a table for each metric name; none for unknown data sets."""
    dataset = published.dataset_of(result)
    found = published.rows(dataset) if dataset else []
    if not found:
        return Html()
    meanings = [
        piece for word, text in published.status_meanings().items() for piece in (tag("dt", word), tag("dd", text))
    ]
    groups: dict[str, list[Row]] = {}
    for row in found:
        groups.setdefault(row.metric, []).append(row)
    return join(
        tag("h2", f"Published figures of {dataset}"),
        tag(
            "p",
            "Figures of different names are different measures: each has a table of its own. Inside a table, figures "
            "that followed the same protocol as this result come first, best first; the others follow by name, in no "
            "ranking, each with the reason.",
        ),
        tag("dl", *meanings),
        *(group(name, groups[name], result) for name in sorted(groups)),
    )


def group(name: str, found: Sequence[Row], result: Result) -> Html:
    """The figures of one metric name; shut where none of them may be compared with the result."""
    judged = [(row, *published.matches(row, result)) for row in found]
    same = [judgement for judgement in judged if judgement[1]]
    others = sorted((judgement for judgement in judged if not judgement[1]), key=lambda one: one[0].system.lower())
    body = []
    if same:
        ours = published.MEASURES[name].ours
        upwards = result["metrics"][ours]["better"] == "higher"
        same.sort(key=lambda one: float(one[0].value), reverse=upwards)
        cells = [tag("th", "this result", scope="row"), tag("td", number(published.value_of(same[0][0], result)))]
        body.append(tag("tr", *cells, *(tag("td", "–") for _ in range(4)), class_="ours"))
    body += [published_row(row, fits, why) for row, fits, why in [*same, *others]]
    columns = ["System", "Value", "Comparable", "Status", "Protocol and notes", "Source"]
    count = f"{len(found)} published, {len(same) or 'none'} comparable with this result"
    summary = tag("summary", tag("strong", name), " ", tag("span", count, class_="soft"))
    shown = table(columns, body, f"{name}: published figures")
    return tag("details", summary, shown, open="open") if same else tag("details", summary, shown)


def published_row(row: Row, fits: bool, why: str) -> Html:
    """One published figure, with what is known of it."""
    return tag(
        "tr",
        tag("th", row.system, scope="row"),
        # As text: digits that were not published would be invented.
        tag("td", measured(str(row.value), None if row.std is None else str(row.std))),
        tag("td", tag("span", "yes", class_="yes"), f": {why}") if fits else tag("td", f"no: {why}"),
        tag("td", row.status),
        tag("td", "; ".join(filter(None, (row.protocol, row.note))) or "–"),
        tag("td", row.source),
    )
