"""Which channels of which layers must be removed together. The only door of torch-pruning.

torch-pruning (Fang and others, 2023, DepGraph, arXiv 2301.12900; MIT) runs the network once and recovers from the
autograd graph which layer or operation made each value and what it was made of. That graph is what is used here. Its
own index arithmetic is not: in 1.6.1 it takes every operation it does not know for one that acts element by element,
infers how many channels a view or a concatenation has from the layers around it (wrong offsets and indices out of
bounds are the commonest reports of its users: issues 125, 146, 393, 415), divides by zero on ShuffleNet, slices the
last dimension of any parameter that stands alone, and decides by the number of channels alone whether a convolution is
depthwise. Here channels are followed with the shapes that really occurred (``passing.py``), and what is not known to
keep them apart blocks them, with a reason.

Covered: sums and products (residuals, gates), concatenations, flattening before a linear layer, permutations, pooling,
padding, resizing, pointwise functions; for the layers see ``layers.py``. Blocked: attention, grouped convolutions that
are not depthwise, recurrent layers, layer, group and instance normalisation, splits and channel shuffles, parameters
that stand alone, weights that are tied, computed (parametrisations) or used twice in a pass, the network's inputs and
outputs. A size that stands in the code (``view(-1, 1024)``) leaves no trace in a graph: only a trial can tell.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from schedengine.errors import ModelError
from schedengine.export.components import components
from schedengine.export.forward import Inputs, changed, kept_generators, leaves, private_copy, run
from schedengine.export.layers import KINDS, Kind, Side, channel_axis, sides, size, tensors
from schedengine.export.passing import Flow, Opaque, follow

_SHOWN = 3
_INPUTS = "they are the network's inputs"
_OUTPUTS = "they are the network's outputs"


@dataclass(frozen=True)
class Member:
    """A layer's part in a dimension.

    Attributes:
        layer: its name in the model.
        kind: whether it writes these channels, reads them, or hands them on.
        positions: for every coordinate, where it is along the layer's channels; a linear layer behind a ``flatten`` of
            7x7 maps has 49 positions a coordinate.
    """

    layer: str
    kind: Kind
    positions: tuple[tuple[int, ...], ...]

    def at(self, coordinates: list[int]) -> list[int]:
        """The positions of these coordinates."""
        return [position for coordinate in coordinates for position in self.positions[coordinate]]


@dataclass(frozen=True)
class Dimension:
    """Channels that are alike: every coordinate has its positions in the same layers, and can go only from all.

    Attributes:
        size: number of coordinates.
        members: in the model's order; of one layer what it writes stands before what it reads.
        blocked: why none of them may be removed; None if they may.
    """

    size: int
    members: tuple[Member, ...]
    blocked: str | None

    @property
    def is_boundary(self) -> bool:
        """Whether these are the network's inputs or outputs, which nobody would thin."""
        return self.blocked in (_INPUTS, _OUTPUTS)

    @property
    def layers(self) -> str:
        """Those that write the channels, else those that read them, as a message names them."""
        names = [one.layer for one in self.members if one.kind != "in"] or [one.layer for one in self.members]
        return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def dimensions(model: nn.Module, example_inputs: Inputs) -> list[Dimension]:
    """Every set of channels of a model that goes or stays as one, those that may not be thinned included.

    The model is copied; its parameters, modes, hooks and random numbers stay as they are.

    Args:
        model: any network.
        example_inputs: what it is called with, in sizes that it takes.

    Returns:
        In the model's order. Layers that the pass does not reach, and kinds that ``layers.py`` does not know, are in
        none.

    Raises:
        ModelError: the network cannot be run on the inputs, or nothing that it returns depends on its parameters.
    """
    with kept_generators(model), torch.inference_mode(False), torch.enable_grad():
        traced = _Traced(private_copy(model), example_inputs)
    return list(_assembled(traced))


