"""``t2i evaluate``: scores of a run, or of a folder of images, under a named protocol."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from t2icli.cli.options import JsonOption, SetOption, WeightsOption
from t2icli.errors import UserError

Target = Annotated[
    Path | None, typer.Argument(metavar="TARGET", help="A run folder, or a folder of images.", show_default=False)
]
Against = Annotated[
    Path | None,
    typer.Option(
        help="Real images: a folder of them or of shards, or an .npz file of their statistics (mu, sigma), for FID "
        "alone. A run is scored against its own shards."
    ),
]
CaptionsFile = Annotated[
    Path | None, typer.Option(help="What a folder's images were drawn for: .jsonl, .csv (file, caption) or .txt.")
]
SoaCaptions = Annotated[
    Path | None, typer.Option(help="A folder of SOA's caption lists, official or by t2i data soa-captions.")
]
Protocol = Annotated[str | None, typer.Option(help="A named protocol; the run's recipe names its own.")]
Metrics = Annotated[str | None, typer.Option(help="Metrics, e.g. fid,is; the protocol names its own.")]
Samples = Annotated[int | None, typer.Option(help="Pictures to generate, or to take from the folder.")]
Seeds = Annotated[int | None, typer.Option(help="Noise seeds to average over, from 0; the protocol says.")]
Batch = Annotated[int, typer.Option(help="Images that a network looks at together; changes no score.")]
Precision = Annotated[str, typer.Option(help="float32, or bfloat16: faster on a GPU, and the result says so.")]
Cache = Annotated[bool, typer.Option(help="Keep what networks saw in $T2I_CACHE, and use what is there.")]
Compare = Annotated[
    tuple[Path, Path] | None, typer.Option(metavar="A B", help="Two results or runs: which scores may be compared.")
]
Out = Annotated[
    Path | None, typer.Option(help="Write the result to this file; else to RUN/eval, a folder's to scores/NAME.")
]

DIGITS = 4  # that say something
MOST_PLACES = 10  # after the point; smaller values get a power of ten


def evaluate(
    target: Target = None,
    against: Against = None,
    captions: CaptionsFile = None,
    soa_captions: SoaCaptions = None,
    protocol: Protocol = None,
    metrics: Metrics = None,
    samples: Samples = None,
    seeds: Seeds = None,
    weights: WeightsOption = None,
    set_: SetOption = None,
    batch: Batch = 32,
    precision: Precision = "float32",
    cache: Cache = True,
    compare: Compare = None,
    out: Out = None,
    json_: JsonOption = False,
) -> None:
    """Score a run, or images made by anything.

    A result that departs from its protocol carries a star, as in `coco14-30k*`, and says in what. Networks are found by
    name: `--weights`, the folder `$T2I_WEIGHTS`, the caches of torch.hub and Hugging Face, then a download. A metric
    that cannot be computed says why and the others go on. A run's results and `report.html` lie in `RUN/eval`, those of
    a folder of images in `scores/NAME` of the current folder, each with a page of its own beside it.

    Examples:

    - `t2i evaluate runs/xmcgan/latest --samples 2000 --seeds 1 --metrics fid`

    - `t2i evaluate my_pictures --against real_pictures --captions captions.csv --metrics fid,is,rp-clip,soa`

    - `t2i evaluate --compare runs/xmcgan/latest runs/dfgan/latest`
    """
    if compare is not None:
        from t2icli.scoring.comparison import compare as compared

        show(compared(*compare), comparison_table, json_)
        return
    if target is None:
        raise UserError("name a run folder or a folder of images, or two results with --compare")
    from t2icli.scoring.request import Request
    from t2icli.scoring.score import failure, score

    names = [name for name in (metrics or "").split(",") if name.strip()]
    request = Request(target, against, captions, soa_captions, protocol, names, samples, seeds, weights or [],
                      set_ or [], batch, precision, cache, out)  # fmt: skip
    result = score(request)
    if result is None:  # another process of torchrun's speaks
        return
    show(result, table, json_)
    mistake = failure(result)
    if mistake is not None:
        raise mistake


def show(found: dict[str, Any], in_lines: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    """An answer on stdout, for people or for programs."""
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else in_lines(found))


def table(result: dict[str, Any]) -> str:
    """A result in lines for people."""
    generated, real = result["generated"], result["real"]
    lines = [
        f"{result['target']['path']} under {result['protocol']}",
        f"{generated['count']:,} generated images {generated['width']}x{generated['height']}"
        + (f", {real_side(real)}" if real else ""),
    ]
    for name, entry in result["metrics"].items():
        lines += metric_lines(name, entry) if entry["computed"] else [f"{name}: not computed: {entry['reason']}"]
    lines += [f"* {departure}" for departure in result["deviations"]]
    lines += [f"note: {note}" for note in result["notes"]]
    return "\n".join(lines)


def real_side(real: dict[str, Any]) -> str:
    """What the pictures were compared with."""
    if "count" not in real:
        return f"real statistics of {real['features']:,} features from {real['path']}"
    return f"{real['count']:,} real images {real['width']}x{real['height']} of {real['path']}"


def metric_lines(name: str, entry: dict[str, Any]) -> list[str]:
    """A metric's mean and deviation over the noise seeds, and the network that it rests on."""
    seeds, below = len(entry["per_seed"]), signed(entry["metric"])
    rows = [
        f"{name if number == 0 else key}: {printed(value, below)}"
        + (f" ± {entry['std'][key]:.4g} over {seeds} noise seeds" if seeds > 1 else "")
        for number, (key, value) in enumerate(entry["mean"].items())
    ]
    weights = entry["weights"]
    return [*rows, f"    {entry['network']}, resize {entry['resize']}, {weights['name']} sha256 {weights['sha256']}"]


def signed(metric: str) -> bool:
    """Whether a value below zero says something: it is an estimate without bias, and not a distance's rounding."""
    from t2icli.evaluation.evaluate import find_metrics

    return next(iter(find_metrics([metric]).values())).signed


def printed(value: float, below: bool) -> str:
    """Four digits after the point, and of small values four digits that are not zero.

    ``below``: whether it may be below zero. Else a small negative value is rounding, printed as zero and kept in the
    file.
    """
    if not below and -1e-3 < value < 0:
        value = 0.0
    places = 4 if value == 0 else max(DIGITS, DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}" if places <= MOST_PLACES else f"{value:.{DIGITS - 1}e}"


def comparison_table(found: dict[str, Any]) -> str:
    """Two results in lines for people."""
    lines = [f"{letter.upper()}: {found[letter]['target']} under {found[letter]['protocol']}" for letter in "ab"]
    lines += [f"note: {remark}" for remark in found["remarks"]]
    for name, row in found["metrics"].items():
        values = "no two values"
        if "a" in row:
            values = " and ".join(printed(row[letter], row["signed"]) for letter in "ab")
        verdict = "may be compared" if row["comparable"] else "may NOT be compared"
        if row.get("tie"):
            verdict += "; a tie: the difference is less than two deviations over noise seeds"
        lines += [f"{name}: {values}: {verdict}", *(f"    {reason}" for reason in row["reasons"])]
        lines += [f"    note: {remark}" for remark in row["remarks"]]
    return "\n".join(lines)
