"""How much goes: over time (ramps), per parameter (allocation), and exactly which groups (selection)."""

from __future__ import annotations

from schedengine.registry import Registry

RAMPS = Registry(
    "ramp",
    {
        "constant": "schedengine.sparsity.ramps:Constant",
        "linear": "schedengine.sparsity.ramps:Linear",
        "cubic": "schedengine.sparsity.ramps:Cubic",
        "geometric": "schedengine.sparsity.ramps:Geometric",
        "polynomial": "schedengine.sparsity.ramps:Polynomial",
        "list": "schedengine.sparsity.ramps:Listed",
        "remaining": "schedengine.sparsity.ramps:Remaining",
        "random": "schedengine.sparsity.ramps:Drawn",
    },
)

ALLOCATIONS = Registry(
    "allocation",
    {
        "global": "schedengine.sparsity.allocation:Global",
        "uniform": "schedengine.sparsity.allocation:Uniform",
        "erk": "schedengine.sparsity.allocation:ERK",
        "lamp": "schedengine.sparsity.allocation:LAMP",
        "uniform_plus": "schedengine.sparsity.allocation:UniformPlus",
    },
)
