"""``schedengine soup``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from schedengine.cli.app import main
from schedengine.export.apply import apply_
from schedengine.export.pruned import load_pruned, save_pruned
from schedengine.export.thin import plan
from schedengine.selection import ParameterTable
from schedengine.training.sparsity import count_zeros, prunable, share_of_zeros
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import load_weights, read_notes, save_weights

QUICK = ("--recalibrate", 2, "--batch-size", 128)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["soup", *map(str, arguments)])
    return (int(left.value.code or 0), *capsys.readouterr())


def write(path: Path, seed: int, *, mask: int = 0, notes: dict[str, str] | None = None) -> Path:
    """A digits_cnn whose every second convolutional weight is 0: the even ones, or those that ``mask`` shifts to."""
    torch.manual_seed(seed)
    model = build_model("digits_cnn")
    with torch.no_grad():
        for number in (1, 2, 3, 4):
            getattr(model, f"conv{number}").weight.view(-1)[mask::2] = 0.0
    save_weights(model, path, notes or {})
    return path


def write_run(path: Path, weights: int, **settings: Any) -> Path:
    path.mkdir(parents=True)
    plain = {"model": "digits_cnn", "data": "digits", "batch_size": 128, "seed": 0, "validation": 0.1, **settings}
    (path / "run.json").write_text(json.dumps({"settings": plain}))
    write(path / "model.safetensors", weights)
    return path


def write_thinned(path: Path, seed: int, filters: int) -> Path:
    """A digits_cnn whose last convolution has so many filters, and the others were removed."""
    torch.manual_seed(seed)
    model, inputs = build_model("digits_cnn").eval(), torch.rand(2, 1, 8, 8)
    model.conv4.weight.data[filters:] = 0.0  # type: ignore[union-attr,index]
    apply_(model, plan(model, inputs, what="all"), inputs)
    save_pruned(model, path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("ab")]


def test_a_soup_of_files_is_measured_beside_its_members(capsys: pytest.CaptureFixture[str], files: list[Path]) -> None:
    code, shown, _ = run(capsys, *files, "--model", "digits_cnn", *QUICK)
    assert code == 0
    for name in ("mean of members", "best member (", "soup (uniform, 2 of 2)", "prediction ensemble (2 networks)"):
        assert name in shown
    assert "anew from 2 batches of 128 training images" in shown
    assert "not known whether all members held them out" in shown


def test_members_too_get_statistics_of_images_as_in_training(
    capsys: pytest.CaptureFixture[str], files: list[Path]
) -> None:
    def losses(*options: object) -> list[float]:
        shown = run(capsys, *files, "--model", "digits_cnn", "--batch-size", 128, "--json", *options)[1]
        return [row["test_loss"] for row in json.loads(shown)["networks"] if row["kind"] == "member"]

    saved, plain, augmented = losses("--recalibrate", "none"), losses(*QUICK), losses(*QUICK, "--augment")
    for number in (0, 1):
        assert len({saved[number], plain[number], augmented[number]}) == 3


def test_exact_zeros_survive_into_the_file(
    capsys: pytest.CaptureFixture[str], files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "soup.safetensors"
    _, shown, _ = run(capsys, *files, "--model", "digits_cnn", *QUICK, "--out", out, "--json")
    model = build_model("digits_cnn")
    load_weights(model, out)
    table = ParameterTable(model)
    soup = next(row for row in json.loads(shown)["networks"] if row["kind"] == "soup")
    assert share_of_zeros(count_zeros(table, prunable(table))) == 30_024 / 60_688 == soup["sparsity"]
    assert json.loads(read_notes(out)["soup"])["chosen"] == ["a", "b"]


def test_an_average_can_be_evaluated_as_it_was_measured(
    capsys: pytest.CaptureFixture[str], files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "soup.safetensors"
    _, shown, _ = run(capsys, *files, "--model", "digits_cnn", *QUICK, "--out", out, "--json")
    soup = next(row for row in json.loads(shown)["networks"] if row["kind"] == "soup")
    with pytest.raises(SystemExit):
        main(["evaluate", "--model", "digits_cnn", "--weights", str(out), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["top1"] == soup["test_top1"] and found["loss"] == pytest.approx(soup["test_loss"], rel=1e-4)


def test_the_trace_that_all_members_have_goes_with_the_average(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    same = [write(tmp_path / f"{name}.safetensors", 0, notes={"lr_trace": "x"}) for name in "ab"]
    other = write(tmp_path / "c.safetensors", 0, notes={"lr_trace": "y"})
    for members, noted in ((same, "x"), ([*same, other], None)):
        run(capsys, *members, "--model", "digits_cnn", *QUICK, "--out", tmp_path / "soup.safetensors")
        assert read_notes(tmp_path / "soup.safetensors").get("lr_trace") == noted


def test_greedy_is_no_worse_than_its_best_member_on_validation(
    capsys: pytest.CaptureFixture[str], files: list[Path], tmp_path: Path
) -> None:
    third = write(tmp_path / "c.safetensors", 2)
    options = ("--model", "digits_cnn", *QUICK, "--method", "greedy", "--json")
    found = json.loads(run(capsys, *files, third, *options)[1])
    rows = {row["kind"]: row["validation_top1"] for row in found["networks"]}
    assert rows["soup"] >= rows["best"] and 1 <= len(found["chosen"]) <= 3


def test_runs_say_model_and_data_themselves(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, seed) for seed, name in enumerate("ab")]
    code, shown, _ = run(capsys, *runs, "--recalibrate", "none")
    assert code == 0 and "as saved; an average has the mean of its members'" in shown
    assert "not known" not in shown.split("Pairs")[0]


def test_runs_of_different_seeds_share_no_validation_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), seed, seed=seed) for seed in (1, 2)]
    _, shown, _ = run(capsys, *runs, "--recalibrate", 1)
    assert (
        "not measured: runs of seeds 1, 2 trained on one another's validation images" in shown
        and "best member" not in shown
    )
    code, _, errors = run(capsys, *runs, "--method", "greedy")
    assert code == 1 and "--method greedy chooses by validation images: runs of seeds 1, 2" in errors
    assert run(capsys, *runs, "--method", "greedy", "--seed", 1, "--recalibrate", 1)[0] == 0


def test_a_folder_of_replicas_gives_angles_from_their_parent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", 0) / "soups" / "cycle-1"
    folder.mkdir(parents=True)
    for seed, name in enumerate(("replica-0", "replica-1", "parent")):
        write(folder / f"{name}.safetensors", seed)
    assert "the phase is not finished, there is no soup.safetensors" in run(capsys, folder)[2]
    write(folder / "soup.safetensors", 3)
    code, shown, _ = run(capsys, folder, "--recalibrate", 1)
    assert code == 0 and "replica-0, replica-1" in shown
    assert f"between their ways from {folder / 'parent.safetensors'}" in shown


def test_other_masks_are_refused_unless_the_average_is_cut_back(
    capsys: pytest.CaptureFixture[str], files: list[Path], tmp_path: Path
) -> None:
    odd = write(tmp_path / "odd.safetensors", 5, mask=1)
    code, _, errors = run(capsys, files[0], odd, "--model", "digits_cnn")
    assert code == 1 and "conv1.weight: 144 weights are 0 in one of a and odd only" in errors
    assert "60,048 differences in all" in errors and "--reprune" in errors
    _, shown, _ = run(capsys, files[0], odd, "--model", "digits_cnn", *QUICK, "--reprune", "--json")
    soup = next(row for row in json.loads(shown)["networks"] if row["kind"] == "soup")
    assert soup["zeros"] == 30_024 and soup["network"] == "soup (uniform, 2 of 2, cut back)"


def test_the_figure_and_the_tables_are_written(
    capsys: pytest.CaptureFixture[str], files: list[Path], tmp_path: Path
) -> None:
    options = ("--model", "digits_cnn", *QUICK, "--figure", tmp_path / "b.svg", "--csv", tmp_path / "csv")
    code, shown, _ = run(capsys, *files, *options)
    assert code == 0 and "barrier" in shown and (tmp_path / "b.svg").stat().st_size > 1000
    assert sorted(path.name for path in (tmp_path / "csv").iterdir()) == ["lines.csv", "pairs.csv", "soup.csv"]


def test_thinned_networks_of_one_size_are_averaged_and_of_others_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sizes = {"a": 8, "b": 8, "c": 9}
    thin = [write_thinned(tmp_path / f"{name}.safetensors", 0, count) for name, count in sizes.items()]
    out = tmp_path / "soup.safetensors"
    assert run(capsys, *thin[:2], "--model", "digits_cnn", *QUICK, "--out", out)[0] == 0
    assert load_pruned("digits_cnn", out).conv4.out_channels == 8  # type: ignore[union-attr]
    code, _, errors = run(capsys, thin[0], thin[2], "--model", "digits_cnn")
    assert code == 1 and "conv4.weight: 8x64x3x3 in a, 9x64x3x3 in c" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--model: files of weights do not say"),
        (("--model", "resnet8_cifar"), "a.safetensors does not fit the model"),
        (("--model", "digits_cnn", "--recalibrate", "0"), "--recalibrate 0: a number of training batches, 1 or more"),
        (("--model", "digits_cnn", "--sparsity", "0.5"), "they go with --reprune"),
        (("--model", "digits_cnn", "--method", "greedy", "--validation", "0"), "there are no validation images"),
        (("--model", "digits_cnn", "--out", "soup.pt"), "end it in .safetensors"),
        (("--model", "digits_cnn", "--figure", "b.gif"), "pictures end in"),
    ],
)
def test_mistakes_are_told(
    capsys: pytest.CaptureFixture[str], files: list[Path], options: tuple[str, ...], message: str
) -> None:
    code, _, errors = run(capsys, *files, *options)
    assert code == 1 and message in errors
