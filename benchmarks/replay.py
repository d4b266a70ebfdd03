"""Replays Distiller's schedules without data, and compares with what Distiller did and with what its formulas say.

    python benchmarks/replay.py FOLDER [--only GLOB] [--model NAME] [--jobs 2] [--threads 1] [--out CSV]
                                [--markdown FILE]

Each file of the folder, at any depth, runs on a fresh network (random weights, seeded) with SGD, 0.1 and momentum 0.9:
every callback of every epoch up to the last one that a policy names, two mini-batches an epoch. The loss of the task is
0, so weights only move where a penalty moves them; where thresholds decide what goes they decay by 1e-4, as they did
in the original's replay. Criteria that look at activations see seeded noise after each epoch.

What is compared, and with what:

- rates: of every epoch, with torch's own schedulers, stepped as Distiller steps them; and with ``replay.json``, if the
  folder has one: what Distiller itself did ("lr_changes", the first six).
- counts: non-zero weights of every parameter of 2 or 4 dimensions at the end, with the table in the file's comments if
  shapes and levels alone decide it ("table"), else with Distiller's formulas on the same random weights ("formula").
  Of a thinned network the table says the shapes too. Where several weights have the very magnitude at which Distiller
  cuts, all of them go: a difference must be one of these ("ties").
- the network: parameters before and after thinning, weights, non-zero weights and sparsity, with ``replay.json``;
  where thresholds decide, the sparsity of two draws of the weights differs by chance, which is allowed for.

Exits 1 if anything differs or does not run.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import fnmatch
import json
import math
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from schedengine import load_schedule
from schedengine.errors import SchedEngineError
from schedengine.reports.tables import count, percent, show_table
from schedengine.schedule.source import read
from schedengine.scheduler import PruningScheduler
from schedengine.selection import ParameterTable, normalise
from schedengine.zoo.inputs import example_inputs
from schedengine.zoo.models import build_model
from schedengine.zoo.word_lm import WordLanguageModel

Document = Mapping[str, Any]
RATE, MOMENTUM, DECAY, STEPS, SEED = 0.1, 0.9, 1e-4, 2, 0
METRICS = {"min": 1.0, "max": 50.0}
CHANGES = 6
"""``replay.json`` has the first so many changes of the rate."""
CHANCE = 3
"""Standard deviations by which the sparsity of two draws of the weights may differ, where thresholds decide."""
NEAR = 1e-6
"""Relative distance from a limit within which float32 does not tell on which side a weight lies."""
STRAY = 16
"""Weights of a network that ties, and zeros that were drawn, may make different."""

MODELS = (
    ("*alexnet_bn*", "alexnet_bn"),
    ("*alexnet*", "alexnet"),
    ("*vgg16_cifar*", "vgg16_cifar"),
    ("*vgg19*", "vgg19"),
    ("*plain20*", "plain20_cifar"),
    ("*preact_resnet18*", "preact_resnet18"),
    ("*preact_resnet*cifar*", "preact_resnet20_cifar"),
    ("*resnext101*", "resnext101_32x4d"),
    ("*resnet18*", "resnet18"),
    ("*resnet20*", "resnet20_cifar"),
    ("*resnet50*", "resnet50"),
    ("*resnet56*", "resnet56_cifar"),
    ("*mobilenet*", "mobilenet"),
    ("*maskrcnn*", "maskrcnn_resnet50_fpn"),
    ("*simplenet_mnist*", "simplenet_mnist"),
    ("*word_lang_model*", "word_lm"),
    ("*gss/*", "resnet20_cifar"),
    ("*ssl/*", "resnet20_cifar"),
    ("*quant_aware_train_linear*", "resnet18"),
)
"""The network of each of Distiller's files, by its path; the first that fits."""
RENAMED = {"maskrcnn_p": "maskrcnn_resnet50_fpn"}
"""Names of networks in ``replay.json`` -> ours."""


