"""Winning tickets against their controls, and late rewinding: the files of schedules/retraining/ at many sparsities.

    python benchmarks/lottery.py [--seeds 0,1,2] [--levels 10,14,18,21,24] [--out CSV]

Each level removes a fifth of what remains, so that level n is at sparsity 1 - 0.8**n. A run of n levels passes through
all that are smaller: it is trained once, measured at each, and the controls of a level, which differ from the ticket in
their last stretch only, go on from its state (``schedengine train`` with the file at that level ends with the same
weights). A seed whose rows are in the CSV (benchmarks/results/lottery/lottery.csv) is not run again.

The table at the end has test top-1, mean and standard deviation over the seeds, and each control's points below the
ticket of the same seed.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas

from schedengine import dump, load_schedule
from schedengine.schedule.plan import Timeline
from schedengine.training.loop import train_epoch
from schedengine.training.session import Session
from schedengine.training.settings import Settings
from schedengine.zoo.seeds import reseed

FOLDER = Path(__file__).parent.parent / "schedules" / "retraining"
TICKET, LATE = "lottery_ticket", "weight_rewinding"
CONTROLS = ("lottery_reinitialised", "lottery_shuffled")
Row = dict[str, Any]


def session_of(file: str, levels: int, seed: int) -> Session:
    """A run of a file with another number of levels."""
    schedule = load_schedule(FOLDER / f"{file}.yaml")
    phases = (dataclasses.replace(one, repeat=levels) if one.name == "level" else one for one in schedule.phases)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{file}.yaml"
        path.write_text(dump(dataclasses.replace(schedule, phases=tuple(phases))), encoding="utf-8")
        return Session.of(Settings(schedule=str(path), model="digits_cnn", seed=seed), path)


def stretches(session: Session) -> Iterator[str]:
    """Train on; the name of a phase whenever one of its repeats ends."""
    ends = {span.stop: span.name for span in Timeline.of(session.schedule).spans}
    for epoch in session.scheduler.epochs():
        reseed(session.settings.seed, "epoch", epoch)
        train_epoch(session.network, session.loader, session.optimizer, session.scheduler, epoch, session.compute)
        session.scheduler.on_epoch_end(epoch)
        if epoch + 1 in ends:
            yield ends[epoch + 1]


def measured(session: Session, file: str, level: int) -> Row:
    """The network as it is, on the test images."""
    found = session.evaluate("test")
    assert found is not None
    sparsity = round(session.sparsity(session.counts()), 4)
    row = {"file": file, "seed": session.settings.seed, "level": level, "sparsity": sparsity}
    print({**row, "top1": round(found.top1, 2)}, flush=True)
    return {**row, "top1": round(found.top1, 4), "loss": round(found.loss, 6)}


def control(file: str, level: int, seed: int, trunk: dict[str, Any]) -> Row:
    """The last stretch of a control, from the state in which the ticket's run ends the level before."""
    session = session_of(file, level - 1, seed)
    session.load_state_dict(copy.deepcopy(trunk))
    assert list(stretches(session)) == ["control"]
    return measured(session, file, level)


def tickets(levels: list[int], seed: int) -> Iterator[Row]:
    """The ticket at each of its levels, and the controls at some of them."""
    session = session_of(CONTROLS[0], max(levels), seed)  # up to its control, a ticket
    for level, _ in zip(range(max(levels) + 1), stretches(session)):
        yield measured(session, TICKET, level)
        if level + 1 in levels:
            for file in CONTROLS:
                yield control(file, level + 1, seed, session.state_dict())


def late(levels: list[int], seed: int) -> Iterator[Row]:
    """Late rewinding at each of its levels."""
    session = session_of(LATE, max(levels), seed)
    for level, _ in enumerate(stretches(session)):
        yield measured(session, LATE, level)


def summary(rows: pandas.DataFrame, levels: list[int]) -> pandas.DataFrame:
    """A row for each level and file: top-1 over the seeds, and points below the ticket of the same seed."""
    asked = rows[rows["level"].isin(levels)]
    ticket = asked.loc[asked["file"] == TICKET, ["level", "seed", "top1"]].rename(columns={"top1": "ticket"})
    pairs = asked.merge(ticket, on=["level", "seed"])
    groups = pairs.assign(below_ticket=pairs["ticket"] - pairs["top1"]).groupby(["level", "sparsity", "file"])
    return groups.agg(
        seeds=("seed", "count"),
        mean=("top1", "mean"),
        sd=("top1", "std"),
        worst=("top1", "min"),
        below_ticket=("below_ticket", "mean"),
        below_ticket_sd=("below_ticket", "std"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--levels", default="10,14,18,21,24")
    parser.add_argument("--out", type=Path, default=FOLDER.parent.parent / "benchmarks/results/lottery/lottery.csv")
    options = parser.parse_args()
    seeds, levels = ([int(one) for one in text.split(",")] for text in (options.seeds, options.levels))
    rows = pandas.read_csv(options.out) if options.out.exists() else pandas.DataFrame()
    for seed in seeds:
        if len(rows) and seed in set(rows["seed"]):
            continue
        new = pandas.DataFrame([*tickets(levels, seed), *late(levels, seed)])
        rows = pandas.concat([rows, new]).sort_values(["seed", "file", "level"])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(options.out, index=False)
    print(summary(rows, levels).round(2).to_string())


if __name__ == "__main__":
    main()
