"""``schedengine summary``: what the weights of a model are, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedengine.cli import options

if TYPE_CHECKING:
    import pandas


def summary(
    model: options.ModelNeeded,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="What to measure: as in `train`; default: fresh random weights.")
    ] = None,
    shapes: options.Input = None,
    classes: options.Classes = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every column of every parameter here.")] = None,
    histograms: Annotated[
        Path | None, typer.Option("--histograms", help="Draw all weights: a file that ends in .png, .svg or .pdf.")
    ] = None,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Measure weights: zeros at every granularity, norms, multiply-accumulates, theoretical speed-up."""
    from schedengine.analysis.summary import draw_weights, summarize, totals
    from schedengine.export.pruned import load_
    from schedengine.reports.tables import to_json
    from schedengine.zoo.factory import import_plugins
    from schedengine.zoo.inputs import example_inputs
    from schedengine.zoo.models import build_model

    import_plugins(plugin or ())
    if histograms is not None:
        from schedengine.reports.canvas import check_suffix

        check_suffix(histograms)
    network = build_model(model, classes=classes)
    if weights is not None:
        load_(network, weights)
    inputs = example_inputs(model, shapes or ())
    frame = summarize(network, inputs)
    summed = totals(frame)
    source = "fresh random weights: no --weights were given" if weights is None else str(weights)
    if as_json:
        typer.echo(to_json({"weights": source, "parameters": frame, "totals": summed}))
    else:
        example = "" if inputs is None else " and ".join("x".join(map(str, one.shape[1:])) for one in inputs)
        _show(frame, summed, f"{model}, {source}", example)
    if csv is not None:
        from schedengine.analysis.table_file import write_table

        write_table(frame, csv)
        typer.echo(f"written: {csv}", err=as_json)
    if histograms is not None:
        from schedengine.reports.canvas import save

        typer.echo(f"drawn: {save(draw_weights(network), histograms)}", err=as_json)


def _plain(frame: pandas.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[assignment]
    return rows


_HEADERS = [
    "parameter",
    "weights",
    "zero\nelement",
    "zero\nkernel",
    "zero\nfilter",
    "zero\nchannel",
    "mean\n|w|",
    "L2",
    "MACs",
    "MACs\nleft",
]
_GROUPS = ("element", "kernel", "filter", "channel")


def _show(frame: pandas.DataFrame, summed: pandas.DataFrame, title: str, example: str) -> None:
    from schedengine.reports.tables import show_table

    is_shown = frame["conv_or_linear"] | frame["sparsity_filter"].notna()
    layers = [_row(row) for row in _plain(frame[is_shown])]
    whole = [_row({"parameter": row["scope"], "sparsity_element": row["sparsity"], **row}) for row in _plain(summed)]
    rule = [""] * len(_HEADERS)
    show_table(title, _HEADERS, [*layers, rule, *whole], "\n".join(_notes(frame, summed, example)))


def _row(row: dict[str, Any]) -> list[str]:
    from schedengine.reports.tables import count

    gone = [_share(row.get(f"sparsity_{group}")) for group in _GROUPS]
    gone[0] += " !" if row.get("collapsed") else ""
    sizes = ["-" if row[key] is None else f"{row[key]:.{digits}g}" for key, digits in (("mean_abs", 3), ("l2", 4))]
    return [row["parameter"], count(row["weights"]), *gone, *sizes, _short(row["macs"]), _short(row["macs_effective"])]


def _share(value: float | None) -> str:
    """A fraction, in which some are never shown as none, nor most as all."""
    if value is None:
        return "-"
    if value in (0, 1):
        return f"{value:.0f}"
    return "<0.0001" if value < 0.00005 else ">0.9999" if value >= 0.99995 else f"{value:.4f}"


def _short(value: float | None) -> str:
    """A large count in three digits.

    Example:
        >>> _short(4089184256), _short(999_960), _short(640), _short(None)
        ('4.09 G', '1 M', '640', '-')
    """
    if value is None:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value}"


def _notes(frame: pandas.DataFrame, summed: pandas.DataFrame, example: str) -> list[str]:
    hidden = frame[~frame["conv_or_linear"] & frame["sparsity_filter"].isna()]
    return [
        "zero: fraction of these groups, of all in the tensor, that are all zero; '-' where the shape has none",
        "filter: also a row of a matrix; channel: also a column",
        "mean |w|: of all weights of the tensor, zeros included; L2: root of the sum of squares",
        *_costs(_plain(summed)[0], _plain(summed)[1], example),
        f"all parameters: also {len(hidden)} that are not listed (biases, normalisation and the like: "
        f"{hidden['weights'].sum():,} weights)",
        *_warnings(frame),
    ]


def _costs(layers: dict[str, Any], every: dict[str, Any], example: str) -> list[str]:
    if not example:
        return ["multiply-accumulates (MACs) unknown: give --input CxHxW"]
    notes = [f"MACs: multiply-accumulates of one example of {example}; MACs left: of the weights that are not 0"]
    for row in [layers] if layers["macs"] == every["macs"] else [layers, every]:
        if row["speedup"] is not None:
            ratio = f"{row['speedup']:.2f} = MACs / MACs left, of {row['scope']}"
            notes.append(f"theoretical speed-up {ratio}; masks alone make no network faster")
    if layers["macs_unknown"]:
        notes.append(f"MACs leave out {layers['macs_unknown']} Conv and Linear weights, whose use was not seen")
    return notes


def _warnings(frame: pandas.DataFrame) -> list[str]:
    dead = [f"! collapsed: all weights of {name} are 0" for name in frame.loc[frame["collapsed"], "parameter"]]
    broken = frame[frame["non_finite"] > 0]
    return dead + [
        f"! not finite: {bad:,} of the {weights:,} weights of {name}; its mean |w| and L2 are not known"
        for name, bad, weights in zip(broken["parameter"], broken["non_finite"], broken["weights"])
    ]
