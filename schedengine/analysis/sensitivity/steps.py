"""A traced graph as a row of steps: what each computes, what it reads, what is of no use after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_arg

from schedengine.analysis.sensitivity.operations import Folded, Function, Layer, Operation, Pruned, is_foldable, same
from schedengine.analysis.sensitivity.trace import Traced
from schedengine.selection import ParameterTable

Values = dict[fx.Node, Any]


@dataclass
class Step:
    """One operation.

    Args:
        node: of the graph; names the value.
        operation: what makes the value.
        parameters: names of those that it reads.
        frees: nodes whose values nothing reads later.
        shortcut: makes the same value in the memory of the first argument, where that is free; None if nothing does.
    """

    node: fx.Node
    operation: Operation
    parameters: frozenset[str]
    frees: tuple[fx.Node, ...] = ()
    shortcut: Callable[..., Any] | None = None


@dataclass
class Row:
    """All steps of a network, in order.

    Args:
        steps: every operation.
        inputs: the nodes that stand for the images, first, and for arguments that have a default.
        attributes: nodes that stand for the model's own tensors -> the tensor, and its name if it is a parameter.
        output: what is returned, in terms of nodes.
        modules: by the names that nodes call them.
    """

    steps: list[Step] = field(default_factory=list)
    inputs: list[fx.Node] = field(default_factory=list)
    attributes: dict[fx.Node, tuple[Any, str]] = field(default_factory=dict)
    output: Any = None
    modules: dict[str, nn.Module] = field(default_factory=dict)

    def begin(self, images: Any) -> Values:
        """The values before the first step."""
        first, *others = self.inputs
        return {first: images, **{node: node.args[0] for node in others}}

    def arguments(self, step: Step, values: Values, pruned: Pruned) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a step's operation is called with."""
        return self._filled(step.node.args, values, pruned), self._filled(step.node.kwargs, values, pruned)

    def returned(self, values: Values, pruned: Pruned) -> Any:
        """What the network returns, after the last step."""
        found = self._filled(self.output, values, pruned)
        return found[0] if isinstance(found, (tuple, list)) and len(found) == 1 else found

    def _filled(self, pattern: Any, values: Values, pruned: Pruned) -> Any:
        def value(node: fx.Node) -> Any:
            if node not in self.attributes:
                return values[node]
            tensor, name = self.attributes[node]
            return pruned.get(name, tensor)

        return map_arg(pattern, value)


def read(traced: Traced, table: ParameterTable, *, fold: bool, layout: torch.memory_format) -> Row:
    """The steps of a graph.

    Args:
        traced: in evaluation mode.
        table: names the parameters.
        fold: batch normalisations into the convolutions before them.
        layout: of folded weights.
    """
    names = {id(table[name]): name for name in table.names}
    row = Row(modules=dict(traced.root.named_modules(remove_duplicate=False)))
    operations = dict(_operations(traced.graph, row.modules, names, fold, layout))
    last = {read: node for node in traced.graph.nodes for read in node.all_input_nodes}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            row.inputs.append(node)
        elif node.op == "get_attr":
            tensor = traced.attribute(node.target)
            row.attributes[node] = tensor, names.get(id(tensor), "")
        elif node.op == "output":
            row.output = node.args[0]
        else:
            given = {row.attributes[one][1] for one in node.all_input_nodes if one in row.attributes} - {""}
            done = [one for one in node.all_input_nodes if last[one] is node and one not in row.attributes]
            parameters = operations[node].parameters | given
            row.steps.append(Step(node, operations[node], parameters, (*done, *([] if node in last else [node]))))
    return row


def _operations(
    graph: fx.Graph, modules: Mapping[str, nn.Module], names: Mapping[int, str], fold: bool, layout: torch.memory_format
) -> Iterator[tuple[fx.Node, Operation]]:
    """Every operation by its node; a later one for the same node counts."""
    for node in graph.nodes:
        if node.op == "call_module":
            yield node, _layer(node, modules, names)
        elif node.op == "call_method":
            yield node, Function(_method(str(node.target)))
        elif node.op == "call_function":
            yield node, Function(node.target)
    for node in graph.nodes if fold else ():
        norm = _norm_after(node, modules)
        if norm is not None:
            yield node, Folded(_layer(node, modules, names), _layer(norm, modules, names), layout)
            yield norm, Function(same)


def _layer(node: fx.Node, modules: Mapping[str, nn.Module], names: Mapping[int, str]) -> Layer:
    module = modules[str(node.target)]
    named = ((own, names.get(id(one))) for own, one in module.named_parameters(remove_duplicate=False))
    return Layer(module, {own: name for own, name in named if name is not None})


def _norm_after(node: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node | None:
    """The batch normalisation that alone reads a convolution."""
    (reader, *others) = node.users or [None]
    if others or reader is None or {node.op, reader.op} != {"call_module"} or reader.args != (node,):
        return None
    if len(node.args) != 1 or node.kwargs or reader.kwargs:
        return None
    return reader if is_foldable(modules[str(node.target)], modules[str(reader.target)]) else None


def _method(name: str) -> Callable[..., Any]:
    return lambda this, *args, **kwargs: getattr(this, name)(*args, **kwargs)
