from __future__ import annotations

import subprocess
import sys

import torch

from schedengine.criteria.random import Random
from schedengine.granularity import Element, Filter

WEIGHT = torch.zeros(8, 3, 3, 3)


def scores(seed: int = 0, key: str = "conv.weight/1") -> torch.Tensor:
    return Random(seed).scores(WEIGHT, Filter(), key=key)


def test_one_score_for_each_group() -> None:
    assert scores().shape == (8,)
    assert Random().scores(WEIGHT, Element(), key="").shape == (216,)


def test_the_same_seed_and_key_give_the_same_scores() -> None:
    assert torch.equal(scores(3), scores(3))


def test_another_seed_or_key_gives_other_scores() -> None:
    assert not torch.equal(scores(3), scores(4))
    assert not torch.equal(scores(key="conv.weight/1"), scores(key="conv.weight/2"))


def test_the_generator_of_the_run_is_left_alone() -> None:
    before = torch.get_rng_state()
    scores()
    assert torch.equal(torch.get_rng_state(), before)


def test_another_process_draws_the_same() -> None:
    code = (
        "import torch; from schedengine.criteria.random import Random; from schedengine.granularity import Filter;"
        "print(Random(5).scores(torch.zeros(4, 2), Filter(), key='w').tolist())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there.strip() == str(Random(5).scores(torch.zeros(4, 2), Filter(), key="w").tolist())


def test_listing_criteria_imports_no_torch() -> None:
    code = (
        "import sys; from schedengine.criteria import CRITERIA; from schedengine.granularity import GRANULARITIES;"
        "from schedengine.sparsity import ALLOCATIONS, RAMPS;"
        "[r.names() for r in (CRITERIA, GRANULARITIES, ALLOCATIONS, RAMPS)];"
        "[RAMPS.get(n) for n in RAMPS.names()]; [ALLOCATIONS.get(n) for n in ALLOCATIONS.names()];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
