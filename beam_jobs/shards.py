"""The shards of a plan: the units of work, commit and retry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from beam_jobs.in_flight import PoisonRecord, photo_keys
from beam_jobs.plan import Plan

MIN_SHARD_PHOTOS, MAX_SHARD_PHOTOS = 4, 128
"""Photos in a shard: what a killed job may have to do again, per worker. Some seconds' work."""

SHARDS_PER_WORKER = 16
"""In a small collection shards are smaller, so that stopping early loses little."""


class Shard(NamedTuple):
    """Rows `start` to `stop` of a plan; `careful`: one photo at a time."""

    part: str
    start: int
    stop: int
    careful: bool = False

    def photos_of(self, plan: Plan) -> pa.Table:
        """The shard's rows of the photos to do."""
        return plan.to_do.slice(self.start, self.stop - self.start)


def cut_into_shards(plan: Plan, part_names: Iterator[str], *, processes: int) -> list[Shard]:
    """Cut a plan into shards; possible copies of one photo stay together, if not too many.

    Args:
        plan: what to do.
        part_names: names of the parts that the shards become.
        processes: number of workers that there are at least.
    """
    group = plan.group
    even = -(-len(group) // (processes * SHARDS_PER_WORKER))
    size = min(MAX_SHARD_PHOTOS, max(MIN_SHARD_PHOTOS, even))
    shards = []
    start = 0
    while start < len(group):
        stop = min(start + size, len(group))
        while stop < min(len(group), start + 2 * size) and group[stop] == group[stop - 1]:
            stop += 1
        shards.append(Shard(next(part_names), start, stop))
        start = stop
    return shards


class Sorted(NamedTuple):
    """Shards in the order to be done, and rows of the plan that are not tried any more."""

    shards: list[Shard]
    quarantined: list[int]


def with_suspects_apart(
    shards: Sequence[Shard], plan: Plan, suspects: PoisonRecord, part_names: Iterator[str]
) -> Sorted:
    """Give each suspect, and what may be its copies, a shard of their own, done last.

    Args:
        shards: shards that are still to do.
        plan: the plan that they are of.
        suspects: photos that workers died on; too often, and they are given up.
        part_names: names of the parts that further shards become.
    """
    hopeless = suspects.quarantined()
    apart: list[Shard] = []
    others: list[Shard] = []
    quarantined: list[int] = []
    for shard in shards:
        keys = photo_keys(shard.photos_of(plan))
        group = plan.group[shard.start : shard.stop].tolist()
        suspected = {group[row] for row, key in enumerate(keys) if key in suspects}
        if not suspected:
            others.append(shard)
            continue

        kinds = [
            ("given up", 0)
            if key in hopeless
            else ("apart", member)
            if member in suspected
            else ("others", 0)
            for key, member in zip(keys, group, strict=True)
        ]
        for (name, _), members in groupby(range(len(keys)), kinds.__getitem__):
            rows = [shard.start + row for row in members]
            if name == "given up":
                quarantined += rows
                continue
            careful = name == "apart"
            cut = Shard(next(part_names), rows[0], rows[-1] + 1, careful)
            (apart if careful else others).append(cut)
    return Sorted([*others, *apart], quarantined)
