"""What makes a group unimportant: one number for each group of a weight, and the lowest go first."""

from __future__ import annotations

from schedengine.registry import Registry

CRITERIA = Registry(
    "criterion",
    {
        "magnitude": "schedengine.criteria.magnitude:Magnitude",
        "random": "schedengine.criteria.random:Random",
    },
)
