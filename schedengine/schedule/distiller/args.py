"""A policy's ``args``: in Distiller it asks, and not the pruner, what becomes of what is pruned."""

from __future__ import annotations

from typing import Any

from schedengine.errors import Problem, did_you_mean
from schedengine.schedule.distiller.instances import free
from schedengine.schedule.distiller.rows import names_to_levels
from schedengine.schedule.distiller.windows import whole
from schedengine.schedule.reader import show
from schedengine.schedule.source import Node

_FLAGS = (
    "keep_mask",
    "mask_on_forward_only",
    "mask_gradients",
    "use_double_copies",
    "discard_masks_at_minibatch_end",
    "fold_batchnorm",
)
_LATER = ("skip_first_minibatch",)
_KNOWN = (*_FLAGS, *_LATER, "mini_batch_pruning_frequency", "levels")


def own_keys(kind: str, instance: Node, args: Node, problems: list[Problem], notes: list[Problem]) -> dict[str, Any]:
    """What a policy says with them that has no pruner.

    Args:
        kind: of what acts.
        instance: what acts, one of ours.
        args: what the policy gives.
        problems: what is wrong is appended.
        notes: what is doubtful is appended.
    """
    own: dict[str, Any] = {}
    for key, given in args.value.items():
        if kind != "regularizer" or key != "keep_mask":
            known = "known: keep_mask" if kind == "regularizer" else "a policy of this kind has none"
            _once(problems, args.problem(f"unknown argument; {known}", key=key))
        elif not isinstance(given.value, bool):
            _once(problems, given.problem(f"must be true or false (got {show(given.plain())})"))
        elif instance.value.get("threshold") is not None:
            own["keep_mask"] = given
        elif given.value:
            _once(notes, args.problem("has no effect without threshold_criteria", key=key))
    return own


def _once(problems: list[Problem], problem: Problem) -> None:
    """Say it once, though one of Distiller's instances became several."""
    if problem not in problems:
        problems.append(problem)


class PrunerArgs:
    """The ``args`` of the policies that have pruners, put on these as axes.

    A second policy gets a pruner of its own if its arguments are others, or if the pruner has a ramp: in Distiller each
    policy's window has the whole ramp.

    Args:
        pruners: ours, by name; changed, and others added.
        problems: what is wrong is appended.
        notes: what is doubtful is appended.
    """

    def __init__(self, pruners: dict[str, Node], problems: list[Problem], notes: list[Problem]) -> None:
        self._pruners = pruners
        self._problems = problems
        self._notes = notes
        self._axes: dict[str, dict[str, Any]] = {}
        self._bare: dict[str, dict[str, Node]] = {}

    def place(self, name: str, args: Node | None) -> dict[str, Any]:
        """The policy's own keys: its pruner, and what is not an axis."""
        own: dict[str, Any] = {}
        axes: dict[str, Any] = {}
        if args is not None:
            self._check(args)
            own, axes = self._own(args), self._axes_of(args, self._pruners[name])
        target = self._target(name, axes)
        node = self._pruners[target]
        node.value.update({key: node.derived(value) for key, value in axes.items()})
        return {"pruner": target, **own}

    def _target(self, name: str, axes: dict[str, Any]) -> str:
        """The pruner that these axes belong to: the one of the name, or a copy of what it was before any."""
        source = self._pruners[name]
        is_again = name in self._axes
        is_other = axes != self._axes.setdefault(name, axes)
        bare = self._bare.setdefault(name, dict(source.value))
        sparsity = source.value.get("sparsity")
        is_ramp = sparsity is not None and sparsity.is_mapping and "from" in sparsity.value
        if not is_other and not (is_again and is_ramp):
            return name
        copy = free(name, self._pruners)
        self._pruners[copy] = Node(dict(bare), source.path, source.mark, source.keys)
        return copy

    def _check(self, args: Node) -> None:
        for key, given in args.value.items():
            if key not in _KNOWN:
                self._problems.append(args.problem(f"unknown argument; {did_you_mean(key, _KNOWN)}", key=key))
            elif key in _LATER and given.value:
                what = "is not available: masks take effect with the first mini-batch of the epoch; remove it"
                self._problems.append(args.problem(what, key=key))
            elif key in _FLAGS and not isinstance(given.value, bool):
                self._problems.append(given.problem(f"must be true or false (got {show(given.plain())})"))

    def _own(self, args: Node) -> dict[str, Any]:
        own: dict[str, Any] = {}
        frequency = args.value.get("mini_batch_pruning_frequency")
        if frequency is not None and whole(frequency, self._problems):
            own["refresh"] = f"{frequency.value}st"
        if _given(args).get("keep_mask") is True:
            own["keep_mask"] = True
        return own

    def _axes_of(self, args: Node, pruner: Node) -> dict[str, Any]:
        given, axes = _given(args), self._passes(args)
        if given.get("discard_masks_at_minibatch_end") is True:
            axes |= self._discarded(args, pruner)
        draw = pruner.value.get("draw")
        if draw is not None and draw.value == "bernoulli" and axes.get("pruned") == "dense":
            axes["rescale"] = True
        if given.get("fold_batchnorm") is True:
            axes["criterion"] = self._folded(args, pruner)
        if given.get("levels") is not None:
            axes |= self._levels(args, pruner)
        return axes

    def _passes(self, args: Node) -> dict[str, Any]:
        """Which passes see the masks."""
        given = _given(args)
        if given.get("mask_gradients") and not given.get("mask_on_forward_only"):
            self._problems.append(args.problem("needs mask_on_forward_only: true beside it", key="mask_gradients"))
        axes: dict[str, Any] = {}
        if given.get("mask_on_forward_only") is True:
            axes["pruned"] = "dense" if given.get("use_double_copies") else "forward"
        elif given.get("use_double_copies"):
            what = "has no effect without mask_on_forward_only, as in Distiller"
            self._notes.append(args.problem(what, key="use_double_copies"))
        if given.get("mask_gradients") is True:
            axes["mask_gradients"] = True
        return axes

    def _discarded(self, args: Node, pruner: Node) -> dict[str, Any]:
        update = pruner.value.get("update")
        if update is not None and update.is_mapping and "splice" in update.value:
            what = "SplicingPruner goes on from the last mask, which this forgets; remove it"
            self._problems.append(args.problem(what, key="discard_masks_at_minibatch_end"))
            return {}
        return {"lasts": "step"}

    def _folded(self, args: Node, pruner: Node) -> Any:
        """The pruner's criterion, of weights into which the batch normalisation that follows is folded."""
        criterion = pruner.value["criterion"].plain() if "criterion" in pruner.value else "magnitude"
        if criterion == "magnitude":
            return {"magnitude": {"folded": True}}
        if isinstance(criterion, dict) and "magnitude" in criterion:
            return {"magnitude": {**criterion["magnitude"], "folded": True}}
        self._notes.append(args.problem("has no effect on this class, which ranks no weights", key="fold_batchnorm"))
        return criterion

    def _levels(self, args: Node, pruner: Node) -> dict[str, Any]:
        """Levels that take the place of the pruner's own; of the other classes Distiller reads none."""
        sparsity = pruner.value.get("sparsity")
        if sparsity is None or not sparsity.is_mapping or sparsity.value["ramp"].value != "constant":
            self._notes.append(args.problem("has no effect on this class, which has no 'levels'", key="levels"))
            return {}
        levels = names_to_levels(args, self._problems)
        return {"allocation": levels} if levels else {}


def _given(args: Node) -> dict[str, Any]:
    return {key: child.value for key, child in args.value.items()}
