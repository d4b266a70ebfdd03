from __future__ import annotations

import torch

from schedengine.export.components import components


def test_nothing_tied_is_alone() -> None:
    assert components(3, []).tolist() == [0, 1, 2]


def test_a_long_chain_in_any_order_is_one() -> None:
    order = torch.randperm(999, generator=torch.Generator().manual_seed(0))
    pairs = torch.stack([order, order + 1])
    assert set(components(1000, [pairs]).tolist()) == {0}


def test_two_rings_stay_apart() -> None:
    ring = torch.tensor([[0, 2, 4], [2, 4, 0]])
    assert components(6, [ring, ring + 1]).tolist() == [0, 1, 0, 1, 0, 1]