@dataclass
class Replay:
    """What one file gave.

    Args:
        file: its path in the folder.
        verdict: equal, not compared (see ``notes``), or the first difference.
        rates: epochs with the rate that torch's schedulers have; ``changes``: of those in ``replay.json``.
        counts: parameters whose count is the one of ``oracle``, ``ties`` aside.
        notes: what the run warned of, and every difference.
    """

    file: str
    model: str = ""
    epochs: int = 0
    rates: str = ""
    changes: str = ""
    oracle: str = ""
    counts: str = ""
    ties: int = 0
    weights: int = 0
    non_zero: int = 0
    original_non_zero: int | None = None
    sparsity: float = math.nan
    original_sparsity: float | None = None
    parameters_before: int = 0
    parameters_after: int = 0
    cuts: int = 0
    seconds: float = 0.0
    verdict: str = "equal"
    notes: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A parameter in the table of a file's comments."""

    shape: tuple[int, ...]
    dense: int
    sparse: int


# --- what the file says --------------------------------------------------------------------------------------------


def document_of(path: Path) -> dict[str, Any]:
    plain = read(path).root.plain()
    return plain if isinstance(plain, dict) else {}


def length(document: Document) -> int:
    """Epochs up to the last one that a policy names."""
    return max(  # type: ignore[no-any-return]
        max(policy["epochs"]) + 1 if "epochs" in policy else policy["ending_epoch"] for policy in policies(document)
    )


def last(document: Document) -> int:
    """Epochs up to the last one in which anything but a rate acts."""
    return length({"policies": [policy for policy in policies(document) if "lr_scheduler" not in policy]})


def policies(document: Document, kind: str | None = None) -> list[dict[str, Any]]:
    return [policy for policy in document.get("policies") or () if kind is None or kind in policy]


def active(policy: Mapping[str, Any]) -> list[int]:
    if "epochs" in policy:
        return list(policy["epochs"])
    return list(range(policy["starting_epoch"], policy["ending_epoch"], policy["frequency"]))


def instances(document: Document, kind: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each policy of a kind, with the instance that it names."""
    for policy in policies(document, kind):
        yield policy, document[f"{kind}s"][policy[kind]["instance_name"]]


def table_of(path: Path) -> dict[str, Row]:
    """The (last) table of counts in the comments, by normalised name."""
    line = re.compile(r"#\s*\|\s*[\d.]+\s*\|\s*(\S+)\s*\|\s*\(([\d, ]+)\)\s*\|\s*(\d+)\s*\|\s*(\d+)\s*\|")
    rows = {}
    for name, shape, dense, sparse in line.findall(path.read_text()):
        rows[normalise(name)] = Row(tuple(int(one) for one in shape.split(",") if one.strip()), int(dense), int(sparse))
    return rows


def model_name(path: Path, relative: str, known: Mapping[str, Any], given: str | None) -> str:
    """Of ``replay.json``, else as given, else by the file's path, else of the command line in its comments."""
    if "arch" in known:
        return str(RENAMED.get(known["arch"], known["arch"]))
    if given is not None:
        return given
    fitting = [name for pattern, name in MODELS if fnmatch.fnmatch(f"/{relative}", pattern)]
    written = re.search(r"^#.*\s(?:-a|--arch)[ =]+(\w+)", path.read_text(), re.M)
    if not fitting and written is None:
        raise SchedEngineError(f"{relative}: its network is not known; pass --model NAME")
    return fitting[0] if fitting else str(written and written[1])


# --- the run -------------------------------------------------------------------------------------------------------


def network(name: str) -> nn.Module:
    """With fresh weights, distributed as in the original's replay."""
    model = build_model(name)
    if isinstance(model, WordLanguageModel):
        model.encoder.reset_parameters()  # torch's own there, not those of the paper
    return model


def images_for(name: str) -> Tensor | None:
    """Seeded noise of the shape that a network takes; None where its name does not say, and for those of words."""
    inputs = example_inputs(name)
    if inputs is None or not inputs[0].is_floating_point():
        return None
    return torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(SEED))


def sees(scheduler: PruningScheduler) -> bool:
    """Whether a criterion looks at activations."""
    return any("activations" in pruner.spec.criterion.needs for pruner in scheduler.pruners.values())


