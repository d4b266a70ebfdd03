"""Bounds of adaptive sweeps, simulated: how many of them hold, and how many images they take.

``coverage``: cells of many kinds are shown images, 50 after 50, until ``decide`` says that they are done; counted is
how often the true drop is then below, between and above the bounds.

``subset``: how often the bounds of a number of images fixed beforehand hold, at 95 %: not simulated, summed over all
samples that there can be (but for such as have less than one chance in ten million).

``images``: how many of 10,000 images 60 cells of a ResNet-20 on CIFAR-10 take on average (12 of its layers, at 0.1,
0.3, ... 0.9; ``RESNET20`` has what each loses and wins), with our bounds and others, known within 0.5 and 1 point.
Some hold at one look ("each look"); some at all of them, proven: with the error shared evenly by looks that come ever
more rarely, or by betting.

    python benchmarks/bounds.py [coverage|images|subset] [--repeats 400] [--out table.csv]

References: I. Waudby-Smith, A. Ramdas (2020), Confidence sequences for sampling without replacement, arXiv:2006.04347,
and Estimating means of bounded random variables by betting, arXiv:2010.09686; R. Bardenet, O.-A. Maillard (2015),
Concentration inequalities for sampling without replacement, arXiv:1309.4029.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Sequence

import numpy

from schedengine.analysis.sensitivity.adaptive import decide
from schedengine.analysis.sensitivity.bounds import Bounds, Flags, Floats, Integers, Pairs, count_bounds, drop_bounds

Row = dict[str, str | float]
Rule = Callable[[Pairs, bool], tuple[Bounds, Flags]]
"""What was seen, and whether it is a look that the rule may stop at -> bounds, and who is done."""

BATCH, IMAGES, RIGHT, ORDERS = 50, 10_000, 8_794, 4
# fmt: off
RESNET20 = [  # (lost, won) of RIGHT and of the other images; a line a layer
    (0, 0), (36, 23), (114, 93), (471, 239), (1674, 317),
    (0, 0), (8, 4), (36, 31), (129, 89), (509, 219),
    (6, 1), (25, 17), (78, 75), (128, 111), (443, 246),
    (1, 0), (10, 13), (52, 48), (161, 137), (485, 215),
    (6, 4), (37, 37), (85, 62), (303, 141), (1292, 259),
    (2, 1), (30, 21), (93, 67), (259, 145), (602, 233),
    (3, 7), (58, 51), (156, 113), (324, 191), (5777, 95),
    (7, 9), (67, 51), (163, 109), (486, 185), (2585, 266),
    (4, 5), (31, 37), (98, 99), (151, 108), (1543, 294),
    (1, 3), (32, 34), (127, 96), (274, 165), (867, 251),
    (0, 0), (12, 11), (60, 45), (207, 146), (839, 288),
    (13, 7), (72, 50), (221, 114), (445, 192), (2573, 260),
]
# fmt: on
GROWTH = [round(BATCH * 1.5**power / BATCH) * BATCH for power in range(2, 14)]


def simulate(
    rule: Rule, cells: Sequence[tuple[int, int]], right: int, images: int, seed: int
) -> tuple[Integers, Bounds]:
    """Show cells one random order of the images until they are done: how many each was shown, and its last bounds.

    Args:
        rule: when they are.
        cells: (lost, won) of all images.
        right: images that the dense network has right.
    """
    random = numpy.random.default_rng(seed)
    is_right = random.permutation(images) < right
    left = numpy.array(cells).T
    seen, final = numpy.zeros((2, len(cells)), dtype=int), numpy.full((3, len(cells)), math.nan)
    active, stopped, shown = numpy.arange(len(cells)), numpy.zeros(len(cells), dtype=int), numpy.zeros(2, dtype=int)
    for start in range(0, images, BATCH):
        batch = is_right[start : start + BATCH]
        for kind, drawn in enumerate((int(batch.sum()), int((~batch).sum()))):
            events = left[kind, active] - seen[kind, active]
            rest = (right, images - right)[kind] - shown[kind] - events
            seen[kind, active] += random.hypergeometric(events, rest, drawn)
            shown[kind] += drawn
        sizes = [numpy.full(len(active), size) for size in shown]
        unknown = numpy.zeros(len(active), dtype=bool)
        pairs = Pairs(seen[0, active], seen[1, active], sizes[0], sizes[1], right, images - right, unknown)
        bounds, is_done = rule(pairs, start + BATCH in GROWTH or start + BATCH >= images)
        done = active[is_done | (start + BATCH >= images)]
        stopped[done] = min(start + BATCH, images)
        kept = numpy.isin(active, done)
        final[:, done] = numpy.stack([bounds.drop, bounds.low, bounds.high])[:, kept]
        active = active[~kept]
        if not len(active):
            break
    return stopped, Bounds(*final)


def ours(within: float, floor: float) -> Rule:
    """What adaptive sweeps use."""
    return lambda pairs, is_look: decide(pairs, within, floor)


def width(bound: Callable[[Pairs], Bounds], within: float, *, every: bool) -> Rule:
    """Done when narrow enough, looking at every batch, or at few."""

    def rule(pairs: Pairs, is_look: bool) -> tuple[Bounds, Flags]:
        bounds = bound(pairs)
        return bounds, (bounds.high - bounds.low <= 2 * within) & (every or is_look)

    return rule


def exact(tail: float) -> Callable[[Pairs], Bounds]:
    """The worst case of the exact bounds of lost and won; ``tail`` of each of the four."""

    def bound(pairs: Pairs) -> Bounds:
        lost, won = (
            count_bounds(hits, seen, total, tail)
            for hits, seen, total in (
                (pairs.lost, pairs.right_seen, pairs.right),
                (pairs.won, pairs.wrong_seen, pairs.wrong),
            )
        )
        points = 100 / (pairs.right + pairs.wrong)
        worst, best = (lost[0] - won[1]).astype(float), (lost[1] - won[0]).astype(float)
        return Bounds(points * (worst + best) / 2, points * worst, points * best)

    return bound


def _mean(pairs: Pairs) -> tuple[Floats, Floats, Floats, int]:
    """Mean and variance of the differences (+1, -1, 0), how many, and of how many."""
    seen = (pairs.right_seen + pairs.wrong_seen).astype(float)
    mean = (pairs.lost - pairs.won) / seen
    return mean, (pairs.lost + pairs.won) / seen - mean**2, seen, pairs.right + pairs.wrong


def normal(deviations: float) -> Callable[[Pairs], Bounds]:
    """The textbook's: so many standard errors, corrected for a finite population."""

    def bound(pairs: Pairs) -> Bounds:
        mean, variance, seen, total = _mean(pairs)
        half = deviations * numpy.sqrt(variance / seen * (total - seen) / (total - 1))
        return Bounds(100 * mean, 100 * (mean - half), 100 * (mean + half))

    return bound


