"""Whether a model takes the images of a data set, tried before anything is trained or written."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from schedengine.errors import ModelError
from schedengine.training.compute import Compute
from schedengine.training.evaluate import evaluating
from schedengine.zoo.data import Data

_IMAGES = 2
_MISFITS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What networks raise for images of another shape; torchvision's transformers assert it."""


def check_fits(model: nn.Module, name: str, data: Data, source: str, classes: int | None, compute: Compute) -> None:
    """Show a model two images of zeros, in evaluation mode; its buffers are afterwards what they were.

    A model that draws random numbers draws them from the global generators.

    Args:
        model: on the device.
        name, source: what messages call the model and the data.
        classes: outputs that were asked for; None for as many as the data have.

    Raises:
        ModelError: it does not take them, or returns something else than a score for each image and class.
    """
    shape = "x".join(map(str, data.shape))
    try:
        scores = _scores(model, data.shape, compute)
    except _MISFITS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        right = "choose a model that does, or other images (--data, --image-size)"
        raise ModelError(f"{name} does not take the images of {source}, {shape}: {reason}; {right}") from error
    needed = classes or data.classes
    returned = tuple(scores.shape) if isinstance(scores, Tensor) else ()
    if len(returned) != 2 or returned[0] != _IMAGES or returned[1] < needed:
        found = f"a tensor {returned}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        raise ModelError(
            f"{name} returns {found} for {_IMAGES} images of {source}, {shape}; "
            f"a model returns scores (images, classes), here for {needed} classes or more"
        )


@torch.no_grad()
def _scores(model: nn.Module, shape: tuple[int, ...], compute: Compute) -> object:
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    ((images, _),) = compute.batches([(torch.zeros(_IMAGES, *shape), torch.zeros(_IMAGES))])
    try:
        with evaluating(model):
            return model(images)
    finally:
        for name, buffer in model.named_buffers():
            if name in kept and kept[name].shape == buffer.shape:  # some networks make buffers for the images they get
                buffer.copy_(kept[name])
