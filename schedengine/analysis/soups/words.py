"""What the tables of a soup say below their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from schedengine.analysis.soups.calibration import Calibration
from schedengine.analysis.soups.opened import Opened
from schedengine.analysis.soups.request import Request

_METRICS = {"top1": "top-1", "top5": "top-5", "loss": "loss"}


def notes(request: Request, opened: Opened, calibration: Calibration | None, chosen: Sequence[str]) -> list[str]:
    """How the numbers came about, a line each."""
    metric, count = _METRICS[request.metric], len(opened.networks)
    said = [
        "top-1 and loss are of the split named; sparsity: fraction of all Conv and Linear weights that is 0, counted",
        f"prediction ensemble: the mean of the softmax probabilities of all members, at the cost of {count} networks",
        f"batch-norm statistics: {calibrated(opened, calibration)}",
    ]
    if request.method == "greedy":
        worse = "raise" if request.metric == "loss" else "lower"
        said.append(
            f"greedy: best first, all that do not {worse} the average's validation {metric}: {', '.join(chosen)}"
        )
    if request.reprune:
        how = "over all layers together" if request.allocation == "global" else "each layer to its members' mean"
        said.append(f"cut back: by magnitude, {how}; before that the average of different masks is denser")
    said += [f"validation: {one}" for one in _validated(opened, metric)]
    if request.corrupted:
        said.append("corrupted: the test images, mean over all corruptions that suit them and severities 1 to 5")
    return said


def calibrated(opened: Opened, calibration: Calibration | None) -> str:
    """Where batch-norm statistics come from."""
    if calibration is not None:
        images = opened.settled.batch_size
        return f"of every network, members too, anew from {calibration.batches} batches of {images} training images"
    return "as saved; an average has the mean of its members'" if opened.has_norms else "the networks have none"


def _validated(opened: Opened, metric: str) -> list[str]:
    if opened.unvalidated:
        return [f"not measured: {opened.unvalidated}"]
    settled = opened.settled
    said = [f"the best member is chosen by its {metric}"]
    if not settled.is_of_runs:
        others = sum(one.get("seed", settled.seed) != settled.seed for one in opened.members.settings)
        which = f"{others} of the {len(opened.networks)} members, whose runs have other seeds, trained on most of them"
        unknown = "not known whether all members held them out"
        said.append(f"seed {settled.seed}, share {settled.validation:g}; {which if others else unknown}")
    return said
