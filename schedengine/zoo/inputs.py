"""What a model takes: one example of its input, by the model's name or as the user writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from schedengine.errors import ModelError
from schedengine.zoo.detection import detectors
from schedengine.zoo.factory import is_reference
from schedengine.zoo.models import MODELS, torchvision_models

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]
_OURS: dict[str, Shape] = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar": (3, 32, 32)}
"""By a part of the name; the others are for ImageNet."""
_IMAGENET: Shape = (3, 224, 224)
_WORDS = {"word_lm": 35}
"""Models that take a text, and the length of an example."""
_MOST = 2**31
_FORM = "write CxHxW, as in 3x32x32; several inputs by several options; whole numbers as in 128:int"


def example_inputs(
    model_name: str, shapes: Sequence[str] = (), *, channels: int | None = None, device: str = "cpu"
) -> tuple[Tensor, ...] | None:
    """One example of everything that a model takes: zeros, for shapes to be followed through it.

    Args:
        model_name: as for ``build_model``.
        shapes: of one example, as a user writes them: ``["3x32x32"]``, one for each input, in order; ``128:int`` for
            whole numbers (the tokens of a text). Empty: what the model's name says.
        channels: of the images, in place of what the name says; not for written shapes.
        device: ``cpu`` or ``meta``.

    Returns:
        Tensors (1, ...), of a text (length, 1); None if no shape is given and the name says nothing: a factory of the
        user's, or a detection model, which takes a list of images.

    Raises:
        ModelError: a shape that cannot be read, or no such model.

    Example:
        >>> [tuple(one.shape) for one in example_inputs("digits_cnn")]
        [(1, 1, 8, 8)]
        >>> [tuple(one.shape) for one in example_inputs("mine:net", ["3x64x64", "10"])]
        [(1, 3, 64, 64), (1, 10)]
    """
    import torch

    if shapes:
        kinds = {False: torch.float32, True: torch.int64}
        written = [_parse(text) for text in shapes]
        return tuple(torch.zeros(1, *shape, dtype=kinds[whole], device=device) for shape, whole in written)
    if model_name in _WORDS:
        return (torch.zeros(_WORDS[model_name], 1, dtype=torch.int64, device=device),)
    usual = usual_shape(model_name)
    if usual is None:
        return None
    return (torch.zeros(1, channels or usual[0], *usual[1:], device=device),)


def usual_shape(model_name: str) -> Shape | None:
    """(C, H, W) of the images that a model of this name is made for; None where the name does not say.

    Of torchvision's models it is the smallest size that published weights are evaluated on: 224 pixels for most, 299
    for inception_v3.

    Raises:
        ModelError: no such model.
    """
    if is_reference(model_name) or model_name in _WORDS:
        return None
    if model_name in MODELS:
        return next((shape for part, shape in _OURS.items() if part in model_name), _IMAGENET)
    if model_name in detectors():
        return None
    weights = torchvision_models(model_name).get_model_weights(model_name)
    size = min(one.transforms.keywords["crop_size"] for one in weights)
    return 3, size, size


def _parse(text: str) -> tuple[Shape, bool]:
    """The shape, and whether it holds whole numbers."""
    sizes, colon, kind = text.partition(":")
    parts = sizes.split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts) or (colon and kind != "int"):
        raise ModelError(f"--input {text}: not a shape; {_FORM}")
    shape = tuple(map(int, parts))
    if math.prod(shape) > _MOST:
        raise ModelError(f"--input {text}: {math.prod(shape):,} values in one example; no model takes as many")
    return shape, bool(colon)
