"""A schedule to begin with, for this model: its parameters by globs, with what they cost, and a published method."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from string import Template

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from schedengine.analysis.assumed import LR, STEPS_PER_EPOCH
from schedengine.analysis.globs import globs_for
from schedengine.analysis.macs import multiply_accumulates
from schedengine.analysis.methods import METHODS, Method, lengths
from schedengine.errors import ModelError, SchedEngineError, ScheduleError, did_you_mean
from schedengine.schedule.load import load_schedule
from schedengine.selection import DEFAULT_TYPES, ParameterTable, Selector
from schedengine.zoo.factory import is_reference

EPOCHS = 30
"""Where the user does not say."""
_SPARED = 0.1
"""Share of the weights up to which the first convolution and the classifier are left alone."""


def draft_schedule(
    model: nn.Module,
    name: str,
    *,
    target: float | None = None,
    method: str = "agp",
    epochs: int = EPOCHS,
    inputs: Sequence[Tensor] | None = None,
    classes: int | None = None,
    file: str = "schedule.yaml",
) -> str:
    """Write a schedule for a model: valid, commented, with its real names. Needs no values: the meta device will do.

    Args:
        model: wrapped or not.
        name: as for ``build_model``; for the commands in the comments.
        target: fraction removed of the weights that are pruned, in (0, 1); None for the method's usual one.
        method: a key of ``METHODS``.
        epochs: length of the run.
        inputs: one example, for shares of multiply-accumulates; None leaves them out.
        classes: that the model was made with, for the commands in the comments; None for its own number.
        file: what the schedule's file will be called, for the commands in the comments.

    Returns:
        YAML text that ``load_schedule`` reads and that binds to the model.

    Raises:
        SchedEngineError: no such method, a target out of range, too few epochs.
        ModelError: nothing in the model to prune by this method, its layers are too small for the target, or it does
            not take the inputs.
    """
    if method not in METHODS:
        raise SchedEngineError(f"unknown method {method!r}; {did_you_mean(method, METHODS)}")
    chosen = METHODS[method]
    wanted = chosen.target if target is None else target
    if not 0 < wanted < 1:
        raise SchedEngineError(f"a target of {wanted:g}; it is the fraction of the weights to remove, in (0, 1)")
    layers = _Layers.of(model, chosen, inputs)
    parts = [
        *_head(layers, name, chosen, wanted, inputs),
        *_commands(model, name, file, inputs, classes),
        "version: 2",
        "",
        *_phases(chosen, epochs),
        *_filled(chosen, layers.selector(), wanted),
    ]
    text = "\n".join(parts).rstrip() + "\n"
    _check_fit(text, model, wanted)
    return text


def _check_fit(text: str, model: nn.Module, target: float) -> None:
    """A draft that its own model refuses is none: layers may be too small for the target."""
    sgd = torch.optim.SGD(model.parameters(), lr=LR)
    try:
        load_schedule(text).bind(model, sgd, steps_per_epoch=STEPS_PER_EPOCH)
    except ScheduleError as error:
        raise ModelError(f"no schedule for a target of {target:g}: {error.problems[0].message}") from error


@dataclass
class _Layers:
    """What can be pruned in a model, and what had better not be.

    Args:
        weights: the weights of Conv and Linear layers.
        spared: those of them that are left alone -> why.
        macs: multiply-accumulates by parameter; empty if not known.
    """

    table: ParameterTable
    weights: list[str]
    macs: dict[str, int]
    spared: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, method: Method, inputs: Sequence[Tensor] | None) -> _Layers:
        table = ParameterTable(model)
        weights = table.of_types(DEFAULT_TYPES)
        if not weights:
            raise ModelError(
                "the model has no Conv or Linear weight to prune; write a schedule with the names of others"
            )
        layers = cls(table, weights, {} if inputs is None else multiply_accumulates(model, inputs))
        # A tied weight is listed under its first name, which may be an embedding's.
        written = [table.find(full) for full, _ in model.named_parameters(remove_duplicate=False)]
        layers._spare(method, last=[name for name in written if name in weights][-1])
        if len(layers.spared) == len(weights):
            raise ModelError("the model has no layer whose filters could go beside the classifier; try --method agp")
        return layers

    def _spare(self, method: Method, last: str) -> None:
        first = self.weights[0]
        if method.removes == "filters":
            for name in self.weights:
                self._spare_filters(name)
            self.spared[last] = "the classifier, whose outputs are the classes"
        elif len(self.weights) > 2 and self._share(last) <= _SPARED:
            self.spared[last] = "the classifier, where every class needs its row"
        is_convolution = isinstance(self.table.layer(first), _ConvNd)
        if len(self.weights) > 2 and is_convolution and self._share(first) <= _SPARED:
            self.spared.setdefault(first, "the first convolution, whose few weights everything passes through")

    def _spare_filters(self, name: str) -> None:
        layer = self.table.layer(name)
        if isinstance(layer, _ConvTransposeNd):
            self.spared[name] = "transposed, where dimension 0 of the weight is the input"
        elif isinstance(layer, _ConvNd) and layer.groups == layer.in_channels > 1:
            self.spared[name] = "depthwise, where the layer before decides about channels"

    def _share(self, name: str) -> float:
        """Of the Conv and Linear weights."""
        return self.count([name]) / self.count(self.weights)

    def count(self, names: Sequence[str]) -> int:
        """How many weights."""
        return sum(self.table[name].numel() for name in names)

    def cost(self, names: Sequence[str]) -> str:
        """Weights and multiply-accumulates of some parameters, in words."""
        weights, whole = self.count(names), self.count(self.weights)
        said = f"{weights:,} weights, {_percent(weights / whole)}"
        if self.macs:
            known = all(name in self.macs for name in names)
            share = sum(self.macs.get(name, 0) for name in names) / sum(self.macs.values())
            said += f"; MACs {_percent(share)}" if known else "; MACs not known"
        return said

    def selector(self) -> list[str]:
        """The lines of ``parameters``, each with what it picks."""
        pruned = globs_for(self.table, [one for one in self.weights if one not in self.spared], allowed=self.spared)
        picked = {name for glob in pruned for name in Selector(names=(glob,)).pick(self.table)}
        lines = [(f'        - "{glob}"', self.cost(names)) for glob, names in pruned.items()]
        lines += [(f'        # - "{glob}"', f"left out: {why}") for glob, why in self._spared(picked, is_in=False)]
        excepted = [(f'        - "{glob}"', why) for glob, why in self._spared(picked, is_in=True)]
        return ["      names:", *_beside(lines), *(["      except:", *_beside(excepted)] if excepted else [])]

    def _spared(self, picked: set[str], *, is_in: bool) -> Iterator[tuple[str, str]]:
        """What is left alone, of that which the globs pick or of that which they do not, and why."""
        for why in dict.fromkeys(self.spared.values()):
            same = [name for name in self.spared if self.spared[name] == why and (name in picked) == is_in]
            for glob, names in globs_for(self.table, same).items():
                yield glob, f"{why} ({self.cost(names)})"

    def others(self) -> list[str]:
        """What could be pruned too, if it were named: attention's joint projections, recurrent layers, embeddings."""
        names = [one for one in self.table.names if one not in self.weights and self.table.is_named_by_patterns(one)]
        found = {glob: self.count(picked) for glob, picked in globs_for(self.table, names).items()}
        whole = self.count(self.weights)
        return [f"{glob} ({count:,})" for glob, count in found.items() if count > whole / 100]


