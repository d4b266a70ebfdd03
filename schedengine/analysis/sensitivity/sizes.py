"""Weights and multiply-accumulates of a sweep's parameters, for a table that does not say: one of Distiller's."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from torch import Tensor, nn

from schedengine.analysis.macs import multiply_accumulates
from schedengine.errors import ModelError, did_you_mean
from schedengine.reports.sensitivity_table import NETWORK, filled, parameters
from schedengine.selection import ParameterTable


def with_sizes(frame: pd.DataFrame, model: nn.Module, inputs: Sequence[Tensor] | None = None) -> pd.DataFrame:
    """Fill in what a model knows; what the table says stays.

    Args:
        frame: a sweep, as for ``filled``.
        model: the network that was swept; needs no values, the meta device will do.
        inputs: one example, for multiply-accumulates; None leaves them unknown.

    Returns:
        The table of ``filled`` with ``weights``, ``removed`` and ``macs``.

    Raises:
        ModelError: the model has not one of the parameters, or does not take the inputs.
    """
    rows, table = filled(frame), ParameterTable(model)
    found = {name: find(table, name) for name in parameters(rows)}
    weights = {name: float(table[own].numel()) for name, own in found.items()}
    macs: dict[str, float] = {}
    if inputs is not None:
        counts = multiply_accumulates(model, inputs)
        macs = {name: float(counts[own]) for name, own in found.items() if own in counts}
    if len(macs) == len(found):
        macs[NETWORK] = sum(macs.values())
    weights[NETWORK] = sum(weights.values())
    rows["weights"] = rows["weights"].fillna(rows["parameter"].map(weights))
    rows["macs"] = rows["macs"].fillna(rows["parameter"].map(macs).astype(float))
    rows["removed"] = rows["removed"].fillna((rows["weights"] * rows["realised"]).round())
    return rows


def find(table: ParameterTable, name: str) -> str:
    """A parameter's own name in the model.

    Raises:
        ModelError: there is none, or it is ambiguous.
    """
    try:
        found = table.find(name)
    except ValueError as error:
        raise ModelError(f"{name}: {error}") from error
    if found is None:
        raise ModelError(f"{name}: the table has it, the model has not; {did_you_mean(name, table.names)}")
    return found
