"""Dynamic pruning with feedback against its own pseudo-code, written down plainly."""

from __future__ import annotations

import pytest
import torch
from loops import batch, one_pruner, sgd, small_model, train
from torch import Tensor
from torch.nn.functional import cross_entropy

EPOCHS, STEPS = 3, 4


def by_the_paper(period: int, share: float) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Every ``period`` steps the mask of the largest weights; the gradient at the masked weights moves the dense ones.

    Lin et al. 2020, Dynamic Model Pruning with Feedback, Algorithm 1.
    """
    model = small_model()
    optimizer = sgd(model, weight_decay=0.01)
    pruned = [model[0].weight, model[5].weight]
    masks = [torch.ones_like(one) for one in pruned]
    for step in range(EPOCHS * STEPS):
        dense = [one.detach().clone() for one in pruned]
        if step % period == 0:
            sizes = torch.cat([one.abs().flatten() for one in dense])
            limit = sizes.sort().values[round(share * len(sizes)) - 1]
            masks = [(one.abs() > limit).float() for one in dense]
        with torch.no_grad():
            for one, mask in zip(pruned, masks):
                one.mul_(mask)
        images, labels = batch(*divmod(step, STEPS))
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        with torch.no_grad():
            for one, value in zip(pruned, dense):
                one.copy_(value)
        optimizer.step()
    kept = [one.detach().clone() for one in pruned]
    with torch.no_grad():
        for one, mask in zip(pruned, masks):
            one.mul_(mask)
    return kept, model.state_dict()


@pytest.mark.parametrize("period", [1, 3])
def test_the_engine_trains_what_the_pseudo_code_trains(period: int) -> None:
    model = small_model()
    optimizer = sgd(model, weight_decay=0.01)
    axes = {"sparsity": 0.6, "update": "reselect", "pruned": "dense", "min_keep": 0}
    scheduler = one_pruner(axes, {"during": "run", "every": f"{period}st"}).bind(model, optimizer, epochs=EPOCHS)
    train(scheduler, model, optimizer, steps=STEPS)
    kept, state = by_the_paper(period, 0.6)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(scheduler.masks.weight(name), one) for name, one in zip(("0.weight", "5.weight"), kept))
