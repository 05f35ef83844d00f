"""Networks trained on the people of a collection, and measured on other people of it.

    python -m benchmarks.training expressions lfw.dataset --people person --label expression
    python -m benchmarks.training speed lfw.dataset

`expressions` divides the faces into five folds by person and trains on four, for each of --arms: an
architecture, a balance, and whether crops are corrupted, such as `small/logits/augmented`, and for
`logits` the strength, such as `fer/logits/augmented/0.4`. Every fold's answers are kept in --work,
so an interrupted run goes on. The figures are those of all folds together, with a paired bootstrap
over people against --baseline.

`speed` compares our loop with Keras's `model.fit` on the same arrays, and the job's classifier of
the exported file with Keras's predict on the same batches: medians of five rounds of processor
time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beam_jobs.crops import cut_missing_crops
from faces.core.hashing import sha256_of
from faces.core.machine import available_threads
from faces.core.progress import ignore_progress
from faces.dataset.store import Dataset
from faces.models.classifier import FaceClassifier
from faces.models.classifier_file import ANY_DETECTOR, ClassifierFile, classifier_toml
from faces.models.engines import OnnxRuntimeNetwork
from facetrove.evaluation.corruptions import CORRUPTIONS
from facetrove.training.augmentation import corrupted_by
from facetrove.training.classifier_options import ClassifierOptions
from facetrove.training.faces import Take, TrainingFaces
from facetrove.training.figures import classifier_figures, drawn_recalls
from facetrove.training.labels import LabelledDataset, read_labelled
from facetrove.training.parts import learn_and_stop
from facetrove.training.splits import folds_by_person

NUM_FOLDS = 5

PROBES = {
    "none": None,
    "blur 2": ("blur", 2.0),
    "noise 25": ("noise", 25.0),
    "JPEG 20": ("compression", 20.0),
    "half size": ("small", 40.0),
}
"""What the faces of a fold are classified under: nothing, and corruptions by name and strength."""

Answers = dict[str, NDArray[np.int64]]
"""(n,) class that each face was given, by what it was classified under."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark that the command line names, and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["expressions", "speed"])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--label", default="expression")
    parser.add_argument("--people", default="person")
    parser.add_argument("--face", default="central")
    parser.add_argument(
        "--arms", nargs="+", default=["article/none/plain", "small/logits/augmented"]
    )
    parser.add_argument("--baseline", default="article/none/plain")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(NUM_FOLDS)))
    parser.add_argument("--work", type=Path, default=Path("training-work"))
    parser.add_argument("--threads", type=int, default=available_threads())
    asked = parser.parse_args(argv)
    if asked.what == "speed":
        _speed(asked.threads)
        return
    asked.work.mkdir(exist_ok=True)
    faces = read_labelled(
        Dataset.open(asked.dataset),
        label=asked.label,
        people=asked.people,
        face=asked.face,
        min_class=30,
    )
    print({name: int(n) for name, n in zip(faces.names, np.bincount(faces.classes), strict=True)})
    answers = {arm: _answers(faces, arm, asked) for arm in asked.arms}
    for arm, given in answers.items():
        for probe, found in given.items():
            print(arm, probe, _figures(faces, found, answers.get(asked.baseline, {}).get("none")))


def _figures(
    faces: LabelledDataset, found: NDArray[np.int64], base: NDArray[np.int64] | None
) -> str:
    """Return accuracy, mean recall, each class's recall, and the gain over the baseline."""
    done = np.flatnonzero(found >= 0)
    classes, people, count = faces.classes[done], faces.people[done], len(faces.names)
    figures = classifier_figures(classes, found[done], people, count)
    low, high = figures.mean_recall_interval
    text = f"n {len(done)} accuracy {figures.accuracy:.4f}, mean recall {figures.mean_recall:.4f}"
    text += f" ({low:.4f} to {high:.4f}), recalls {np.round(figures.recalls, 3).tolist()}"
    if base is not None and (base[done] >= 0).all():
        own = drawn_recalls(classes, found[done], people, count)
        gain = own - drawn_recalls(classes, base[done], people, count)
        text += f", gain {np.quantile(gain, [0.025, 0.5, 0.975]).round(4).tolist()}"
    return text


