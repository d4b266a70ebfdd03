"""The network entered at a step: what is computed, how often, and in how much memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from analysis.sensitivity.networks import Attention, Checks, Residual, Tied, Views, batches, seeded
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from schedengine.analysis.sensitivity.stages import Stages
from schedengine.analysis.sensitivity.trace import UntraceableError, trace
from schedengine.selection import ParameterTable


class Watch(TorchDispatchMode):
    """Counts convolutions, and the most bytes of made tensors that are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = self.peak = 0
        self._alive: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.convolutions += "convolution" in str(func)
        self._alive = [one for one in self._alive if one() is not None]
        self._alive += [weakref.ref(made)] if isinstance(made, Tensor) else []
        storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for ref in self._alive
                    if (one := ref()) is not None}  # fmt: skip
        self.peak = max(self.peak, sum(storages.values()))
        return made


def chain(length: int) -> nn.Sequential:
    layers = [[nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU()] for _ in range(length)]
    return nn.Sequential(*[module for three in layers for module in three], nn.Flatten(), nn.Linear(72, 7)).eval()


def staged(model: nn.Module, **options: Any) -> Stages:
    images = batches(2)[0][0]
    return Stages(trace(model.eval(), images), ParameterTable(model), images, **options)


def swept(model: nn.Module, stages: Stages, levels: int, images: Tensor) -> None:
    """Every convolution with other weights so many times; scores are looked at and dropped."""
    others = {name: {name: value.detach() / 2} for name, value in model.named_parameters() if value.dim() == 4}
    entries = {stages.entry[name]: [(name, pruned)] * levels for name, pruned in others.items()}
    for _, scores in stages.run(images, entries):
        assert scores.shape == (len(images), 7)


def run(call: Callable[[], object]) -> Watch:
    with torch.no_grad(), Watch() as watch:
        call()
    return watch


def test_only_what_follows_is_computed_for_each_level() -> None:
    model = chain(3)
    watch = run(lambda: swept(model, staged(model), 2, batches(5)[0][0]))
    assert watch.convolutions == 3 + 3 + 2 * (3 + 2 + 1)  # watching, the dense network, the suffixes


def test_memory_stays_below_twice_that_of_an_evaluation() -> None:
    model, images = chain(8), batches(50)[0][0]
    stages = staged(model)
    plain, shared = run(lambda: model(images)), run(lambda: swept(model, stages, 3, images))
    assert shared.convolutions == 8 + 3 * 36 and shared.peak <= 2 * plain.peak


def test_memory_does_not_grow_with_depth() -> None:
    images = batches(50)[0][0]
    short, long = chain(3), chain(12)
    first, second = staged(short), staged(long)
    peaks = run(lambda: swept(short, first, 2, images)).peak, run(lambda: swept(long, second, 2, images)).peak
    assert peaks[1] - peaks[0] == 9 * 36 * 4  # bytes of the other weights that nine more convolutions have


@pytest.mark.parametrize("network", [Residual, Views, Tied, Attention, Checks])
@pytest.mark.parametrize("fold", [True, False])
def test_every_entry_gives_the_models_own_scores(network: type[nn.Module], fold: bool) -> None:
    model, images = seeded(network).eval(), batches(6)[0][0]
    kept, stages = images.clone(), staged(model, fold=fold)
    weights = dict(model.named_parameters())
    entries: dict[int, list[tuple[str, dict[str, Tensor]]]] = {}
    for name, step in stages.entry.items():
        entries.setdefault(step, []).extend([(name, {name: weights[name].detach().clone()})] * 2)
    with torch.no_grad():
        scores = [found for _, found in stages.run(images, entries)]
        assert len(scores) == 2 * len(weights) + 1
        assert all(torch.allclose(found, model(kept), atol=1e-6) for found in scores) and torch.equal(images, kept)


def test_a_weight_is_entered_where_it_is_first_read() -> None:
    model = seeded(Tied)
    entry = staged(model).entry
    assert entry["fc.weight"] < entry["out.weight"] < entry["twin.bias"] < entry["out.bias"]


def test_tracing_leaves_nothing_in_the_model() -> None:
    class Constant(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.flatten(1)) + torch.ones(7)

    model = Constant(72, 7)
    before = sorted(vars(model))
    assert staged(model).dense(batches(3)[0][0]).shape == (3, 7) and sorted(vars(model)) == before


def test_wrappers_are_looked_through() -> None:
    model = nn.DataParallel(seeded(Residual))
    assert "stem.weight" in staged(model).entry


def test_what_cannot_be_traced_says_why() -> None:
    class Random(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images if float(images.sum()) > 0 else -images

    with pytest.raises(UntraceableError, match="fx: .*Proxy.*; export: "):
        trace(Random(), batches(2)[0][0])