def serfling(error: float) -> Callable[[Pairs], Bounds]:
    """Empirical Bernstein-Serfling (Bardenet and Maillard, theorem 4), of differences in [-1, 1]."""

    def bound(pairs: Pairs) -> Bounds:
        mean, variance, seen, total = _mean(pairs)
        share = numpy.where(seen <= total / 2, 1 - (seen - 1) / total, (1 - seen / total) * (1 + 1 / seen))
        log = math.log(10 / error)  # 5 / error of each side
        half = numpy.sqrt(2 * share * variance * log / seen) + (7 / 3 + 3 / math.sqrt(2)) * 2 * log / seen
        half = numpy.where(seen == total, 0, half)
        return Bounds(100 * mean, 100 * (mean - half), 100 * (mean + half))

    return bound


def betting(cells: Sequence[tuple[int, int]], within: float, seed: int, error: float = 0.05) -> Integers:
    """How many images cells take by the hedged capital process without replacement (Waudby-Smith and Ramdas).

    Its best case: bets are laid for about the image at which it will be done, from the cell's true variance. Means are
    tried within 4 points of the true drop, 0.05 apart.
    """
    random = numpy.random.default_rng(seed)
    lost, won = numpy.array(cells).T
    ranks = random.permuted(numpy.tile(numpy.arange(IMAGES), (len(cells), 1)), axis=1)
    values = numpy.where(ranks < lost[:, None], 1.0, numpy.where(ranks < (lost + won)[:, None], 0.0, 0.5))
    truth, variance = values.mean(1), numpy.maximum(values.var(1), 1e-4)
    plan = 1.5 * 3.84 * variance / (within / 200) ** 2
    bet = numpy.sqrt(2 * math.log(2 / error) / (variance * plan / (1 + plan / IMAGES)))[:, None]
    means = truth[:, None] + numpy.arange(-80, 81) * 0.0005 / 2
    up, down = numpy.zeros_like(means), numpy.zeros_like(means)
    is_alive, total, need = numpy.ones(means.shape, dtype=bool), numpy.zeros(len(cells)), numpy.full(len(cells), IMAGES)
    for number in range(IMAGES):
        rest = (IMAGES * means - total[:, None]) / (IMAGES - number)
        is_alive &= (rest >= 0) & (rest <= 1)
        rest = rest.clip(1e-6, 1 - 1e-6)
        gain = values[:, number, None] - rest
        up += numpy.log1p(numpy.minimum(bet, 0.75 / rest) * gain)
        down += numpy.log1p(-numpy.minimum(bet, 0.75 / (1 - rest)) * gain)
        is_alive &= numpy.maximum(up, down) < math.log(2 / error)
        total += values[:, number]
        is_close = numpy.ptp(numpy.where(is_alive, means, truth[:, None]), axis=1) <= within / 100
        need = numpy.where(is_close & (need == IMAGES), number + 1, need)
    return need