def batch_of(images: Tensor) -> Tensor:
    """Eight, and small where they can be: only which statistics are gathered matters, not what they say."""
    shape = (8, images.shape[1], *(min(extent, 64) for extent in images.shape[2:]))
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def run(
    path: Path, model: nn.Module, images: Tensor | None, epochs: int, moving: int
) -> tuple[list[float], PruningScheduler]:
    """Every callback of every epoch.

    Args:
        moving: epochs in which weights decay.

    Returns:
        The rate of each epoch.
    """
    decay = DECAY if moving else 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=decay, fused=True)
    if decay:
        give_no_gradient(model.parameters())
    scheduler = load_schedule(path).bind(model, optimizer, epochs=epochs, example_inputs=images)
    noise = batch_of(images) if images is not None and sees(scheduler) else None
    rates, is_moved = [], False
    for epoch in range(epochs):
        model.train()
        if epoch == moving:  # and 0 means from the beginning: what is not to move needs no gradient
            optimizer.zero_grad(set_to_none=True)
        scheduler.on_epoch_begin(epoch)
        for step in range(STEPS):
            scheduler.on_minibatch_begin(epoch, step, STEPS)
            loss = scheduler.before_backward_pass(epoch, step, STEPS, torch.zeros(()))
            if is_moved:
                optimizer.zero_grad(set_to_none=False)
            if is_moved := loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
            scheduler.before_parameter_optimization(epoch, step, STEPS)
            optimizer.step()
            scheduler.on_minibatch_end(epoch, step, STEPS)
        rates.append(float(optimizer.param_groups[0]["lr"]))
        if noise is not None:
            model.eval()
            with torch.no_grad():
                model(noise)
        scheduler.on_epoch_end(epoch, metrics=METRICS)
    return rates, scheduler


def give_no_gradient(parameters: Iterable[Tensor]) -> None:
    """Zeros, with which SGD still lets weights decay; with None it would leave them alone."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)


def counted(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that Distiller's tables have."""
    table = ParameterTable(model)
    return {name: table[name] for name in table.names if table[name].dim() in (2, 4)}


# --- Distiller's rates ---------------------------------------------------------------------------------------------


def _steps(milestones: list[int], gammas: list[float]) -> Callable[[int], float]:
    return lambda epoch: math.prod(gamma for one, gamma in zip(milestones, gammas, strict=True) if epoch >= one)


OWN_RATES: dict[str, Callable[..., Callable[[int], float]]] = {
    "MultiStepMultiGammaLR": lambda milestones, gammas: _steps(milestones, gammas),
    "PolynomialLR": lambda power, **over: lambda epoch: (1 - epoch / over["T_max"]) ** power,
}
"""Distiller's own schedulers, as a factor of the base rate."""


def original_rates(document: Document, epochs: int) -> list[float]:
    """The rate of each epoch as Distiller sets it: after an active epoch k, schedulers are stepped to k + 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE, momentum=MOMENTUM)
    made: dict[str, Any] = {}
    for name, fields_ in (document.get("lr_schedulers") or {}).items():
        arguments = {key: value for key, value in fields_.items() if key != "class"}
        if fields_["class"] in OWN_RATES:
            made[name] = lr_scheduler.LambdaLR(optimizer, OWN_RATES[fields_["class"]](**arguments))
        else:
            made[name] = getattr(lr_scheduler, fields_["class"])(optimizer, **arguments)
    due = [
        (set(active(policy)), made[policy["lr_scheduler"]["instance_name"]])
        for policy in policies(document, "lr_scheduler")
    ]
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of stepping to an epoch, and of an optimizer that makes no steps
        for epoch in range(epochs):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            for scheduler in [one for epochs_, one in due if epoch in epochs_]:
                is_plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
                scheduler.step(**({"metrics": METRICS[scheduler.mode]} if is_plateau else {}), epoch=epoch + 1)
    return rates


def changes_of(rates: list[float]) -> list[list[float]]:
    found = [[epoch, rate] for epoch, rate in enumerate(rates) if epoch == 0 or rate != rates[epoch - 1]]
    return found[:CHANGES]


def is_same_rate(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=0)


# --- Distiller's counts --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    """A parameter when its pruner first looked at it, and at its last cut, as it would be without any mask."""

    first: Tensor
    last: Tensor


class Zeros(NamedTuple):
    """How many weights are 0, and how many lie so near the limit that the order of additions decides about them."""

    number: int
    near: int = 0


Formula = Callable[[Moments], Zeros]


def zeros_by_formula(document: Document, weights: Mapping[str, Tensor], table: ParameterTable) -> dict[str, Zeros]:
    """Zeros at the end by Distiller's formulas, each as if it had one pruner, no penalty and no thinning."""
    found = {name: Zeros(int((weight == 0).sum())) for name, weight in weights.items()}
    rates = original_rates(document, length(document))
    for policy, spec in instances(document, "pruner"):
        arguments = policy["pruner"].get("args") or {}
        if arguments.get("discard_masks_at_minibatch_end"):
            continue
        zeros = formulas(policy, spec)
        names = {written: table.find(written) or written for written in zeros}
        decay = DECAY if decays(document) else 0.0
        stops = active(policy)[0] * STEPS, last_cut(policy, arguments.get("mini_batch_pruning_frequency") or 0)
        first, last = (decayed({name: weights[name] for name in names.values()}, rates, stop, decay) for stop in stops)
        found.update({name: zeros[written](Moments(first[name], last[name])) for written, name in names.items()})
    return found


