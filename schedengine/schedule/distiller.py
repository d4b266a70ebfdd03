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
    "quantizers": "quantization is not available in this version of schedengine; remove the section and its policies",
}
_KIND_SECTIONS = {
    "pruner": "pruners",
    "regularizer": "regularizers",
    "lr_scheduler": "lr_schedulers",
    "extension": "extensions",
}
KINDS = (*_KIND_SECTIONS, "quantizer")
WINDOW = ("starting_epoch", "ending_epoch", "frequency")
_AXES = ("criterion", "granularity", "allocation", "sparsity", "threshold", "update", "penalty", "strength")
_LR_STARTS_ELSEWHERE = ("CyclicLR", "OneCycleLR", "LinearLR", "ConstantLR")
_FILTERS = {"3D": "filter", "Filters": "filter"}
_RANKED = {**_FILTERS, "Channels": "channel", "Rows": "channel", "Blocks": "blocks"}
_CHANNELS = {"Channels": "channel"}
_THRESHOLDED = {**_FILTERS, "2D": "kernel", "Channels": "channel", "Rows": "row", "Cols": "column", "4D": "tensor"}
_SEVERAL = {"Rows+Cols": ("row", "column"), "Channels+4D": ("channel", "tensor")}

# How Distiller counts, whatever the class: floored, ties go together, the last pruner's mask wins, masks computed at
# the beginning of an epoch take effect with its first mini-batch, momentum is left alone, nothing is protected, and of
# a thinned network a sparsity is of what is left.
_COUNTS: dict[str, Any] = {
    "update": "reselect",
    "rounding": "floor",
    "ties": "all",
    "masks": "replace",
    "apply": "step",
    "optimizer_state": "keep",
    "min_keep": 0,
    "counted": "current",
}


