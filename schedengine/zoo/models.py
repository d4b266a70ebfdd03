"""Names -> networks: ours, torchvision's classification and detection models, and the user's own factories."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from schedengine.errors import ModelError, SchedEngineError, did_you_mean
from schedengine.zoo.detection import build_detector, detectors
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
    "resnet110_cifar": "schedengine.zoo.cifar_resnet:resnet110_cifar",
    "plain20_cifar": "schedengine.zoo.plain:plain20_cifar",
    "preact_resnet20_cifar": "schedengine.zoo.preact_resnet:preact_resnet20_cifar",
    "preact_resnet32_cifar": "schedengine.zoo.preact_resnet:preact_resnet32_cifar",
    "preact_resnet44_cifar": "schedengine.zoo.preact_resnet:preact_resnet44_cifar",
    "preact_resnet56_cifar": "schedengine.zoo.preact_resnet:preact_resnet56_cifar",
    "preact_resnet110_cifar": "schedengine.zoo.preact_resnet:preact_resnet110_cifar",
    "vgg11_cifar": "schedengine.zoo.vgg_cifar:vgg11_cifar",
    "vgg13_cifar": "schedengine.zoo.vgg_cifar:vgg13_cifar",
    "vgg16_cifar": "schedengine.zoo.vgg_cifar:vgg16_cifar",
    "vgg19_cifar": "schedengine.zoo.vgg_cifar:vgg19_cifar",
    "vgg11_bn_cifar": "schedengine.zoo.vgg_cifar:vgg11_bn_cifar",
    "vgg13_bn_cifar": "schedengine.zoo.vgg_cifar:vgg13_bn_cifar",
    "vgg16_bn_cifar": "schedengine.zoo.vgg_cifar:vgg16_bn_cifar",
    "vgg19_bn_cifar": "schedengine.zoo.vgg_cifar:vgg19_bn_cifar",
    "simplenet_cifar": "schedengine.zoo.simplenet:simplenet_cifar",
    "simplenet_mnist": "schedengine.zoo.simplenet:simplenet_mnist",
    "alexnet_bn": "schedengine.zoo.alexnet_bn:alexnet_bn",
    "mobilenet": "schedengine.zoo.mobilenet:mobilenet",
    "mobilenet_075": "schedengine.zoo.mobilenet:mobilenet_075",
    "mobilenet_050": "schedengine.zoo.mobilenet:mobilenet_050",
    "mobilenet_025": "schedengine.zoo.mobilenet:mobilenet_025",
    "preact_resnet18": "schedengine.zoo.preact_resnet:preact_resnet18",
    "preact_resnet34": "schedengine.zoo.preact_resnet:preact_resnet34",
    "preact_resnet50": "schedengine.zoo.preact_resnet:preact_resnet50",
    "preact_resnet101": "schedengine.zoo.preact_resnet:preact_resnet101",
    "resnext101_32x4d": "schedengine.zoo.resnext:resnext101_32x4d",
    "word_lm": "schedengine.zoo.word_lm:word_lm",
}
"""The models that ship: name -> ``module:function``. Listing them imports nothing."""

_OWN_LOOP = (
    "train, evaluate and sensitivity cannot feed it; check, plan, list and summary can show it, "
    "and a loop of your own can train it"
)

_PLAIN_OUTPUT: dict[str, dict[str, Any]] = {
    # In training mode these two return a tuple with auxiliary outputs, which a plain loop cannot take.
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def build_model(name: str, *, classes: int | None = None, channels: int | None = None, meta: bool = False) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: a key of ``MODELS``, a classification or detection model of torchvision (``resnet50``), or a factory of
            the user's, ``package.module:factory``. A factory is called with those of ``classes``, ``num_classes``,
            ``channels`` and ``in_channels`` that its signature names.
        classes: outputs, for a language model the words; None leaves the model's own number (10 for small images, 1000
            for ImageNet, 91 for detection).
        channels: of the images that are to be classified, 1 or 3; None leaves the model's own. torchvision's take 3.
        meta: for names and shapes only: on the meta device, without memory for weights and without random numbers. A
            network that computes with values while it is made (torchvision's regnets) is on the CPU all the same.

    Raises:
        ModelError: no such model; a factory that cannot be imported, needs more arguments, or returns something else;
            a torchvision model asked for other than 3 channels; a model that does not classify images, asked for any.
    """
    if meta:
        return _without_values(lambda: build_model(name, classes=classes, channels=channels))
    if is_reference(name):
        return _from_factory(name, classes, channels)
    if name in MODELS:
        return _from_ours(name, classes, channels)
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


def _from_ours(name: str, classes: int | None, channels: int | None) -> nn.Module:
    module, _, function = MODELS[name].partition(":")
    build = getattr(importlib.import_module(module), function)
    takes = inspect.signature(build).parameters
    if channels is not None and "channels" not in takes:
        raise ModelError(f"{name} takes words, not images: {_OWN_LOOP}")
    offered = {"classes": classes, "vocabulary": classes, "channels": channels}
    return build(**{key: value for key, value in offered.items() if key in takes and value is not None})  # type: ignore[no-any-return]


def _from_torchvision(name: str, classes: int | None, channels: int | None) -> nn.Module:
    if name in detectors():
        if channels is not None:
            raise ModelError(f"{name} takes images with boxes, not with classes: {_OWN_LOOP}")
        return build_detector(name, classes)
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
        raise ModelError(f"unknown model {name!r} ({own}); {did_you_mean(name, [*MODELS, *known, *detectors()])}")
    return models
