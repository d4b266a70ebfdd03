"""What is on the pictures of runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schedengine.errors import SchedEngineError
from schedengine.reports.column_figure import draw_columns
from schedengine.reports.layer_panels import layer_table
from schedengine.reports.run_figures import draw_runs


def metrics(group: str = "agp", run: str = "a", **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"run": run, "group": group, "finished": True, "epoch": range(3), **columns})


def layers(count: int, group: str = "agp", run: str = "a", sparsity: float = 0.5) -> pd.DataFrame:
    names = [f"layer{number // 4}.{number}.weight" for number in range(count)]
    rows = [(run, group, True, epoch, name, sparsity) for epoch in range(3) for name in names]
    return pd.DataFrame(rows, columns=["run", "group", "finished", "epoch", "parameter", "sparsity"])


def labels(picture: Figure) -> list[tuple[str, str]]:
    return [(axes.get_xlabel(), axes.get_ylabel().replace("\n", " ")) for axes in picture.axes]


def words(picture: Figure) -> str:
    return " ".join(str(picture.get_supxlabel()).split())


def test_the_overview_has_a_panel_for_what_is_there() -> None:
    picture = draw_runs(metrics(train_loss=1.0, top1=[70.0, 80.0, 90.0], lr=None))
    epoch = "epoch (counted from 0)"
    assert labels(picture) == [(epoch, "validation top-1 (%)"), (epoch, "training loss")]


def test_a_table_that_is_no_run_does_not_claim_a_validation_split() -> None:
    assert labels(draw_columns(metrics(top1=1.0), "epoch", "top1"))[0][1] == "top-1 accuracy (%)"


def test_band_and_number_of_runs_are_explained() -> None:
    both = pd.concat([metrics(lr=0.1), metrics(run="b", lr=0.3)])
    picture = draw_columns(both, "epoch", "lr")
    assert "band: from the smallest to the largest" in words(picture)
    assert [text.get_text() for text in picture.axes[0].texts] == ["agp (n = 2)"]


def test_a_run_that_goes_on_is_named() -> None:
    assert words(draw_columns(metrics(lr=0.1).assign(finished=False), "epoch", "lr")) == "Not finished: a."


def test_up_to_twelve_layers_are_curves_with_their_names() -> None:
    (axes,) = draw_runs(layers(12)).axes
    assert len(axes.get_lines()) == 12
    assert [text.get_text() for text in axes.texts] == [f"layer{n // 4}.{n}" for n in range(12)]


def test_more_layers_are_colours_and_the_last_values_are_written() -> None:
    axes, bar = draw_runs(layers(53)).axes
    assert len(axes.get_yticklabels()) == 53 and [text.get_text() for text in axes.texts] == ["0.50"] * 53
    assert bar.get_ylabel() == "fraction of the parameter's weights that is 0"


def test_layers_are_the_mean_over_seeds_where_all_have_the_epoch() -> None:
    shorter = layers(2, run="b", sparsity=0.7).query("epoch < 2")
    table = layer_table(pd.concat([layers(2), shorter]))
    assert table.columns.tolist() == [0, 1] and table.to_numpy() == pytest.approx(0.6)


def test_one_epoch_of_many_layers_can_be_drawn() -> None:
    assert len(draw_runs(layers(20).query("epoch == 0")).axes) == 2


def test_layers_of_many_groups_are_left_out_and_that_is_said() -> None:
    groups = [f"g{number}" for number in range(7)]
    picture = draw_runs(
        pd.concat([metrics(one, lr=1) for one in groups]), pd.concat([layers(3, one) for one in groups])
    )
    assert len(picture.axes) == 1 and "Layers are left out" in words(picture)


def test_fifty_curves_get_panels_that_can_be_read() -> None:
    picture = draw_columns(layers(50), "epoch", "sparsity")
    drawn = [len(axes.texts) for axes in picture.axes]
    assert sum(drawn) == 50 and max(drawn) <= 12


def test_a_sensitivity_table_needs_no_columns_to_be_named() -> None:
    table = layers(3).drop(columns="epoch").assign(top1=90.0)
    assert labels(draw_runs(table)) == [("sparsity (fraction removed)", "top-1 accuracy (%)")]


def test_methods_of_a_table_are_never_joined_to_one_curve() -> None:
    table = pd.DataFrame({"run": "u", "group": "u", "method": ["a", "b"], "sparsity": 0.5, "top1": [1, 2]})
    assert [text.get_text() for text in draw_runs(table).axes[0].texts] == ["a", "b"]


def test_runs_and_tables_of_layers_are_not_mixed() -> None:
    with pytest.raises(SchedEngineError, match="give one kind, or --x and --y"):
        draw_runs(pd.concat([metrics(lr=1), layers(2, run="b")]))


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(SchedEngineError, match=r"say with --x and --y what to draw; columns: .*, energy"):
        draw_runs(metrics(energy=1.0))
    with pytest.raises(SchedEngineError, match="no epoch is finished yet"):
        draw_runs(pd.DataFrame(), pd.DataFrame())


def replicas(group: str = "agp", run: str = "a", **columns: Any) -> pd.DataFrame:
    """Two of them, epochs 3 and 4."""
    places = {"epoch": [3, 4, 3, 4], "replica": [0, 0, 1, 1], "soup": pd.array([4] * 4, dtype="Int64")}
    return pd.DataFrame({"run": run, "group": group, "finished": True, **places, **columns})


def averaged() -> pd.DataFrame:
    table = metrics(top1=[70.0, 80.0, 95.0], lr=[0.1, 0.1, float("nan")], replica=[None, None, "soup"])
    return table.assign(epoch=[0, 1, 4])


def legend(picture: Figure) -> list[str]:
    boxes = [*picture.legends, *(box for part in picture.subfigs for box in part.legends)]
    return [text.get_text() for box in boxes for text in box.get_texts()]


def faint(axes: Axes) -> list[list[float]]:
    return [list(line.get_xdata()) for line in axes.get_lines() if line.get_alpha() is not None]


def test_replicas_are_faint_lines_beside_the_curve_of_their_average() -> None:
    picture = draw_runs(averaged(), replicas=replicas(top1=85.0, lr=[0.2, 0.1] * 2))
    assert legend(picture) == ["agp", "average of replicas (soup)", "replica"]
    assert "Rings: averages of replicas" in words(picture) and "Faint lines and dots: replicas" in words(picture)
    assert [faint(axes) for axes in picture.axes] == [[[3, 4], [3, 4]]] * 2


def test_a_replica_of_one_epoch_is_a_dot() -> None:
    picture = draw_columns(averaged(), "epoch", "top1", replicas=replicas(top1=85.0).query("epoch == 3"))
    assert [line.get_marker() for line in picture.axes[0].get_lines() if line.get_alpha() is not None] == ["o", "o"]


def test_what_only_replicas_have_is_drawn_with_the_name_of_their_run() -> None:
    trained = replicas(train_loss=[2.0, 1.0, 2.0, 1.5])
    picture = draw_columns(averaged().assign(train_loss=float("nan")), "epoch", "train_loss", replicas=trained)
    assert [text.get_text() for text in picture.axes[0].texts] == ["agp"] and legend(picture) == ["replica"]


def test_a_run_in_its_first_phase_shows_its_replicas() -> None:
    picture = draw_runs(pd.DataFrame(), replicas=replicas(top1=85.0, train_loss=1.0).assign(finished=False))
    assert legend(picture) == ["agp", "replica"] and words(picture).endswith("Not finished: a.")


def test_runs_without_replicas_are_drawn_as_ever() -> None:
    picture = draw_runs(metrics(top1=[70.0, 80.0, 90.0]), replicas=pd.DataFrame())
    assert legend(picture) == ["agp"] and words(picture) == "" and len(picture.axes[0].get_lines()) == 1
