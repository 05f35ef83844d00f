"""Accuracy of the embeddings on LFW, through the real embed job.

    python -m benchmarks.lfw_accuracy LFW_FOLDER [--embedder NAME] [--dataset FOLDER]

LFW_FOLDER holds `photos/<Name>/<Name>_NNNN.jpg` and `pairsDevTrain.txt` (Labeled Faces in the
Wild, View 1). The face nearest the centre stands for a photo. One threshold is chosen on all
pairs at once, so the accuracy is that of the best threshold, not a cross-validated one.

Rank-1: one photo of every person, drawn at random, is the gallery; all other photos are
probes, and count when their nearest neighbour is the right person. Mean of ten draws.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beam_jobs.embed_photos import embed_photos
from benchmarks.measure import print_header
from faces.dataset import Dataset
from faces.models import ModelChoice
from faces.parts import embedding_matrix

CENTRE_REACH = 0.16
"""The labelled face's centre lies within this share of the photo's side from the centre."""


def central_faces(dataset: Dataset) -> dict[str, NDArray[np.float32]]:
    """Embedding of the face nearest the centre, by photo file name, where one is near it."""
    photos = dataset.photos(["width", "height"])
    sizes = dict(
        zip(
            photos["uri"].to_pylist(),
            zip(photos["width"].to_pylist(), photos["height"].to_pylist(), strict=True),
            strict=True,
        )
    )
    nearest: dict[str, tuple[float, NDArray[np.float32]]] = {}
    for table in dataset.faces(["uri", "box", "embedding"]):
        rows = zip(
            table["uri"].to_pylist(), table["box"].to_pylist(), embedding_matrix(table), strict=True
        )
        for uri, (x, y, width, height), embedding in rows:
            photo_width, photo_height = sizes[uri]
            offset = np.hypot(
                (x + width / 2) / photo_width - 0.5, (y + height / 2) / photo_height - 0.5
            )
            if uri not in nearest or offset < nearest[uri][0]:
                nearest[uri] = (float(offset), embedding)
    return {
        Path(uri).stem: embedding
        for uri, (offset, embedding) in nearest.items()
        if offset <= CENTRE_REACH
    }


def read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Names of two photos and whether they show one person, in LFW's own format."""
    pairs = []
    for line in path.read_text().splitlines()[1:]:
        match line.split("\t"):
            case [name, first, second]:
                pairs.append((f"{name}_{int(first):04d}", f"{name}_{int(second):04d}", True))
            case [name, first, other, second]:
                pairs.append((f"{name}_{int(first):04d}", f"{other}_{int(second):04d}", False))
    return pairs


def best_accuracy(
    similarities: NDArray[np.float32], mated: NDArray[np.bool_]
) -> tuple[float, float]:
    """Accuracy at the best threshold, and that threshold."""
    order = np.argsort(-similarities)
    right = np.cumsum(mated[order]) + (~mated).sum() - np.cumsum(~mated[order])
    best = int(np.argmax(right))
    return float(right[best] / len(mated)), float(similarities[order][best])


def rank_one(faces: dict[str, NDArray[np.float32]], seed: int) -> tuple[float, int, int]:
    """Share of probes whose nearest gallery face is their person's; probes; gallery size."""
    names = sorted(faces)
    people = np.array([name.rpartition("_")[0] for name in names])
    vectors = np.stack([faces[name] for name in names])
    order = np.random.default_rng(seed).permutation(len(names))
    _, first = np.unique(people[order], return_index=True)
    gallery = order[first]
    probes = np.setdiff1d(order, gallery)
    nearest = gallery[np.argmax(vectors[probes] @ vectors[gallery].T, axis=1)]
    return float((people[nearest] == people[probes]).mean()), len(probes), len(gallery)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw", type=Path)
    parser.add_argument("--embedder", default=ModelChoice.embedder)
    parser.add_argument("--dataset", type=Path, help="keep the dataset here, or continue it")
    options = parser.parse_args()
    print_header()
    with tempfile.TemporaryDirectory() as scratch:
        dataset_dir = options.dataset or Path(scratch) / "lfw.dataset"
        start = time.perf_counter()
        summary = embed_photos(
            options.lfw / "photos", dataset_dir, models=ModelChoice(embedder=options.embedder)
        )
        seconds = time.perf_counter() - start
        total = summary.total
        print(
            f"photos            {summary.found.num_photos} found, {total.num_photos} in the dataset"
        )
        print(f"                  {total.by_status} {total.by_reason or ''}")
        print(f"                  {summary.done.num_photos} embedded now in {seconds:.1f} s")
        print(f"faces             {total.num_faces}")
        faces = central_faces(Dataset.open(dataset_dir))
        print(f"labelled face     found in {len(faces) / total.num_photos:.4%} of the photos")
        pairs = read_pairs(options.lfw / "pairsDevTrain.txt")
        missing = [pair for pair in pairs if pair[0] not in faces or pair[1] not in faces]
        if summary.found.num_photos != total.num_photos:
            sys.exit("photos are missing from the dataset")
        # A pair that cannot be compared is answered wrongly, whatever the threshold.
        compared = [pair for pair in pairs if pair not in missing]
        similarities = np.array([faces[a] @ faces[b] for a, b, _ in compared])
        accuracy, threshold = best_accuracy(similarities, np.array([m for _, _, m in compared]))
        accuracy *= len(compared) / len(pairs)
        print(f"pairs             {len(pairs)}, {len(missing)} without a face on both sides")
        print(f"accuracy          {accuracy:.4f} at the best threshold, similarity {threshold:.3f}")
        draws = [rank_one(faces, seed) for seed in range(10)]
        shares = [share for share, _, _ in draws]
        print(
            f"rank-1            {np.mean(shares):.4f} +- {np.std(shares):.4f} over ten draws, ",
            end="",
        )
        print(f"{draws[0][1]} probes in a gallery of {draws[0][2]}")


if __name__ == "__main__":
    main()
