"""A table of sensitivities for the tests of what draws it."""

from __future__ import annotations

import pandas as pd

HOSTILE = "</script><img src=x onerror=\"document.title='broken in'\">"
NAN = float("nan")


def sweep() -> pd.DataFrame:
    """Three layers, one of them with a hostile name, at three levels, and the whole network."""
    rows = [
        {"parameter": name, "sparsity": level, "top1": 90 - lost, "loss": 0.3 + lost / 10, "weights": weights,
         "drop": lost, "drop_low": lost - band, "drop_high": lost + band, "allocation": allocation, "samples": 1000}
        for name, weights, losses, band, allocation in [
            ("conv1.weight", 432.0, (0, 1, 30), 0.0, ""),
            (HOSTILE, 2304.0, (0, 0.25, 4), 0.2, ""),
            ("fc.weight", 640.0, (0, 0.5, NAN), 0.0, ""),
            ("*", 3376.0, (0, 2, 60), 0.0, "global"),
        ]
        for level, lost in zip((0.0, 0.5, 0.9), losses)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["note"] = ["", "<img src=x onerror=\"document.title='broken in'\">", *[""] * 10]
    return frame.assign(nonfinite=frame["top1"].isna().astype(int) * 7)
