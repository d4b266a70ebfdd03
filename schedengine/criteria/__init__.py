"""What makes a group unimportant: one number for each group of a weight, and the lowest go first."""

from __future__ import annotations

from schedengine.registry import Registry

CRITERIA = Registry(
    "criterion",
    {
        "magnitude": "schedengine.criteria.magnitude:Magnitude",
        "random": "schedengine.criteria.random:Random",
        "gradient": "schedengine.criteria.gradient:Gradient",
        "apoz": "schedengine.criteria.activations:Apoz",
        "activation_mean": "schedengine.criteria.activations:ActivationMean",
        "norm_scale": "schedengine.criteria.norm_scale:NormScale",
        "snip": "schedengine.criteria.snip:Snip",
        "grasp": "schedengine.criteria.grasp:Grasp",
        "synflow": "schedengine.criteria.synflow:Synflow",
        "fisher": "schedengine.criteria.fisher:Fisher",
        "obs": "schedengine.criteria.obs:Obs",
        "movement": "schedengine.criteria.movement:Movement",
    },
)
