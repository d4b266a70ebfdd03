"""What the weights of a model are: zeros at every granularity, norms, and what they cost; a row a parameter.

Measured on the weights that the layers compute with (behind wrappers and parametrizations), as they are: what a mask
claims is not asked. When something will happen to them is the business of ``plan``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from schedengine.analysis.macs import multiply_accumulates
from schedengine.errors import ModelError, SchedEngineError
from schedengine.granularity import GRANULARITIES, Granularity
from schedengine.selection import DEFAULT_TYPES, ParameterTable
from schedengine.training.evaluate import evaluating

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES = ("mean", "std", "mean_abs", "max_abs", "l1", "l2")
"""Columns that say how large weights are: over all of a tensor, zeros included; unknown where one is not finite."""


def summarize(model: nn.Module, inputs: Sequence[Tensor] | None = None) -> pd.DataFrame:
    """Measure every parameter of a model; the device is waited for once.

    Args:
        model: wrapped or not; its weights, mode and buffers are left as they are.
        inputs: one example a tensor (leading dimension 1), for multiply-accumulates; None for not known.

    Returns:
        A row a parameter that is not empty, in the model's order; a tied one has one row, under its first name.

        - parameter (normalised), module (class of its layer), shape (``16x3x3x3``)
        - conv_or_linear: whether it is the weight of a Conv or Linear, which pruners select by default
        - weights, nonzero, non_finite: counts
        - sparsity_<granularity>, for each that needs no argument: fraction of its groups, of all such groups in the
          tensor, that are all zero, [0, 1]; missing where the shape has no such groups
        - collapsed: conv_or_linear, and all of its weights are 0
        - mean, std (population), mean_abs, max_abs, l1 (sum of magnitudes), l2 (root of the sum of squares)
        - macs: multiply-accumulates of one example with all weights; macs_effective: macs x nonzero / weights,
          rounded down; missing where not known, and for what costs none (biases, normalisation)

    Raises:
        ModelError: a weight is on the meta device and has no value, or the model does not take the inputs.
    """
    table = ParameterTable(model)
    names = [name for name in table.names if table[name].numel()]
    kinds = _granularities()
    with evaluating(model):  # in training mode some parametrizations (spectral norm) change with every look
        measured = [_measure(name, table.effective(name), kinds) for name in names]
    weights = set(table.of_types(DEFAULT_TYPES))
    frame = pd.DataFrame([_named(table, name, name in weights) for name in names], columns=_NAMED)
    frame = frame.join(pd.DataFrame(_fetch(measured), columns=["nonzero", "non_finite", *_columns(kinds), *SIZES]))
    frame = frame.astype({"conv_or_linear": bool, **dict.fromkeys(("weights", "nonzero", "non_finite"), "int64")})
    frame.loc[frame["non_finite"] > 0, list(SIZES)] = float("nan")
    frame["collapsed"] = frame["conv_or_linear"] & (frame["nonzero"] == 0)
    return _with_costs(frame, {} if inputs is None else multiply_accumulates(model, inputs))


def totals(frame: pd.DataFrame) -> pd.DataFrame:
    """Sums of ``summarize``'s rows: over the Conv and Linear weights, and over all parameters.

    The speed-up is sum_l F_l / sum_l F_l rho_l, with F_l the multiply-accumulates of layer l and rho_l the fraction of
    its weights that is not 0. It is theoretical: masks alone make no network faster.

    Returns:
        Two rows: scope, parameters (how many tensors), weights, nonzero, sparsity (fraction of these weights that is
        0), mean_abs, l2 (of all of them as one vector), macs, macs_effective, speedup; and macs_unknown, how many Conv
        and Linear weights these three leave out. Missing where nothing is known, or nothing is left.

    Reference:
        Zimmer, Spiegel, Pokutta, "How I Learned to Stop Worrying and Love Retraining", 2023, arXiv:2111.00843. They
        count Conv and Linear layers, which is the first row, and take every convolution to be padded and ungrouped.
    """
    scopes = {"Conv and Linear weights": frame[frame["conv_or_linear"]], "all parameters": frame}
    return pd.DataFrame([{"scope": scope, **_total(rows)} for scope, rows in scopes.items()])


def draw_weights(model: nn.Module) -> Figure:
    """The histogram of every weight that a pruner may select by a pattern: not of biases, not of normalisation.

    Raises:
        ModelError: there is no such weight, or it is on the meta device.
    """
    from schedengine.reports.weight_figure import draw_weight_histograms

    table = ParameterTable(model)
    names = [name for name in table.names if table[name].numel() and table.is_named_by_patterns(name)]
    if not names:
        raise ModelError("the model has no weight to draw of two dimensions or more, biases and normalisation left out")
    with evaluating(model):
        return draw_weight_histograms({name: _present(name, table.effective(name)) for name in names})


_NAMED = ["parameter", "module", "shape", "conv_or_linear", "weights"]


def _named(table: ParameterTable, name: str, is_weight: bool) -> dict[str, Any]:
    shape = "x".join(map(str, table[name].shape)) or "1"
    values = (name, type(table.layer(name)).__name__, shape, is_weight, table[name].numel())
    return dict(zip(_NAMED, values, strict=True))


def _granularities() -> dict[str, Granularity]:
    """All that can be named without an argument, which also a user's own may."""
    classes = {name: GRANULARITIES.get(name) for name in GRANULARITIES.names()}
    return {name: cls() for name, cls in classes.items() if not _needs_arguments(cls)}


