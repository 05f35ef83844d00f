"""Compute the constants of `faces/models/sface.py` on LFW.

    python -m benchmarks.sface_constants LFW_FOLDER

Prints `INPUT_RANGES`: for each quantised layer, the medians over 500 aligned faces of a face's
smallest and largest input. With medians, the quantised network's embeddings are more similar to the
float network's than with the extremes of all faces (0.997 instead of 0.993), and medians reveal
nothing about any single face. Only photos are used that are in no pair of `pairsDevTrain.txt`, so
that the accuracy on those pairs is not biased.

Prints `MEAN_VECTOR`: the mean of the float network's vectors over people, of whom each counts with
the mean of their photos. It reveals nothing about any single person either. The mean vector is
computed from the same people that accuracy is measured on. A mean vector of one half of the people
reduces the errors on the other half as much: see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from faces.core.machine import cache_dir
from faces.models.alignment import ARCFACE_112
from faces.models.downloads import fetch
from faces.models.embedder import NetworkEmbedder
from faces.models.onnx_graph import fold_batch_norm, free_batch, load_folded, quantised_nodes
from faces.models.registry import load_pipeline
from faces.models.sface import SFACE
from faces.models.weights import SFACE_FILE
from faces.photos.decoding import Photo, decode_photo
from facetrove.evaluation.pair_lists import read_pairs

NUM_FACES = 500
"""Number of faces for the input ranges."""

SEED = 1
"""Seed of the choice of these faces."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw", type=Path, help="folder of LFW's photos and pairs")
    lfw = parser.parse_args().lfw
    paths = sorted(lfw.glob("photos/*/*.jpg"))
    in_pairs = {name for pair in read_pairs(lfw / "pairsDevTrain.txt").photos for name in pair}
    print("INPUT_RANGES = (")
    for low, high in input_ranges([path for path in paths if path.stem not in in_pairs]):
        print(f"    ({low:.4g}, {high:.4g}),")
    print(")\n\nMEAN_VECTOR = (")
    rows = mean_vector(paths).reshape(-1, 8)
    print("".join(f"    *({', '.join(f'{value:.2f}' for value in row)}),\n" for row in rows) + ")")


def input_ranges(paths: list[Path]) -> list[tuple[float, float]]:
    """Compute the median smallest and largest input of each quantised layer, over some photos."""
    chosen = np.random.default_rng(SEED).choice(len(paths), NUM_FACES, replace=False)
    (original,) = fetch([SFACE_FILE], cache_dir() / "weights")
    model = fold_batch_norm(free_batch(load_folded(original)))
    inputs = [node.input[0] for node in quantised_nodes(model)]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inputs)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    detector = load_pipeline().detector
    lows: list[list[float]] = []
    highs: list[list[float]] = []
    for number in chosen:
        image = decode_photo(paths[number].read_bytes()).image
        for detection in detector.detect([Photo(image)])[0][:1]:
            crop = ARCFACE_112.crop(image, detection.box, detection.landmarks)
            batch = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
            values = session.run(inputs, {"data": batch})
            lows.append([float(value.min()) for value in values])
            highs.append([float(value.max()) for value in values])
    medians = (np.median(values, axis=0).tolist() for values in (lows, highs))
    return list(zip(*medians, strict=True))


def mean_vector(paths: list[Path]) -> NDArray[np.float64]:
    """Compute the (d,) mean vector over people, whose photos are in a folder each.

    Each photo counts with the first face that is detected.
    """
    detector = load_pipeline().detector
    embedder = NetworkEmbedder(replace(SFACE, mean_vector=()), threads=2)
    vectors: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for path in paths:
        image = decode_photo(path.read_bytes()).image
        for detection in detector.detect([Photo(image)])[0][:1]:
            crop = ARCFACE_112.crop(image, detection.box, detection.landmarks)
            vectors[path.parent.name].append(embedder.embed(crop[np.newaxis])[0])
    means = [np.mean(of_person, axis=0, dtype=np.float64) for of_person in vectors.values()]
    return np.asarray(np.mean(means, axis=0))


if __name__ == "__main__":
    main()
