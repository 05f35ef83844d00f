"""Work files: the photos of shards, and the stored contents that they may be copies of.

Workers read them from the dataset's work folder, one record batch for each shard, so that only
names flow through Beam.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from beam_jobs.plan import Plan
from beam_jobs.shards import Shard
from faces.core.arrow_files import open_arrow
from faces.core.errors import CorruptFileError, first_line
from faces.core.storage import Folder

ShardWork = tuple[str, str, int, bool]
"""Part name, name of the work files without their endings, batch number in them, and
`Shard.careful`. These are plain values, which Beam encodes without pickle."""


def write_work(folder: Folder, plan: Plan, shards: Sequence[Shard]) -> list[ShardWork]:
    """Write a work file of photos and one of stored contents, with a batch for each shard.

    Returns:
        The Beam element of each shard, in the order of the shards.
    """
    work = shards[0].part
    to_do, stored = plan.to_do, plan.stored
    photos = (shard.photos_of(plan) for shard in shards)
    _write_batches(folder, f"{work}.photos", to_do.schema, photos)
    stored_sizes = stored["num_bytes"].to_numpy()  # ascending
    sizes = to_do["num_bytes"].to_numpy()

    def stored_contents(shard: Shard) -> pa.Table:
        shard_sizes = np.unique(sizes[shard.start : shard.stop])
        first = np.searchsorted(stored_sizes, shard_sizes)
        last = np.searchsorted(stored_sizes, shard_sizes, side="right")
        rows = [np.arange(*span) for span in zip(first, last, strict=True)]
        return stored.take(np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int64))

    _write_batches(folder, f"{work}.known", stored.schema, map(stored_contents, shards))
    return [(shard.part, work, number, shard.careful) for number, shard in enumerate(shards)]


def read_work(folder: Folder, work: str, number: int) -> tuple[pa.Table, pa.Table]:
    """Read the photos of a shard, and the stored contents that they may be copies of."""
    photos, known = (_read_batch(folder, f"{work}.{kind}", number) for kind in ("photos", "known"))
    return photos, known


def _write_batches(
    folder: Folder, name: str, schema: pa.Schema, tables: Iterable[pa.Table]
) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        folder.put(name) as file,
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


def _read_batch(folder: Folder, name: str, number: int) -> pa.Table:
    content = folder.mapped(name)
    try:
        batch = open_arrow(content).get_batch(number)
        batch.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorruptFileError(
            f"{folder.at(name)} is corrupt ({first_line(error)}); run the same command again"
        ) from error
    return pa.Table.from_batches([batch])
