"""Every pruner class of Distiller against the formula of its mask, epoch by epoch, on random weights that move.

The formulas are written here from what Distiller d859fc85 computes, on plain tensors. A loop moves the weights by noise
where an optimizer would, so that masks have something to choose anew.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from schedengine import PruningScheduler, load_schedule
from schedengine.schedule import distiller

START, STOP, EVERY, EPOCHS, STEPS = 1, 8, 2, 9, 3
ACTIVE = range(START, STOP, EVERY)
Weights = dict[str, Tensor]
Formula = Callable[["Reference", str, Tensor, int], "Tensor | None"]


def layers() -> nn.ModuleDict:
    torch.manual_seed(0)
    made = nn.ModuleDict(
        {
            "a": nn.Conv2d(8, 8, 3, bias=False),
            "b": nn.Conv2d(4, 8, 3, bias=False),
            "fc": nn.Linear(12, 10, bias=False),
            "rnn": nn.LSTM(3, 2, bias=False),
        }
    )
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.05)
    return made


def text(pruner: str, args: str = "") -> str:
    when = f"starting_epoch: {START}, ending_epoch: {STOP}, frequency: {EVERY}"
    return (
        f"version: 1\npruners: {{p: {{{pruner}}}}}\n"
        f"policies: [{{pruner: {{instance_name: p, args: {{{args}}}}}, {when}}}]\n"
    )


# --- the formulas: of a weight, the mask -----------------------------------------------------------------------------


class Reference:
    """Weights and masks as Distiller would have them.

    Args:
        mode: zero, forward (masked in the forward pass only) or copies (that, and the optimizer gets the weights back).
    """

    def __init__(self, weights: Weights, formula: Formula, names: list[str], mode: str = "zero") -> None:
        self.weights = {name: weight.detach().clone() for name, weight in weights.items()}
        self.formula, self.names, self.mode = formula, names, mode
        self.masks: Weights = {}
        self.gradients: Weights = {}
        self.first: dict[str, tuple[float, float, float]] = {}

    def measured(self, name: str, weight: Tensor) -> tuple[float, float, float]:
        """Standard deviation, and mean and deviation of the sizes, at the first call and kept."""
        sizes = weight.abs()
        return self.first.setdefault(name, (float(weight.std()), float(sizes.mean()), float(sizes.std())))

    def cut(self, epoch: int) -> None:
        for name in self.names:
            mask = self.formula(self, name, self.weights[name], epoch)
            if mask is not None:
                self.masks[name] = mask

    def shown(self) -> Weights:
        shown = {name: weight * self.masks.get(name, 1) for name, weight in self.weights.items()}
        if self.mode != "copies":
            self.weights = shown
        return shown

    def step(self, noise: Weights) -> None:
        self.weights = {name: weight + noise[name] for name, weight in self.weights.items()}
        self.gradients = noise
        if self.mode == "zero":
            self.shown()


def over(weight: Tensor, limit: float) -> Tensor:
    return weight.abs() > limit


def level(weight: Tensor, target: float) -> Tensor:
    return over(weight, float(weight.abs().flatten().sort().values[int(target * weight.numel()) - 1]))


def agp(epoch: int, first: float = 0.2, last: float = 0.7) -> float:
    span = (STOP - START - 1) // EVERY * EVERY
    return last + (first - last) * (1 - (epoch - START) / span) ** 3


def filters(weight: Tensor) -> Tensor:
    return weight.flatten(1)


def channels(weight: Tensor) -> Tensor:
    return weight.transpose(0, 1).flatten(1)


def kernels(weight: Tensor) -> Tensor:
    return weight.flatten(2).flatten(0, 1)


def blocks(rows: int, depth: int) -> Callable[[Tensor], Tensor]:
    """As the code has it: rows * depth kernels in a row; for depth 1, rows filters at one channel and position."""

    def view(weight: Tensor) -> Tensor:
        wide = weight.flatten(1)[:, None] if depth == 1 else weight.flatten(2).flatten(0, 1)[:, None]
        length = rows * depth
        return wide.reshape(-1, length, wide.shape[-1]).transpose(1, 2).flatten(0, 1)

    return view


def expanded(weight: Tensor, view: Callable[[Tensor], Tensor], keep: Tensor) -> Tensor:
    mask = torch.zeros(weight.numel(), dtype=torch.bool)
    mask[view(torch.arange(weight.numel()).view(weight.shape))[keep].flatten()] = True
    return mask.view(weight.shape)


def mean_abs(groups: Tensor) -> Tensor:
    return groups.abs().mean(1)


def l2(groups: Tensor) -> Tensor:
    return groups.pow(2).sum(1).sqrt() / groups.shape[1]


def largest(groups: Tensor) -> Tensor:
    return groups.abs().amax(1)


def ranked(
    weight: Tensor, target: float, view: Callable[[Tensor], Tensor], norm: Callable[[Tensor], Tensor] = mean_abs
) -> Tensor | None:
    norms = norm(view(weight))
    count = math.floor(target * len(norms))
    return expanded(weight, view, norms > norms.sort().values[count - 1]) if count else None


def baidu(epoch: int, q: float, offset: int, mult: float) -> float:
    ramp = START + offset
    theta = 2 * q * EVERY / (2 * (ramp - START) + 3 * (STOP - ramp))
    if epoch < ramp:
        return theta * (epoch - START + 1) / EVERY
    return (theta * (ramp - START + 1) + theta * mult * (epoch - ramp + 1)) / EVERY


def spliced(reference: Reference, name: str, weight: Tensor, epoch: int) -> Tensor:
    _, mean, deviation = reference.measured(name, weight)
    limit = mean + deviation * 0.3 * ((epoch - START) * 0.1 + 1)
    mask = reference.masks.get(name, torch.ones_like(weight, dtype=torch.bool))
    mask = torch.where(weight.abs() < limit * 0.8, torch.tensor(False), mask)
    return torch.where(weight.abs() >= limit * 1.2, torch.tensor(True), mask)


# --- classes whose masks follow from the weights ---------------------------------------------------------------------

STRUCTURES: dict[str, tuple[str, list[str], Callable[[Tensor], Tensor]]] = {
    "Filters": ("group_type: Filters, weights: [b.weight, a.weight]", ["a.weight", "b.weight"], filters),
    "3D": ("group_type: 3D, weights: [a.weight]", ["a.weight"], filters),
    "Channels": ("group_type: Channels, weights: [a.weight, fc.weight]", ["a.weight", "fc.weight"], channels),
    "Rows": ("group_type: Rows, weights: [b.weight, fc.weight]", ["b.weight", "fc.weight"], channels),
    **{
        f"Blocks {shape}": (
            f"group_type: Blocks, kwargs: {{block_shape: {[*shape, 1, 1]}}}, weights: [a.weight, b.weight]",
            ["a.weight", "b.weight"],
            blocks(*shape),
        )
        for shape in ((1, 8), (2, 4), (2, 8), (4, 1), (1, 2), (1, 1), (8, 4))
    },
}
NORMS = {"L1": mean_abs, "L2": l2}
Case = tuple[str, list[str], Formula]


def rankers() -> Iterator[tuple[str, Case]]:
    for kind, (given, names, view) in STRUCTURES.items():
        for order, norm in NORMS.items():
            name = f"{order}RankedStructureParameterPruner"
            yield (
                f"{name} {kind}",
                (
                    f"class: {name}, desired_sparsity: 0.4, {given}",
                    names,
                    lambda _, __, w, epoch, view=view, norm=norm: ranked(w, 0.4, view, norm),
                ),
            )
            yield (
                f"{name}_AGP {kind}",
                (
                    f"class: {name}_AGP, initial_sparsity: 0.2, final_sparsity: 0.7, {given}",
                    names,
                    lambda _, __, w, epoch, view=view, norm=norm: ranked(w, agp(epoch), view, norm),
                ),
            )


def led(target: Callable[[int], float]) -> Formula:
    """The leader is the first of the list, b, which is not the first of the model."""

    def formula(reference: Reference, name: str, weight: Tensor, epoch: int) -> Tensor | None:
        leader = reference.weights["b.weight"]
        norms = mean_abs(filters(leader))
        count = math.floor(target(epoch) * len(norms))
        return expanded(weight, filters, norms > norms.sort().values[count - 1]) if count else None

    return formula


def lowest(weight: Tensor, scores: Tensor, target: float) -> Tensor:
    """Exactly as many filters as the target says go, in the order of an argsort."""
    keep = torch.ones(len(scores), dtype=torch.bool)
    keep[scores.argsort(stable=True)[: int(target * len(scores))]] = False
    return expanded(weight, filters, keep)


def by_gradient(reference: Reference, name: str, weight: Tensor, target: float) -> Tensor:
    return lowest(weight, (weight * reference.gradients[name]).flatten(1).sum(1), target)


def thresholded(view: Callable[[Tensor], Tensor], norm: Callable[[Tensor], Tensor], limit: float) -> Formula:
    return lambda _, __, weight, ___: expanded(weight, view, norm(view(weight)) > limit)


def structures() -> Iterator[tuple[str, Case]]:
    """With a limit that about half of the groups exceed."""
    kinds = (
        ("2D", "a.weight", kernels),
        ("3D", "a.weight", filters),
        ("Filters", "b.weight", filters),
        ("Channels", "b.weight", channels),
        ("Rows", "fc.weight", filters),
        ("Cols", "fc.weight", channels),
    )
    weights = dict(layers().named_parameters())
    for kind, name, view in kinds:
        for criterion, norm in (("Max", largest), ("Mean_Abs", mean_abs)):
            limit = round(1.05 * float(norm(view(weights[name].detach())).median()), 4)
            given = f"reg_regims: {{{name}: [{limit}, {kind}]}}, threshold_criteria: {criterion}"
            case = (f"class: StructureParameterPruner, {given}", [name], thresholded(view, norm, limit))
            yield f"StructureParameterPruner {kind} {criterion}", case


LED = "group_type: Filters, group_dependency: Leader, weights: [b.weight, a.weight]"
ALL = list(dict(layers().named_parameters()))
CASES: dict[str, Case] = {
    "AutomatedGradualPruner": (
        "class: AutomatedGradualPruner, initial_sparsity: 0.2, final_sparsity: 0.7, weights: [a.weight, fc.weight]",
        ["a.weight", "fc.weight"],
        lambda _, __, w, epoch: level(w, agp(epoch)),
    ),
    "SparsityLevelParameterPruner": (
        "class: SparsityLevelParameterPruner, levels: {a.weight: 0.5, fc.weight: 0.25}",
        ["a.weight", "fc.weight"],
        lambda _, name, w, epoch: level(w, 0.5 if name == "a.weight" else 0.25),
    ),
    "SparsityLevelParameterPruner *": (
        "class: SparsityLevelParameterPruner, levels: {a.weight: 0.5, '*': 0.25}",
        ALL,
        lambda _, name, w, epoch: level(w, 0.5 if name == "a.weight" else 0.25),
    ),
    "SensitivityPruner": (
        "class: SensitivityPruner, sensitivities: {a.weight: 0.7, fc.weight: 0.7}",
        ["a.weight", "fc.weight"],
        lambda reference, name, w, epoch: over(w, 0.7 * reference.measured(name, w)[0]),
    ),
    "MagnitudeParameterPruner": (
        "class: MagnitudeParameterPruner, thresholds: {a.weight: 0.05, b.weight: 0.06, '*': 0.04}",
        ALL,
        lambda _, name, w, epoch: over(w, {"a.weight": 0.05, "b.weight": 0.06}.get(name, 0.04)),
    ),
    "SplicingPruner": (
        "class: SplicingPruner, low_thresh_mult: 0.8, hi_thresh_mult: 1.2, sensitivity_multiplier: 0.1, "
        "sensitivities: {a.weight: 0.3, fc.weight: 0.3}",
        ["a.weight", "fc.weight"],
        spliced,
    ),
    "BaiduRNNPruner": (
        "class: BaiduRNNPruner, q: 0.04, ramp_epoch_offset: 3, ramp_slope_mult: 2, weights: [rnn.weight_ih_l0]",
        ["rnn.weight_ih_l0"],
        lambda _, __, w, epoch: over(w, baidu(epoch, 0.04, 3, 2)),
    ),
    "L1RankedStructureParameterPruner Leader": (
        f"class: L1RankedStructureParameterPruner, desired_sparsity: 0.4, {LED}",
        ["a.weight", "b.weight"],
        led(lambda epoch: 0.4),
    ),
    "L1RankedStructureParameterPruner_AGP Leader": (
        f"class: L1RankedStructureParameterPruner_AGP, initial_sparsity: 0.2, final_sparsity: 0.7, {LED}",
        ["a.weight", "b.weight"],
        led(agp),
    ),
    "GradientRankedFilterPruner": (
        "class: GradientRankedFilterPruner, desired_sparsity: 0.4, group_type: Filters, weights: [a.weight, b.weight]",
        ["a.weight", "b.weight"],
        lambda reference, name, w, epoch: by_gradient(reference, name, w, 0.4),
    ),
    "GradientRankedFilterPruner_AGP": (
        "class: GradientRankedFilterPruner_AGP, initial_sparsity: 0.2, final_sparsity: 0.7, group_type: 3D, "
        "weights: [a.weight]",
        ["a.weight"],
        lambda reference, name, w, epoch: by_gradient(reference, name, w, agp(epoch)),
    ),
    **dict(rankers()),
    **dict(structures()),
}


def compare(pruner: str, names: list[str], formula: Formula, args: str = "", mode: str = "zero") -> Reference:
    """Run both through all epochs; equal at every forward pass."""
    model = layers()
    weights = dict(model.named_parameters())
    scheduler = load_schedule(text(pruner, args)).bind(model, epochs=EPOCHS)
    reference = Reference(weights, formula, names, mode)
    generator = torch.Generator().manual_seed(1)
    for epoch in range(EPOCHS):
        scheduler.on_epoch_begin(epoch)
        if epoch in ACTIVE:
            reference.cut(epoch)
        for step in range(STEPS):
            scheduler.on_minibatch_begin(epoch, step, STEPS)
            shown = reference.shown()
            for name, weight in weights.items():
                mask = scheduler.masks.mask(name)
                expected = reference.masks.get(name)
                assert mask is None or mask.equal(torch.ones_like(mask) if expected is None else expected), name
                assert (mask is not None or expected is None) and weight.detach().equal(shown[name]), (epoch, name)
            noise = {name: torch.randn(weight.shape, generator=generator) * 0.01 for name, weight in weights.items()}
            for name, weight in weights.items():
                weight.grad = noise[name]
            scheduler.before_parameter_optimization(epoch, step, STEPS)
            with torch.no_grad():
                for name, weight in weights.items():
                    weight += noise[name]
            scheduler.on_minibatch_end(epoch, step, STEPS)
            reference.step(noise)
        scheduler.on_epoch_end(epoch)
    return reference


@pytest.mark.parametrize("name", CASES)
def test_the_masks_are_those_of_the_formula_at_every_epoch(name: str) -> None:
    reference = compare(*CASES[name])
    assert all(0 < int(mask.sum()) < mask.numel() for mask in reference.masks.values())
    assert set(reference.masks) == set(CASES[name][1])


@pytest.mark.parametrize(
    "name", ["AutomatedGradualPruner", "SplicingPruner", "L1RankedStructureParameterPruner_AGP 3D"]
)
@pytest.mark.parametrize(
    ("mode", "args"),
    [("forward", "mask_on_forward_only: true"), ("copies", "mask_on_forward_only: true, use_double_copies: true")],
)
@pytest.mark.filterwarnings("ignore:pruner 'p' removed:schedengine.errors.EffectWarning")  # nothing keeps them at 0
def test_the_masks_are_those_of_the_formula_where_weights_train_on(name: str, mode: str, args: str) -> None:
    """They hold in the epochs between two cuts too, in which Distiller would show the weights unmasked."""
    compare(*CASES[name], args, mode)


# --- classes that draw -----------------------------------------------------------------------------------------------


def masks_of(document: str, model: nn.Module, *names: str, epochs: int = EPOCHS) -> list[list[Tensor]]:
    """Of each active epoch, the mask of each name, after the first step began."""
    scheduler = load_schedule(document).bind(model, epochs=epochs)
    found = []
    for epoch in range(epochs):
        scheduler.on_epoch_begin(epoch)
        scheduler.on_minibatch_begin(epoch, 0, 1)
        if epoch in ACTIVE:
            found.append([scheduler.masks.in_force(name) for name in names])
        scheduler.before_parameter_optimization(epoch, 0, 1)
        scheduler.on_minibatch_end(epoch, 0, 1)
    return found


def gone(mask: Tensor) -> list[int]:
    """The filters that go; none goes in part."""
    rows = filters(mask)
    assert bool((rows.all(1) | ~rows.any(1)).all())
    return (~rows.any(1)).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("RandomRankedFilterPruner, desired_sparsity: 0.4", lambda epoch: 0.4),
        ("RandomRankedFilterPruner_AGP, initial_sparsity: 0.2, final_sparsity: 0.7", agp),
    ],
    ids=["constant", "AGP"],
)
def test_random_filters_go_as_many_as_the_target_says(given: str, target: Callable[[int], float]) -> None:
    document = text(f"class: {given}, group_type: Filters, weights: [a.weight, b.weight]")
    found = masks_of(document, layers(), "a.weight", "b.weight")
    for epoch, masks in zip(ACTIVE, found, strict=True):
        assert [len(gone(mask)) for mask in masks] == [int(target(epoch) * 8)] * 2
    assert len({tuple(gone(mask)) for masks in found for mask in masks}) > 4  # drawn for each parameter and cut


DROP = "mask_on_forward_only: true, use_double_copies: true"


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("BernoulliFilterPruner, desired_sparsity: 0.3", lambda epoch: 0.3),
        ("BernoulliFilterPruner_AGP, initial_sparsity: 0.2, final_sparsity: 0.7", agp),
    ],
    ids=["constant", "AGP"],
)
def test_each_filter_goes_with_the_probability_of_the_target(given: str, target: Callable[[int], float]) -> None:
    model = nn.ModuleDict({"a": nn.Conv2d(1, 900, 1, bias=False)})
    found = masks_of(text(f"class: {given}, group_type: 3D, weights: [a.weight]", DROP), model, "a.weight")
    for epoch, (mask,) in zip(ACTIVE, found, strict=True):
        assert len(gone(mask)) / 900 == pytest.approx(target(epoch), abs=4 * 0.5 / 900**0.5)
    assert len({len(gone(mask)) for (mask,) in found}) > 1


def test_what_a_bernoulli_pruner_keeps_is_divided_by_the_share_that_it_keeps() -> None:
    model = layers()
    weight = model["a"].weight
    dense = weight.detach().clone()
    pruner = "class: BernoulliFilterPruner, desired_sparsity: 0.4, group_type: Filters, weights: [a.weight]"
    (mask,), *_ = masks_of(text(pruner, DROP), model, "a.weight", epochs=2)
    torch.testing.assert_close(weight.detach(), dense * mask / mask.float().mean())


LEVEL = "class: RandomLevelStructureParameterPruner, sparsity_range: [0.2, 0.7]"


def test_a_random_level_ranks_to_a_target_drawn_for_each_parameter_and_cut() -> None:
    model = layers()
    weights = [model[name].weight.detach().clone() for name in "ab"]
    found = masks_of(text(f"{LEVEL}, group_type: Filters, weights: [a.weight, b.weight]", DROP), model, "a.weight",
                     "b.weight")  # fmt: skip
    counts = [[len(gone(mask)) for mask in masks] for masks in found]
    assert all(1 <= count <= 5 for pair in counts for count in pair)  # of 8
    assert len({tuple(pair) for pair in counts}) > 1 and any(one != other for one, other in counts)
    for pair, masks in zip(counts, found, strict=True):
        for count, weight, mask in zip(pair, weights, masks, strict=True):
            expected = ranked(weight, count / 8, filters)
            assert expected is not None and mask.equal(expected)


@pytest.mark.parametrize(
    "given",
    [
        LEVEL,
        "class: RandomRankedFilterPruner, desired_sparsity: 0.4",
        "class: BernoulliFilterPruner, desired_sparsity: 0.4",
    ],
    ids=["level", "rank", "bernoulli"],
)
def test_a_leader_draws_for_all(given: str) -> None:
    """Distiller crashes here, but for the random level."""
    for first, second in masks_of(text(f"{given}, {LED}"), layers(), "a.weight", "b.weight"):
        assert gone(first) == gone(second)


# --- classes that look at the network --------------------------------------------------------------------------------


def conv(norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU())
    if norm:
        nn.init.uniform_(made[1].weight, 0.1, 2.0)
        made[1].running_var.uniform_(0.2, 3.0)
    return made


def inputs(epoch: int) -> Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(epoch))


def share_of_zeros(outputs: Tensor) -> Tensor:
    return -(outputs == 0).float().mean((0, 2, 3))  # the highest share goes first


def mean_output(outputs: Tensor) -> Tensor:
    return outputs.mean((0, 2, 3))  # the lowest mean goes first; in Distiller the highest, against its paper


@pytest.mark.parametrize(
    ("name", "score"),
    [("ActivationAPoZRankedFilterPruner", share_of_zeros), ("ActivationMeanRankedFilterPruner", mean_output)],
)
@pytest.mark.parametrize(
    ("how", "given", "target"),
    [
        ("", "desired_sparsity: 0.4", lambda epoch: 0.4),
        ("_AGP", "initial_sparsity: 0.2, final_sparsity: 0.7", agp),
    ],
    ids=["constant", "AGP"],
)
def test_activations_are_those_of_the_evaluation_before(
    name: str, score: Callable[[Tensor], Tensor], how: str, given: str, target: Callable[[int], float]
) -> None:
    model = conv()
    document = text(f"class: {name}{how}, {given}, group_type: Filters, weights: [0.weight]")
    scheduler = load_schedule(document).bind(model, epochs=EPOCHS)
    scores = torch.zeros(8)
    for epoch in range(EPOCHS):
        scheduler.on_epoch_begin(epoch)
        scheduler.on_minibatch_begin(epoch, 0, 1)
        if epoch in ACTIVE:
            assert scheduler.masks.in_force("0.weight").equal(lowest(model[0].weight, scores, target(epoch)))
        model.train()(inputs(epoch + 100))
        scheduler.on_minibatch_end(epoch, 0, 1)
        scores = score(model.eval()(inputs(epoch)).detach())
        scheduler.on_epoch_end(epoch)


def test_without_a_gradient_nothing_is_cut() -> None:
    document = text("class: GradientRankedFilterPruner, desired_sparsity: 0.4, group_type: 3D, weights: [a.weight]")
    scheduler = load_schedule(document).bind(layers(), epochs=EPOCHS)
    with pytest.warns(match="no cut: a.weight has no gradient"):
        scheduler.on_epoch_begin(START)
    assert scheduler.masks.mask("a.weight") is None


def test_a_reconstructing_pruner_removes_the_channels_of_the_lowest_norm_and_mends_the_rest() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 8, 3, bias=False))
    dense, images = model[0].weight.detach().clone(), torch.randn(16, 6, 8, 8).cumsum(1)
    expected = ranked(dense, 0.4, channels)
    assert expected is not None
    document = text(
        "class: FMReconstructionChannelPruner, desired_sparsity: 0.4, group_type: Channels, weights: [0.weight]"
    )
    scheduler = load_schedule(document).bind(model, epochs=EPOCHS, data=[images])
    scheduler.on_epoch_begin(START)
    scheduler.on_minibatch_begin(START, 0, 1)
    assert scheduler.masks.in_force("0.weight").equal(expected)
    outputs = nn.functional.conv2d(images, dense)
    error, masked = (float((outputs - nn.functional.conv2d(images, w)).square().mean()) for w in
                     (model[0].weight.detach(), dense * expected))  # fmt: skip
    assert error < 0.5 * masked


def test_every_class_is_tested() -> None:
    tested = {name.split()[0] for name in CASES}
    drawing = ["RandomRankedFilterPruner", "BernoulliFilterPruner"]
    looking = ["ActivationAPoZRankedFilterPruner", "ActivationMeanRankedFilterPruner"]
    tested |= {f"{name}{how}" for name in drawing + looking for how in ("", "_AGP")}
    tested |= {"RandomLevelStructureParameterPruner", "FMReconstructionChannelPruner"}
    assert tested == set(distiller.PRUNERS)


# --- a policy's args -------------------------------------------------------------------------------------------------

HALF = "class: SparsityLevelParameterPruner, levels: {a.weight: 0.5}"


def begun(args: str, pruner: str = HALF, **given: Any) -> tuple[PruningScheduler, nn.ModuleDict]:
    """At the first forward pass of the first active epoch, of two steps each."""
    model = given.pop("model", None) or layers()
    scheduler = load_schedule(text(pruner, args)).bind(model, epochs=EPOCHS, **given)
    begin(scheduler, START)
    return scheduler, model


def begin(scheduler: PruningScheduler, epoch: int) -> None:
    scheduler.on_epoch_begin(epoch)
    scheduler.on_minibatch_begin(epoch, 0, 2)


def update(scheduler: PruningScheduler, model: nn.Module, epoch: int = START, step: int = 0) -> Tensor:
    """A step of 1 for every weight of a; what its gradient was when the optimizer saw it."""
    weight = model.get_parameter("a.weight")
    weight.grad = torch.ones_like(weight)
    scheduler.before_parameter_optimization(epoch, step, 2)
    with torch.no_grad():
        weight += 1
    scheduler.on_minibatch_end(epoch, step, 2)
    return weight.grad


def pruned(scheduler: PruningScheduler, model: nn.Module) -> Tensor:
    """The weights that the mask removes, as they are."""
    return model.get_parameter("a.weight").detach()[~scheduler.masks.in_force("a.weight")]


def test_without_args_pruned_weights_are_zero_after_every_update() -> None:
    scheduler, model = begun("")
    assert bool((update(scheduler, model) == 1).all()) and not pruned(scheduler, model).any()


def test_mask_on_forward_only_leaves_updates_to_pruned_weights_until_the_next_step() -> None:
    scheduler, model = begun("mask_on_forward_only: true")
    assert not pruned(scheduler, model).any()
    update(scheduler, model)
    assert bool((pruned(scheduler, model) == 1).all())  # 0 + 1
    scheduler.on_minibatch_begin(START, 1, 2)
    assert not pruned(scheduler, model).any()


def test_mask_gradients_keeps_pruned_weights_still() -> None:
    scheduler, model = begun("mask_on_forward_only: true, mask_gradients: true")
    assert update(scheduler, model).equal(scheduler.masks.in_force("a.weight").float())


def test_double_copies_give_the_optimizer_the_weights_as_they_were() -> None:
    dense = layers()["a"].weight.detach()
    scheduler, model = begun("mask_on_forward_only: true, use_double_copies: true")
    assert not pruned(scheduler, model).any()
    scheduler.before_parameter_optimization(START, 0, 2)
    assert model["a"].weight.detach().equal(dense)


def test_discarded_masks_are_gone_at_the_end_of_the_minibatch() -> None:
    scheduler, model = begun("discard_masks_at_minibatch_end: true")
    update(scheduler, model)
    assert scheduler.masks.mask("a.weight") is None
    scheduler.on_minibatch_begin(START, 1, 2)
    scheduler.on_minibatch_end(START, 1, 2)
    assert scheduler.masks.mask("a.weight") is None
    scheduler.on_epoch_end(START)
    begin(scheduler, START + EVERY)
    assert scheduler.masks.mask("a.weight") is not None


def test_discarding_leaves_the_masks_of_other_pruners() -> None:
    """Distiller discards them too."""
    document = text(HALF, "discard_masks_at_minibatch_end: true").replace(
        "policies: [", "policies: [{pruner: {instance_name: q}, epochs: [1]}, "
    ).replace("{p: {", "{q: {class: SparsityLevelParameterPruner, levels: {b.weight: 0.5}}, p: {")  # fmt: skip
    scheduler = load_schedule(document).bind(layers(), epochs=EPOCHS)
    begin(scheduler, START)
    scheduler.on_minibatch_end(START, 0, 2)
    assert scheduler.masks.names == ["b.weight"]


def test_dropped_filters_leave_the_dense_weights_untouched() -> None:
    """The forward pass sees them scaled, the optimizer and the evaluation see them as they were."""
    dense = layers()["a"].weight.detach()
    pruner = "class: BernoulliFilterPruner, desired_sparsity: 0.4, group_type: Filters, weights: [a.weight]"
    scheduler, model = begun(f"{DROP}, mask_gradients: true, discard_masks_at_minibatch_end: true", pruner)
    mask = scheduler.masks.in_force("a.weight")
    torch.testing.assert_close(model["a"].weight.detach(), dense * mask / mask.float().mean())
    update(scheduler, model)
    assert not scheduler.masks.names and not mask.all()
    weight = model["a"].weight.detach()
    assert weight.equal(dense + 1)  # the update was made by hand, and is not of the gradient


@pytest.mark.filterwarnings("ignore:pruner 'p' removed:schedengine.errors.EffectWarning")
def test_masks_are_chosen_anew_when_the_count_of_all_minibatches_is_divisible() -> None:
    """Of 2 an epoch, the first of an epoch being the epoch's own: e * 2 + mb is 3, 7 and 15 in the active epochs."""
    scheduler, model = begun(f"{DROP}, mini_batch_pruning_frequency: 3")
    seen = []
    for epoch in ACTIVE:
        if epoch > START:
            begin(scheduler, epoch)
        for step in range(2):
            scheduler.on_minibatch_begin(epoch, step, 2) if step else None
            seen.append((epoch * 2 + step, scheduler.masks.in_force("a.weight")))
            scheduler.before_parameter_optimization(epoch, step, 2)
            nn.init.normal_(model["a"].weight)
            scheduler.on_minibatch_end(epoch, step, 2)
        scheduler.on_epoch_end(epoch)
    changed = [count for (_, before), (count, mask) in itertools.pairwise(seen) if not mask.equal(before)]
    assert changed == [3, 6, 10, 14, 15]  # 6, 10 and 14 begin an epoch; of 3, 7, 11 and 15 three divides 3 and 15