KINDS = [  # of 10,000: lost, won
    (0, 0), (5, 0), (3, 2), (10, 0), (20, 5), (25, 25), (50, 0), (60, 20), (75, 0), (0, 100), (100, 60), (200, 0),
    (200, 150), (300, 50), (600, 100), (600, 600), (1000, 0), (1020, 20), (1100, 100), (1300, 100), (2000, 60),
    (2100, 600), (3500, 100), (5000, 1000), (8000, 0),
]  # fmt: skip


SETTINGS = [(1_000, 0.88, 0.5), (1_000, 0.88, 1.0), (1_000, 1.0, 1.0), (1_000, 0.5, 3.0),
            (10_000, 0.88, 0.5), (10_000, 0.88, 1.0), (50_000, 0.75, 0.5)]  # fmt: skip
"""Images, the share of them that the dense network has right, points."""


def coverage(repeats: int) -> Iterable[Row]:
    """Of our bounds when they stop, for every kind of cell; 10 points is the floor."""
    for images, share, within in SETTINGS:
        right = round(images * share)
        for lost, won in sorted({(round(lost * images / IMAGES), round(won * images / IMAGES)) for lost, won in KINDS}):
            if lost <= right and won <= images - right:
                setting = {"images": images, "right": right, "within": within, "lost": lost, "won": won}
                yield {**setting, **_held(images, right, within, lost, won, repeats)}


