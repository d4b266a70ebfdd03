"""How well a model does on images that are corrupted: out of distribution, and still easy for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
from torch import nn

from schedengine.errors import DataError
from schedengine.training.compute import Compute
from schedengine.training.evaluate import evaluate
from schedengine.zoo.corruptions import SEVERITIES, applicable, corrupted
from schedengine.zoo.loader import Images, Loader


def measure_robustness(
    model: nn.Module,
    loader: Loader,
    compute: Compute,
    *,
    corruptions: Iterable[str] | None = None,
    severities: Iterable[int] = SEVERITIES,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure a model on every corruption of a split; each has one evaluation of the whole split a severity.

    Args:
        model: images (B, C, H, W) -> scores (B, classes).
        loader: of the clean split, in memory; unshuffled, without augmentation. It decides batches and normalisation.
        compute: where, and in which precision.
        corruptions: names; default: all that can be done to these images.
        severities: of 1 to 5.
        seed: of the corruptions; the same images come out for every model.

    Returns:
        A row for each corruption and severity: corruption, severity, ``loss``, ``top1`` and ``top5`` (per cent),
        ``samples``.

    Raises:
        DataError: the images are not in memory, or a corruption is not known or cannot be done to them.
    """
    if not isinstance(loader.split, Images):
        raise DataError(
            "a Dataset's images cannot be corrupted, they come normalised; corrupt them in the Dataset's transform, or "
            "let them be read here: imagefolder:PATH, a set of torchvision's, or a factory that returns Data of Images"
        )
    clean, severities = loader.split, tuple(severities)
    names = applicable(clean) if corruptions is None else tuple(corruptions)
    rows = []
    for name in names:
        for severity in severities:
            spoilt = replace(loader, split=corrupted(clean, name, severity, seed))
            rows.append({"corruption": name, "severity": severity, **evaluate(model, spoilt, compute).plain()})
    return pd.DataFrame(rows, columns=["corruption", "severity", "loss", "top1", "top5", "samples"])


def by_severity(measured: pd.DataFrame, number: str = "top1") -> pd.DataFrame:
    """One number by corruption and severity, with means over either, each cell counting the same.

    Args:
        measured: of ``measure_robustness``.
        number: ``top1``, ``top5`` (per cent) or ``loss``.

    Returns:
        Index: corruptions, in their order, and ``mean``. Columns: severities, and ``mean``.

    Example:
        >>> measured = pd.DataFrame({"corruption": ["fog", "fog"], "severity": [1, 2], "top1": [90.0, 80.0]})
        >>> by_severity(measured).loc["mean"].tolist()
        [90.0, 80.0, 85.0]
    """
    table = measured.pivot(index="corruption", columns="severity", values=number)
    table = table.loc[measured["corruption"].unique()].astype(float)
    table.columns = table.columns.astype(object)  # the last one is a word
    table["mean"] = table.mean(axis=1)
    table.loc["mean"] = table.mean(axis=0)
    return table
