"""Find the ranges of activations by which SFace is quantised to 8 bits.

    python -m benchmarks.sface_ranges LFW_FOLDER

Prints `INPUT_RANGES` of `faces/sface.py`: for each layer the medians, over 500 aligned faces, of
a face's smallest and largest input. A median lies nearer the float network than the extremes of
all faces do (similarity 0.997 instead of 0.993) and says nothing of any one face. The photos are
LFW's that no pair of `pairsDevTrain.txt` names, so that the accuracy on those pairs is honest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from evaluation.pair_lists import read_pairs
from faces.alignment import ARCFACE_112
from faces.fetch import cache_dir, fetch
from faces.images import Photo, decode_photo
from faces.models import load_pipeline
from faces.onnx_graph import fold_batch_norm, free_batch, load_folded, quantised_nodes
from faces.weights import SFACE_FILE

NUM_FACES = 500
SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lfw", type=Path)
    lfw = parser.parse_args().lfw
    named = {name for pair in read_pairs(lfw / "pairsDevTrain.txt").photos for name in pair}
    paths = [path for path in sorted(lfw.glob("photos/*/*.jpg")) if path.stem not in named]
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
    for place in chosen:
        image = decode_photo(paths[place].read_bytes()).image
        for detection in detector.detect([Photo(image)])[0][:1]:
            crop = ARCFACE_112.crop(image, detection.box, detection.landmarks)
            batch = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
            values = session.run(inputs, {"data": batch})
            lows.append([float(value.min()) for value in values])
            highs.append([float(value.max()) for value in values])
    for low, high in zip(np.median(lows, axis=0), np.median(highs, axis=0), strict=True):
        print(f"    ({low:.4g}, {high:.4g}),")


if __name__ == "__main__":
    main()
