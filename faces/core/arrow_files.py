"""Read and write Arrow files: what is read is checked in full before anything uses it."""

from __future__ import annotations

from mmap import mmap

import pyarrow as pa

from faces.core.storage import Folder


def write_arrow(folder: Folder, name: str, table: pa.Table) -> None:
    """Write a table as an Arrow IPC file, which readers can memory-map.

    Args:
        folder: the folder that the file is written into.
        name: name of the file; an existing file is replaced, whole and at once.
        table: the rows to write.
    """
    with folder.put(name) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def open_arrow(content: mmap | bytes) -> pa.RecordBatchFileReader:
    """Open the content of an Arrow IPC file, of which nothing is copied.

    Raises:
        pa.ArrowException, OSError, ValueError: it is no Arrow file.
    """
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(content)))


def read_arrow(content: mmap | bytes) -> pa.Table:
    """Read all rows of an Arrow IPC file, of which nothing is copied.

    Raises:
        pa.ArrowException, OSError, ValueError: it is no Arrow file, or its rows contradict
            themselves: an offset out of range would read foreign memory.
    """
    table = open_arrow(content).read_all()
    table.validate(full=True)
    return table
