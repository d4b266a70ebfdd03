"""Data from the user's own factory: Data as it is, or two or three map-style Datasets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from schedengine.errors import DataError
from schedengine.zoo.factory import call_factory
from schedengine.zoo.splits import Data


def user_data(reference: str, offered: Mapping[str, object], asked: Collection[str] = ()) -> Data:
    """What the factory returns, looked at for what a run needs to know.

    Args:
        reference: ``package.module:factory``. It returns a ``Data``, or a tuple (train, test) or (train, validation,
            test) of Datasets with a length, whose items are (float tensor of one shape, class number). These normalise
            and augment by themselves. The number of classes is that of ``train.classes`` if it has it, else one more
            than the largest of ``train.targets``, ``train.labels`` or a TensorDataset's second tensor.
        offered: the arguments that the factory may name.
        asked: those of them that it must name, since the user gave them.

    Raises:
        DataError: it cannot be called, or returns something else.
    """
    made = call_factory(reference, offered, DataError, asked=asked)
    if isinstance(made, Data):
        return made
    if not isinstance(made, tuple) or len(made) not in (2, 3):
        found = f"a tuple of {len(made)}" if isinstance(made, tuple) else f"a {type(made).__name__}"
        raise DataError(f"{reference}: returned {found}; return Data, (train, test) or (train, validation, test)")
    train, validation, test = made if len(made) == 3 else (made[0], None, made[1])
    shapes = [_shape(reference, part) for part in (train, validation, test) if part is not None]
    if len(set(shapes)) > 1:
        raise DataError(f"{reference}: the splits have images of the shapes {', '.join(map(str, shapes))}; want one")
    plain = (0.0,) * shapes[0][0], (1.0,) * shapes[0][0]
    return Data(train, test, _classes(reference, train), shapes[0], *plain, validation=validation)


def _shape(reference: str, dataset: Any) -> tuple[int, ...]:
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__") or len(dataset) == 0:
        raise DataError(f"{reference}: a {type(dataset).__name__} is no map-style Dataset with a length above 0")
    item = dataset[0]
    image, label = item if isinstance(item, (tuple, list)) and len(item) == 2 else (None, None)
    if not isinstance(image, Tensor) or not image.is_floating_point() or image.dim() == 0 or not _is_class(label):
        found = ", ".join(_word(part) for part in (item if isinstance(item, (tuple, list)) else [item]))
        raise DataError(f"{reference}: an item is ({found}); want (float tensor, class number)")
    return tuple(image.shape)


def _is_class(label: object) -> bool:
    if isinstance(label, Tensor):
        return label.dim() == 0 and not label.is_floating_point()
    return hasattr(label, "__index__")  # int, and numpy's


def _word(part: object) -> str:
    return f"{part.dtype} tensor" if isinstance(part, Tensor) else type(part).__name__


def _classes(reference: str, train: Any) -> int:
    if hasattr(train, "classes"):
        return len(train.classes)
    tensors = getattr(train, "tensors", (None, None))
    for labels in (getattr(train, "targets", None), getattr(train, "labels", None), tensors[-1]):
        if labels is not None:
            return int(torch.as_tensor(labels).max()) + 1
    if hasattr(train, "dataset"):  # a Subset of something that knows
        return _classes(reference, train.dataset)
    raise DataError(f"{reference}: cannot tell the number of classes; give train the attribute classes, or return Data")
