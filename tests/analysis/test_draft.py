"""Schedules that are written for a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from schedengine.analysis.diagnosis import check_schedule
from schedengine.analysis.draft import draft_schedule
from schedengine.analysis.methods import METHODS, Stretch, lengths
from schedengine.errors import ModelError, SchedEngineError
from schedengine.schedule.load import load_schedule
from schedengine.selection import ParameterTable
from schedengine.zoo.inputs import example_inputs
from schedengine.zoo.models import MODELS, build_model

FAMILIES = [name for name in MODELS if "_cifar" not in name and name != "word_lm"]
FAMILIES += ["resnet20_cifar", "plain20_cifar", "preact_resnet20_cifar", "vgg11_bn_cifar", "simplenet_cifar"]


def draft(name: str, method: str = "agp", epochs: int = 12) -> str:
    return draft_schedule(build_model(name, meta=True), name, method=method, epochs=epochs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*FAMILIES, "resnet18", "mobilenet_v2", "vit_b_16"])
def test_every_method_fits_every_model(name: str, method: str) -> None:
    model = build_model(name, meta=True)
    schedule = load_schedule(draft(name, method))
    scheduler = schedule.bind(model, torch.optim.SGD(model.parameters(), lr=0.1), steps_per_epoch=20)
    assert scheduler.total_epochs == 12


def test_a_network_without_filters_beside_its_classifier_is_told_so() -> None:
    with pytest.raises(ModelError, match="no layer whose filters could go beside the classifier; try --method agp"):
        draft("word_lm", "filters")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["digits_cnn", "resnet8_cifar", "mobilenet_v2"])
def test_every_method_trains_and_reaches_its_target(name: str, method: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, classes=10, channels=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    scheduler = load_schedule(draft(name, method, epochs=6)).bind(model, optimizer, steps_per_epoch=1)
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        scheduler.on_minibatch_begin(epoch, 0, 1)
        loss = cross_entropy(model(torch.rand(2, 3, 32, 32)), torch.tensor([0, 1]))
        optimizer.zero_grad()
        scheduler.before_backward_pass(epoch, 0, 1, loss).backward()
        scheduler.before_parameter_optimization(epoch, 0, 1)
        optimizer.step()
        scheduler.on_minibatch_end(epoch, 0, 1)
        scheduler.on_epoch_end(epoch)
    assert scheduler.cuts[-1].achieved == pytest.approx(METHODS[method].target, abs=0.01)


def selected(text: str, name: str) -> list[str]:
    schedule = load_schedule(text)
    (pruner,) = schedule.pruners.values()
    return pruner.selector.pick(ParameterTable(build_model(name, meta=True)))


def test_the_first_convolution_and_the_classifier_are_left_out() -> None:
    names = selected(draft("resnet20_cifar"), "resnet20_cifar")
    assert len(names) == 20 and not {"conv1.weight", "fc.weight"} & set(names)


def test_a_classifier_that_holds_much_is_pruned_too_but_keeps_its_rows() -> None:
    assert "classifier.1.weight" in selected(draft("mobilenet_v2"), "mobilenet_v2")  # 37 % of the weights
    assert "classifier.1.weight" not in selected(draft("mobilenet_v2", "filters"), "mobilenet_v2")


def test_depthwise_convolutions_keep_their_filters() -> None:
    model = build_model("mobilenet_v2", meta=True)
    depthwise = [f"{name}.weight" for name, one in model.named_modules() if getattr(one, "groups", 1) > 1]
    assert len(depthwise) == 17 and not set(depthwise) & set(selected(draft("mobilenet_v2", "filters"), "mobilenet_v2"))
    assert set(depthwise) <= set(selected(draft("mobilenet_v2"), "mobilenet_v2"))


def test_comments_say_what_each_glob_holds() -> None:
    # 6 x 2,304 of 270,896 weights, 6 x 2,359,296 of 40,813,184 multiply-accumulates.
    inputs = example_inputs("resnet20_cifar", device="meta")
    text = draft_schedule(build_model("resnet20_cifar", meta=True), "resnet20_cifar", inputs=inputs)
    assert '"layer1.*"        # 13,824 weights, 5.1 %; MACs 34.7 %' in text
    assert "CxHxW)" in draft("resnet20_cifar") and "MACs" not in draft("resnet20_cifar")


def test_what_could_be_named_besides_is_said() -> None:
    text = draft("vit_b_16").replace("\n# ", " ")
    # 21.2 M in 12 projections of 2304x768, and 0.3 M in biases, norms and positions, of 86.6 M
    assert "Not pruned, 24.8 % of all parameters" in text
    assert "unless you add them to its names: encoder.layers.encoder_layer_*.self_attention" in text


def test_a_tied_classifier_is_known_by_its_place_not_by_its_first_name() -> None:
    embedding, body, head = nn.Embedding(4, 8), nn.Sequential(nn.Linear(8, 99), nn.Linear(99, 8)), nn.Linear(8, 4)
    head.weight = embedding.weight  # type: ignore[assignment]
    text = draft_schedule(nn.ModuleDict({"embed": embedding, "body": body, "head": head}), "mine:net")
    assert '# - "embed.weight"  # left out: the classifier' in text and '"body.*"' in text


def test_commands_are_those_to_type_next() -> None:
    text = draft_schedule(nn.Linear(4, 2), "mine:net", inputs=[torch.zeros(1, 4)], classes=2, file="runs/s.yaml")
    assert "schedengine plan runs/s.yaml --model mine:net --classes 2 --input 4\n" in text
    assert "schedengine train --schedule runs/s.yaml --model mine:net --classes 2 \\\n" in text


def test_a_target_of_the_users_is_written_as_it_is() -> None:
    (pruner,) = load_schedule(draft_schedule(build_model("digits_cnn"), "digits_cnn", target=0.75)).pruners.values()
    assert pruner.sparsity.to == 0.75


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 90.0])
def test_a_target_that_is_no_fraction_is_refused(target: float) -> None:
    with pytest.raises(SchedEngineError, match=r"the fraction of the weights to remove, in \(0, 1\)"):
        draft_schedule(nn.Linear(2, 2), "mine:net", target=target)


def test_what_cannot_be_drafted_is_refused() -> None:
    with pytest.raises(SchedEngineError, match="unknown method 'apg'; did you mean agp"):
        draft_schedule(nn.Linear(2, 2), "mine:net", method="apg")
    with pytest.raises(ModelError, match="no Conv or Linear weight to prune"):
        draft_schedule(nn.LayerNorm(4), "mine:net")
    with pytest.raises(ModelError, match="no layer whose filters could go beside the classifier"):
        draft_schedule(nn.Linear(2, 2), "mine:net", method="filters")
    with pytest.raises(SchedEngineError, match="--epochs 2: too few for the phases .*give 3 or more"):
        draft_schedule(nn.Linear(2, 2), "mine:net", epochs=2)


@pytest.mark.parametrize("epochs", range(5, 40))
def test_phases_share_the_epochs_without_remainder(epochs: int) -> None:
    shares = (Stretch("dense", 1 / 3, ""), Stretch("cycle", 2 / 3, "", repeat=4))
    dense, cycles = lengths(shares, epochs)
    assert dense + cycles == epochs and dense >= 1 and cycles >= 4


def test_layers_too_small_for_the_target_are_told() -> None:
    with pytest.raises(ModelError, match="no schedule for a target of 0.9: asks 1 of these weights"):
        draft_schedule(nn.Linear(1, 1), "mine:net", target=0.9)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_said_against_a_draft(method: str) -> None:
    model = build_model("digits_cnn", meta=True)
    text = draft_schedule(model, "digits_cnn", method=method)
    assert check_schedule(text, model, steps_per_epoch=20).findings == ()


def test_a_lottery_ticket_goes_back_after_each_cut() -> None:
    policies = load_schedule(draft("digits_cnn", "lottery", epochs=30)).policies
    assert [policy.kind for policy in policies] == ["pruner", "rewind", "lr_scheduler"]
    assert load_schedule(draft("digits_cnn", "lottery", epochs=30)).phases[0].epochs == 8