def _needs_arguments(cls: type[Any]) -> bool:
    missing = dataclasses.MISSING
    return any(field.default is missing and field.default_factory is missing for field in dataclasses.fields(cls))


def _columns(kinds: Mapping[str, Granularity]) -> list[str]:
    return [f"sparsity_{kind}" for kind in kinds]


def _present(name: str, weight: Tensor) -> Tensor:
    """A weight with values, in a dtype and on a device that can be measured in."""
    if weight.is_meta:
        raise ModelError(f"{name}: is on the meta device and has no values; build the model on a real device")
    weight = weight.cpu() if weight.device.type == "mps" else weight  # which has no float64
    return weight if weight.element_size() >= 4 else weight.float()


@torch.no_grad()
def _measure(name: str, weight: Tensor, kinds: Mapping[str, Granularity]) -> dict[str, Tensor]:
    """A parameter's numbers as scalars, still on its device."""
    weight = _present(name, weight)
    std, mean = torch.std_mean(weight, correction=0)
    l1, l2, largest = (vector_norm(weight, order, dtype=torch.float64) for order in (1, 2, float("inf")))
    return {
        "nonzero": weight.count_nonzero(),
        "non_finite": weight.isfinite().logical_not().sum(),
        **_zero_groups(weight, kinds),
        **dict(zip(SIZES, (mean, std, l1 / weight.numel(), largest, l1, l2), strict=True)),
    }


def _zero_groups(weight: Tensor, kinds: Mapping[str, Granularity]) -> dict[str, Tensor]:
    """Fraction of groups that are all zero, of the granularities that fit; equal groups are looked at once."""
    shape = tuple(weight.shape)
    found: dict[tuple[int, ...], Tensor] = {}
    fractions = {}
    for kind, granularity in kinds.items():
        if not _fits(granularity, shape):
            continue
        unit = granularity.unit(shape)
        if unit not in found:
            zeros = granularity.group(weight).any(1).logical_not().sum()
            found[unit] = zeros.double() / granularity.groups(shape)
        fractions[f"sparsity_{kind}"] = found[unit]
    return fractions


def _fits(granularity: Granularity, shape: tuple[int, ...]) -> bool:
    try:
        granularity.check(shape)
    except SchedEngineError:
        return False
    return True


def _fetch(measured: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """All scalars at once, through float64, which holds any count of weights exactly."""
    scalars = [scalar for row in measured for scalar in row.values()]
    if not scalars:
        return []
    home = scalars[0].device
    numbers = iter(torch.stack([scalar.to(home, torch.float64, non_blocking=True) for scalar in scalars]).tolist())
    return [{column: next(numbers) for column in row} for row in measured]


def _with_costs(frame: pd.DataFrame, macs: Mapping[str, int]) -> pd.DataFrame:
    dense = [macs.get(name) for name in frame["parameter"]]
    # In Python's integers: the product of two such counts can be too large for 64 bits.
    rows = zip(dense, frame["nonzero"].tolist(), frame["weights"].tolist(), strict=True)
    effective = [None if cost is None else cost * nonzero // weights for cost, nonzero, weights in rows]
    return frame.assign(macs=pd.array(dense, dtype="Int64"), macs_effective=pd.array(effective, dtype="Int64"))


def _total(rows: pd.DataFrame) -> dict[str, Any]:
    weights, nonzero = int(rows["weights"].sum()), int(rows["nonzero"].sum())
    known = rows[rows["macs"].notna()]
    dense, effective = int(known["macs"].sum()), int(known["macs_effective"].sum())
    return {
        "parameters": len(rows),
        "weights": weights,
        "nonzero": nonzero,
        "sparsity": (weights - nonzero) / weights if weights else float("nan"),
        "mean_abs": rows["l1"].sum(skipna=False) / weights if weights else float("nan"),
        "l2": math.hypot(*rows["l2"]),
        "macs": dense if len(known) else pd.NA,
        "macs_effective": effective if len(known) else pd.NA,
        "speedup": dense / effective if effective else float("nan"),
        "macs_unknown": int((rows["conv_or_linear"] & rows["macs"].isna()).sum()),
    }
