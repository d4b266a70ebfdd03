from __future__ import annotations

import torch
from torch import Tensor

from schedengine.pruners.surgeon import compensated

DAMP = 1e-3


def case(width: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """(weight, mask, information): 3 x 4 weights in blocks, among which some are correlated."""
    torch.manual_seed(0)
    count = -(-12 // width)
    slopes = torch.randn(20, count * width, dtype=torch.float64)
    slopes[:, 12:] = 0
    information = torch.einsum("nkb,nkc->kbc", *[slopes.view(20, count, width)] * 2) / 20
    return torch.randn(3, 4), torch.rand(3, 4) > 0.5, information


def inverse_of(information: Tensor) -> Tensor:
    return torch.linalg.inv(information + DAMP * torch.eye(information.shape[-1], dtype=torch.float64))


def test_one_weight_that_goes_changes_the_others_as_in_the_paper() -> None:
    weight, _, information = case(12)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1, 2] = False
    made = compensated(weight, weight, mask, information, DAMP)
    inverse = inverse_of(information)[0]
    expected = weight.flatten().double() - weight[1, 2].double() / inverse[6, 6] * inverse[6]
    expected[6] = weight[1, 2]  # the mask's to take
    torch.testing.assert_close(made.weight.flatten().double(), expected, rtol=1e-4, atol=1e-6)
    assert abs(made.after - float(weight[1, 2].double() ** 2 / (2 * inverse[6, 6]))) < 1e-6  # the criterion's score


def test_several_go_together_exactly() -> None:
    weight, mask, information = case(12)
    made = compensated(weight, weight, mask, information, DAMP)
    inverse, gone = inverse_of(information)[0], ~mask.flatten()
    old = weight.flatten().double()
    change = -inverse[:, gone] @ torch.linalg.solve(inverse[gone][:, gone], old[gone])
    torch.testing.assert_close((made.weight * mask).flatten().double(), old + change, rtol=1e-4, atol=1e-5)
    assert made.after < made.before


def test_nothing_is_made_up_for_from_block_to_block() -> None:
    weight, _, information = case(5)  # blocks of 5, 5 and 2
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[0, 0] = False
    made = compensated(weight, weight, mask, information, DAMP)
    changed = (made.weight != weight).flatten().tolist()
    assert changed == [False, True, True, True, True] + [False] * 7


def test_blocks_of_one_change_nothing() -> None:
    weight, mask, _ = case()
    made = compensated(weight, weight, mask, torch.rand(12, 1, 1).double(), DAMP)
    assert torch.equal(made.weight, weight) and made.after == made.before > 0


def test_what_was_gone_before_takes_nothing_over() -> None:
    weight, mask, information = case(12)
    shown = weight * mask  # pruned earlier; now one more goes
    now = mask.clone()
    now.view(-1)[int(mask.flatten().nonzero()[0])] = False
    made = compensated(shown, shown, now, information, DAMP)
    assert not made.weight[~mask].any()


def test_kept_values_of_what_went_are_kept() -> None:
    weight, mask, information = case(12)
    kept = weight + (~mask) * 7
    made = compensated(weight, kept, mask, information, DAMP)
    assert torch.equal(made.weight[~mask], kept[~mask])
