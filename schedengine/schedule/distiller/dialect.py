"""A version 1 file as a whole: its sections, and what no single instance or policy tells."""

from __future__ import annotations

from schedengine.errors import Problem, did_you_mean
from schedengine.schedule.distiller.extensions import EXTENSIONS
from schedengine.schedule.distiller.instances import lr_schedulers, rewritten
from schedengine.schedule.distiller.policies import KIND_SECTIONS, Policies
from schedengine.schedule.distiller.pruners import PRUNERS
from schedengine.schedule.distiller.regularizers import REGULARIZERS
from schedengine.schedule.source import Node

SECTIONS = ("version", "pruners", "regularizers", "lr_schedulers", "policies", "extensions", "quantizers")
_LATER = {
    "quantizers": "quantization is not available in this version of schedengine; remove the section and its policies",
}


def rewrite(root: Node, problems: list[Problem], notes: list[Problem]) -> Node:
    """A version 1 tree as the version 2 tree that means the same.

    Args:
        root: without its version.
        problems: what is wrong is appended.
        notes: what is doubtful is appended.
    """
    _check_sections(root, problems)
    new = root.derived({"effects": "warn"})
    new.mark = root.mark
    instances = {
        "pruner": rewritten(root, "pruners", PRUNERS, problems),
        "regularizer": rewritten(root, "regularizers", REGULARIZERS, problems),
        "extension": rewritten(root, "extensions", EXTENSIONS, problems),
        "lr_scheduler": lr_schedulers(root, problems),
    }
    policies = Policies(root, instances, problems, notes).rewrite()
    if policies is not None and any("thin" in policy.value for policy in policies.value):
        _join(instances["pruner"].nodes)
    for kind, section in KIND_SECTIONS.items():
        nodes = instances[kind].nodes
        if nodes and kind != "extension":  # a policy holds what an extension says
            new.value[section] = Node(nodes, section, root.value[section].mark)
    if policies is not None:
        new.value["policies"] = policies
    return new


def _check_sections(root: Node, problems: list[Problem]) -> None:
    for key in root.value:
        if key in _LATER:
            problems.append(root.problem(_LATER[key], key=key))
        elif key not in SECTIONS:
            is_later = key in ("phases", "effects")
            what = f"unknown section; {did_you_mean(key, SECTIONS)}"
            problems.append(root.problem("belongs to version 2; write 'version: 2'" if is_later else what, key=key))


def _join(pruners: dict[str, Node]) -> None:
    """In a file that thins, filters that the network adds up go together.

    Distiller ranks each layer by itself and removes from each what is zero there, so that channels are added up that
    were not before. Here as many go, the same ones from each, and the network computes what it did.
    """
    for node in pruners.values():
        axes = node.plain()
        if axes.get("granularity") == "filter" and "sparsity" in axes and "draw" not in axes:
            node.value.setdefault("together", node.derived("joined"))
