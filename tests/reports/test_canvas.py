"""The look of pictures: labels that do not overlap, files that are the same again, nothing global."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from schedengine.errors import SchedEngineError
from schedengine.reports.canvas import axis_label, figure, grid, label_ends, look, save, spread, style, to_bytes


@look()
def lines(ends: list[float], x: float = 1.0) -> Figure:
    picture, (axes,) = grid(1)
    for number, end in enumerate(ends):
        axes.plot([0, x], [0, end], label=f"layer{number}$", **style(number))
    axes.set_xlim(0, 1)
    label_ends(axes)
    return picture


def boxes(picture: Figure) -> list[tuple[float, float]]:
    picture.draw_without_rendering()
    extents = [Text.get_window_extent(text) for text in picture.axes[0].texts]  # without the leaders
    return sorted((box.y0, box.y1) for box in extents)


def test_labels_of_curves_that_end_together_do_not_overlap() -> None:
    found = boxes(lines([1.0] * 8 + [0.0]))
    assert len(found) == 9
    assert all(above[0] >= below[1] for below, above in pairwise(found))


def test_labels_stay_inside_the_picture() -> None:
    picture = lines([0.0] * 5)
    picture.draw_without_rendering()
    right = max(text.get_window_extent().x1 for text in picture.axes[0].texts)
    assert right <= picture.bbox.x1


def test_a_curve_that_ends_early_is_labelled_inside_the_panel() -> None:
    assert lines([1.0], x=0.5).axes[0].texts[0].xyann[0] < 0.6  # type: ignore[attr-defined]


def test_places_far_enough_apart_stay() -> None:
    assert spread([0.9, 0.1, 0.5], 0.2, 0.0, 1.0) == [0.9, 0.1, 0.5]


def test_places_too_near_stand_round_their_mean() -> None:
    assert spread([0.5, 0.5], 0.2, 0.0, 1.0) == pytest.approx([0.4, 0.6])


def test_places_stay_in_the_range() -> None:
    assert spread([1.0, 1.0], 0.2, 0.0, 1.0) == pytest.approx([0.8, 1.0])


def test_a_range_too_small_is_left_on_both_sides_alike() -> None:
    assert spread([0.0, 0.0, 0.0], 1.0, 0.0, 1.0) == pytest.approx([-0.5, 0.5, 1.5])


@given(st.lists(st.floats(0, 1), max_size=9))
def test_places_keep_their_order_and_distance(wanted: list[float]) -> None:
    places = spread(wanted, 0.1, 0.0, 1.0)
    ranked = [place for _, place in sorted(zip(wanted, places))]
    assert all(above - below >= 0.1 - 1e-9 for below, above in pairwise(ranked))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_28_curves_differ_in_colour_line_or_marker() -> None:
    assert len({str(style(number)) for number in range(28)}) == 28


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_picture_gives_the_same_file(suffix: str) -> None:
    assert to_bytes(lines([0.3, 0.6]), suffix) == to_bytes(lines([0.3, 0.6]), suffix)


def test_text_in_an_svg_stays_text_and_dollars_are_no_formula(tmp_path: Path) -> None:
    text = save(lines([1.0]), tmp_path / "new" / "p.svg").read_text()
    assert ">layer0$</text>" in text and "<dc:date>" not in text


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SchedEngineError, match=r"p.gif: pictures end in .png, .svg, .pdf; not in .gif"):
        save(figure(), tmp_path / "p.gif")


def test_a_place_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SchedEngineError, match="cannot be written"):
        save(figure(), tmp_path / "file" / "p.png")


def test_the_users_own_settings_are_back_afterwards() -> None:
    with matplotlib.rc_context({"font.size": 33}):
        assert lines([1.0]).axes[0].xaxis.label.get_fontsize() == 8
        assert matplotlib.rcParams["font.size"] == 33


def test_a_notebook_shows_a_picture_without_pyplot() -> None:
    assert figure()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_axes_say_their_unit_and_unknown_columns_their_name() -> None:
    assert (axis_label("top1"), axis_label("energy (J)")) == ("top-1 accuracy (%)", "energy (J)")
