"""What of a schedule hangs on how the layers of the network are connected: traced before anything is trained."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from schedengine.criteria.followers import following_norms
from schedengine.criteria.gradient import Gradient
from schedengine.criteria.passes import bare
from schedengine.errors import Problem, SchedEngineError, ScheduleError, ScheduleWarning
from schedengine.export.check import check
from schedengine.export.forward import Inputs, changed
from schedengine.export.joined import joined, stranded
from schedengine.export.thin import What
from schedengine.granularity import Channel, Column, Filter, Granularity, Row, oriented
from schedengine.policies.thinning import Thin
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.pruner import Pruner
from schedengine.regularizers.bound import BoundRegularizer
from schedengine.schedule.document import Schedule
from schedengine.selection import ParameterTable

logger = logging.getLogger(__name__)


class Tracing:
    """A schedule's questions to a network.

    Args:
        schedule: whose policies may say what the network takes (``thin``).
        model: stays as it is, wherever it is looked at; on the meta device only operations are followed.
        table: its parameters.
        example_inputs: what it is called with; None where none was given.
    """

    def __init__(
        self, schedule: Schedule, model: nn.Module, table: ParameterTable, example_inputs: Inputs | None
    ) -> None:
        self._schedule = schedule
        self._model = model
        self._table = table
        self._example = example_inputs
        self._is_lenient = schedule.effects == "warn"

    def inputs(self, thin: Thin | None = None) -> Inputs | None:
        """An example of what the network is called with, on its device.

        Args:
            thin: whose ``input`` comes first; default: the schedule's first one.
        """
        spec = thin or next((policy.thin for policy in self._schedule.policies if policy.thin is not None), Thin())
        example: Inputs | None = self._example if spec.input is None else torch.zeros(2, *spec.input)
        device = self._table[self._table.names[0]].device
        return None if example is None else changed(example, lambda tensor: tensor.to(device))

    def joint(self, name: str, spec: Pruner, granularities: Mapping[str, Granularity]) -> dict[str, str]:
        """Which parameters of a pruner lose the same groups.

        Args:
            name: of the pruner.
            spec: its axes.
            granularities: of its parameters, by name.

        Returns:
            Parameter -> what names those that belong together.

        Raises:
            ScheduleError: they have not as many groups each, or the network cannot be traced.
        """
        found = self._joint(name, spec, list(granularities))
        groups = {one: granularities[one].groups(tuple(self._table[one].shape)) for one in found}
        for one, first in found.items():
            if groups[one] != groups[first]:
                message = "parameters that lose the same groups need as many of them each"
                raise ScheduleError(
                    [Problem(f"{message}; {first} has {groups[first]}, {one} has {groups[one]}", "together")]
                )
        return found

    def _joint(self, name: str, spec: Pruner, names: list[str]) -> dict[str, str]:
        if spec.together in ("leader", "mean"):
            return dict.fromkeys(names, names[0])
        if spec.together is None:
            return {}
        inputs = self.inputs()
        if inputs is None:
            what = "'together: joined' traces the network: pass example_inputs to bind()"
            raise ScheduleError([Problem(what, "together")])
        found = joined(bare(self._model), inputs, names)
        for first in dict.fromkeys(found.values()):
            members = [one for one, leader in found.items() if leader == first]
            logger.info("pruner %r: one choice of filters for %s, which are added up", name, ", ".join(members))
        return found

    def check_gradient(self, bound: BoundPruner) -> None:
        """Gradient times weight says nothing of a filter that is normalised afterwards: its sum is 0.

        Raises:
            ScheduleError: that is what a pruner ranks by.
        """
        criterion, inputs = bound.spec.criterion, self._example
        is_filter = any(isinstance(bound.granularity(name), (Filter, Row)) for name in bound.names)
        if not isinstance(criterion, Gradient) or criterion.of == "norm" or not is_filter or inputs is None:
            return
        if self._is_lenient:  # version 1, Distiller's formula
            return
        followed = following_norms(bare(self._model), (inputs, None))
        normalised = [name for name in bound.names if name in followed]
        if normalised:
            what = (
                f"{normalised[0]} is followed by a batch normalisation, so that gradient times weight sums up to 0 "
                "over each of its filters; use {gradient: {of: norm}}, or channels of the layers that read them"
            )
            raise ScheduleError([Problem(what, "criterion")])

    def check_thinning(self, thin: Thin, bound: Sequence[BoundPruner | BoundRegularizer]) -> None:
        """Whether the network can be thinned where filters or channels become zero.

        Args:
            thin: what is asked.
            bound: what makes them zero.

        Raises:
            SchedEngineError: it cannot; says why.
        """
        inputs = self.inputs(thin)
        if inputs is None:
            raise SchedEngineError(
                "needs an example of the network's inputs: pass example_inputs to bind() (on the command line: --input "
                f"CxHxW), or write 'thin: {{what: {thin.what}, input: [C, H, W]}}'"
            )
        if any(isinstance(one, nn.parallel.DistributedDataParallel) for one in self._model.modules()):
            what = "DistributedDataParallel keeps buffers of the old sizes"
            raise SchedEngineError(f"{what}; thin in a process of its own, with `schedengine export --thin`")
        structures = self._structures(bound)
        if thin.what != "all" and structures and thin.what not in structures and not self._is_lenient:
            other = next(iter(structures))
            raise SchedEngineError(f"removes {thin.what}, and what becomes zero are {other}; write '{other}', or 'all'")
        if not self._is_lenient:
            self._warn_of_stranded(inputs, structures.get("filters", []), bound)
        for what, names in structures.items():
            # Distiller's files regularise the channels of the first layer too, which are those of the images.
            check(bare(self._model), inputs, names, what=what, passes_ends=self._is_lenient)

    def _warn_of_stranded(
        self, inputs: Inputs, names: list[str], bound: Sequence[BoundPruner | BoundRegularizer]
    ) -> None:
        """Say which filters will be zero and stay, because another layer keeps their channels."""
        joint = {name: first for one in bound if isinstance(one, BoundPruner) for name, first in one.joint.items()}
        for one, other, is_pruned in stranded(bare(self._model), inputs, names, joint) if names else ():
            what = f"{one} and {other} write the same channels, and "
            what += "each loses filters of its own choice" if is_pruned else "only the first loses filters"
            advice = "'together: joined' makes them lose the same ones"
            warnings.warn(
                f"thin: {what}: what is zero in one alone stays; {'' if is_pruned else 'select both, and '}{advice}",
                ScheduleWarning,
                stacklevel=2,
            )

    def _structures(self, bound: Sequence[BoundPruner | BoundRegularizer]) -> dict[What, list[str]]:
        """Parameters of which whole filters, or whole channels, may become zero."""
        found: dict[What, list[str]] = {"filters": [], "channels": []}
        for one in bound:
            for name in one.names:
                granularity = oriented(one.spec.granularity, self._table.layer(name))
                inputs_first = granularity != one.spec.granularity  # a transposed convolution
                if isinstance(granularity, (Filter, Row)):
                    found["channels" if inputs_first else "filters"].append(name)
                elif isinstance(granularity, (Channel, Column)):
                    found["filters" if inputs_first else "channels"].append(name)
        return {what: list(dict.fromkeys(names)) for what, names in found.items() if names}
