"""The page of a result: read back by html.parser, its numbers are the document's and it needs nothing but itself."""

import base64
import io
import json
import os
import re
import urllib.parse
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from t2icli.errors import UserError
from t2icli.evaluation.report import published
from t2icli.evaluation.report.write import Grid, write_report

HASH = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
HOSTILE = "<script>alert(1)</script> \"double\" 'single' &amp; \u200f\u202eright to left"
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page consists of; tags that are not closed, or closed in another order, are an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.stack = [], []  # elements: [tag, attributes, text inside, path of ancestors]
        self.feed(text)
        self.close()
        assert not self.stack, f"not closed: {self.stack}"

    def handle_starttag(self, name, attributes):
        assert len(dict(attributes)) == len(attributes), f"attribute twice: {attributes}"
        element = [name, dict(attributes), "", [parent[0] for parent in self.stack]]
        self.elements.append(element)
        if name not in VOID:
            self.stack.append(element)

    def handle_endtag(self, name):
        assert self.stack and self.stack[-1][0] == name, f"</{name}> closes {self.stack[-1:]}"
        self.stack.pop()

    def handle_data(self, data):
        for element in self.stack:
            element[2] += data

    def all(self, name):
        return [element for element in self.elements if element[0] == name]

    def text(self):
        return next(element[2] for element in self.elements if element[0] == "body")

    def rows(self, caption):
        """The cells' texts of every row of the table whose caption begins so, with the exact numbers in them."""
        found, wanted = [], False
        for name, attributes, text, _ in self.elements:
            if name == "caption":
                wanted = text.startswith(caption)
            elif wanted and name == "tr":
                found.append(([], []))
            elif wanted and name in ("th", "td") and found:
                found[-1][0].append(text)
            elif wanted and name == "data" and found:
                found[-1][1].append(attributes["value"])
        return found


def entry(mean, std=None, better="lower", network="inception-v3-compat", **more):
    key = next(iter(mean))
    return {
        "computed": True,
        "value": mean[key],
        "std_over_seeds": std,
        "better": better,
        "mean": mean,
        "std": {name: std if name == key else None for name in mean},
        "per_seed": [{"seed": 0, **mean}],
        "details": [{}],
        "network": network,
        "weights": {"name": "inception-tf", "file": "w.pth", "sha256": HASH, "published": True},
        "resize": "tf1-bilinear-299",
    } | more


def result(**more):
    labels = [
        {"label": 0, "name": "person", "images": 30_000, "found": 12_345, "accuracy": 12_345 / 30_000},
        {"label": 78, "name": "hair drier", "images": 105, "found": 0, "accuracy": 0.0},
        {"label": 79, "name": "tooth <brush>", "images": 0, "found": 0, "accuracy": None},
    ]
    real = [{"label": 78, "name": "hair drier", "images": 40, "found": 31, "accuracy": 0.775}]
    soa = {"soa-c": 0.123456789, "soa-i": 0.25, "soa-c (real)": 0.7497, "soa-i (real)": 0.8084}
    rp = {"rp-clip": 0.7213, "rp-clip@5": 0.9, "rp-clip (real)": 0.8, "rp-clip@5 (real)": 0.95, "chance": 0.01}
    weights = {"name": "yolov3", "file": "y.weights", "sha256": "ab" * 32, "published": False}
    return {
        "protocol": "coco14-30k",
        "deviations": [],
        "notes": [],
        "target": {"kind": "run", "path": "runs/one", "system": "some-system", "images_trained": 1_234_567},
        "generated": {
            "count": 30_000,
            "height": 256,
            "width": 256,
            "seeds": [0, 1, 2],
            "captions": {"choice": "image-passes", "sha256": "cd" * 32},
            "pixels_sha256": {"seed 0": "ef" * 32},
        },
        "real": {"dataset": "coco", "split": "val", "count": 30_000},
        "metrics": {
            "fid-tf": entry({"fid-tf": 26.123456789012345}, 0.0712345678),
            "soa[yolov3@0.5]": entry(
                soa,
                better="higher",
                network="yolov3@0.5",
                weights=weights,
                details=[{"labels": labels, "labels (real)": real}],
            ),
            "rp-clip": entry(rp, better="higher", network="clip-vit-b-32"),
            "kid": {"computed": False, "reason": "no <weights> at hand", "exit_code": 5},
        },
        "protocol_file": {"real": {"dataset": "coco"}},
        "versions": {"t2i": "0.1.0", "torch": "2.11"},
        "device": "cpu",
        "utc": "2026-01-02T03:04:05Z",
    } | more


