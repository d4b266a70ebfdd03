"""Runs side by side: what is left of the weights and of the work, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from schedengine.analysis.groups import group_names
from schedengine.analysis.runs import AnyPath, Run, open_runs
from schedengine.errors import ModelError, SchedEngineError

Work = tuple[dict[str, int], dict[str, int]]
"""Multiply-accumulates and number of weights, by parameter."""
NUMBERS = (
    "epochs",
    "seconds",
    "validation_top1",
    "validation_top1_best",
    "validation_top1_before",
    "test_top1",
    "test_top1_before",
    "sparsity",
    "sparsity_all",
    "macs",
    "macs_effective",
    "macs_left",
)
"""The columns of numbers, which groups have the mean and the standard deviation of."""


def compare_runs(paths: AnyPath | Iterable[AnyPath], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """A row for each run: accuracy by split, sparsity, multiply-accumulates, time.

    Args:
        paths: run folders.
        labels: names of the groups of runs that differ only by seed; default: what they differ in.

    Returns:
        Columns, missing (NaN) where not known:
        run, group, seed; ``state`` (``finished``, ``not finished``); ``epochs`` trained, those of every replica
        counted; ``seconds`` they took, their evaluations included, one after another;
        ``validation_top1`` (per cent): at the end, or after the last epoch so far; ``validation_top1_best``: of the
        best epoch at the final sparsity; ``test_top1``: at the end; ``..._before``: of the dense model;
        ``sparsity``: fraction of the weights selected by pruners that is 0, at the end or so far; ``sparsity_all``:
        of all Conv and Linear weights and whatever else pruners selected;
        ``macs``: multiply-accumulates of one example, dense; ``macs_effective``: with those of zero weights left out,
        which only hardware that skips zeros gains from, but for runs that thinned; ``macs_left``: their ratio;
        ``parameters``: of the model that a run has thinned;
        ``note``: what a reader must know.

    Raises:
        SchedEngineError: a path is no run folder, or damaged.
    """
    runs = open_runs(paths)
    for run in runs:
        if not run.settings:
            raise SchedEngineError(f"{run.path}: no run.json, so it is no run folder; plot draws any CSV file")
    groups = group_names([(run.name, run.settings, run.schedule) for run in runs], labels)
    known: dict[str, Work] = {}
    return pd.DataFrame([_row(run, group, known) for run, group in zip(runs, groups)])


def compare_groups(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each group of runs: mean and standard deviation over its finished runs.

    Args:
        runs: of ``compare_runs``.

    Returns:
        Columns group, ``n`` (finished runs), ``unfinished`` (runs left out), and for each number ``<name>_mean`` and
        ``<name>_sd`` (of the sample, n - 1). Missing where a run of the group has no such number, or for a deviation
        of a single run.
    """
    return pd.DataFrame([_group(str(name), rows) for name, rows in runs.groupby("group", sort=False)])


