"""A stand-in for the module ``pickle`` that rebuilds tensors and nothing else.

A training checkpoint holds tensors beside objects of the program that wrote it (Distiller's optimizer class, thinning
recipes). Here every name in the file, except those of the few functions which rebuild tensors, stands for a
``Placeholder``: nothing is imported or called on the file's behalf, so a file from anywhere can be read for its
tensors.
``torch.load(file, pickle_module=inert_pickle, weights_only=False)`` uses it, for zip archives and for the older format.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from functools import partial
from typing import IO, Any

import torch

_REBUILDERS: dict[tuple[str, str], Any] = {
    ("torch._utils", name): getattr(torch._utils, name)
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
}


class Placeholder:
    """Stands for any object of a foreign program: accepts what unpickling does to an object, and forgets it."""

    def __init__(self, *arguments: object, **named: object) -> None:
        del arguments, named

    def __call__(self, *arguments: object, **named: object) -> Placeholder:
        del arguments, named
        return self

    def __setstate__(self, state: object) -> None:
        del state

    def __setitem__(self, key: object, value: object) -> None:
        del key, value

    def append(self, item: object) -> None:
        """As a list's."""
        del item

    def extend(self, items: object) -> None:
        """As a list's."""
        del items

    def add(self, item: object) -> None:
        """As a set's."""
        del item


class Unpickler(pickle.Unpickler):
    """Reads a pickle; a foreign name is a ``Placeholder``."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the file stands for."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch.storage", "UntypedStorage"):
            return torch.UntypedStorage
        if (module, name) in _REBUILDERS:
            # A new object each time: pickle's BUILD sets attributes, and must not reach torch's own function.
            return partial(_REBUILDERS[module, name])
        return Placeholder


def load(file: IO[bytes], *, encoding: str = "utf-8") -> Any:
    """As ``pickle.load``."""
    return Unpickler(file, encoding=encoding).load()
