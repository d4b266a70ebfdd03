"""Every parameter of a model: what it is, what it costs, how a schedule can name it, and what one does to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
from torch import Tensor, nn

from schedengine.analysis.macs import multiply_accumulates
from schedengine.analysis.selections import COLUMNS, Selections, select
from schedengine.errors import Problem
from schedengine.schedule.document import Schedule
from schedengine.schedule.load import load_schedule
from schedengine.selection import DEFAULT_TYPES, ParameterTable, normalise


@dataclass(frozen=True)
class Listing:
    """A model's parameters, and what a schedule picks of them.

    Args:
        parameters: a row a parameter, in the model's order: its normalised ``parameter`` name, ``other_names`` (of a
            tied one), the ``module`` type or types, ``shape``, ``weights`` (how many numbers), ``share`` (fraction of
            all the model's parameters), ``macs`` (multiply-accumulates of one example; nan where it has none of its own
            or its use was not seen), ``macs_share`` (fraction of all that were counted), ``prunable`` (``yes`` by
            default, ``by name``, ``by full name``) and the ``reason``.
        selections: a row a parameter and instance, see ``Selections``; empty without a schedule.
        problems: what of the schedule's selectors does not fit the model.
    """

    parameters: pandas.DataFrame
    selections: pandas.DataFrame
    problems: tuple[Problem, ...]


def list_parameters(
    model: nn.Module, *, schedule: Schedule | str | Path | None = None, inputs: Sequence[Tensor] | None = None
) -> Listing:
    """List what a schedule can name in a model, and what one does with it. Needs no values: the meta device will do.

    Args:
        model: wrapped or not.
        schedule: whose selectors to match, loaded or what ``load_schedule`` takes; None for none.
        inputs: one example, for multiply-accumulates; None leaves them unknown.

    Raises:
        ModelError: the model does not take the inputs.

    Example:
        >>> found = list_parameters(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))).parameters
        >>> found[["parameter", "shape", "prunable", "reason"]].iloc[0].tolist()
        ['0.weight', '4x1x3x3', 'yes', 'weight of a Conv2d']
    """
    if schedule is not None and not isinstance(schedule, Schedule):
        schedule = load_schedule(schedule)
    table = ParameterTable(model)
    macs = {} if inputs is None else multiply_accumulates(model, inputs)
    defaults = set(table.of_types(DEFAULT_TYPES))
    places = _places(model, table)
    rows = [_row(table, name, places[name], name in defaults) for name in table.names]
    found = pandas.DataFrame(rows, columns=_KEYS)
    found["share"] = found["weights"] / found["weights"].sum()
    found["macs"] = found["parameter"].map(macs).astype(float)
    found["macs_share"] = found["macs"] / found["macs"].sum()
    chosen = select(schedule, table) if schedule else Selections(pandas.DataFrame(columns=list(COLUMNS)), ())
    order = [*_KEYS[:5], "share", "macs", "macs_share", *_KEYS[5:]]
    return Listing(found[order], chosen.rows, chosen.problems)


_KEYS = ["parameter", "other_names", "module", "shape", "weights", "prunable", "reason"]


def _row(table: ParameterTable, name: str, places: list[tuple[str, str]], is_default: bool) -> dict[str, Any]:
    modules = ", ".join(dict.fromkeys(module for _, module in places))
    prunable, reason = _prunable(table, name, modules, is_default)
    return {
        "parameter": name,
        "other_names": ", ".join(written for written, _ in places if written != name),
        "module": modules,
        "shape": "x".join(map(str, table[name].shape)),
        "weights": table[name].numel(),
        "prunable": prunable,
        "reason": reason,
    }


def _prunable(table: ParameterTable, name: str, modules: str, is_default: bool) -> tuple[str, str]:
    """Which words of a schedule pick a parameter, and why these."""
    if is_default:
        return "yes", f"weight of a {modules}"
    if table.is_normalisation(name):
        return "by full name", "normalisation"
    if "bias" in name.rpartition(".")[2]:
        return "by full name", "bias"
    if not table.is_named_by_patterns(name):
        return "by full name", "fewer than two dimensions"
    return "by name", modules


def _places(model: nn.Module, table: ParameterTable) -> dict[str, list[tuple[str, str]]]:
    """Every name that a parameter has, and the type of the module there: several where it is tied."""
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in table.names}
    for full, _ in model.named_parameters(remove_duplicate=False):
        name, short = table.find(full), normalise(full)
        if name is not None:
            layer = table.layer(name) if short == name else model.get_submodule(full.rpartition(".")[0])
            found[name].append((short, type(layer).__name__))
    return found