def _held(images: int, right: int, within: float, lost: int, won: int, repeats: int) -> Row:
    """In several orders of the images that the dense network has right."""
    orders = max(ORDERS, 40_000 // images)
    cells, drop = [(lost, won)] * (repeats // orders), 100 * (lost - won) / images
    stopped, below, above = 0.0, 0.0, 0.0
    for seed in range(orders):
        shown, bounds = simulate(ours(within, 10.0), cells, right, images, seed)
        stopped += float(shown.mean()) / orders
        below += 100 * float((drop < bounds.low - 1e-9).mean()) / orders
        above += 100 * float((drop > bounds.high + 1e-9).mean()) / orders
    return {"shown": round(stopped), "hold": round(100 - below - above, 2),
            "below": round(below, 2), "above": round(above, 2)}  # fmt: skip


def subset(repeats: int) -> Iterable[Row]:
    """How often the bounds of a subset hold, exactly."""
    del repeats
    for images, share in itertools.product((1_000, 10_000), (0.5, 0.88, 1.0)):
        right, least, rows = round(images * share), math.inf, 0
        below = dict.fromkeys((95.0, 94.5, 94.0), 0)
        for seen, lost, won in itertools.product(
            SEEN, (0, 1, 3, 10, 20, 40, 100, 300, 500), (0, 1, 4, 10, 30, 100, 200)
        ):
            if won <= images - right:
                held = 100 * _chance(
                    lost, won, round(seen * right), round(seen * (images - right)), right, images - right
                )
                least, rows = min(least, held), rows + 1
                below = {limit: count + (held < limit - 1e-4) for limit, count in below.items()}
        counted: Row = {f"below {limit:g}": count for limit, count in below.items()}
        yield {"images": images, "right": right, "cases": rows, "least held": round(least, 2), **counted}


SEEN = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)
"""Shares of the images."""


def _chance(lost: int, won: int, right_seen: int, wrong_seen: int, right: int, wrong: int) -> float:
    """Probability that the bounds hold, of cells that lose and win as much."""
    losses, chance_lost = _drawn(lost, right_seen, right)
    wins, chance_won = _drawn(won, wrong_seen, wrong)
    grid = [each.ravel() for each in numpy.meshgrid(losses, wins, indexing="ij")]
    sizes = [numpy.full(len(grid[0]), size) for size in (right_seen, wrong_seen)]
    found = drop_bounds(
        Pairs(grid[0], grid[1], sizes[0], sizes[1], right, wrong, numpy.zeros(len(grid[0]), dtype=bool))
    )
    drop = 100 * (lost - won) / (right + wrong)
    is_held = (found.low <= drop + 1e-9) & (drop <= found.high + 1e-9)
    return 1 - float((numpy.outer(chance_lost, chance_won).ravel() * ~is_held).sum())


def _drawn(among: int, seen: int, total: int) -> tuple[Integers, Floats]:
    """How many of them may be in the sample, and how likely (hypergeometric)."""
    hits = numpy.arange(max(0, seen - (total - among)), min(seen, among) + 1)
    chances = numpy.array([math.exp(_log_chance(int(hit), among, seen, total)) for hit in hits])
    return hits[chances > 1e-7], chances[chances > 1e-7]


def _log_chance(hit: int, among: int, seen: int, total: int) -> float:
    ways = ((among, hit), (total - among, seen - hit), (total, seen))
    first, second, all_ways = (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for n, k in ways)
    return first + second - all_ways


def images(repeats: int) -> Iterable[Row]:
    """Of the 10,000 that the cells of the ResNet-20 take on average, in per cent, and which of the bounds hold."""
    error = 0.05 / (len([look for look in GROWTH if look < IMAGES]) + 1)
    copies = max(1, repeats // (100 * ORDERS))  # there are 60 cells, and many rules
    drops = numpy.array([100 * (lost - won) / IMAGES for lost, won in RESNET20] * copies)
    for within in (0.5, 1.0):
        rules = {
            "ours": ours(within, 100.0),
            "ours, floor of 20": ours(within, 20.0),
            "ours, floor of 10": ours(within, 10.0),
            "ours, 95 % at each look": width(drop_bounds, within, every=True),
            "normal, 95 % at each look": width(normal(1.96), within, every=True),
            "exact, 95 % at each look": width(exact(0.0125), within, every=True),
            "exact, proven at all looks": width(exact(error / 4), within, every=False),
            "Bernstein-Serfling, proven at all looks": width(serfling(error), within, every=False),
        }
        for name, rule in rules.items():
            found = [simulate(rule, RESNET20 * copies, RIGHT, IMAGES, seed) for seed in range(ORDERS)]
            held = numpy.array([(drops >= one.low - 1e-9) & (drops <= one.high + 1e-9) for _, one in found])
            yield {"within": within, "shown": _share(shown for shown, _ in found),
                   "hold": round(100 * float(held.mean()), 2), "bounds": name}  # fmt: skip
        yield {"within": within, "shown": _share([betting(RESNET20, within, 0)]), "hold": "",
               "bounds": "betting, proven at all looks"}  # fmt: skip


def _share(shown: Iterable[Integers]) -> float:
    return round(100 * float(numpy.mean([*shown])) / IMAGES, 1)


TABLES = {"coverage": coverage, "images": images, "subset": subset}


def main() -> None:
    """Print a table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", choices=TABLES, default="images")
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--out", help="write the table as CSV")
    options = parser.parse_args()
    rows: list[Row] = []
    for row in TABLES[options.table](options.repeats):
        if not rows:
            sys.stdout.write("".join(f"{name:>12}" for name in row) + "\n")
        rows.append(row)
        sys.stdout.write("".join(f"  {value!s:>10}" for value in row.values()) + "\n")
        sys.stdout.flush()
    if options.out:
        with open(options.out, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
