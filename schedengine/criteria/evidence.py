"""What a run shows of a pruner's parameters between its cuts: gradients, what follows them, outputs, inputs, movement.

And what a criterion measures at a cut, of the network as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from schedengine.criteria import CRITERIA
from schedengine.criteria.base import Activations, Criterion, Facts, Given, Need, outputs_dim
from schedengine.criteria.followers import Listener, Watch, batch_norms, following_norms, layers_of, look
from schedengine.criteria.movement import Movements
from schedengine.criteria.network import LossFunction, Network
from schedengine.criteria.samples import Samples, unknowns
from schedengine.criteria.statistics import Statistics
from schedengine.errors import EffectError
from schedengine.selection import ParameterTable

_HOW_TO_GIVE: dict[Given, str] = {
    "data": "data: pass data=, batches of (inputs, targets) such as a DataLoader, to bind()",
    "loss": "the loss function: pass loss=, (outputs, targets) -> scalar, to bind()",
    "inputs": "the shape of the inputs: pass example_inputs= (or data=) to bind()",
}


class Evidence:
    """Gathers the facts that a pruner needs while it watches; at a cut that it could not watch for, from given data.

    Args:
        names: of the parameters.
        needs: which facts.
        batches: of the data, at most, for statistics.
    """

    def __init__(self, names: Sequence[str], needs: frozenset[Need], batches: int) -> None:
        self._names = list(names)
        self._needs = needs
        self._batches = batches
        self._watch: Watch | None = None
        self._movements = Movements()
        self._forget()

    def _forget(self) -> None:
        self._gradients: dict[str, Tensor] = {}
        self._followers: dict[str, list[str]] = {}
        self._statistics = Statistics()
        self._samples = Samples()

    def watch_(self, model: nn.Module, table: ParameterTable) -> None:
        """Hook onto the layers, unless that is done, or there is nothing to see."""
        listeners: dict[Need, Listener] = {"activations": self._statistics, "inputs": self._samples}
        if self._watch is None and self._needs - {"gradient"}:
            wanted = [one for need, one in listeners.items() if need in self._needs]
            self._watch = Watch(model, layers_of(table, self._names), wanted, self._followers)

    def note_(self, table: ParameterTable) -> None:
        """Hold on to the gradients of the step that was just made, whatever the loop does with them."""
        wanted = self._names if "gradient" in self._needs else []
        gradients = {name: table[name].grad for name in [*wanted, *self._norm_parameters(table)]}
        self._gradients = {name: one for name, one in gradients.items() if one is not None}

    def move_(self, table: ParameterTable, weights: Mapping[str, Tensor]) -> None:
        """Add up how weights move, at every step of the run: after the gradients, before the update.

        Args:
            weights: by name, kept values where there are any.
        """
        self._movements.add_(weights, {name: table[name].grad for name in weights})

    def forget_(self) -> None:
        """Take the hooks away, and what they gathered: it is of the network before the cut. Movement goes on."""
        if self._watch is not None:
            self._watch.remove_()
        self._watch = None
        self._forget()

    def facts(
        self,
        model: nn.Module,
        table: ParameterTable,
        example_inputs: Any,
        data: Iterable[Any] | None,
        *,
        criterion: Criterion | None = None,
        loss: LossFunction | None = None,
        keep: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Facts] | None:
        """What is known of each parameter; None where nothing is needed. Under DDP every rank must ask.

        Args:
            example_inputs: a batch of inputs, or a tuple of several; None for none.
            data: batches, (inputs, targets) or inputs alone; None for none.
            criterion: which measures the network, if any does.
            loss: (outputs, targets) -> the mean loss of a batch; None for none.
            keep: bool, of the parameter's shape, by name: what the criterion measures is of the network with the other
                weights 0, too.

        Raises:
            EffectError: the criterion lacks data or loss.
        """
        if not self._needs:
            return None
        measured: dict[str, Tensor] = {}
        if "measured" in self._needs and criterion is not None and "measured" in criterion.needs:
            check_given(criterion, example_inputs, data, loss)
            network = Network(model, table, self._names, keep=keep, example_inputs=example_inputs, data=data, loss=loss)
            measured = criterion.measure(network)
        moved = self._movements.read({name: table[name] for name in self._names})
        layers = layers_of(table, self._names)
        gradients = self._known_gradients(table, self._names) if "gradient" in self._needs else {}
        norms = self._known_norms(model, example_inputs, data) if "norm" in self._needs else {}
        of_norms = self._known_gradients(table, self._norm_parameters(table))
        seen = self._known_outputs(model, table, layers, data) if "activations" in self._needs else {}
        inputs = self._known_inputs(model, layers, data) if "inputs" in self._needs else {}
        return {
            name: Facts(
                gradients.get(name),
                norms.get(name),
                _gradients_of(norms[name], table, of_norms) if name in norms else None,
                seen.get(name),
                inputs.get(name),
                outputs_dim(table.layer(name)) or 0,
                measured.get(name),
                moved.get(name),
            )
            for name in self._names
        }

    def _norm_parameters(self, table: ParameterTable) -> list[str]:
        """Scales and shifts of all normalisations, where it is them that are asked for."""
        return [name for name in table.names if table.is_normalisation(name)] if "norm" in self._needs else []

    def _known_gradients(self, table: ParameterTable, names: Sequence[str]) -> dict[str, Tensor]:
        """Those of the last step; none where the loop has set the model's gradients to 0 since."""
        found = {name: self._gradients.get(name, table[name].grad) for name in names}
        known = {name: one for name, one in found.items() if one is not None and one.shape == table[name].shape}
        current = [one for name in table.names if (one := table[name].grad) is not None]
        is_cleared = current and not _any([*known.values(), *current])
        return {} if is_cleared else known

    def _known_norms(self, model: nn.Module, example_inputs: Any, data: Iterable[Any] | None) -> dict[str, nn.Module]:
        """Those seen in the run, else in one pass of what was given."""
        if not self._followers and example_inputs is not None:
            return following_norms(model, (example_inputs, None))
        followers = self._followers
        if not followers and data is not None:
            table = ParameterTable(model)
            look(model, layers_of(table, table.names), (), followers, data, enough=lambda: True)
        return batch_norms(model, followers)

    def _known_outputs(
        self, model: nn.Module, table: ParameterTable, layers: Mapping[str, nn.Module], data: Iterable[Any] | None
    ) -> dict[str, Activations]:
        """Of the passes that were watched, else of a few batches of the data."""
        places = {name: (_outputs(layer), table[name].device) for name, layer in layers.items()}
        seen = self._statistics.read(places)
        if seen or data is None:
            return seen
        statistics, passed = Statistics(), count(1)
        look(model, layers, [statistics], {}, data, enough=lambda: next(passed) >= self._batches)
        return statistics.read(places)

    def _known_inputs(
        self, model: nn.Module, layers: Mapping[str, nn.Module], data: Iterable[Any] | None
    ) -> dict[str, Tensor]:
        """Of the data, which the network sees as it is now, else of the passes that were watched; none of a layer that
        was thinned since."""
        if data is None:
            seen = self._samples.read()
            return {name: rows for name, rows in seen.items() if rows.shape[1] == unknowns(layers[name])}
        samples = Samples()
        look(model, layers, [samples], {}, data, enough=lambda: samples.is_full)
        return samples.read()

    def state_dict(self) -> dict[str, Any]:
        """What was gathered, of this rank: tensors and plain values."""
        return {
            "gradients": dict(self._gradients),
            "followers": {name: list(norms) for name, norms in self._followers.items()},
            "statistics": self._statistics.state_dict(),
            "samples": self._samples.state_dict(),
            "movement": self._movements.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave; whether to watch on is the caller's to say."""
        self.forget_()
        self._gradients = dict(state["gradients"])
        self._followers = {name: list(norms) for name, norms in state["followers"].items()}
        self._statistics.load_state_dict(state["statistics"])
        self._samples.load_state_dict(state["samples"])
        self._movements.load_state_dict(state["movement"])


def check_given(criterion: Criterion, example_inputs: Any, data: Iterable[Any] | None, loss: Any) -> None:
    """Whether a criterion has what it asks for.

    Raises:
        EffectError: it has not; says what to give to ``bind``.
    """
    found = {"data": data, "loss": loss, "inputs": data if example_inputs is None else example_inputs}
    lacking = [_HOW_TO_GIVE[one] for one in sorted(criterion.asks) if found[one] is None]
    if lacking:
        raise EffectError(f"no cut: criterion {CRITERIA.name_of(criterion)} needs {'; and '.join(lacking)}")


def _outputs(layer: nn.Module) -> int:
    channels = layer.out_channels if hasattr(layer, "out_channels") else layer.out_features
    assert isinstance(channels, int)
    return channels


def _gradients_of(norm: nn.Module, table: ParameterTable, known: Mapping[str, Tensor]) -> tuple[Tensor, ...] | None:
    """Of the scale and the shift that it has, in this order; None unless all are known."""
    names = {id(table[name]): name for name in table.names}
    own = [names[id(one)] for one in (norm.weight, norm.bias) if isinstance(one, nn.Parameter)]
    return tuple(known[name] for name in own) if own and all(name in known for name in own) else None


def _any(tensors: Iterable[Tensor]) -> bool:
    """Whether any value of any of them is not 0."""
    return bool(torch.stack([one.count_nonzero().cpu() for one in tensors]).any())
