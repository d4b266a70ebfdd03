"""What the pictures of a sweep show, and what they say about it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sensitivity_frames import HOSTILE, sweep

from schedengine.reports.canvas import to_bytes
from schedengine.reports.sensitivity_figure import draw_sensitivity, draw_sensitivity_curves


def said(picture: Figure) -> str:
    below = picture.get_supxlabel()
    return f"{picture.get_suptitle()} {below}".replace("\n", " ")


def plain() -> pd.DataFrame:
    """What Distiller writes."""
    frame = sweep()
    return frame[(frame["parameter"] != "*") & frame["top1"].notna()][["parameter", "sparsity", "top1", "loss"]]


def test_colours_are_points_lost_and_clipped_ones_are_said() -> None:
    picture = draw_sensitivity(sweep())
    mesh, bar = picture.axes[0].collections[0], picture.axes[1]
    values = np.ma.filled(mesh.get_array().astype(float), np.nan)
    assert values[:2].tolist() == [[1, 30], [0.25, 4]] and np.isnan(values[2, 1])
    assert mesh.get_clim() == (0, 20) and "20 or more is one colour" in bar.get_ylabel()


def test_where_nothing_loses_as_much_nothing_is_clipped() -> None:
    bar = draw_sensitivity(plain(), clip=50).axes[1]
    assert bar.get_ylabel() == "top-1 lost (points)"


def test_rows_and_columns_are_named() -> None:
    axes = draw_sensitivity(sweep()).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv1.weight", HOSTILE, "fc.weight"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.5", "0.9"]


def test_the_dense_accuracy_and_the_images_are_in_the_title() -> None:
    assert said(draw_sensitivity(sweep())).startswith("Sensitivity: dense top-1 90.00 %, 1,000 images")
    assert said(draw_sensitivity(plain())) == "Sensitivity: dense top-1 90.00 % "


def test_notes_and_scores_that_are_not_finite_are_marked_and_explained() -> None:
    picture = draw_sensitivity(sweep())
    marked = {line.get_marker(): line.get_xydata().tolist() for line in picture.axes[0].get_lines()}
    assert marked == {"o": [[0.0, 0.0]], "x": [[1.0, 2.0]]}
    assert "not the level asked" in said(picture) and "not finite" in said(picture)


def test_the_whole_network_has_a_panel_of_its_own() -> None:
    (curve,) = draw_sensitivity(sweep()).axes[2].get_lines()
    assert curve.get_label() == "global" and curve.get_ydata().tolist() == [0, 2, 60]
    assert len(draw_sensitivity(plain()).axes) == 2


def test_curves_have_bands_where_the_table_has_bounds() -> None:
    panels = draw_sensitivity_curves(sweep()).axes
    assert sum(len(axes.get_lines()) for axes in panels) == 3 and sum(len(axes.collections) for axes in panels) == 1


def layers(count: int, levels: int) -> pd.DataFrame:
    cells = [
        (f"layer{number // 13}.{number}.conv.weight", level / 20) for number in range(count) for level in range(levels)
    ]
    return pd.DataFrame(cells, columns=["parameter", "sparsity"]).assign(top1=lambda rows: 76 - 5 * rows["sparsity"])


def test_fifty_layers_have_room_for_their_names_and_are_drawn_the_same_twice() -> None:
    picture = draw_sensitivity(layers(54, 20))
    assert picture.get_figheight() > 54 * 0.1
    assert to_bytes(picture, ".svg") == to_bytes(draw_sensitivity(layers(54, 20)), ".svg")


def test_many_layers_are_spread_over_panels() -> None:
    panels = draw_sensitivity_curves(layers(15, 3)).axes
    assert [len(axes.get_lines()) for axes in panels] == [5, 5, 5]
