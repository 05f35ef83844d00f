"""Arrow files that are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from faces.core.files import atomic_write


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table as an Arrow file, whole or not at all; readers can map the file into memory."""
    with (
        atomic_write(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