class _Traced:
    """A network followed from its inputs to its outputs: places where layers have channels, and what ties them."""

    def __init__(self, model: nn.Module, example_inputs: Inputs) -> None:
        self.layers = {name: layer for name, layer in model.named_modules() if sides(layer)}
        self.places: dict[tuple[str, Kind], Tensor] = {}
        self.pairs: list[Tensor] = []
        self.blocked: list[tuple[Tensor, str]] = []
        self.count = 0
        self._names = {id(layer): name for name, layer in self.layers.items()}
        self._parameters = _named(model)
        self._owner = {id(one): text for name, layer in model.named_modules() for one, text in _described(name, layer)}
        self._inputs: set[int] = set()
        layer_of, outputs = self._graph(model, example_inputs)
        signals: dict[Any, Flow | str] = {}
        for operation in _in_order(outputs, lambda one: self._operands(one, layer_of.get(one))):
            signals[operation] = self._signal(operation, layer_of.get(operation), signals)
        for output in outputs:
            self._block([signals[output]], _OUTPUTS)
        self._block_shared(outputs)

    def _graph(self, model: nn.Module, example_inputs: Inputs) -> tuple[dict[Any, nn.Module], list[Any]]:
        """torch-pruning's trace: which layer made the value of a node, and the nodes of the outputs."""
        from torch_pruning.dependency import DependencyGraph  # type: ignore[import-untyped]

        returned: list[Tensor] = []

        def forward(network: nn.Module, inputs: Inputs) -> list[Tensor]:
            returned.extend(one for one in run(network, inputs) if one.grad_fn is not None)
            return returned

        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        inputs = changed(example_inputs, lambda tensor: _leaf(tensor, model))
        self._inputs = {id(one) for one in leaves(inputs)}
        graph = DependencyGraph()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph.build_dependency(model, inputs, forward_fn=forward, verbose=False)
        except Exception as problem:  # its index arithmetic, on which nothing here rests, fails on some networks
            if not hasattr(graph, "module2node"):
                reason = (str(problem).splitlines() or [type(problem).__name__])[0]
                raise ModelError(f"the network cannot be traced on the example inputs: {reason}") from problem
        if not returned:
            raise ModelError("nothing that the network returns depends on its parameters; there is nothing to thin")
        nodes = [node for node in graph.module2node.values() if id(node.module) in self._names]
        return {node.grad_fn: node.module for node in nodes}, list(dict.fromkeys(one.grad_fn for one in returned))

    def _operands(self, operation: Any, layer: nn.Module | None) -> list[Any]:
        """What the values come from that are no constants; of a layer, what it reads."""
        if layer is None:
            return [one for one, _ in operation.next_functions if one is not None]
        own = {id(parameter) for parameter in layer.parameters()}
        while True:
            given = [one for one, _ in operation.next_functions if one is not None]
            read = [one for one in given if not _made_of(one, own)]
            is_product = any(_made_of(one, {id(layer.weight)}) for one in given)
            if not isinstance(layer, nn.Linear) or is_product or len(read) != 1:
                return read
            operation = read[0]  # of more than two axes: a product between two views, the bias perhaps added after

    def _signal(self, operation: Any, layer: nn.Module | None, signals: dict[Any, Flow | str]) -> Flow | str:
        """The channels of a node's value, or why they cannot be followed."""
        if hasattr(operation, "variable"):
            return self._leaf_signal(operation.variable)
        operands = [signals[one] for one in self._operands(operation, layer)]
        shape = tuple(operation._input_metadata[0].shape)
        if layer is not None:
            return self._through_layer(layer, shape, operands)
        known = [one for one in operands if not isinstance(one, str) or one]
        lost = next((one for one in known if isinstance(one, str)), None)
        flows = [one for one in known if isinstance(one, Flow)]
        if lost is None and flows:
            try:
                return follow(operation, shape, flows, self._join)
            except Opaque as problem:
                lost = f"they go through {problem}"
        self._block(flows, lost or "")
        return lost or ""

    def _leaf_signal(self, variable: Tensor) -> Flow | str:
        """An input, or a parameter that an operation uses directly; one number acts like a constant."""
        if id(variable) in self._inputs and variable.dim() == 3:
            return _INPUTS  # the channels of a sequence are its axis 1 for some layers, and 2 for others
        if id(variable) in self._inputs:
            axis = min(1, variable.dim() - 1)
            flow = Flow(tuple(variable.shape), axis, self._fresh(variable.shape[axis]))
            self._block([flow], _INPUTS)
            return flow
        if variable.numel() == 1:
            return ""
        return f"they go through {self._owner.get(id(variable), 'a parameter of no layer')}"

    def _through_layer(self, layer: nn.Module, shape: tuple[int, ...], operands: list[Flow | str]) -> Flow:
        """A layer's channels tied to those that it is given; its own at its output."""
        name, own = self._names[id(layer)], sides(layer)
        places = {kind: self._fresh(size(layer, side)) for kind, side in own.items()}
        self.places.update({(name, kind): labels for kind, labels in places.items()})
        computed = [one for side in own.values() for one in _computed(layer, side)]
        if computed:
            self._block_labels(places.values(), f"{name}.{computed[0]} is computed from other tensors")
        for operand in operands or [""]:
            self._read(layer, name, places.get("in", places.get("through")), operand)
        axis = channel_axis(layer, len(shape))
        return Flow(shape, axis, places["out"] if "out" in places else places["through"])

    def _read(self, layer: nn.Module, name: str, labels: Tensor | None, operand: Flow | str) -> None:
        if labels is None:
            return
        if isinstance(operand, str):
            self._block_labels([labels], operand or "they are constants")
        elif operand.axis != channel_axis(layer, len(operand.shape)) or len(operand.labels) != len(labels):
            reason = f"{name} reads along another axis than that of the channels"
            self._block_labels([labels, operand.labels], reason)
        else:
            self._join(labels, operand.labels)

    def _block_shared(self, outputs: list[Any]) -> None:
        """Weights under several names, or used several times in one pass, are sliced for one use only."""
        uses = _uses(outputs)
        for (name, kind), labels in self.places.items():
            for tensor, (value, _) in tensors(self.layers[name], sides(self.layers[name])[kind]).items():
                names = self._parameters.get(id(value), [])
                if len(names) > 1:
                    self._block_labels([labels], f"the weight is tied: {' and '.join(names)} are one")
                elif uses[id(value)] > 1:
                    self._block_labels([labels], f"{name}.{tensor} is used {uses[id(value)]} times in one pass")

    def _fresh(self, count: int) -> Tensor:
        labels = torch.arange(self.count, self.count + count)
        self.count += count
        return labels

    def _join(self, one: Tensor, other: Tensor) -> None:
        self.pairs.append(torch.stack([one, other]))

    def _block(self, flows: list[Flow | str] | list[Flow], reason: str) -> None:
        self._block_labels([one.labels for one in flows if isinstance(one, Flow)], reason)

    def _block_labels(self, labels: Any, reason: str) -> None:
        self.blocked.extend((one, reason) for one in labels)


