"""Change any byte or any value of a stored file, with its digests signed anew, and read it all.

It runs in a process of its own, since a crash ends the process:

    python -X faulthandler -m tests.support.changed_files FOLDER EXAMPLES SEED KIND

FOLDER has a dataset and an index. For each of EXAMPLES changes of a KIND ("bytes", "json",
"values", "older" for files of an older format, or "stores" for those of other programs) everything
that reads the files is run: it gives an answer that is JSON, or an error of one line. It prints the
numbers of answers and of errors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from faces.core.documents import json_text
from faces.core.errors import FaceTroveError
from faces.dataset.deletions import read_deletions
from faces.dataset.importers import SUFFIXES, read_embeddings_file
from faces.dataset.schema import matrix_of
from faces.dataset.store import Dataset
from faces.dataset.upgrade import upgrade_dataset
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.faiss_library import faiss
from indexer.purge import purge
from indexer.upgrade import upgrade_index
from indexer.verify import verify_index
from search.searcher import FaceSearcher
from tests.support.manifests import manifest_in_force, sign_current
from tests.support.small_collections import DIMENSION
from tests.support.vectors import unit_vectors

PROBES = unit_vectors(3, DIMENSION, seed=1)

ODD_NUMBERS = [-1, 0, 1, 2, 255, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63), 2**64, 10**30]
ODD_FLOATS = [float("nan"), float("inf"), -float("inf"), -1.0, 1e-45, 1e38, 1e308, 0.5]
ODD_TEXTS = ["", "x", "../../../etc/passwd", "/dev/zero", "\0", "\n", "\ud7ff", "a" * 5000, "12"]
ODD_TEXTS += ["exact", "IVF4,SQ8", "IVF99999999,Flat", "cc" * 32, "tar://a::/b.tar", "file://%00"]
JSON_VALUES = st.one_of(
    st.sampled_from([None, True, False, [], {}, [[]], {"a": 1}, *ODD_NUMBERS]),
    st.sampled_from(ODD_FLOATS),
    st.sampled_from(ODD_TEXTS),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)


def stored_files(folder: Path) -> list[str]:
    """Return the names of all files of the dataset and of the index, sorted."""
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if not name.endswith(".lock"))


def sign(folder: Path) -> None:
    """Write all digests of an index anew, as anybody who can write the folder can."""
    index = folder / "index"
    with contextlib.suppress(ValueError, OSError, KeyError, TypeError, AttributeError, IndexError):
        path = manifest_in_force(index)
        document = json.loads(path.read_text())
        for entry in document["segments"]:
            for name in entry["files"]:
                entry["files"][name] = _digest(index / "segments" / entry["segment_id"] / name)
        if document["deletions"] is not None:
            place = index / "deletions" / document["deletions"]["name"]
            document["deletions"]["file"] = _digest(place)
        path.write_text(json.dumps(document))
    with contextlib.suppress(ValueError, OSError, IndexError):
        sign_current(index)


def _digest(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def change_bytes(data: st.DataObject, folder: Path) -> str:
    """Change, insert or cut bytes of a file, and sign what has digests."""
    name = data.draw(st.sampled_from(stored_files(folder)), label="file")
    path = folder / name
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, max(0, len(content) - 1)), label="start")
    if data.draw(st.booleans(), label="near an end"):
        start = start % 512 if data.draw(st.booleans()) else len(content) - 1 - start % 512
    start = max(0, start)
    number = st.sampled_from(ODD_NUMBERS[:6]).map(lambda n: n.to_bytes(4, "little", signed=True))
    new = data.draw(st.one_of(number, st.binary(max_size=12)), label="bytes")
    stop = start + data.draw(st.sampled_from([len(new), 0, 1, 100]), label="replaced")
    content[start:stop] = new
    path.write_bytes(content)
    if not name.startswith("index/manifest") and name != "index/CURRENT":
        sign(folder)
    elif name != "index/CURRENT":
        with contextlib.suppress(OSError, IndexError, ValueError):
            sign_current(folder / "index")
    return name


def places_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Iterate over the places of all values in a document, each a series of keys."""
    yield place
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, found in items:
        yield from places_in(found, (*place, key))


def change_json(data: st.DataObject, folder: Path) -> str:
    """Change, add or take out a field of a JSON document, and sign the manifest."""
    index = folder / "index"
    manifest = f"index/{manifest_in_force(index).name}"
    names = [name for name in stored_files(folder) if name.endswith(".json")]
    name = data.draw(st.sampled_from([manifest, *names]), label="file")
    document = json.loads((folder / name).read_text())
    place = data.draw(st.sampled_from([*places_in(document)]), label="place")
    kind = data.draw(st.sampled_from(["change", "change", "take out", "add"]), label="kind")
    value = data.draw(JSON_VALUES, label="value")
    if not place:
        document = value
    else:
        around = document
        for key in place[:-1]:
            around = around[key]
        if kind == "change" or isinstance(around, list):
            around[place[-1]] = value
        elif kind == "take out":
            del around[place[-1]]
        else:
            around["more"] = value
    text = json.dumps(document)
    (folder / name).write_text(text)
    if name == manifest:
        sign_current(index)
    return f"{name} {place}"


