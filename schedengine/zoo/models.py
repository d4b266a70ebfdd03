"""Names -> networks: ours, torchvision's classification models, and the user's own factories."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from schedengine.errors import ModelError, SchedEngineError, did_you_mean
from schedengine.zoo.factory import call_factory, is_reference

if TYPE_CHECKING:
    from torch import nn

MODELS: dict[str, str] = {
    "digits_cnn": "schedengine.zoo.digits_net:digits_cnn",
    "resnet8_cifar": "schedengine.zoo.cifar_resnet:resnet8_cifar",
    "resnet14_cifar": "schedengine.zoo.cifar_resnet:resnet14_cifar",
    "resnet20_cifar": "schedengine.zoo.cifar_resnet:resnet20_cifar",
    "resnet32_cifar": "schedengine.zoo.cifar_resnet:resnet32_cifar",
    "resnet44_cifar": "schedengine.zoo.cifar_resnet:resnet44_cifar",
    "resnet56_cifar": "schedengine.zoo.cifar_resnet:resnet56_cifar",
}
"""The models that ship: name -> ``module:function``. Listing them imports nothing."""

_PLAIN_OUTPUT: dict[str, dict[str, Any]] = {
    # In training mode these two return a tuple with auxiliary outputs, which a plain loop cannot take.
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def build_model(name: str, *, classes: int | None = None, channels: int | None = None, meta: bool = False) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: a key of ``MODELS``, a classification model of torchvision (``resnet50``), or a factory of the user's,
            ``package.module:factory``. A factory is called with those of ``classes``, ``num_classes``, ``channels``
            and ``in_channels`` that its signature names.
        classes: outputs; None leaves the model's own number (10 for ours, 1000 for torchvision's).
        channels: of the images, 1 or 3; None leaves the model's own. torchvision's models take 3.
        meta: for names and shapes only: on the meta device, without memory for weights and without random numbers. A
            network that computes with values while it is made (torchvision's regnets) is on the CPU all the same.

    Raises:
        ModelError: no such model; a factory that cannot be imported, needs more arguments, or returns something else;
            a torchvision model asked for other than 3 channels.
    """
    if meta:
        return _without_values(lambda: build_model(name, classes=classes, channels=channels))
    if is_reference(name):
        return _from_factory(name, classes, channels)
    if name in MODELS:
        module, _, function = MODELS[name].partition(":")
        given = {"classes": classes, "channels": channels}
        build = getattr(importlib.import_module(module), function)
        return build(**{key: value for key, value in given.items() if value is not None})  # type: ignore[no-any-return]
    return _from_torchvision(name, classes, channels)


def _without_values(build: Callable[[], nn.Module]) -> nn.Module:
    import torch

    try:
        with torch.device("meta"), warnings.catch_warnings():
            # A factory that reads a file of weights is told that they are not copied, which is what was asked for.
            warnings.filterwarnings("ignore", message=".*meta parameter.* is a no-op")
            model = build()
    except SchedEngineError:
        raise
    except Exception:  # whatever a factory raises for want of values; what it raises with values too, it raises below
        return build()
    tensors = [*model.parameters(), *model.buffers()]
    return model if all(tensor.is_meta for tensor in tensors) else build()


def _from_factory(reference: str, classes: int | None, channels: int | None) -> nn.Module:
    from torch import nn

    offered = {"classes": classes, "channels": channels, "num_classes": classes, "in_channels": channels}
    model = call_factory(reference, offered, ModelError)
    if not isinstance(model, nn.Module):
        raise ModelError(f"{reference}: returned a {type(model).__name__}; a model factory returns a torch.nn.Module")
    return model


def _from_torchvision(name: str, classes: int | None, channels: int | None) -> nn.Module:
    models = torchvision_models(name)
    if channels not in (None, 3):
        raise ModelError(f"{name} takes images of 3 channels, the data have {channels}; write package.module:factory")
    size = {} if classes is None else {"num_classes": classes}
    return models.get_model(name, weights=None, **size, **_PLAIN_OUTPUT.get(name, {}))  # type: ignore[no-any-return]


def torchvision_models(name: str) -> Any:
    """torchvision's ``models``, which has a classification model of this name.

    Raises:
        ModelError: it has not; the message has the nearest names, ours among them.
    """
    from torchvision import models  # type: ignore[import-untyped]

    known = models.list_models(module=models)
    if name not in known:
        own = "a model of your own is written package.module:factory"
        raise ModelError(f"unknown model {name!r} ({own}); {did_you_mean(name, [*MODELS, *known])}")
    return models