def _assembled(traced: _Traced) -> Iterator[Dimension]:
    """Coordinates, grouped by the layers that they are in and by what blocks them."""
    groups = components(traced.count, traced.pairs)
    reasons: dict[int, str] = {}
    for labels, reason in traced.blocked:
        for group in groups[labels].tolist():
            reasons.setdefault(group, reason)
    order = {name: number for number, name in enumerate(traced.layers)}
    coordinates: dict[int, dict[tuple[int, int], list[int]]] = defaultdict(lambda: defaultdict(list))
    for (name, kind), labels in traced.places.items():
        for position, group in enumerate(groups[labels].tolist()):
            coordinates[group][order[name], KINDS.index(kind)].append(position)
    alike: dict[Any, list[dict[tuple[int, int], list[int]]]] = defaultdict(list)
    for group, places in coordinates.items():
        key = tuple(sorted((*place, len(positions)) for place, positions in places.items()))
        alike[key, reasons.get(group, "")].append(places)
    names = list(traced.layers)
    for (key, reason), found in sorted(alike.items()):
        found.sort(key=lambda one: sorted(one.items()))
        members = tuple(
            Member(names[layer], KINDS[kind], tuple(tuple(one[layer, kind]) for one in found)) for layer, kind, _ in key
        )
        yield Dimension(len(found), members, reason or None)


def _in_order(outputs: list[Any], operands: Any) -> Iterator[Any]:
    """Every node after those that it is made of; without recursion, for networks are deep."""
    done: set[Any] = set()
    stack = [(output, False) for output in reversed(outputs)]
    while stack:
        node, is_ready = stack.pop()
        if node in done:
            continue
        if is_ready:
            done.add(node)
            yield node
        else:
            stack.append((node, True))
            stack.extend((one, False) for one in operands(node) if one not in done)


def _uses(outputs: list[Any]) -> Counter[int]:
    """How many operations take each parameter, by its id."""
    uses: Counter[int] = Counter()
    for node in _in_order(outputs, lambda one: [given for given, _ in one.next_functions if given is not None]):
        uses.update(id(given.variable) for given, _ in node.next_functions if hasattr(given, "variable"))
    return uses


def _made_of(node: Any, own: set[int]) -> bool:
    """Whether a node holds nothing but a layer's own parameters, as they are or transposed."""
    while not hasattr(node, "variable"):
        given = [one for one, _ in node.next_functions if one is not None]
        if len(given) != 1:
            return False
        node = given[0]
    return id(node.variable) in own


def _computed(layer: nn.Module, side: Side) -> list[str]:
    """Tensors of a side that are made anew for every pass."""
    stored = {**layer._parameters, **layer._buffers}
    return [name for name in tensors(layer, side) if stored.get(name) is None]


def _described(name: str, layer: nn.Module) -> Iterator[tuple[nn.Parameter, str]]:
    """For every parameter of a layer how a message names an operation that uses it, where that is not understood."""
    groups = getattr(layer, "groups", 1)
    for own, parameter in layer.named_parameters(name or "model", recurse=False):
        if sides(layer):
            yield parameter, f"an operation that uses {own} otherwise than in the one call of {name}"
        elif isinstance(layer, _ConvNd):
            yield parameter, f"{name}, a convolution of {groups} groups that is not depthwise"
        elif isinstance(layer, (nn.LayerNorm, nn.GroupNorm)):
            yield parameter, f"{name}, a {type(layer).__name__}, whose statistics run over several channels"
        else:
            yield parameter, f"an operation with {own} of a {type(layer).__name__}, where channels are not followed"


def _named(model: nn.Module) -> dict[int, list[str]]:
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return names


def _leaf(tensor: Tensor, model: nn.Module) -> Tensor:
    """A copy of an input that shows in the graph where it goes."""
    like = next(model.parameters(), tensor)
    if not tensor.is_floating_point():
        return tensor.to(like.device)
    return tensor.detach().to(like.device, like.dtype, copy=True).requires_grad_()