def _answers(faces: LabelledDataset, arm: str, asked: argparse.Namespace) -> Answers:
    """Return what an arm said of every face when its person was held out; -1 for other folds."""
    folds = folds_by_person(faces.people, faces.classes, NUM_FOLDS, seed=0)
    answers = {probe: np.full(len(faces), -1) for probe in PROBES}
    for fold in asked.folds:
        path = asked.work / f"{arm.replace('/', '-')}-{fold}.json"
        held_out = np.flatnonzero(folds == fold)
        if not path.exists():
            started = time.process_time(), time.monotonic()
            path.write_text(
                json.dumps(_fold(faces, arm, np.flatnonzero(folds != fold), held_out, asked))
            )
            taken = time.process_time() - started[0], time.monotonic() - started[1]
            print(f"{arm} fold {fold}: {taken[0]:.0f} s of processor, {taken[1]:.0f} s", flush=True)
        for probe, found in json.loads(path.read_text()).items():
            answers[probe][held_out] = found
    return answers


def _fold(
    faces: LabelledDataset,
    arm: str,
    others: NDArray[np.int64],
    held_out: NDArray[np.int64],
    asked: argparse.Namespace,
) -> dict[str, list[int]]:
    """Train on all other people, and return the classes given to those held out, by probe."""
    from facetrove.training.networks.classifiers import (
        ClassifierFaces,
        fit_classifier,
        probabilities,
    )
    from facetrove.training.networks.keras_library import make_deterministic

    architecture, balance, augment, *strength = arm.split("/")
    options = ClassifierOptions(
        architecture,  # type: ignore[arg-type]
        balance,  # type: ignore[arg-type]
        strength=float(strength[0]) if strength else ClassifierOptions().strength,
        augment=augment == "augmented",
    )
    crops = cut_missing_crops(faces.dataset, faces.table)
    make_deterministic(0, threads=asked.threads)
    learn, stop = learn_and_stop(faces, others, seed=0)
    known = _features(crops.take, len(faces), asked.work) if architecture == "fer" else {}
    model, history, _ = fit_classifier(
        ClassifierFaces(crops.take, faces.classes, len(faces.names), learn, stop, learn[:0]),
        options,
        seed=0,
        features=known.get("views"),
    )
    print(history.best, history.curve[-1], flush=True)
    found = {}
    for probe in PROBES:
        if known:  # the last layer alone is another one for each fold
            kernel, bias = model.layers[-1].get_weights()
            found[probe] = (known[probe][held_out] @ kernel + bias).argmax(axis=1).tolist()
        else:
            given = probabilities(model, _taker(crops.take, probe), held_out)
            found[probe] = given.argmax(axis=1).tolist()
    return found