def last_cut(policy: Mapping[str, Any], frequency: int) -> int:
    """The step of the run before which the masks of a policy are computed for the last time."""
    start = active(policy)[-1] * STEPS
    return max(step for step in range(start, start + STEPS) if step == start or (frequency and step % frequency == 0))


def decayed(weights: Mapping[str, Tensor], rates: list[float], steps: int, decay: float) -> dict[str, Tensor]:
    """The weights after so many steps without a gradient, bit by bit as SGD rounds them."""
    if not decay or not steps:
        return dict(weights)
    moved = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    optimizer = torch.optim.SGD(moved.values(), lr=RATE, momentum=MOMENTUM, weight_decay=decay, fused=True)
    give_no_gradient(moved.values())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rates[step // STEPS]
        optimizer.step()
    return {name: weight.detach() for name, weight in moved.items()}


def formulas(policy: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Formula]:
    """Of each parameter that the file writes, how many zeros the last cut of this policy leaves."""
    epochs, factors = active(policy), spec.get("sensitivities")
    if spec["class"] == "SensitivityPruner":
        return {name: partial(_of_spread, factor=factor) for name, factor in factors.items()}  # type: ignore[union-attr]
    if spec["class"] == "SplicingPruner":
        growth = (epochs[-1] - epochs[0]) * (spec.get("sensitivity_multiplier") or 0) + 1
        low = spec["low_thresh_mult"]
        return {name: partial(_of_splicing, factor=one * growth, low=low) for name, one in factors.items()}  # type: ignore[union-attr]
    level = spec.get("final_sparsity", spec.get("desired_sparsity"))
    one: Formula = partial(_of_groups, level=level, spec=spec)
    if spec["class"] == "BaiduRNNPruner":
        one = partial(_of_limit, limit=_baidu(policy, spec))
    elif spec["class"] == "AutomatedGradualPruner":
        one = partial(_of_level, level=level)
    return dict.fromkeys(names_of(spec), one)


def names_of(spec: Mapping[str, Any]) -> list[str]:
    names = spec.get("weights") or spec.get("sensitivities")
    return [names] if isinstance(names, str) else list(names or ())


def up_to(weight: Tensor, limit: Tensor | float) -> int:
    return int((weight.abs() <= limit).sum())


def rank(weight: Tensor, number: int) -> Tensor:
    """The ``number``-th smallest magnitude, from 1."""
    return weight.abs().flatten().kthvalue(number).values


def _of_limit(weight: Moments, limit: Tensor | float) -> Zeros:
    near = up_to(weight.last, limit * (1 + NEAR)) - up_to(weight.last, limit * (1 - NEAR))
    return Zeros(up_to(weight.last, limit), near)


def _of_spread(weight: Moments, factor: float) -> Zeros:
    return _of_limit(weight, factor * weight.first.std())


def _of_splicing(weight: Moments, factor: float, low: float) -> Zeros:
    magnitude = weight.first.abs()
    return _of_limit(weight, (magnitude.mean() + magnitude.std() * factor) * low)


def _baidu(policy: Mapping[str, Any], spec: Mapping[str, Any]) -> float:
    start, stop, every, epoch = (
        policy["starting_epoch"],
        policy["ending_epoch"],
        policy["frequency"],
        active(policy)[-1],
    )
    ramp = start + spec["ramp_epoch_offset"]
    theta = 2 * spec["q"] * every / (2 * (ramp - start) + 3 * (stop - ramp))
    if epoch < ramp:
        return float(theta * (epoch - start + 1) / every)
    return float((theta * (ramp - start + 1) + theta * spec["ramp_slope_mult"] * (epoch - ramp + 1)) / every)


def _of_level(weight: Moments, level: float) -> Zeros:
    number = int(level * weight.last.numel())
    return Zeros(up_to(weight.last, rank(weight.last, number) if number else 0.0))


def _of_groups(weight: Moments, level: float, spec: Mapping[str, Any]) -> Zeros:
    shape, kind = weight.last.shape, spec["group_type"]
    if kind == "Blocks":
        size: int = math.prod(spec["kwargs"]["block_shape"])
        return Zeros(int(level * (shape.numel() // size)) * size)
    groups: int = shape[0 if kind in ("3D", "Filters") else 1]
    number = math.floor(level * groups)
    return Zeros((number - (number == groups and level != 1)) * (shape.numel() // groups))


BY_SHAPE = re.compile(r"AutomatedGradualPruner|SparsityLevelParameterPruner|.*Ranked.*")
"""Classes whose counts shapes and levels decide, whatever the weights."""


def is_decided_by_shapes(document: Document) -> bool:
    classes = [spec["class"] for _, spec in instances(document, "pruner")]
    limits = [spec.get("threshold_criteria") for _, spec in instances(document, "regularizer")]
    return bool(classes) and all(BY_SHAPE.fullmatch(cls) for cls in classes) and not any(limits)


def decays(document: Document) -> bool:
    """Whether weights decay in the replay: where thresholds decide. Elsewhere it could only make more ties."""
    is_touched = policies(document, "pruner") or policies(document, "regularizer")
    return bool(is_touched) and not is_decided_by_shapes(document)


def is_told_by_formulas(document: Document) -> bool:
    """No thinning, no penalty that moves weights, and no parameter with two pruners."""
    pruned = [normalise(name) for _, spec in instances(document, "pruner") for name in names_of(spec)]
    others = policies(document, "extension") + policies(document, "regularizer")
    return not others and len(pruned) == len(set(pruned))


# --- comparing -----------------------------------------------------------------------------------------------------


def compare_rates(found: Replay, rates: list[float], expected: list[float], known: Document) -> None:
    same = sum(map(is_same_rate, rates, expected))
    found.rates = f"{same}/{len(expected)}"
    if same < len(expected):
        epoch = next(one for one in range(len(rates)) if not is_same_rate(rates[one], expected[one]))
        found.differences.append(
            f"rate of epoch {epoch} is {rates[epoch]:.6g}, of torch's schedulers {expected[epoch]:.6g}"
        )
    if "lr_changes" in known:
        changes, originals = changes_of(rates), known["lr_changes"]
        equal = [one[0] == other[0] and is_same_rate(one[1], other[1]) for one, other in zip(changes, originals)]
        found.changes = f"{sum(equal)}/{len(originals)}"
        if not all(equal) or len(changes) != len(originals):
            found.differences.append(f"rates change at {changes}, in replay.json at {originals}")


def compare_with_table(found: Replay, model: nn.Module, rows: Mapping[str, Row], before: Mapping[str, Tensor]) -> None:
    """Counts and shapes of every parameter of the file's own table."""
    table, equal = ParameterTable(model), 0
    for written, row in rows.items():
        name = table.find(written)
        if name is None:
            found.differences.append(f"{written} is not in the network")
            continue
        weight = table[name].detach()
        ours = int(weight.count_nonzero())
        if tuple(weight.shape) != row.shape:
            found.differences.append(f"{name} is {tuple(weight.shape)}, in the table {row.shape}")
        ties = _ties(before[name], row.sparse if before[name].shape == weight.shape else before[name].numel())
        if row.sparse - ours in (range(ties + 1) if before[name].shape != weight.shape else (0, ties)):
            equal += 1
            found.ties += row.sparse - ours
        elif ours == row.dense:  # nothing prunes it but training, which the table is of
            equal += 1
            found.notes.append(f"{name}: {row.dense - row.sparse} zeros in the table that no pruner made")
        else:
            found.differences.append(f"{name} has {ours:,} non-zero, in the table {row.sparse:,}, with {ties} ties")
    found.oracle, found.counts = "table", f"{equal}/{len(rows)}"


def _ties(weight: Tensor, kept: int) -> int:
    """Weights with the magnitude at which a cut that keeps so many ends, beyond the first of them.

    Where all are kept, those that were drawn as 0.
    """
    gone = max(0, weight.numel() - kept)
    return up_to(weight, rank(weight, gone) if gone else 0.0) - gone


def compare_with_formulas(found: Replay, model: nn.Module, document: Document, before: Mapping[str, Tensor]) -> None:
    expected = zeros_by_formula(document, before, ParameterTable(model))
    ours = {name: int((weight == 0).sum()) for name, weight in counted(model).items()}
    wrong = [name for name in ours if abs(ours[name] - expected[name].number) > expected[name].near]
    found.ties = sum(abs(ours[name] - expected[name].number) for name in ours)
    found.oracle, found.counts = "formula", f"{len(ours) - len(wrong)}/{len(ours)}"
    found.differences += [
        f"{name} has {ours[name]:,} zeros, by the formula {expected[name].number:,}" for name in wrong
    ]


def compare_totals(found: Replay, known: Document, *, is_decided: bool) -> None:
    """The whole network, with what Distiller's own had."""
    if "parameters_before_after" in known:
        ours = [found.parameters_before, found.parameters_after]
        if ours != known["parameters_before_after"]:
            found.differences.append(
                f"parameters before and after: {ours}, in replay.json {known['parameters_before_after']}"
            )
    dense, non_zero = known.get("weights_dense_nonzero") or (0, 0)
    found.original_non_zero = non_zero or None
    if dense and (dense != found.weights or abs(non_zero - found.non_zero) > STRAY):
        what = f"{found.weights:,} weights, {found.non_zero:,} non-zero"
        found.differences.append(f"{what}; in replay.json {dense:,} and {non_zero:,}")
    found.original_sparsity = known.get("sparsity")
    if found.original_sparsity is not None:
        allowed = 0.001 if is_decided else _chance(found.sparsity, found.weights)
        if abs(found.sparsity - found.original_sparsity) > allowed:
            found.differences.append(f"sparsity {found.sparsity:.3f} %, in replay.json {found.original_sparsity} %")


def _chance(sparsity: float, weights: int) -> float:
    share = sparsity / 100
    return 100 * CHANCE * math.sqrt(2 * share * (1 - share) / weights)


def replay(folder: Path, path: Path, given: str | None, threads: int) -> Replay:
    """One file; whatever goes wrong with it is in the result."""
    torch.set_num_threads(threads)
    found = Replay(path.relative_to(folder).as_posix())
    start = time.perf_counter()
    try:
        _replay(folder, path, given, found)
    except Exception as error:  # of one file: the others go on
        if not isinstance(error, SchedEngineError):
            found.notes.append(traceback.format_exc())
        found.differences.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    found.seconds = round(time.perf_counter() - start, 1)
    if found.differences:
        found.verdict = found.differences[0]
    return found


def _replay(folder: Path, path: Path, given: str | None, found: Replay) -> None:
    document = document_of(path)
    if "policies" not in document or "quantizers" in document:
        found.verdict = "not replayed: quantizers" if "quantizers" in document else "not replayed: no schedule"
        return
    known = _known(folder).get(found.file, {})
    found.model = model_name(path, found.file, known, given)
    found.epochs = known.get("epochs") or length(document)
    torch.manual_seed(SEED)
    model = network(found.model)
    before = {name: weight.detach().clone() for name, weight in counted(model).items()}
    found.parameters_before = sum(one.numel() for one in model.parameters())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rates, scheduler = run(
            path, model, images_for(found.model), found.epochs, last(document) if decays(document) else 0
        )
    found.notes += dict.fromkeys(str(one.message).splitlines()[0].replace(str(path), found.file) for one in caught)
    found.parameters_after = sum(one.numel() for one in model.parameters())
    after = counted(model)
    found.weights = sum(one.numel() for one in after.values())
    found.non_zero = sum(int(one.count_nonzero()) for one in after.values())
    found.sparsity = round(100 * (1 - found.non_zero / found.weights), 4)
    found.cuts = len(scheduler.cuts)
    compare_rates(found, rates, original_rates(document, found.epochs), known)
    rows, is_decided = table_of(path), is_decided_by_shapes(document)
    if rows and is_decided:
        compare_with_table(found, model, rows, before)
    elif is_told_by_formulas(document):
        compare_with_formulas(found, model, document, before)
    compare_totals(found, known, is_decided=is_decided or not policies(document, "pruner"))


def _known(folder: Path) -> dict[str, Any]:
    """What Distiller itself did with each file, where that is noted beside them."""
    path = folder / "replay.json"
    return json.loads(path.read_text()) if path.exists() else {}


# --- showing -------------------------------------------------------------------------------------------------------

HEADERS = (
    "file",
    "model",
    "epochs",
    "rates",
    "counts",
    "with",
    "ties",
    "non-zero",
    "Distiller",
    "sparsity",
    "parameters",
    "",
)
NOTE = (
    "rates: epochs whose rate is that of torch's schedulers, stepped as Distiller steps them\n"
    "counts: parameters of 2 or 4 dimensions whose non-zero weights at the end are those of the table in the file's\n"
    "comments, or of Distiller's formulas on the same random weights; ties: by how many weights counts differ, each\n"
    "with the very magnitude of the cut, as far as float32 tells, or drawn as 0\n"
    "non-zero: of all weights of 2 or 4 dimensions at the end; Distiller: the same, or the sparsity, in its replay\n"
    "sparsity: share of these weights that is 0; parameters: all of the network, before and after thinning"
)


def line(found: Replay) -> list[str]:
    sizes = [count(found.parameters_before or None)]
    if found.parameters_after not in (0, found.parameters_before):
        sizes.append(count(found.parameters_after))
    original = found.original_sparsity
    theirs = (
        count(found.original_non_zero)
        if found.original_non_zero
        else f"{original:.3f} %"
        if original is not None
        else "-"
    )
    return [
        found.file.removesuffix(".yaml"),
        found.model,
        str(found.epochs or "-"),
        found.rates or "-",
        found.counts or "-",
        found.oracle or "-",
        str(found.ties or "-"),
        count(found.non_zero or None),
        theirs,
        percent(found.sparsity, 3),
        " > ".join(sizes),
        found.verdict if len(found.verdict) < 90 else f"{found.verdict[:87]}...",
    ]


def markdown(results: list[Replay]) -> str:
    head = [f"| {' | '.join(HEADERS)} |", f"|{'---|' * 3}{'---:|' * (len(HEADERS) - 4)}---|"]
    return "\n".join([*head, *(f"| {' | '.join(line(one))} |" for one in results)]) + "\n"


def write_csv(results: list[Replay], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Replay)], lineterminator="\n")
        writer.writeheader()
        for one in results:
            texts = {key: " | ".join(getattr(one, key)) for key in ("notes", "differences")}
            writer.writerow({**asdict(one), **texts})


HEAVY = ("alexnet", "resnet50", "vgg19", "resnext", "maskrcnn", "vgg16")


def weight_of(path: Path) -> tuple[int, str]:
    """Heavy networks first, so that no process is left alone with one at the end."""
    return next((rank for rank, part in enumerate(HEAVY) if part in path.as_posix()), len(HEAVY)), path.as_posix()


def files_of(folder: Path, only: str) -> list[Path]:
    return [
        path for path in sorted(folder.rglob("*.yaml")) if fnmatch.fnmatch(path.relative_to(folder).as_posix(), only)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="a glob over the paths in the folder")
    parser.add_argument("--model", help="of files that replay.json does not have")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--out", type=Path, help="a CSV with every column")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    paths = files_of(options.folder, options.only)
    if not paths:
        parser.error(f"{options.folder} has no file {options.only} that ends in .yaml")
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        made = {
            path: pool.submit(replay, options.folder, path, options.model, options.threads)
            for path in sorted(paths, key=weight_of)
        }
        for done in as_completed(made.values()):
            print(f"{done.result().seconds:6.1f} s  {done.result().file}: {done.result().verdict}", file=sys.stderr)
        results = [made[path].result() for path in paths]
    show_table("Replays", HEADERS, [line(one) for one in results], NOTE, text=("model", "with", ""))
    wrong = [one for one in results if one.differences]
    for one in wrong:
        print(f"\n{one.file}", *one.differences, sep="\n  ")
    print(
        f"\n{len(results)} files, {sum(one.verdict == 'equal' for one in results)} equal, {len(wrong)} with differences"
    )
    if options.out:
        write_csv(results, options.out)
    if options.markdown:
        options.markdown.write_text(markdown(results))
    return 1 if wrong else 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
