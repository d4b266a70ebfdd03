"""Regularizers: weights -> a penalty that is added to the loss.

penalties.py     L1, L2, group lasso, group variance
strengths.py     how strong over the window: constant, linear
thresholds.py    which groups are set to 0 after an update: mean_abs, max
regularizer.py   the spec a file writes: penalty x granularity x strength x parameters
bound.py         a regularizer on a model
"""

from __future__ import annotations

from schedengine.registry import Registry

PENALTIES = Registry(
    "penalty",
    {
        "l1": "schedengine.regularizers.penalties:L1",
        "l2": "schedengine.regularizers.penalties:L2",
        "group_lasso": "schedengine.regularizers.penalties:GroupLasso",
        "group_variance": "schedengine.regularizers.penalties:GroupVariance",
    },
)

STRENGTHS = Registry(
    "strength ramp",
    {
        "constant": "schedengine.regularizers.strengths:Constant",
        "linear": "schedengine.regularizers.strengths:Linear",
    },
)

THRESHOLDS = Registry(
    "regularizer threshold",
    {
        "mean_abs": "schedengine.regularizers.thresholds:MeanAbs",
        "max": "schedengine.regularizers.thresholds:Max",
    },
)