def change_values(data: st.DataObject, folder: Path) -> str:
    """Change a column of an Arrow or Parquet file: its values, type, nulls or name."""
    names = [n for n in stored_files(folder) if n.endswith((".arrow", ".parquet", ".npy"))]
    name = data.draw(st.sampled_from(names), label="file")
    path = folder / name
    if name.endswith(".npy"):
        vectors = np.load(path)
        row = data.draw(st.integers(0, vectors.size - 1))
        vectors.reshape(-1)[row] = data.draw(st.sampled_from(ODD_FLOATS[:6]))
        np.save(path, vectors.astype(data.draw(st.sampled_from(["<f4", "<f4", "<f8", "<i4"]))))
    else:
        table = pq.read_table(path) if name.endswith(".parquet") else _read_arrow(path)
        column = data.draw(st.integers(0, table.num_columns - 1), label="column")
        table = changed_column(data, table, column)
        if name.endswith(".parquet"):
            pq.write_table(table, path, write_page_checksum=True)
        else:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
    sign(folder)
    return name


def change_store(data: st.DataObject, folder: Path) -> str:
    """Write another program's embeddings as a file, with changed bytes."""
    suffix = data.draw(st.sampled_from(SUFFIXES), label="suffix")
    path = folder / f"store{suffix}"
    rows = [
        {"path": f"{n}.jpg", "encoding": [0.1 * n] * 128, "location": [1, 9, 9, 1]}
        for n in range(1, 4)
    ]
    table = pa.Table.from_pylist(rows)
    if suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix == ".npz":
        np.savez(path, **{name: np.array([row[name] for row in rows]) for name in rows[0]})
    elif suffix == ".parquet":
        pq.write_table(table, path)
    else:
        compression = data.draw(st.sampled_from(["uncompressed", "lz4"]), label="compression")
        pa.feather.write_feather(table, str(path), compression=compression)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1), label="start")
    number = st.sampled_from(ODD_NUMBERS[:6]).map(lambda n: n.to_bytes(4, "little", signed=True))
    new = data.draw(st.one_of(number, st.binary(max_size=8)), label="bytes")
    content[start : start + len(new)] = new
    path.write_bytes(content)
    return path.name


