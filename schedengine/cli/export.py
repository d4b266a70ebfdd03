"""``schedengine export``: what a run leaves behind as a network to deploy."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedengine.cli import options

if TYPE_CHECKING:
    from schedengine.analysis.thinned import Gain


class What(str, Enum):
    """What may go."""

    ALL = "all"
    FILTERS = "filters"
    CHANNELS = "channels"


def export(
    model: options.ModelNeeded,
    weights: Annotated[Path, typer.Option("--weights", help="As in `train`: pruned, with exact zeros.")],
    out: Annotated[Path, typer.Option("--out", help="Write the thinned weights here: NAME.safetensors.")],
    thin: Annotated[bool, typer.Option("--thin", help="Remove filters and channels that are zero.")] = False,
    what: Annotated[What, typer.Option("--what", help="Which of them: all, filters, channels.")] = What.ALL,
    data: Annotated[
        str | None, typer.Option("--data", help="Measure top-1 on its test split, before and after.")
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option("--batch-size", min=1, help="Time passes of so many; again for more. 1 and 64.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="To time each batch size for.")] = 4.0,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    shapes: options.Input = None,
    root: options.Root = None,
    image_size: options.ImageSize = None,
    classes: options.Classes = None,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Remove what is zero from a pruned network, verify it, and measure what it gained."""
    from schedengine.analysis.thinned import thin_and_measure
    from schedengine.errors import SchedEngineError
    from schedengine.export.pruned import HEADER, load_, save_pruned
    from schedengine.training.compute import Compute
    from schedengine.training.session import build
    from schedengine.zoo.data import load_data
    from schedengine.zoo.factory import import_plugins
    from schedengine.zoo.inputs import example_inputs
    from schedengine.zoo.models import build_model
    from schedengine.zoo.weights import read_notes

    if not thin:
        raise SchedEngineError("export: --thin is what it can do so far; give it")
    if out.exists() and not force:
        raise SchedEngineError(f"--out {out}: is there already; choose another name, or give --force")
    if out.suffix != ".safetensors":
        raise SchedEngineError(
            f"--out {out}: weights are written as safetensors; give a name that ends in .safetensors"
        )
    import_plugins(plugin or ())
    compute = Compute()
    loaded = None if data is None else load_data(data, root=root, image_size=image_size)
    network, dense = (
        build_model(model, classes=classes) if loaded is None else build(model, loaded, classes) for _ in range(2)
    )
    load_(network, weights)
    compute.place_(network)
    compute.place_(dense)
    written = ["x".join(map(str, loaded.shape))] if loaded is not None and not shapes else shapes or ()
    inputs = example_inputs(model, written)
    if inputs is None:
        raise SchedEngineError(f"--model {model}: its name does not say what it takes; give --input CxHxW, or --data")
    thinned, gain = thin_and_measure(
        network,
        tuple(one.to(compute.device) for one in inputs),
        what=what.value,
        batches=batch_size or (1, 64),
        seconds=seconds,
        evaluate=None if loaded is None else _measure(loaded, compute),
        dense=dense if HEADER in read_notes(weights) else None,
    )
    save_pruned(thinned, out)
    if as_json:
        typer.echo(json.dumps({**gain.plain(), "written": str(out)}, indent=2))
    else:
        _show(gain, f"{model}, {weights}")
        typer.echo(f"written: {out}; in Python: load_pruned({model!r}, {str(out)!r})")


def _measure(loaded: Any, compute: Any) -> Any:
    from schedengine.training.evaluate import evaluate

    return lambda network: evaluate(network, loaded.loader("test", batch_size=64), compute).top1


def _show(gain: Gain, title: str) -> None:
    from schedengine.reports.tables import count, percent, show_table

    before, after = gain.before, gain.after
    rows = [
        ["parameters", count(before.parameters), count(after.parameters), _ratio(before.parameters, after.parameters)],
        ["zeros among Conv and Linear weights", count(before.zeros), count(after.zeros), ""],
        ["multiply-accumulates of one example", count(before.macs), count(after.macs), _ratio(before.macs, after.macs)],
    ]
    for batch, old in before.latencies.items():
        new = after.latencies[batch]
        times = [f"{one.median:.2f} ({one.lower:.2f} to {one.upper:.2f})" for one in (old, new)]
        rows.append([f"ms a pass, batch {batch}", *times, _ratio(old.lower, new.lower)])
    if after.top1 is not None:
        rows.append(["top-1 on the test split", percent(before.top1), percent(after.top1), ""])
    notes = [
        f"outputs of the two on random inputs differ by {gain.thinned.difference:.1e} of the largest",
        f"ms: median (quartiles) of passes in turns, {gain.device}, {gain.threads} thread(s); after / before: of lower",
        "quartiles, which other work on the machine moves least; only ratios travel to another machine",
        *gain.verdicts,
    ]
    show_table(title, ["", "before", "after", "after / before"], rows, "\n".join(notes))


def _ratio(before: float | None, after: float | None) -> str:
    return "-" if not before or after is None else f"{after / before:.3f}"
