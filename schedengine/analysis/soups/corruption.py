"""Networks on test images that were spoiled, every way and at every severity.

Reference: Hendrycks and Dietterich, 2019, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, arXiv 1903.12261.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas
from torch import nn

from schedengine.analysis.soups.scores import measure_together
from schedengine.errors import DataError
from schedengine.training.compute import Compute
from schedengine.zoo.corruptions import SEVERITIES, applicable, corrupted
from schedengine.zoo.data import Data
from schedengine.zoo.loader import Images


def measure_corrupted(
    networks: Mapping[str, nn.Module], together: int, ensemble: str, data: Data, batch_size: int, compute: Compute
) -> pandas.DataFrame:
    """Measure on the test images under every corruption that suits them; all networks see the same ones.

    As ``robustness.measure_robustness`` for many networks, of which one pass over the images is enough.

    Args:
        networks: by name.
        together: how many, from the first, are the ensemble.
        ensemble: what its rows are called.

    Returns:
        Columns: network, corruption, severity (1 to 5), top1, top5 (per cent), loss, samples.

    Raises:
        DataError: the test images are not in memory, but a Dataset of the user's.
    """
    if not isinstance(data.test, Images):
        raise DataError("--corrupted: the images are a Dataset's, which makes its own; it is for images in memory")
    rows = []
    for corruption in applicable(data.test):
        for severity in SEVERITIES:
            spoiled = replace(data, test=corrupted(data.test, corruption, severity))
            loader = spoiled.loader("test", batch_size=batch_size)
            each, joint = measure_together([*networks.values()], together, loader, compute)
            rows += [
                {"network": name, "corruption": corruption, "severity": severity, **one.plain()}
                for name, one in zip([*networks, ensemble], [*each, joint], strict=True)
            ]
    return pandas.DataFrame(rows)
