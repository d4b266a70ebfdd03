"""Averages of networks."""

from __future__ import annotations

import copy

import torch
from analysis.soups.networks import line, network, state
from hypothesis import given, settings
from hypothesis import strategies as st

from schedengine.analysis.soups.pot import Pot


@given(copies=st.integers(1, 5), batches=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_soup_of_identical_networks_is_that_network_bit_for_bit(copies: int, batches: int) -> None:
    one = network(0)
    one[2].num_batches_tracked.fill_(batches)
    mixed = Pot([copy.deepcopy(one) for _ in range(copies)]).mix(range(copies))
    assert all(torch.equal(value, mixed.state_dict()[name]) for name, value in one.state_dict().items())


@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_members_does_not_matter(order: list[int]) -> None:
    pot = Pot([network(seed) for seed in range(4)])
    one, other = pot.mix(range(4)).state_dict(), pot.mix(order).state_dict()
    assert all(torch.allclose(one[name].double(), other[name].double(), atol=1e-7) for name in one)


def test_exact_zeros_survive() -> None:
    mixed = Pot([network(seed, zeros=(1, 2, 7)) for seed in range(3)]).mix([0, 1, 2])
    assert torch.where(mixed[1].weight.flatten() == 0)[0].tolist() == [1, 2, 7]


def test_only_those_chosen_are_averaged() -> None:
    assert Pot([line(1.0), line(9.0), line(2.0)]).mix([0, 2]).weight.item() == 1.5


def test_the_members_are_left_as_they_are() -> None:
    members = [network(0), network(1)]
    before = [state(one) for one in members]
    Pot(members, [lambda model: model.zero_grad(), lambda model: model[1].weight.data.zero_()]).mix([0, 1])
    assert all(
        torch.equal(value, one.state_dict()[name]) for one, old in zip(members, before) for name, value in old.items()
    )