def _group(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    done = rows[rows["state"] == "finished"]
    row: dict[str, Any] = {"group": name, "n": len(done), "unfinished": len(rows) - len(done)}
    for column in NUMBERS:
        row[f"{column}_mean"] = done[column].mean(skipna=False) if len(done) else None
        row[f"{column}_sd"] = done[column].std(skipna=False) if len(done) > 1 else None
    return row


def _row(run: Run, group: str, known: dict[str, Work]) -> dict[str, Any]:
    work, why_not = _work(run, known)
    return {
        "run": run.name,
        "group": group,
        "seed": run.seed,
        "state": "finished" if run.is_finished else "not finished",
        "epochs": run.epochs,
        "seconds": _seconds(run),
        **_scores(run),
        **work,
        "parameters": _parameters(run),
        "note": "; ".join(filter(None, [run.note, why_not, _thinned(run), _replicas(run)])),
    }


def _seconds(run: Run) -> float | None:
    parts = [rows["seconds"].sum() for rows in (run.metrics, run.replicas) if "seconds" in rows]
    return sum(parts) if parts else None


def _replicas(run: Run) -> str:
    if run.replicas.empty:
        return ""
    return f"epochs and time are those of all replicas together, {len(run.replicas)} epochs of {run.epochs}"


def _parameters(run: Run) -> float | None:
    """What thinning left of the model; None for a run that did not thin."""
    thinned = (run.result or {}).get("thinned")
    return thinned[-1]["parameters"][1] if thinned else None


def _thinned(run: Run) -> str:
    left = _parameters(run)
    return "" if left is None else f"thinned to {left:,} parameters, so its effective MACs are those that are computed"


def _scores(run: Run) -> dict[str, Any]:
    result = run.result or {}
    last = run.metrics.iloc[-1].to_dict() if len(run.metrics) else {}
    return {
        "validation_top1": _top1(result, "after", "validation") if run.result else last.get("top1"),
        "validation_top1_best": (result.get("best") or {}).get("top1"),
        "validation_top1_before": _top1(result, "before", "validation"),
        "test_top1": _top1(result, "after", "test"),
        "test_top1_before": _top1(result, "before", "test"),
        "sparsity": result.get("sparsity", last.get("sparsity")),
        "sparsity_all": result.get("sparsity_all", last.get("sparsity_all")),
    }


def _top1(result: Mapping[str, Any], when: str, split: str) -> float | None:
    return ((result.get(when) or {}).get(split) or {}).get("top1")


def _work(run: Run, known: dict[str, Work]) -> tuple[dict[str, float | None], str]:
    """Multiply-accumulates, or why they are not known."""
    try:
        left = _left(run)
        macs, sizes = _macs(run, known)
        _check_same(left, macs, sizes)
    except ModelError as error:
        return dict.fromkeys(("macs", "macs_effective", "macs_left")), f"multiply-accumulates not known: {error}"
    dense = sum(macs.values())
    effective = sum(count * left[name][0] / left[name][1] if name in left else count for name, count in macs.items())
    return {"macs": dense, "macs_effective": effective, "macs_left": effective / dense}, ""


def _left(run: Run) -> dict[str, tuple[int, int]]:
    """Parameter -> its weights that are not 0 at the last epoch's evaluation, and all of them."""
    if run.layers.empty:
        raise ModelError("sparsity.csv has no epoch yet")
    last = run.layers[run.layers["epoch"] == run.layers["epoch"].max()]
    zeros, weights = last["zeros"].sum(), last["weights"].sum()
    if run.result and abs(zeros / weights - run.result.get("sparsity_all", math.nan)) > 1e-9:
        raise ModelError("the run ends with a cut, after the last row of sparsity.csv")
    rows = zip(last["parameter"], last["weights"] - last["zeros"], last["weights"])
    return {str(name): (int(kept), int(size)) for name, kept, size in rows}


def _check_same(left: Mapping[str, tuple[int, int]], macs: Mapping[str, int], sizes: Mapping[str, int]) -> None:
    """Whether the model that is built here is the one that was trained, and all that was pruned is seen at work."""
    other = [name for name, (_, size) in left.items() if sizes.get(name) != size]
    if other:
        raise ModelError(f"the model has changed since: {other[0]} had {left[other[0]][1]:,} weights")
    unseen = [name for name in left if name not in macs]
    if unseen:
        raise ModelError(f"no use of {', '.join(unseen[:3])} was seen")


def _macs(run: Run, known: dict[str, Work]) -> Work:
    name, shape = run.settings["model"], run.data.get("shape")
    classes = run.settings.get("classes") or run.data.get("classes")
    key = f"{name} {shape} {classes}"
    if key not in known:
        known[key] = _count(name, shape, classes)
    return known[key]


def _count(name: str, shape: Sequence[int] | None, classes: int | None) -> Work:
    from schedengine.analysis.macs import multiply_accumulates
    from schedengine.selection import ParameterTable
    from schedengine.zoo.inputs import example_inputs
    from schedengine.zoo.models import build_model

    inputs = example_inputs(name, ["x".join(map(str, shape))] if shape else [])
    if inputs is None:
        raise ModelError(f"run.json does not say the shape of {name}'s input")
    try:
        model = build_model(name, classes=classes, channels=shape[0] if shape else None, meta=True)
    except SchedEngineError:
        raise
    except Exception as error:  # whatever a factory of the user's raises: its runs are compared all the same
        raise ModelError(f"{name} cannot be built: {error}") from error
    table = ParameterTable(model)
    return multiply_accumulates(model, inputs), {one: table[one].numel() for one in table.names}
