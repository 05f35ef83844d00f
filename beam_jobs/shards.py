"""Cutting a plan into shards, the units of work, commit and retry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from beam_jobs.in_flight import PoisonRecord, photo_keys
from beam_jobs.plan import Plan

MIN_SHARD_PHOTOS, MAX_SHARD_PHOTOS = 4, 128
"""Numbers of photos in a shard: some seconds of work, which each worker of a killed job loses."""

SHARDS_PER_WORKER = 16
"""Number of shards for each worker that a small collection is cut into, within the bounds of the
size of a shard: its shards are smaller, so that a killed job loses little."""


class Shard(NamedTuple):
    """A shard of photos that one worker embeds and commits at once.

    Attributes:
        part: name of the part that the shard becomes.
        start, stop: the shard's rows of `Plan.to_do`; `stop` is exclusive.
        careful: whether to embed one photo at a time, so that a photo that kills its worker is
            identified.
    """

    part: str
    start: int
    stop: int
    careful: bool = False

    def photos_of(self, plan: Plan) -> pa.Table:
        """Return the shard's rows of `Plan.to_do`."""
        return plan.to_do.slice(self.start, self.stop - self.start)


def cut_into_shards(plan: Plan, part_names: Iterator[str], *, processes: int) -> list[Shard]:
    """Cut the photos of a plan into shards.

    Possible copies of each other stay in one shard, unless it would become over twice as large.

    Args:
        plan: the plan of the run.
        part_names: unused part names, of which each shard takes one.
        processes: number of worker processes.
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


class IsolatedShards(NamedTuple):
    """The result of `isolate_suspects`.

    Attributes:
        shards: shards in the order in which they are to be done.
        quarantined: rows of `Plan.to_do` with quarantined photos, which are in no shard.
    """

    shards: list[Shard]
    quarantined: list[int]


def isolate_suspects(
    shards: Sequence[Shard], plan: Plan, poison_record: PoisonRecord, part_names: Iterator[str]
) -> IsolatedShards:
    """Cut shards anew so that each suspect is alone with its possible copies, in shards done last.

    Suspects are the photos in the poison record. Those that it has quarantined are in no shard.

    Args:
        shards: shards that are still to be done.
        plan: the plan that the shards were cut from.
        poison_record: photos that were in flight when workers died.
        part_names: unused part names, of which each new shard takes one.
    """
    quarantined_keys = poison_record.quarantined()
    isolated: list[Shard] = []
    others: list[Shard] = []
    quarantined: list[int] = []
    for shard in shards:
        keys = photo_keys(shard.photos_of(plan))
        group = plan.group[shard.start : shard.stop].tolist()
        suspect_groups = {group[row] for row, key in enumerate(keys) if key in poison_record}
        if not suspect_groups:
            others.append(shard)
            continue

        kinds = [
            ("quarantined", 0)
            if key in quarantined_keys
            else ("isolated", group_id)
            if group_id in suspect_groups
            else ("others", 0)
            for key, group_id in zip(keys, group, strict=True)
        ]
        for (name, _), members in groupby(range(len(keys)), kinds.__getitem__):
            rows = [shard.start + row for row in members]
            if name == "quarantined":
                quarantined += rows
                continue
            careful = name == "isolated"
            cut = Shard(next(part_names), rows[0], rows[-1] + 1, careful)
            (isolated if careful else others).append(cut)
    return IsolatedShards([*others, *isolated], quarantined)