def _read_arrow(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def changed_column(data: st.DataObject, table: pa.Table, number: int) -> pa.Table:
    """Return a table with a change in a column, as strange as Arrow can write it."""
    field, values = table.schema.field(number), table.column(number)
    kind = data.draw(st.sampled_from(["values", "values", "null", "type", "drop", "name", "rows"]))
    if kind == "drop":
        return table.remove_column(number)
    if kind == "rows":
        return table.slice(data.draw(st.integers(0, len(table))))
    if kind == "name":
        other = data.draw(st.sampled_from([*table.column_names, "other", ""]))
        return table.rename_columns(
            [other if at == number else name for at, name in enumerate(table.column_names)]
        )
    if kind == "null":
        new = pa.nulls(len(table), field.type)
    elif kind == "type":
        types = [pa.string(), pa.int64(), pa.float32(), pa.binary(), pa.date32(), pa.null()]
        types += [pa.timestamp("us"), pa.list_(pa.string()), pa.bool_(), pa.large_string()]
        new = pa.nulls(len(table), data.draw(st.sampled_from(types)))
    else:
        new = odd_values(data, values.combine_chunks())
    return table.set_column(number, pa.field(field.name, new.type), new)


def odd_values(data: st.DataObject, values: pa.Array) -> pa.Array:
    """Return values of the same type, of which one is an odd one."""
    kind = values.type
    listed = values.to_pylist()
    if not listed:
        return values
    row = data.draw(st.integers(0, len(listed) - 1))
    if pa.types.is_string(kind):
        listed[row] = data.draw(st.sampled_from(ODD_TEXTS))
        if data.draw(st.booleans()):
            return pa.array([*map(_invalid_text, listed)], pa.binary()).view(pa.string())
    elif pa.types.is_dictionary(kind):
        listed[row] = data.draw(st.sampled_from(ODD_TEXTS))
        return pa.array(listed, kind.value_type).dictionary_encode()
    elif pa.types.is_fixed_size_list(kind):
        listed[row] = [data.draw(st.sampled_from([None, *ODD_FLOATS[:6]]))] * kind.list_size
    elif pa.types.is_floating(kind):
        listed[row] = data.draw(st.sampled_from(ODD_FLOATS[:6]))
    elif pa.types.is_integer(kind):
        limit = 2 ** (kind.bit_width - 1)
        listed[row] = data.draw(st.sampled_from([-limit, limit - 1, -1, 0, 1, 99]))
    elif pa.types.is_list(kind):
        return pa.array([[None]] * len(listed), kind)
    elif pa.types.is_binary(kind):
        listed[row] = data.draw(st.binary(max_size=200))
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        number = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        return pa.array([2 ** (number.bit_width - 1) - 1] * len(listed), number).view(kind)
    return pa.array(listed, kind)


def _invalid_text(text: str | None) -> bytes | None:
    return None if text is None else text.encode() + b"\xff"


def strict_json(value: Any) -> None:
    """Fail unless a value is turned into JSON as the command line does it."""
    json.loads(json_text(value), parse_constant=_no_constant)


def _no_constant(text: str) -> None:
    raise AssertionError(f"the output has {text}, which is no JSON")


def search(folder: Path) -> None:
    searcher = FaceSearcher.open(folder / "index")
    for found in (
        searcher.search_embeddings(PROBES, k=min(5, len(searcher)) or None),
        searcher.search_embeddings(PROBES[:1], min_similarity=-1.0),
        searcher.search_embeddings(PROBES[:1], where="year > 20 AND sharpness > 0"),
    ):
        for matches in found:
            strict_json([match.to_json() for match in matches])
            assert (np.abs(matches.similarities) <= 1.001).all()
            assert (np.diff(matches.similarities) <= 0).all()
        found.to_arrow().to_pylist()


def verify(folder: Path) -> None:
    strict_json(verify_index(folder / "index", folder / "dataset").to_json())


def describe(folder: Path) -> None:
    dataset = Dataset.open(folder / "dataset")
    strict_json([dataset.settings.to_json(), dataset.runs(), vars(dataset.counts())])
    strict_json(dataset.kept_away().to_pylist())
    strict_json([one.to_json() for one in read_deletions(dataset.path).undoable])
    dataset.faces().to_arrow().to_pylist()
    dataset.photos(["width", "height", "reason"]).to_pylist()
    for part in dataset.committed_parts():
        dataset.report(part)


def read_store(folder: Path) -> None:
    for path in folder.glob("store*"):
        imported = read_embeddings_file(path, folder)
        assert np.isfinite(matrix_of(imported.rows["embedding"])).all()


def update(folder: Path) -> None:
    build_index(folder / "dataset", folder / "index")


def delete(folder: Path) -> None:
    delete_faces(folder / "dataset", folder / "index", "person = 'person 1'")


def purge_all(folder: Path) -> None:
    strict_json(purge(folder / "dataset", folder / "index", names="person 2").to_json())


def change_any(data: st.DataObject, folder: Path) -> str:
    """Change bytes, a document or a column."""
    changes = (change_bytes, change_json, change_values)
    return data.draw(st.sampled_from(changes), label="kind")(data, folder)


def carry_over(folder: Path) -> None:
    upgrade_index(folder / "index")
    search(folder)


def carry_dataset_over(folder: Path) -> None:
    upgrade_dataset(folder / "dataset")
    describe(folder)


STORES: tuple[Callable[[Path], None], ...] = (read_store,)
READING: tuple[Callable[[Path], None], ...] = (search, verify, describe)
OLDER: tuple[Callable[[Path], None], ...] = (carry_over, carry_dataset_over)
WRITING: tuple[Callable[[Path], None], ...] = (update, delete, purge_all)
CHANGES = {
    "older": change_any,
    "bytes": change_bytes,
    "json": change_json,
    "values": change_values,
    "stores": change_store,
}


def main(folder: Path, examples: int, number: int, kind: str) -> None:
    """Change copies of a folder, and count the answers and the errors."""
    faiss.omp_set_num_threads(1)
    outcomes: Counter[str] = Counter()
    work = folder.with_name(f"{folder.name}-changed-{kind}")

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def whatever_is_changed_is_refused_or_answered(data: st.DataObject) -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(folder, work)
        what = CHANGES[kind](data, work)
        writing = data.draw(st.sampled_from([None, None, None, *WRITING]))
        operations = (*READING, writing) if writing else READING
        operations = {"stores": STORES, "older": OLDER}.get(kind, operations)
        for operation in operations:
            sys.stderr.write(f"{operation.__name__} after {what}\n")
            sys.stderr.flush()
            try:
                operation(work)
                outcomes["answers"] += 1
            except FaceTroveError as error:
                assert len(str(error).splitlines()) == 1, str(error)
                outcomes["errors"] += 1

    whatever_is_changed_is_refused_or_answered()
    sys.stdout.write(f"{json.dumps(outcomes)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
