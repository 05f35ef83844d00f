"""Work files: the photos of shards, and the stored contents that they may be copies of.

Workers read them from the dataset's work folder, one record batch for each shard, so that only
names flow through Beam.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from beam_jobs.plan import Plan
from beam_jobs.shards import Shard
from faces.core.files import atomic_write

ShardWork = tuple[str, str, int, bool]
"""Part name, path prefix of the work files, batch number in them, and `Shard.careful`. These are
plain values, which Beam encodes without pickle."""


def write_work(work_dir: Path, plan: Plan, shards: Sequence[Shard]) -> list[ShardWork]:
    """Write a work file of photos and one of stored contents, with a batch for each shard.

    Returns:
        The Beam element of each shard, in the order of the shards.
    """
    work = str(work_dir / shards[0].part)
    to_do, stored = plan.to_do, plan.stored
    _write_batches(f"{work}.photos", to_do.schema, (shard.photos_of(plan) for shard in shards))
    stored_sizes = stored["num_bytes"].to_numpy()  # ascending
    sizes = to_do["num_bytes"].to_numpy()

    def stored_contents(shard: Shard) -> pa.Table:
        shard_sizes = np.unique(sizes[shard.start : shard.stop])
        first = np.searchsorted(stored_sizes, shard_sizes)
        last = np.searchsorted(stored_sizes, shard_sizes, side="right")
        rows = [np.arange(*span) for span in zip(first, last, strict=True)]
        return stored.take(np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int64))

    _write_batches(f"{work}.known", stored.schema, map(stored_contents, shards))
    return [(shard.part, work, number, shard.careful) for number, shard in enumerate(shards)]


def read_work(work: str, number: int) -> tuple[pa.Table, pa.Table]:
    """Read the photos of a shard, and the stored contents that they may be copies of."""
    return _read_batch(f"{work}.photos", number), _read_batch(f"{work}.known", number)


def _write_batches(path: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        atomic_write(Path(path)) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema, options=options) as writer,
    ):
        for table in tables:
            writer.write_batch(_as_batch(table))


def _as_batch(table: pa.Table) -> pa.RecordBatch:
    table = table.combine_chunks()
    columns = [
        column.chunk(0) if column.num_chunks else pa.array([], column.type)
        for column in table.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _read_batch(path: str, number: int) -> pa.Table:
    with pa.memory_map(path) as file:
        return pa.Table.from_batches([pa.ipc.open_file(file).get_batch(number)])
