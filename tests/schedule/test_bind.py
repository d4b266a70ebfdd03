"""A schedule on a model: what does not fit is said with the line of the schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from loops import small_model
from torch import nn

from schedengine.errors import ScheduleError
from schedengine.schedule.load import file_config, load_schedule
from schedengine.scheduler import PruningScheduler


def net() -> nn.Module:
    return nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3), "norm": nn.BatchNorm2d(8), "fc": nn.Linear(8, 4)})


def bind(pruner: str, when: str = "at: start", **options: Any) -> PruningScheduler:
    text = f"version: 2\npruners: {{p: {{{pruner}}}}}\npolicies: [{{pruner: p, {when}}}]\n"
    return load_schedule(text).bind(net(), **options)


def refusal(pruner: str, when: str = "at: start", **options: Any) -> str:
    with pytest.raises(ScheduleError) as caught:
        bind(pruner, when, **options)
    return str(caught.value).replace("<text>:", "")


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("parameters: conv.wieght, sparsity: 0.5",
         "2:27: pruners.p.parameters: 'conv.wieght' is no parameter of the model; did you mean conv.weight"),
        ("parameters: [fc.weight, 'head.*'], sparsity: 0.5",
         "2:27: pruners.p.parameters: 'head.*' matches no parameter of the model"),
        ("parameters: {types: Linea}, sparsity: 0.5",
         "2:35: pruners.p.parameters.types: there is no module type 'Linea'"),
        ("parameters: {except: fc.wieght}, sparsity: 0.5",
         "2:36: pruners.p.parameters.except: 'fc.wieght' is no parameter"),
        ("allocation: {conv.wieght: 0.5}, sparsity: constant",
         "2:27: pruners.p.allocation: 'conv.wieght' is no parameter"),
        ("parameters: fc.weight, allocation: {fc.wieght: 0.5, '*': 0.1}, sparsity: constant",
         "pruners.p.allocation.fc.wieght: fits none of the selected parameters; did you mean fc.weight?"),
        ("threshold: {std: {fc.wieght: 1}}", "2:26: pruners.p.threshold: 'fc.wieght' is no parameter"),
        ("granularity: kernel, sparsity: 0.5",
         "2:28: pruners.p.granularity: fc.weight: granularity kernel: got shape (4, 8); needs a weight of 3 or more"),
        ("granularity: {block: [3]}, sparsity: 0.5", "needs leading dimensions that are multiples of [3]"),
        ("sparsity: {ramp: list, values: [0.1, 0.2]}", "2:25: pruners.p.sparsity: ramp list: 2 values for 1 cuts"),
        ("allocation: uniform_plus, sparsity: 0.99", "pruners.p.sparsity: allocation uniform_plus: cannot remove 0.99"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_said_with_its_line(pruner: str, message: str) -> None:
    assert message in refusal(pruner)


def test_every_problem_with_the_model_is_reported_at_once() -> None:
    schedule = load_schedule(
        "version: 2\n"
        "pruners:\n  a: {sparsity: 0.5, parameters: x}\n  b: {sparsity: 0.5, granularity: kernel}\n"
        "lr_schedulers: {l: {class: StepLR, step_size: 1}}\n"
        "policies:\n  - {pruner: a, at: start}\n  - {pruner: b, at: end}\n"
        "  - {lr_scheduler: l, during: run, until: 3}\n"
    )
    with pytest.raises(ScheduleError) as caught:
        schedule.bind(net())
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["pruners.a.parameters", "pruners.b.granularity", "policies[1]", "policies[2]"]
    assert "needs the optimizer; pass it to bind()" in str(caught.value)


def test_an_instance_that_no_policy_uses_is_not_bound() -> None:
    pruners = "{p: {sparsity: 0.5}, q: {sparsity: 0.5, parameters: nowhere}}"
    text = f"version: 2\npruners: {pruners}\npolicies: [{{pruner: p, at: 0}}]\n"
    with pytest.warns(UserWarning, match="no policy uses it"):
        assert list(load_schedule(text).bind(net()).pruners) == ["p"]


def test_the_length_of_the_run_comes_from_phases_or_the_caller() -> None:
    assert "the length of the run is needed" in refusal("sparsity: 0.5", "during: run")
    assert bind("sparsity: 0.5", "during: run", epochs=3).total_epochs == 3
    assert "3:12: policies[0]: the window is empty: it begins at epoch 9 and ends before epoch 3" in refusal(
        "sparsity: 0.5", "during: run, from: 9", epochs=3
    )


def test_distillers_entry_point_is_there(tmp_path: Path) -> None:
    model = net()
    path = tmp_path / "level.yaml"
    path.write_text(
        "version: 1\npruners: {p: {class: SparsityLevelParameterPruner, levels: {module.fc.weight: 0.5}}}\n"
        "policies: [{pruner: {instance_name: p}, epochs: [0]}]\n"
    )
    scheduler = file_config(model, torch.optim.SGD(model.parameters(), 0.1), path)
    assert scheduler.pruners["p"].names == ["fc.weight"]


def test_a_name_that_matches_nothing_hides_no_target_that_cannot_be_reached() -> None:
    text = """version: 2
pruners:
  lost: {parameters: nowhere.weight, sparsity: 0.5}
  far: {allocation: uniform_plus, sparsity: 0.99}
policies:
  - {pruner: lost, at: 0}
  - {pruner: far, at: 1}
"""
    with pytest.raises(ScheduleError) as caught:
        load_schedule(text).bind(small_model(), epochs=2)
    assert [problem.path for problem in caught.value.problems] == ["pruners.lost.parameters", "pruners.far.sparsity"]
