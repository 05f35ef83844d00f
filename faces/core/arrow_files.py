"""Write Arrow files atomically: a file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from faces.core.files import atomic_write


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table atomically as an Arrow IPC file, which readers can memory-map.

    Args:
        path: path of the file; an existing file is replaced.
        table: the rows to write.
    """
    with (
        atomic_write(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
