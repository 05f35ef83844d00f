"""Accuracy on LFW, with the real embed job and the real index.

    python -m benchmarks.lfw_accuracy LFW_FOLDER [--embedder NAME] [--work FOLDER]

LFW_FOLDER holds `photos/<Name>/<Name>_NNNN.jpg` and `pairsDevTrain.txt` (Labeled Faces in the
Wild, View 1). The central face of each photo is used. The error rates are those of
`facetrove evaluate pairs` and `facetrove evaluate identify`, the latter with one and with three
photos of each person enrolled.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from beam_jobs.embed_photos import embed_photos
from benchmarks.measure import print_header
from faces.dataset.schema import embedding_matrix
from faces.dataset.store import Dataset
from faces.models.choice import ModelChoice
from facetrove.evaluation.identify import evaluate_identification
from facetrove.evaluation.labels import choose_faces
from facetrove.evaluation.pair_lists import read_pairs
from facetrove.evaluation.pairs import evaluate_pairs
from facetrove.evaluation.protocol import Protocol
from facetrove.evaluation.tables import Table, accept_table, closed_set_table, open_set_table, said
from indexer.build import build_index

NUM_SPLITS = 50
"""Number of random splits. The rank-1 rates of two sets of ten splits differ by 0.001, because
people with a hundred photos weigh much."""


def central_faces(dataset: Dataset) -> dict[str, NDArray[np.float32]]:
    """Return the embedding of each photo's central face, by the photo's name without suffix."""
    photos = dataset.photos(["width", "height"])
    faces = pa.concat_tables(dataset.faces(["photo_id", "uri", "box", "embedding"]))
    faces = faces.take(pa.array(choose_faces(faces, "central", photos)))
    names = (Path(uri).stem for uri in faces["uri"].to_pylist())
    return dict(zip(names, embedding_matrix(faces), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw", type=Path, help="folder of LFW's photos and pairs")
    parser.add_argument("--embedder", default=ModelChoice.embedder, help="name of an embedder")
    parser.add_argument("--work", type=Path, help="folder that keeps the dataset and the index")
    options = parser.parse_args()
    print_header()
    with tempfile.TemporaryDirectory() as scratch:
        measure(options.lfw, options.work or Path(scratch), options.embedder)


def measure(lfw: Path, work_dir: Path, embedder: str) -> None:
    """Embed and index LFW, and print all error rates."""
    work_dir.mkdir(parents=True, exist_ok=True)
    dataset, index = work_dir / "lfw.dataset", work_dir / "lfw.index"
    start = time.perf_counter()
    summary = embed_photos(lfw / "photos", dataset, models=ModelChoice(embedder=embedder))
    seconds = time.perf_counter() - start
    build_index(dataset, index, recipe="exact")
    total = summary.total
    print(f"{total.num_photos} photos, {total.num_faces} faces, embedded in {seconds:.1f} s")
    pairs = evaluate_pairs(dataset, read_pairs(lfw / "pairsDevTrain.txt"))
    print(f"accuracy {pairs.accuracy:.4f} +- {pairs.accuracy_error or 0:.4f}, ", end="")
    print(f"{pairs.num_without_face} pairs without a face")
    print(f"equal error rate {said(pairs.equal_error_rate)}")
    show(accept_table(pairs))
    for enrol in (1, 3):
        protocol = Protocol(enrol=enrol, splits=NUM_SPLITS)
        found = evaluate_identification(index, people="folder", face="central", protocol=protocol)
        people, photos = found.closed_gallery
        print(f"{enrol} enrolled per person: {people:.0f} people, {photos:.0f} photos, ", end="")
        print(f"{found.num_closed} searches in {protocol.splits} splits")
        show(closed_set_table(found))
        show(open_set_table(found))


def show(table: Table) -> None:
    """Print a table with aligned columns."""
    rows = [table.titles, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
