"""A number of a schedule turned until the sparsity that comes out is the one asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from schedengine import load_schedule
from schedengine.errors import EffectWarning, MissingExtraError, SchedEngineError, ScheduleError
from schedengine.training.settings import Settings
from schedengine.training.train import train
from schedengine.training.tune import tune
from schedengine.training.tuned import Trial, TuneResult

TEXT = """\
# mine
version: 2
phases: [{name: run1, epochs: 1}]
pruners:
  mag:
    parameters: conv4.weight
    threshold: {std: 1.0}  # of its values
policies:
  - {pruner: mag, at: start}
"""


def search(folder: Path, target: float, knob: str = "pruners.mag.std=0.1:3", **options: Any) -> TuneResult:
    """Runs of one epoch from fresh weights, of which the first cut takes those within a limit."""
    file = folder / "asked.yaml"
    if not file.exists():
        file.write_text(options.pop("text", TEXT))
    settings = Settings(str(file), "digits_cnn", data="fake", image_size=8, batch_size=128, lr=1e-6)
    return tune(settings, knob, target, out=folder / "found.yaml", runs=folder / "runs", **options)


def test_the_quantile_of_a_uniform_distribution_is_found(tmp_path: Path) -> None:
    """Fresh weights are uniform: those within ``t`` standard deviations are a share of ``t / sqrt(3)``."""
    found = search(tmp_path, 0.7)
    assert found.is_found and abs(found.best.sparsity - 0.7) <= 0.01  # type: ignore[operator]  # of a whole run
    assert found.best.value == pytest.approx(0.7 * 3**0.5, rel=0.02)


def test_the_file_is_the_users_with_the_value_and_how_it_was_found(tmp_path: Path) -> None:
    found = search(tmp_path, 0.7)
    text = (tmp_path / "found.yaml").read_text()
    head, _, body = text.partition("# mine")
    assert "# mine" + body == TEXT.replace("1.0}", f"{found.best.value}}}")
    assert head.startswith(f"# pruners.mag.threshold.std: {found.best.value:g}, found by {len(found.trials)} trials")
    assert f"trial {found.best.trial}: {found.best.sparsity:.4f}" in head and "seed 0" in head
    assert "--data fake --lr 1e-06 --batch-size 128 --image-size 8 --target 0.7" in head.replace("\n# ", " ")
    assert load_schedule(tmp_path / "found.yaml") == load_schedule(text)


def test_sparsity_is_that_of_the_runs_report(tmp_path: Path) -> None:
    for row in search(tmp_path, 0.5).table.itertuples():
        report = json.loads((tmp_path / "runs" / f"trial-{row.trial}" / "result.json").read_text())
        assert row.sparsity == report["pruned"][0]["achieved"] and row.top1 == report["after"]["validation"]["top1"]


def test_of_a_knob_outside_pruners_all_weights_are_counted(tmp_path: Path) -> None:
    text = TEXT.replace("std: 1.0", "std: 0.5") + "lr_schedulers: {lr: {class: constant, from: 1e-6}}\n"
    text = text.replace("policies:\n", "policies:\n  - {lr_scheduler: lr, during: run}\n")
    found = search(tmp_path, 0.5, "lr_schedulers.lr.from=1e-7:1e-6", text=text, trials=1)
    report = json.loads((tmp_path / "runs" / "trial-0" / "result.json").read_text())
    assert found.best.sparsity == report["sparsity_all"] and "all Conv and Linear weights" in found.counted


def test_a_run_that_prunes_nothing_is_a_trial_at_0(tmp_path: Path) -> None:
    found = search(tmp_path, 0.3, "pruners.mag.std=0:3")
    assert (found.trials[0].sparsity, found.trials[0].failed) == (0.0, "nothing was pruned")
    assert found.is_found and found.best.trial > 1


def test_a_miss_is_said_and_the_nearest_written(tmp_path: Path) -> None:
    with pytest.warns(EffectWarning, match="both ends of .* miss 0.95 to the same side"):
        found = search(tmp_path, 0.95, "pruners.mag.std=0.1:0.5", trials=3)
    assert not found.is_found and found.best.value == 0.5 and len(found.trials) == 3
    assert "which no trial was near enough to" in (tmp_path / "found.yaml").read_text().replace("\n# ", " ")


def test_where_no_run_ends_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SchedEngineError, match="no trial of .* came to its end:\n0: nothing was pruned"):
        search(tmp_path, 0.5, "pruners.mag.std=0:1", trials=1)
    assert not (tmp_path / "found.yaml").exists()


class Killed(BaseException):
    """What a test kills a search with."""


def test_a_killed_search_goes_on_and_repeats_no_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    whole = search(other, 0.7)
    runs: list[Path] = []

    def killing(folder: Any, *rest: Any) -> Any:
        runs.append(folder.path)
        if len(runs) == 3:
            raise Killed
        return train(folder, *rest)

    monkeypatch.setattr("schedengine.training.tune.train", killing)
    with pytest.raises(Killed):
        search(tmp_path, 0.7)
    found = search(tmp_path, 0.7, resume=True)
    assert [path.name for path in runs[:4]] == ["trial-0", "trial-1", "trial-2", "trial-2"]
    assert [trial.value for trial in found.trials] == [trial.value for trial in whole.trials]
    assert [trial.sparsity for trial in found.trials] == [trial.sparsity for trial in whole.trials]


def test_a_finished_search_goes_on_with_another_range(tmp_path: Path) -> None:
    with pytest.warns(EffectWarning, match="both ends"):
        search(tmp_path, 0.7, "pruners.mag.std=0.1:0.5", trials=2)
    found = search(tmp_path, 0.7, resume=True)
    assert [trial.value for trial in found.trials][:3] == [0.1, 0.5, 3.0] and found.is_found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1.0}, "--target 1: a fraction removed"),
        ({"trials": 0}, "--trials 0"),
        ({"knob": "pruners.mag.std=-1:1"}, r"asked.yaml:7:\d+: pruners.mag.threshold.std: must be .* as a knob"),
        ({"knob": "pruners.mag.of=1:2"}, "there is no number"),
        ({"resume": True}, "holds no search to resume"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SchedEngineError, match=message):
        search(tmp_path, **{"target": 0.5, **options})
    assert [path.name for path in tmp_path.iterdir()] == ["asked.yaml"]


@pytest.mark.filterwarnings("ignore:.*no policy uses it")
def test_a_knob_of_what_no_policy_uses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match="no policy uses 'other', so that turning this changes nothing"):
        search(
            tmp_path,
            0.5,
            "pruners.other.sparsity=0.1:0.9",
            text=TEXT.replace("  mag:", "  other: {sparsity: 0.5}\n  mag:"),
        )


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    search(tmp_path, 0.7)
    with pytest.raises(SchedEngineError, match="holds a search already"):
        search(tmp_path, 0.7)
    with pytest.raises(SchedEngineError, match=r"--target: was 0.7, is 0.8"):
        search(tmp_path, 0.8, resume=True)


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'schedengine\[tune\]'"):
        search(tmp_path, 0.5)


def test_each_trial_is_told_as_it_ends(tmp_path: Path) -> None:
    told: list[Trial] = []
    assert search(tmp_path, 0.7, tell=told.append).trials == tuple(told)
