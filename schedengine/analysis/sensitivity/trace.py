"""A model's computation as a graph: by ``torch.fx``, else by ``torch.export``."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from schedengine.criteria.passes import bare


@dataclass(frozen=True)
class Traced:
    """A graph and what its nodes name.

    Args:
        graph: of one forward pass; works for any number of images.
        root: the module whose submodules and attributes the nodes name.
        constants: tensors that tracing found, by the names that nodes give them.
    """

    graph: fx.Graph
    root: nn.Module
    constants: Mapping[str, Any] = field(default_factory=dict)

    def attribute(self, target: str) -> Any:
        """What a ``get_attr`` node names."""
        if target in self.constants:
            return self.constants[target]
        found: Any = self.root
        for part in target.split("."):
            found = getattr(found, part)
        return found


class UntraceableError(Exception):
    """A model's computation is not one graph; the message says why. Not for users: there is another way."""


def trace(model: nn.Module, images: Tensor) -> Traced:
    """Trace a model in evaluation mode. The model is left as it is.

    Args:
        model: images -> scores; wrapped or not.
        images: (B, ...), two or more, that it takes.

    Raises:
        UntraceableError: neither way can.
    """
    network = bare(model)
    reasons = []
    for way in (_by_fx, _by_export):
        try:
            with _quiet():
                return way(network, images)
        except Exception as error:  # what models do while they are traced raises almost anything
            reasons.append(f"{way.__name__[4:]}: {(str(error).strip().splitlines() or [type(error).__name__])[0]}")
    raise UntraceableError("; ".join(reasons))


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of what a failing attempt has to say is for the user: there is another way."""
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _by_fx(model: nn.Module, images: Tensor) -> Traced:
    del images
    _, *others = inspect.signature(model.forward).parameters.values()
    # An argument left out has its default: a proxy in its place would take the other branch of `if mask is None`.
    defaults = {one.name: one.default for one in others if one.default is not inspect.Parameter.empty}
    before = set(vars(model))
    try:
        graph = fx.Tracer().trace(model, defaults or None)
    finally:
        constants = {name: vars(model).pop(name) for name in set(vars(model)) - before}
    return Traced(graph, model, constants)


def _by_export(model: nn.Module, images: Tensor) -> Traced:
    shapes = ({0: torch.export.Dim("images", min=2)},)
    exported = torch.export.export(model, (images,), dynamic_shapes=shapes, strict=False).module()
    assert isinstance(exported, fx.GraphModule)
    return Traced(exported.graph, exported)
