"""The policies of a version 1 file: what acts, and when in the keys of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedengine.errors import Problem, did_you_mean
from schedengine.schedule.distiller.args import PrunerArgs, own_keys
from schedengine.schedule.distiller.instances import Instances
from schedengine.schedule.distiller.windows import WINDOW, When, when
from schedengine.schedule.reader import show
from schedengine.schedule.source import Node

KIND_SECTIONS = {
    "pruner": "pruners",
    "regularizer": "regularizers",
    "lr_scheduler": "lr_schedulers",
    "extension": "extensions",
}
KINDS = (*KIND_SECTIONS, "quantizer")
_LR_STARTS_ELSEWHERE = ("CyclicLR", "OneCycleLR", "LinearLR", "ConstantLR")


class Policies:
    """The policies of a file.

    Args:
        root: of the file.
        instances: by kind; pruners get the axes that policies ask for.
        problems: what is wrong is appended.
        notes: what is doubtful is appended.
    """

    def __init__(
        self, root: Node, instances: Mapping[str, Instances], problems: list[Problem], notes: list[Problem]
    ) -> None:
        self._root = root
        self._instances = instances
        self._problems = problems
        self._notes = notes
        self._pruner_args = PrunerArgs(instances["pruner"].nodes, problems, notes)

    def rewrite(self) -> Node | None:
        """Ours; None if the file has none."""
        node = self._root.value.get("policies")
        if node is None:
            return None
        if not node.is_list:
            self._problems.append(node.problem(f"must be a list (got {show(node.plain())})"))
            return None
        return Node([new for item in node.value for new in self._policy(item)], "policies", node.mark)

    def _policy(self, item: Node) -> list[Node]:
        kind = self._kind(item)
        if kind is None:
            return []
        block = item.value[kind]
        self._check_keys(item, block, kind)
        names = self._names(block, kind)
        epochs = when(item, self._problems) if names else None
        if epochs is None:
            return []
        args = self._args(block)
        return [new for name in names for new in self._placed(item, kind, name, args, epochs)]

    def _kind(self, item: Node) -> str | None:
        """What acts; None for what cannot, or not yet."""
        if not item.is_mapping:
            self._problems.append(item.problem(f"must be a mapping (got {show(item.plain())})"))
            return None
        if "at" in item.value or "during" in item.value:
            key = "at" if "at" in item.value else "during"
            self._problems.append(item.problem("belongs to version 2; write 'version: 2', or epochs here", key=key))
            return None
        kinds = [kind for kind in KINDS if kind in item.value]
        if len(kinds) != 1:
            self._problems.append(item.problem(f"must have one of {', '.join(KINDS)} (got {', '.join(item.value)})"))
            return None
        return kinds[0] if kinds[0] in KIND_SECTIONS else None  # said once, at its section

    def _check_keys(self, item: Node, block: Node, kind: str) -> None:
        for key in item.value:
            known = (kind, "epochs", *WINDOW)
            if key not in known:
                self._problems.append(item.problem(f"unknown key; {did_you_mean(key, known)}", key=key))
        for key in block.value if block.is_mapping else ():
            if key not in ("instance_name", "args"):
                what = did_you_mean(key, ("instance_name", "args"))
                if key in (*WINDOW, "epochs"):
                    what = f"it stands beside {kind!r}, not in it"
                self._problems.append(block.problem(f"unknown key; {what}", key=key))

    def _names(self, block: Node, kind: str) -> list[str]:
        """Of the instances that one of Distiller's became; none, and a problem, if there is no such one."""
        name = block.value.get("instance_name") if block.is_mapping else None
        if name is None or not isinstance(name.value, str):
            self._problems.append(block.problem("needs 'instance_name'"))
            return []
        section = self._root.value.get(KIND_SECTIONS[kind])
        defined = list(section.value) if section is not None and section.is_mapping else []
        if name.value not in defined:  # one that is defined, but has not become any, has its own problem already
            message = f"there is no {kind} {name.value!r} in {KIND_SECTIONS[kind]!r}"
            self._problems.append(name.problem(f"{message}; {did_you_mean(name.value, defined)}"))
        return self._instances[kind].became.get(name.value, [])

    def _args(self, block: Node) -> Node | None:
        args: Node | None = block.value.get("args")
        if args is None or args.is_mapping:
            return args
        if args.value is not None:
            self._problems.append(args.problem(f"must be a mapping (got {show(args.plain())})"))
        return None

    def _placed(self, item: Node, kind: str, name: str, args: Node | None, epochs: When) -> list[Node]:
        """One of ours; or several, where a window of Distiller's has no equal."""
        if kind == "pruner":
            own = self._pruner_args.place(name, args)
            return [item.derived({**own, **(_window(epochs) if isinstance(epochs, range) else {"at": epochs})})]
        instance = self._instances[kind].nodes[name]
        own = own_keys(kind, instance, args, self._problems, self._notes) if args is not None else {}
        if kind == "extension":
            return [item.derived({"thin": instance, "at": list(epochs)})]
        times = _lr_windows(instance, epochs) if kind == "lr_scheduler" else _windows(epochs)
        return [item.derived({kind: name, **own, **time}) for time in times]


def _windows(epochs: When) -> list[dict[str, Any]]:
    if isinstance(epochs, range):
        return [_window(epochs)]
    return [{"during": "run", "from": epoch, "until": epoch + 1} for epoch in epochs]


def _lr_windows(instance: Node, epochs: When) -> list[dict[str, Any]]:
    """Distiller sets the rate of epoch k+1 at the end of an active epoch k, from the run's own clock."""
    cls = instance.value["class"].value
    lag = 0 if cls == "ReduceLROnPlateau" else 1
    windows = [epochs] if isinstance(epochs, range) else [range(epoch, epoch + 1) for epoch in epochs]
    if cls in _LR_STARTS_ELSEWHERE:  # their constructor sets the rate of epoch 0
        windows.insert(0, range(-lag, 1 - lag))
    return [{**({"clock": "run"} if lag else {}), **_window(one, lag)} for one in windows]


def _window(epochs: range, lag: int = 0) -> dict[str, Any]:
    return {"during": "run", "from": epochs.start + lag, "until": epochs.stop + lag, "every": epochs.step}