def stored(folder, *documents):
    """The documents as JSON files in a folder, and what ``write_report`` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = []
    for place, document in enumerate(documents):
        path = folder / f"coco14-30k {place}#.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        pairs.append((path, json.loads(path.read_text(encoding="utf-8"))))
    return pairs


def page_of(folder, *documents, grids=()):
    path = write_report(folder / "report.html", stored(folder, *documents), grids)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    return Page(text), text


def test_the_page_is_whole_and_stands_alone(tmp_path):
    page, text = page_of(tmp_path / "eval", result(), result(), grids=[Grid("Pictures", pictures(2), ["a", "b"])])
    assert text.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "iframe", "object", "base", "form"} & {element[0] for element in page.elements}
    for _, attributes, _, _ in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "style", "srcset", "action"):
            value = attributes.get(name, "")
            assert "//" not in value or value.startswith("data:image/png;base64,"), (name, value[:60])
    style = page.all("style")[0][2]
    assert not re.search(r"url\(|@import|@font-face|https?:", style)
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert page.all("html")[0][1]["lang"] == "en"
    assert [path.name for path in (tmp_path / "eval").iterdir() if path.suffix != ".json"] == ["report.html"]


def test_tables_have_headers_with_scope_and_captions(tmp_path):
    page, _ = page_of(tmp_path, result(), result(utc="2026-01-01T00:00:00Z"))
    assert len(page.all("table")) == len(page.all("caption")) >= 5
    assert all(element[1].get("scope") in ("col", "row") for element in page.all("th"))
    for place, element in enumerate(page.elements):
        if element[0] == "tr" and "tbody" in element[3]:
            assert "th" in [inside[0] for inside in page.elements[place + 1 : place + 3]], "every row is headed"


def test_title_names_target_and_protocol_and_says_what_departs(tmp_path):
    starred = result(
        protocol="coco14-30k*", deviations=["2,000 generated images instead of <30,000>"], notes=["a <note>"]
    )
    page, _ = page_of(tmp_path, starred)
    assert page.all("title")[0][2] == "runs/one, coco14-30k*"
    assert page.all("h1")[0][2] == "runs/one"
    lead = next(element[2] for element in page.all("p") if element[1].get("class") == "lead")
    assert lead == "Scored under coco14-30k*, some-system, trained on 1,234,567 images"
    points = [element[2] for element in page.all("li")]
    assert points == ["2,000 generated images instead of <30,000>", "a <note>"]
    clean, _ = page_of(tmp_path / "clean", result())
    assert "Departs" not in clean.text()


def test_scores_are_the_documents_numbers(tmp_path):
    document = result()
    page, _ = page_of(tmp_path, document)
    head, *rows = page.rows("Mean ± standard deviation over noise seeds")
    assert head[0][:5] == ["Metric", "Generated", "Real images", "Chance", "Better"]
    found = {cells[0]: (cells, [float(exact) for exact in values]) for cells, values in rows}
    metrics = document["metrics"]
    soa, rp = metrics["soa[yolov3@0.5]"]["mean"], metrics["rp-clip"]["mean"]
    assert {name: values for name, (_, values) in found.items()} == {
        "fid-tf": [26.123456789012345, 0.0712345678],
        "soa[yolov3@0.5]: soa-c": [soa["soa-c"], soa["soa-c (real)"]],
        "soa-i": [soa["soa-i"], soa["soa-i (real)"]],
        "rp-clip": [rp["rp-clip"], rp["rp-clip (real)"], rp["chance"]],
        "rp-clip@5": [rp["rp-clip@5"], rp["rp-clip@5 (real)"]],
    }
    assert found["fid-tf"][0][1:] == [
        "26.12 ± 0.0712",
        "–",
        "–",
        "↓\u00a0lower",
        "inception-v3-compat",
        "inception-tf 6726825d0af5",
        "tf1-bilinear-299",
    ]
    assert found["rp-clip"][0][1:5] == ["0.7213", "0.8000", "0.0100", "↑\u00a0higher"]
    assert found["soa[yolov3@0.5]: soa-c"][0][6] == "yolov3 abababababab, not the published ones"
    span = [int(element[1]["rowspan"]) for element in page.all("td") if "rowspan" in element[1]]
    assert span == [1] * 4 + [2] * 8


def test_what_was_not_computed_says_why(tmp_path):
    page, _ = page_of(tmp_path, result())
    names = [element[2] for element in page.all("dt")]
    assert "kid" in names
    assert [element[2] for element in page.all("dd")][names.index("kid")] == "no <weights> at hand"
    nothing, _ = page_of(tmp_path / "none", result(metrics={"kid": result()["metrics"]["kid"]}))
    assert "no <weights> at hand" in nothing.text()
    assert not nothing.rows("Mean")


def test_labels_have_bars_as_long_as_their_accuracy(tmp_path):
    page, _ = page_of(tmp_path, result())
    rows = page.rows("soa[yolov3@0.5]: share of pictures")[1:]
    assert [cells for cells, _ in rows] == [
        ["0", "person", "30,000", "12,345", "0.4115", "", "–"],
        ["78", "hair drier", "105", "0", "0.0000", "", "0.7750"],
        ["79", "tooth <brush>", "0", "0", "–", "", "–"],
    ]
    assert float(rows[0][1][2]) == 12_345 / 30_000
    bars = [element[1]["style"] for element in page.all("span") if element[1].get("class") == "bar"]
    assert bars == ["width:41.15%", "width:0.00%", "width:0.00%"]


def test_published_figures_stand_in_tables_of_one_name_with_reasons(tmp_path):
    page, _ = page_of(tmp_path, result())
    expected = {}
    for row in published.rows("COCO-14"):
        expected.setdefault(row.metric, []).append(row)
    captions = [element[2] for element in page.all("caption") if element[2].endswith(": published figures")]
    assert captions == [f"{name}: published figures" for name in sorted(expected)]
    for name, rows in expected.items():
        _, *shown = page.rows(f"{name}: published figures")
        shown = [cells for cells, _ in shown if cells[0] != "this result"]
        values = sorted((row.system, f"{row.value}" + (f" ± {row.std}" if row.std else "")) for row in rows)
        assert sorted((cells[0], cells[1]) for cells in shown) == values
        assert all(re.match(r"(yes|no): \w.{10,}", cells[2]) for cells in shown)
        assert all(cells[3] in published.status_meanings() and cells[5] for cells in shown)
    for text in published.status_meanings().values():
        assert text in page.text()


def test_the_comparable_are_ranked_with_this_result_and_the_others_are_not(tmp_path):
    page, _ = page_of(tmp_path, result())
    _, *rows = page.rows("FID (TF): published figures")
    assert [(cells[0], cells[1], cells[2][:3]) for cells, _ in rows] == [
        ("this result", "26.12", "–"),
        ("DM-GAN (released model)", "24.24", "yes"),
        ("SSA-GAN (released model, TTUR)", "28.19", "yes"),
        ("AttnGAN", "29.53", "yes"),
    ]
    assert [float(value) for value in rows[0][1]] == [26.123456789012345]
    _, *mixed = page.rows("FID (mixed protocols, as commonly tabulated): published figures")
    assert {cells[2] for cells, _ in mixed} == {"no: rows copied between papers: the networks behind them differ"}
    shut = [element for element in page.all("details") if "open" not in element[1]]
    assert len(page.all("details")) - len(shut) == 1, "open only where something is comparable"
    starred, _ = page_of(tmp_path / "starred", result(protocol="coco14-30k*", deviations=["x"]))
    assert all("open" not in element[1] for element in starred.all("details"))
    assert "this result departs from its protocol (coco14-30k*)" in starred.text()
    assert not [element for element in starred.all("tr") if element[1].get("class") == "ours"]


@pytest.mark.parametrize(("dataset", "expected"), [("scenes", 0), ("cub", "CUB"), ("ln-coco", "LN-COCO")])
def test_the_data_set_chooses_the_figures(tmp_path, dataset, expected):
    page, _ = page_of(tmp_path, result(real={"dataset": dataset}))
    count = sum(len(page.rows(element[2])) - 1 for element in page.all("caption") if "published" in element[2])
    assert count == (len(published.rows(expected)) if expected else 0)
    assert ("Published figures" in page.text()) == bool(expected)


def pictures(count, height=40, width=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def decoded(element):
    kind, _, data = element[1]["src"].partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_pictures_are_in_the_page_pixel_for_pixel(tmp_path):
    images = pictures(3)
    page, _ = page_of(tmp_path, result(), grids=[Grid("Generated", images, ["a", "b", "c"])])
    shown = page.all("img")
    for image, element in zip(images, shown, strict=True):
        assert (decoded(element) == image.permute(1, 2, 0).numpy()).all()
        assert (element[1]["width"], element[1]["height"]) == ("60", "40")
    assert [element[1]["alt"] for element in shown] == [f"Generated, picture {n}" for n in (1, 2, 3)]
    assert [element[2] for element in page.all("figcaption")] == ["a", "b", "c"]


def test_large_pictures_shrink_with_their_shape_kept(tmp_path):
    large = torch.zeros(1, 3, 256, 512, dtype=torch.uint8)
    large[:, 0] = 200
    page, _ = page_of(tmp_path, result(), grids=[Grid("Generated", large, ["red"])])
    small = decoded(page.all("img")[0])
    assert small.shape == (64, 128, 3)
    assert (small == [200, 0, 0]).all()


def test_a_picture_without_a_caption_is_an_error(tmp_path):
    with pytest.raises(ValueError):
        write_report(
            tmp_path / "report.html", stored(tmp_path, result()), [Grid("Generated", pictures(2), ["only one"])]
        )


def test_hostile_text_stays_text(tmp_path):
    """In captions, titles, paths, reasons and labels: it is shown as it is and makes no element."""
    document = result(
        target={"kind": "images", "path": HOSTILE},
        deviations=[HOSTILE],
        notes=[HOSTILE],
        metrics={HOSTILE: entry({HOSTILE: 1.0}), "b": {"computed": False, "reason": HOSTILE, "exit_code": 4}},
    )
    page, text = page_of(tmp_path, document, grids=[Grid(HOSTILE, pictures(1), [HOSTILE])])
    assert "<script" not in text
    assert not page.all("script")
    assert page.all("figcaption")[0][2] == HOSTILE
    assert page.all("h1")[0][2] == HOSTILE
    assert page.all("img")[0][1]["alt"] == f"{HOSTILE}, picture 1"
    assert {"src", "alt", "width", "height"} == set(page.all("img")[0][1])
    assert HOSTILE in [element[2] for element in page.all("dd")]
    isolated = [element[2] for element in page.all("bdi")]
    assert isolated.count(HOSTILE) == 3, "title, caption and target cannot turn the text around them"


def test_text_that_no_page_may_hold_is_replaced(tmp_path):
    broken = os.fsdecode(b"runs/\xff") + "\x00\x1b"
    page, _ = page_of(tmp_path, result(target={"kind": "images", "path": broken}))
    assert page.all("h1")[0][2] == "runs/?\ufffd\ufffd"


def test_all_links_are_relative_and_lead_to_the_results(tmp_path):
    folder = tmp_path / "run" / "eval"
    inside = stored(folder, result(utc="2026-01-01T00:00:00Z"), result(utc="2026-01-03T00:00:00Z"))
    odd = 'a b#?%25&"<ü>.json'
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / odd).write_text(json.dumps(result()), encoding="utf-8")
    results = [*inside, (other / odd, result())]
    write_report(folder / "report.html", results, [])
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    links = [element[1]["href"] for element in page.all("a")]
    reached = [(folder / urllib.parse.unquote(link)).resolve() for link in links]
    assert all(link.startswith("./") for link in links)
    assert reached == [inside[1][0], other / odd, inside[0][0]], "the newest first, then older ones"
    assert all(path.is_file() for path in reached)


def test_older_results_lead_to_their_own_pages(tmp_path):
    first, second = stored(tmp_path, result(utc="2026-01-01T00:00:00Z"), result(utc="2026-01-03T00:00:00Z"))
    write_report(first[0].with_suffix(".html"), [first], [])
    page = Page(write_report(tmp_path / "report.html", [first, second], []).read_text(encoding="utf-8"))
    links = [urllib.parse.unquote(element[1]["href"]) for element in page.all("a")]
    assert links == ["./coco14-30k 1#.json", "./coco14-30k 0#.json", "./coco14-30k 0#.html"]


def test_the_newest_is_shown_and_older_ones_are_listed(tmp_path):
    older = result(utc="2025-01-01T00:00:00Z", protocol="coco14-30k*", deviations=["x"])
    older["metrics"] = {"fid-tf": entry({"fid-tf": 31.25}), "kid": result()["metrics"]["kid"]}
    oldest = result(utc="2024-01-01T00:00:00Z", metrics={"kid": result()["metrics"]["kid"]})
    page, _ = page_of(tmp_path, older, result(), oldest)
    _, *rows = page.rows("Newest first, not ranked")
    assert [cells[:3] for cells, _ in rows] == [
        ["2025-01-01T00:00:00Z", "coco14-30k*", "fid-tf 31.25"],
        ["2024-01-01T00:00:00Z", "coco14-30k", "none"],
    ]
    assert page.all("title")[0][2] == "runs/one, coco14-30k"
    alone, _ = page_of(tmp_path / "alone", result())
    assert "Earlier results" not in alone.text()


def test_a_page_says_how_it_was_measured(tmp_path):
    page, _ = page_of(tmp_path, result())
    about = [element[2] for element in page.all("dd")]
    assert (
        "count 30,000 · height 256 · width 256 · seeds 0, 1, 2 · captions choice image-passes · captions sha256 "
        in (next(text for text in about if text.startswith("count")))
    )
    assert "t2i 0.1.0 · torch 2.11 · device cpu" in about
    without, _ = page_of(tmp_path / "without", result(real=None))
    assert "none" in [element[2] for element in without.all("dd")]


def test_no_results_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match=r"eval: no results to report; t2i evaluate writes them"):
        write_report(tmp_path / "eval" / "report.html", [], [])
    assert not (tmp_path / "eval").exists()
