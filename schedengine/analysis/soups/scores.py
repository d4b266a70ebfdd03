"""Several networks, and what they say together, measured in one pass over the images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from schedengine.analysis.sensitivity.counts import Verdicts, judge
from schedengine.training.compute import Compute
from schedengine.training.evaluate import Evaluation, evaluating
from schedengine.zoo.loader import Loader


def measure_together(
    networks: Sequence[nn.Module], together: int, loader: Loader, compute: Compute
) -> tuple[list[Evaluation], Evaluation]:
    """Loss and accuracy of each network, and of the prediction ensemble of the first ones.

    An ensemble says the mean of its networks' softmax probabilities, and costs as much as all of them.

    Args:
        networks: images (B, ...) -> scores (B, classes), on the device; left in the mode that they were in.
        together: how many of them, from the first, are the ensemble; 1 or more.
        loader: images in an order of their own, without augmentation.

    Returns:
        Of each network, and of the ensemble.
    """
    found: list[list[Verdicts]] = [[] for _ in range(len(networks) + 1)]
    for images, labels in compute.batches(loader):
        scores = [_scores(network, images, compute) for network in networks]
        for verdicts, one in zip(found, [*scores, _mixed(scores[:together])], strict=True):
            verdicts.append(judge(one, labels))
    *each, ensemble = (_evaluation(Verdicts.joined(verdicts)) for verdicts in found)
    return each, ensemble


@torch.no_grad()
def _scores(network: nn.Module, images: Tensor, compute: Compute) -> Tensor:
    with evaluating(network), compute.autocast():
        scores: Tensor = network(images)
    return scores.float()


def _mixed(scores: Sequence[Tensor]) -> Tensor:
    """(B, classes): the logarithm of mean probabilities, which are scores too."""
    logarithms = torch.stack([log_softmax(one.double(), 1) for one in scores])
    return logarithms.logsumexp(0) - math.log(len(scores))


def _evaluation(verdicts: Verdicts) -> Evaluation:
    samples = len(verdicts.loss)
    top1, top5 = (100 * int(one.sum()) / samples for one in (verdicts.top1, verdicts.top5))
    return Evaluation(float(verdicts.loss.sum()) / samples, top1, top5, samples)