def _beside(lines: Sequence[tuple[str, str]]) -> list[str]:
    """Comments in a column, beside the lines that have one."""
    wide = max((len(line) for line, comment in lines if comment), default=0)
    return [f"{line.ljust(wide)}  # {comment}" if comment else line for line, comment in lines]


def _percent(share: float) -> str:
    """No share is rounded to nothing, or to all."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    return "over 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


def _head(layers: _Layers, name: str, method: Method, target: float, inputs: Sequence[Tensor] | None) -> Iterator[str]:
    shapes = ", ".join("x".join(map(str, one.shape[1:])) for one in inputs or ())
    counted = f"{layers.count(layers.weights):,} Conv and Linear weights (parameters: {len(layers.weights)})"
    macs = f"{sum(layers.macs.values()):,} multiply-accumulates (MACs) for an input of {shapes}" if layers.macs else ""
    unknown = "multiply-accumulates are not known (give --input CxHxW)"
    yield from _comment(f"{method.title[0].upper()}{method.title[1:]}.")
    yield from _comment(f"{method.source}.")
    yield "#"
    yield from _comment(f"For {name}: {counted}; {macs or unknown}. Shares below are of these.")
    yield from _comment(f"Target: {target:g} of the {method.removes} of the layers that `parameters` picks.")
    if others := layers.others():
        dense = 1 - layers.count(layers.weights) / layers.count(layers.table.names)
        left = f"Not pruned, {_percent(dense)} of all parameters, unless you add them to its names"
        yield from _comment(f"{left}: {', '.join(others)}.")
    yield from _comment("A draft to begin with: phases, target and exceptions are yours to change.")


def _commands(
    model: nn.Module, name: str, file: str, inputs: Sequence[Tensor] | None, classes: int | None
) -> Iterator[str]:
    own = f"--model {name}" + (f" --classes {classes}" if classes else "")
    shapes = ["x".join(map(str, one.shape[1:])) + ("" if one.is_floating_point() else ":int") for one in inputs or ()]
    shown = "".join(f" --input {shape}" for shape in shapes) if is_reference(name) else ""
    optimizer = " --optimizer adamw" if _is_transformer(model) else ""
    yield "#"
    yield f"# look: schedengine plan {file} {own}{shown}"
    yield f"# run:  schedengine train --schedule {file} {own} \\"
    yield f"#         {_data(name, inputs)}{optimizer} --out runs/first"


def _is_transformer(model: nn.Module) -> bool:
    """Networks with layer normalisation and no batch normalisation do not train well with the default, SGD at 0.1."""
    kinds = {cls.__name__ for module in model.modules() for cls in type(module).__mro__}
    return "LayerNorm" in kinds and not any(kind.startswith("BatchNorm") for kind in kinds)


def _data(name: str, inputs: Sequence[Tensor] | None) -> str:
    if name.startswith("digits"):
        return "--data digits"
    if name.endswith("_cifar"):
        return "--data CIFAR10 --download --augment"
    if inputs and len(inputs) == 1 and inputs[0].dim() == 4:
        return f"--data imagefolder:PATH --image-size {inputs[0].shape[-1]}"
    return "--data package.module:factory"


def _phases(method: Method, epochs: int) -> list[str]:
    lines = []
    for phase, length in zip(method.phases, lengths(method.phases, epochs), strict=True):
        repeats = f", repeat: {phase.repeat}" if phase.repeat > 1 else ""
        each = length // phase.repeat if length % phase.repeat == 0 else f"{{total: {length}}}"
        lines.append((f"  - {{name: {phase.name}, epochs: {each}{repeats}}}", phase.why))
    return [f"phases:  # {epochs} epochs in all", *_beside(lines)]


def _filled(method: Method, selector: list[str], target: float) -> Iterator[str]:
    """The template with its comments in a column, paragraph by paragraph."""
    text = Template(method.text.rstrip()).substitute(parameters="$parameters", target=f"{target:g}")
    for paragraph in text.split("\n\n"):
        lines = [line.partition("  # ")[::2] for line in paragraph.splitlines()]
        for line in _beside(lines):
            yield from selector if line == "$parameters" else [line]
        yield ""


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
