"""Few globs that pick exactly what is wanted."""

from __future__ import annotations

import pytest

from schedengine.analysis.globs import globs_for
from schedengine.selection import DEFAULT_TYPES, ParameterTable, Selector
from schedengine.zoo.models import build_model


def table(name: str) -> ParameterTable:
    return ParameterTable(build_model(name, meta=True))


def test_a_part_that_is_wanted_as_a_whole_is_one_glob() -> None:
    resnet = table("resnet20_cifar")
    found = globs_for(resnet, resnet.of_types(DEFAULT_TYPES))
    assert list(found) == ["conv1.weight", "layer1.*", "layer2.*", "layer3.*", "fc.weight"]
    assert [len(names) for names in found.values()] == [1, 6, 7, 7, 1]


def test_numbers_become_stars_where_a_part_holds_others_too() -> None:
    vit = table("vit_b_16")  # beside Linear layers, its encoder holds attention's joint projections and positions
    wanted = [name for name in vit.of_types(DEFAULT_TYPES) if name.startswith("encoder")]
    found = globs_for(vit, wanted)
    assert {glob: len(names) for glob, names in found.items()} == {
        "encoder.layers.encoder_layer_*.self_attention.out_proj.weight": 12,
        "encoder.layers.encoder_layer_*.mlp.*": 24,
    }


def test_what_is_allowed_may_be_picked_and_is_not_counted() -> None:
    digits = table("digits_cnn")
    wanted = ["conv2.weight", "conv3.weight", "conv4.weight"]
    assert globs_for(digits, wanted, allowed=["conv1.weight"]) == {"conv*.weight": wanted}
    assert list(globs_for(digits, wanted)) == wanted


@pytest.mark.parametrize("name", ["googlenet", "swin_t", "maxvit_t", "mobilenet_v3_small"])
def test_the_globs_pick_exactly_what_is_wanted(name: str) -> None:
    subject = table(name)
    wanted = subject.of_types(DEFAULT_TYPES)
    found = globs_for(subject, wanted)
    assert set(Selector(names=tuple(found)).pick(subject)) == set(wanted)
    assert sorted(one for names in found.values() for one in names) == sorted(wanted)
    assert len(found) < len(wanted) / 4