def test_keep_mask_makes_the_last_masks_hold() -> None:
    scheduler, model = begun("mask_on_forward_only: true, keep_mask: true")
    last = STOP - 1
    for epoch in (*ACTIVE[1:], STOP):
        begin(scheduler, epoch)
        update(scheduler, model, epoch)
        assert bool(pruned(scheduler, model).any()) == (epoch <= last)
        scheduler.on_epoch_end(epoch)
    assert not pruned(scheduler, model).any()


def test_levels_of_a_policy_replace_those_of_the_pruner() -> None:
    scheduler, model = begun("levels: {b.weight: 0.25}")
    assert scheduler.masks.names == ["b.weight"] and int((model["b"].weight == 0).sum()) == 72


@pytest.mark.parametrize("cls", ["L1Ranked", "L2Ranked"])
def test_fold_batchnorm_ranks_what_convolution_and_normalisation_compute(cls: str) -> None:
    model = conv(norm=True)
    scale = model[1].weight / (model[1].running_var + model[1].eps).sqrt()
    folded = (model[0].weight * scale[:, None, None, None]).detach()
    expected = ranked(folded, 0.4, filters, NORMS[cls[:2]])
    plain = ranked(model[0].weight.detach(), 0.4, filters, NORMS[cls[:2]])
    pruner = f"class: {cls}StructureParameterPruner, desired_sparsity: 0.4, group_type: Filters, weights: [0.weight]"
    scheduler, _ = begun("fold_batchnorm: true", pruner, model=model, example_inputs=inputs(0))
    assert expected is not None and plain is not None and not expected.equal(plain)
    assert scheduler.masks.in_force("0.weight").equal(expected)
