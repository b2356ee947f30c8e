"""``t2i evaluate``: scores of a run, or of a folder of images, under a named protocol."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from t2icli.cli.options import JsonOption, SetOption, WeightsOption


def evaluate(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A run folder, or a folder of images.")],
    against: Annotated[
        Path | None,
        typer.Option(help="Real images: a folder of them, or of shards. A run is scored against its own shards."),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="A named protocol; the run's recipe names its own.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Metrics, e.g. fid,is; the protocol names its own.")] = None,
    samples: Annotated[int | None, typer.Option(help="Pictures to generate, or to take from the folder.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Noise seeds to average over, from 0; the protocol says.")] = None,
    weights: WeightsOption = None,
    set_: SetOption = None,
    batch: Annotated[int, typer.Option(help="Images that a network looks at together; changes no score.")] = 32,
    out: Annotated[Path | None, typer.Option(help="Write the result to this file; a run's goes to RUN/eval.")] = None,
    json_: JsonOption = False,
) -> None:
    """Score a run, or images made by anything.

    A result that departs from its protocol carries a star, as in `coco14-30k*`, and says in what. Weights of the
    networks that look at the pictures are found by name: `--weights`, then the folder `$T2I_WEIGHTS`, then torch.hub's
    cache, then a download. Metrics whose weights cannot be had are reported as not computed.

    Examples:

    - `t2i evaluate runs/xmcgan/latest`

    - `t2i evaluate runs/xmcgan/latest --samples 2000 --seeds 1 --metrics fid`

    - `t2i evaluate my_pictures --against real_pictures --weights inception-tf=weights.pth`
    """
    from t2icli.scoring import Request, failure, score

    names = [name for name in (metrics or "").split(",") if name.strip()]
    request = Request(
        target, against, protocol, names, samples, seeds, weights or [], set_ or [], batch_size=batch, out=out
    )
    result = score(request)
    print(json.dumps(result, indent=2, ensure_ascii=False) if json_ else table(result))
    mistake = failure(result)
    if mistake is not None:
        raise mistake


def table(result: dict[str, Any]) -> str:
    """A result in lines for people."""
    generated, real = result["generated"], result["real"]
    lines = [
        f"{result['target']['path']} under {result['protocol']}",
        f"{generated['count']:,} generated images {generated['width']}x{generated['height']}"
        + (f", {real['count']:,} real images {real['width']}x{real['height']} of {real['path']}" if real else ""),
    ]
    for name, entry in result["metrics"].items():
        lines += metric_lines(name, entry) if entry["computed"] else [f"{name}: not computed: {entry['reason']}"]
    lines += [f"* {departure}" for departure in result["deviations"]]
    lines += [f"note: {note}" for note in result["notes"]]
    return "\n".join(lines)


def metric_lines(name: str, entry: dict[str, Any]) -> list[str]:
    """A metric's mean and deviation over the noise seeds, and the network that it rests on."""
    seeds = len(entry["per_seed"])
    rows = [
        f"{key}: {printed(value)}" + (f" ± {entry['std'][key]:.4g} over {seeds} noise seeds" if seeds > 1 else "")
        for key, value in entry["mean"].items()
    ]
    weights = entry["weights"]
    return [*rows, f"    {entry['network']}, resize {entry['resize']}, {weights['name']} sha256 {weights['sha256']}"]


def printed(value: float) -> str:
    """Four digits after the point; a distance that is negative by rounding is printed as zero and kept in the file."""
    return f"{0.0 if -1e-3 < value < 0 else value:.4f}"
