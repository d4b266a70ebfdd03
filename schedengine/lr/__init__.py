"""Learning rate over time: pure functions of a clock, by the name a schedule file gives them.

    base.py                  Clock, Group, and what every schedule answers
    shapes.py                our own: constant, linear, cosine, step, polynomial, each with an optional warm-up
    torch_schedules.py       every class of ``torch.optim.lr_scheduler`` that a file can express
    plateau.py               ReduceLROnPlateau, the one that reacts to metrics
    distiller_schedules.py   the two classes Distiller adds to torch's
    trace.py                 the rates of the dense training, recorded step by step
    retraining.py            rules that make a curve from that trace and from a cut: FT, LRW, SLR, CLR, LLR, ALLR

Who writes the rates into the optimizer, and when, is not said here but in ``policies/``.
"""

from __future__ import annotations

from schedengine.registry import Registry

_SHAPES, _RETRAINING, _TORCH, _DISTILLER = (
    f"schedengine.lr.{module}" for module in ("shapes", "retraining", "torch_schedules", "distiller_schedules")
)

_CALLABLE = (
    "{} takes a Python function, which a file cannot hold; divide the run into phases and give each its own schedule"
)
_NESTED = "{} is made of other schedulers; divide the run into phases and give each its own schedule"

REFUSED: dict[str, str] = {
    "LambdaLR": _CALLABLE.format("LambdaLR"),
    "MultiplicativeLR": _CALLABLE.format("MultiplicativeLR"),
    "SequentialLR": _NESTED.format("SequentialLR"),
    "ChainedScheduler": _NESTED.format("ChainedScheduler"),
}
"""torch's classes that a file cannot express -> what to write instead."""

LR_SCHEDULES = Registry(
    "learning-rate schedule",
    {
        "constant": f"{_SHAPES}:Constant",
        "linear": f"{_SHAPES}:Linear",
        "cosine": f"{_SHAPES}:Cosine",
        "step": f"{_SHAPES}:Step",
        "polynomial": f"{_SHAPES}:Polynomial",
        **{name: f"{_RETRAINING}:{name}" for name in ("FT", "LRW", "SLR", "CLR", "LLR", "ALLR", "LayerwiseALLR")},
        "StepLR": f"{_TORCH}:StepLR",
        "MultiStepLR": f"{_TORCH}:MultiStepLR",
        "ConstantLR": f"{_TORCH}:ConstantLR",
        "LinearLR": f"{_TORCH}:LinearLR",
        "ExponentialLR": f"{_TORCH}:ExponentialLR",
        "CosineAnnealingLR": f"{_TORCH}:CosineAnnealingLR",
        "CosineAnnealingWarmRestarts": f"{_TORCH}:CosineAnnealingWarmRestarts",
        "CyclicLR": f"{_TORCH}:CyclicLR",
        "OneCycleLR": f"{_TORCH}:OneCycleLR",
        "PolynomialLR": f"{_TORCH}:PolynomialLR",
        "ReduceLROnPlateau": "schedengine.lr.plateau:Plateau",
        "MultiStepMultiGammaLR": f"{_DISTILLER}:MultiStepMultiGammaLR",
        "DistillerPolynomialLR": f"{_DISTILLER}:DistillerPolynomialLR",
    },
    REFUSED,
)