Rewrite = Callable[[Node, list[Problem]], dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One of Distiller's classes.

    Args:
        needs: arguments without which it cannot work.
        takes: the others.
        rewrite: its arguments as our mapping; appends to the problems what it finds wrong.
        is_split: the rewritten mapping holds one instance for each structure, by the structure's name.
    """

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    rewrite: Rewrite
    is_split: bool = False


def _agp(node: Node, problems: list[Problem]) -> dict[str, Any]:
    initial, final = node.value["initial_sparsity"], node.value["final_sparsity"]
    if _is_number(initial) and _is_number(final) and not initial.value < final.value:
        problems.append(final.problem(f"must be above initial_sparsity, {initial.value} (got {final.value})"))
        return {}
    ramp = node.derived({"ramp": "cubic", "first": "from"})
    ramp.value.update({"from": initial, "to": final})
    return {"parameters": node.value["weights"], "allocation": "uniform", "sparsity": ramp, **_COUNTS}


def _constant(node: Node, problems: list[Problem]) -> dict[str, Any]:
    _check_number(node.value["desired_sparsity"], problems)
    return {
        "parameters": node.value["weights"],
        "allocation": "uniform",
        "sparsity": node.value["desired_sparsity"],
        **_COUNTS,
    }


def _structured(inner: Rewrite, criterion: Any, types: dict[str, str], **axes: Any) -> Rewrite:
    def rewrite(node: Node, problems: list[Problem]) -> dict[str, Any]:
        group = node.value["group_type"]
        if group.is_mapping or group.is_list or group.value not in types:
            problems.append(group.problem(f"must be one of {', '.join(types)} (got {show(group.plain())})"))
            return {}
        granularity = _blocks(node, problems) if group.value == "Blocks" else types[group.value]
        together = {"together": "leader"} if _is_led(node, problems) else {}
        return {**inner(node, problems), "criterion": criterion, "granularity": granularity, **together, **axes}

    return rewrite


def _is_led(node: Node, problems: list[Problem]) -> bool:
    dependency = node.value.get("group_dependency")
    if dependency is None or dependency.value is None:
        return False
    if dependency.value != "Leader":
        problems.append(dependency.problem(f"must be Leader (got {show(dependency.plain())}), or be left out"))
    return True


def _blocks(node: Node, problems: list[Problem]) -> Any:
    """``[r, d, 1, 1]``: r * d kernels in a row, as Distiller computes it; or r filters, for d = 1."""
    extra = node.value.get("kwargs")
    shape = extra.value.get("block_shape") if extra is not None and extra.is_mapping else None
    if shape is None:
        found = "" if extra is None else f" (got {show(extra.plain())})"
        what = f"group_type Blocks needs 'kwargs: {{block_shape: [r, d, 1, 1]}}'{found}"
        problems.append((extra or node).problem(what))
        return "element"
    extents = shape.plain()
    if not (isinstance(extents, list) and len(extents) == 4 and all(type(one) is int and one > 0 for one in extents)):
        problems.append(shape.problem(f"must be four whole numbers above 0 (got {show(extents)})"))
        return "element"
    if extents[2:] != [1, 1]:
        problems.append(shape.problem(f"must end in 1, 1: blocks are of one position each (got {show(extents)})"))
    return {"block": [extents[0]]} if extents[1] == 1 else {"consecutive": extents[0] * extents[1]}


def _random_level(node: Node, problems: list[Problem]) -> dict[str, Any]:
    """A level for each parameter, drawn anew at every cut; one for all that follow a leader."""
    span, weights = node.value["sparsity_range"], node.value["weights"]
    if not span.is_list or len(span.value) != 2:
        problems.append(span.problem(f"must be [lowest, highest] (got {show(span.plain())})"))
        return {}
    low, high = span.value
    if _is_number(low) and _is_number(high) and low.value > high.value:
        problems.append(span.problem(f"must be [lowest, highest] (got {show(span.plain())}); swap the two"))
    ramp = node.derived({"ramp": "random"})
    ramp.value["from"] = low
    if not _is_absent(node, "group_dependency"):
        ramp.value["to"] = high
        return {"parameters": weights, "allocation": "uniform", "sparsity": ramp, **_COUNTS}
    levels = node.derived({})
    levels.value.update({str(name.value): high for name in (weights.value if weights.is_list else [weights])})
    return {"allocation": levels, "sparsity": ramp, **_COUNTS}


def _splicing(node: Node, problems: list[Problem]) -> dict[str, Any]:
    factors = _names_to_values(node, "sensitivities", problems)
    if factors is None:
        return {}
    spread = node.derived({})
    spread.value["by_name"] = factors
    growth = node.value.get("sensitivity_multiplier")
    if growth is not None and growth.value:
        spread.value["growth"] = growth
    low, high = node.value["low_thresh_mult"], node.value["hi_thresh_mult"]
    if _is_number(low) and _is_number(high) and low.value > high.value:
        problems.append(high.problem(f"must be at least low_thresh_mult, {low.value} (got {high.value})"))
    limits = node.derived({})
    limits.value.update({"low": low, "high": high})
    threshold, update = node.derived({"spread": spread}), node.derived({"splice": limits})
    return {"threshold": threshold, **_limits(), "update": update}


def _baidu(node: Node, problems: list[Problem]) -> dict[str, Any]:
    _check_number(node.value["q"], problems)
    rising = node.derived({})
    keys = {"by_name": "q", "after": "ramp_epoch_offset", "steeper": "ramp_slope_mult"}
    rising.value.update({ours: node.value[theirs] for ours, theirs in keys.items()})
    return {"parameters": node.value["weights"], "threshold": node.derived({"rising": rising}), **_limits()}


def _by_limit(node: Node, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Each parameter has [limit, group type]: a pruner for each type."""
    criteria = {"Max": {"magnitude": {"norm": "max"}}, "Mean_Abs": "magnitude"}
    criterion = _one_of(node.value["threshold_criteria"], criteria, problems)
    regims = _regims(node, problems, _THRESHOLDED)
    return {
        granularity: {
            "threshold": node.derived({"absolute": limits}),
            "criterion": criterion,
            "granularity": granularity,
            **_limits(),
        }
        for granularity, limits in regims.items()
    }


def _levels(node: Node, problems: list[Problem]) -> dict[str, Any]:
    """``'*'`` reaches biases and normalisation in Distiller, which nobody wants; here it reaches weights only."""
    levels = _names_to_levels(node, problems)
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


def _names_to_values(node: Node, key: str, problems: list[Problem]) -> Node | None:
    mapping = node.value[key]
    if not mapping.is_mapping or not mapping.value:
        problems.append(mapping.problem(f"must map parameter names to numbers (got {show(mapping.plain())})"))
        return None
    return mapping  # type: ignore[no-any-return]


def _names_to_levels(node: Node, problems: list[Problem]) -> Node | None:
    """Without those of 0, which Distiller skips: a mask of theirs would replace that of another pruner."""
    levels = _names_to_values(node, "levels", problems)
    if levels is None or ("*" in levels.value and levels.value["*"].value != 0):
        return levels
    positive = {name: level for name, level in levels.value.items() if level.value != 0}
    return Node(positive or levels.value, levels.path, levels.mark, levels.keys)


_AGP_KEYS = ("initial_sparsity", "final_sparsity", "weights")
_GROUP_KEYS = ("group_type", "weights")
_STRUCTURE = ("group_dependency",)
_LP = ("group_dependency", "kwargs", "noise", "group_size", "rounding_fn", "magnitude_fn")
_INERT: dict[str, tuple[Any, str]] = {
    "noise": (0, "is not available: scores are not noisy here; use RandomRankedFilterPruner as a control"),
    "group_size": (1, "cannot be other than 1, with which Distiller crashes; use together, or blocks, in version 2"),
    "rounding_fn": (None, "has no effect in Distiller, which rounds down; write 'rounding' in version 2"),
    "magnitude_fn": (
        None,
        "is not available: a file names no functions; use the class of the norm, L1Ranked... or L2Ranked...",
    ),
    "ranking_noise": (0, "is not available: scores are not noisy here; use RandomRankedFilterPruner as a control"),
}
"""Arguments that may stand at the value that changes nothing -> that value, and what to say of any other."""
_L2 = {"magnitude": {"norm": "l2"}}
_BY_POSITION = {"ties": "position"}
PRUNERS: dict[str, Row] = {
    "AutomatedGradualPruner": Row(_AGP_KEYS, (), _agp),
    "SparsityLevelParameterPruner": Row(("levels",), (), _levels),
    "SensitivityPruner": Row(("sensitivities",), (), _sensitivity),
    "MagnitudeParameterPruner": Row(("thresholds",), (), _magnitude),
    "SplicingPruner": Row(
        ("sensitivities", "low_thresh_mult", "hi_thresh_mult"), ("sensitivity_multiplier",), _splicing
    ),
    "BaiduRNNPruner": Row(("q", "ramp_epoch_offset", "ramp_slope_mult", "weights"), (), _baidu),
    "StructureParameterPruner": Row(("reg_regims", "threshold_criteria"), (), _by_limit, is_split=True),
    "RandomLevelStructureParameterPruner": Row(
        ("sparsity_range", *_GROUP_KEYS), _LP, _structured(_random_level, "magnitude", _RANKED)
    ),
    "FMReconstructionChannelPruner": Row(
        ("desired_sparsity", *_GROUP_KEYS),
        ("group_size", "rounding_fn", "magnitude_fn", "ranking_noise"),
        _structured(_constant, "magnitude", _CHANNELS, compensate="least_squares"),
    ),
}
_RANKERS: dict[str, tuple[Any, dict[str, str], tuple[str, ...], dict[str, Any]]] = {
    "L1RankedStructureParameterPruner": ("magnitude", _RANKED, _LP, {}),
    "L2RankedStructureParameterPruner": (_L2, _RANKED, _LP, {}),
    "RandomRankedFilterPruner": ("random", _FILTERS, _STRUCTURE, {}),
    "ActivationAPoZRankedFilterPruner": ("apoz", _FILTERS, _STRUCTURE, _BY_POSITION),
    "ActivationMeanRankedFilterPruner": ("activation_mean", _FILTERS, _STRUCTURE, _BY_POSITION),
    "GradientRankedFilterPruner": ({"gradient": {"sign": "signed"}}, _FILTERS, _STRUCTURE, _BY_POSITION),
    "BernoulliFilterPruner": ("random", _FILTERS, _STRUCTURE, {"draw": "bernoulli"}),
}
for _name, (_criterion, _types, _others, _axes) in _RANKERS.items():
    _rewrite = _structured(_constant, _criterion, _types, **_axes)
    PRUNERS[_name] = Row(("desired_sparsity", *_GROUP_KEYS), _others, _rewrite)
    PRUNERS[f"{_name}_AGP"] = Row((*_AGP_KEYS, "group_type"), _others, _structured(_agp, _criterion, _types, **_axes))


def _l1(node: Node, problems: list[Problem]) -> dict[str, Any]:
    strengths = _names_to_values(node, "reg_regims", problems)
    # Any word of theirs means the same: groups of one element.
    threshold = {} if _is_absent(node, "threshold_criteria") else {"threshold": "mean_abs"}
    return {"penalty": "l1", "strength": strengths, **threshold} if strengths else {}


def _group_lasso(node: Node, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Each parameter has [strength, type]: a regularizer for each type."""
    threshold = {}
    if not _is_absent(node, "threshold_criteria"):
        words = {"Max": "max", "Mean_Abs": "mean_abs"}
        threshold = {"threshold": _one_of(node.value["threshold_criteria"], words, problems)}
    return {
        granularity: {"penalty": "group_lasso", "granularity": granularity, "strength": strengths, **threshold}
        for granularity, strengths in _regims(node, problems).items()
    }


def _group_variance(node: Node, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    return {
        granularity: {"penalty": "group_variance", "granularity": granularity, "strength": strengths}
        for granularity, strengths in _regims(node, problems, _CHANNELS).items()
    }


def _regims(node: Node, problems: list[Problem], types: dict[str, str] | None = None) -> dict[str, Node]:
    """``{parameter: [number, group type]}`` as the numbers of each of our structures."""
    regims = _names_to_values(node, "reg_regims", problems)
    several = {} if types else _SEVERAL
    types = types or _THRESHOLDED
    found: dict[str, Node] = {}
    for name, entry in regims.value.items() if regims else ():
        if not entry.is_list or len(entry.value) != 2:
            problems.append(entry.problem(f"must be [number, group type] (got {show(entry.plain())})"))
            continue
        number, kind = entry.value
        if not isinstance(kind.value, str) or kind.value not in {**types, **several}:
            problems.append(
                kind.problem(f"must be one of {', '.join({**types, **several})} (got {show(kind.plain())})")
            )
            continue
        for granularity in several.get(kind.value) or (types[kind.value],):
            found.setdefault(granularity, regims.derived({})).value[name] = number  # type: ignore[union-attr]
    return found


def _one_of(node: Node, words: dict[str, Any], problems: list[Problem]) -> Any:
    if not isinstance(node.value, str) or node.value not in words:
        problems.append(node.problem(f"must be one of {', '.join(words)} (got {show(node.plain())})"))
        return next(iter(words.values()))
    return words[node.value]


def _is_absent(node: Node, key: str) -> bool:
    return key not in node.value or node.value[key].value is None


REGULARIZERS: dict[str, Row] = {
    "L1Regularizer": Row(("reg_regims",), ("threshold_criteria",), _l1),
    "GroupLassoRegularizer": Row(("reg_regims",), ("threshold_criteria",), _group_lasso, is_split=True),
    "GroupVarianceRegularizer": Row(("reg_regims",), (), _group_variance, is_split=True),
}

_INPUTS = {"imagenet": [3, 224, 224], "cifar10": [3, 32, 32], "mnist": [1, 28, 28]}
_THINNING = {"remove_filters": "filters", "remove_channels": "channels", "contract_model": "all"}


def _remover(node: Node, problems: list[Problem]) -> dict[str, Any]:
    """What is zero goes at the first mini-batch of the epoch; ``arch`` is not read in Distiller either."""
    what = _one_of(node.value["thinning_func_str"], _THINNING, problems)
    inputs = {} if _is_absent(node, "dataset") else {"input": _one_of(node.value["dataset"], _INPUTS, problems)}
    return {"what": what, **inputs, "apply": "step"}


EXTENSIONS: dict[str, Row] = {
    name: Row(("thinning_func_str",), ("arch", "dataset"), _remover)
    for name in ("StructureRemover", "FilterRemover", "ChannelRemover")
}


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
    pruners, split = _instances(root, "pruners", PRUNERS, problems)
    regularizers, parts = _instances(root, "regularizers", REGULARIZERS, problems)
    extensions, _ = _instances(root, "extensions", EXTENSIONS, problems)
    schedulers = _lr_schedulers(root, problems)
    instances = {
        "pruner": pruners,
        "regularizer": regularizers,
        "lr_scheduler": schedulers,
        "extension": extensions,
    }
    policies = _Policies(instances, {"pruner": split, "regularizer": parts}, problems, notes).rewrite(root)
    if policies is not None and any("thin" in policy.value for policy in policies.value):
        _join(pruners)
    for key, section in (("pruners", pruners), ("regularizers", regularizers), ("lr_schedulers", schedulers)):
        if key in root.value and section:
            new.value[key] = Node(section, key, root.value[key].mark)
    if policies is not None:
        new.value["policies"] = policies
    return new


def _join(pruners: dict[str, Node]) -> None:
    """In a file that thins, filters that the network adds up go together.

    Distiller ranks each layer by itself and removes from each what is zero there, so that channels are added up that
    were not before. Here as many go, the same ones from each, and the network computes what it did.
    """
    for node in pruners.values():
        axes = node.plain()
        if axes.get("granularity") == "filter" and "sparsity" in axes and "draw" not in axes:
            node.value.setdefault("together", node.derived("joined"))


def _instances(
    root: Node, section: str, rows: dict[str, Row], problems: list[Problem]
) -> tuple[dict[str, Node], dict[str, list[str]]]:
    """Those of a section, and which of them one of Distiller's became."""
    found: dict[str, Node] = {}
    split: dict[str, list[str]] = {}
    defined = _section(root, section, problems)
    taken = {name for name, _ in defined}
    for name, node in defined:
        row = _row(node, rows, problems)
        if row is None:
            continue
        before = len(problems)
        _check_keys(node, row, problems)
        fields = row.rewrite(node, problems) if len(problems) == before else {}
        if len(problems) > before or not fields:
            continue
        for suffix, part in fields.items() if row.is_split else [("", fields)]:
            own = name if len(fields) == 1 or not row.is_split else _free(f"{name}_{suffix}", taken)
            taken.add(own)
            found[own] = node.derived({})
            found[own].value.update({key: node.derived(value) for key, value in part.items()})
            split.setdefault(name, []).append(own)
    return found, split


def _free(name: str, taken: set[str]) -> str:
    return next(new for number in range(1, 1000) if (new := name if number == 1 else f"{name}_{number}") not in taken)


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


def _row(node: Node, rows: dict[str, Row], problems: list[Problem]) -> Row | None:
    cls = node.value.get("class")
    if cls is None or not isinstance(cls.value, str):
        axes = [key for key in _AXES if key in node.value]
        mixed = f"; {axes[0]!r} belongs to version 2: write 'version: 2'" if axes else ""
        problems.append(node.problem(f"needs 'class'{mixed}"))
    elif cls.value not in rows:
        problems.append(cls.problem(f"unknown class {cls.value!r}; {did_you_mean(cls.value, rows)}"))
    else:
        return rows[cls.value]
    return None


def _check_keys(node: Node, row: Row, problems: list[Problem]) -> None:
    known = (*row.needs, *row.takes, "class")
    for key in node.value:
        if key not in known:
            what = "belongs to version 2" if key in _AXES else "unknown key"
            problems.append(node.problem(f"{what}; {did_you_mean(key, known)}", key=key))
        elif key in _INERT and node.value[key].value not in (None, _INERT[key][0]):
            problems.append(node.problem(_INERT[key][1], key=key))
    for key in row.needs:
        if key not in node.value:
            problems.append(node.problem(f"needs {key!r}"))
    weights = node.value.get("weights")
    # A bare name is legal, and several of Distiller's files have one (by substring there; here it is a name).
    names = () if weights is None else weights.value if weights.is_list else [weights]
    if weights is not None and not (names and all(isinstance(name.value, str) for name in names)):
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


def _once(problems: list[Problem], problem: Problem) -> None:
    """Say it once, though one of Distiller's instances became several."""
    if problem not in problems:
        problems.append(problem)


def _is_number(node: Node) -> bool:
    return isinstance(node.value, (int, float)) and not isinstance(node.value, bool)


def _check_number(node: Node, problems: list[Problem]) -> None:
    if not _is_number(node):
        problems.append(node.problem(f"must be a number (got {show(node.plain())})"))


_FLAGS = (
    "keep_mask",
    "mask_on_forward_only",
    "mask_gradients",
    "use_double_copies",
    "discard_masks_at_minibatch_end",
    "fold_batchnorm",
)
_ARGS_LATER = ("skip_first_minibatch",)


class _Policies:
    """The policies of a file: their windows become ours, and a pruner's ``args`` become its axes."""

    def __init__(
        self,
        instances: dict[str, dict[str, Node]],
        split: dict[str, dict[str, list[str]]],
        problems: list[Problem],
        notes: list[Problem],
    ) -> None:
        self.instances = instances
        self.split = split
        self.problems = problems
        self.notes = notes
        self._args: dict[str, dict[str, Any]] = {}
        self._bare: dict[str, dict[str, Node]] = {}

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
        if name.value not in self.split.get(kind, self.instances[kind]):
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
        names = self.split.get(kind, {}).get(name.value, [name.value])
        return [new for one in names for new in self._placed(item, kind, name.derived(one), when, arguments)]

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
            self._other_arguments(kind, name, arguments, fields)
        epochs, window = when
        if kind == "lr_scheduler":
            return self._lr(item, name, epochs, window)
        if kind == "extension":
            thin = self.instances[kind][name.value]
            return [item.derived({"thin": thin, "at": list(range(*window)) if epochs is None else epochs})]
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

    def _other_arguments(self, kind: str, name: Node, arguments: Node, fields: dict[str, Any]) -> None:
        for key in arguments.value:
            if kind != "regularizer" or key != "keep_mask":
                known = "known: keep_mask" if kind == "regularizer" else "a policy of this kind has none"
                _once(self.problems, arguments.problem(f"unknown argument; {known}", key=key))
            elif not isinstance((given := arguments.value[key]).value, bool):
                _once(self.problems, given.problem(f"must be true or false (got {show(given.plain())})"))
            elif self.instances[kind][name.value].value.get("threshold") is not None:
                fields["keep_mask"] = given
            elif arguments.value[key].value:
                _once(self.notes, arguments.problem("has no effect without threshold_criteria", key=key))

    def _pruner(self, name: Node, arguments: Node | None, fields: dict[str, Any]) -> str:
        """Put a policy's ``args`` on its pruner.

        A second policy gets a pruner of its own if its arguments are others, or if the pruner has a ramp: in Distiller
        each policy's window has the whole ramp.
        """
        pruners = self.instances["pruner"]
        target = str(name.value)
        axes = self._axes(arguments, fields, pruners[target]) if arguments is not None else {}
        is_again = target in self._args
        known = self._args.setdefault(target, axes)
        bare = self._bare.setdefault(target, dict(pruners[target].value))
        sparsity = pruners[target].value.get("sparsity")
        is_ramp = sparsity is not None and sparsity.is_mapping and "from" in sparsity.value
        if known != axes or (is_again and is_ramp):
            target = next(new for number in range(2, 1000) if (new := f"{name.value}_{number}") not in pruners)
            source = pruners[name.value]
            pruners[target] = Node(dict(bare), source.path, source.mark, source.keys)
            self._args[target] = axes
        node = pruners[target]
        for key, value in axes.items():
            node.value[key] = value if isinstance(value, Node) else node.derived(value)
        return target

    def _axes(self, arguments: Node, fields: dict[str, Any], pruner: Node) -> dict[str, Any]:
        given = {key: child.value for key, child in arguments.value.items()}
        known = (*_FLAGS, *_ARGS_LATER, "mini_batch_pruning_frequency", "levels")
        for key, child in arguments.value.items():
            if key not in known:
                self.problems.append(arguments.problem(f"unknown argument; {did_you_mean(key, known)}", key=key))
            elif key in _ARGS_LATER and child.value:
                what = "is not available: masks take effect with the first mini-batch of the epoch; remove it"
                self.problems.append(arguments.problem(what, key=key))
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
        if given.get("discard_masks_at_minibatch_end") is True:
            update = pruner.value.get("update")
            if update is not None and update.is_mapping and "splice" in update.value:
                what = "SplicingPruner goes on from the last mask, which this forgets; remove it"
                self.problems.append(arguments.problem(what, key="discard_masks_at_minibatch_end"))
            else:
                axes["lasts"] = "step"
        draw = pruner.value.get("draw")
        if draw is not None and draw.value == "bernoulli" and axes.get("pruned") == "dense":
            axes["rescale"] = True
        if given.get("fold_batchnorm") is True:
            axes["criterion"] = self._folded(arguments, pruner)
        if not _is_absent(arguments, "levels"):
            axes |= self._levels(arguments, pruner)
        return axes

    def _levels(self, arguments: Node, pruner: Node) -> dict[str, Any]:
        """Levels that take the place of the pruner's own; of the other classes Distiller reads none."""
        sparsity = pruner.value.get("sparsity")
        if sparsity is None or not sparsity.is_mapping or sparsity.value["ramp"].value != "constant":
            self.notes.append(arguments.problem("has no effect on this class, which has no 'levels'", key="levels"))
            return {}
        levels = _names_to_levels(arguments, self.problems)
        return {"allocation": levels} if levels else {}

    def _folded(self, arguments: Node, pruner: Node) -> Any:
        """The pruner's criterion, of weights into which the batch normalisation that follows is folded."""
        criterion = pruner.value["criterion"].plain() if "criterion" in pruner.value else "magnitude"
        if criterion == "magnitude":
            return {"magnitude": {"folded": True}}
        if isinstance(criterion, dict) and "magnitude" in criterion:
            return {"magnitude": {**criterion["magnitude"], "folded": True}}
        self.notes.append(
            arguments.problem("has no effect on this class, which ranks no weights", key="fold_batchnorm")
        )
        return criterion
