"""Distiller's dialect (version 1) -> ours: each of its classes is a row that rewrites it onto our axes.

Nodes keep the places of the file, and the rows check what only version 1 knows, so problems speak its words. Semantics
as read from Distiller d859fc85; where it has a bug, the row does what was meant and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schedengine.errors import Problem, did_you_mean
from schedengine.lr import LR_SCHEDULES
from schedengine.schedule.reader import show
from schedengine.schedule.source import Node

SECTIONS = ("version", "pruners", "regularizers", "lr_schedulers", "policies", "extensions", "quantizers")
LATER = {
    "extensions": "thinning is not available in this version of schedengine; remove the section and its policies",
    "quantizers": "quantization is not available in this version of schedengine; remove the section and its policies",
}
_KIND_SECTIONS = {"pruner": "pruners", "regularizer": "regularizers", "lr_scheduler": "lr_schedulers"}
KINDS = (*_KIND_SECTIONS, "extension", "quantizer")
WINDOW = ("starting_epoch", "ending_epoch", "frequency")
_AXES = ("criterion", "granularity", "allocation", "sparsity", "threshold", "update", "penalty", "strength")
_LR_STARTS_ELSEWHERE = ("CyclicLR", "OneCycleLR", "LinearLR", "ConstantLR")
_FILTERS = {"3D": "filter", "Filters": "filter"}
_RANKED = {**_FILTERS, "Channels": "channel", "Rows": "channel"}
_THRESHOLDED = {**_FILTERS, "2D": "kernel", "Channels": "channel", "Rows": "row", "Cols": "column", "4D": "tensor"}

# How Distiller counts, whatever the class: floored, ties go together, the last pruner's mask wins, masks computed at
# the beginning of an epoch take effect with its first mini-batch, momentum is left alone, nothing is protected.
_COUNTS: dict[str, Any] = {
    "update": "reselect",
    "rounding": "floor",
    "ties": "all",
    "masks": "replace",
    "apply": "step",
    "optimizer_state": "keep",
    "min_keep": 0,
}


@dataclass(frozen=True)
class Row:
    """One of Distiller's classes.

    Args:
        needs: arguments without which it cannot work.
        takes: the others.
        rewrite: its arguments as our mapping; appends to the problems what it finds wrong.
    """

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    rewrite: Callable[[Node, list[Problem]], dict[str, Any]]


def _agp(node: Node, problems: list[Problem]) -> dict[str, Any]:
    initial, final = node.value["initial_sparsity"], node.value["final_sparsity"]
    if _is_number(initial) and _is_number(final) and not initial.value < final.value:
        problems.append(final.problem(f"must be above initial_sparsity, {initial.value} (got {final.value})"))
        return {}
    ramp = node.derived({"ramp": "cubic", "first": "from"})
    ramp.value.update({"from": initial, "to": final})
    return {"parameters": node.value["weights"], "allocation": "uniform", "sparsity": ramp, **_COUNTS}


def _constant(node: Node, problems: list[Problem]) -> dict[str, Any]:
    del problems
    return {
        "parameters": node.value["weights"],
        "allocation": "uniform",
        "sparsity": node.value["desired_sparsity"],
        **_COUNTS,
    }


def _structured(
    inner: Callable[[Node, list[Problem]], dict[str, Any]], criterion: Any, types: dict[str, str]
) -> Callable[[Node, list[Problem]], dict[str, Any]]:
    def rewrite(node: Node, problems: list[Problem]) -> dict[str, Any]:
        group = node.value["group_type"]
        if group.is_mapping or group.is_list or group.value not in types:
            problems.append(group.problem(f"must be one of {', '.join(types)} (got {show(group.plain())})"))
            return {}
        return {**inner(node, problems), "criterion": criterion, "granularity": types[group.value]}

    return rewrite


def _levels(node: Node, problems: list[Problem]) -> dict[str, Any]:
    """``'*'`` reaches biases and normalisation in Distiller, which nobody wants; here it reaches weights only."""
    levels = _names_to_values(node, "levels", problems, default_is_dropped=True)
    return {"allocation": levels, "sparsity": {"ramp": "constant"}, **_COUNTS} if levels else {}


def _sensitivity(node: Node, problems: list[Problem]) -> dict[str, Any]:
    factors = _names_to_values(node, "sensitivities", problems)
    return {"threshold": node.derived({"std": factors}), **_limits()} if factors else {}


def _magnitude(node: Node, problems: list[Problem]) -> dict[str, Any]:
    limits = _names_to_values(node, "thresholds", problems)
    if limits is not None and "*" not in limits.value:
        problems.append(limits.problem("needs '*', the threshold of every other parameter"))
    return {"threshold": node.derived({"absolute": limits}), **_limits()} if limits else {}


def _limits() -> dict[str, Any]:
    return {key: value for key, value in _COUNTS.items() if key not in ("rounding", "ties")}


def _names_to_values(node: Node, key: str, problems: list[Problem], *, default_is_dropped: bool = False) -> Node | None:
    mapping = node.value[key]
    if not mapping.is_mapping or not mapping.value:
        problems.append(mapping.problem(f"must map parameter names to numbers (got {show(mapping.plain())})"))
        return None
    if default_is_dropped and "*" in mapping.value and mapping.value["*"].value == 0:
        mapping.value.pop("*")
    return mapping  # type: ignore[no-any-return]


_NAMES = ("weights",)
_AGP_KEYS = ("initial_sparsity", "final_sparsity", "weights")
_GROUP_KEYS = ("group_type", "weights")
_NOT_YET = ("group_dependency", "kwargs", "noise", "group_size", "rounding_fn", "magnitude_fn")
_L2 = {"magnitude": {"norm": "l2"}}
PRUNERS: dict[str, Row] = {
    "AutomatedGradualPruner": Row(_AGP_KEYS, (), _agp),
    "SparsityLevelParameterPruner": Row(("levels",), (), _levels),
    "SensitivityPruner": Row(("sensitivities",), (), _sensitivity),
    "MagnitudeParameterPruner": Row(("thresholds",), (), _magnitude),
}
for _name, _criterion, _types in (
    ("L1RankedStructureParameterPruner", "magnitude", _RANKED),
    ("L2RankedStructureParameterPruner", _L2, _RANKED),
    ("RandomRankedFilterPruner", "random", _FILTERS),
):
    PRUNERS[_name] = Row(("desired_sparsity", *_GROUP_KEYS), _NOT_YET, _structured(_constant, _criterion, _types))
    PRUNERS[f"{_name}_AGP"] = Row((*_AGP_KEYS, "group_type"), _NOT_YET, _structured(_agp, _criterion, _types))

PRUNERS_LATER = (
    "SplicingPruner", "BaiduRNNPruner", "StructureParameterPruner", "RandomLevelStructureParameterPruner",
    "ActivationAPoZRankedFilterPruner", "ActivationMeanRankedFilterPruner", "GradientRankedFilterPruner",
    "BernoulliFilterPruner", "FMReconstructionChannelPruner", "ActivationAPoZRankedFilterPruner_AGP",
    "ActivationMeanRankedFilterPruner_AGP", "GradientRankedFilterPruner_AGP", "BernoulliFilterPruner_AGP",
)  # fmt: skip


def _l1(node: Node, problems: list[Problem]) -> dict[str, Any]:
    strengths = _names_to_values(node, "reg_regims", problems)
    return {"penalty": "l1", "strength": strengths} if strengths else {}


def _group_lasso(node: Node, problems: list[Problem]) -> dict[str, Any]:
    """Each parameter has [strength, type]; one granularity for all, since no file mixes them."""
    regims = _names_to_values(node, "reg_regims", problems)
    strengths, kinds = {}, {}
    for name, entry in regims.value.items() if regims else ():
        if not entry.is_list or len(entry.value) != 2:
            problems.append(entry.problem(f"must be [strength, group type] (got {show(entry.plain())})"))
            continue
        strengths[name], kind = entry.value
        if kind.is_mapping or kind.is_list or kind.value not in _THRESHOLDED:
            problems.append(kind.problem(f"must be one of {', '.join(_THRESHOLDED)} (got {show(kind.plain())})"))
        else:
            kinds[_THRESHOLDED[kind.value]] = kind
    if regims is None or not kinds:
        return {}
    if len(kinds) > 1:
        problems.append(regims.problem(f"mixes group types {', '.join(kinds)}; write one regularizer for each"))
        return {}
    strength = regims.derived({})
    strength.value.update(strengths)
    return {"penalty": "group_lasso", "granularity": next(iter(kinds)), "strength": strength}


REGULARIZERS: dict[str, Row] = {
    "L1Regularizer": Row(("reg_regims",), ("threshold_criteria",), _l1),
    "GroupLassoRegularizer": Row(("reg_regims",), ("threshold_criteria",), _group_lasso),
}
REGULARIZERS_LATER = ("GroupVarianceRegularizer",)


def rewrite(root: Node, problems: list[Problem], notes: list[Problem]) -> Node:
    """A version 1 tree as the version 2 tree that means the same.

    Args:
        root: without its version.
        problems: what is wrong is appended.
        notes: what is doubtful is appended.
    """
    for key in root.value:
        if key in LATER:
            problems.append(root.problem(LATER[key], key=key))
        elif key not in SECTIONS:
            is_later = key in ("phases", "effects")
            what = f"unknown section; {did_you_mean(key, SECTIONS)}"
            problems.append(root.problem("belongs to version 2; write 'version: 2'" if is_later else what, key=key))
    new = root.derived({"effects": "warn"})
    new.mark = root.mark
    pruners = _instances(root, "pruners", PRUNERS, PRUNERS_LATER, problems)
    regularizers = _instances(root, "regularizers", REGULARIZERS, REGULARIZERS_LATER, problems)
    schedulers = _lr_schedulers(root, problems)
    policies = _Policies(pruners, regularizers, schedulers, problems, notes).rewrite(root)
    for key, section in (("pruners", pruners), ("regularizers", regularizers), ("lr_schedulers", schedulers)):
        if key in root.value and section:
            new.value[key] = Node(section, key, root.value[key].mark)
    if policies is not None:
        new.value["policies"] = policies
    return new


def _instances(
    root: Node, section: str, rows: dict[str, Row], later: tuple[str, ...], problems: list[Problem]
) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for name, node in _section(root, section, problems):
        row = _row(node, rows, later, problems)
        if row is None:
            continue
        before = len(problems)
        _check_keys(node, row, problems)
        fields = row.rewrite(node, problems) if len(problems) == before else {}
        if fields:
            rewritten = node.derived({})
            rewritten.value.update({key: node.derived(value) for key, value in fields.items()})
            found[name] = rewritten
    return found


def _section(root: Node, section: str, problems: list[Problem]) -> list[tuple[str, Node]]:
    node = root.value.get(section)
    if node is None:
        return []
    if not node.is_mapping:
        problems.append(node.problem(f"must be a mapping of names to components (got {show(node.plain())})"))
        return []
    for child in node.value.values():
        if not child.is_mapping:
            problems.append(child.problem(f"must be a mapping with 'class' (got {show(child.plain())})"))
    return [(name, child) for name, child in node.value.items() if child.is_mapping]


def _row(node: Node, rows: dict[str, Row], later: tuple[str, ...], problems: list[Problem]) -> Row | None:
    cls = node.value.get("class")
    if cls is None or not isinstance(cls.value, str):
        axes = [key for key in _AXES if key in node.value]
        mixed = f"; {axes[0]!r} belongs to version 2: write 'version: 2'" if axes else ""
        problems.append(node.problem(f"needs 'class'{mixed}"))
    elif cls.value in later:
        problems.append(cls.problem(f"{cls.value} is not available in this version of schedengine"))
    elif cls.value not in rows:
        problems.append(cls.problem(f"unknown class {cls.value!r}; {did_you_mean(cls.value, [*rows, *later])}"))
    else:
        return rows[cls.value]
    return None


def _check_keys(node: Node, row: Row, problems: list[Problem]) -> None:
    known = (*row.needs, *row.takes, "class")
    for key in node.value:
        if key not in known:
            what = "belongs to version 2" if key in _AXES else "unknown key"
            problems.append(node.problem(f"{what}; {did_you_mean(key, known)}", key=key))
        elif key in row.takes and node.value[key].value is not None:
            problems.append(node.problem("is not available in this version of schedengine; remove it", key=key))
    for key in row.needs:
        if key not in node.value:
            problems.append(node.problem(f"needs {key!r}"))
    weights = node.value.get("weights")
    # A bare name is legal, and several of Distiller's files have one (by substring there; here it is a name).
    if weights is not None and not weights.is_list and not isinstance(weights.value, str):
        problems.append(weights.problem(f"must be a list of parameter names (got {show(weights.plain())})"))


def _lr_schedulers(root: Node, problems: list[Problem]) -> dict[str, Node]:
    found = {}
    for name, node in _section(root, "lr_schedulers", problems):
        cls = node.value.get("class")
        if cls is None:
            problems.append(node.problem("needs 'class'"))
            continue
        if cls.value == "PolynomialLR":  # Distiller's own wins over torch's, which came later
            node.value["class"] = cls.derived("DistillerPolynomialLR")
        elif isinstance(cls.value, str) and cls.value.islower() and cls.value in LR_SCHEDULES:
            what = f"{cls.value!r} belongs to version 2; write 'version: 2', or torch's class name"
            problems.append(cls.problem(what))
            continue
        found[name] = node
    return found


def _is_number(node: Node) -> bool:
    return isinstance(node.value, (int, float)) and not isinstance(node.value, bool)


_FLAGS = ("keep_mask", "mask_on_forward_only", "mask_gradients", "use_double_copies")
_ARGS_LATER = ("discard_masks_at_minibatch_end", "skip_first_minibatch", "fold_batchnorm")


class _Policies:
    """The policies of a file: their windows become ours, and a pruner's ``args`` become its axes."""

    def __init__(
        self,
        pruners: dict[str, Node],
        regularizers: dict[str, Node],
        schedulers: dict[str, Node],
        problems: list[Problem],
        notes: list[Problem],
    ) -> None:
        self.instances = {"pruner": pruners, "regularizer": regularizers, "lr_scheduler": schedulers}
        self.problems = problems
        self.notes = notes
        self._args: dict[str, dict[str, Any]] = {}

    def rewrite(self, root: Node) -> Node | None:
        node = root.value.get("policies")
        if node is None:
            return None
        if not node.is_list:
            self.problems.append(node.problem(f"must be a list (got {show(node.plain())})"))
            return None
        policies = [new for item in node.value for new in self._policy(item, root)]
        return Node(policies, "policies", node.mark)

    def _policy(self, item: Node, root: Node) -> list[Node]:
        if not item.is_mapping:
            self.problems.append(item.problem(f"must be a mapping (got {show(item.plain())})"))
            return []
        if "at" in item.value or "during" in item.value:
            key = "at" if "at" in item.value else "during"
            self.problems.append(item.problem("belongs to version 2; write 'version: 2', or epochs here", key=key))
            return []
        kinds = [kind for kind in KINDS if kind in item.value]
        if len(kinds) != 1:
            self.problems.append(item.problem(f"must have one of {', '.join(KINDS)} (got {', '.join(item.value)})"))
            return []
        kind, block = kinds[0], item.value[kinds[0]]
        if kind not in _KIND_SECTIONS:
            return []  # said once, at its section
        self._check_keys(item, block, kind)
        name = block.value.get("instance_name") if block.is_mapping else None
        if name is None or not isinstance(name.value, str):
            self.problems.append(block.problem("needs 'instance_name'"))
            return []
        if name.value not in self.instances[kind]:
            self._undefined(name, kind, root)
            return []
        when = self._when(item)
        if when is None:
            return []
        arguments = block.value.get("args")
        if arguments is not None and not arguments.is_mapping:
            if arguments.value is not None:
                self.problems.append(arguments.problem(f"must be a mapping (got {show(arguments.plain())})"))
            arguments = None
        return self._placed(item, kind, name, when, arguments)

    def _undefined(self, name: Node, kind: str, root: Node) -> None:
        section = root.value.get(_KIND_SECTIONS[kind])
        defined = list(section.value) if section is not None and section.is_mapping else []
        if name.value not in defined:  # one that is defined has its own problem already
            message = f"there is no {kind} {name.value!r} in {_KIND_SECTIONS[kind]!r}"
            self.problems.append(name.problem(f"{message}; {did_you_mean(name.value, defined)}"))

    def _check_keys(self, item: Node, block: Node, kind: str) -> None:
        for key in item.value:
            known = (kind, "epochs", *WINDOW)
            if key not in known:
                self.problems.append(item.problem(f"unknown key; {did_you_mean(key, known)}", key=key))
        for key in block.value if block.is_mapping else ():
            if key not in ("instance_name", "args"):
                what = did_you_mean(key, ("instance_name", "args"))
                if key in (*WINDOW, "epochs"):
                    what = f"it stands beside {kind!r}, not in it"
                self.problems.append(block.problem(f"unknown key; {what}", key=key))

    def _when(self, item: Node) -> tuple[list[int], None] | tuple[None, tuple[int, int, int]] | None:
        keys = [key for key in WINDOW if key in item.value]
        if "epochs" in item.value:
            if keys:
                what = f"'epochs' and {keys[0]!r} exclude each other; remove one"
                self.problems.append(item.problem(what, key="epochs"))
                return None
            return self._epochs(item.value["epochs"])
        missing = [key for key in WINDOW if key not in item.value]
        if missing:
            self.problems.append(item.problem(f"needs {', '.join(missing)}, or 'epochs'"))
            return None
        numbers = [self._whole(item.value[key]) for key in WINDOW]
        if None in numbers:
            return None
        start, stop, every = (number for number in numbers if number is not None)
        if start >= stop:
            message = f"the window is empty: it begins at epoch {start} and ends before epoch {stop}"
            self.problems.append(item.problem(message, key="ending_epoch"))
        elif not 0 < every <= stop - start:
            message = f"must be at least 1 and at most the window's {stop - start} epochs (got {every})"
            self.problems.append(item.problem(message, key="frequency"))
        else:
            return None, (start, stop, every)
        return None

    def _epochs(self, node: Node) -> tuple[list[int], None] | None:
        if not node.is_list or not node.value:
            self.problems.append(node.problem(f"must be a list of epochs (got {show(node.plain())})"))
            return None
        epochs = [self._whole(child) for child in node.value]
        return None if None in epochs else (sorted({epoch for epoch in epochs if epoch is not None}), None)

    def _whole(self, node: Node) -> int | None:
        if isinstance(node.value, int) and not isinstance(node.value, bool) and node.value >= 0:
            return node.value
        self.problems.append(node.problem(f"must be a whole number, zero or more (got {show(node.plain())})"))
        return None

    def _placed(self, item: Node, kind: str, name: Node, when: tuple[Any, Any], arguments: Node | None) -> list[Node]:
        fields: dict[str, Any] = {kind: name.value}
        if kind == "pruner":
            fields[kind] = self._pruner(name, arguments, fields)
        elif arguments is not None:
            self._other_arguments(kind, arguments)
        epochs, window = when
        if kind == "lr_scheduler":
            return self._lr(item, name, epochs, window)
        if epochs is not None and kind == "regularizer":
            return [item.derived({**fields, "during": "run", "from": epoch, "until": epoch + 1}) for epoch in epochs]
        if epochs is not None:
            return [item.derived({**fields, "at": epochs})]
        start, stop, every = window
        return [item.derived({**fields, "during": "run", "from": start, "until": stop, "every": every})]

    def _lr(self, item: Node, name: Node, epochs: list[int] | None, window: tuple[int, int, int] | None) -> list[Node]:
        """Distiller sets the rate of epoch k+1 at the end of an active epoch k, from the run's own clock."""
        cls = self.instances["lr_scheduler"][name.value].value["class"].value
        fields: dict[str, Any] = {"lr_scheduler": name.value}
        lag = 0 if cls == "ReduceLROnPlateau" else 1
        if lag:
            fields["clock"] = "run"
        windows = [window] if window is not None else [(epoch, epoch + 1, 1) for epoch in epochs or ()]
        if cls in _LR_STARTS_ELSEWHERE:  # their constructor sets the rate of epoch 0
            windows.insert(0, (-lag, 1 - lag, 1))
        return [
            item.derived({**fields, "during": "run", "from": start + lag, "until": stop + lag, "every": every})
            for start, stop, every in windows
        ]

    def _other_arguments(self, kind: str, arguments: Node) -> None:
        for key in arguments.value:
            if kind == "regularizer" and key == "keep_mask":
                self.notes.append(arguments.problem("has no effect without threshold_criteria", key=key))
            else:
                self.problems.append(arguments.problem(f"a policy with a {kind} has no such argument", key=key))

    def _pruner(self, name: Node, arguments: Node | None, fields: dict[str, Any]) -> str:
        """Put a policy's ``args`` on its pruner.

        A second policy gets a pruner of its own if its arguments are others, or if the pruner has a ramp: in Distiller
        each policy's window has the whole ramp.
        """
        axes = self._axes(arguments, fields) if arguments is not None else {}
        pruners = self.instances["pruner"]
        target = str(name.value)
        is_again = target in self._args
        known = self._args.setdefault(target, axes)
        sparsity = pruners[target].value.get("sparsity")
        is_ramp = sparsity is not None and sparsity.is_mapping and "from" in sparsity.value
        if known != axes or (is_again and is_ramp):
            target = next(new for number in range(2, 1000) if (new := f"{name.value}_{number}") not in pruners)
            source = pruners[name.value]
            unchanged = {key: value for key, value in source.value.items() if key not in known}
            pruners[target] = Node(unchanged, source.path, source.mark, source.keys)
            self._args[target] = axes
        node = pruners[target]
        for key, value in axes.items():
            node.value[key] = value if isinstance(value, Node) else node.derived(value)
        return target

    def _axes(self, arguments: Node, fields: dict[str, Any]) -> dict[str, Any]:
        given = {key: child.value for key, child in arguments.value.items()}
        known = (*_FLAGS, *_ARGS_LATER, "mini_batch_pruning_frequency", "levels")
        for key, child in arguments.value.items():
            if key not in known:
                self.problems.append(arguments.problem(f"unknown argument; {did_you_mean(key, known)}", key=key))
            elif key in _ARGS_LATER and child.value:
                self.problems.append(arguments.problem("is not available in this version of schedengine", key=key))
            elif key in _FLAGS and not isinstance(child.value, bool):
                self.problems.append(child.problem(f"must be true or false (got {show(child.plain())})"))
        frequency = arguments.value.get("mini_batch_pruning_frequency")
        if frequency is not None and self._whole(frequency):
            fields["refresh"] = f"{frequency.value}st"
        if given.get("keep_mask") is True:
            fields["keep_mask"] = True
        if given.get("mask_gradients") and not given.get("mask_on_forward_only"):
            self.problems.append(arguments.problem("needs mask_on_forward_only: true beside it", key="mask_gradients"))
        axes: dict[str, Any] = {}
        if given.get("mask_on_forward_only") is True:
            axes["pruned"] = "dense" if given.get("use_double_copies") else "forward"
        elif given.get("use_double_copies"):
            what = "has no effect without mask_on_forward_only, as in Distiller"
            self.notes.append(arguments.problem(what, key="use_double_copies"))
        if given.get("mask_gradients") is True:
            axes["mask_gradients"] = True
        if "levels" in arguments.value:
            axes["allocation"] = arguments.value["levels"]
        return axes