def _taker(take: Take, probe: str) -> Take:
    """Return what takes crops as they are classified in a probe."""
    how = PROBES[probe]
    if how is None:
        return take
    kind = next(kind for kind in CORRUPTIONS if kind.name == how[0])

    def corrupted(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        rng = np.random.default_rng(int(positions[0]))
        return np.stack([corrupted_by(crop, kind, how[1], rng) for crop in take(positions)])

    return corrupted


def _features(take: Take, count: int, work: Path) -> dict[str, NDArray[np.float32]]:
    """Return the features of all faces, which every fold learns from, and those of each probe."""
    from facetrove.training.networks.asking import outputs
    from facetrove.training.networks.frozen import feature_network, features_of

    path, everyone = work / "features.npz", np.arange(count)
    if not path.exists():
        network = feature_network()
        asked = everyone, everyone[:0]
        found = {probe: outputs(network, _taker(take, probe), everyone) for probe in PROBES}
        found["views"] = features_of(
            network, take, asked, augment=True, seed=0, on_progress=ignore_progress
        )
        np.savez(path, **found)
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


SPEED_FACES, SPEED_BATCH, SPEED_ROUNDS = 512, 64, 5


def _speed(threads: int) -> None:
    """Print photos a second of processor time, of training and of answering."""
    from facetrove.training.networks.keras_library import make_deterministic

    make_deterministic(0, threads=threads)
    crops = np.random.default_rng(0).integers(0, 255, (SPEED_FACES, 112, 112, 3), dtype=np.uint8)
    for architecture in ("article", "small", "fer"):
        if architecture != "fer":  # which is not trained on crops, but on features
            _training_speed(architecture, crops, np.arange(SPEED_FACES) % 5)
        _answering_speed(architecture, crops, threads)


def _print_speed(name: str, seconds: Sequence[float]) -> None:
    print(f"{name}: {SPEED_FACES / np.median(seconds):,.0f} photos/s of processor", flush=True)


def _training_speed(
    architecture: str, crops: NDArray[np.uint8], classes: NDArray[np.int64]
) -> None:
    """Compare epochs of our loop with those of Keras's own, without the first of each."""
    from facetrove.training.networks.architectures import classifier
    from facetrove.training.networks.keras_library import keras
    from facetrove.training.networks.loop import Schedule, train

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    source = TrainingFaces(
        lambda positions: crops[positions],
        np.arange(len(crops)),
        classes,
        lambda own, rng: rng.permutation(len(own)),
        batch_size=SPEED_BATCH,
        augment=False,
        seed=0,
    )
    ends = []

    def evaluate(_: object) -> dict[str, float]:
        ends.append(time.process_time())
        return {"stop": 0.0}

    epochs = SPEED_ROUNDS + 1
    train(classifier(architecture, 5), loss, source, Schedule(epochs, patience=99), evaluate)
    _print_speed(f"{architecture}, our loop", np.diff(ends).tolist())
    plain, arrays, taken = classifier(architecture, 5), crops.astype(np.float32), []
    plain.compile("adam", loss=loss, jit_compile=False)
    for _ in range(epochs):
        started = time.process_time()
        plain.fit(arrays, classes, batch_size=SPEED_BATCH, verbose=0)
        taken.append(time.process_time() - started)
    _print_speed(f"{architecture}, model.fit on arrays", taken[1:])


def _answering_speed(architecture: str, crops: NDArray[np.uint8], threads: int) -> None:
    """Compare the job's classifier of the exported file with Keras, in alternating rounds."""
    from facetrove.training.networks.architectures import classifier, with_softmax
    from facetrove.training.networks.frozen import Scale, feature_network, last_layer, on_features
    from facetrove.training.networks.onnx_file import write_onnx

    if architecture == "fer":
        body = feature_network()
        learnt = np.asarray(body.predict_on_batch(crops[:8].astype(np.float32)))
        model = on_features(body, Scale.of(learnt), last_layer(learnt.shape[1], 5))
    else:
        model = classifier(architecture, 5)
    model = with_softmax(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.toml")
        write_onnx(model, path.with_suffix(".onnx"), crops[:8].astype(np.float32))
        described = ClassifierFile(
            name="network",
            network="network.onnx",
            network_sha256=sha256_of(path.with_suffix(".onnx")),
            label="expression",
            classes=tuple("abcde"),
            detector=ANY_DETECTOR,
            detector_digest=ANY_DETECTOR,
        )
        path.write_text(classifier_toml(described))
        exported = OnnxRuntimeNetwork(path.with_suffix(".onnx"), threads=threads)
        in_the_job = FaceClassifier(path, threads=threads)
    sample = crops[:SPEED_BATCH].astype(np.float32)
    difference = np.abs(exported.run(sample)["output"] - model.predict_on_batch(sample)).max()
    print(f"{architecture}: largest difference of the exported file {difference:.1e}")

    def by_keras(crops: NDArray[np.uint8]) -> None:
        for start in range(0, len(crops), SPEED_BATCH):
            batch = crops[start : start + SPEED_BATCH].astype(np.float32)
            np.asarray(model.predict_on_batch(batch)).argmax(axis=1)

    ways = {"the job, by ONNX Runtime": in_the_job.classify, "Keras predict": by_keras}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(SPEED_ROUNDS):
        for name, run in ways.items():
            started = time.process_time()
            run(crops)
            taken[name].append(time.process_time() - started)
    for name, seconds in taken.items():
        _print_speed(f"{architecture}, {name}", seconds)


if __name__ == "__main__":
    main()
