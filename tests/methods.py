"""Every method that the package is for, as a document of six epochs that fits the small model."""

from __future__ import annotations

from typing import Any

from loops import batch

RUN = {"during": "run"}
CUBIC = {"ramp": "cubic", "to": 0.7}
DATA = [batch(9, step) for step in range(3)]
"""Batches for the criteria that look at data before the first step."""


def method(*policies: dict[str, Any], **pruners: dict[str, Any]) -> dict[str, Any]:
    """Pruners by name; each acts all the time, where no policies say otherwise."""
    return {"version": 2, "pruners": pruners, "policies": list(policies) or [{"pruner": one, **RUN} for one in pruners]}


def phased(*policies: dict[str, Any], **pruners: dict[str, Any]) -> dict[str, Any]:
    """Two epochs, then two times two."""
    phases = [{"name": "first", "epochs": 2}, {"name": "round", "epochs": 2, "repeat": 2}]
    return {**method(*policies, **pruners), "phases": phases}


def learned(**gate: Any) -> dict[str, Any]:
    return {"update": "learned", "pruned": gate}


def at_start(criterion: Any, **axes: Any) -> dict[str, Any]:
    return method({"pruner": "p", "at": "start"}, p={"criterion": criterion, "sparsity": 0.6, **axes})


def regrowing(grow: str, every: str) -> dict[str, Any]:
    update = {"drop_grow": {"grow": grow, "fraction": 0.4}}
    axes = {"sparsity": 0.6, "allocation": "erk", "update": update, "mask_gradients": True}
    return method({"pruner": "p", **RUN, "until": 5, "every": every}, p=axes)


def held_back(criterion: str, pruned: Any) -> dict[str, Any]:
    axes = {"criterion": criterion, "update": "reselect", "pruned": pruned, "sparsity": 0.6}
    return method({"pruner": "hold", **RUN, "until": 5}, {"pruner": "cut", "at": 5}, hold=axes, cut={"sparsity": 0.6})


GATES = learned(sigmoid_gate={"init": 0.01, "penalty": 0.0005, "temperature": 50.0})
GEOMETRIC = {"ramp": "geometric", "to": 0.7}
ANEW = {"update": "reselect", "pruned": "dense"}
METHODS: dict[str, dict[str, Any]] = {
    "gmp": method(p={"sparsity": CUBIC, "update": "reselect", "pruned": "hidden"}),
    "gmp, hard": method(p={"sparsity": CUBIC}),
    "gmp, lamp": method(p={"sparsity": CUBIC, "allocation": "lamp"}),
    "dpf": method({"pruner": "p", **RUN, "every": "3st"}, p={"sparsity": {**CUBIC, "every": 2}, **ANEW}),
    "dnw": method({"pruner": "p", **RUN, "every": "1st"}, p={"sparsity": 0.6, **ANEW}),
    "gsm": held_back("gradient", "passive"),
    "lc": held_back("magnitude", {"decay": {"strength": 0.02, "growth": 1.1}}),
    "str": method(p=learned(soft_threshold={"init": -3.0, "weight_decay": 0.03})),
    "dst": method(p=learned(step_threshold={"penalty": 0.02})),
    "cs": method(p=GATES),
    "cs, rounds": phased({"rewind": {"weights": 1}, "at": "round"}, {"pruner": "p", "during": ["first", "round"]},
                         p=GATES),
    "static sparse": at_start("random", allocation="erk", mask_gradients=True),
    "set": regrowing("random", "3st"),
    "rigl": regrowing("gradient", "3st"),
    "ac/dc": phased({"pruner": "p", "at": ["first", "round"]}, {"release": "p", "at": {"end": "first"}},
                    p={"sparsity": 0.6, "update": "reselect", "allocation": "uniform"}),
    "snip": at_start("snip"),
    "grasp": at_start("grasp"),
    "synflow": at_start("synflow", rounds=5),
    "obd": method({"pruner": "p", "at": [2, 4]}, p={"criterion": "fisher", "sparsity": GEOMETRIC}),
    "obs": method({"pruner": "p", "at": [2, 4]}, p={"criterion": {"obs": {"block": 7, "damp": 0.001}},
                                                  "compensate": "obs", "sparsity": GEOMETRIC}),
    "movement": method({"pruner": "p", **RUN, "from": 1, "every": "3st"},
                       p={"criterion": "movement", "sparsity": CUBIC, **ANEW}),
}  # fmt: skip
